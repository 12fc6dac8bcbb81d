//! The register of all devices and rows that sites reported, in records.
//!
//! A bundle that is being checked writes beside the register, into a *stage*: only a bundle whose
//! verdict is clean becomes part of it. So a bundle with a breach can't make a later, honest one
//! look wrong.

use std::collections::BTreeMap;

use mintmark_exchange::canonical::{self, encode, sha256};
use mintmark_exchange::reconcile::{
    Holder, Index, PageRef, Register, Unavailable, UnitRecord, UnitRef,
};
use mintmark_sdk::records::{self, BATCH_MAX, Entry};
use mintmark_sdk::{Digest, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The register as one bundle sees it: what is registered, and over it what the bundle changed.
///
/// Changes are collected and written by [`StagedRegister::finish`]. After an error that the checks
/// could not report, `finish` gives it.
#[derive(Debug, Default)]
pub(crate) struct StagedRegister {
    seen: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    changed: BTreeMap<Vec<u8>, Vec<u8>>,
    failed: Option<Error>,
}

const REGISTER: &[u8] = b"register\0";
const STAGE: &[u8] = b"stage\0";

/// A record's key has at most 512 bytes, and an index may hold what a site wrote.
const KEY_BYTES_MAX: usize = 400;
const VALUE_BYTES_MAX: usize = 256 << 10;
/// Records that are registered or dropped together: 2 KiB each are far from what a call of the host
/// takes, 4 MiB.
const SOME: u32 = 1_024;

impl StagedRegister {
    /// Writes what changed into the stage.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let changed: Vec<_> = self.changed.into_iter().collect();
        for batch in changed.chunks(BATCH_MAX) {
            let entry = |(key, value): &(Vec<u8>, Vec<u8>)| {
                Entry::new([STAGE, key].concat(), value.as_slice())
            };
            records::put_many(&batch.iter().map(entry).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn read<T: Serialize + DeserializeOwned>(
        &mut self,
        key: Vec<u8>,
    ) -> Result<Option<T>, Unavailable> {
        if !self.seen.contains_key(&key) {
            let value = lookup(&key).map_err(|error| self.fail(error))?;
            self.seen.insert(key.clone(), value);
        }
        let value = self.changed.get(&key).or_else(|| self.seen.get(&key)?.as_ref());
        match value.map(|value| decode(value)).transpose() {
            Ok(found) => Ok(found),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn write<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.changed.insert(key, encode(value));
    }

    fn fail(&mut self, error: Error) -> Unavailable {
        self.failed.get_or_insert(error);
        Unavailable
    }
}

impl Register for StagedRegister {
    fn unit(&mut self, unit: &UnitRef) -> Result<Option<UnitRecord>, Unavailable> {
        self.read(unit_key(unit))
    }

    fn put_unit(&mut self, unit: &UnitRef, record: &UnitRecord) -> Result<(), Unavailable> {
        self.write(unit_key(unit), record);
        Ok(())
    }

    fn holder(&mut self, index: &Index<'_>) -> Result<Option<Holder>, Unavailable> {
        self.read(holder_key(index))
    }

    fn hold(&mut self, index: &Index<'_>, holder: &Holder) -> Result<(), Unavailable> {
        self.write(holder_key(index), holder);
        Ok(())
    }

    fn page(&mut self, page: &PageRef<'_>) -> Result<Option<Vec<Digest>>, Unavailable> {
        self.read(page_key(page))
    }

    fn put_page(&mut self, page: &PageRef<'_>, hashes: &[Digest]) -> Result<(), Unavailable> {
        self.write(page_key(page), &hashes);
        Ok(())
    }
}

/// Makes some of the stage part of the register; true when nothing is left of it.
pub(crate) fn register_some() -> Result<bool, Error> {
    let entries = records::scan(STAGE, None, SOME)?;
    let registered = entries.iter().map(|entry| {
        let key = [REGISTER, &entry.key[STAGE.len()..]].concat();
        Entry::new(key, entry.value.as_slice())
    });
    records::put_many(&registered.collect::<Vec<_>>())?;
    remove(&entries)
}

/// Drops some of the stage; true when nothing is left of it.
pub(crate) fn drop_some() -> Result<bool, Error> {
    remove(&records::scan(STAGE, None, SOME)?)
}

/// The registered units that hold any of the indexes.
pub(crate) fn find(indexes: &[Index<'_>]) -> Result<Vec<(UnitRef, UnitRecord)>, Error> {
    let mut found: Vec<(UnitRef, UnitRecord)> = Vec::new();
    for batch in indexes.chunks(BATCH_MAX) {
        let keys: Vec<_> =
            batch.iter().map(|index| [REGISTER, &holder_key(index)].concat()).collect();
        for value in records::get_many(&keys)?.into_iter().flatten() {
            let unit = decode::<Holder>(&value)?.unit;
            let key = [REGISTER, &unit_key(&unit)].concat();
            let record = records::get(key)?.ok_or(Error::Malformed("the device register"))?;
            found.push((unit, decode(&record)?));
        }
    }
    Ok(found)
}

/// What is staged comes before what is registered; both are asked for at once.
fn lookup(key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let keys = [[STAGE, key].concat(), [REGISTER, key].concat()];
    Ok(records::get_many(&keys)?.into_iter().flatten().next())
}

fn remove(entries: &[Entry]) -> Result<bool, Error> {
    if entries.is_empty() {
        return Ok(true);
    }
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
    records::delete_many(&keys)?;
    Ok(false)
}

fn unit_key(unit: &UnitRef) -> Vec<u8> {
    short([b"u", unit.entitlement.as_bytes(), &[0], &unit.unit.to_be_bytes()].concat())
}

fn holder_key(index: &Index<'_>) -> Vec<u8> {
    short([b"h", index.key().as_slice()].concat())
}

fn page_key(page: &PageRef<'_>) -> Vec<u8> {
    short([b"p", page.key().as_slice()].concat())
}

/// A long key is replaced by its digest. The first byte keeps the kinds apart.
fn short(key: Vec<u8>) -> Vec<u8> {
    if key.len() <= KEY_BYTES_MAX {
        return key;
    }
    [b"d".as_slice(), &sha256(&key)].concat()
}

fn decode<T: Serialize + DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    canonical::decode(value, VALUE_BYTES_MAX).map_err(|_| Error::Malformed("the device register"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::installed;
    use mintmark_exchange::unit::UnitState;

    fn unit(number: u64) -> UnitRef {
        UnitRef { entitlement: "ent-0123456789abcdef".to_owned(), unit: number }
    }

    fn record(state: UnitState) -> UnitRecord {
        UnitRecord {
            site: "spiffe://acme/site/shenzhen".to_owned(),
            product: "t2".to_owned(),
            state,
            node: "n1".to_owned(),
            incarnation: 1,
            row: 7,
            drawn: (1, 7),
            changed: (1, 7),
            time_ms: 1,
            subject: "SN:1".to_owned(),
            serial: None,
            certificate_hash: None,
            key_hash: None,
            certificate_serial: None,
            certificates: 0,
            station: String::new(),
            attempts: 0,
            key_lost: false,
            proved: false,
        }
    }

    const SUBJECT: Index<'_> = Index::Subject { product: "t2", subject: "SN:1" };

    fn stage(state: UnitState) {
        let mut register = StagedRegister::default();
        register.put_unit(&unit(1), &record(state)).unwrap();
        register.hold(&SUBJECT, &Holder { unit: unit(1), units: 1 }).unwrap();
        register.finish().unwrap();
    }

    fn state() -> Option<UnitState> {
        StagedRegister::default().unit(&unit(1)).unwrap().map(|record| record.state)
    }

    #[test]
    fn a_step_sees_its_own_changes_and_those_of_earlier_steps() {
        let _records = installed();
        let mut register = StagedRegister::default();
        assert_eq!(register.unit(&unit(1)), Ok(None));
        register.put_unit(&unit(1), &record(UnitState::Reserved)).unwrap();
        assert_eq!(register.unit(&unit(1)), Ok(Some(record(UnitState::Reserved))));
        register.finish().unwrap();
        assert_eq!(state(), Some(UnitState::Reserved));
    }

    #[test]
    fn a_device_is_registered_only_when_its_bundle_is() {
        let _records = installed();
        stage(UnitState::Issued);
        assert_eq!(find(&[SUBJECT]), Ok(Vec::new()));
        assert_eq!(register_some(), Ok(false));
        assert_eq!(register_some(), Ok(true));
        assert_eq!(find(&[SUBJECT]), Ok(vec![(unit(1), record(UnitState::Issued))]));
    }

    #[test]
    fn a_refused_bundle_leaves_the_register_as_it_was() {
        let _records = installed();
        stage(UnitState::Issued);
        while !register_some().unwrap() {}
        stage(UnitState::Scrapped);
        assert_eq!(state(), Some(UnitState::Scrapped));
        while !drop_some().unwrap() {}
        assert_eq!(state(), Some(UnitState::Issued));
    }

    #[test]
    fn a_page_of_rows_is_kept_and_found_again() {
        let _records = installed();
        let page = PageRef { site: "spiffe://acme/site/a", node: "n1", incarnation: 1, page: 3 };
        let hashes = vec![[7; 32]; 64];
        let mut register = StagedRegister::default();
        register.put_page(&page, &hashes).unwrap();
        assert_eq!(register.page(&page), Ok(Some(hashes.clone())));
        register.finish().unwrap();
        assert_eq!(StagedRegister::default().page(&page), Ok(Some(hashes)));
        let other = PageRef { page: 4, ..page };
        assert_eq!(StagedRegister::default().page(&other), Ok(None));
    }

    #[test]
    fn what_is_registered_together_fits_a_call_of_the_host() {
        let _records = installed();
        let site = "spiffe://acme/site/a";
        for begin in [0, 1_000, 2_000] {
            let mut register = StagedRegister::default();
            for page in begin..begin + 1_000 {
                let page = PageRef { site, node: "n1", incarnation: 1, page };
                register.put_page(&page, &[[7; 32]; 64]).unwrap();
            }
            register.finish().unwrap();
        }
        while !register_some().unwrap() {}
        let page = PageRef { site, node: "n1", incarnation: 1, page: 2_999 };
        assert_eq!(StagedRegister::default().page(&page), Ok(Some(vec![[7; 32]; 64])));
    }

    #[test]
    fn p3_an_index_of_any_length_has_a_key() {
        let _records = installed();
        let long = "x".repeat(60_000);
        let index = Index::Serial { product: "t2", serial: &long };
        let mut register = StagedRegister::default();
        register.hold(&index, &Holder { unit: unit(2), units: 1 }).unwrap();
        register.finish().unwrap();
        let holder = StagedRegister::default().holder(&index).unwrap().unwrap();
        assert_eq!(holder.unit, unit(2));
    }

    #[test]
    fn a_record_that_cannot_be_read_stops_the_step() {
        let _records = installed();
        records::put([STAGE, &unit_key(&unit(1))].concat(), b"?".as_slice()).unwrap();
        let mut register = StagedRegister::default();
        assert_eq!(register.unit(&unit(1)), Err(Unavailable));
        assert!(register.finish().is_err());
    }
}
