//! Stored reports, and what of them the service says.

use mintmark_exchange::canonical::{decode, encode};
use mintmark_exchange::reconcile::{
    EntitlementReport, Equivocation, Finding, FindingKind, Minute, NodeReport, PluginNote, Report,
    Severity, Verdict,
};
use mintmark_sdk::records::Table;
use mintmark_sdk::{Digest, Error, Status};
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::catalog::Entitlement;
use crate::proto;

/// A report, with what is known of the bundle besides its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredReport {
    pub(crate) report: Report,
    pub(crate) sender: Sender,
    /// Of the bundle's body, in bytes.
    pub(crate) length: u64,
    pub(crate) reported_at_ms: u64,
    /// The staged receipt, where the verdict gives one and the host gave it.
    pub(crate) receipt_file: Option<String>,
}

/// Who made a bundle, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    /// SPIFFE URI of the site.
    pub(crate) site: String,
    pub(crate) plugin: String,
    pub(crate) measurement: Digest,
    pub(crate) hardware_model: String,
    pub(crate) made_at_ms: u64,
}

/// A line in the list of reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    site: String,
    verdict: Verdict,
    rows: u64,
    findings: u32,
    made_at_ms: u64,
    reported_at_ms: u64,
    report: Digest,
}

/// By the time of the report, big-endian, then its digest: oldest first.
const LINES: Table<Line> = Table::new("reports");
/// The reports of staged files.
const FILES: Table<Digest> = Table::new("report-files");

/// A report has at most 256 findings, 1,440 intervals, 64 notes, and two orders per fork.
const REPORT_BYTES_MAX: usize = 4 << 20;
const PAGE: u32 = 1_000;

impl StoredReport {
    /// Whether the verdict is the last word about the bundle. A bundle that is held can be clean
    /// once what was missing has come.
    pub(crate) fn stands(&self) -> bool {
        self.report.verdict != Verdict::Hold
    }

    /// Whether the verdict gives a receipt that the host has not given yet.
    pub(crate) fn lacks_receipt(&self) -> bool {
        self.receipt_file.is_none() && receipt_verdict(self.report.verdict).is_some()
    }

    /// Stores the report of the bundle that was staged as `file`, in the place of an earlier one.
    pub(crate) fn store(&self, file: &str) -> Result<(), Error> {
        let report = &self.report;
        if let Some(earlier) = Self::load(&id(&report.bundle))? {
            LINES.delete(earlier.line_key())?;
        }
        let line = Line {
            site: report.site.clone(),
            verdict: report.verdict,
            rows: report.rows,
            findings: u32::try_from(report.findings.len()).unwrap_or(u32::MAX),
            made_at_ms: self.sender.made_at_ms,
            reported_at_ms: self.reported_at_ms,
            report: report.bundle,
        };
        LINES.put(self.line_key(), &line)?;
        FILES.put(file, &report.bundle)?;
        blob(&id(&report.bundle)).write(&encode(self))
    }

    fn line_key(&self) -> Vec<u8> {
        [self.reported_at_ms.to_be_bytes().as_slice(), &self.report.bundle].concat()
    }

    /// The report with this id.
    pub(crate) fn load(id: &str) -> Result<Option<Self>, Error> {
        let Some(bytes) = blob(id).read()? else {
            return Ok(None);
        };
        decode(&bytes, REPORT_BYTES_MAX).map(Some).map_err(|_| Error::Malformed("a report"))
    }

    /// The report of the bundle that was staged as `file`.
    pub(crate) fn of_file(file: &str) -> Result<Option<Self>, Error> {
        FILES.get(file)?.map_or(Ok(None), |bundle| Self::load(&id(&bundle)))
    }

    /// What a bundle that comes again is answered with.
    pub(crate) fn replayed(&self) -> Status {
        let message = "the bundle was checked before; its report stands";
        let status = Status::exists("REPLAYED", message)
            .with_fact("report", id(&self.report.bundle))
            .with_fact("verdict", verdict_name(self.report.verdict));
        match &self.receipt_file {
            Some(file) => status.with_fact("receipt_file", file.as_str()),
            None => status,
        }
    }

    /// The report for the caller; `named` gives order number and product of an entitlement.
    pub(crate) fn shown(
        self,
        named: impl Fn(&str) -> Result<Option<Entitlement>, Error>,
    ) -> Result<proto::Report, Error> {
        let report = self.report;
        let production: Vec<_> = report.production.iter().map(minute).collect();
        let counts = report.entitlements.into_iter();
        let counts = counts.map(|of| named(&of.entitlement).map(|known| counts_of(of, known)));
        Ok(proto::Report {
            report: id(&report.bundle),
            site: report.site,
            verdict: verdict(report.verdict).into(),
            findings: report.findings.into_iter().map(finding).collect(),
            entitlements: counts.collect::<Result<_, _>>()?,
            coverage: report.nodes.into_iter().map(coverage).collect(),
            rows: report.rows,
            retries: production.iter().map(|minute| minute.retries).sum(),
            production,
            made_at_ms: self.sender.made_at_ms,
            reported_at_ms: self.reported_at_ms,
            sender_measurement: self.sender.measurement.to_vec(),
            hardware_model: self.sender.hardware_model,
            receipt_file_id: self.receipt_file.unwrap_or_default(),
            minute_ms: report.minute_ms,
            findings_dropped: report.findings_dropped,
            rows_new: report.rows_new,
            equivocation: report.equivocation.as_ref().map(equivocation),
            notes: report.notes.into_iter().map(note).collect(),
            notes_dropped: report.notes_dropped,
        })
    }
}

