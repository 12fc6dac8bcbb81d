//! The disk form of pools, of the work that fills them, and of key files.

use mintmark_exchange::pool::{CHUNK_KEYS, load_digest};
use serde::{Deserialize, Serialize};

/// A pool of given keys at headquarters, whole.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PoolRecord {
    /// Random; tells one load from another of the same name.
    pub(crate) load: [u8; 16],
    /// The plugin that may grant from it.
    pub(crate) plugin: String,
    pub(crate) algorithm: String,
    /// How many keys were loaded.
    pub(crate) keys: u64,
    /// How many keys are left.
    pub(crate) left: u64,
    /// The digest of the load.
    pub(crate) digest: [u8; 32],
    pub(crate) loaded_at: u64,
    /// The store was restored since: what is left may have been handed out.
    pub(crate) suspect: bool,
}

/// A load that is under way.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct LoadRecord {
    pub(crate) load: [u8; 16],
    pub(crate) plugin: String,
    pub(crate) algorithm: String,
    /// How many keys were announced, and the digest of all of them.
    pub(crate) keys: u64,
    pub(crate) digest: [u8; 32],
    /// Digests of the chunks that are here.
    pub(crate) chunks: Vec<[u8; 32]>,
    pub(crate) begun_at: u64,
}

/// Where a given key is: the load, its pool, and its number there.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct GivenRef {
    pub(crate) load: [u8; 16],
    pub(crate) pool: String,
    pub(crate) number: u64,
}

/// The import of a key file at a site; kept when it is whole.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ImportRecord {
    /// The plugin that imported the grant.
    pub(crate) plugin: String,
    pub(crate) algorithm: String,
    pub(crate) keys: u64,
    /// The grant's core digest, under which the keys are sealed.
    pub(crate) core: [u8; 32],
    /// The digest of the file's head.
    pub(crate) head: [u8; 32],
    /// Digests of the file's chunks; none before the head was shown.
    pub(crate) chunks: Vec<[u8; 32]>,
    /// How many chunks are here.
    pub(crate) done: u32,
}

impl LoadRecord {
    /// The number of the next chunk.
    pub(crate) fn position(&self) -> u32 {
        u32::try_from(self.chunks.len()).expect("a load has at most 4,096 chunks")
    }

    /// How many keys are here.
    pub(crate) fn arrived(&self) -> u64 {
        self.keys.min(self.chunks.len() as u64 * CHUNK_KEYS as u64)
    }

    /// Whether all keys are here, and are those that were announced.
    pub(crate) fn is_whole(&self) -> bool {
        self.arrived() == self.keys && load_digest(&self.chunks) == self.digest
    }
}

impl ImportRecord {
    /// How many keys are here.
    pub(crate) fn arrived(&self) -> u64 {
        self.keys.min(u64::from(self.done) * CHUNK_KEYS as u64)
    }

    /// Whether all keys are here.
    pub(crate) fn is_whole(&self) -> bool {
        self.arrived() == self.keys
    }
}

/// How many of `keys` keys are in a chunk.
pub(crate) fn keys_of_chunk(keys: u64, chunk: u32) -> usize {
    let before = u64::from(chunk) * CHUNK_KEYS as u64;
    let rest = usize::try_from(keys.saturating_sub(before)).unwrap_or(usize::MAX);
    rest.min(CHUNK_KEYS)
}
