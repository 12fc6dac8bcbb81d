//! Repeats a reconciliation without any host: opened bundles, the root certificate, nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use mintmark_crypto::sign;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::Directive;
use mintmark_exchange::grant::Grant;
use mintmark_exchange::opened::{OpenedHead, PREFIX_BYTES};
use mintmark_exchange::order::{CLOSING, DIRECTIVE, GRANT, SignedOrder};
use mintmark_exchange::reconcile::{
    Closing, MemoryRegister, Orders, Reconciler, Report, SiteState, Verdict, World,
};
use mintmark_exchange::{Signer, Verify};
use mintmark_pki::chain::Usage;
use mintmark_pki::{ClusterRole, LeafKind, TrustRoot};
use serde_json::{Value, json};

use crate::error::Error;
use crate::output::{Page, table};
use crate::{files, pem};

/// How much of a body is read at once.
const STEP_BYTES: u64 = 256 << 10;

/// Verifies opened bundles, in the order in which they are given.
pub(super) fn verify(paths: &[PathBuf], root: &Path) -> Result<Page, Error> {
    let mut auditor = Auditor {
        signatures: Signatures::under(root)?,
        register: MemoryRegister::new(),
        sites: BTreeMap::new(),
    };
    let mut reports = Vec::with_capacity(paths.len());
    for path in paths {
        reports.push(auditor.bundle(path)?);
    }
    let page = page(&reports);
    let worst = reports.iter().map(|report| report.verdict).max().unwrap_or_default();
    match worst {
        Verdict::Clean => Ok(page),
        verdict => Err(Error::Verdict { verdict: word(verdict), page: Box::new(page) }),
    }
}

/// What is known after the bundles so far.
struct Auditor {
    signatures: Signatures,
    register: MemoryRegister,
    sites: BTreeMap<String, SiteState>,
}

impl Auditor {
    fn bundle(&mut self, path: &Path) -> Result<Report, Error> {
        let (head, mut body) = Body::open(path)?;
        let orders = self.orders(&head)?;
        let held = self.sites.get(&head.site).cloned().unwrap_or_default();
        let mut stage = self.register.stage();
        let mut reconciler = Reconciler::new(&head.site, head.bundle, head.made_at, held);
        while let Some(offset) = reconciler.wanted() {
            let step = body.step(offset).map_err(Error::file("read", path))?;
            let mut world =
                World { orders: &orders, register: &mut stage, verify: &self.signatures };
            let fed = reconciler.feed(step, &mut world);
            fed.map_err(|why| unreadable(path, &why))?;
        }
        let outcome = reconciler.finish().expect("nothing is wanted any more");
        let changed = stage.into_changed();
        // As headquarters does: what is not clean can't make a later, honest bundle look wrong.
        if outcome.is_kept() {
            self.register.keep(changed);
            self.sites.insert(head.site, outcome.state);
        }
        Ok(outcome.report)
    }

    /// The orders beside the bundle, each believed only because a host signed it: headquarters', or
    /// for a closing statement the site's.
    fn orders(&self, head: &OpenedHead) -> Result<Orders, Error> {
        // Whether headquarters was set back or restored only headquarters knows.
        let (lost_heads, restored) = (head.lost_heads.clone(), head.restored);
        let mut orders = Orders { lost_heads, restored, ..Orders::default() };
        for signed in &head.grants {
            let grant = self.signatures.grant(signed).ok_or_else(|| {
                let next = "Export the report again from the headquarters that granted it.";
                Error::misfit("a grant in the file is not signed by headquarters' host", next)
            })?;
            orders.grants.insert(grant.entitlement.clone(), grant);
        }
        for signed in &head.directives {
            let directive = self.signatures.directive(signed).ok_or_else(|| {
                let next = "Export the report again from the headquarters that ordered it.";
                Error::misfit("a directive in the file is not signed by headquarters' host", next)
            })?;
            orders.directives.insert(signed.digest(DIRECTIVE), directive);
        }
        for signed in &head.closings {
            let closing = self.signatures.closing(signed, &head.site).ok_or_else(|| {
                let next = "Export the report again from the headquarters that took it.";
                Error::misfit("a closing statement in the file is not signed by the site", next)
            })?;
            orders.closings.insert(closing.entitlement.clone(), Closing::of(&closing));
        }
        Ok(orders)
    }
}

/// The body of an opened bundle, of which one step is in memory.
struct Body {
    file: File,
    /// Where it begins in the file.
    begin: u64,
    step: Vec<u8>,
}

impl Body {
    /// Reads the head, however large the rest is.
    fn open(path: &Path) -> Result<(OpenedHead, Self), Error> {
        let mut file = files::open(path)?;
        let cut = || unreadable(path, &"it is cut short");
        let prefix = next(&mut file, PREFIX_BYTES).map_err(Error::file("read", path))?;
        let prefix = prefix.try_into().map_err(|_| cut())?;
        let length = OpenedHead::length(&prefix).map_err(|why| unreadable(path, &why))?;
        let head = next(&mut file, length).map_err(Error::file("read", path))?;
        if head.len() < length {
            return Err(cut());
        }
        let begin = (PREFIX_BYTES + head.len()) as u64;
        let head = OpenedHead::decode(&head).map_err(|why| unreadable(path, &why))?;
        Ok((head, Self { file, begin, step: Vec::new() }))
    }

    /// What is at an offset in the body; nothing at its end.
    fn step(&mut self, offset: u64) -> io::Result<&[u8]> {
        self.file.seek(SeekFrom::Start(self.begin.saturating_add(offset)))?;
        self.step.clear();
        (&self.file).take(STEP_BYTES).read_to_end(&mut self.step)?;
        Ok(&self.step)
    }
}

