//! Reconciliation: did the site keep the rules, as far as its authenticated rows show?
//!
//! The checks that need no business knowledge, in one pure library. The entitlement plugin runs it
//! on every bundle, and `mintmark audit verify` runs the same on opened bundles, so the verdict
//! rests on no single program.
//!
//! A bundle's body is read twice. The first reading follows the hash chains and compares them with
//! the signed checkpoints and, row by row, with what is held already; only if the ledger is whole
//! does the second reading apply what the rows say. So nothing of a tampered bundle enters the
//! register. A copy of the site that went its own way is named at the first row that it shows, and
//! the report keeps what the site signed about both.
//!
//! ```text
//! let mut reconciler = Reconciler::new(site, bundle, made_at, held);
//! while let Some(offset) = reconciler.wanted() {
//!     let range = body.read(offset, 256 KiB);        // empty at the end
//!     reconciler.feed(&range, &mut world)?;
//! }
//! let outcome = reconciler.finish();
//! ```
//!
//! All state is in the [`Reconciler`], which can be encoded between two steps, in the register and
//! in the [`SiteState`]; memory is bounded whatever the bundle's length.

mod chain;
mod closings;
mod counters;
mod devices;
mod forgotten;
mod history;
mod imports;
mod ledger;
mod rates;
mod register;
mod report;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod units;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bundle::FrameReader,
    canonical::Digest,
    checkpoint::{Checkpoint, Position},
    directive::Directive,
    grant::Grant,
    message::HeadRef,
    order::SignedOrder,
    row::Row,
    unit::Counters,
};

use chain::{ChainCheck, Shown};
use ledger::Application;
use report::{Findings, Histogram, Notes, Place};

pub use closings::Closing;
pub use ledger::World;
pub use register::{
    Holder, Index, MemoryRegister, MemoryStage, PAGE_ROWS, PageRef, Register, Unavailable,
    UnitRecord, UnitRef,
};
pub use report::{
    EntitlementReport, Equivocation, FINDINGS_MAX, Finding, FindingKind, MINUTES_MAX, Minute,
    NOTES_MAX, NodeReport, PluginNote, REPORT_VERSION, Report, Severity, Verdict,
};
pub use state::SiteState;

/// What headquarters granted and ordered, as far as a site's rows can name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Grants by entitlement: at least those of the site.
    pub grants: BTreeMap<String, Grant>,
    /// Directives by their [`crate::order::digest`].
    pub directives: BTreeMap<Digest, Directive>,
    /// By entitlement, what the site's closing statements say that are here.
    pub closings: BTreeMap<String, Closing>,
    /// Rows of headquarters' own ledger that a checkpoint of the bundle names and that are not
    /// there.
    pub lost_heads: Vec<LostHead>,
    /// Whether headquarters was ever restored from a backup: it can have forgotten what it granted,
    /// ordered and acknowledged.
    pub restored: bool,
}

/// A row of headquarters' own ledger that a site has seen and that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostHead {
    /// The row.
    pub head: HeadRef,
    /// True for a row of a ledger that a restore by ceremony has replaced. Otherwise headquarters
    /// was set back in secret.
    pub by_restore: bool,
}

/// Reconciles one bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reconciler {
    bundle: Digest,
    /// When the bundle was made.
    made_at: u64,
    application: Application,
    chain: ChainCheck,
    stage: Stage,
    /// Bytes of the body that this reading has taken.
    offset: u64,
    frames: FrameReader,
    /// Empty until the first frame is read.
    checkpoints: Vec<Checkpoint>,
    /// The same, as the site signed them.
    signed: Vec<SignedOrder>,
    /// Which frame comes next.
    cursor: Cursor,
    /// The last row of the present checkpoint that the second reading has taken.
    last: Position,
    rows: u64,
    rows_new: u64,
}

/// What a reconciliation gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// For people, and to be stored.
    pub report: Report,
    /// The site's state with this bundle; as before if the ledger is not whole. To be kept
    /// together with what the register took, or dropped together with it.
    pub state: SiteState,
    /// True if the ledger is whole, so that state and register have taken its rows; the verdict
    /// can be [`Verdict::Breach`] all the same.
    pub advanced: bool,
    /// The heads of `state`, per node: what a receipt names.
    pub heads: Vec<HeadRef>,
}

impl Outcome {
    /// True if headquarters holds what the bundle says from now on; of any other bundle nothing
    /// but the report is kept.
    pub fn is_kept(&self) -> bool {
        self.advanced && self.report.is_accepted()
    }
}

