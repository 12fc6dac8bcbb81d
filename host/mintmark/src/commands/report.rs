//! `report`: what audits found, at headquarters.

mod html;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use mintmark_crypto::digest::sha256;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::entitlement::{
    Coverage, ExportOpenedRequest, Finding, ListReportsRequest, PluginNote, Rate, Report,
    ReportSummary, ShowReportRequest, ShowRequest, show_request,
};
use serde_json::{Value, json};

use super::audit::verdict;
use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::files::{self, Folder};
use crate::output::{Page, lines, moment, short, table, word};

/// What to do with reports.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One report.
    Show {
        /// The report's id.
        report: String,
        /// Also write it as one HTML file, with plots.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// The reports, oldest first.
    List,
    /// Write the opened bundle behind a report, for `audit verify`.
    Export {
        /// The report's id.
        report: String,
        /// The folder to write to.
        #[arg(long, value_name = "DIR")]
        opened: PathBuf,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let client = desk.connect().await?;
    match command {
        Command::Show { report, html } => {
            let report = show(&client, &report).await?;
            let page = Page::new(as_json(&report), as_text(&report));
            let Some(path) = html else { return Ok(page) };
            let limit = limit_per_interval(&client, &report).await?;
            let path = files::write(&path, html::page(&report, limit).as_bytes())?;
            Ok(page.with("html", json!(path), &format!("\nWritten to {}\n", path.display())))
        }
        Command::List => list(&client).await,
        Command::Export { report, opened } => export(&client, &report, &opened).await,
    }
}

/// Asks for a report.
pub(super) async fn show(client: &Client, report: &str) -> Result<Report, Error> {
    let request = ShowReportRequest { report: report.to_owned() };
    Ok(client.audit().show_report(request).await.map_err(Failure::from)?.into_inner())
}

/// The most units that the terms allow in an interval of the report's plot; none where one of the
/// entitlements has no limit of speed.
async fn limit_per_interval(client: &Client, report: &Report) -> Result<Option<u64>, Error> {
    let mut sum = 0_u64;
    for one in &report.entitlements {
        let name = Some(show_request::Name::Entitlement(one.entitlement.clone()));
        let shown = client.entitlements().show(ShowRequest { name }).await;
        let terms = shown.map_err(Failure::from)?.into_inner().terms.unwrap_or_default();
        let allowed = |rate: &Rate| {
            // An interval that is no multiple of the rate's can hold one more of them.
            let windows = report.minute_ms.div_ceil(rate.per_seconds.max(1).saturating_mul(1_000));
            rate.units.saturating_mul(windows)
        };
        let Some(limit) = terms.rates.iter().map(allowed).min() else { return Ok(None) };
        sum = sum.saturating_add(limit.min(terms.total));
    }
    Ok(Some(sum))
}

async fn list(client: &Client) -> Result<Page, Error> {
    let mut reports = Vec::new();
    let mut after = String::new();
    loop {
        let request = ListReportsRequest { after, limit: 0, site: String::new() };
        let listed = client.audit().list_reports(request).await.map_err(Failure::from)?;
        let listed = listed.into_inner();
        reports.extend(listed.reports);
        after = listed.next;
        if after.is_empty() {
            break;
        }
    }
    let row = |one: &ReportSummary| {
        let (site, made) = (one.site.clone(), moment(one.made_at_ms));
        let (rows, findings) = (one.rows.to_string(), one.findings.to_string());
        vec![site, made, verdict(one.verdict()), rows, findings, one.report.clone()]
    };
    let rows: Vec<_> = reports.iter().map(row).collect();
    let json = reports.iter().map(|one| {
        json!({
            "report": one.report,
            "site": one.site,
            "verdict": verdict(one.verdict()),
            "rows": one.rows,
            "findings": one.findings,
            "made_at_ms": one.made_at_ms,
            "reported_at_ms": one.reported_at_ms,
        })
    });
    let heading = ["site", "made", "verdict", "rows", "findings", "report"];
    Ok(Page::new(Value::Array(json.collect()), table(&heading, &rows)))
}

async fn export(client: &Client, report: &str, opened: &Path) -> Result<Page, Error> {
    let folder = Folder::create(opened)?;
    let mut content: Vec<u8> = Vec::new();
    loop {
        let offset = content.len() as u64;
        let request = ExportOpenedRequest { report: report.to_owned(), offset };
        let part = client.audit().export_opened(request).await.map_err(Failure::from)?;
        let part = part.into_inner();
        content.extend_from_slice(&part.data);
        if part.done {
            break;
        }
        if part.data.is_empty() {
            let next = "Try again; the host's log says more.";
            return Err(Error::misfit("the host stopped before the end of the file", next));
        }
    }
    let path = folder.write(&format!("{}.opened", files::name_for(report)), &content)?;
    Ok(Page::facts(&[("file", json!(path)), ("bytes", json!(content.len()))]))
}

fn as_json(report: &Report) -> Value {
    let entitlements = report.entitlements.iter().map(|one| {
        json!({
            "entitlement": one.entitlement,
            "order_number": one.order_number,
            "product": one.product,
            "credited": one.credited,
            "unused": one.unused,
            "reserved": one.reserved,
            "issued": one.issued,
            "confirmed": one.confirmed,
            "failed": one.failed,
            "scrapped": one.scrapped,
            "returned": one.returned,
            "lost": one.lost,
            "destroyed": one.destroyed,
            "devices": one.devices,
            "retries": one.retries,
        })
    });
    let production = report.production.iter().map(|minute| {
        json!({
            "start_ms": minute.start_ms,
            "units": minute.units,
            "confirmed": minute.confirmed,
            "rejected": minute.rejected,
            "retries": minute.retries,
        })
    });
    json!({
        "report": report.report,
        "site": report.site,
        "verdict": verdict(report.verdict()),
        "rows": report.rows,
        "findings": findings_json(report),
        "entitlements": entitlements.collect::<Vec<_>>(),
        "production": production.collect::<Vec<_>>(),
        "made_at_ms": report.made_at_ms,
        "reported_at_ms": report.reported_at_ms,
        "sender_measurement": hex::encode(&report.sender_measurement),
        "hardware_model": report.hardware_model,
        "coverage": report.coverage.iter().map(coverage_json).collect::<Vec<_>>(),
        "findings_dropped": report.findings_dropped,
        "equivocation": report.equivocation.as_ref().map(|proof| json!({
            "node": proof.node,
            "row": proof.row,
            "held": hex::encode(&proof.held),
            "shown": hex::encode(&proof.shown),
        })),
        "notes": notes_json(report),
        "notes_dropped": report.notes_dropped,
    })
}

fn coverage_json(covered: &Coverage) -> Value {
    json!({
        "node": covered.node,
        "incarnation": covered.incarnation,
        "after_sequence": covered.after_sequence,
        "to_sequence": covered.to_sequence,
        "to_hash": hex::encode(&covered.to_hash),
        "boots": covered.boots,
        "clock_suspect": covered.clock_suspect,
        "applied_sequence": covered.applied_sequence,
    })
}

/// A ledger of the bundle for people.
fn coverage_text(covered: &Coverage) -> String {
    let Coverage { node, incarnation, after_sequence, to_sequence, boots, .. } = covered;
    let clock = if covered.clock_suspect { ", the clock is suspect" } else { "" };
    format!(
        "{node} incarnation {incarnation}, rows {} to {to_sequence}, started {boots} times{clock}",
        after_sequence + 1
    )
}

fn notes_json(report: &Report) -> Vec<Value> {
    let note = |note: &PluginNote| {
        json!({
            "node": note.node,
            "row": note.row,
            "time_ms": note.time_ms,
            "plugin": note.plugin,
            "measurement": hex::encode(&note.measurement),
            "text": note.text,
        })
    };
    report.notes.iter().map(note).collect()
}

fn as_text(report: &Report) -> String {
    let mut facts = vec![
        ("report", report.report.clone()),
        ("site", format!("{} ({})", report.site, report.hardware_model)),
        ("verdict", verdict(report.verdict())),
        ("made", moment(report.made_at_ms)),
        ("rows", format!("{}, of which {} new", report.rows, report.rows_new)),
        ("signed by", short(&report.sender_measurement)),
    ];
    facts.extend(report.coverage.iter().map(|covered| ("ledger", coverage_text(covered))));
    let mut text = lines(&facts);
    let rows: Vec<_> = report
        .entitlements
        .iter()
        .map(|one| {
            let numbers = [
                one.credited,
                one.unused,
                one.reserved,
                one.issued,
                one.confirmed,
                one.failed,
                one.scrapped,
                one.returned,
                one.lost,
                one.destroyed,
            ];
            let mut row = vec![one.entitlement.clone()];
            row.extend(numbers.map(|number| number.to_string()));
            row
        })
        .collect();
    let heading = [
        "entitlement",
        "credited",
        "unused",
        "reserved",
        "issued",
        "confirmed",
        "failed",
        "scrapped",
        "returned",
        "lost",
        "destroyed",
    ];
    text.push_str("\nUnits\n");
    text.push_str(&table(&heading, &rows));
    text.push_str(&findings_text(report));
    if let Some(proof) = &report.equivocation {
        let (held, shown) = (short(&sha256(&proof.held)), short(&sha256(&proof.shown)));
        text.push_str(&format!(
            "\nTwo ledgers of {} from row {} on, both signed by the site: checkpoints {held} and \
             {shown}; `--json` has them whole.\n",
            proof.node, proof.row
        ));
    }
    text.push_str(&notes_text(report));
    text
}

/// The notes for people, apart from what was checked; nothing where there are none.
fn notes_text(report: &Report) -> String {
    if report.notes.is_empty() {
        return String::new();
    }
    let row = |note: &PluginNote| {
        vec![note.node.clone(), note.row.to_string(), note.plugin.clone(), note.text.clone()]
    };
    let rows: Vec<_> = report.notes.iter().map(row).collect();
    let more = match report.notes_dropped {
        0 => String::new(),
        dropped => format!("and {dropped} before\n"),
    };
    let heading = ["node", "row", "plugin", "says"];
    let table = table(&heading, &rows);
    format!("\nNotes (plugins' own words, which no check reads)\n{table}{more}")
}

/// The findings for programs.
pub(super) fn findings_json(report: &Report) -> Vec<Value> {
    let finding = |finding: &Finding| {
        json!({
            "severity": word(finding.severity().as_str_name(), "SEVERITY_"),
            "kind": finding.kind,
            "node": finding.node,
            "row": finding.row,
            "entitlement": finding.entitlement,
            "text": finding.text,
        })
    };
    report.findings.iter().map(finding).collect()
}

/// The findings for people; nothing where there are none.
pub(super) fn findings_text(report: &Report) -> String {
    if report.findings.is_empty() {
        return String::new();
    }
    let row = |finding: &Finding| {
        vec![
            word(finding.severity().as_str_name(), "SEVERITY_"),
            finding.kind.clone(),
            finding.node.clone(),
            finding.row.map(|row| row.to_string()).unwrap_or_default(),
            finding.text.clone(),
        ]
    };
    let rows: Vec<_> = report.findings.iter().map(row).collect();
    format!("\nFindings\n{}", table(&["weight", "kind", "node", "row", "what"], &rows))
}
