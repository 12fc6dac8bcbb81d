//! Closing statements: what a site's host says to have destroyed is made nowhere any more.
//!
//! Headquarters grants the destroyed units elsewhere as soon as it has the statement, whatever the
//! site's rows say of it. A statement and bundles cross the gap in any order, so the row that
//! closed the allotment can come later, or have come before. What can't come is a unit that was
//! drawn beyond those that the statement leaves: all rows about units had a receipt before it was
//! made. A headquarters that was restored may have forgotten the statement; then nothing is known
//! to be destroyed, and the row alone says so.

use serde::{Deserialize, Serialize};

use crate::{
    closing::ClosingStatement,
    reconcile::{
        FindingKind, Orders, Verdict,
        ledger::Application,
        report::{Findings, Place},
        state::EntitlementState,
    },
};

/// What of a closing statement the rows are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Units that can ever have been drawn: all that were credited but those destroyed.
    pub drawn_max: u64,
    /// Units that were destroyed unused.
    pub destroyed: u64,
}

impl Closing {
    /// What a statement says, whose signature was verified and that does not contradict itself.
    pub fn of(statement: &ClosingStatement) -> Self {
        let ClosingStatement { counters, .. } = statement;
        let destroyed = counters.destroyed;
        Self { drawn_max: counters.credited.saturating_sub(destroyed), destroyed }
    }
}

impl Application {
    /// A row has drawn a unit: the statement leaves one.
    pub(super) fn judge_closed_draw(&mut self, place: Place<'_>, orders: &Orders) {
        let entitlement = place.entitlement.unwrap_or_default();
        let closing = orders.closings.get(entitlement);
        let state = self.state.entitlements.get(entitlement);
        if let Some((closing, state)) = closing.zip(state) {
            judge_drawn(state, *closing, place, &mut self.findings);
        }
    }

    /// The row that closed an allotment destroyed what the statement says. A restore has written
    /// off what a site had destroyed since the backup; it closes what is left.
    pub(super) fn judge_destroyed(&mut self, place: Place<'_>, destroyed: u64, orders: &Orders) {
        let entitlement = place.entitlement.unwrap_or_default();
        let set_back = self.state.entitlements.get(entitlement).is_some_and(|one| one.set_back);
        let closing = orders.closings.get(entitlement).filter(|_| !set_back);
        if let Some(stated) = closing.map(|one| one.destroyed).filter(|units| *units != destroyed) {
            let text = format!("{destroyed} units destroyed; the closing statement says {stated}");
            self.findings.breach(FindingKind::Total, place, text);
        }
    }

    /// What was drawn before the statement came is judged as well, where no row was named.
    pub(super) fn judge_closings(&mut self, orders: &Orders) {
        if self.findings.verdict() == Verdict::Breach {
            return;
        }
        for (entitlement, closing) in &orders.closings {
            let place = Place { node: "", row: None, entitlement: Some(entitlement) };
            if let Some(state) = self.state.entitlements.get(entitlement) {
                judge_drawn(state, *closing, place, &mut self.findings);
            }
        }
    }
}

fn judge_drawn(
    state: &EntitlementState,
    closing: Closing,
    place: Place<'_>,
    findings: &mut Findings,
) {
    let (drawn, mut max) = (state.drawn(), closing.drawn_max);
    if state.set_back {
        // The statement counts from the backup on; what was added after it, and drawn, is no lie.
        max = max.max(state.unit_limit.saturating_sub(closing.destroyed));
    }
    if drawn > max {
        let text = format!("{drawn} units drawn; the closing statement leaves {max}");
        findings.breach(FindingKind::Total, place, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_and_drawn_after_a_backup_is_no_lie_of_the_statement() {
        let mut state = EntitlementState { unit_limit: 1_100, ..EntitlementState::default() };
        state.ledgers.entry("n1".to_owned()).or_default().drawn = 1_050;
        let closing = Closing { drawn_max: 1_000, destroyed: 0 };
        let place = Place { node: "", row: None, entitlement: None };
        let verdict = |state: &EntitlementState, closing| {
            let mut findings = Findings::default();
            judge_drawn(state, closing, place, &mut findings);
            findings.verdict()
        };
        assert_eq!(verdict(&state, closing), Verdict::Breach);
        state.set_back = true;
        assert_eq!(verdict(&state, closing), Verdict::Clean);
        assert_eq!(verdict(&state, Closing { destroyed: 51, ..closing }), Verdict::Breach);
    }
}