/// Why a step failed. All effects of the step are to be dropped, and the step repeated with the
/// reconciler as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The register could not be read or written.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The second reading saw other bytes than the first.
    #[error("the bundle changed between its two readings")]
    Changed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The first reading.
    Chain,
    /// The second reading.
    Apply,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cursor {
    Head,
    /// Rows of the checkpoint with this index.
    Rows(usize),
}

impl Reconciler {
    /// Begins with the bundle of `site` whose message digest is `bundle`, made at `made_at`;
    /// `held` is what earlier bundles gave.
    pub fn new(site: &str, bundle: Digest, made_at: u64, mut held: SiteState) -> Self {
        for state in held.entitlements.values_mut() {
            state.reserved_in_bundle = 0;
        }
        held.forget_ended_rates();
        let chain = ChainCheck::new(held.heads.clone());
        let application = Application {
            site: site.to_owned(),
            state: held,
            findings: Findings::default(),
            histogram: Histogram::default(),
            notes: Notes::default(),
            open_page: None,
            receipts: BTreeMap::new(),
        };
        Self {
            bundle,
            made_at,
            application,
            chain,
            stage: Stage::Chain,
            offset: 0,
            frames: FrameReader::new(),
            checkpoints: Vec::new(),
            signed: Vec::new(),
            cursor: Cursor::Head,
            last: Position::default(),
            rows: 0,
            rows_new: 0,
        }
    }

    /// The offset in the bundle's body that is wanted next; `None` once all is done.
    pub fn wanted(&self) -> Option<u64> {
        (self.stage != Stage::Done).then_some(self.offset)
    }

    /// True once the first reading found the ledger whole.
    pub fn is_whole(&self) -> bool {
        self.chain.whole && self.stage != Stage::Chain
    }

    /// Takes the bytes at [`Reconciler::wanted`], as many as there are; none says that the body
    /// ends there.
    pub fn feed(&mut self, bytes: &[u8], world: &mut World<'_>) -> Result<(), FeedError> {
        if bytes.is_empty() {
            return self.end(world.orders);
        }
        self.offset += bytes.len() as u64;
        let mut rest = bytes;
        while self.stage != Stage::Done {
            match self.frames.next_frame(&mut rest) {
                Ok(Some(frame)) => self.frame(&frame, world)?,
                Ok(None) => break,
                Err(_) if self.stage == Stage::Apply => return Err(FeedError::Changed),
                Err(_) => self.malformed("a frame is too long"),
            }
        }
        Ok(())
    }

    /// The result; `None` before [`Reconciler::wanted`] is.
    pub fn finish(self) -> Option<Outcome> {
        if self.stage != Stage::Done {
            return None;
        }
        let advanced = self.chain.whole;
        let verdict = self.application.findings.verdict();
        let nodes = self.checkpoints.iter().map(NodeReport::of).collect();
        let state = self.application.state;
        let entitlements = state
            .entitlements
            .iter()
            .map(|(entitlement, state)| {
                let counters: Counters = state.counters();
                EntitlementReport {
                    entitlement: entitlement.clone(),
                    product: state.product.clone(),
                    devices: counters.devices(),
                    counters,
                    retries: state.retries,
                    attempts_failed: state.attempts_failed,
                    reserved_in_bundle: state.reserved_in_bundle,
                    limit: state.unit_limit,
                    revoked: state.revoked,
                    closed: state.closed,
                }
            })
            .collect();
        let report = Report {
            version: REPORT_VERSION,
            site: self.application.site,
            bundle: self.bundle,
            verdict,
            findings: self.application.findings.kept,
            findings_dropped: self.application.findings.dropped,
            equivocation: self.chain.equivocation,
            notes: self.application.notes.kept.into(),
            notes_dropped: self.application.notes.dropped,
            nodes,
            entitlements,
            rows: self.rows,
            rows_new: self.rows_new,
            minute_ms: self.application.histogram.minute_ms,
            production: self.application.histogram.into_minutes(),
        };
        let heads = state.heads();
        Some(Outcome { report, state, advanced, heads })
    }

