//! What the host says about allotments and units.

use mintmark_exchange::{SignedOrder, grant::Grant};

use crate::{Digest, Timestamp, error::Error};

/// Life of an allotment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllotmentState {
    /// Units can be drawn, as far as the limits allow.
    Active,
    /// Outside its window.
    Paused,
    /// Every unit is taken.
    Exhausted,
    /// Headquarters ended it.
    Revoked,
    /// It is settled, for ever.
    Closed,
}

/// Where the credited units are: `credited` is the sum of the others, at every commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// What headquarters gave.
    pub credited: u64,
    /// Not drawn yet.
    pub unused: u64,
    /// Drawn, and nothing released.
    pub reserved: u64,
    /// Something was released.
    pub issued: u64,
    /// The device has it.
    pub confirmed: u64,
    /// Provisioning failed for good.
    pub failed: u64,
    /// The device is scrap.
    pub scrapped: u64,
    /// Given back before anything was released.
    pub returned: u64,
    /// Written off by a restore.
    pub lost: u64,
    /// Unused at closing.
    pub destroyed: u64,
}

/// What is known about an allotment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllotmentStatus {
    /// The signed grant, as [`mintmark_exchange`] decodes it.
    pub grant: Vec<u8>,
    /// Where it is in its life.
    pub state: AllotmentState,
    /// Where its units are.
    pub counters: Counters,
    /// Units reserved since the heads of the newest receipt.
    pub since_receipt: u64,
    /// Site time at which reservations stop without a receipt.
    pub receipt_due: Timestamp,
    /// The end of the window, as directives have made it.
    pub not_after: Timestamp,
    /// Units ever credited, whatever was taken back since: unit numbers are below.
    pub limit: u64,
}

impl AllotmentStatus {
    /// The grant: terms, product and template, as headquarters' host signed them.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a grant of a later version than this code knows.
    pub fn grant(&self) -> Result<Grant, Error> {
        SignedOrder::decode(&self.grant)
            .and_then(|order| order.open())
            .map_err(|_| Error::Malformed("the grant"))
    }
}

/// Life of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// Drawn, and nothing released.
    Reserved,
    /// Something was released.
    Issued,
    /// The device has it.
    Confirmed,
    /// Provisioning failed for good.
    Failed,
    /// The device is scrap.
    Scrapped,
    /// Given back before anything was released.
    Returned,
    /// Written off by a restore.
    Lost,
}

/// What is known about a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitStatus {
    /// From 0 within the allotment; the index of a derived key.
    pub number: u64,
    /// The device's unique id.
    pub subject: String,
    /// The device's serial number, assigned or given by the product's serial rule.
    pub serial: String,
    /// Where it is in its life.
    pub state: UnitState,
    /// Transient failures of the subject so far.
    pub attempts: u32,
    /// SHA-256 of the device's SubjectPublicKeyInfo, once it has one.
    pub key_hash: Option<Digest>,
    /// SHA-256 of the first certificate, once it has one.
    pub certificate_hash: Option<Digest>,
    /// How many certificates there are for its key.
    pub certificates: u16,
    /// The station that the unit is bound to: a SPIFFE URI.
    pub station: String,
    /// When it was drawn.
    pub reserved_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// A device key that only the holder of the recipient key can open (HPKE, RFC 9180, base mode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    /// `dhkem-p256-hkdf-sha256-aes-256-gcm` or `dhkem-x25519-hkdf-sha256-aes-256-gcm`.
    pub suite: String,
    /// The encapsulated key.
    pub encapsulated_key: Vec<u8>,
    /// PKCS#8, encrypted; the associated data is the SubjectPublicKeyInfo of the device key.
    pub ciphertext: Vec<u8>,
}

/// What a unit released. It is stored with the unit and returned byte for byte at every retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// The device key's SubjectPublicKeyInfo, in DER.
    pub public_key: Vec<u8>,
    /// The device's certificate, in DER, where the grant has a template.
    pub certificate: Option<Vec<u8>>,
    /// The device's key, where it was made here.
    pub sealed_key: Option<SealedKey>,
    /// What the device signs at confirmation.
    pub confirm_nonce: Vec<u8>,
}

/// The device's signature over entitlement, unit, certificate hash and nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProof {
    /// In the form of the device key's algorithm; DER for ECDSA.
    pub signature: Vec<u8>,
}

/// Why provisioning a device failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The unit stays as it is; a retry gives the same bytes.
    Transient,
    /// The unit is spent.
    Permanent,
    /// The unit is spent: the device has lost its key, and may have one more where the terms allow.
    KeyLost,
}

/// A batch CA's revocation list, signed and staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationFile {
    /// Id of the staged file: a list in DER for each certificate of the batch CA.
    pub file: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Higher numbers are newer; nothing in it ends by date.
    pub number: u64,
    /// How many certificates it has.
    pub revoked: u64,
}
