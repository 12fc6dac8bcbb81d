//! The second tree: product CA, one batch CA for each entitlement, device certificates.
//!
//! A device's certificate is an IEEE 802.1AR IDevID. Nothing in this tree ends by date, since a
//! device must never outlive its issuer; a batch CA's use ends by the entitlement's total, which
//! it states, and by the destruction of its key.

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use x509_cert::ext::pkix::KeyUsages;
use x509_cert::name::Name;

use crate::chain::{self, ChainError};
use crate::subject::{
    self, COMMON_NAME, DESCRIPTION, ORGANIZATION, ORGANIZATIONAL_UNIT, SERIAL_NUMBER,
};
use crate::template::Template;
use crate::{Certificate, Error, Validity};

/// The serial number of a device's certificate: 0x01 ‖ entitlement ‖ unit ‖ ordinal.
///
/// Since a batch CA states entitlement and total, a batch has no more than `total` distinct valid
/// units, and any verifier can refuse a serial number outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceSerial {
    /// The entitlement's number.
    pub entitlement_number: u32,
    /// The unit's number, from 0.
    pub unit: u64,
    /// Which of the unit's certificates it is, from 0.
    pub ordinal: u16,
}

impl DeviceSerial {
    /// The 15 bytes.
    ///
    /// | bytes | content |
    /// |---|---|
    /// | 0 | 0x01, so that the number is positive and its length fixed |
    /// | 1–4 | entitlement number, big-endian |
    /// | 5–12 | unit, big-endian |
    /// | 13–14 | ordinal, big-endian |
    #[must_use]
    pub fn to_bytes(self) -> [u8; 15] {
        let mut bytes = [0; 15];
        bytes[0] = SERIAL_VERSION;
        bytes[1..5].copy_from_slice(&self.entitlement_number.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.unit.to_be_bytes());
        bytes[13..].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes
    }

    /// The serial number of these 15 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[SERIAL_VERSION], rest) = bytes.split_first_chunk()? else { return None };
        let (entitlement_number, rest) = rest.split_first_chunk()?;
        let (unit, ordinal) = rest.split_first_chunk()?;
        Some(Self {
            entitlement_number: u32::from_be_bytes(*entitlement_number),
            unit: u64::from_be_bytes(*unit),
            ordinal: u16::from_be_bytes(ordinal.try_into().ok()?),
        })
    }
}

/// What a batch CA states in its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose product it is.
    pub organization: String,
    /// The product's id.
    pub product: String,
    /// The entitlement's number.
    pub entitlement_number: u32,
    /// How many units the entitlement allows.
    pub total: u64,
}

impl Batch {
    /// Reads what a batch CA's certificate states.
    pub fn of(certificate: &Certificate) -> Result<Self, Error> {
        let required = |oid| certificate.attribute(oid)?.ok_or(Error::Certificate);
        let batch = Self {
            organization: required(ORGANIZATION)?,
            product: required(ORGANIZATIONAL_UNIT)?,
            ..Self::parse_common_name(&required(COMMON_NAME)?).ok_or(Error::Certificate)?
        };
        // Numbers have several spellings; only the one that is written is read.
        if *certificate.subject() == batch.subject()? { Ok(batch) } else { Err(Error::Certificate) }
    }

    /// Whether a device's serial number is one of this batch.
    #[must_use]
    pub fn contains(&self, serial: DeviceSerial) -> bool {
        serial.entitlement_number == self.entitlement_number && serial.unit < self.total
    }

    fn subject(&self) -> Result<Name, Error> {
        let common_name = format!("batch {} of {} units", self.entitlement_number, self.total);
        subject::name(&[
            (ORGANIZATION, &self.organization),
            (ORGANIZATIONAL_UNIT, &self.product),
            (COMMON_NAME, &common_name),
        ])
    }

    fn parse_common_name(text: &str) -> Option<Self> {
        let numbers = text.strip_prefix("batch ")?.strip_suffix(" units")?;
        let (entitlement_number, total) = numbers.split_once(" of ")?;
        Some(Self {
            organization: String::new(),
            product: String::new(),
            entitlement_number: entitlement_number.parse().ok()?,
            total: total.parse().ok()?,
        })
    }
}

/// What a device's certificate says, besides its key. All of it comes from unit and template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProfile {
    /// The certificate's serial number: [`DeviceSerial::to_bytes`].
    pub serial_number: [u8; 15],
    /// The device's own serial number (X.520: a PrintableString of at most 64).
    pub device_serial: String,
    /// Who made the device.
    pub organization: String,
    /// The model, as the subject's description.
    pub model: String,
    /// A part of the organisation.
    pub organizational_unit: Option<String>,
    /// The subject's common name.
    pub common_name: String,
}

