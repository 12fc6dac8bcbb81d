//! The decision on a batch: the same for every engine.
//!
//! A transaction is checked in full before anything of it is written, so one that is refused
//! leaves no trace in the space of the batch.

use std::collections::BTreeMap;

use mintmark_crypto::SecretBytes;

use crate::{
    Error, Found, Key, Outcome, Position, Range, Transaction, Version,
    ledger::{CHAIN_START, RowFields, row_hash},
    scan_digest,
    set_hash::{self, SetKey},
    transaction::as_counter,
};

/// The records and rows of an engine, in the middle of a batch.
pub(crate) trait Space {
    fn version(&self, key: &Key) -> Result<Version, Error>;
    fn found(&self, key: &Key) -> Result<Found, Error>;
    fn versions(&self, range: &Range) -> Result<Vec<(Key, Version)>, Error>;
    fn put(&mut self, key: &Key, version: Version, value: SecretBytes) -> Result<(), Error>;
    fn remove(&mut self, key: &Key) -> Result<(), Error>;
    fn append(&mut self, node: &str, sequence: u64, encoded: Vec<u8>) -> Result<(), Error>;
}

/// Decides and applies `batch` in order, moving `position` along.
pub(crate) fn decide(
    space: &mut impl Space,
    position: &mut Position,
    node: &str,
    set_key: &SetKey,
    batch: Vec<Transaction>,
) -> Result<Vec<Outcome>, Error> {
    let mut batch_in_progress = Batch { space, position, node, set_key };
    batch.into_iter().map(|transaction| batch_in_progress.apply(transaction)).collect()
}

struct Batch<'a, S> {
    space: &'a mut S,
    position: &'a mut Position,
    node: &'a str,
    set_key: &'a SetKey,
}

/// What a transaction does to one key.
struct Change {
    old: Found,
    new: Option<SecretBytes>,
}

type Changes = BTreeMap<Key, Change>;

impl<S: Space> Batch<'_, S> {
    fn apply(&mut self, transaction: Transaction) -> Result<Outcome, Error> {
        if let Some(refusal) = self.refusal(&transaction)? {
            return Ok(refusal);
        }
        let mut changes = Changes::new();
        for (key, value) in transaction.writes {
            let old = self.space.found(&key)?;
            changes.insert(key, Change { old, new: value });
        }
        for (index, add) in transaction.adds.iter().enumerate() {
            if !self.count(&mut changes, add)? {
                return Ok(Outcome::OutOfBounds { add: index });
            }
        }
        for sum in &transaction.sums {
            if !holds(&changes, &transaction.adds, *sum) {
                return Ok(Outcome::Unbalanced { whole: sum.whole });
            }
        }
        let mut bodies = Vec::with_capacity(transaction.rows.len());
        for row in transaction.rows {
            let mut counters = Vec::with_capacity(row.counters.len());
            for index in row.counters {
                let Some(add) = transaction.adds.get(index) else {
                    return Ok(Outcome::OutOfBounds { add: index });
                };
                let new = changes.get(&add.key).and_then(|change| change.new.as_ref());
                counters.push(new.and_then(as_counter).expect("every add has left a counter"));
            }
            bodies.push((row.body, counters));
        }
        self.position.commit += 1;
        self.write(changes)?;
        let rows = self.append(bodies)?;
        Ok(Outcome::Committed { commit: self.position.commit, rows })
    }

    /// Why the transaction is refused whatever its adds do.
    fn refusal(&self, transaction: &Transaction) -> Result<Option<Outcome>, Error> {
        if !transaction.fits() {
            return Ok(Some(Outcome::TooLarge));
        }
        if let Some((lease, epoch)) = transaction.lease
            && self.space.found(&Key::lease(lease))?.counter() != Some(epoch)
        {
            return Ok(Some(Outcome::LeaseLost));
        }
        for (key, version) in &transaction.reads {
            if self.space.version(key)? != *version {
                return Ok(Some(Outcome::Conflict));
            }
        }
        for (range, digest) in &transaction.scans {
            let seen = self.space.versions(range)?;
            if scan_digest(seen.iter().map(|(key, version)| (key, *version))) != *digest {
                return Ok(Some(Outcome::Conflict));
            }
        }
        Ok(None)
    }

    /// Adds to a counter among the changes; `false` when it would leave its bounds or is none.
    fn count(&self, changes: &mut Changes, add: &crate::Add) -> Result<bool, Error> {
        let current = match changes.get(&add.key) {
            Some(change) => change.new.as_ref().map_or(Some(0), as_counter),
            None => {
                let old = self.space.found(&add.key)?;
                let current = old.counter();
                changes.insert(add.key.clone(), Change { old, new: None });
                current
            }
        };
        let Some(value) = current.and_then(|current| current.checked_add_signed(add.delta)) else {
            return Ok(false);
        };
        if value < add.min || value > add.max {
            return Ok(false);
        }
        let new = SecretBytes::new(value.to_be_bytes().to_vec());
        changes.get_mut(&add.key).expect("inserted above if it was not there").new = Some(new);
        Ok(true)
    }

    fn write(&mut self, changes: Changes) -> Result<(), Error> {
        let version = Version(self.position.commit);
        let sum = &mut self.position.set_hash;
        for (key, change) in changes {
            if let Some(old) = &change.old.value {
                let term = self.set_key.term(&key, change.old.version, old.expose());
                set_hash::subtract(sum, &term);
            }
            match change.new {
                Some(new) => {
                    set_hash::add(sum, &self.set_key.term(&key, version, new.expose()));
                    self.space.put(&key, version, new)?;
                }
                None if change.old.value.is_some() => self.space.remove(&key)?,
                None => {}
            }
        }
        Ok(())
    }

    fn append(&mut self, rows: Vec<(Vec<u8>, Vec<u64>)>) -> Result<Vec<u64>, Error> {
        let mut sequences = Vec::with_capacity(rows.len());
        for (body, counters) in rows {
            let (sequence, previous) = match self.position.head(self.node) {
                Some(head) => (head.sequence + 1, head.hash),
                None => (1, CHAIN_START),
            };
            let fields = RowFields {
                sequence,
                previous,
                body: &body,
                counters,
                set_hash: self.position.set_hash,
            };
            let encoded = fields.encode();
            let hash = row_hash(&previous, &encoded);
            self.space.append(self.node, sequence, encoded)?;
            self.position.advance(self.node, sequence, hash);
            sequences.push(sequence);
        }
        Ok(sequences)
    }
}

/// Whether the counter of the whole is what the parts are together, as the changes leave them.
fn holds(changes: &Changes, adds: &[crate::Add], sum: crate::Sum) -> bool {
    let value = |add: &crate::Add| {
        changes.get(&add.key).and_then(|change| change.new.as_ref()).and_then(as_counter)
    };
    let parts = sum.whole.saturating_add(1)..=sum.whole.saturating_add(sum.parts);
    let (Some(whole), Some(parts)) = (adds.get(sum.whole), adds.get(parts)) else { return false };
    let total = parts.iter().try_fold(0_u64, |total, part| total.checked_add(value(part)?));
    total.is_some() && total == value(whole)
}
