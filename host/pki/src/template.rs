//! The one place where something is signed: certificates, requests and revocation lists.
//!
//! A certificate is built from its fields here, not by a library's profile, because the subject's
//! key may be of a kind that signs nothing (X25519), and because each byte of a device's
//! certificate is meant to be decided by this crate.

use der::asn1::{Any, BitString, ObjectIdentifier, OctetString};
use der::{Decode as _, Encode, Sequence};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{digest, random};
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::{Certificate, Error, Validity};

/// The fields of a certificate that is about to be signed. The version is always 3.
pub(crate) struct Template {
    serial_number: Vec<u8>,
    validity: Validity,
    subject: Name,
    public_key: SubjectPublicKeyInfoOwned,
    extensions: Extensions,
}

impl Template {
    /// A certificate without extensions, with a serial number of 20 random bytes.
    pub(crate) fn new(
        subject: Name,
        public_key_info: &[u8],
        validity: Validity,
    ) -> Result<Self, Error> {
        let public_key = SubjectPublicKeyInfoOwned::from_der(public_key_info);
        Ok(Self {
            serial_number: random_serial_number().to_vec(),
            validity,
            subject,
            public_key: public_key.map_err(|_| Error::SubjectKey)?,
            extensions: Extensions::new(),
        })
    }

    /// Another serial number: big-endian, positive.
    pub(crate) fn serial_number(mut self, bytes: &[u8]) -> Self {
        self.serial_number = bytes.to_vec();
        self
    }

    /// One more extension.
    pub(crate) fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// One more extension, of this object identifier and content.
    pub(crate) fn encoded(
        self,
        extn_id: ObjectIdentifier,
        critical: bool,
        content: &impl Encode,
    ) -> Result<Self, Error> {
        Ok(self.extension(encoded_extension(extn_id, critical, content)?))
    }

    /// What a CA's certificate has: basic constraints, key usage and key identifier.
    pub(crate) fn certificate_authority(self, path_len: Option<u8>) -> Result<Self, Error> {
        let constraints = BasicConstraints { ca: true, path_len_constraint: path_len };
        let identifier = key_identifier(&self.public_key)?;
        self.encoded(BASIC_CONSTRAINTS, true, &constraints)?
            .key_usage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)?
            .encoded(SUBJECT_KEY_IDENTIFIER, false, &SubjectKeyIdentifier(identifier))
    }

    /// The key usage, which is critical.
    pub(crate) fn key_usage(self, usages: impl Into<KeyUsageSet>) -> Result<Self, Error> {
        self.encoded(KEY_USAGE, true, &KeyUsage(usages.into()))
    }

    /// Subject alternative names; the subject is never empty, so they are not critical.
    pub(crate) fn alternative_names(self, names: &[GeneralName]) -> Result<Self, Error> {
        self.encoded(SUBJECT_ALTERNATIVE_NAME, false, &names.to_vec())
    }

    /// Signs it with its own key. `key` must be the subject's.
    pub(crate) fn self_signed(self, key: &SigningKey) -> Result<Vec<u8>, Error> {
        let issuer = self.subject.clone();
        self.signed_as(key, issuer)
    }

    /// Signs it as the CA of that certificate, within what the CA's own window allows.
    pub(crate) fn signed_by(
        self,
        key: &SigningKey,
        issuer: &Certificate,
    ) -> Result<Vec<u8>, Error> {
        if key.public_key_info() != issuer.public_key_info() {
            return Err(Error::IssuerKey);
        }
        if !issuer.validity().contains(self.validity) {
            return Err(Error::OutsideIssuer);
        }
        let identifier = AuthorityKeyIdentifier {
            key_identifier: Some(issuer.key_identifier()?),
            ..AuthorityKeyIdentifier::default()
        };
        self.encoded(AUTHORITY_KEY_IDENTIFIER, false, &identifier)?
            .signed_as(key, issuer.subject().clone())
    }

    /// Signs it with any key under any issuer's name.
    pub(crate) fn signed_as(self, key: &SigningKey, issuer: Name) -> Result<Vec<u8>, Error> {
        let serial_number = SerialNumber::new(&self.serial_number);
        let to_be_signed = ToBeSigned {
            version: Version::V3,
            serial_number: serial_number.map_err(|_| Error::Certificate)?,
            signature: algorithm_identifier(key.algorithm()),
            issuer,
            validity: self.validity.encoded()?,
            subject: self.subject,
            subject_public_key_info: self.public_key,
            extensions: self.extensions,
        };
        sign_encoded(key, &to_be_signed)
    }
}

/// The DER of SEQUENCE { `to_be_signed`, algorithm, signature }, as everything is that is signed.
pub(crate) fn sign_encoded(key: &SigningKey, to_be_signed: &impl Encode) -> Result<Vec<u8>, Error> {
    let to_be_signed = to_be_signed.to_der().map_err(|_| Error::Certificate)?;
    let signature = key.sign(&to_be_signed);
    let signed = Any::from_der(&to_be_signed).and_then(|to_be_signed| {
        let signature = BitString::from_bytes(&signature)?;
        Signed { to_be_signed, algorithm: algorithm_identifier(key.algorithm()), signature }
            .to_der()
    });
    signed.map_err(|_| Error::Certificate)
}

/// An extension of this object identifier and content.
pub(crate) fn encoded_extension(
    extn_id: ObjectIdentifier,
    critical: bool,
    content: &impl Encode,
) -> Result<Extension, Error> {
    let extn_value = content.to_der().and_then(OctetString::new);
    let extn_value = extn_value.map_err(|_| Error::Certificate)?;
    Ok(Extension { extn_id, critical, extn_value })
}

/// The identifier of signatures of that algorithm; none of them has parameters.
pub(crate) fn algorithm_identifier(algorithm: SignatureAlgorithm) -> AlgorithmIdentifierOwned {
    let oid = match algorithm {
        SignatureAlgorithm::Ed25519 => "1.3.101.112",
        SignatureAlgorithm::EcdsaP256 => "1.2.840.10045.4.3.2",
        SignatureAlgorithm::EcdsaP384 => "1.2.840.10045.4.3.3",
    };
    AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(oid), parameters: None }
}

/// The leftmost 160 bits of the SHA-256 of the key (RFC 7093, section 2, method 1).
pub(crate) fn key_identifier(key: &SubjectPublicKeyInfoOwned) -> Result<OctetString, Error> {
    let hash = digest::sha256(key.subject_public_key.raw_bytes());
    OctetString::new(&hash[..20]).map_err(|_| Error::SubjectKey)
}

pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(crate) const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(crate) const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
pub(crate) const SUBJECT_ALTERNATIVE_NAME: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.17");
pub(crate) const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.14");
pub(crate) const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.35");

type KeyUsageSet = der::flagset::FlagSet<KeyUsages>;

/// TBSCertificate (RFC 5280, 4.1), of the fields that are used.
#[derive(Sequence)]
struct ToBeSigned {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: x509_cert::time::Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

#[derive(Sequence)]
struct Signed {
    to_be_signed: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// 20 random bytes (RFC 5280, 4.1.2.2) that encode to 20 bytes: positive, first one not zero.
fn random_serial_number() -> [u8; 20] {
    let mut bytes = random::array::<20>();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    bytes
}