/// The CA of a product: self-signed, for batch CAs alone.
pub fn product_ca(
    key: &SigningKey,
    organization: &str,
    product: &str,
    not_before_ms: u64,
) -> Result<Vec<u8>, Error> {
    let subject = subject::name(&[
        (ORGANIZATION, organization),
        (ORGANIZATIONAL_UNIT, product),
        (COMMON_NAME, "product CA"),
    ])?;
    Template::new(subject, key.public_key_info(), Validity::forever(not_before_ms)?)?
        .certificate_authority(Some(1))?
        .self_signed(key)
}

/// The CA of one entitlement, for devices alone. It states product, entitlement and total.
pub fn batch_ca(
    product_key: &SigningKey,
    product_certificate: &[u8],
    batch_key_info: &[u8],
    product: &str,
    entitlement_number: u32,
    total: u64,
    not_before_ms: u64,
) -> Result<Vec<u8>, Error> {
    let issuer = Certificate::parse(product_certificate)?;
    if issuer.attribute(ORGANIZATIONAL_UNIT)?.as_deref() != Some(product) {
        return Err(Error::OutsideIssuer);
    }
    SignatureAlgorithm::for_public_key(batch_key_info).map_err(|_| Error::SubjectKey)?;
    let organization = issuer.organization()?.ok_or(Error::Certificate)?;
    let batch = Batch { organization, product: product.into(), entitlement_number, total };
    Template::new(batch.subject()?, batch_key_info, Validity::forever(not_before_ms)?)?
        .certificate_authority(Some(0))?
        .signed_by(product_key, &issuer)
}

/// The certificate of a device: an IEEE 802.1AR IDevID, without an end.
///
/// A serial number outside of what the batch CA states is refused: this is the last of several
/// places that keep the total.
pub fn device_certificate(
    batch_key: &SigningKey,
    batch_certificate: &[u8],
    device_key_info: &[u8],
    profile: &DeviceProfile,
    not_before_ms: u64,
) -> Result<Vec<u8>, Error> {
    let issuer = Certificate::parse(batch_certificate)?;
    let serial = DeviceSerial::from_bytes(&profile.serial_number).ok_or(Error::OutsideIssuer)?;
    if !Batch::of(&issuer)?.contains(serial) {
        return Err(Error::OutsideIssuer);
    }
    SignatureAlgorithm::for_public_key(device_key_info).map_err(|_| Error::SubjectKey)?;
    let unit = profile.organizational_unit.as_deref();
    let attributes = [
        Some((ORGANIZATION, profile.organization.as_str())),
        unit.map(|unit| (ORGANIZATIONAL_UNIT, unit)),
        Some((DESCRIPTION, &profile.model)),
        Some((COMMON_NAME, &profile.common_name)),
        Some((SERIAL_NUMBER, &profile.device_serial)),
    ];
    let subject = subject::name(&attributes.into_iter().flatten().collect::<Vec<_>>())?;
    Template::new(subject, device_key_info, Validity::forever(not_before_ms)?)?
        .serial_number(&profile.serial_number)
        .key_usage(KeyUsages::DigitalSignature)?
        .signed_by(batch_key, &issuer)
}

/// A device's certificate that was believed. Only [`verify_device`] makes one.
#[derive(Clone)]
pub struct VerifiedDevice {
    certificate: Certificate,
    serial: DeviceSerial,
    device_serial: String,
    batch: Batch,
    batch_digest: [u8; 32],
}

impl VerifiedDevice {
    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate's serial number.
    #[must_use]
    pub fn serial(&self) -> DeviceSerial {
        self.serial
    }

    /// The device's own serial number.
    #[must_use]
    pub fn device_serial(&self) -> &str {
        &self.device_serial
    }

    /// What the batch CA states.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// SHA-256 of the batch CA's certificate.
    #[must_use]
    pub fn batch_digest(&self) -> [u8; 32] {
        self.batch_digest
    }
}

