//! The second reading of a bundle: were the rules kept?
//!
//! Only rows of a whole, signed ledger come here. Their effects go into the site's state and the
//! device register; what breaks a rule becomes a finding.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Digest, is_name},
    checkpoint::{Checkpoint, Position},
    reconcile::{
        FindingKind, Orders, Register, Unavailable,
        forgotten::Receipted,
        history::Ledger,
        report::{Findings, Histogram, Notes, Place},
        state::SiteState,
    },
    row::{Event, ROW_DELAY_MS_MAX, Row, Started},
    verify::Verify,
};

/// What a bundle's rows are checked against, and where their effects go.
pub struct World<'a> {
    /// What headquarters granted and ordered.
    pub orders: &'a Orders,
    /// All devices of all sites.
    pub register: &'a mut dyn Register,
    /// Signature checks.
    pub verify: &'a dyn Verify,
}

/// The state that rows change, and what they give rise to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Application {
    pub(super) site: String,
    pub(super) state: SiteState,
    pub(super) findings: Findings,
    pub(super) histogram: Histogram,
    pub(super) notes: Notes,
    /// The page of row hashes that the present checkpoint has come to, once it was read.
    pub(super) open_page: Option<Vec<Digest>>,
    /// By entitlement and node: what the bundle's rows say of receipts, for a headquarters that
    /// was restored.
    pub(super) receipts: BTreeMap<(String, String), Receipted>,
}

impl Application {
    /// A bundle covers every node: one that is left out could hide what it did.
    pub(super) fn judge_nodes(&mut self, checkpoints: &[Checkpoint]) {
        for node in self.state.heads.keys() {
            let closed = self.state.nodes.get(node).is_some_and(|state| state.closed);
            let reports = checkpoints.iter().any(|checkpoint| checkpoint.node == *node);
            if !closed && !reports {
                let place = Place { node, row: None, entitlement: None };
                let text = "the bundle has no checkpoint of the node";
                self.findings.hold(FindingKind::MissingBundle, place, text);
            }
        }
    }

    /// Begins the second reading of a checkpoint's rows.
    pub(super) fn begin(&mut self, checkpoint: &Checkpoint) {
        self.open_page = None;
        // A ledger without rows says nothing yet, and is kept nowhere.
        if checkpoint.to.sequence > 0 && !self.is_replaced(checkpoint) {
            let node = self.state.nodes.entry(checkpoint.node.clone()).or_default();
            node.incarnation = checkpoint.incarnation;
        }
    }

    /// The last row of the checkpoint's ledger that an earlier bundle brought.
    pub(super) fn applied(&self, checkpoint: &Checkpoint) -> u64 {
        match self.state.heads.get(&checkpoint.node) {
            _ if self.is_replaced(checkpoint) => u64::MAX,
            Some(held) if held.incarnation == checkpoint.incarnation => held.position.sequence,
            _ => 0,
        }
    }

    fn is_replaced(&self, checkpoint: &Checkpoint) -> bool {
        let held = self.state.heads.get(&checkpoint.node);
        held.is_some_and(|held| held.incarnation > checkpoint.incarnation)
    }

    /// Units reserved after the newest receipt: that is where a bundle begins.
    pub(super) fn judge_audit_return(&mut self, checkpoints: &[Checkpoint], orders: &Orders) {
        let Self { state, findings, receipts, .. } = self;
        let SiteState { heads, entitlements, .. } = state;
        for (entitlement, state) in entitlements {
            let mut reserved = 0_u64;
            for checkpoint in checkpoints {
                let Some(ledger) = state.ledgers.get_mut(&checkpoint.node) else {
                    continue;
                };
                let (incarnation, from) = (checkpoint.incarnation, checkpoint.from.sequence);
                let held = heads.get(&checkpoint.node);
                let held = held.map_or(0, |held| held.last_of(incarnation).sequence);
                if checkpoint.to.sequence <= held {
                    // An old bundle again: it reports nothing that came after it.
                    continue;
                }
                let since = ledger.drawn_since(incarnation, from).unwrap_or_default();
                let key = (entitlement.clone(), checkpoint.node.clone());
                let most =
                    receipts.remove(&key).map_or(since, |seen| seen.most(since, ledger.drawn));
                reserved = reserved.saturating_add(most);
                ledger.remember_drawn(incarnation, checkpoint.to.sequence);
            }
            let Some(grant) = orders.grants.get(entitlement) else {
                continue;
            };
            let max = grant.terms.audit_return.units;
            if reserved > max {
                let place = Place { node: "", row: None, entitlement: Some(entitlement) };
                let text = format!("{reserved} units without a receipt, of {max}");
                findings.breach(FindingKind::AuditReturn, place, text);
            }
        }
    }

