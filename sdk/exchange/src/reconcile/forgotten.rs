//! What a headquarters that was restored from a backup has forgotten.
//!
//! Between the backup and the restore it granted, ordered and acknowledged; the sites' rows name
//! all of it. An order that it does not know is no breach then: the site has the order, signed by
//! headquarters' own host, and headquarters takes it back from there. Until it has, the bundle is
//! held. And the receipts that it gave count: what the site reserved between two of them is judged,
//! not the sum since the last one that headquarters remembers.

use serde::{Deserialize, Serialize};

use crate::{
    message::HeadRef,
    reconcile::{
        FindingKind, Orders,
        ledger::Application,
        report::{Findings, Place},
    },
    row::{Event, Row},
};

/// Units of one entitlement drawn on one node, between the receipts that a bundle's rows name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Receipted {
    /// Drawn in all when the first receipt came.
    first: u64,
    /// The most that was drawn since one receipt when the next one came.
    between: u64,
    /// Drawn in all, as far as the newest receipt covers.
    covered: u64,
}

impl Receipted {
    /// The most units that ever had no receipt, of `drawn` in all; `since` of them were drawn since
    /// the bundle's first row.
    pub(super) fn most(self, since: u64, drawn: u64) -> u64 {
        let before = drawn.saturating_sub(since);
        let at_first = self.first.saturating_sub(before);
        self.between.max(at_first).max(drawn.saturating_sub(self.covered))
    }
}

impl Application {
    /// The site took a receipt of the headquarters that granted. One whose bundle is not known is
    /// taken to cover what was drawn before it came: that can only be said of it afterwards.
    pub(super) fn receipt_imported(
        &mut self,
        node: &str,
        exporter: &str,
        heads: &[HeadRef],
        orders: &Orders,
    ) {
        for (entitlement, state) in &self.state.entitlements {
            let grant = orders.grants.get(entitlement);
            let ledger = state.ledgers.get(node);
            let ours = grant.is_some_and(|grant| grant.exporter == exporter);
            let Some(ledger) = ledger.filter(|_| ours) else { continue };
            let head = heads.iter().rfind(|head| head.node == node);
            let known = head.and_then(|head| ledger.drawn_at(head.incarnation, head.sequence));
            let covered = known.unwrap_or(ledger.drawn);
            let seen = self.receipts.entry((entitlement.clone(), node.to_owned()));
            let seen = seen.or_insert(Receipted { first: ledger.drawn, between: 0, covered });
            seen.between = seen.between.max(ledger.drawn.saturating_sub(seen.covered));
            seen.covered = seen.covered.max(covered);
        }
    }
}

/// Whether a row names an order that headquarters does not know; that is a finding.
pub(super) fn judge_order(
    frame: &[u8],
    node: &str,
    orders: &Orders,
    findings: &mut Findings,
) -> bool {
    let Ok(row) = Row::decode(frame) else { return false };
    let (kind, entitlement) = match &row.body.event {
        Event::GrantImported { entitlement, .. } if !orders.grants.contains_key(entitlement) => {
            (FindingKind::Grant, entitlement)
        }
        Event::DirectiveImported { directive, entitlement, .. }
            if !orders.directives.contains_key(directive) =>
        {
            (FindingKind::Directive, entitlement)
        }
        _ => return false,
    };
    let place = Place { node, row: Some(row.sequence), entitlement: Some(entitlement) };
    let text = "headquarters was restored and does not know this order: adopt what the site holds, \
                then ingest the bundle again";
    findings.hold(kind, place, text);
    true
}
