//! A store as the cases use it, so that they do not know its API.

use std::sync::Arc;

use futures_executor::block_on;
use mintmark_crypto::SecretBytes;
use mintmark_store::{
    Add, Key, NewRow, Outcome, Position, Range, Row, Snapshot, Store, Transaction, Version,
    scan_digest,
};

pub(crate) struct Desk<'a>(pub(crate) &'a dyn Store);

impl Desk<'_> {
    pub(crate) fn commit(&self, transaction: Transaction) -> Outcome {
        self.commit_batch(vec![transaction]).remove(0)
    }

    pub(crate) fn commit_batch(&self, batch: Vec<Transaction>) -> Vec<Outcome> {
        block_on(self.0.commit(batch)).unwrap()
    }

    pub(crate) fn put(&self, key: &str, value: &str) -> Version {
        match self.commit(write(key, value)) {
            Outcome::Committed { commit, .. } => Version(commit),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn snapshot(&self) -> View {
        View(block_on(self.0.snapshot()).unwrap())
    }

    pub(crate) fn get(&self, key: &str) -> (Option<String>, Version) {
        self.snapshot().get(key)
    }

    pub(crate) fn scan(&self, range: &Range) -> Vec<String> {
        let found = self.snapshot().scan(range);
        found.into_iter().map(|(key, _)| text(&key.key)).collect()
    }

    pub(crate) fn counter(&self, key: &str) -> u64 {
        self.snapshot().counter(key)
    }

    pub(crate) fn position(&self) -> Position {
        self.snapshot().0.position().clone()
    }
}

pub(crate) struct View(pub(crate) Arc<dyn Snapshot>);

impl View {
    pub(crate) fn get(&self, key_name: &str) -> (Option<String>, Version) {
        let found = block_on(self.0.get(&[key(key_name)])).unwrap().remove(0);
        let value = found.value.map(|value| text(value.expose()));
        (value, found.version)
    }

    pub(crate) fn counter(&self, key_name: &str) -> u64 {
        let found = block_on(self.0.get(&[key(key_name)])).unwrap().remove(0);
        found.counter().unwrap()
    }

    pub(crate) fn scan(&self, range: &Range) -> Vec<(Key, Version)> {
        let found = block_on(self.0.scan(range)).unwrap();
        found.into_iter().map(|(k, f)| (k, f.version)).collect()
    }

    pub(crate) fn seen(&self, range: &Range) -> (Range, [u8; 32]) {
        let found = self.scan(range);
        let digest = scan_digest(found.iter().map(|(key, version)| (key, *version)));
        (range.clone(), digest)
    }

    pub(crate) fn rows(&self, node: &str, after: u64, limit_bytes: usize) -> Vec<Row> {
        block_on(self.0.rows(node, after, limit_bytes)).unwrap()
    }
}

/// The table of everything that has no table of its own.
pub(crate) const TABLE: u8 = 1;

pub(crate) fn key(name: &str) -> Key {
    Key::new(TABLE, name)
}

pub(crate) fn value(text: &str) -> Option<SecretBytes> {
    Some(SecretBytes::new(text.into()))
}

pub(crate) fn write(key_name: &str, text: &str) -> Transaction {
    Transaction { writes: vec![(key(key_name), value(text))], ..Transaction::default() }
}

pub(crate) fn remove(key_name: &str) -> Transaction {
    Transaction { writes: vec![(key(key_name), None)], ..Transaction::default() }
}

pub(crate) fn add(key_name: &str, delta: i64, max: u64) -> Add {
    Add { key: key(key_name), delta, min: 0, max }
}

pub(crate) fn adding(adds: Vec<Add>) -> Transaction {
    Transaction { adds, ..Transaction::default() }
}

pub(crate) fn row(body: &str, counters: Vec<usize>) -> NewRow {
    NewRow { body: body.into(), counters }
}

pub(crate) fn is_committed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Committed { .. })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
