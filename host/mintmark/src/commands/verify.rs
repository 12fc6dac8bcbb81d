//! `verify`: walks a node's store, offline, and compares it with itself and with what the platform
//! remembers.

use std::path::PathBuf;

use mintmark_custody::{Suspicion, VerifiedStore, standing, verify};
use mintmark_platform::anchor::Standing;
use serde_json::{Value, json};

use crate::assemble::Keep;
use crate::config::Config;
use crate::error::Error;
use crate::output::Page;

/// What is said of a store that was not compared with an anchor.
pub(super) const NOT_COMPARED: &str = "not compared";

/// Which node.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Do not ask what the platform remembers: for a copy of a store that nobody will serve. Then
    /// nothing says whether it is the newest, or the only one.
    #[arg(long)]
    without_anchor: bool,
}

/// Carries the command out.
pub(crate) async fn run(arguments: Arguments) -> Result<Page, Error> {
    let config = Config::read(&arguments.config)?;
    let keep = Keep::open(&config)?;
    let sealing = keep.platform.sealing_secret()?;
    if arguments.without_anchor {
        let verified = verify(&*keep.store, &sealing, None).await?;
        let page = page(&verified, NOT_COMPARED);
        let text = "\nEvery record and every row is right. Whether the store is the newest was not \
                    asked.\n";
        return Ok(page.and(text));
    }
    let anchor = keep.platform.anchor()?;
    let standing = standing(&*keep.store, &keep.store_id, anchor.as_ref()).await?;
    // What a crash kept from the anchor, the platform has not noted either; the next start does it.
    let platform = (standing == Some(Standing::Equal)).then_some(&*keep.platform);
    let verified = verify(&*keep.store, &sealing, platform).await?;
    let page = page(&verified, word(standing));
    match Suspicion::of(standing) {
        Some(suspicion) => Err(Error::Suspect {
            suspicion,
            page: Box::new(page.and("\nEvery record and every row is right in itself.\n")),
        }),
        None => Ok(page.and(right(standing))),
    }
}

fn page(verified: &VerifiedStore, anchor: &str) -> Page {
    let mut facts = facts(verified).to_vec();
    facts.push(("anchor", json!(anchor)));
    Page::facts(&facts)
}

/// How the store stands to its anchor, in a word that programs can read.
fn word(standing: Option<Standing>) -> &'static str {
    match standing {
        None => "none",
        Some(Standing::Equal) => "equal",
        Some(Standing::StoreAhead) => "store ahead",
        Some(Standing::StoreBehind) => "store behind",
        Some(Standing::Different) => "another history",
    }
}

/// What is said of a store that its host would serve.
fn right(standing: Option<Standing>) -> &'static str {
    if standing == Some(Standing::StoreAhead) {
        return "\nEvery record and every row is right. The host stopped between its last commit \
                and the anchor:\nnothing of that commit was released. The next start brings the \
                anchor forward.\n";
    }
    "\nEvery record and every row is right, and the store is the one that the platform \
     remembers.\n"
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
