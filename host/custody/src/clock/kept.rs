//! What outlives a start: the mark, and the latest time that headquarters said.
//!
//! Every row carries the site time of its decision, so the mark is read from the last rows. The
//! record says from which row on: what people say about the clock may lower the mark, and then
//! earlier rows don't count.

use std::collections::BTreeSet;

use mintmark_exchange::row::Row;
use mintmark_store::{Key, Snapshot};

use crate::disk::time::MarkRecord;
use crate::genesis::OpenError;
use crate::tables;
use crate::view::View;

/// What a start finds.
pub(crate) struct Kept {
    /// The latest site time; none in a new store.
    pub(crate) mark_ms: Option<u64>,
    /// The latest time that headquarters said; zero where it said none.
    pub(crate) heard_ms: u64,
}

/// How many rows are read at once, from the end back.
const PAGE_ROWS: u64 = 256;
/// How many calls are read at least: more than can be under way together.
const CALLS: usize = 1_024;
const PAGE_BYTES: usize = 1 << 20;

/// Where the mark is.
pub(crate) fn mark_place() -> Key {
    Key::new(tables::CLOCK, b"mark")
}

/// Where headquarters' time is.
pub(crate) fn heard_place() -> Key {
    Key::new(tables::CLOCK, b"headquarters")
}

/// What is on record about the clock.
pub(crate) async fn kept(
    snapshot: &dyn Snapshot,
    view: &View,
    node: &str,
) -> Result<Kept, OpenError> {
    let heard = view.peek(&heard_place()).await.map_err(OpenError::Refused)?;
    let record: Option<MarkRecord> = view.peek(&mark_place()).await.map_err(OpenError::Refused)?;
    let after = record.map_or(0, |record| record.after_row);
    let in_rows = latest(snapshot, node, after).await?;
    let mark_ms = record.map(|record| record.mark_ms).max(in_rows);
    Ok(Kept { mark_ms, heard_ms: heard.unwrap_or(0) })
}

/// The latest time in the last rows after `after`. Rows are in the order of their commits, which is
/// that of their times but for calls that were under way together: those of more calls than that
/// are read, however many rows each of them has. Rows of a suspect clock only repeat the mark.
async fn latest(snapshot: &dyn Snapshot, node: &str, after: u64) -> Result<Option<u64>, OpenError> {
    let mut to = snapshot.position().head(node).map_or(0, |head| head.sequence);
    let mut found = None;
    let mut calls = BTreeSet::new();
    while to > after && (found.is_none() || calls.len() < CALLS) {
        let from = after.max(to.saturating_sub(PAGE_ROWS));
        let mut next = from;
        while next < to {
            let rows = snapshot.rows(node, next, PAGE_BYTES).await.map_err(OpenError::Store)?;
            let Some(last) = rows.last() else { break };
            next = last.sequence;
            for row in &rows {
                let row = Row::decode(&row.encoded)
                    .map_err(|_| OpenError::Damaged("one of the last ledger rows"))?;
                calls.insert(row.body.request);
                if !row.body.clock_suspect {
                    found = found.max(Some(row.body.time_ms));
                }
            }
        }
        to = from;
    }
    Ok(found)
}
