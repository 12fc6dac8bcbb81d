//! Rows of the ledger: what custody writes in the transaction of each effect.
//!
//! The store wraps a body into an envelope with sequence, previous hash, counters and set hash,
//! and chains the envelopes; [`Row::decode`] reads one strictly. No row holds a secret.

mod envelope;
mod event;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, DecodeError, Digest};

pub use envelope::{Row, encode_envelope};
pub use event::{Event, PluginActivation, Started, UnitEvent};

/// What happened, when, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowBody {
    /// 1.
    pub version: u16,
    /// Site time of the decision, milliseconds since the epoch. Rows are chained in the order of
    /// their commits, so this steps back between rows, by at most [`ROW_DELAY_MS_MAX`].
    pub time_ms: u64,
    /// The monotonic clock at the decision, milliseconds since an arbitrary point of this boot.
    pub monotonic_ms: u64,
    /// Counts the starts of the host.
    pub boot: u64,
    /// True if the clock was suspect.
    pub clock_suspect: bool,
    /// The plugin that acted; `None` for the host itself.
    pub plugin: Option<PluginRef>,
    /// SPIFFE URI of the caller, or the host's own node.
    pub principal: String,
    /// The call: rows with the same one, side by side, are one transaction.
    pub request: [u8; 16],
    /// What happened.
    pub event: Event,
}

/// A plugin, by name and by the code that ran.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PluginRef {
    /// The plugin's name.
    pub name: String,
    /// SHA-256 of the component.
    pub measurement: Digest,
}

/// The only version of a row.
pub const VERSION: u16 = 1;
/// Most bytes of a body.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// The longest time between a decision and its row: four times the longest deadline that a plugin
/// can have. A call may begin again for one, wait for its turn for another, and run for a third.
pub const ROW_DELAY_MS_MAX: u64 = 240_000;

impl RowBody {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes a body strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body: Self = canonical::decode(bytes, BODY_BYTES_MAX)?;
        if body.version == VERSION { Ok(body) } else { Err(DecodeError::UnknownVersion) }
    }
}
