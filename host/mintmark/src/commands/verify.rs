//! `verify`: walks a node's store, offline, and compares it with what the platform remembers.

use std::path::PathBuf;

use serde_json::json;

use crate::assemble::Keep;
use crate::config::Config;
use crate::error::Error;
use crate::output::Page;

/// Which node.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Carries the command out.
pub(crate) async fn run(arguments: Arguments) -> Result<Page, Error> {
    let config = Config::read(&arguments.config)?;
    let keep = Keep::open(&config)?;
    let verified = keep.store.verify().await?;
    let position = verified.position;
    let anchor = keep.platform.anchor()?;
    let standing = match anchor.map(|anchor| position.commit.cmp(&anchor.commit)) {
        None => "no anchor",
        Some(std::cmp::Ordering::Equal) => "equal",
        Some(std::cmp::Ordering::Greater) => "store ahead by what was never released",
        Some(std::cmp::Ordering::Less) => "store behind: ROLLBACK_SUSPECTED",
    };
    let heads = position.heads.iter();
    let heads =
        heads.map(|head| format!("{} {} {}", head.node, head.sequence, hex::encode(head.hash)));
    let facts = [
        ("records", json!(verified.records)),
        ("rows", json!(verified.rows)),
        ("commit", json!(position.commit)),
        ("heads", json!(heads.collect::<Vec<_>>())),
        ("anchor", json!(standing)),
    ];
    Ok(Page::facts(&facts).and("\nEvery record and every row is what was committed.\n"))
}
