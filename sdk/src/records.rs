//! The plugin's own records: an ordered map from bytes to bytes, part of the call's transaction.
//!
//! Reads see what is committed and what this call wrote. [`Table`] puts typed rows into it; the
//! functions here are for the rest. Keys are 1 to 512 bytes, values at most 256 KiB, a batch at
//! most 4,096 entries.

mod table;

pub use table::Table;

use crate::{
    backend::{self, Records as _},
    error::Error,
};

/// The most keys or entries of one batch.
pub const BATCH_MAX: usize = 4_096;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 512 bytes.
    pub key: Vec<u8>,
    /// At most 256 KiB.
    pub value: Vec<u8>,
}

impl Entry {
    /// A key with its value.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// The value of `key`, if there is one.
///
/// # Errors
/// `INVALID_ARGUMENT` for a key outside its bounds.
pub fn get(key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
    let mut values = get_many(&[key.as_ref().to_vec()])?;
    Ok(values.pop().flatten())
}

/// The values of `keys`, in their order: one question to the host for all.
///
/// # Errors
/// `INVALID_ARGUMENT` for a key outside its bounds, or more than [`BATCH_MAX`] of them.
pub fn get_many(keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let values = backend::records().get(keys)?;
    if values.len() == keys.len() { Ok(values) } else { Err(Error::Malformed("the host's answer")) }
}

/// Writes one entry.
///
/// # Errors
/// `INVALID_ARGUMENT` for a key or a value outside its bounds.
pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<(), Error> {
    put_many(&[Entry::new(key, value)])
}

/// Writes entries; the last of two with one key wins.
///
/// # Errors
/// `INVALID_ARGUMENT` for an entry outside its bounds, or more than [`BATCH_MAX`] of them.
pub fn put_many(entries: &[Entry]) -> Result<(), Error> {
    backend::records().put(entries)
}

/// Removes what is there under `key`.
///
/// # Errors
/// `INVALID_ARGUMENT` for a key outside its bounds.
pub fn delete(key: impl Into<Vec<u8>>) -> Result<(), Error> {
    delete_many(&[key.into()])
}

/// Removes what is there under `keys`.
///
/// # Errors
/// `INVALID_ARGUMENT` for a key outside its bounds, or more than [`BATCH_MAX`] of them.
pub fn delete_many(keys: &[Vec<u8>]) -> Result<(), Error> {
    backend::records().delete(keys)
}

/// Entries whose key begins with `prefix` and is greater than `after`, in order of keys; at most
/// `limit` of them and at most 1 MiB, so fewer than `limit` does not mean that there are no more:
/// an empty answer does.
///
/// # Errors
/// `INVALID_ARGUMENT` for a `limit` that is not from 1 to 4,096.
pub fn scan(prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, Error> {
    backend::records().scan(prefix, after, limit)
}
