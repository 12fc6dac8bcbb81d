//! A consistent view of the file, which later commits do not change.

use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::{
    codec::Standing,
    guard::{engine_error, guarded},
    space::{META, RECORDS, ROWS, open_stored, read_range, read_record, read_standing},
};
use crate::{
    Damage, Error, Found, Key, Later, Mark, Position, Range, Row, Snapshot, Verified,
    ledger::Page,
    sealing::{Sealing, row_place},
    walk::Walk,
};

type Bytes = &'static [u8];

/// A read transaction of the engine, with the standing that it sees.
pub(super) struct EmbeddedSnapshot {
    records: ReadOnlyTable<Bytes, Bytes>,
    rows: ReadOnlyTable<Bytes, Bytes>,
    sealing: Arc<Sealing>,
    standing: Standing,
}

impl EmbeddedSnapshot {
    pub(super) fn new(read: &ReadTransaction, sealing: Arc<Sealing>) -> Result<Self, Error> {
        let meta = read.open_table(META).map_err(engine_error)?;
        let standing = read_standing(&meta, &sealing)?;
        Ok(Self {
            records: read.open_table(RECORDS).map_err(engine_error)?,
            rows: read.open_table(ROWS).map_err(engine_error)?,
            sealing,
            standing,
        })
    }

    pub(super) fn verify(&self) -> Result<Verified, Error> {
        let mut walk = Walk::new(&self.sealing.set, &self.standing.position);
        for entry in self.records.iter().map_err(engine_error)? {
            let (encoded, stored) = entry.map_err(engine_error)?;
            let key = Key::decode(encoded.value()).ok_or(Damage::File)?;
            let found = open_stored(&self.sealing, &key, stored.value())?;
            let value = found.value.ok_or(Damage::File)?;
            walk.record(&key, found.version, value.expose());
        }
        for entry in self.rows.iter().map_err(engine_error)? {
            let (place, sealed) = entry.map_err(engine_error)?;
            let (node, sequence) = split_place(place.value()).ok_or(Damage::File)?;
            let encoded = self.sealing.open_row(node, sequence, sealed.value())?;
            walk.row(node, sequence, encoded.expose())?;
        }
        walk.finish()
    }

    fn scan_now(&self, range: &Range) -> Result<Vec<(Key, Found)>, Error> {
        read_range(&self.records, range, |key, version, sealed| {
            let value = Some(self.sealing.open_record(&key, version, sealed)?);
            Ok((key, Found { value, version }))
        })
    }

    fn rows_now(&self, node: &str, after: u64, limit_bytes: usize) -> Result<Vec<Row>, Error> {
        let mut page = Page::new(after, limit_bytes);
        let Some(first) = after.checked_add(1) else {
            return Ok(page.rows);
        };
        // Up to the head as stated: a chain that ends before it has lost its end.
        let head = self.standing.position.head(node);
        let last = head.map_or(0, |head| head.sequence);
        if first > last {
            return Ok(page.rows);
        }
        let places = row_place(node, first)..=row_place(node, last);
        let places = places.start().as_slice()..=places.end().as_slice();
        for entry in self.rows.range::<&[u8]>(places).map_err(engine_error)? {
            let (place, sealed) = entry.map_err(engine_error)?;
            let (_, sequence) = split_place(place.value()).ok_or(Damage::File)?;
            let encoded = self.sealing.open_row(node, sequence, sealed.value())?;
            if !page.push(sequence, encoded.expose())? {
                return Ok(page.rows);
            }
        }
        match page.rows.last() {
            Some(row) if row.sequence == last => Ok(page.rows),
            _ => Err(Damage::Head { sequence: last }.into()),
        }
    }
}

impl Snapshot for EmbeddedSnapshot {
    fn get<'a>(&'a self, keys: &'a [Key]) -> Later<'a, Vec<Found>> {
        Box::pin(async {
            guarded(|| {
                keys.iter().map(|key| read_record(&self.records, &self.sealing, key)).collect()
            })
        })
    }

    fn scan<'a>(&'a self, range: &'a Range) -> Later<'a, Vec<(Key, Found)>> {
        Box::pin(async { guarded(|| self.scan_now(range)) })
    }

    fn rows<'a>(&'a self, node: &'a str, after: u64, limit_bytes: usize) -> Later<'a, Vec<Row>> {
        Box::pin(async move { guarded(|| self.rows_now(node, after, limit_bytes)) })
    }

    fn position(&self) -> &Position {
        &self.standing.position
    }

    fn previous(&self) -> &Mark {
        &self.standing.previous
    }

    fn is_stable(&self) -> bool {
        true
    }
}

fn split_place(place: &[u8]) -> Option<(&str, u64)> {
    let (&node_len, rest) = place.split_first()?;
    let (node, sequence) = rest.split_at_checked(usize::from(node_len))?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some((std::str::from_utf8(node).ok()?, sequence))
}
