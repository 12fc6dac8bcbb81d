//! Plugins' own records: an ordered map from bytes to bytes, part of the call's transaction.

use mintmark_crypto::SecretBytes;
use mintmark_model::Refusal;
use mintmark_store::{Key, Range};

use crate::call::Call;
use crate::tables;

/// The most keys or entries at once.
const BATCH_MAX: usize = 4_096;
/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 512;
/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 256 << 10;
/// The most bytes that a scan gives.
const SCAN_BYTES_MAX: usize = 1 << 20;

/// The most bytes of keys and values that a call writes while there is little room on the disk.
/// What is served then needs none; the reserve is everybody's.
const LOW_BYTES_MAX: usize = 4 << 10;

/// A record of a plugin.
pub type Entry = (Vec<u8>, Vec<u8>);

impl Call {
    /// The values of `keys`, in their order.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` outside the bounds.
    pub async fn records_get(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Refusal> {
        let plugin = self.plugin_name()?;
        check_keys(keys.iter())?;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.view.get(&place(&plugin, key)).await?;
            values.push(value.map(|value| value.expose().to_vec()));
        }
        Ok(values)
    }

    /// Writes entries; the last of two with one key wins.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` outside the bounds; `STORAGE_FULL` for more than 4 KiB a call while the
    /// disk is nearly full.
    pub async fn records_put(&mut self, entries: Vec<Entry>) -> Result<(), Refusal> {
        let plugin = self.plugin_name()?;
        check_keys(entries.iter().map(|(key, _)| key))?;
        if entries.iter().any(|(_, value)| value.len() > VALUE_BYTES_MAX) {
            return Err(Refusal::invalid("A value is at most 256 KiB."));
        }
        let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.record_bytes = self.record_bytes.saturating_add(bytes);
        if self.record_bytes > LOW_BYTES_MAX {
            self.check_storage()?;
        }
        for (key, value) in entries {
            self.view.put(place(&plugin, &key), SecretBytes::new(value));
        }
        Ok(())
    }

    /// Removes what is there.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` outside the bounds.
    pub async fn records_delete(&mut self, keys: &[Vec<u8>]) -> Result<(), Refusal> {
        let plugin = self.plugin_name()?;
        check_keys(keys.iter())?;
        for key in keys {
            self.view.delete(place(&plugin, key));
        }
        Ok(())
    }

    /// Entries whose key begins with `prefix` and is greater than `after`, in order.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` outside the bounds.
    pub async fn records_scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<Entry>, Refusal> {
        let plugin = self.plugin_name()?;
        let limit = limit as usize;
        let longest = after.map_or(0, <[u8]>::len).max(prefix.len());
        if !(1..=BATCH_MAX).contains(&limit) || longest > KEY_BYTES_MAX {
            return Err(Refusal::invalid("A scan is of 1 to 4,096 entries."));
        }
        let skipped = plugin.len() + 1;
        let range = Range::all(tables::RECORDS, tables::prefix(&plugin, prefix)).limit(limit);
        let range = match after {
            Some(after) => range.after(tables::prefix(&plugin, after)),
            None => range,
        };
        let found = self.view.scan(range).await?;
        let mut bytes = 0;
        let entries = found
            .into_iter()
            .map(|(key, value)| (key.key[skipped..].to_vec(), value.expose().to_vec()));
        let within = entries.take_while(|(key, value)| {
            let first = bytes == 0;
            bytes += key.len() + value.len();
            first || bytes <= SCAN_BYTES_MAX
        });
        Ok(within.collect())
    }
}

fn place(plugin: &str, key: &[u8]) -> Key {
    tables::pair(tables::RECORDS, plugin, key)
}

fn check_keys<'a>(keys: impl ExactSizeIterator<Item = &'a Vec<u8>>) -> Result<(), Refusal> {
    if keys.len() > BATCH_MAX {
        return Err(Refusal::invalid("At most 4,096 records at once."));
    }
    for key in keys {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(Refusal::invalid("A key is 1 to 512 bytes."));
        }
    }
    Ok(())
}
