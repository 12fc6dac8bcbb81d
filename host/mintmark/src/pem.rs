//! Certificates, requests and keys as PEM (RFC 7468), the form in which people handle them.

use mintmark_crypto::SecretBytes;
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use pem_rfc7468::LineEnding;
use zeroize::Zeroizing;

use crate::error::Error;

/// The label of a certificate.
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a certificate request.
pub(crate) const REQUEST: &str = "CERTIFICATE REQUEST";
/// The label of a certificate revocation list.
pub(crate) const REVOCATION_LIST: &str = "X509 CRL";
/// The label of a PKCS #8 key.
const KEY: &str = "PRIVATE KEY";
/// The label of a key for HPKE: the 32 private bytes of RFC 9180, 7.1.2.
const RECIPIENT: &str = "MINTMARK P256 RECIPIENT KEY";

/// Encodes one document.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    pem_rfc7468::encode_string(label, LineEnding::LF, der)
        .expect("the labels here are well-formed, and files are far below the encoder's limit")
}

/// The DER documents in `bytes`, each a SEQUENCE, one after the other.
pub(crate) fn documents(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut documents = Vec::new();
    while !bytes.is_empty() {
        let (length, header) = match *bytes {
            [0x30, short @ 0..=0x7f, ..] => (usize::from(short), 2),
            [0x30, long @ 0x81..=0x84, ..] => {
                let count = usize::from(long & 0x7f);
                let digits = bytes.get(2..2 + count)?;
                let length = digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit));
                (length, 2 + count)
            }
            _ => return None,
        };
        let (document, rest) = bytes.split_at_checked(header.checked_add(length)?)?;
        documents.push(document);
        bytes = rest;
    }
    Some(documents)
}

/// Encodes a chain, in its order.
pub(crate) fn encode_chain(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| encode(CERTIFICATE, der)).collect()
}

/// Encodes a private key.
pub(crate) fn encode_key(pkcs8: &SecretBytes) -> Zeroizing<String> {
    Zeroizing::new(encode(KEY, pkcs8.expose()))
}

/// Encodes a private key for HPKE.
pub(crate) fn encode_recipient(key: &RecipientKey) -> Zeroizing<String> {
    Zeroizing::new(encode(RECIPIENT, key.to_bytes().expose()))
}

/// Decodes the one document of that label.
pub(crate) fn decode(label: &'static str, file: &[u8]) -> Result<Vec<u8>, Error> {
    let decoded = pem_rfc7468::decode_vec(file).ok();
    let fitting = decoded.filter(|(found, _)| *found == label);
    fitting.map(|(_, der)| der).ok_or(Error::Pem(label))
}

/// Decodes a certificate or a certificate request.
pub(crate) fn decode_either(file: &[u8]) -> Result<Public, Error> {
    match decode(REQUEST, file) {
        Ok(der) => Ok(Public::Request(der)),
        Err(_) => {
            let chain = decode_chain(file)?;
            let leaf = chain.into_iter().next().ok_or(Error::Pem(CERTIFICATE))?;
            Ok(Public::Certificate(leaf))
        }
    }
}

/// Something with a public key in it.
pub(crate) enum Public {
    /// A certificate, DER.
    Certificate(Vec<u8>),
    /// A certificate request, DER.
    Request(Vec<u8>),
}

/// Decodes certificates that follow each other.
pub(crate) fn decode_chain(file: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(file).map_err(|_| Error::Pem(CERTIFICATE))?;
    let mut chain = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(END).ok_or(Error::Pem(CERTIFICATE))? + END.len();
        let (document, after) = rest.split_at(end);
        chain.push(decode(CERTIFICATE, document.as_bytes())?);
        rest = after.trim_start();
    }
    if chain.is_empty() { Err(Error::Pem(CERTIFICATE)) } else { Ok(chain) }
}

/// Decodes a PKCS #8 key.
pub(crate) fn decode_key(file: &[u8]) -> Result<SecretBytes, Error> {
    decode(KEY, file).map(SecretBytes::new)
}

/// Decodes a key for signatures, whatever its algorithm.
pub(crate) fn decode_signing_key(file: &[u8]) -> Result<SigningKey, Error> {
    let pkcs8 = decode_key(file)?;
    let keys = SignatureAlgorithm::ALL.into_iter();
    let mut keys =
        keys.filter_map(|algorithm| SigningKey::from_pkcs8(algorithm, pkcs8.expose()).ok());
    keys.next().ok_or(Error::Pem(KEY))
}

/// Decodes a key for HPKE.
pub(crate) fn decode_recipient(file: &[u8]) -> Result<RecipientKey, Error> {
    let scalar = SecretBytes::new(decode(RECIPIENT, file)?);
    RecipientKey::from_bytes(Suite::P256Sha256Aes256Gcm, scalar.expose())
        .map_err(|_| Error::Pem(RECIPIENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_read_back_in_its_order() {
        let chain = vec![vec![1; 70], vec![2; 3], vec![3; 48]];
        let text = encode_chain(&chain);
        assert_eq!(decode_chain(text.as_bytes()).unwrap(), chain);
        assert_eq!(decode_chain(format!("\n{text}\n\n").as_bytes()).unwrap(), chain);
    }

    #[test]
    fn p1_half_a_chain_and_a_key_among_certificates_are_refused() {
        let text = encode_chain(&[vec![1; 70], vec![2; 3]]);
        for end in 0..text.len() - 1 {
            let whole_first = text[..end].matches("-----END").count() == 1;
            let read = decode_chain(&text.as_bytes()[..end]);
            assert!(read.is_err() || (whole_first && read.unwrap().len() == 1), "{end}");
        }
        let key = encode(KEY, &[1; 9]);
        assert!(decode_chain(key.as_bytes()).is_err());
        assert!(decode_chain(format!("{text}{key}").as_bytes()).is_err());
    }

    #[test]
    fn documents_that_follow_each_other_are_told_apart() {
        let short = [&[0x30, 3][..], &[7; 3]].concat();
        let long = [&[0x30, 0x82, 1, 0][..], &[8; 256]].concat();
        let both = [short.clone(), long.clone()].concat();
        assert_eq!(documents(&both).unwrap(), [&short[..], &long[..]]);
        assert_eq!(documents(&[]).unwrap(), [&[0_u8; 0]; 0]);
        for end in 1..both.len() {
            assert!(end == short.len() || documents(&both[..end]).is_none(), "{end}");
        }
        assert!(documents(&[0x31, 0]).is_none() && documents(&[0x30, 0x80, 0, 0]).is_none());
    }

    #[test]
    fn keys_are_read_back_and_labels_are_told_apart() {
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP384);
        let text = encode_key(&key.to_pkcs8());
        let read = decode_signing_key(text.as_bytes()).unwrap();
        assert_eq!(read.public_key_info(), key.public_key_info());
        let recipient = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
        let text = encode_recipient(&recipient);
        let read = decode_recipient(text.as_bytes()).unwrap();
        assert_eq!(read.public_key_info(), recipient.public_key_info());
        assert!(decode_signing_key(text.as_bytes()).is_err());
        assert!(decode(CERTIFICATE, text.as_bytes()).is_err());
    }
}
