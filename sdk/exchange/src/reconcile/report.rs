//! What a reconciliation found.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Digest, is_name},
    checkpoint::Position,
    grant::is_entitlement,
    order::SignedOrder,
    reconcile::SiteState,
    row::{PluginRef, Row},
    unit::Counters,
};

/// The answer to "was the policy kept?".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Verdict {
    /// Yes. (Boots and units in doubt alone are clean.)
    #[default]
    Clean,
    /// Yes, and something out of the ordinary is explained.
    CleanWithNotes,
    /// Not known yet: something is missing or unexplained.
    Hold,
    /// No.
    Breach,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// To be known.
    Note,
    /// To be explained.
    Hold,
    /// A promise was broken.
    Breach,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FindingKind {
    /// The bundle itself: its frames, versions or end.
    Malformed,
    /// A checkpoint that the site's custody did not sign.
    Signature,
    /// Rows are missing inside of the bundle.
    Gap,
    /// Rows before the bundle are missing.
    MissingBundle,
    /// Two rows with one number.
    Fork,
    /// A row is not what its successor or the checkpoint says.
    BrokenChain,
    /// The rows have another Merkle root or count than the checkpoint.
    Checkpoint,
    /// Rows of another site, or about another site's entitlement.
    OtherSite,
    /// An entitlement that headquarters did not grant so.
    Grant,
    /// A change that headquarters did not order so.
    Directive,
    /// Counters that don't add up or don't follow from the rows.
    Equation,
    /// More units than granted.
    Total,
    /// A unit's change that can't follow its state, or that contradicts its earlier rows.
    Transition,
    /// More units in an interval than a rate allows.
    Rate,
    /// Outside of the window, after the grace time or after a revocation.
    Window,
    /// More units in doubt, attempts or units of a subject than allowed.
    Limit,
    /// More units without a receipt than allowed.
    AuditReturn,
    /// More scrap than allowed, without approval.
    Scrap,
    /// Subject, serial, public key or certificate serial used twice.
    Duplicate,
    /// A subject that is malformed or not on the list.
    Subject,
    /// A serial number against the rule.
    Serial,
    /// A certificate or key that is missing or not this unit's.
    Certificate,
    /// A device's proof is missing or wrong.
    Proof,
    /// Code that the grant does not accept.
    Measurement,
    /// A restore from a backup.
    Restore,
    /// A clock that stepped or was suspect.
    Clock,
    /// Another station than the unit's, without a hand-over.
    Station,
    /// A list of revoked certificates that can't be right.
    RevocationList,
    /// Headquarters' own ledger lacks a row that the site has seen.
    Witness,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// How much it weighs.
    pub severity: Severity,
    /// The node.
    pub node: String,
    /// The row's number in the node's ledger.
    pub row: Option<u64>,
    /// The entitlement.
    pub entitlement: Option<String>,
    /// For people. Holds nothing of the site's but numbers and well-formed subjects.
    pub text: String,
}

/// The result of reconciling one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the site.
    pub site: String,
    /// The bundle's message digest.
    pub bundle: Digest,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub findings_dropped: u64,
    /// What proves, whoever asks, that the site signed two ledgers.
    pub equivocation: Option<Equivocation>,
    /// The newest notes, at most [`NOTES_MAX`]. They are the plugins' words: no check reads them,
    /// and nothing here says that they are true.
    pub notes: Vec<PluginNote>,
    /// Notes before those.
    pub notes_dropped: u64,
    /// Per node.
    pub nodes: Vec<NodeReport>,
    /// Per entitlement that the site has.
    pub entitlements: Vec<EntitlementReport>,
    /// Rows in the bundle.
    pub rows: u64,
    /// Rows that were not known before.
    pub rows_new: u64,
    /// Milliseconds of a [`Minute`]: 60,000, doubled until the plot is short enough.
    pub minute_ms: u64,
    /// Production over time, in the order of time.
    pub production: Vec<Minute>,
}

/// Two checkpoints of one ledger that can't both be true: the site's custody signed either.
///
/// Each vouches for all rows up to its end, through their hashes; the rows themselves are in the
/// opened bundles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equivocation {
    /// The node.
    pub node: String,
    /// The first row that is there twice, as far as it was shown.
    pub row: u64,
    /// The checkpoint of the ledger that is held, under
    /// [`CHECKPOINT`](crate::order::CHECKPOINT).
    pub held: SignedOrder,
    /// The checkpoint of the bundle.
    pub shown: SignedOrder,
}