/// Checks a device's chain, device first, against a product CA's certificate, as of a moment.
///
/// The path is device, batch CA, product CA; the last may be in the chain or not. Whether the
/// device is *genuine* is another question: the holder of a stolen batch key can make duplicates.
pub fn verify_device(
    chain: &[impl AsRef<[u8]>],
    product_certificate: &[u8],
    at_ms: u64,
) -> Result<VerifiedDevice, ChainError> {
    let product = Certificate::parse(product_certificate).map_err(|_| ChainError::Encoding)?;
    chain::check_window(&product, at_ms)?;
    let anchor = chain::self_signed_anchor(&product)?;
    let path = chain::verify_path(&anchor, chain, at_ms)?;
    let [issuer] = path.intermediates.as_slice() else { return Err(ChainError::Untrusted) };
    if issuer.path_len() != Ok(Some(Some(0))) {
        return Err(ChainError::Usage);
    }
    let batch = Batch::of(issuer).map_err(|_| ChainError::Name)?;
    let is_of_product = product.organization().as_ref() == Ok(&Some(batch.organization.clone()))
        && product.attribute(ORGANIZATIONAL_UNIT).as_ref() == Ok(&Some(batch.product.clone()));
    let serial = DeviceSerial::from_bytes(path.leaf.serial_number()).ok_or(ChainError::Name)?;
    if !is_of_product || !batch.contains(serial) {
        return Err(ChainError::Name);
    }
    let usage = path.leaf.key_usage().map_err(|_| ChainError::Encoding)?;
    if usage.is_none_or(|usage| usage.0 != KeyUsages::DigitalSignature) {
        return Err(ChainError::Usage);
    }
    let device_serial = path.leaf.subject_serial().map_err(|_| ChainError::Name)?;
    Ok(VerifiedDevice {
        device_serial: device_serial.ok_or(ChainError::Name)?,
        batch_digest: issuer.digest(),
        certificate: path.leaf,
        serial,
        batch,
    })
}

const SERIAL_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_back_and_other_bytes_are_refused() {
        let serial = DeviceSerial { entitlement_number: 7, unit: 0x0102, ordinal: 3 };
        let bytes = serial.to_bytes();
        assert_eq!(bytes, [1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2, 0, 3]);
        assert_eq!(DeviceSerial::from_bytes(&bytes), Some(serial));
        assert_eq!(DeviceSerial::from_bytes(&bytes[..14]), None);
        assert_eq!(DeviceSerial::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(DeviceSerial::from_bytes(&[2; 15]), None);
        assert_eq!(DeviceSerial::from_bytes(&[]), None);
    }

    #[test]
    fn a_stolen_batch_key_makes_no_unit_beyond_the_total_and_no_other_device() {
        let product_key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let product = product_ca(&product_key, "acme", "t", 0).unwrap();
        let stolen_key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let info = stolen_key.public_key_info();
        let batch = batch_ca(&product_key, &product, info, "t", 7, 10, 0).unwrap();
        let issuer = Certificate::parse(&batch).unwrap();
        let verify = |serial: &[u8], usage: KeyUsages, subject: &[(_, &str)]| {
            let subject = subject::name(subject).unwrap();
            let device = Template::new(subject, info, Validity::forever(0).unwrap())
                .and_then(|template| template.serial_number(serial).key_usage(usage))
                .and_then(|template| template.signed_by(&stolen_key, &issuer))
                .unwrap();
            verify_device(&[device, batch.clone()], &product, 0).err()
        };
        let serial = |entitlement_number, unit| {
            DeviceSerial { entitlement_number, unit, ordinal: 0 }.to_bytes()
        };
        let named = [(SERIAL_NUMBER, "SN-1")];
        let signs = KeyUsages::DigitalSignature;
        assert_eq!(verify(&serial(7, 9), signs, &named), None);
        assert_eq!(verify(&serial(7, 10), signs, &named), Some(ChainError::Name));
        assert_eq!(verify(&serial(8, 0), signs, &named), Some(ChainError::Name));
        assert_eq!(verify(&[5; 20], signs, &named), Some(ChainError::Name));
        let other = KeyUsages::KeyCertSign;
        assert_eq!(verify(&serial(7, 0), other, &named), Some(ChainError::Usage));
        let unnamed = [(COMMON_NAME, "SN-1")];
        assert_eq!(verify(&serial(7, 0), signs, &unnamed), Some(ChainError::Name));
    }

    #[test]
    fn a_batch_contains_its_units_and_no_other() {
        let batch = Batch {
            organization: "acme".into(),
            product: "thermostat-2".into(),
            entitlement_number: 7,
            total: 1000,
        };
        let contains = |entitlement_number, unit| {
            batch.contains(DeviceSerial { entitlement_number, unit, ordinal: 0 })
        };
        assert!(contains(7, 0) && contains(7, 999));
        assert!(!contains(7, 1000) && !contains(7, u64::MAX) && !contains(8, 0));
    }
}