    fn frame(&mut self, frame: &[u8], world: &mut World<'_>) -> Result<(), FeedError> {
        match (self.cursor, self.stage) {
            (Cursor::Head, Stage::Chain) => {
                let site = &self.application.site;
                let findings = &mut self.application.findings;
                match chain::open_head(frame, site, self.made_at, world.verify, findings) {
                    Some((checkpoints, signed)) => {
                        self.application.judge_nodes(&checkpoints);
                        self.application.judge_witness(&checkpoints, world.orders);
                        (self.checkpoints, self.signed) = (checkpoints, signed);
                        self.begin(0, world)?;
                    }
                    None => self.refuse(),
                }
            }
            // The first reading has verified it.
            (Cursor::Head, _) => self.begin(0, world)?,
            (Cursor::Rows(index), stage) if index >= self.checkpoints.len() => {
                if stage == Stage::Apply {
                    return Err(FeedError::Changed);
                }
                self.malformed("frames follow the last row");
            }
            (Cursor::Rows(index), Stage::Chain) => self.chain_frame(index, frame, world)?,
            (Cursor::Rows(index), _) => self.apply_frame(index, frame, world)?,
        }
        Ok(())
    }

    fn begin(&mut self, index: usize, world: &mut World<'_>) -> Result<(), FeedError> {
        self.cursor = Cursor::Rows(index);
        let Some(checkpoint) = self.checkpoints.get(index) else {
            return Ok(());
        };
        self.last = checkpoint.from;
        match self.stage {
            Stage::Chain => {
                let shown = Shown { checkpoint, order: &self.signed[index] };
                let findings = &mut self.application.findings;
                self.chain.begin(shown, world.register, findings)?;
            }
            Stage::Apply => self.application.begin(checkpoint),
            Stage::Done => {}
        }
        Ok(())
    }

    fn chain_frame(
        &mut self,
        index: usize,
        frame: &[u8],
        world: &mut World<'_>,
    ) -> Result<(), FeedError> {
        let shown = Shown { checkpoint: &self.checkpoints[index], order: &self.signed[index] };
        let findings = &mut self.application.findings;
        if frame.is_empty() {
            self.chain.end(shown, findings);
            return self.begin(index + 1, world);
        }
        self.rows += 1;
        self.chain.row(frame, shown, world.register, findings)?;
        if world.orders.restored {
            let node = &shown.checkpoint.node;
            self.chain.whole &= !forgotten::judge_order(frame, node, world.orders, findings);
        }
        Ok(())
    }

    fn apply_frame(
        &mut self,
        index: usize,
        frame: &[u8],
        world: &mut World<'_>,
    ) -> Result<(), FeedError> {
        let checkpoint = &self.checkpoints[index];
        if frame.is_empty() {
            if self.last != checkpoint.to {
                return Err(FeedError::Changed);
            }
            self.application.end_checkpoint(checkpoint, world)?;
            return self.begin(index + 1, world);
        }
        let row = Row::decode(frame).map_err(|_| FeedError::Changed)?;
        if row.sequence != self.last.sequence + 1 || row.previous != self.last.hash {
            return Err(FeedError::Changed);
        }
        self.last = Position { sequence: row.sequence, hash: row.hash };
        if row.sequence > self.application.applied(checkpoint) {
            self.rows_new += 1;
            self.application.hold(checkpoint, self.last, world)?;
            self.application.row(&checkpoint.node, &row, world)?;
        }
        Ok(())
    }

    /// The body's end, of this reading.
    fn end(&mut self, orders: &Orders) -> Result<(), FeedError> {
        let complete = match self.cursor {
            Cursor::Head => false,
            Cursor::Rows(index) => index >= self.checkpoints.len(),
        };
        match self.stage {
            Stage::Chain if !complete || !self.frames.is_between_frames() => {
                self.malformed("the bundle ends early");
            }
            Stage::Chain if self.chain.whole => {
                self.stage = Stage::Apply;
                self.cursor = Cursor::Head;
                self.offset = 0;
            }
            Stage::Apply if complete => {
                self.application.judge_audit_return(&self.checkpoints, orders);
                self.application.judge_closings(orders);
                self.application.state.heads = self.chain.heads.clone();
                self.stage = Stage::Done;
            }
            Stage::Apply => return Err(FeedError::Changed),
            Stage::Chain | Stage::Done => self.refuse(),
        }
        Ok(())
    }

    fn malformed(&mut self, text: &str) {
        let place = Place { node: "", row: None, entitlement: None };
        self.application.findings.breach(FindingKind::Malformed, place, text);
        self.refuse();
    }

    fn refuse(&mut self) {
        self.chain.whole = false;
        self.stage = Stage::Done;
    }
}

impl NodeReport {
    fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            node: checkpoint.node.clone(),
            incarnation: checkpoint.incarnation,
            from: checkpoint.from,
            to: checkpoint.to,
            boots: checkpoint.boots,
            clock_suspect: checkpoint.clock_suspect,
            applied_sequence: checkpoint.applied_sequence,
            as_of_ms: checkpoint.as_of,
        }
    }
}