/// A plugin's own words in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginNote {
    /// The node.
    pub node: String,
    /// The row's number in the node's ledger.
    pub row: u64,
    /// Site time, milliseconds since the epoch.
    pub time_ms: u64,
    /// Who says so.
    pub plugin: Option<PluginRef>,
    /// Printable ASCII, at most 1 KiB.
    pub text: String,
}

/// A node's stretch of ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// Which ledger of that node.
    pub incarnation: u64,
    /// The row before the first one.
    pub from: Position,
    /// The last row.
    pub to: Position,
    /// Starts of the host, in this incarnation.
    pub boots: u64,
    /// True while the clock is suspect.
    pub clock_suspect: bool,
    /// The last sequence of headquarters' stream that the site applied.
    pub applied_sequence: u64,
    /// Up to when it reports all that the node did, milliseconds since the epoch.
    pub as_of_ms: u64,
}

/// An entitlement at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementReport {
    /// The entitlement.
    pub entitlement: String,
    /// The product's id.
    pub product: String,
    /// Units by state, after the bundle, over all nodes.
    pub counters: Counters,
    /// Units with an issued identity.
    pub devices: u64,
    /// Identities released again, so far.
    pub retries: u64,
    /// Failed attempts, so far.
    pub attempts_failed: u64,
    /// Units reserved in this bundle.
    pub reserved_in_bundle: u64,
    /// Units ever credited, whatever was taken back since.
    pub limit: u64,
    /// True after a revocation.
    pub revoked: bool,
    /// True after closing.
    pub closed: bool,
}

/// Production in one interval of [`Report::minute_ms`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Its beginning, milliseconds since the epoch.
    pub start_ms: u64,
    /// Units reserved.
    pub reserved: u64,
    /// Units confirmed.
    pub confirmed: u64,
    /// Units failed or scrapped.
    pub rejected: u64,
    /// Identities released again.
    pub retries: u64,
}

/// The only version of a report.
pub const REPORT_VERSION: u16 = 1;
/// Most findings in a report; the weightiest kind of each row comes first anyway.
pub const FINDINGS_MAX: usize = 256;
/// Most notes in a report.
pub const NOTES_MAX: usize = 64;
/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 1_024;
/// Most intervals of a production plot.
pub const MINUTES_MAX: usize = 1440;

impl Report {
    /// Up to when the site has reported all that it did, where this bundle says so: it ends with
    /// the rows that are held last. An older range again says nothing new.
    pub fn as_of_ms(&self, held: &SiteState) -> Option<u64> {
        let heads = held.heads();
        let newest = |node: &&NodeReport| {
            heads.iter().any(|head| {
                head.node == node.node
                    && (head.incarnation, head.sequence) == (node.incarnation, node.to.sequence)
            })
        };
        self.nodes.iter().filter(newest).map(|node| node.as_of_ms).min()
    }

    /// True if the ledger is whole, so that headquarters now holds these rows.
    pub fn is_accepted(&self) -> bool {
        matches!(self.verdict, Verdict::Clean | Verdict::CleanWithNotes)
    }
}

impl Severity {
    /// The verdict that a finding of this weight alone gives.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Note => Verdict::CleanWithNotes,
            Self::Hold => Verdict::Hold,
            Self::Breach => Verdict::Breach,
        }
    }
}

/// Collects findings in bounded memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Findings {
    pub(super) kept: Vec<Finding>,
    pub(super) dropped: u64,
    worst: Verdict,
}

/// Where something was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a str,
    pub(super) row: Option<u64>,
    pub(super) entitlement: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(super) fn of(self, entitlement: &'a str) -> Self {
        Self { entitlement: Some(entitlement), ..self }
    }
}

impl Findings {
    pub(super) fn breach(&mut self, kind: FindingKind, place: Place<'_>, text: impl Into<String>) {
        self.add(kind, Severity::Breach, place, text.into());
    }

    pub(super) fn hold(&mut self, kind: FindingKind, place: Place<'_>, text: impl Into<String>) {
        self.add(kind, Severity::Hold, place, text.into());
    }

