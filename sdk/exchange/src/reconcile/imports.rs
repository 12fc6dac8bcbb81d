//! Grants and directives that a site took: only what headquarters really ordered.

use crate::{
    directive::Change,
    grant::Grant,
    reconcile::{FindingKind, Orders, ledger::Application, report::Place, state::EntitlementState},
    row::{Event, Row},
};

impl Application {
    /// The site took a grant: headquarters made it so, for this site, once.
    pub(super) fn grant_imported(&mut self, place: Place<'_>, row: &Row, orders: &Orders) {
        let Event::GrantImported { entitlement, number, grant: digest, exporter, total } =
            &row.body.event
        else {
            return;
        };
        let Some(grant) = orders.grants.get(entitlement) else {
            let text = "the site imported what headquarters did not grant";
            return self.findings.breach(FindingKind::Grant, place, text);
        };
        if grant.recipient != self.site {
            let text = "the entitlement is another site's";
            return self.findings.breach(FindingKind::OtherSite, place, text);
        }
        let same = grant.digest() == *digest
            && grant.number == *number
            && grant.exporter == *exporter
            && grant.terms.total == *total;
        if !same {
            let text = "the site imported another grant than headquarters made";
            return self.findings.breach(FindingKind::Grant, place, text);
        }
        if self.state.entitlements.contains_key(entitlement) {
            let text = "the site imported the entitlement twice";
            return self.findings.breach(FindingKind::Grant, place, text);
        }
        let begun = EntitlementState::begin(grant);
        self.state.entitlements.insert(entitlement.clone(), begun);
        self.change(place, row, |counters| {
            counters.credited = *total;
            counters.unused = *total;
            Some(())
        });
    }

    pub(super) fn directive_imported(&mut self, place: Place<'_>, row: &Row, orders: &Orders) {
        let Event::DirectiveImported { directive: digest, entitlement, change, applied } =
            &row.body.event
        else {
            return;
        };
        let applied = *applied;
        let known = orders.directives.get(digest).is_some_and(|directive| {
            directive.entitlement == *entitlement
                && directive.recipient == self.site
                && directive.change == *change
        });
        let Some(state) = self.state.entitlements.get_mut(entitlement) else {
            let text = "an entitlement that was never imported";
            return self.findings.breach(FindingKind::Grant, place, text);
        };
        // What a restore forgot is acted upon once more.
        let again = known && state.set_back && state.directives.contains(digest);
        if again {
            let text = "the site acted again on what it had acted on before the restore";
            self.findings.note(FindingKind::Restore, place, text);
            return self.adopt(place, row);
        }
        if !known || !state.directives.insert(*digest) {
            state.disordered = true;
            let text = "the site acted on what headquarters did not order, or twice";
            self.findings.breach(FindingKind::Directive, place, text);
            return self.adopt(place, row);
        }
        if matches!(change, Change::Revoke | Change::Shorten { .. }) {
            state.narrowed_ms = Some(row.body.time_ms);
        }
        match change {
            Change::Revoke => state.revoked = true,
            Change::Shorten { not_after } => state.not_after = state.not_after.min(*not_after),
            Change::Reduce { units } => {
                self.change(place, row, |counters| {
                    // Units whose draw was under way were not there to be taken.
                    (applied <= counters.unused.min(*units)).then_some(())?;
                    counters.unused -= applied;
                    counters.credited = counters.credited.checked_sub(applied)?;
                    Some(())
                });
            }
            Change::Extend { units, not_after } => {
                state.not_after = not_after.map_or(state.not_after, |end| end.max(state.not_after));
                state.unit_limit = state.unit_limit.saturating_add(*units);
                self.change(place, row, |counters| {
                    (applied == *units).then_some(())?;
                    counters.unused = counters.unused.checked_add(*units)?;
                    counters.credited = counters.credited.checked_add(*units)?;
                    Some(())
                });
            }
        }
    }
}

impl EntitlementState {
    fn begin(grant: &Grant) -> Self {
        Self {
            product: grant.product.id.clone(),
            unit_limit: grant.terms.total,
            not_after: grant.terms.not_after,
            ..Self::default()
        }
    }
}
