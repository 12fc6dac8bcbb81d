//! What a call sees: one snapshot of the store, under its own writes. And what it read, so that the
//! commit can tell whether that still holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use mintmark_crypto::SecretBytes;
use mintmark_model::{Reason, Refusal};
use mintmark_store::{
    Key, Position, Range, Row, Snapshot, Store, Transaction, Version, scan_digest,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::disk;

/// A snapshot, the call's writes over it, and its read set.
pub(crate) struct View {
    snapshot: Arc<dyn Snapshot>,
    reads: BTreeMap<Key, Version>,
    scans: Vec<(Range, [u8; 32])>,
    writes: BTreeMap<Key, Option<SecretBytes>>,
}

impl View {
    /// A view of the store as of now.
    pub(crate) async fn new(store: &dyn Store) -> Result<Self, Refusal> {
        let snapshot = store.snapshot().await.map_err(unavailable)?;
        Ok(Self { snapshot, reads: BTreeMap::new(), scans: Vec::new(), writes: BTreeMap::new() })
    }

    /// Where the store stood.
    pub(crate) fn position(&self) -> &Position {
        self.snapshot.position()
    }

    /// The record at `key`, which from now on must not change before the commit.
    pub(crate) async fn read<T>(&mut self, key: &Key) -> Result<Option<T>, Refusal>
    where
        T: Serialize + DeserializeOwned,
    {
        match self.get(key).await? {
            Some(bytes) => disk::read(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes at `key`, which from now on must not change before the commit.
    pub(crate) async fn get(&mut self, key: &Key) -> Result<Option<SecretBytes>, Refusal> {
        if let Some(written) = self.writes.get(key) {
            return Ok(written.as_ref().map(copy));
        }
        let (value, version) = self.peek_versioned(key).await?;
        self.reads.entry(key.clone()).or_insert(version);
        Ok(value)
    }

    /// The record at `key` as the snapshot has it; it may change before the commit.
    pub(crate) async fn peek<T>(&self, key: &Key) -> Result<Option<T>, Refusal>
    where
        T: Serialize + DeserializeOwned,
    {
        match self.peek_versioned(key).await?.0 {
            Some(bytes) => disk::read(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes at `key` with their version, as the snapshot has them.
    pub(crate) async fn peek_versioned(
        &self,
        key: &Key,
    ) -> Result<(Option<SecretBytes>, Version), Refusal> {
        let keys = std::slice::from_ref(key);
        let found = self.snapshot.get(keys).await.map_err(unavailable)?;
        let found = found.into_iter().next().ok_or_else(broken)?;
        Ok((found.value, found.version))
    }

    /// The counter at `key`, as the snapshot has it.
    pub(crate) async fn counter(&self, key: &Key) -> Result<u64, Refusal> {
        let keys = std::slice::from_ref(key);
        let found = self.snapshot.get(keys).await.map_err(unavailable)?;
        found.first().and_then(mintmark_store::Found::counter).ok_or_else(broken)
    }

    /// Writes a record, when the call commits.
    pub(crate) fn write<T: Serialize>(&mut self, key: Key, record: T) {
        self.put(key, disk::write(record));
    }

    /// Writes bytes, when the call commits.
    pub(crate) fn put(&mut self, key: Key, value: SecretBytes) {
        self.writes.insert(key, Some(value));
    }

    /// Removes what is at `key`, when the call commits.
    pub(crate) fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    /// The records of a range; none may come, go or change before the commit.
    pub(crate) async fn scan(&mut self, range: Range) -> Result<Vec<(Key, SecretBytes)>, Refusal> {
        let limit = range.limit;
        let hidden =
            self.writes.iter().filter(|(key, value)| within(&range, key) && value.is_none());
        let range = Range { limit: limit.saturating_add(hidden.count()), ..range };
        let found = self.snapshot.scan(&range).await.map_err(unavailable)?;
        let digest = scan_digest(found.iter().map(|(key, found)| (key, found.version)));
        let complete = found.len() < range.limit;
        let last = found.last().map(|(key, _)| key.clone());
        let mut merged: BTreeMap<Key, SecretBytes> =
            found.into_iter().filter_map(|(key, found)| Some((key, found.value?))).collect();
        for (key, value) in &self.writes {
            // What lies past a page that was cut off belongs to a later page.
            let in_page = complete || last.as_ref().is_some_and(|last| key <= last);
            if !within(&range, key) || !in_page {
                continue;
            }
            match value {
                Some(value) => merged.insert(key.clone(), copy(value)),
                None => merged.remove(key),
            };
        }
        self.scans.push((range, digest));
        Ok(merged.into_iter().take(limit).collect())
    }

    /// The records of a range as the snapshot has them; they may change before the commit.
    pub(crate) async fn peek_range(
        &self,
        range: &Range,
    ) -> Result<Vec<(Key, SecretBytes)>, Refusal> {
        let found = self.snapshot.scan(range).await.map_err(unavailable)?;
        Ok(found.into_iter().filter_map(|(key, found)| Some((key, found.value?))).collect())
    }

    /// Rows of a chain. They never change.
    pub(crate) async fn rows(
        &self,
        node: &str,
        after: u64,
        limit_bytes: usize,
    ) -> Result<Vec<Row>, Refusal> {
        self.snapshot.rows(node, after, limit_bytes).await.map_err(unavailable)
    }

    /// Moves on to the present state of the store, if nothing that was read has changed since;
    /// false if something has.
    pub(crate) async fn refresh(&mut self, store: &dyn Store) -> Result<bool, Refusal> {
        let fresh = store.snapshot().await.map_err(unavailable)?;
        if fresh.position().commit == self.snapshot.position().commit {
            return Ok(true);
        }
        let keys: Vec<Key> = self.reads.keys().cloned().collect();
        let found = fresh.get(&keys).await.map_err(unavailable)?;
        let mut reads = found.iter().zip(self.reads.values());
        if found.len() != keys.len() || !reads.all(|(found, seen)| found.version == *seen) {
            return Ok(false);
        }
        for (range, seen) in &self.scans {
            let found = fresh.scan(range).await.map_err(unavailable)?;
            if scan_digest(found.iter().map(|(key, found)| (key, found.version))) != *seen {
                return Ok(false);
            }
        }
        self.snapshot = fresh;
        Ok(true)
    }

    /// Drops the writes of a call that failed.
    pub(crate) fn forget_writes(&mut self) {
        self.writes.clear();
    }

    /// Whether a commit would write something.
    pub(crate) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Moves read set and writes into `transaction`.
    pub(crate) fn drain_into(&mut self, transaction: &mut Transaction) {
        transaction.reads.extend(std::mem::take(&mut self.reads));
        transaction.scans.append(&mut self.scans);
        transaction.writes.extend(std::mem::take(&mut self.writes));
    }
}

fn within(range: &Range, key: &Key) -> bool {
    key.table == range.table
        && key.key.starts_with(&range.prefix)
        && range.after.as_ref().is_none_or(|after| key.key > *after)
}

fn copy(value: &SecretBytes) -> SecretBytes {
    SecretBytes::new(value.expose().to_vec())
}

/// What a failing store means to a caller.
pub(crate) fn unavailable(error: mintmark_store::Error) -> Refusal {
    tracing::error!(%error, "the store failed");
    Refusal::new(Reason::Unavailable, "The store cannot answer; ask the admin to look at the host.")
}

fn broken() -> Refusal {
    Refusal::new(Reason::Unavailable, "The store gave a malformed answer; run `mintmark verify`.")
}
