//! The measurement of a plugin in its certificates: TCG DICE TcbInfo.
//!
//! Only `fwids` is written and read: one SHA-256 digest of the component's bytes (DICE
//! Attestation Architecture, 6.1.1). The extension is not critical, since verifiers that do not
//! know it must still be able to check the chain.

use der::asn1::{ObjectIdentifier, OctetString};
use der::{Decode as _, Encode as _, Sequence};
use x509_cert::ext::Extension;

use crate::Error;

pub(crate) const TCB_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");

/// The extension that states a measurement.
pub(crate) fn extension(measurement: &[u8; 32]) -> Result<Extension, Error> {
    let digest = OctetString::new(measurement.as_slice()).map_err(|_| Error::Certificate)?;
    let info = TcbInfo { fwids: vec![Fwid { hash_algorithm: SHA_256, digest }] };
    let encoded = info.to_der().map_err(|_| Error::Certificate)?;
    let extn_value = OctetString::new(encoded).map_err(|_| Error::Certificate)?;
    Ok(Extension { extn_id: TCB_INFO, critical: false, extn_value })
}

/// The measurement that an extension's content states.
pub(crate) fn read(content: &[u8]) -> Result<[u8; 32], Error> {
    let info = TcbInfo::from_der(content).map_err(|_| Error::Certificate)?;
    match info.fwids.as_slice() {
        [Fwid { hash_algorithm: SHA_256, digest }] => {
            digest.as_bytes().try_into().map_err(|_| Error::Certificate)
        }
        _ => Err(Error::Certificate),
    }
}

const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

#[derive(Sequence)]
struct TcbInfo {
    #[asn1(context_specific = "6", tag_mode = "IMPLICIT", constructed = "true")]
    fwids: Vec<Fwid>,
}

#[derive(Sequence)]
struct Fwid {
    hash_algorithm: ObjectIdentifier,
    digest: OctetString,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_of_the_specification() {
        let content = extension(&[7; 32]).unwrap().extn_value;
        let expected = [
            b"\x30\x31\xa6\x2f\x30\x2d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20"
                .as_slice(),
            &[7; 32],
        ];
        assert_eq!(content.as_bytes(), expected.concat());
        assert_eq!(read(content.as_bytes()), Ok([7; 32]));
    }

    #[test]
    fn other_content_is_refused() {
        let content = extension(&[7; 32]).unwrap().extn_value;
        let content = content.as_bytes();
        for len in 0..content.len() {
            assert_eq!(read(&content[..len]), Err(Error::Certificate));
        }
        let mut sha_384 = content.to_vec();
        sha_384[16] = 2;
        assert_eq!(read(&sha_384), Err(Error::Certificate));
    }
}
