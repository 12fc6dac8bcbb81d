//! `audit`: what a site did, exported there, reconciled at headquarters, verified anywhere.

mod offline;
mod proof;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use mintmark_model::Reason;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key::ExportBundleRequest;
use mintmark_rpc::client::plugins::entitlement::find_device_request::Key;
use mintmark_rpc::client::plugins::entitlement::{
    Device, FindDeviceRequest, IngestRequest, Verdict,
};
use serde_json::{Value, json};

use super::report;
use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::files;
use crate::output::{Page, table, word};

/// What to do for an audit.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the audit bundle: all that was done since the newest receipt (site).
    Export {
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The headquarters to report to, where there are several.
        #[arg(long, default_value = "")]
        headquarters: String,
        /// Begin after this row instead of at the newest receipt: for a headquarters that was
        /// restored from a backup and lost what it had acknowledged. With 0, all that there ever
        /// was.
        #[arg(long, value_name = "ROW")]
        after: Option<u64>,
        /// At most about so many bytes of rows (64 KiB to 24 MiB); what is left comes with the next
        /// export, once the receipt is there.
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        max_bytes: u64,
    },
    /// Reconcile a bundle with what was granted (headquarters).
    Ingest {
        /// The bundle.
        file: PathBuf,
        /// Where to write the receipt, if the verdict gives one.
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
    },
    /// Repeat the check on opened bundles, oldest first, without any host. Exits with 1 unless the
    /// verdict is clean.
    Verify {
        /// Files that `report export` wrote.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The root certificate.
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
    },
    /// Write the proof that a device was issued here, for somebody who has neither the ledger nor
    /// headquarters (site).
    Prove {
        /// The device's own unique id.
        device: String,
        /// The entitlement that the device is of.
        #[arg(long)]
        entitlement: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Verify such a proof without any host. Exits with 1 unless it holds.
    VerifyProof {
        /// The file that `audit prove` wrote.
        file: PathBuf,
        /// The root certificate.
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        /// The device's certificate, which must be the one that the proof is about.
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
    },
    /// Look a device up in the register of reported devices (headquarters).
    Find {
        /// The device's own unique id, or its serial number.
        name: String,
        /// What the name is.
        #[arg(long, value_enum, default_value_t = FindBy::Subject)]
        by: FindBy,
    },
}

/// What a device is looked up by.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum FindBy {
    /// Its own unique id.
    Subject,
    /// Its serial number.
    Serial,
    /// The serial number of its certificate, in hexadecimal.
    CertificateSerial,
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    match command {
        Command::Export { out, headquarters, after, max_bytes } => {
            let request = ExportBundleRequest { headquarters, after, max_bytes };
            export(&desk.connect().await?, request, &out).await
        }
        Command::Ingest { file, receipt } => {
            ingest(&desk.connect().await?, &file, receipt.as_deref(), desk.json).await
        }
        Command::Verify { files, root } => offline::verify(&files, &root),
        Command::Prove { device, entitlement, out } => {
            proof::prove(&desk.connect().await?, device, entitlement, &out).await
        }
        Command::VerifyProof { file, root, certificate } => {
            proof::verify(&file, &root, certificate.as_deref())
        }
        Command::Find { name, by } => find(&desk.connect().await?, name, by).await,
    }
}

async fn export(client: &Client, request: ExportBundleRequest, out: &Path) -> Result<Page, Error> {
    let exported = client.devices().export_bundle(request).await;
    let exported = exported.map_err(Failure::from)?.into_inner();
    let path = files::write(out, &client.fetch(&exported.file_id).await?)?;
    Ok(Page::facts(&[
        ("file", json!(path)),
        ("rows", json!(exported.rows)),
        ("headquarters", json!(exported.headquarters)),
        ("digest", json!(hex::encode(exported.digest))),
        ("rows are left", json!(exported.more)),
    ]))
}