    /// Headquarters was set back if a site has seen rows of it that are not there, unless a restore
    /// explains it.
    pub(super) fn judge_witness(&mut self, checkpoints: &[Checkpoint], orders: &Orders) {
        for checkpoint in checkpoints {
            let mut lost = orders.lost_heads.iter();
            let lost = lost.find(|lost| checkpoint.hq_head.as_ref() == Some(&lost.head));
            let Some(lost) = lost else { continue };
            let place = Place { node: &checkpoint.node, row: None, entitlement: None };
            let text = format!("the site has seen row {} of headquarters", lost.head.sequence);
            return if lost.by_restore {
                let text = format!("{text}, which a restore of headquarters has lost");
                self.findings.note(FindingKind::Witness, place, text);
            } else {
                let text = format!("{text}, which is not there");
                self.findings.hold(FindingKind::Witness, place, text);
            };
        }
    }

    /// Remembers a row that is new, so that it is known when it is shown again.
    pub(super) fn hold(
        &mut self,
        checkpoint: &Checkpoint,
        row: Position,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        Ledger::of(checkpoint).add(row, &mut self.open_page, world.register)
    }

    /// Applies a row of `node`.
    pub(super) fn row(
        &mut self,
        node: &str,
        row: &Row,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        let place = Place { node, row: Some(row.sequence), entitlement: None };
        self.clock(place, row);
        match &row.body.event {
            Event::Started(started) => self.started(node, row, started),
            Event::Restored { .. } => self.restored(node),
            Event::ClockAcknowledged { mark_before_ms, mark_after_ms } => {
                self.acknowledged(place, row, *mark_before_ms, *mark_after_ms);
            }
            Event::Approved { act, approvers, .. } => self.approved(place, row, act, approvers),
            Event::NodeClosed { head } => {
                if let Some(node) = self.state.nodes.get_mut(&head.node) {
                    node.closed = true;
                }
            }
            Event::PluginInstalled(version) | Event::PluginActivated(version) => {
                if !self.state.install(version) {
                    let text = "more versions of plugins, or publishers of one, than can be";
                    self.findings.breach(FindingKind::Measurement, place, text);
                }
            }
            Event::Unit(event) => {
                return self.unit(place.of(&event.entitlement), row, event, world);
            }
            Event::HandedOver { entitlement, unit, station } => {
                return self.handed_over(place.of(entitlement), row, *unit, station, world);
            }
            Event::Note { text } => self.notes.take(node, row, text),
            Event::ReceiptImported { exporter, heads, .. } if world.orders.restored => {
                self.receipt_imported(node, exporter, heads, world.orders);
            }
            event => self.allotment_row(place, row, event, world.orders),
        }
        Ok(())
    }

