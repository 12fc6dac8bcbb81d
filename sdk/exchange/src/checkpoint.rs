//! Checkpoints: what a site's custody signs about a stretch of one node's ledger.

use serde::{Deserialize, Serialize};

use crate::{canonical::Digest, message::HeadRef, unit::Counters};

/// Travels as a [`SignedOrder`](crate::SignedOrder) under
/// [`CHECKPOINT`](crate::order::CHECKPOINT), signed by the site's custody key.
///
/// It covers the rows after `from` up to and with `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the site.
    pub cluster: String,
    /// The node whose ledger it is.
    pub node: String,
    /// Which ledger of that node: a restore begins a new one.
    pub incarnation: u64,
    /// The row before the first one covered; zero and zeros at the beginning.
    pub from: Position,
    /// The last row covered.
    pub to: Position,
    /// How many rows are covered: `to.sequence - from.sequence`.
    pub rows: u64,
    /// [`crate::merkle::Tree`] over the hashes of the rows covered.
    pub merkle_root: Digest,
    /// The counters of every allotment at `to`, by entitlement.
    pub counters: Vec<EntitlementCounters>,
    /// True while the site's clock is suspect.
    pub clock_suspect: bool,
    /// How often the host started, in this incarnation.
    pub boots: u64,
    /// SPIFFE URI of the headquarters that the next fields are about; empty before its first
    /// message.
    pub headquarters: String,
    /// The epoch of headquarters' stream that the site is in.
    pub applied_epoch: u64,
    /// The last sequence of headquarters' stream that the site applied; zero for none.
    pub applied_sequence: u64,
    /// The last head of headquarters' ledger that the site saw.
    pub hq_head: Option<HeadRef>,
    /// Site time of the statement, milliseconds since the epoch.
    pub made_at: u64,
    /// Site time up to which nothing is left out: of the statement where it reports all that there
    /// is, otherwise of the first row that was left. Until the next bundle, time runs from here.
    pub as_of: u64,
}

/// A row, by number and hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The row's sequence; zero before the first row.
    pub sequence: u64,
    /// The row's hash; zeros before the first row.
    pub hash: Digest,
}

/// The counters of one allotment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementCounters {
    /// The entitlement.
    pub entitlement: String,
    /// Its counters.
    pub counters: Counters,
    /// Units ever drawn: the number of the next one.
    pub drawn: u64,
    /// Units ever credited, whatever was taken back since: unit numbers are below.
    pub limit: u64,
    /// True once nothing more can be reserved, for ever.
    pub ended: bool,
}

/// The only version of a checkpoint.
pub const VERSION: u16 = 1;
