//! The tables of the file, and a batch's view of them.

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::{codec::Standing, guard::engine_error};
use crate::{
    Damage, Error, Found, Key, Range, Version,
    decide::Space,
    sealing::{Sealing, row_place},
    transaction::is_empty_range,
};
use mintmark_crypto::SecretBytes;

type Bytes = &'static [u8];

/// Table and key → version and sealed value.
pub(super) const RECORDS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("records");
/// Node and sequence → sealed row.
pub(super) const ROWS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("rows");
/// What the store keeps about itself.
pub(super) const META: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("meta");

const HEADER: &[u8] = b"header";
const STANDING: &[u8] = b"standing";

/// The tables of one write transaction.
pub(super) struct Tables<'a> {
    records: Table<'a, Bytes, Bytes>,
    rows: Table<'a, Bytes, Bytes>,
    meta: Table<'a, Bytes, Bytes>,
    sealing: &'a Sealing,
}

impl<'a> Tables<'a> {
    pub(super) fn open(write: &'a WriteTransaction, sealing: &'a Sealing) -> Result<Self, Error> {
        Ok(Self {
            records: write.open_table(RECORDS).map_err(engine_error)?,
            rows: write.open_table(ROWS).map_err(engine_error)?,
            meta: write.open_table(META).map_err(engine_error)?,
            sealing,
        })
    }

    pub(super) fn put_header(&mut self, header: &[u8]) -> Result<(), Error> {
        self.meta.insert(HEADER, header).map_err(engine_error)?;
        Ok(())
    }

    pub(super) fn standing(&self) -> Result<Standing, Error> {
        read_standing(&self.meta, self.sealing)
    }

    pub(super) fn put_standing(&mut self, standing: &Standing) -> Result<(), Error> {
        let sealed = self.sealing.seal_position(&standing.encode());
        self.meta.insert(STANDING, sealed.as_slice()).map_err(engine_error)?;
        Ok(())
    }
}

impl Space for Tables<'_> {
    fn version(&self, key: &Key) -> Result<Version, Error> {
        read_version(&self.records, key)
    }

    fn found(&self, key: &Key) -> Result<Found, Error> {
        read_record(&self.records, self.sealing, key)
    }

    fn versions(&self, range: &Range) -> Result<Vec<(Key, Version)>, Error> {
        read_range(&self.records, range, |key, version, _| Ok((key, version)))
    }

    fn put(&mut self, key: &Key, version: Version, value: SecretBytes) -> Result<(), Error> {
        let sealed = self.sealing.seal_record(key, version, value.expose());
        let mut stored = Vec::with_capacity(8 + sealed.len());
        stored.extend_from_slice(&version.0.to_be_bytes());
        stored.extend_from_slice(&sealed);
        self.records.insert(key.encoded().as_slice(), stored.as_slice()).map_err(engine_error)?;
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<(), Error> {
        self.records.remove(key.encoded().as_slice()).map_err(engine_error)?;
        Ok(())
    }

    fn append(&mut self, node: &str, sequence: u64, encoded: Vec<u8>) -> Result<(), Error> {
        let sealed = self.sealing.seal_row(node, sequence, &encoded);
        self.rows
            .insert(row_place(node, sequence).as_slice(), sealed.as_slice())
            .map_err(engine_error)?;
        Ok(())
    }
}

/// The header of a file that has not been recognised yet.
pub(super) fn header_bytes(read: &ReadTransaction) -> Result<Vec<u8>, Error> {
    // A file of another program, or one whose creation was interrupted, has no such table.
    let meta = read.open_table(META).map_err(|_| Damage::Header)?;
    let header = meta.get(HEADER).map_err(engine_error)?;
    Ok(header.ok_or(Damage::Header)?.value().to_vec())
}

pub(super) fn read_standing(
    meta: &impl ReadableTable<Bytes, Bytes>,
    sealing: &Sealing,
) -> Result<Standing, Error> {
    let sealed = meta.get(STANDING).map_err(engine_error)?;
    let opened = sealing.open_position(sealed.ok_or(Damage::Position)?.value())?;
    Standing::decode(opened.expose()).ok_or_else(|| Damage::Position.into())
}

fn read_version(records: &impl ReadableTable<Bytes, Bytes>, key: &Key) -> Result<Version, Error> {
    let stored = records.get(key.encoded().as_slice()).map_err(engine_error)?;
    match stored {
        None => Ok(Version::ABSENT),
        Some(stored) => Ok(split_stored(key, stored.value())?.0),
    }
}

pub(super) fn read_record(
    records: &impl ReadableTable<Bytes, Bytes>,
    sealing: &Sealing,
    key: &Key,
) -> Result<Found, Error> {
    let stored = records.get(key.encoded().as_slice()).map_err(engine_error)?;
    match stored {
        None => Ok(Found::absent()),
        Some(stored) => open_stored(sealing, key, stored.value()),
    }
}

/// Reads the records of `range`, each through `read`, which gets key, version and sealed value.
pub(super) fn read_range<T>(
    records: &impl ReadableTable<Bytes, Bytes>,
    range: &Range,
    mut read: impl FnMut(Key, Version, &[u8]) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let (first, end) = range.bounds();
    let mut found = Vec::new();
    if is_empty_range(&(first.clone(), end.clone())) {
        return Ok(found);
    }
    let bounds = (first.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
    let mut entries = records.range::<&[u8]>(bounds).map_err(engine_error)?;
    while found.len() < range.limit {
        let entry = match range.reverse {
            false => entries.next(),
            true => entries.next_back(),
        };
        let Some(entry) = entry else { break };
        let (encoded, stored) = entry.map_err(engine_error)?;
        let key = Key::decode(encoded.value()).ok_or(Damage::File)?;
        let (version, sealed) = split_stored(&key, stored.value())?;
        found.push(read(key, version, sealed)?);
    }
    Ok(found)
}

pub(super) fn open_stored(sealing: &Sealing, key: &Key, stored: &[u8]) -> Result<Found, Error> {
    let (version, sealed) = split_stored(key, stored)?;
    let value = Some(sealing.open_record(key, version, sealed)?);
    Ok(Found { value, version })
}

/// A stored record begins with its version, in the clear but bound to the sealed value.
fn split_stored<'a>(key: &Key, stored: &'a [u8]) -> Result<(Version, &'a [u8]), Error> {
    let table = key.table;
    let (version, sealed) = stored.split_first_chunk().ok_or(Damage::Record { table })?;
    Ok((Version(u64::from_be_bytes(*version)), sealed))
}
