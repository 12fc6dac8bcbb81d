//! `verify`: walks a node's store, offline, and compares it with itself and with what the platform
//! remembers.

use std::path::PathBuf;

use mintmark_custody::{VerifiedStore, verify};
use serde_json::{Value, json};

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
    let sealing = keep.platform.sealing_secret()?;
    let verified = verify(&*keep.store, &sealing, Some(&*keep.platform)).await?;
    let anchor = keep.platform.anchor()?;
    let standing = match anchor.map(|anchor| verified.commit.cmp(&anchor.commit)) {
        None => "no anchor: ROLLBACK_SUSPECTED",
        Some(std::cmp::Ordering::Equal) => "equal",
        Some(std::cmp::Ordering::Greater) => "store ahead by what was never released",
        Some(std::cmp::Ordering::Less) => "store behind: ROLLBACK_SUSPECTED",
    };
    let mut facts = facts(&verified).to_vec();
    facts.push(("anchor", json!(standing)));
    Ok(Page::facts(&facts).and("\nEvery record and every row is right.\n"))
}

/// What was counted.
pub(crate) fn facts(verified: &VerifiedStore) -> [(&'static str, Value); 6] {
    let heads = verified.heads.iter();
    let heads =
        heads.map(|head| format!("{} {} {}", head.node, head.sequence, hex::encode(head.hash)));
    [
        ("records", json!(verified.records)),
        ("rows", json!(verified.rows)),
        ("entitlements", json!(verified.allotments)),
        ("units", json!(verified.units)),
        ("commit", json!(verified.commit)),
        ("heads", json!(heads.collect::<Vec<_>>())),
    ]
}
