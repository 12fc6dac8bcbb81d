//! The host's append-only log: one hash chain per node. Rows are the host's; plugins read them and
//! add notes.

use crate::{
    Digest,
    backend::{self, Ledger as _},
    error::Error,
};

/// The end of a node's chain after `sequence` rows. Zero rows have the digest of 32 zero bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The node.
    pub node: String,
    /// How many rows there are up to here.
    pub sequence: u64,
    /// The hash of the last of them.
    pub hash: Digest,
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Encoded rows, in order; [`mintmark_exchange`] decodes them.
    pub rows: Vec<Vec<u8>>,
    /// The end of the last of them.
    pub end: Position,
}

/// A checkpoint whose signature the host has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    /// The cluster that signed it, as a SPIFFE URI.
    pub cluster: String,
    /// The checkpoint's body, as [`mintmark_exchange`] decodes it.
    pub body: Vec<u8>,
    /// What became of the row of this cluster's own ledger that it names.
    pub witness: Witness,
    /// True if this cluster was ever restored from a backup: it may have forgotten what it did
    /// after it.
    pub restored: bool,
}

/// What became of a row of this cluster's own ledger that another one has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// It is there, or none is named.
    Held,
    /// It is not there: this cluster was set back.
    Lost,
    /// It came after the backup from which this cluster was restored.
    Forgotten,
}

/// What a bundle begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    /// Signed checkpoints, one per node.
    pub orders: Vec<Vec<u8>>,
    /// Whether rows were left for the next bundle, which can be made once this one has its receipt.
    pub more: bool,
}

/// Adds a note of the plugin's own: at most 1 KiB of text, 16 a call. No check ever reads it.
///
/// # Errors
/// `INVALID_ARGUMENT` for a text outside its bounds, `BUDGET_EXCEEDED` for too many.
pub fn note(text: &str) -> Result<(), Error> {
    backend::ledger().note(text)
}

/// Signed checkpoints, one per node, over the rows after the heads in the last receipt, or after
/// the row `after`; as many, oldest first, as take up `limit_bytes` (at least 64 KiB) in a bundle.
///
/// # Errors
/// `PERMISSION_DENIED` unless the manifest claims to read the ledger; `INVALID_ARGUMENT` for a row
/// after the last receipt.
pub fn checkpoints(after: Option<u64>, limit_bytes: u64) -> Result<Checkpoints, Error> {
    backend::ledger().checkpoints(after, limit_bytes)
}

/// Committed rows of `node` after the row `after`; `<node>~<incarnation>` names one ledger of a
/// node that a restore gave several. `limit_bytes` is from 64 KiB to 1 MiB.
///
/// # Errors
/// [`Error::NotFound`] for a node that is not there; `PERMISSION_DENIED` as [`checkpoints`].
pub fn read(node: &str, after: u64, limit_bytes: u32) -> Result<Page, Error> {
    backend::ledger().read(node, after, limit_bytes)
}

/// Checks a signed checkpoint of any cluster under our root.
///
/// # Errors
/// `UNTRUSTED_MESSAGE`.
pub fn verify_checkpoint(checkpoint: &[u8]) -> Result<VerifiedCheckpoint, Error> {
    backend::ledger().verify_checkpoint(checkpoint)
}

/// The heads that headquarters holds of a site's nodes, from the receipts that it gave.
///
/// # Errors
/// [`Error::Unavailable`] for a store that cannot answer.
pub fn held_heads(cluster: &str) -> Result<Vec<Position>, Error> {
    backend::ledger().held_heads(cluster)
}
