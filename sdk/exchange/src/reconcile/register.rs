//! The register: what headquarters knows about every unit and every row of every site.
//!
//! The library keeps no device and no row in memory. It reads and writes the register through a
//! trait: the entitlement plugin has it in records, the offline verifier in [`MemoryRegister`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Digest, encode},
    unit::UnitState,
};

/// A register could not be read or written; the step is to be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device register can't be read or written now")]
pub struct Unavailable;

/// The units of all sites, the indexes by which two of them could be the same device, and the
/// hashes of all rows, by which a copy of a ledger is told from the ledger.
pub trait Register {
    /// The record of a unit.
    fn unit(&mut self, unit: &UnitRef) -> Result<Option<UnitRecord>, Unavailable>;

    /// Writes the record of a unit.
    fn put_unit(&mut self, unit: &UnitRef, record: &UnitRecord) -> Result<(), Unavailable>;

    /// Who holds an index.
    fn holder(&mut self, index: &Index<'_>) -> Result<Option<Holder>, Unavailable>;

    /// Makes `holder` the one who holds an index.
    fn hold(&mut self, index: &Index<'_>, holder: &Holder) -> Result<(), Unavailable>;

    /// The hashes of a page of rows, in their order; fewer than [`PAGE_ROWS`] at a ledger's end.
    fn page(&mut self, page: &PageRef<'_>) -> Result<Option<Vec<Digest>>, Unavailable>;

    /// Writes the hashes of a page of rows.
    fn put_page(&mut self, page: &PageRef<'_>, hashes: &[Digest]) -> Result<(), Unavailable>;
}

/// Rows of a page.
pub const PAGE_ROWS: u64 = 64;

/// A page of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef<'a> {
    /// SPIFFE URI of the site.
    pub site: &'a str,
    /// The node.
    pub node: &'a str,
    /// Which ledger of that node.
    pub incarnation: u64,
    /// The page's number, from 0: row 1 is the first one of page 0.
    pub page: u64,
}

impl PageRef<'_> {
    /// A key for a key-value store: distinct for distinct pages.
    pub fn key(&self) -> Vec<u8> {
        encode(&(self.site, self.node, self.incarnation, self.page))
    }
}

/// A unit of an entitlement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitRef {
    /// The entitlement.
    pub entitlement: String,
    /// The unit's number.
    pub unit: u64,
}

/// What is known of a unit after its last row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// SPIFFE URI of the site.
    pub site: String,
    /// The product's id.
    pub product: String,
    /// Where it stands.
    pub state: UnitState,
    /// The node of its last row.
    pub node: String,
    /// The ledger of its last row.
    pub incarnation: u64,
    /// Its last row; rows up to it are known already.
    pub row: u64,
    /// The ledger and the row by which it was drawn.
    pub drawn: (u64, u64),
    /// The ledger and the row by which it came to where it stands.
    pub changed: (u64, u64),
    /// Decision time of its last row.
    pub time_ms: u64,
    /// What it is spent on.
    pub subject: String,
    /// The device's serial number.
    pub serial: Option<String>,
    /// SHA-256 of the device's certificate.
    pub certificate_hash: Option<Digest>,
    /// SHA-256 of the device key's SubjectPublicKeyInfo.
    pub key_hash: Option<Digest>,
    /// The first certificate's serial number.
    pub certificate_serial: Option<Vec<u8>>,
    /// How many certificates there are for its key.
    pub certificates: u16,
    /// SPIFFE URI of the station that it belongs to.
    pub station: String,
    /// Failed attempts.
    pub attempts: u32,
    /// True once a person who never had the unit said that the device lost its key.
    pub key_lost: bool,
    /// True once the device has proved that it holds its key.
    pub proved: bool,
}

/// Something that only one device may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index<'a> {
    /// A subject of a product.
    Subject {
        /// The product's id.
        product: &'a str,
        /// The subject.
        subject: &'a str,
    },
    /// A serial number of a product.
    Serial {
        /// The product's id.
        product: &'a str,
        /// The serial number.
        serial: &'a str,
    },
    /// SHA-256 of a device key's SubjectPublicKeyInfo.
    PublicKey(&'a Digest),
    /// A certificate's serial number.
    Certificate(&'a [u8]),
}

/// The unit that has an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The unit.
    pub unit: UnitRef,
    /// How many units have had it, this one included.
    pub units: u32,
}

impl Index<'_> {
    /// A key for a key-value store: distinct for distinct indexes.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Subject { product, subject } => encode(&(0_u8, product, subject)),
            Self::Serial { product, serial } => encode(&(1_u8, product, serial)),
            Self::PublicKey(digest) => encode(&(2_u8, digest)),
            Self::Certificate(serial) => encode(&(3_u8, serial)),
        }
    }
}

/// A register in memory: for the offline verifier, and for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryRegister {
    units: BTreeMap<UnitRef, UnitRecord>,
    holders: BTreeMap<Vec<u8>, Holder>,
    pages: BTreeMap<Vec<u8>, Vec<Digest>>,
}