/// The next bytes of a file, as many as there are.
fn next(file: &mut File, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Signature checks that rest on the root alone.
pub(super) struct Signatures(TrustRoot);

impl Signatures {
    /// The root certificate in a file.
    pub(super) fn under(root: &Path) -> Result<Self, Error> {
        let root = pem::decode(pem::CERTIFICATE, &files::read(root)?)?;
        let root = TrustRoot::new(&root).map_err(|why| {
            Error::misfit(why.to_string(), "Give the certificate that `ca init` wrote.")
        })?;
        Ok(Self(root))
    }

    /// A grant, if the custody of the headquarters that it names signed it when it says.
    fn grant(&self, signed: &SignedOrder) -> Option<Grant> {
        let grant: Grant = signed.open().ok()?;
        let right = self.is_ordered(GRANT, signed, grant.issued_at, &grant.exporter);
        right.then_some(grant)
    }

    /// A directive, if the custody of the headquarters that it names signed it when it says.
    fn directive(&self, signed: &SignedOrder) -> Option<Directive> {
        let directive: Directive = signed.open().ok()?;
        let right = self.is_ordered(DIRECTIVE, signed, directive.made_at, &directive.exporter);
        right.then_some(directive)
    }

    /// A closing statement, if the site's custody signed it when it says.
    fn closing(&self, signed: &SignedOrder, site: &str) -> Option<ClosingStatement> {
        let statement: ClosingStatement = signed.open().ok()?;
        let signer = self.verify_order(CLOSING, signed, statement.made_at)?;
        let right = signer.cluster == site && statement.site == site && is_custody(&signer);
        (right && statement.check().is_ok()).then_some(statement)
    }

    fn is_ordered(&self, label: &str, signed: &SignedOrder, at_ms: u64, exporter: &str) -> bool {
        let Some(signer) = self.verify_order(label, signed, at_ms) else { return false };
        let cluster = signer.cluster.parse::<mintmark_pki::ClusterPath>();
        let by_headquarters =
            cluster.is_ok_and(|cluster| cluster.role() == ClusterRole::Headquarters);
        is_custody(&signer) && by_headquarters && signer.cluster == exporter
    }
}

impl Verify for Signatures {
    fn verify_signature(&self, public_key_info: &[u8], message: &[u8], signature: &[u8]) -> bool {
        sign::verify(public_key_info, message, signature).is_ok()
    }

    fn verify_order(&self, label: &str, order: &SignedOrder, at_ms: u64) -> Option<Signer> {
        let chain = self.0.verify(&order.chain, at_ms, Usage::Any).ok()?;
        let message = order.signed_bytes(label);
        sign::verify(chain.public_key_info(), &message, &order.signature).ok()?;
        Some(Signer {
            cluster: chain.id().cluster().to_string(),
            leaf: format!("{}/{}", chain.kind().name(), chain.name()),
        })
    }
}

fn is_custody(signer: &Signer) -> bool {
    signer.leaf.starts_with(&format!("{}/", LeafKind::Custody.name()))
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    let next = "Give files that `mintmark report export` wrote.";
    Error::misfit(format!("{} is not an opened bundle: {why}", path.display()), next)
}

fn page(reports: &[Report]) -> Page {
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            let devices: u64 = report.entitlements.iter().map(|one| one.devices).sum();
            let (rows, findings) = (report.rows.to_string(), report.findings.len().to_string());
            let verdict = word(report.verdict).to_owned();
            vec![report.site.clone(), verdict, rows, devices.to_string(), findings]
        })
        .collect();
    let mut text = table(&["site", "verdict", "rows", "devices so far", "findings"], &rows);
    for finding in reports.iter().flat_map(|report| &report.findings) {
        let row = finding.row.map(|row| format!(" row {row}")).unwrap_or_default();
        text.push_str(&format!("{:?}: {}{row}: {}\n", finding.kind, finding.node, finding.text));
    }
    let notes: Vec<_> = reports.iter().flat_map(|report| &report.notes).collect();
    if !notes.is_empty() {
        text.push_str("\nNotes (plugins' own words, which no check reads)\n");
    }
    for note in notes {
        text.push_str(&format!("{} row {}: {}\n", note.node, note.row, note.text));
    }
    Page::new(Value::Array(reports.iter().map(as_json).collect()), text)
}

fn as_json(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "kind": format!("{:?}", finding.kind),
            "severity": format!("{:?}", finding.severity),
            "node": finding.node,
            "row": finding.row,
            "entitlement": finding.entitlement,
            "text": finding.text,
        })
    });
    json!({
        "site": report.site,
        "bundle": hex::encode(report.bundle),
        "verdict": word(report.verdict),
        "rows": report.rows,
        "devices": report.entitlements.iter().map(|one| one.devices).sum::<u64>(),
        "findings": findings.collect::<Vec<_>>(),
        "equivocation": report.equivocation.as_ref().map(|proof| json!({
            "node": proof.node,
            "row": proof.row,
            "held": hex::encode(proof.held.encode()),
            "shown": hex::encode(proof.shown.encode()),
        })),
        "notes": report.notes.iter().map(|note| json!({
            "node": note.node,
            "row": note.row,
            "time_ms": note.time_ms,
            "plugin": note.plugin.as_ref().map(|plugin| &plugin.name),
            "text": note.text,
        })).collect::<Vec<_>>(),
        "notes_dropped": report.notes_dropped,
    })
}

/// The word of a verdict.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::CleanWithNotes => "clean-with-notes",
        Verdict::Hold => "hold",
        Verdict::Breach => "breach",
    }
}
