//! Revocation lists of batch CAs (RFC 5280, 5): which device certificates count no more.
//!
//! As in the whole tree of devices, nothing ends by date: a verifier compares numbers, which only
//! rise. The last list of a batch may be years old and still be the newest one, since the batch
//! CA's key is destroyed when the entitlement is closed.

use der::Enumerated;
use der::asn1::{ObjectIdentifier, Uint};
use mintmark_crypto::sign::SigningKey;
use x509_cert::certificate::Version;
use x509_cert::crl::{RevokedCert, TbsCertList};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::serial_number::SerialNumber;

use crate::device::Batch;
use crate::template::{
    AUTHORITY_KEY_IDENTIFIER, algorithm_identifier, encoded_extension, sign_encoded,
};
use crate::validity::{FOREVER_S, time};
use crate::{Certificate, DeviceSerial, Error};

/// A device certificate that counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate's serial number: [`DeviceSerial::to_bytes`].
    pub serial_number: [u8; 15],
    /// Since when.
    pub at_ms: u64,
    /// Why.
    pub reason: RevocationReason,
}

/// Why a device certificate counts no more (RFC 5280, 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub enum RevocationReason {
    /// Nobody knows who has the key: the device lost it.
    KeyCompromise = 1,
    /// There is no such device: it failed, or was destroyed.
    CessationOfOperation = 5,
}

impl RevocationReason {
    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::KeyCompromise, Self::CessationOfOperation]
            .into_iter()
            .find(|reason| *reason as u8 == number)
    }
}

/// Signs a batch's revocation list with this number, in the order in which the entries are given.
///
/// # Errors
///
/// A key that is not the batch CA's, and a serial number that is none of the batch's.
pub fn revocation_list(
    batch_key: &SigningKey,
    batch_certificate: &[u8],
    number: u64,
    now_ms: u64,
    revoked: &[Revoked],
) -> Result<Vec<u8>, Error> {
    let issuer = Certificate::parse(batch_certificate)?;
    if batch_key.public_key_info() != issuer.public_key_info() {
        return Err(Error::IssuerKey);
    }
    let batch = Batch::of(&issuer)?;
    let identifier = AuthorityKeyIdentifier {
        key_identifier: Some(issuer.key_identifier()?),
        ..AuthorityKeyIdentifier::default()
    };
    let number = Uint::try_from(number).map_err(|_| Error::Certificate)?;
    let extensions: Extensions = vec![
        encoded_extension(AUTHORITY_KEY_IDENTIFIER, false, &identifier)?,
        encoded_extension(CRL_NUMBER, false, &number)?,
    ];
    let entries = revoked.iter().map(|one| entry(&batch, one)).collect::<Result<Vec<_>, _>>()?;
    let list: TbsCertList = TbsCertList {
        version: Version::V2,
        signature: algorithm_identifier(batch_key.algorithm()),
        issuer: issuer.subject().clone(),
        this_update: time(now_ms / 1000)?,
        next_update: Some(time(FOREVER_S)?),
        // An empty list has no such field (RFC 5280, 5.1.2.6).
        revoked_certificates: Some(entries).filter(|entries| !entries.is_empty()),
        crl_extensions: Some(extensions),
    };
    sign_encoded(batch_key, &list)
}

fn entry(batch: &Batch, revoked: &Revoked) -> Result<RevokedCert, Error> {
    let serial = DeviceSerial::from_bytes(&revoked.serial_number);
    if !serial.is_some_and(|serial| batch.contains(serial)) {
        return Err(Error::OutsideIssuer);
    }
    let serial_number = SerialNumber::new(&revoked.serial_number);
    let reason = encoded_extension(CRL_REASON, false, &revoked.reason)?;
    Ok(RevokedCert {
        serial_number: serial_number.map_err(|_| Error::Certificate)?,
        revocation_date: time(revoked.at_ms / 1000)?,
        crl_entry_extensions: Some(vec![reason]),
    })
}

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const CRL_REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
