//! Grants: the part of an entitlement that limits, signed by headquarters' host.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, DecodeError, Digest, encode, framed, is_name, sha256},
    order::SignedOrder,
    product::{KeyOrigin, Product},
};

/// What a site may do. Travels as a [`SignedOrder`] under [`GRANT`](crate::order::GRANT).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// 1.
    pub version: u16,
    /// `ent-` and 16 lower-case hexadecimal digits. Remembered for ever by the site.
    pub entitlement: String,
    /// The entitlement's number, part of every certificate's serial number.
    pub number: u32,
    /// The order number that made it.
    pub order: String,
    /// SPIFFE URI of the headquarters that grants.
    pub exporter: String,
    /// SPIFFE URI of the site that may act.
    pub recipient: String,
    /// When it was granted, milliseconds since the epoch.
    pub issued_at: u64,
    /// The devices.
    pub product: Product,
    /// The limits.
    pub terms: Terms,
    /// The self-signed CA of the product, DER.
    pub product_ca: Option<Vec<u8>>,
    /// The CA of this entitlement's devices, signed by the product CA, DER.
    pub batch_ca: Option<Vec<u8>>,
    /// The key packages that belong to the grant. Empty in [`Grant::core_digest`].
    pub packages: Vec<PackageRef>,
    /// The plugins that may use it.
    pub accepted_plugins: AcceptedPlugins,
}

/// A key package, named by what is in it and by its sealed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRef {
    /// What is in it.
    pub kind: PackageKind,
    /// [`SealedPackage::digest`].
    pub digest: Digest,
}

/// What is in a key package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PackageKind {
    /// The private key of the batch CA.
    BatchCa,
    /// The secret from which device keys are derived.
    KeySet,
    /// Given keys, in a key file of their own: the digest is [`crate::pool::KeyFileHead::digest`].
    Pool,
}

/// The plugins that may use a grant: by their exact bytes, or by who published them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedPlugins {
    /// SHA-256 of accepted components.
    pub measurements: Vec<Digest>,
    /// Accepted publishers, each with the oldest security version that will do.
    pub publishers: Vec<Publisher>,
}

/// A publisher of plugins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// SHA-256 of the publisher's SubjectPublicKeyInfo.
    pub key_hash: Digest,
    /// The smallest security version accepted.
    pub security_version_min: u32,
}

/// The limits of an entitlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Units.
    pub total: u64,
    /// Nothing is reserved before, milliseconds since the epoch.
    pub not_before: u64,
    /// Nothing is reserved after.
    pub not_after: u64,
    /// Every one holds: in no interval of its length are more units reserved.
    pub rates: Vec<Rate>,
    /// Most units reserved or issued and not yet ended.
    pub max_in_doubt: u64,
    /// Most failed attempts of a subject.
    pub max_attempts_per_subject: u32,
    /// Most units of a subject; 1 unless a lost key may be replaced.
    pub max_units_per_subject: u32,
    /// Units that may be scrapped without approval.
    pub scrap_allowance: u64,
    /// How much may happen without a receipt.
    pub audit_return: AuditReturn,
    /// Whether a device proves that it holds its key.
    pub confirm_proof: ConfirmProof,
    /// How long after the window an issued identity is still released.
    pub grace_seconds: u64,
    /// Units of a node's lease.
    pub lease_size: u64,
    /// How long after the window the allotment stays paused before the host closes it.
    pub max_pause_seconds: u64,
    /// Most certificates of a unit, all for its one key.
    pub certificates_per_unit: u16,
}

/// A rate window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Most units.
    pub units: u64,
    /// In any interval of this length.
    pub per_seconds: u64,
}

/// How much may happen without a receipt from headquarters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReturn {
    /// Most units reserved after the newest receipt's heads.
    pub units: u64,
    /// Longest time since the export that the newest receipt answers.
    pub seconds: u64,
}

