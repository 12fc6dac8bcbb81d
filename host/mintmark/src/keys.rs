//! Keys that people, stations and devices make for themselves, with the requests that prove them.

use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_pki::request;

use crate::error::Error;
use crate::files::Folder;
use crate::pem;

/// A person's or a station's key: makes `NAME.key.pem`, gives the request.
pub(crate) fn make_key(folder: &Folder, name: &str) -> Result<Vec<u8>, Error> {
    let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
    let csr = request::csr(&key, name).map_err(|_| unfit(name))?;
    folder.write_secret(&format!("{name}.key.pem"), pem::encode_key(&key.to_pkcs8()).as_bytes())?;
    Ok(csr)
}

/// A station's key for HPKE: makes `NAME.sealing.key.pem`, gives the request.
pub(crate) fn make_sealing_key(folder: &Folder, name: &str) -> Result<Vec<u8>, Error> {
    let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
    let csr = recipient_request(&key, name)?;
    let file = format!("{name}.sealing.key.pem");
    folder.write_secret(&file, pem::encode_recipient(&key).as_bytes())?;
    Ok(csr)
}

/// The request that proves a key for HPKE.
pub(crate) fn recipient_request(key: &RecipientKey, name: &str) -> Result<Vec<u8>, Error> {
    let key = key.to_signing_key().expect("keys for HPKE over P-256 sign their requests");
    request::csr(&key, name).map_err(|_| unfit(name))
}

/// A name that no certificate request can have.
pub(crate) fn unfit(name: &str) -> Error {
    Error::Usage(format!("`{name}` cannot be the name in a certificate request"))
}
