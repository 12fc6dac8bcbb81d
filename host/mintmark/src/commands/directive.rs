//! `directive`: headquarters' later orders about entitlements, at a site.

use std::path::PathBuf;

use clap::Subcommand;
use mintmark_model::Reason;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key::ImportDirectiveRequest;
use serde_json::json;

use super::receipt::known;
use crate::cli::Desk;
use crate::error::Error;
use crate::files;
use crate::output::{Page, moment};

/// What to do with directives.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Act on an order of headquarters: revoke, reduce, shorten or extend.
    Import {
        /// The file that headquarters wrote.
        file: PathBuf,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let Command::Import { file } = command;
    let client = desk.connect().await?;
    let file_id = client.send(files::read(&file)?).await?;
    let imported = client.devices().import_directive(ImportDirectiveRequest { file_id }).await;
    let imported = match imported.map_err(Failure::from) {
        Ok(imported) => imported.into_inner(),
        Err(failure) if failure.is(Reason::Replayed) => return Ok(known(&failure)),
        Err(failure) => return Err(failure.into()),
    };
    let mut facts = vec![
        ("entitlement", json!(imported.entitlement)),
        ("change", json!(imported.change)),
        ("units", json!(imported.applied)),
    ];
    // None where only another version of the plugin can look.
    if let Some(counters) = imported.counters {
        facts.extend([
            ("until", json!(moment(imported.not_after_ms))),
            ("credited", json!(counters.credited)),
            ("unused", json!(counters.unused)),
        ]);
    }
    Ok(Page::facts(&facts))
}