/// The id of a report: the digest of its bundle in hexadecimal.
pub(crate) fn id(bundle: &Digest) -> String {
    hex(bundle)
}

/// What a receipt says; `None` where the verdict gives none.
pub(crate) fn receipt_verdict(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Clean | Verdict::CleanWithNotes => Some(verdict_name(verdict)),
        Verdict::Hold | Verdict::Breach => None,
    }
}

/// A verdict for the caller.
pub(crate) fn verdict(verdict: Verdict) -> proto::Verdict {
    match verdict {
        Verdict::Clean => proto::Verdict::Clean,
        Verdict::CleanWithNotes => proto::Verdict::CleanWithNotes,
        Verdict::Hold => proto::Verdict::Hold,
        Verdict::Breach => proto::Verdict::Breach,
    }
}

/// A page of reports after the cursor `after`, of `site` alone where it is named.
pub(crate) fn list(
    after: &str,
    limit: u32,
    site: &str,
) -> Result<proto::ListReportsResponse, Status> {
    let mut cursor = cursor(after)?;
    let mut reports = Vec::new();
    loop {
        let page = LINES.scan(cursor.as_deref(), PAGE)?;
        if page.is_empty() {
            return Ok(proto::ListReportsResponse { reports, next: String::new() });
        }
        for (key, line) in page {
            cursor = Some(key);
            if !site.is_empty() && line.site != site {
                continue;
            }
            reports.push(summary(line));
            if reports.len() >= limit as usize {
                let next = cursor.as_deref().map(hex).unwrap_or_default();
                return Ok(proto::ListReportsResponse { reports, next });
            }
        }
    }
}

fn blob(id: &str) -> Blob {
    Blob::new("report", id)
}

fn cursor(text: &str) -> Result<Option<Vec<u8>>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Status::invalid("INVALID_ARGUMENT", "after: not the `next` of an earlier page");
    if !text.is_ascii() || text.len() != 80 {
        return Err(wrong());
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.map(Some).map_err(|_| wrong())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn summary(line: Line) -> proto::ReportSummary {
    proto::ReportSummary {
        report: id(&line.report),
        site: line.site,
        verdict: verdict(line.verdict).into(),
        rows: line.rows,
        findings: line.findings,
        made_at_ms: line.made_at_ms,
        reported_at_ms: line.reported_at_ms,
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::CleanWithNotes => "clean-with-notes",
        Verdict::Hold => "hold",
        Verdict::Breach => "breach",
    }
}

fn finding(finding: Finding) -> proto::Finding {
    let severity = match finding.severity {
        Severity::Note => proto::Severity::Note,
        Severity::Hold => proto::Severity::Hold,
        Severity::Breach => proto::Severity::Breach,
    };
    proto::Finding {
        severity: severity.into(),
        kind: kind(finding.kind).to_owned(),
        node: finding.node,
        row: finding.row,
        entitlement: finding.entitlement.unwrap_or_default(),
        text: finding.text,
    }
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Malformed => "malformed",
        FindingKind::Signature => "signature",
        FindingKind::Gap => "gap",
        FindingKind::MissingBundle => "missing-bundle",
        FindingKind::Fork => "fork",
        FindingKind::BrokenChain => "broken-chain",
        FindingKind::Checkpoint => "checkpoint",
        FindingKind::OtherSite => "other-site",
        FindingKind::Grant => "grant",
        FindingKind::Directive => "directive",
        FindingKind::Equation => "equation",
        FindingKind::Total => "total",
        FindingKind::Transition => "transition",
        FindingKind::Rate => "rate",
        FindingKind::Window => "window",
        FindingKind::Limit => "limit",
        FindingKind::AuditReturn => "audit-return",
        FindingKind::Scrap => "scrap",
        FindingKind::Duplicate => "duplicate",
        FindingKind::Subject => "subject",
        FindingKind::Serial => "serial",
        FindingKind::Certificate => "certificate",
        FindingKind::Proof => "proof",
        FindingKind::Measurement => "measurement",
        FindingKind::Restore => "restore",
        FindingKind::Clock => "clock",
        FindingKind::Station => "station",
        FindingKind::RevocationList => "revocation-list",
        FindingKind::Witness => "witness",
    }
}

