//! A certificate that was read, not yet believed.

use std::fmt::Write as _;

use der::asn1::{ObjectIdentifier, OctetString};
use der::{Decode, Encode as _};
use mintmark_crypto::{digest, sign};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::Name;

use crate::{Error, SpiffeId, Validity, measurement, subject, template};

/// The longest certificate that is read.
pub const CERTIFICATE_BYTES_MAX: usize = 4 * 1024;

/// A certificate that was read.
///
/// That it could be read says nothing about whose it is: [`crate::TrustRoot::verify`] and
/// [`crate::verify_device`] say that.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    inner: x509_cert::Certificate,
    public_key_info: Vec<u8>,
    validity: Validity,
}

impl Certificate {
    /// Reads a certificate of version 3 in DER, without trailing bytes.
    pub fn parse(der: &[u8]) -> Result<Self, Error> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(Error::Certificate);
        }
        let inner = x509_cert::Certificate::from_der(der).map_err(|_| Error::Certificate)?;
        // Only what is its own encoding is read: two readers must never see two certificates.
        if inner.to_der().ok().as_deref() != Some(der) {
            return Err(Error::Certificate);
        }
        let fields = inner.tbs_certificate();
        if fields.version() != x509_cert::certificate::Version::V3 {
            return Err(Error::Certificate);
        }
        let public_key_info = fields.subject_public_key_info().to_der();
        Ok(Self {
            public_key_info: public_key_info.map_err(|_| Error::Certificate)?,
            validity: Validity::decoded(fields.validity())?,
            der: der.to_vec(),
            inner,
        })
    }

    /// The certificate's own bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate's bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest::sha256(&self.der)
    }

    /// The subject's key: SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// The serial number: big-endian, without leading zeros.
    #[must_use]
    pub fn serial_number(&self) -> &[u8] {
        self.inner.tbs_certificate().serial_number().as_bytes()
    }

    /// From when until when the certificate is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The SPIFFE id. There must be one URI and the DNS name that belongs to it, and no other.
    pub fn spiffe_id(&self) -> Result<SpiffeId, Error> {
        let names = self.alternative_names()?;
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(Error::Name) };
        let id = uri.parse::<SpiffeId>()?;
        let is_expected = |name: &GeneralName| match name {
            GeneralName::UniformResourceIdentifier(_) => true,
            GeneralName::DnsName(dns) => dns.as_str() == id.dns_name(),
            _ => false,
        };
        if names.len() == 2 && names.iter().all(is_expected) { Ok(id) } else { Err(Error::Name) }
    }

    /// The measurement of the plugin whose certificate it is, where it states one.
    pub fn measurement(&self) -> Result<Option<[u8; 32]>, Error> {
        self.extension_content(measurement::TCB_INFO)?.map(measurement::read).transpose()
    }

    /// The subject's common name.
    pub fn common_name(&self) -> Result<Option<String>, Error> {
        self.attribute(subject::COMMON_NAME)
    }

    /// The subject's organisation.
    pub fn organization(&self) -> Result<Option<String>, Error> {
        self.attribute(subject::ORGANIZATION)
    }

    /// The subject's serial number: of a device, the device's own.
    pub fn subject_serial(&self) -> Result<Option<String>, Error> {
        self.attribute(subject::SERIAL_NUMBER)
    }

    /// Checks that `issuer_key_info` signed the certificate. Time and purpose are not looked at.
    pub fn check_signature(&self, issuer_key_info: &[u8]) -> Result<(), Error> {
        let algorithm = sign::SignatureAlgorithm::for_public_key(issuer_key_info);
        let algorithm = algorithm.map_err(|_| Error::Certificate)?;
        let expected = template::algorithm_identifier(algorithm);
        let fields = self.inner.tbs_certificate();
        if *self.inner.signature_algorithm() != expected || *fields.signature() != expected {
            return Err(Error::Certificate);
        }
        let message = fields.to_der().map_err(|_| Error::Certificate)?;
        let signature = self.inner.signature().as_bytes().ok_or(Error::Certificate)?;
        sign::verify(issuer_key_info, &message, signature).map_err(|_| Error::Certificate)
    }

    pub(crate) fn subject(&self) -> &Name {
        self.inner.tbs_certificate().subject()
    }

    pub(crate) fn issuer(&self) -> &Name {
        self.inner.tbs_certificate().issuer()
    }

    pub(crate) fn attribute(&self, oid: ObjectIdentifier) -> Result<Option<String>, Error> {
        subject::attribute(self.subject(), oid)
    }

    /// The CA's path length; the outer option is none where it is not a CA's certificate.
    pub(crate) fn path_len(&self) -> Result<Option<Option<u8>>, Error> {
        let constraints = self.extension::<BasicConstraints>(template::BASIC_CONSTRAINTS)?;
        let signs = self.key_usage()?.is_some_and(|usage| usage.key_cert_sign());
        Ok(constraints
            .filter(|constraints| constraints.ca && signs)
            .map(|constraints| constraints.path_len_constraint))
    }

    pub(crate) fn key_usage(&self) -> Result<Option<KeyUsage>, Error> {
        self.extension(template::KEY_USAGE)
    }

    pub(crate) fn extended_key_usage(&self) -> Result<Vec<ObjectIdentifier>, Error> {
        let usage = self.extension::<ExtendedKeyUsage>(template::EXTENDED_KEY_USAGE)?;
        Ok(usage.map(|usage| usage.0).unwrap_or_default())
    }

    pub(crate) fn name_constraints(&self) -> Result<Option<NameConstraints>, Error> {
        self.extension(template::NAME_CONSTRAINTS)
    }

    pub(crate) fn key_identifier(&self) -> Result<OctetString, Error> {
        let found = self.extension::<SubjectKeyIdentifier>(template::SUBJECT_KEY_IDENTIFIER)?;
        found.map(|identifier| identifier.0).ok_or(Error::Certificate)
    }

    fn alternative_names(&self) -> Result<Vec<GeneralName>, Error> {
        let names = self.extension::<SubjectAltName>(template::SUBJECT_ALTERNATIVE_NAME)?;
        names.map(|names| names.0).ok_or(Error::Name)
    }

    fn extension<'a, T: Decode<'a>>(&'a self, oid: ObjectIdentifier) -> Result<Option<T>, Error> {
        let decode = |content| T::from_der(content).map_err(|_| Error::Certificate);
        self.extension_content(oid)?.map(decode).transpose()
    }

    /// The content of an extension, which occurs at most once (RFC 5280, 4.2).
    fn extension_content(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>, Error> {
        let all = self.inner.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default();
        let mut found = all.iter().filter(|extension| extension.extn_id == oid);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Error::Certificate),
            (found, None) => Ok(found.map(|extension| extension.extn_value.as_bytes())),
        }
    }
}

/// SHA-256 of a certificate, as people compare it: pairs of hexadecimal digits and colons.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    let mut text = String::with_capacity(32 * 3);
    for (position, byte) in digest::sha256(der).into_iter().enumerate() {
        let separator = if position == 0 { "" } else { ":" };
        write!(text, "{separator}{byte:02x}").expect("a string takes all text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_32_pairs() {
        let fingerprint = fingerprint(b"abc");
        assert!(fingerprint.starts_with("ba:78:16:bf:"));
        assert!(fingerprint.ends_with(":15:ad"));
        assert_eq!(fingerprint.len(), 32 * 3 - 1);
    }

    #[test]
    fn p1_bytes_that_are_no_certificate_are_refused() {
        assert!(Certificate::parse(b"").is_err());
        assert!(Certificate::parse(&[0x30; 100]).is_err());
        assert!(Certificate::parse(&vec![0; CERTIFICATE_BYTES_MAX + 1]).is_err());
    }
}
