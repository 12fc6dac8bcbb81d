//! `identity`: what clusters know of each other.

use std::path::PathBuf;

use clap::Subcommand;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{
    ExportIdentityRequest, ImportIdentityRequest, ListPeersRequest, Peer, PeerPlugin,
};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::error::Error;
use crate::files;
use crate::output::{Page, short, table};

/// What to do with identities.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write this cluster's identity bundle, to be carried to another cluster.
    Export {
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take another cluster's identity bundle. Compare the fingerprint by phone.
    Import {
        /// The identity bundle.
        file: PathBuf,
    },
    /// The other clusters that are known.
    List,
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let client = desk.connect().await?;
    match command {
        Command::Export { out } => {
            let exported = client.peers().export_identity(ExportIdentityRequest {}).await;
            let exported = exported.map_err(Failure::from)?.into_inner();
            let path = files::write(&out, &client.fetch(&exported.file_id).await?)?;
            Ok(Page::facts(&[
                ("file", json!(path)),
                ("fingerprint", json!(hex::encode(exported.fingerprint))),
            ]))
        }
        Command::Import { file } => {
            let file_id = client.send(files::read(&file)?).await?;
            let imported = client.peers().import_identity(ImportIdentityRequest { file_id }).await;
            let imported = imported.map_err(Failure::from)?.into_inner();
            Ok(Page::facts(&[
                ("cluster", json!(imported.cluster)),
                ("platform", json!(imported.hardware_model)),
                ("plugins", json!(imported.plugins.iter().map(plugin_text).collect::<Vec<_>>())),
                ("fingerprint", json!(hex::encode(imported.fingerprint))),
                ("changed", json!(imported.changed)),
            ]))
        }
        Command::List => {
            let listed = client.peers().list_peers(ListPeersRequest {}).await;
            let peers = listed.map_err(Failure::from)?.into_inner().peers;
            let json = peers.iter().map(peer_json).collect();
            Ok(Page::new(Value::Array(json), peers_table(&peers)))
        }
    }
}

/// A peer for programs.
pub(super) fn peer_json(peer: &Peer) -> Value {
    let plugins = peer.plugins.iter().map(
        |plugin| json!({ "name": plugin.name, "measurement": hex::encode(&plugin.measurement) }),
    );
    json!({
        "cluster": peer.cluster,
        "hardware_model": peer.hardware_model,
        "fingerprint": hex::encode(&peer.fingerprint),
        "plugins": plugins.collect::<Vec<_>>(),
        "sequence": peer.sequence,
    })
}

/// Peers for people.
pub(super) fn peers_table(peers: &[Peer]) -> String {
    let row = |peer: &Peer| {
        let plugins: Vec<_> = peer.plugins.iter().map(plugin_text).collect();
        let (cluster, model) = (peer.cluster.clone(), peer.hardware_model.clone());
        vec![cluster, model, peer.sequence.to_string(), plugins.join(", ")]
    };
    let rows: Vec<_> = peers.iter().map(row).collect();
    table(&["cluster", "platform", "messages", "trusted plugins"], &rows)
}

fn plugin_text(plugin: &PeerPlugin) -> String {
    format!("{} {}", plugin.name, short(&plugin.measurement))
}
