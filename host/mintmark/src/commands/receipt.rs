//! `receipt`: headquarters' answers to bundles, at a site.

use std::path::PathBuf;

use clap::Subcommand;
use mintmark_model::Reason;
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key::ImportReceiptRequest;
use serde_json::json;

use crate::cli::Desk;
use crate::error::Error;
use crate::files;
use crate::output::Page;

/// What to do with receipts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a receipt; it renews what may be made without one.
    Import {
        /// The receipt.
        file: PathBuf,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let Command::Import { file } = command;
    let client = desk.connect().await?;
    let file_id = client.send(files::read(&file)?).await?;
    let imported = client.devices().import_receipt(ImportReceiptRequest { file_id }).await;
    let imported = match imported.map_err(Failure::from) {
        Ok(imported) => imported.into_inner(),
        Err(failure) if failure.is(Reason::Replayed) => return Ok(known(&failure)),
        Err(failure) => return Err(failure.into()),
    };
    Ok(Page::facts(&[
        ("bundle", json!(hex::encode(imported.bundle))),
        ("verdict", json!(imported.verdict)),
        ("renewed", json!(imported.entitlements)),
    ]))
}

/// A repetition changes nothing, and is no failure.
pub(super) fn known(failure: &Failure) -> Page {
    let json = json!({ "already_imported": true, "first_import": failure.metadata });
    let mut text = String::from("already imported; nothing changed\n");
    for (name, value) in &failure.metadata {
        text.push_str(&format!("first import: {name} {value}\n"));
    }
    Page::new(json, text)
}