    pub(super) fn note(&mut self, kind: FindingKind, place: Place<'_>, text: impl Into<String>) {
        self.add(kind, Severity::Note, place, text.into());
    }

    fn add(&mut self, kind: FindingKind, severity: Severity, place: Place<'_>, text: String) {
        let node = place.node.to_owned();
        // The row may say anything; the report repeats ids alone.
        let entitlement = place.entitlement.filter(|id| is_entitlement(id)).map(str::to_owned);
        self.push(Finding { kind, severity, node, row: place.row, entitlement, text });
    }

    fn push(&mut self, finding: Finding) {
        self.worst = self.worst.max(finding.severity.verdict());
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
            return;
        }
        self.dropped += 1;
        // A flood of notes must not hide the breach that comes last.
        let lighter = self.kept.iter().rposition(|kept| kept.severity < finding.severity);
        if let Some(place) = lighter {
            self.kept.remove(place);
            self.kept.push(finding);
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.worst
    }
}

/// Collects the newest notes in bounded memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) kept: VecDeque<PluginNote>,
    pub(super) dropped: u64,
}

impl Notes {
    /// Takes a note. The site's host has escaped it; whatever it holds, nothing but printable
    /// ASCII goes on.
    pub(super) fn take(&mut self, node: &str, row: &Row, text: &str) {
        if self.kept.len() == NOTES_MAX {
            self.kept.pop_front();
            self.dropped += 1;
        }
        let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        self.kept.push_back(PluginNote {
            node: node.to_owned(),
            row: row.sequence,
            time_ms: row.body.time_ms,
            plugin: row.body.plugin.clone().filter(|plugin| is_name(&plugin.name)),
            text: text.chars().take(NOTE_BYTES_MAX).map(plain).collect(),
        });
    }
}

/// Production over time in bounded memory: intervals double when there are too many.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Histogram {
    pub(super) minute_ms: u64,
    minutes: BTreeMap<u64, Minute>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { minute_ms: 60_000, minutes: BTreeMap::new() }
    }
}

impl Histogram {
    pub(super) fn count(&mut self, time_ms: u64, add: impl FnOnce(&mut Minute)) {
        let start_ms = time_ms - time_ms % self.minute_ms;
        add(self.minutes.entry(start_ms).or_insert(Minute { start_ms, ..Minute::default() }));
        while self.minutes.len() > MINUTES_MAX {
            self.widen();
        }
    }

    pub(super) fn into_minutes(self) -> Vec<Minute> {
        self.minutes.into_values().collect()
    }

    fn widen(&mut self) {
        self.minute_ms = self.minute_ms.saturating_mul(2);
        for minute in std::mem::take(&mut self.minutes).into_values() {
            let start_ms = minute.start_ms - minute.start_ms % self.minute_ms;
            let wider =
                self.minutes.entry(start_ms).or_insert(Minute { start_ms, ..Minute::default() });
            wider.reserved += minute.reserved;
            wider.confirmed += minute.confirmed;
            wider.rejected += minute.rejected;
            wider.retries += minute.retries;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_notes_hides_no_breach() {
        let finding = |severity| Finding {
            kind: FindingKind::Clock,
            severity,
            node: "n1".to_owned(),
            row: None,
            entitlement: None,
            text: String::new(),
        };
        let mut findings = Findings::default();
        for _ in 0..2 * FINDINGS_MAX {
            findings.push(finding(Severity::Note));
        }
        findings.push(finding(Severity::Breach));
        assert_eq!(findings.verdict(), Verdict::Breach);
        assert_eq!(findings.kept.len(), FINDINGS_MAX);
        assert!(findings.kept.iter().any(|kept| kept.severity == Severity::Breach));
    }

    #[test]
    fn a_long_production_is_plotted_in_bounded_memory_without_loss() {
        let mut histogram = Histogram::default();
        for minute in 0..10_000_u64 {
            histogram.count(minute * 60_000, |m| m.reserved += 1);
        }
        histogram.count(u64::MAX, |m| m.reserved += 1);
        let minutes = histogram.into_minutes();
        assert!(minutes.len() <= MINUTES_MAX);
        assert_eq!(minutes.iter().map(|m| m.reserved).sum::<u64>(), 10_001);
    }
}
