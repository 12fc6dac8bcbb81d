//! `ledger`: the rows of a host as they are, also of one that is read-only.

use std::path::PathBuf;

use mintmark_exchange::bundle::push_frame;
use mintmark_exchange::canonical;
use mintmark_exchange::row::Row;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{ReadLedgerRequest, ReadLedgerResponse};
use serde_json::json;

use crate::cli::Desk;
use crate::error::Error;
use crate::files::Folder;
use crate::output::Page;

/// What about the ledger.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write every row of every ledger of the host, in the clear; also from a read-only host.
    Export(ExportArguments),
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    /// The file to write; one that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let Command::Export(arguments) = command;
    let (folder, name) = Folder::split(&arguments.out)?;
    let mut file = folder.draft_of(&name)?;
    let mut backups = desk.connect().await?.backups();
    let pages = backups.read_ledger(ReadLedgerRequest {}).await.map_err(Failure::from)?;
    let mut pages = pages.into_inner();
    let mut chains: Vec<Chain> = Vec::new();
    while let Some(page) = pages.message().await.map_err(Failure::from)? {
        if chains.last().is_none_or(|chain| !chain.is_of(&page)) {
            chains.push(Chain::new(&page));
        }
        let chain = chains.last_mut().expect("pushed above if there was none");
        let mut frames = Vec::new();
        for encoded in &page.rows {
            chain.follow(encoded)?;
            push_frame(&mut frames, encoded).map_err(|_| unfit())?;
        }
        file.append(&frames)?;
    }
    let path = file.finish()?;
    let ends = chains.iter().map(|chain| {
        let hash = hex::encode(chain.hash);
        format!("{}, ledger {}: {} rows, {hash}", chain.node, chain.incarnation, chain.rows)
    });
    Ok(Page::facts(&[("file", json!(path)), ("ledgers", json!(ends.collect::<Vec<_>>()))]))
}

/// One ledger, as far as it was read.
struct Chain {
    node: String,
    incarnation: u64,
    rows: u64,
    hash: canonical::Digest,
}

impl Chain {
    fn new(page: &ReadLedgerResponse) -> Self {
        let (node, incarnation) = (page.node.clone(), page.incarnation);
        Self { node, incarnation, rows: 0, hash: [0; 32] }
    }

    fn is_of(&self, page: &ReadLedgerResponse) -> bool {
        self.node == page.node && self.incarnation == page.incarnation
    }

    /// The host is not believed that its rows follow from each other.
    fn follow(&mut self, encoded: &[u8]) -> Result<(), Error> {
        let (sequence, previous, hash) = Row::link(encoded).ok_or_else(unfit)?;
        if sequence != self.rows + 1 || previous != self.hash {
            return Err(unfit());
        }
        (self.rows, self.hash) = (sequence, hash);
        Ok(())
    }
}

fn unfit() -> Error {
    Error::misfit("the host's rows do not follow from each other", "Run `mintmark verify` there.")
}