/// What an ingestion came to.
struct Ingested {
    verdict: String,
    report: String,
    receipt_file: String,
    repeated: bool,
}

async fn ingest(
    client: &Client,
    file: &Path,
    receipt: Option<&Path>,
    quiet: bool,
) -> Result<Page, Error> {
    let file_id = client.send(files::read(file)?).await?;
    let ingested = steps(client, &file_id, quiet).await?;
    let mut facts = vec![
        ("verdict", json!(ingested.verdict)),
        ("report", json!(ingested.report)),
        ("already ingested", json!(ingested.repeated)),
    ];
    if let Some(path) = receipt.filter(|_| !ingested.receipt_file.is_empty()) {
        let written = match client.fetch_kept(&ingested.receipt_file).await? {
            Some(content) => json!(files::write(path, &content)?),
            None => json!("the site has it"),
        };
        facts.push(("receipt", written));
    }
    let shown = report::show(client, &ingested.report).await?;
    let findings = Value::Array(report::findings_json(&shown));
    Ok(Page::facts(&facts).with("findings", findings, &report::findings_text(&shown)))
}

/// Repeats the call until the host is done; each step is durable by itself.
async fn steps(client: &Client, file_id: &str, quiet: bool) -> Result<Ingested, Error> {
    let bar = if quiet { ProgressBar::hidden() } else { progress() };
    loop {
        let request = IngestRequest { file_id: file_id.to_owned() };
        let answer = match client.audit().ingest(request).await.map_err(Failure::from) {
            Ok(answer) => answer.into_inner(),
            Err(failure) if failure.is(Reason::Replayed) => {
                let fact = |name: &str| failure.metadata.get(name).cloned().unwrap_or_default();
                return Ok(Ingested {
                    verdict: fact("verdict").replace(' ', "-"),
                    report: fact("report"),
                    receipt_file: fact("receipt_file"),
                    repeated: true,
                });
            }
            Err(failure) => return Err(failure.into()),
        };
        bar.set_length(answer.total_bytes);
        bar.set_position(answer.checked_bytes);
        if answer.done {
            bar.finish_and_clear();
            return Ok(Ingested {
                verdict: verdict(answer.verdict()),
                report: answer.report,
                receipt_file: answer.receipt_file_id,
                repeated: false,
            });
        }
    }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("checking {bar:40} {bytes}/{total_bytes}");
    let bar = ProgressBar::new(0);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// The word of a verdict.
pub(super) fn verdict(verdict: Verdict) -> String {
    word(verdict.as_str_name(), "VERDICT_")
}

async fn find(client: &Client, name: String, by: FindBy) -> Result<Page, Error> {
    let key = match by {
        FindBy::Subject => Key::Subject(name),
        FindBy::Serial => Key::Serial(name),
        FindBy::CertificateSerial => Key::CertificateSerial(
            hex::decode(&name).map_err(|_| Error::Usage("not hexadecimal".to_owned()))?,
        ),
    };
    let found = client.audit().find_device(FindDeviceRequest { key: Some(key) }).await;
    let devices = found.map_err(Failure::from)?.into_inner().devices;
    let row = |device: &Device| {
        vec![
            device.subject.clone(),
            device.serial.clone(),
            device.product.clone(),
            device.site.clone(),
            device.state.clone(),
            hex::encode(&device.certificate_hash),
        ]
    };
    let rows: Vec<_> = devices.iter().map(row).collect();
    let json = devices.iter().map(|device| {
        json!({
            "subject": device.subject,
            "serial": device.serial,
            "product": device.product,
            "site": device.site,
            "state": device.state,
            "entitlement": device.entitlement,
            "unit": device.unit,
            "certificate": hex::encode(&device.certificate_hash),
            "certificate_serial": hex::encode(&device.certificate_serial),
        })
    });
    let heading = ["subject", "serial", "product", "site", "state", "certificate"];
    Ok(Page::new(Value::Array(json.collect()), table(&heading, &rows)))
}