    /// Applies a row about a whole allotment; other rows change nothing here.
    fn allotment_row(&mut self, place: Place<'_>, row: &Row, event: &Event, orders: &Orders) {
        match event {
            Event::GrantImported { entitlement, .. } => {
                self.grant_imported(place.of(entitlement), row, orders);
            }
            Event::DirectiveImported { entitlement, .. } => {
                self.directive_imported(place.of(entitlement), row, orders);
            }
            Event::CrlIssued { entitlement, number, revoked, .. } => {
                self.crl_issued(place.of(entitlement), *number, *revoked, orders);
            }
            Event::UnusedLost { entitlement, units } => {
                self.unused_lost(place.of(entitlement), row, *units);
            }
            Event::Closed { entitlement, destroyed } => {
                self.closed(place.of(entitlement), row, *destroyed);
                self.judge_destroyed(place.of(entitlement), *destroyed, orders);
            }
            Event::Started(_)
            | Event::Restored { .. }
            | Event::ClockAcknowledged { .. }
            | Event::Approved { .. }
            | Event::NodeClosed { .. }
            | Event::PluginInstalled(_)
            | Event::PluginActivated(_)
            | Event::Unit(_)
            | Event::Outcome { .. }
            | Event::Note { .. }
            | Event::HandedOver { .. }
            | Event::KeyMade { .. }
            | Event::KeyUsed { .. }
            | Event::KeyDestroyed { .. }
            | Event::KeySetMade { .. }
            | Event::CaMade { .. }
            | Event::MessageSealed { .. }
            | Event::MessageOpened { .. }
            | Event::GrantExported { .. }
            | Event::ReceiptExported { .. }
            | Event::ReceiptImported { .. }
            | Event::DirectiveExported { .. }
            | Event::UserIssued { .. }
            | Event::UserRevoked { .. }
            | Event::LeafIssued { .. }
            | Event::PeerImported { .. }
            | Event::BundleExported { .. }
            | Event::PolicyChanged { .. }
            | Event::KeySetDestroyed { .. }
            | Event::PoolLoaded { .. }
            | Event::ClosingExported { .. }
            | Event::ClosingImported { .. }
            | Event::StreamOpened { .. }
            | Event::CharterChanged { .. }
            | Event::ApprovalRequested { .. }
            | Event::ApprovalGiven { .. }
            | Event::BackupMade { .. }
            | Event::KeyRetired { .. }
            | Event::OrderAdopted { .. } => {}
        }
    }

