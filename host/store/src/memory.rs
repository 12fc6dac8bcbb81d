//! An engine that keeps everything in memory and nothing afterwards: for tests, and for plugins
//! that run natively. Decisions, row encoding and hashes are those of the embedded engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mintmark_crypto::{Secret, SecretBytes};

use crate::{
    Damage, Error, Found, Identity, Key, Later, Mark, Outcome, Position, Range, Row, Snapshot,
    Store, Transaction, Verified, Version,
    decide::{Space, decide},
    ledger::Page,
    sealing::Sealing,
    transaction::is_empty_range,
    walk::Walk,
};

/// A store in memory.
pub struct Memory {
    node: String,
    sealing: Sealing,
    state: Mutex<Arc<State>>,
}

impl Memory {
    /// An empty store with a set key of its own; rows go to the chain of `identity.node`.
    pub fn new(identity: &Identity) -> Self {
        let position = Position::default();
        Self {
            node: identity.node.clone(),
            sealing: Sealing::new(&Secret::random(), &identity.store_id),
            state: Mutex::new(Arc::new(State {
                records: BTreeMap::new(),
                rows: BTreeMap::new(),
                previous: position.mark(),
                position,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, Arc<State>> {
        // The state is replaced whole, so a panic elsewhere can't leave half of a batch in it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_now(&self, batch: Vec<Transaction>) -> Result<Vec<Outcome>, Error> {
        let mut shared = self.state();
        let mut state = State::clone(&shared);
        let before = state.position.mark();
        let mut position = state.position.clone();
        let set_key = &self.sealing.set;
        let outcomes = decide(&mut state, &mut position, &self.node, set_key, batch)?;
        if position.commit != before.commit {
            state.previous = before;
            state.position = position;
            *shared = Arc::new(state);
        }
        Ok(outcomes)
    }

    fn verify_now(&self) -> Result<Verified, Error> {
        let state = Arc::clone(&self.state());
        let mut walk = Walk::new(&self.sealing.set, &state.position);
        for (key, (version, value)) in &state.records {
            let key = Key::decode(key).ok_or(Damage::File)?;
            walk.record(&key, *version, value.expose());
        }
        for ((node, sequence), encoded) in &state.rows {
            walk.row(node, *sequence, encoded)?;
        }
        walk.finish()
    }
}

impl Store for Memory {
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>> {
        Box::pin(async {
            let snapshot: Arc<dyn Snapshot> = Arc::new(MemorySnapshot(Arc::clone(&self.state())));
            Ok(snapshot)
        })
    }

    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>> {
        Box::pin(async { self.commit_now(batch) })
    }

    fn verify(&self) -> Later<'_, Verified> {
        Box::pin(async { self.verify_now() })
    }
}

#[derive(Clone)]
struct State {
    records: BTreeMap<Vec<u8>, (Version, Arc<SecretBytes>)>,
    rows: BTreeMap<(String, u64), Arc<Vec<u8>>>,
    position: Position,
    previous: Mark,
}

impl State {
    fn range(&self, range: &Range) -> Vec<(Key, Version, &SecretBytes)> {
        let bounds = range.bounds();
        if is_empty_range(&bounds) {
            return Vec::new();
        }
        let mut entries = self.records.range(bounds);
        let next = || match range.reverse {
            false => entries.next(),
            true => entries.next_back(),
        };
        std::iter::from_fn(next)
            .take(range.limit)
            .filter_map(|(key, (version, value))| Some((Key::decode(key)?, *version, &**value)))
            .collect()
    }
}

impl Space for State {
    fn version(&self, key: &Key) -> Result<Version, Error> {
        let record = self.records.get(&key.encoded());
        Ok(record.map_or(Version::ABSENT, |(version, _)| *version))
    }

    fn found(&self, key: &Key) -> Result<Found, Error> {
        let record = self.records.get(&key.encoded());
        Ok(record.map_or_else(Found::absent, |(version, value)| copy(*version, value)))
    }

    fn versions(&self, range: &Range) -> Result<Vec<(Key, Version)>, Error> {
        let found = self.range(range);
        Ok(found.into_iter().map(|(key, v, _)| (key, v)).collect())
    }

    fn put(&mut self, key: &Key, version: Version, value: SecretBytes) -> Result<(), Error> {
        self.records.insert(key.encoded(), (version, Arc::new(value)));
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<(), Error> {
        self.records.remove(&key.encoded());
        Ok(())
    }

    fn append(&mut self, node: &str, sequence: u64, encoded: Vec<u8>) -> Result<(), Error> {
        self.rows.insert((node.to_owned(), sequence), Arc::new(encoded));
        Ok(())
    }
}

struct MemorySnapshot(Arc<State>);

impl MemorySnapshot {
    fn rows_now(&self, node: &str, after: u64, limit_bytes: usize) -> Result<Vec<Row>, Error> {
        let mut page = Page::new(after, limit_bytes);
        if let Some(first) = after.checked_add(1) {
            let places = (node.to_owned(), first)..=(node.to_owned(), u64::MAX);
            for ((_, sequence), encoded) in self.0.rows.range(places) {
                if !page.push(*sequence, encoded)? {
                    break;
                }
            }
        }
        Ok(page.rows)
    }
}

impl Snapshot for MemorySnapshot {
    fn get<'a>(&'a self, keys: &'a [Key]) -> Later<'a, Vec<Found>> {
        Box::pin(async { keys.iter().map(|key| self.0.found(key)).collect() })
    }

    fn scan<'a>(&'a self, range: &'a Range) -> Later<'a, Vec<(Key, Found)>> {
        Box::pin(async {
            let found = self.0.range(range).into_iter();
            Ok(found.map(|(key, version, value)| (key, copy(version, value))).collect())
        })
    }

    fn rows<'a>(&'a self, node: &'a str, after: u64, limit_bytes: usize) -> Later<'a, Vec<Row>> {
        Box::pin(async move { self.rows_now(node, after, limit_bytes) })
    }

    fn position(&self) -> &Position {
        &self.0.position
    }

    fn previous(&self) -> &Mark {
        &self.0.previous
    }

    fn is_stable(&self) -> bool {
        true
    }
}

fn copy(version: Version, value: &SecretBytes) -> Found {
    Found { value: Some(SecretBytes::new(value.expose().to_vec())), version }
}
