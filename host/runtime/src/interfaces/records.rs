//! `records`: the plugin's own records.

use mintmark_model::Refusal;

use crate::bindings::mintmark::host::records::{Entry, Host};
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

/// The most keys or entries in one function call.
const BATCH_MAX: usize = 4_096;

/// The longest key.
const KEY_BYTES_MAX: usize = 512;

/// The longest value.
const VALUE_BYTES_MAX: usize = 256 << 10;

/// What an entry counts as besides its bytes, so that small entries are not free.
const ENTRY_COST_BYTES: usize = 16;

impl Host for State {
    async fn get(&mut self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        check_keys(&keys)?;
        let (call, _) = self.enter(size(&keys))?;
        let values = call.records_get(&keys).await?;
        let found = values.iter().flatten().map(|value| value.len() + ENTRY_COST_BYTES);
        self.answer(found.sum())?;
        Ok(values)
    }

    async fn put(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        bounds::entries("entries", entries.len(), BATCH_MAX)?;
        for entry in &entries {
            check_key(&entry.key)?;
            bounds::bytes_up_to("value", &entry.value, VALUE_BYTES_MAX)?;
        }
        let cost = |entry: &Entry| entry.key.len() + entry.value.len() + ENTRY_COST_BYTES;
        let (call, _) = self.enter(entries.iter().map(cost).sum())?;
        let entries = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        Ok(call.records_put(entries).await?)
    }

    async fn delete(&mut self, keys: Vec<Vec<u8>>) -> Result<(), Failure> {
        check_keys(&keys)?;
        let (call, _) = self.enter(size(&keys))?;
        Ok(call.records_delete(&keys).await?)
    }

    async fn scan(
        &mut self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: u32,
    ) -> Result<Vec<Entry>, Failure> {
        bounds::bytes_up_to("prefix", &prefix, KEY_BYTES_MAX)?;
        bounds::bytes_up_to("after", after.as_deref().unwrap_or_default(), KEY_BYTES_MAX)?;
        bounds::limit("limit", limit, 1, BATCH_MAX as u32)?;
        let (call, _) = self.enter(prefix.len())?;
        let found = call.records_scan(&prefix, after.as_deref(), limit).await?;
        let cost = |(key, value): &(Vec<u8>, Vec<u8>)| key.len() + value.len() + ENTRY_COST_BYTES;
        self.answer(found.iter().map(cost).sum())?;
        Ok(found.into_iter().map(|(key, value)| Entry { key, value }).collect())
    }
}

fn check_keys(keys: &[Vec<u8>]) -> Result<(), Refusal> {
    bounds::entries("keys", keys.len(), BATCH_MAX)?;
    keys.iter().try_for_each(|key| check_key(key))
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::invalid("A key is empty."));
    }
    bounds::bytes_up_to("key", key, KEY_BYTES_MAX)
}

fn size(keys: &[Vec<u8>]) -> usize {
    keys.iter().map(|key| key.len() + ENTRY_COST_BYTES).sum()
}