impl MemoryRegister {
    /// An empty register.
    pub fn new() -> Self {
        Self::default()
    }

    /// The register as one bundle sees it, which changes nothing in the register itself.
    pub fn stage(&self) -> MemoryStage<'_> {
        MemoryStage { register: self, changed: Self::new() }
    }

    /// Takes what a bundle changed, of which the verdict is clean.
    pub fn keep(&mut self, changed: Self) {
        self.units.extend(changed.units);
        self.holders.extend(changed.holders);
        self.pages.extend(changed.pages);
    }

    /// All units, by entitlement and number.
    pub fn units(&self) -> impl Iterator<Item = (&UnitRef, &UnitRecord)> {
        self.units.iter()
    }
}

/// What is registered, and over it what one bundle changed: until its verdict is there, nothing of
/// a bundle may make another one look wrong.
#[derive(Debug)]
pub struct MemoryStage<'a> {
    register: &'a MemoryRegister,
    changed: MemoryRegister,
}

impl MemoryStage<'_> {
    /// What the bundle changed: for [`MemoryRegister::keep`], or to be dropped.
    pub fn into_changed(self) -> MemoryRegister {
        self.changed
    }
}

impl Register for MemoryStage<'_> {
    fn unit(&mut self, unit: &UnitRef) -> Result<Option<UnitRecord>, Unavailable> {
        Ok(self.changed.units.get(unit).or_else(|| self.register.units.get(unit)).cloned())
    }

    fn put_unit(&mut self, unit: &UnitRef, record: &UnitRecord) -> Result<(), Unavailable> {
        self.changed.put_unit(unit, record)
    }

    fn holder(&mut self, index: &Index<'_>) -> Result<Option<Holder>, Unavailable> {
        let key = index.key();
        Ok(self.changed.holders.get(&key).or_else(|| self.register.holders.get(&key)).cloned())
    }

    fn hold(&mut self, index: &Index<'_>, holder: &Holder) -> Result<(), Unavailable> {
        self.changed.hold(index, holder)
    }

    fn page(&mut self, page: &PageRef<'_>) -> Result<Option<Vec<Digest>>, Unavailable> {
        let key = page.key();
        Ok(self.changed.pages.get(&key).or_else(|| self.register.pages.get(&key)).cloned())
    }

    fn put_page(&mut self, page: &PageRef<'_>, hashes: &[Digest]) -> Result<(), Unavailable> {
        self.changed.put_page(page, hashes)
    }
}

impl Register for MemoryRegister {
    fn unit(&mut self, unit: &UnitRef) -> Result<Option<UnitRecord>, Unavailable> {
        Ok(self.units.get(unit).cloned())
    }

    fn put_unit(&mut self, unit: &UnitRef, record: &UnitRecord) -> Result<(), Unavailable> {
        self.units.insert(unit.clone(), record.clone());
        Ok(())
    }

    fn holder(&mut self, index: &Index<'_>) -> Result<Option<Holder>, Unavailable> {
        Ok(self.holders.get(&index.key()).cloned())
    }

    fn hold(&mut self, index: &Index<'_>, holder: &Holder) -> Result<(), Unavailable> {
        self.holders.insert(index.key(), holder.clone());
        Ok(())
    }

    fn page(&mut self, page: &PageRef<'_>) -> Result<Option<Vec<Digest>>, Unavailable> {
        Ok(self.pages.get(&page.key()).cloned())
    }

    fn put_page(&mut self, page: &PageRef<'_>, hashes: &[Digest]) -> Result<(), Unavailable> {
        self.pages.insert(page.key(), hashes.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "spiffe://acme/site/shenzhen";

    fn holder(unit: u64) -> Holder {
        let entitlement = "ent-0123456789abcdef".to_owned();
        Holder { unit: UnitRef { entitlement, unit }, units: 1 }
    }

    #[test]
    fn what_a_bundle_changed_is_there_for_others_only_once_it_is_kept() {
        let (index, page) = (
            Index::Serial { product: "t2", serial: "T-1" },
            PageRef { site: SITE, node: "n1", incarnation: 1, page: 0 },
        );
        let mut register = MemoryRegister::new();
        register.hold(&index, &holder(1)).unwrap();
        let before = register.clone();
        let mut stage = register.stage();
        assert_eq!(stage.holder(&index), Ok(Some(holder(1))), "what is registered is seen");
        stage.hold(&index, &holder(2)).unwrap();
        stage.put_page(&page, &[[1; 32]]).unwrap();
        assert_eq!(stage.holder(&index), Ok(Some(holder(2))), "and what was changed over it");
        assert_eq!(stage.page(&page), Ok(Some(vec![[1; 32]])));
        let changed = stage.into_changed();
        assert_eq!(register, before);
        register.keep(changed);
        assert_eq!(register.holder(&index), Ok(Some(holder(2))));
        assert_eq!(register.page(&page), Ok(Some(vec![[1; 32]])));
    }
}
