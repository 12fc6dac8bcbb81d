//! Makes certificate requests (PKCS #10, RFC 2986): for people, stations, devices and clusters.

use mintmark_crypto::sign::SigningKey;
use x509_cert::attr::Attributes;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;
use x509_cert::request::{CertReqInfo, Version};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::subject::{self, COMMON_NAME, SERIAL_NUMBER};
use crate::{Error, template};

/// A request with a common name. Everything else of a certificate is the issuer's to say.
pub fn csr(key: &SigningKey, common_name: &str) -> Result<Vec<u8>, Error> {
    sign(key, subject::name(&[(COMMON_NAME, common_name)])?)
}

/// A device's request, with the device's own serial number in its subject.
pub fn device_csr(key: &SigningKey, common_name: &str, serial: &str) -> Result<Vec<u8>, Error> {
    sign(key, subject::name(&[(COMMON_NAME, common_name), (SERIAL_NUMBER, serial)])?)
}

pub(crate) fn sign(key: &SigningKey, subject: Name) -> Result<Vec<u8>, Error> {
    let public_key = SubjectPublicKeyInfoOwned::from_der(key.public_key_info());
    let info = CertReqInfo {
        version: Version::V1,
        subject,
        public_key: public_key.map_err(|_| Error::SubjectKey)?,
        attributes: Attributes::default(),
    };
    template::sign_encoded(key, &info)
}
