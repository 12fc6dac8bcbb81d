//! What an engine gives: snapshots to read from, and commits of batches.

use std::{pin::Pin, sync::Arc};

use crate::{Error, Found, Key, Mark, Outcome, Position, Range, Row, Transaction};

/// An answer that is awaited. Futures of the embedded engine are ready when first polled.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A store behind any engine. All engines pass the suite in `tests/conformance`.
pub trait Store: Send + Sync {
    /// One consistent view of everything, as of now.
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>>;

    /// Decides each transaction in order, each seeing those before it, syncs once, then answers
    /// one outcome per transaction.
    ///
    /// On `Err` nothing of the batch is visible to any reader of this opener. Whether it is
    /// durable is unknown if the sync failed: then the store stops writing until it is opened
    /// again, and what was committed shows there. May block the calling thread: while the host
    /// serves, only the [`Committer`](crate::Committer)'s thread calls it.
    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>>;

    /// Opens every record and row, recomputes the set hash and every chain, and answers with what
    /// was walked or with the first damage by name.
    fn verify(&self) -> Later<'_, Verified>;
}

/// One consistent view of a store.
pub trait Snapshot: Send + Sync {
    /// The values and versions of `keys`, in their order.
    fn get<'a>(&'a self, keys: &'a [Key]) -> Later<'a, Vec<Found>>;

    /// The records of a range, in its order.
    fn scan<'a>(&'a self, range: &'a Range) -> Later<'a, Vec<(Key, Found)>>;

    /// The rows of `node` after sequence `after`, in order: as many as fit into `limit_bytes`, and
    /// at least one if there is any. Rows are immutable, so reading them conflicts with nothing.
    fn rows<'a>(&'a self, node: &'a str, after: u64, limit_bytes: usize) -> Later<'a, Vec<Row>>;

    /// Where the store stands in this view.
    fn position(&self) -> &Position;

    /// Where the store stood before the last batch. A store that is ahead of its anchor by a crash
    /// has the anchor's position here; one with another history has not.
    fn previous(&self) -> &Mark;

    /// Whether all reads see one state. If not, the reads of a call that writes nothing, or that
    /// failed, must be validated by a commit as well.
    fn is_stable(&self) -> bool;
}

/// What a full walk over a store has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many live records were opened.
    pub records: u64,
    /// How many rows were opened and chained.
    pub rows: u64,
    /// The position that they add up to.
    pub position: Position,
}