    /// Ends a checkpoint whose rows were applied: its counters are those that the rows imply.
    pub(super) fn end_checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        let last = checkpoint.to.sequence;
        Ledger::of(checkpoint).close(last, &mut self.open_page, world.register)?;
        if self.applied(checkpoint) <= last {
            self.judge_end(checkpoint);
        }
        // Else an old bundle again, as the first reading has made sure: its counters are history.
        Ok(())
    }

    fn judge_end(&mut self, checkpoint: &Checkpoint) {
        let node = checkpoint.node.as_str();
        let place = Place { node, row: Some(checkpoint.to.sequence), entitlement: None };
        if checkpoint.clock_suspect {
            self.findings.hold(FindingKind::Clock, place, "the site's clock is suspect");
        }
        for (entitlement, state) in &mut self.state.entitlements {
            let place = place.of(entitlement);
            let said = checkpoint.counters.iter().find(|said| said.entitlement == *entitlement);
            let Some(ledger) = state.ledgers.get_mut(node) else {
                continue;
            };
            if let Some(unsettled) = ledger.unsettled.take() {
                let place = Place { row: Some(unsettled.row), ..place };
                let text = "the row's counters don't follow from the rows";
                self.findings.breach(FindingKind::Equation, place, text);
            }
            let agrees = match said {
                Some(said) => {
                    let ended = state.revoked || state.closed;
                    let same = (said.limit, said.ended) == (state.unit_limit, ended);
                    let same = same || state.disordered || state.set_back;
                    ledger.adopt || (said.counters == ledger.counters && same)
                }
                None => state.closed || state.set_back,
            };
            if !agrees {
                let text = "the checkpoint's counters don't follow from the rows";
                self.findings.breach(FindingKind::Equation, place, text);
            }
        }
        for said in &checkpoint.counters {
            let known = self.state.entitlements.contains_key(&said.entitlement);
            if !known {
                let text = "counters of an entitlement that was never imported";
                self.findings.breach(FindingKind::Grant, place.of(&said.entitlement), text);
            }
        }
    }

    /// Rows are in the order of commits and hold the times of decisions: a call may be decided
    /// before and committed after another, but no longer than a call may take.
    fn clock(&mut self, place: Place<'_>, row: &Row) {
        let body = &row.body;
        let node = self.state.nodes.entry(place.node.to_owned()).or_default();
        let started = matches!(body.event, Event::Started(_));
        let acknowledged = matches!(body.event, Event::ClockAcknowledged { .. });
        if !acknowledged && body.time_ms.saturating_add(ROW_DELAY_MS_MAX) < node.time_max_ms {
            if row.sequence == 1 {
                // A restored clock goes on from the backup, until somebody tells it the time.
                let text = "site time is that of the backup again";
                self.findings.note(FindingKind::Clock, place, text);
            } else {
                let text = "site time steps back by more than a call may take";
                self.findings.hold(FindingKind::Clock, place, text);
            }
            node.time_max_ms = body.time_ms;
        }
        let behind = body.monotonic_ms.saturating_add(ROW_DELAY_MS_MAX) < node.monotonic_max_ms;
        if !started && behind {
            let text = "the monotonic clock steps back";
            self.findings.hold(FindingKind::Clock, place, text);
            node.monotonic_max_ms = body.monotonic_ms;
        }
        if !started && body.boot != node.boot {
            self.findings.hold(FindingKind::Clock, place, "a start of the host is missing");
            node.boot = body.boot;
        }
        if body.clock_suspect && !node.suspect {
            self.findings.note(FindingKind::Clock, place, "the clock became suspect");
        }
        node.suspect = body.clock_suspect;
        node.time_max_ms = node.time_max_ms.max(body.time_ms);
        if !started {
            node.monotonic_max_ms = node.monotonic_max_ms.max(body.monotonic_ms);
            node.served.passed(body.monotonic_ms);
        }
    }

    fn started(&mut self, node: &str, row: &Row, started: &Started) {
        let node = self.state.nodes.entry(node.to_owned()).or_default();
        node.served.started(row.body.monotonic_ms);
        node.boots = if row.sequence == 1 { 1 } else { node.boots + 1 };
        node.boot = row.body.boot;
        node.acknowledged = false;
        node.monotonic_max_ms = row.body.monotonic_ms;
        node.approved = None;
        if row.sequence == 1 {
            // The first reading has compared it with what is held.
            if let Some(head) = &started.replaces {
                node.replaces.insert(started.incarnation, (head.incarnation, head.sequence));
            }
            node.restored = false;
        }
    }

    /// Scrap beyond the allowance needs at least one approver beside whoever asks; how many there
    /// have to be is the charter's to say, and custody's to see to.
    fn approved(&mut self, place: Place<'_>, row: &Row, act: &str, approvers: &[String]) {
        let mut names: Vec<_> = approvers.iter().collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() || names.len() != approvers.len() {
            let text = "approvals of nobody, or of one person twice";
            return self.findings.breach(FindingKind::Scrap, place, text);
        }
        let node = self.state.nodes.entry(place.node.to_owned()).or_default();
        // A longer one is none that is ever asked for.
        node.approved = is_name(act).then(|| (row.body.request, act.to_owned()));
    }

    /// Once in a start an admin may say alone that the clock is right; more than that, and a mark
    /// that is lowered, takes approvals in the same call.
    fn acknowledged(&mut self, place: Place<'_>, row: &Row, before_ms: u64, after_ms: u64) {
        let node = self.state.nodes.entry(place.node.to_owned()).or_default();
        let lowered = after_ms < before_ms;
        let alone = !lowered && !node.acknowledged;
        // Who may lower the mark may also say that it is right.
        let approved = node.is_approved(row, "lower-clock")
            || (!lowered && node.is_approved(row, "acknowledge-clock"));
        node.acknowledged |= !lowered;
        (node.time_max_ms, node.suspect) = (after_ms, false);
        let text = match lowered {
            true => "the mark of the clock was lowered",
            false => "a suspect clock was acknowledged",
        };
        if alone || approved {
            self.findings.note(FindingKind::Clock, place, text);
        } else {
            self.findings.breach(FindingKind::Clock, place, format!("{text} without approvals"));
        }
    }

    /// After a restore the counters are those of the backup, less what was written off.
    fn restored(&mut self, node: &str) {
        self.state.nodes.entry(node.to_owned()).or_default().restored = true;
        for state in self.state.entitlements.values_mut() {
            if let Some(ledger) = state.ledgers.get_mut(node) {
                (ledger.adopt, state.set_back) = (true, true);
            }
        }
    }
}