/// Whether a device proves that it holds its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfirmProof {
    /// A confirmation without proof is refused.
    Required,
    /// A proof is checked where there is one.
    Optional,
    /// Devices can't sign.
    None,
}

/// A key package as sealed to the recipient's transfer key.
///
/// AAD of the sealing is [`Grant::core_digest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPackage {
    /// What is in it.
    pub kind: PackageKind,
    /// The HPKE encapsulated key.
    pub encapsulated: Vec<u8>,
    /// The sealed bytes.
    pub ciphertext: Vec<u8>,
}

/// A grant with its key packages: the opaque bytes that plugins carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPackage {
    /// The signed grant.
    pub grant: SignedOrder,
    /// The packages but for a pool's keys, in the order in which the grant lists them.
    pub packages: Vec<SealedPackage>,
}

/// Why terms or a product are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Must be at least one.
    #[error("{0} is zero")]
    Zero(&'static str),
    /// Larger than any sound value.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// Ends before it begins.
    #[error("{0} ends before it begins")]
    Reversed(&'static str),
    /// Must be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Does not have its form.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// Contradicts another field.
    #[error("{0} contradicts another field")]
    Mismatch(&'static str),
}

/// The only version of a grant.
pub const VERSION: u16 = 1;
/// Most units of an entitlement.
pub const TOTAL_MAX: u64 = 1 << 40;
/// Most rate windows.
pub const RATES_MAX: usize = 8;
/// The longest duration that a term may name: a hundred years.
pub const SECONDS_MAX: u64 = 100 * 366 * 86_400;
/// The latest time that a term may name: the end of the year 9999, as certificates can say it.
pub const TIME_MS_MAX: u64 = 253_402_300_799_000;
/// Most bytes of an encoded grant package.
pub const PACKAGE_BYTES_MAX: usize = crate::order::ORDER_BYTES_MAX + (64 << 10);

impl Grant {
    /// Digest of the grant without its package list: the AAD under which packages are sealed.
    ///
    /// A package's digest can't be part of its own AAD. So packages are sealed to everything else
    /// that the grant says, and the signed grant then lists their digests: neither can be moved
    /// to another grant.
    pub fn core_digest(&self) -> Digest {
        let core = Self { packages: Vec::new(), ..self.clone() };
        sha256(&framed("mintmark grant core v1", &[&encode(&core)]))
    }

    /// The digest by which the grant is known in rows: [`crate::order::digest`].
    pub fn digest(&self) -> Digest {
        crate::order::digest(crate::order::GRANT, &encode(self))
    }

    /// The digest of the key file's head, where keys come from a pool.
    pub fn key_file(&self) -> Option<Digest> {
        let listed = self.packages.iter().find(|package| package.kind == PackageKind::Pool);
        listed.map(|package| package.digest)
    }

    /// Refuses what no site could keep, naming the field.
    pub fn check(&self) -> Result<(), TermsError> {
        if self.version != VERSION {
            return Err(TermsError::Malformed("version"));
        }
        if !is_entitlement(&self.entitlement) {
            return Err(TermsError::Malformed("entitlement"));
        }
        if !crate::canonical::is_subject(&self.order) {
            return Err(TermsError::Malformed("order"));
        }
        self.terms.check()?;
        self.product.check(self.terms.total)?;
        let accepted = &self.accepted_plugins;
        if accepted.measurements.is_empty() && accepted.publishers.is_empty() {
            return Err(TermsError::Missing("accepted_plugins"));
        }
        let mut kinds: Vec<_> = self.packages.iter().map(|package| package.kind).collect();
        kinds.sort_unstable();
        if kinds.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(TermsError::Malformed("packages"));
        }
        if (self.product.origin == KeyOrigin::Pool) != self.key_file().is_some() {
            return Err(TermsError::Mismatch("packages"));
        }
        let certified = self.product.template.is_some();
        if certified && (self.product_ca.is_none() || self.batch_ca.is_none()) {
            return Err(TermsError::Missing("batch_ca"));
        }
        if certified && self.terms.certificates_per_unit == 0 {
            return Err(TermsError::Zero("terms.certificates_per_unit"));
        }
        Ok(())
    }
}

impl Terms {
    /// Refuses what no site could keep, naming the field.
    pub fn check(&self) -> Result<(), TermsError> {
        within("terms.total", self.total, TOTAL_MAX)?;
        if self.not_after <= self.not_before {
            return Err(TermsError::Reversed("terms.not_after"));
        }
        within("terms.not_after", self.not_after, TIME_MS_MAX)?;
        if self.rates.len() > RATES_MAX {
            return Err(TermsError::TooLarge("terms.rates"));
        }
        for rate in &self.rates {
            within("terms.rates.units", rate.units, TOTAL_MAX)?;
            within("terms.rates.per_seconds", rate.per_seconds, SECONDS_MAX)?;
        }
        within("terms.max_in_doubt", self.max_in_doubt, TOTAL_MAX)?;
        within("terms.max_attempts_per_subject", self.max_attempts_per_subject.into(), 1_000)?;
        within("terms.max_units_per_subject", self.max_units_per_subject.into(), 100)?;
        at_most("terms.scrap_allowance", self.scrap_allowance, TOTAL_MAX)?;
        within("terms.audit_return.units", self.audit_return.units, TOTAL_MAX)?;
        within("terms.audit_return.seconds", self.audit_return.seconds, SECONDS_MAX)?;
        at_most("terms.grace_seconds", self.grace_seconds, SECONDS_MAX)?;
        within("terms.lease_size", self.lease_size, TOTAL_MAX)?;
        at_most("terms.max_pause_seconds", self.max_pause_seconds, SECONDS_MAX)?;
        at_most("terms.certificates_per_unit", self.certificates_per_unit.into(), 64)
    }
}

impl AcceptedPlugins {
    /// True if a component with this measurement may use the grant, published by `publishers`
    /// (key hashes) with this security version.
    pub fn accept(
        &self,
        measurement: &Digest,
        publishers: &[Digest],
        security_version: u32,
    ) -> bool {
        let published = |wanted: &Publisher| {
            publishers.contains(&wanted.key_hash) && security_version >= wanted.security_version_min
        };
        self.measurements.contains(measurement) || self.publishers.iter().any(published)
    }
}

impl SealedPackage {
    /// The digest by which the grant names this package.
    pub fn digest(&self) -> Digest {
        sha256(&framed("mintmark key package v1", &[&encode(self)]))
    }
}

impl GrantPackage {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes and bounds a package; signature and digests are checked by who acts on it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let package: Self = canonical::decode(bytes, PACKAGE_BYTES_MAX)?;
        let bounded = package.grant.is_bounded() && package.packages.len() <= 2;
        if bounded { Ok(package) } else { Err(DecodeError::TooLong) }
    }

    /// True if the packages are exactly those that `grant` lists, in its order. Keys of a pool come
    /// apart, in their key file.
    pub fn matches(&self, grant: &Grant) -> bool {
        let carried = || grant.packages.iter().filter(|one| one.kind != PackageKind::Pool);
        self.packages.len() == carried().count()
            && self.packages.iter().zip(carried()).all(|(sealed, listed)| {
                sealed.kind == listed.kind && sealed.digest() == listed.digest
            })
    }
}

/// True for `ent-` and 16 lower-case hexadecimal digits.
pub fn is_entitlement(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 20 && is_name(text) && text.starts_with("ent-") && text.bytes().skip(4).all(hex)
}

fn within(field: &'static str, value: u64, max: u64) -> Result<(), TermsError> {
    if value == 0 { Err(TermsError::Zero(field)) } else { at_most(field, value, max) }
}

fn at_most(field: &'static str, value: u64, max: u64) -> Result<(), TermsError> {
    if value > max { Err(TermsError::TooLarge(field)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
