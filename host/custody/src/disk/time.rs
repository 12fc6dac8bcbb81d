//! The disk form of what outlives a start: the clock's mark, and what rate windows held.

use mintmark_model::escrow::Held;
use serde::{Deserialize, Serialize};

/// The clock, as of a start of the host or of a later word about it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct MarkRecord {
    /// The latest site time.
    pub(crate) mark_ms: u64,
    /// The row after which rows may raise it.
    pub(crate) after_row: u64,
}

/// The rate windows of an allotment, as of one draw.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct WindowsRecord {
    /// The ledger that knows what was drawn: after a restore it may not.
    pub(crate) incarnation: u64,
    /// Units drawn, as committed then.
    pub(crate) drawn: u64,
    /// For each rate, how many of them its window held.
    pub(crate) units: Vec<u64>,
}

impl WindowsRecord {
    /// The record of a draw.
    pub(crate) fn new(incarnation: u64, held: &Held) -> Self {
        Self { incarnation, drawn: held.drawn, units: held.units.clone() }
    }

    /// What was recorded.
    pub(crate) fn held(self) -> Held {
        Held { drawn: self.drawn, units: self.units }
    }
}