fn counts_of(of: EntitlementReport, known: Option<Entitlement>) -> proto::EntitlementCounts {
    let counters = of.counters;
    proto::EntitlementCounts {
        entitlement: of.entitlement,
        total: known.as_ref().map_or(counters.credited, |known| known.total),
        reserved: counters.reserved,
        issued: counters.issued,
        confirmed: counters.confirmed,
        failed: counters.failed,
        scrapped: counters.scrapped,
        returned: counters.returned,
        lost: counters.lost,
        destroyed: counters.destroyed,
        retries: of.retries,
        order_number: known.map(|known| known.order).unwrap_or_default(),
        product: of.product,
        credited: counters.credited,
        unused: counters.unused,
        devices: of.devices,
        attempts_failed: of.attempts_failed,
        reserved_in_bundle: of.reserved_in_bundle,
        revoked: of.revoked,
        closed: of.closed,
    }
}

fn equivocation(proof: &Equivocation) -> proto::Equivocation {
    proto::Equivocation {
        node: proof.node.clone(),
        row: proof.row,
        held: proof.held.encode(),
        shown: proof.shown.encode(),
    }
}

fn note(note: PluginNote) -> proto::PluginNote {
    let (plugin, measurement) = match note.plugin {
        Some(plugin) => (plugin.name, plugin.measurement.to_vec()),
        None => (String::new(), Vec::new()),
    };
    proto::PluginNote {
        node: note.node,
        row: note.row,
        time_ms: note.time_ms,
        plugin,
        measurement,
        text: note.text,
    }
}

fn coverage(node: NodeReport) -> proto::Coverage {
    proto::Coverage {
        node: node.node,
        after_sequence: node.from.sequence,
        to_sequence: node.to.sequence,
        to_hash: node.to.hash.to_vec(),
        incarnation: node.incarnation,
        boots: node.boots,
        clock_suspect: node.clock_suspect,
        applied_sequence: node.applied_sequence,
    }
}

fn minute(minute: &Minute) -> proto::Minute {
    proto::Minute {
        start_ms: minute.start_ms,
        units: minute.reserved,
        confirmed: minute.confirmed,
        rejected: minute.rejected,
        retries: minute.retries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::installed;

    const SITE: &str = "spiffe://acme/site/shenzhen";

    fn stored(bundle: u8, verdict: Verdict, reported_at_ms: u64) -> StoredReport {
        let report = Report {
            version: 1,
            site: SITE.to_owned(),
            bundle: [bundle; 32],
            verdict,
            findings: Vec::new(),
            findings_dropped: 0,
            equivocation: None,
            notes: Vec::new(),
            notes_dropped: 0,
            nodes: Vec::new(),
            entitlements: Vec::new(),
            rows: 3,
            rows_new: 3,
            minute_ms: 60_000,
            production: Vec::new(),
        };
        let sender = Sender {
            site: SITE.to_owned(),
            plugin: "device-key".to_owned(),
            measurement: [1; 32],
            hardware_model: "software-emulated".to_owned(),
            made_at_ms: 5,
        };
        let receipt_file = Some("f00d".to_owned());
        StoredReport { report, sender, length: 9, reported_at_ms, receipt_file }
    }

    #[test]
    fn only_a_clean_verdict_gives_a_receipt() {
        assert_eq!(receipt_verdict(Verdict::Clean), Some("clean"));
        assert_eq!(receipt_verdict(Verdict::CleanWithNotes), Some("clean-with-notes"));
        assert_eq!(receipt_verdict(Verdict::Hold), None);
        assert_eq!(receipt_verdict(Verdict::Breach), None);
    }

    #[test]
    fn a_report_is_found_by_its_id_and_by_its_file() {
        let _records = installed();
        let report = stored(7, Verdict::Clean, 10);
        report.store("file").unwrap();
        assert_eq!(StoredReport::load(&id(&[7; 32])), Ok(Some(report.clone())));
        assert_eq!(StoredReport::of_file("file"), Ok(Some(report)));
        assert_eq!(StoredReport::of_file("other"), Ok(None));
        assert_eq!(StoredReport::load("07"), Ok(None));
    }

    #[test]
    fn r14_a_bundle_that_comes_again_is_told_its_verdict() {
        let status = stored(7, Verdict::Breach, 10).replayed();
        assert_eq!(status.reason, "REPLAYED");
        let fact = |name: &str| {
            status.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(fact("verdict"), Some("breach"));
        assert_eq!(fact("report"), Some("07".repeat(32).as_str()));
        assert_eq!(fact("receipt_file"), Some("f00d"));
    }

    #[test]
    fn reports_are_listed_oldest_first_page_by_page() {
        let _records = installed();
        for (bundle, at) in [(1, 300), (2, 100), (3, 200)] {
            stored(bundle, Verdict::Clean, at).store("file").unwrap();
        }
        let first = list("", 2, SITE).unwrap();
        let ids: Vec<_> = first.reports.iter().map(|line| line.report.as_str()).collect();
        assert_eq!(ids, ["02".repeat(32), "03".repeat(32)]);
        let second = list(&first.next, 2, "").unwrap();
        assert_eq!(second.reports[0].report, "01".repeat(32));
        assert_eq!(second.next, "");
        assert!(list("", 2, "spiffe://acme/site/other").unwrap().reports.is_empty());
        assert!(list("zz", 2, "").is_err());
        assert!(list(&"é".repeat(40), 2, "").is_err());
    }
}
