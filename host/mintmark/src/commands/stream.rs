//! `stream`: headquarters' streams of messages to its sites.

use clap::Subcommand;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::OpenStreamRequest;
use serde_json::json;

use crate::cli::Desk;
use crate::error::Error;
use crate::output::Page;

/// What to do with streams.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// After headquarters or the site was restored from a backup, or where the site could not use
    /// a grant that it took off the stream: let the site's next bundle, which shows what the site
    /// holds, open a new epoch of the stream to it. What is on its way has to be imported at the
    /// site before; what was sent and never arrived is no debt of the site's afterwards. Needs
    /// approvals.
    Open {
        /// The site: `site/<name>` or its SPIFFE URI.
        site: String,
        /// The epoch, where the site has seen a later one than headquarters knows.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        epoch: u64,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let Command::Open { site, epoch } = command;
    let client = desk.connect().await?;
    let request = OpenStreamRequest { site, epoch };
    let opened = client.outbox().open_stream(request).await.map_err(Failure::from)?.into_inner();
    Ok(Page::facts(&[
        ("epoch", json!(opened.epoch)),
        ("next", json!("audit ingest a bundle of the site")),
    ]))
}
