//! The disk form of other clusters and of what was exchanged with them.

use serde::{Deserialize, Serialize};

/// Another cluster.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PeerRecord {
    pub(crate) hardware_model: String,
    pub(crate) plugins: Vec<PeerPlugin>,
    /// The certificate of the host's HPKE key, with its chain; empty where it is not known.
    pub(crate) transfer: Vec<Vec<u8>>,
    /// SHA-256 of the identity bundle; none for a peer that was learned from its messages.
    pub(crate) fingerprint: Option<[u8; 32]>,
    /// When the peer said so, in its own time: what it said earlier is not believed over it.
    pub(crate) made_at: u64,
    /// Measurements of its plugins that this host trusts, by name.
    pub(crate) trusted: Vec<(String, [u8; 32])>,
}

/// A plugin of another cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerPlugin {
    pub(crate) name: String,
    pub(crate) measurement: [u8; 32],
    /// The certificate of the key that signs its messages, with its chain.
    pub(crate) signing: Vec<Vec<u8>>,
    /// The certificate of its HPKE key, with its chain.
    pub(crate) encryption: Vec<Vec<u8>>,
}

/// A message that was accepted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct MessageRecord {
    pub(crate) purpose: String,
    pub(crate) accepted_at: u64,
    /// About where in the ledger to look.
    pub(crate) row: String,
    /// Taken off its stream by a call that then failed: it may be opened again.
    pub(crate) open_again: bool,
}

/// A stream of messages between headquarters and a site, at either end.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct StreamRecord {
    pub(crate) epoch: u64,
    /// The last one sent, or applied.
    pub(crate) sequence: u64,
    pub(crate) digest: [u8; 32],
    /// At a site: the last head of headquarters that it saw.
    pub(crate) head: Option<HeldRecord>,
    /// At headquarters: the epoch of the store that sends; a restored store has another one.
    pub(crate) store_epoch: u64,
    /// At headquarters: the epoch that people approved, until a bundle of the site opens it.
    pub(crate) approved: Option<u64>,
    /// At headquarters: when a bundle opened the epoch; zero for the first one.
    pub(crate) opened_at: u64,
    /// At headquarters, as the newest receipted bundle says: the ledger that the site writes, and
    /// the epoch that it is in.
    pub(crate) site_incarnation: u64,
    pub(crate) site_epoch: u64,
    /// At headquarters: the site was restored in this epoch. It may lack messages, or refuse them.
    pub(crate) site_restored: bool,
}

/// A message that was sent to a site.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OutboxRecord {
    pub(crate) purpose: String,
    pub(crate) file: String,
    pub(crate) digest: [u8; 32],
    pub(crate) made_at: u64,
}

/// A head of a node's chain that headquarters holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldRecord {
    pub(crate) node: String,
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    pub(crate) hash: [u8; 32],
}

/// What a checkpoint covered, so that a receipt for it can be acted on.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ExportRecord {
    pub(crate) hash: [u8; 32],
    /// Up to when it reports all that there is: the time until the next receipt runs from here.
    pub(crate) as_of: u64,
    /// The counters at its last row, by entitlement.
    pub(crate) counters: Vec<ExportedCounters>,
    /// The checkpoint, as it was signed: with it a row of the bundle can be proved later. Where the
    /// rows are exported again, it stays the one that headquarters answered.
    pub(crate) checkpoint: Vec<u8>,
    /// Headquarters' receipt for it, encoded, once there is one.
    pub(crate) receipt: Option<Vec<u8>>,
}

/// The notes of a plugin on one day.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct NotesRecord {
    /// Days since the epoch, in site time.
    pub(crate) day: u64,
    /// The plugin's counter of notes when the day began.
    pub(crate) before: u64,
}

/// The counters of an allotment at the end of a checkpoint.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ExportedCounters {
    pub(crate) entitlement: String,
    /// In row order.
    pub(crate) counters: [u64; 10],
    pub(crate) limit: u64,
    pub(crate) ended: bool,
}
