//! Rows that a call's commit will write.

use mintmark_exchange::row::Event;
use mintmark_model::escrow::Moment;

use crate::call::CALL_MS_MAX;

/// A ledger row that the commit will write.
pub(crate) struct PendingRow {
    pub(crate) moment: Moment,
    pub(crate) event: Event,
    /// The unit that the row is about.
    pub(crate) unit: Option<(String, u64)>,
    /// The allotment whose counters the row carries.
    pub(crate) allotment: Option<String>,
    /// Who did it, where that is not the caller.
    pub(crate) principal: Option<String>,
}

impl PendingRow {
    /// A row that is about no unit.
    pub(crate) fn plain(moment: Moment, event: Event) -> Self {
        Self { moment, event, unit: None, allotment: None, principal: None }
    }

    /// Whether its call took so long that headquarters would take the row for a clock that steps
    /// back: then it has the time of its commit. A unit's row keeps the time by which its limits
    /// were judged, which is no older than a deadline.
    pub(crate) fn is_late(&self, now: Moment) -> bool {
        let age_ms = now.monotonic_ms.saturating_sub(self.moment.monotonic_ms);
        self.unit.is_none() && age_ms > CALL_MS_MAX
    }

    /// Whether it says that something left the host for the first time.
    pub(crate) fn is_release(&self) -> bool {
        use mintmark_exchange::unit::UnitChange::{Issued, Recertified, Reserved};
        let releases = |change| matches!(change, Reserved | Issued | Recertified);
        matches!(&self.event, Event::Unit(unit) if releases(unit.change)) || self.unit.is_none()
    }
}
