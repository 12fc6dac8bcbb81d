//! The equation: the counters in every row are those that follow from the rows.

use crate::{
    reconcile::{
        FindingKind,
        ledger::Application,
        report::{Findings, Place},
        state::{NodeLedger, Unsettled},
    },
    row::Row,
    unit::Counters,
};

impl Application {
    /// Takes the counters in a row that changed an allotment as implied by `change`.
    pub(super) fn change(
        &mut self,
        place: Place<'_>,
        row: &Row,
        change: impl FnOnce(&mut Counters) -> Option<()>,
    ) {
        let entitlement = place.entitlement.unwrap_or_default();
        let Some(state) = self.state.entitlements.get_mut(entitlement) else {
            let text = "an entitlement that was never imported";
            return self.findings.breach(FindingKind::Grant, place, text);
        };
        let ledger = state.ledgers.entry(place.node.to_owned()).or_default();
        let mut implied = ledger.counters;
        let possible = change(&mut implied).is_some();
        if possible {
            ledger.counters = implied;
        } else if !ledger.adopt {
            let text = "more than the counters had";
            self.findings.breach(FindingKind::Equation, place, text);
            ledger.adopt = true;
        }
        settle(ledger, place, row, &mut self.findings);
    }

    /// Says that a row's change was not understood: the next counters are taken as they are, so
    /// that one fault is one finding.
    pub(super) fn adopt(&mut self, place: Place<'_>, row: &Row) {
        let entitlement = place.entitlement.unwrap_or_default();
        let state = self.state.entitlements.get_mut(entitlement);
        let Some(ledger) = state.and_then(|state| state.ledgers.get_mut(place.node)) else {
            return;
        };
        ledger.adopt = true;
        if row.counters.is_some() {
            settle(ledger, place, row, &mut self.findings);
        }
    }

    /// A restore wrote off units that were never drawn.
    pub(super) fn unused_lost(&mut self, place: Place<'_>, row: &Row, units: u64) {
        if !self.state.nodes.get(place.node).is_some_and(|node| node.restored) {
            let text = "units are written off without a restore";
            self.findings.breach(FindingKind::Restore, place, text);
        }
        self.change(place, row, |counters| {
            counters.unused = counters.unused.checked_sub(units)?;
            counters.lost = counters.lost.checked_add(units)?;
            Some(())
        });
    }

    /// An allotment ends: all that is unused is destroyed.
    pub(super) fn closed(&mut self, place: Place<'_>, row: &Row, destroyed: u64) {
        self.change(place, row, |counters| {
            (counters.unused == destroyed).then_some(())?;
            counters.destroyed = counters.destroyed.checked_add(destroyed)?;
            counters.unused = 0;
            Some(())
        });
        let state = self.state.entitlements.get_mut(place.entitlement.unwrap_or_default());
        if let Some(state) = state {
            state.closed = true;
            state.narrowed_ms = Some(row.body.time_ms);
        }
    }
}

/// Compares a row's counters with what is implied. The rows of one transaction all have the
/// counters after it, so a difference stands until the next row of another call.
fn settle(ledger: &mut NodeLedger, place: Place<'_>, row: &Row, findings: &mut Findings) {
    let Some(counters) = row.counters else {
        ledger.adopt = true;
        return findings.breach(FindingKind::Equation, place, "the row has no counters");
    };
    if !counters.hold_the_equation() {
        let text = "credited is not the sum of the other counters";
        findings.breach(FindingKind::Equation, place, text);
        (ledger.counters, ledger.unsettled) = (counters, None);
        return;
    }
    if ledger.adopt {
        (ledger.counters, ledger.adopt, ledger.unsettled) = (counters, false, None);
        return;
    }
    let request = row.body.request;
    if let Some(before) = ledger.unsettled.take() {
        if before.request != request || before.counters != counters {
            let place = Place { row: Some(before.row), ..place };
            let text = "the row's counters don't follow from the rows";
            findings.breach(FindingKind::Equation, place, text);
            ledger.counters = counters;
            return;
        }
        if counters != ledger.counters {
            ledger.unsettled = Some(before);
        }
    } else if counters != ledger.counters {
        ledger.unsettled = Some(Unsettled { row: row.sequence, request, counters });
    }
}
