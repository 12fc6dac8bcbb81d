//! `approvals charter`: who approves, and how many of them must.

use clap::Subcommand;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{
    Approver, ChangeApproversRequest, ShowApproversRequest, ShowApproversResponse,
};
use serde_json::json;

use crate::authority;
use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::output::Page;

/// What to do with the list of approvers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The list that holds, and the least number of approvals that the charter allows.
    Show,
    /// Change the list; as many as the present one asks for must agree. What waits then is void.
    Change {
        /// Somebody who approves from now on, with a request or certificate of his key.
        #[arg(long = "add", value_name = "NAME=FILE")]
        added: Vec<String>,
        /// Somebody who approves no longer.
        #[arg(long = "remove", value_name = "NAME")]
        removed: Vec<String>,
        /// How many must agree from now on; as many as before, if it is not said.
        #[arg(long)]
        quorum: Option<u32>,
    },
}

/// Carries the command out.
pub(super) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let client = desk.connect().await?;
    let present = show(&client).await?;
    match command {
        Command::Show => Ok(page(&present)),
        Command::Change { added, removed, quorum } => {
            let request = changed(present, &added, &removed, quorum)?;
            let changed = client.approvals().change_approvers(request).await;
            changed.map_err(Failure::from)?;
            Ok(page(&show(&client).await?))
        }
    }
}

async fn show(client: &Client) -> Result<ShowApproversResponse, Error> {
    let shown = client.approvals().show_approvers(ShowApproversRequest {}).await;
    Ok(shown.map_err(Failure::from)?.into_inner())
}

fn changed(
    present: ShowApproversResponse,
    added: &[String],
    removed: &[String],
    quorum: Option<u32>,
) -> Result<ChangeApproversRequest, Error> {
    let mut approvers = present.approvers;
    for name in removed {
        let before = approvers.len();
        approvers.retain(|it| it.name != *name);
        if approvers.len() == before {
            return Err(Error::Usage(format!("`{name}` is not on the list")));
        }
    }
    for argument in added {
        let new = authority::approver(argument)?;
        approvers.push(Approver { name: new.name, key_hash: new.key_hash.to_vec() });
    }
    Ok(ChangeApproversRequest { approvers, quorum: quorum.unwrap_or(present.quorum) })
}

fn page(list: &ShowApproversResponse) -> Page {
    let approver = |it: &Approver| format!("{} {}", it.name, hex::encode(&it.key_hash));
    Page::facts(&[
        ("approvers", json!(list.approvers.iter().map(approver).collect::<Vec<_>>())),
        ("quorum", json!(list.quorum)),
        ("floor", json!(list.floor)),
        ("version", json!(list.version)),
    ])
}
