//! `outbox`: what headquarters sent to its sites and keeps until they acknowledge it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{ListOutboxRequest, OutboxEntry};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::files::Folder;
use crate::output::{Page, moment, short, table};

/// What to do with the outbox.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The messages that no bundle has acknowledged yet, by site and number.
    List {
        /// Only this site.
        #[arg(long)]
        site: Option<String>,
    },
    /// Write the messages that a site has not acknowledged, each as a file: what was lost on the
    /// way is sent again.
    Export {
        /// The site.
        #[arg(long)]
        site: String,
        /// Only this message.
        #[arg(long)]
        sequence: Option<u64>,
        /// The folder to write to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let client = desk.connect().await?;
    match command {
        Command::List { site } => {
            let entries = list(&client, site.unwrap_or_default()).await?;
            let rows: Vec<_> = entries.iter().map(row).collect();
            let heading = ["site", "message", "purpose", "made", "digest"];
            let json = entries.iter().map(as_json).collect();
            Ok(Page::new(Value::Array(json), table(&heading, &rows)))
        }
        Command::Export { site, sequence, out } => export(&client, site, sequence, &out).await,
    }
}

async fn list(client: &Client, site: String) -> Result<Vec<OutboxEntry>, Error> {
    let listed = client.outbox().list_outbox(ListOutboxRequest { site }).await;
    Ok(listed.map_err(Failure::from)?.into_inner().entries)
}

async fn export(
    client: &Client,
    site: String,
    sequence: Option<u64>,
    out: &Path,
) -> Result<Page, Error> {
    let folder = Folder::create(out)?;
    let wanted = |entry: &OutboxEntry| sequence.is_none_or(|wanted| entry.sequence == wanted);
    let mut written = Vec::new();
    for entry in list(client, site).await?.iter().filter(|entry| wanted(entry)) {
        let site = entry.site.rsplit('/').next().unwrap_or_default();
        let name = format!("{site}-{:06}.{}", entry.sequence, entry.purpose);
        written.push(folder.write(&name, &client.fetch(&entry.file_id).await?)?);
    }
    Ok(Page::facts(&[("files", json!(written))]))
}

fn as_json(entry: &OutboxEntry) -> Value {
    json!({
        "site": entry.site,
        "sequence": entry.sequence,
        "purpose": entry.purpose,
        "file_id": entry.file_id,
        "digest": hex::encode(&entry.digest),
        "made_at_ms": entry.made_at_ms,
        "epoch": entry.epoch,
    })
}

fn row(entry: &OutboxEntry) -> Vec<String> {
    vec![
        entry.site.clone(),
        entry.sequence.to_string(),
        entry.purpose.clone(),
        moment(entry.made_at_ms),
        short(&entry.digest),
    ]
}
