//! What a grant says about the devices: key origin, delivery, certificate, serial numbers.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{is_name, is_subject},
    grant::TermsError,
    serial::SerialRule,
};

/// The devices that an entitlement is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// The product's id: a name.
    pub id: String,
    /// The product's name for people.
    pub name: String,
    /// Where device keys come from.
    pub origin: KeyOrigin,
    /// Of the device keys: `ecdsa-p256`, `ecdsa-p384` or `ed25519`.
    pub algorithm: String,
    /// How a key that was not born in the device gets there.
    pub delivery: Delivery,
    /// The device certificate; `None` where devices get keys alone.
    pub template: Option<Template>,
    /// The serial numbers.
    pub serial: SerialRule,
    /// The only subjects that may be provisioned, sorted; `None` allows any.
    pub subjects: Option<Vec<String>>,
}

/// Where device keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyOrigin {
    /// The device makes its key and shows a CSR.
    DeviceBorn,
    /// The site's host makes the key.
    SiteBorn,
    /// The key follows from the entitlement's secret and the unit.
    Derived,
    /// One of a set of given keys.
    Pool,
}

/// How a key that was not born in the device gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// It doesn't: the device made it.
    None,
    /// Sealed to a key that the device presents and proves.
    SealedToDevice,
    /// Sealed to the station, which sees it and could clone the device.
    SealedToStation,
}

/// The certificate of a device. Custody fills it in; a plugin may only set `fields`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The subject's organisation.
    pub organization: String,
    /// The subject's model.
    pub model: String,
    /// The fields that a plugin may set.
    pub fields: Vec<Field>,
}

/// A field of the certificate that the grant leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The field's name.
    pub name: String,
    /// Most bytes of its value.
    pub max_bytes: u32,
}

/// The algorithms that device keys may have.
pub const ALGORITHMS: [&str; 3] = ["ecdsa-p256", "ecdsa-p384", "ed25519"];
/// Most bytes of a text for people in a product.
pub const TEXT_BYTES_MAX: usize = 64;
/// Most open fields of a template.
pub const FIELDS_MAX: usize = 16;
/// Most bytes of an open field's value.
pub const FIELD_BYTES_MAX: u32 = 256;

impl Product {
    /// Refuses what no site could keep, naming the field.
    pub fn check(&self, total: u64) -> Result<(), TermsError> {
        if !is_name(&self.id) {
            return Err(TermsError::Malformed("product.id"));
        }
        text("product.name", &self.name)?;
        if self.origin == KeyOrigin::Pool && total > crate::pool::KEYS_MAX {
            return Err(TermsError::TooLarge("terms.total"));
        }
        if !ALGORITHMS.contains(&self.algorithm.as_str()) {
            return Err(TermsError::Malformed("product.algorithm"));
        }
        if (self.origin == KeyOrigin::DeviceBorn) != (self.delivery == Delivery::None) {
            return Err(TermsError::Mismatch("product.delivery"));
        }
        match &self.template {
            Some(template) => template.check()?,
            // A device that made its key needs nothing but a certificate.
            None if self.origin == KeyOrigin::DeviceBorn => {
                return Err(TermsError::Missing("product.template"));
            }
            None => {}
        }
        if !self.serial.is_well_formed() {
            return Err(TermsError::Malformed("product.serial"));
        }
        if !self.serial.has_room_for(total) {
            return Err(TermsError::Mismatch("product.serial"));
        }
        self.check_subjects()
    }

    /// True if `subject` may be provisioned.
    pub fn lists(&self, subject: &str) -> bool {
        let listed =
            |list: &Vec<String>| list.binary_search_by(|entry| entry.as_str().cmp(subject)).is_ok();
        self.subjects.as_ref().is_none_or(listed)
    }

    fn check_subjects(&self) -> Result<(), TermsError> {
        let Some(subjects) = &self.subjects else {
            return Ok(());
        };
        if subjects.is_empty() {
            return Err(TermsError::Missing("product.subjects"));
        }
        // Sorted and distinct: one encoding, and `lists` can search.
        let rises = subjects.windows(2).all(|pair| pair[0] < pair[1]);
        if !rises || !subjects.iter().all(|subject| is_subject(subject)) {
            return Err(TermsError::Malformed("product.subjects"));
        }
        Ok(())
    }
}

impl Template {
    fn check(&self) -> Result<(), TermsError> {
        text("product.template.organization", &self.organization)?;
        text("product.template.model", &self.model)?;
        let rises = self.fields.windows(2).all(|pair| pair[0].name < pair[1].name);
        let sound = |field: &Field| is_name(&field.name) && field.max_bytes <= FIELD_BYTES_MAX;
        if self.fields.len() > FIELDS_MAX || !rises || !self.fields.iter().all(sound) {
            return Err(TermsError::Malformed("product.template.fields"));
        }
        if self.fields.iter().any(|field| field.max_bytes == 0) {
            return Err(TermsError::Zero("product.template.fields.max_bytes"));
        }
        Ok(())
    }
}

/// 1 to 64 bytes without control characters: it is shown to people and put into certificates.
fn text(field: &'static str, value: &str) -> Result<(), TermsError> {
    let sound = matches!(value.len(), 1..=TEXT_BYTES_MAX) && !value.chars().any(hides);
    if sound { Ok(()) } else { Err(TermsError::Malformed(field)) }
}

/// Control characters, and those that turn or hide what follows them.
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2066}'..='\u{2069}' | '\u{feff}')
}
