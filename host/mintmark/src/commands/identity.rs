//! `identity`: what clusters know of each other, and the keys to which others seal.

use std::path::PathBuf;

use clap::Subcommand;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{
    ExportIdentityRequest, HostKey, ImportIdentityRequest, ListPeersRequest, Peer, PeerPlugin,
    RotateKeysRequest, ShowStatusRequest,
};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::files;
use crate::output::{Page, moment, short, table};

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
    /// The keys to which others seal, and until when retired ones open.
    Show,
    /// Replace keys by new ones: a plugin's, by which it signs and to which others seal, or the
    /// host's own, to which headquarters seals the keys of entitlements. All of them, if none is
    /// named.
    ///
    /// A key that is replaced signs nothing any more. What is sealed to it opens for as long as a
    /// message may travel, then it is refused as KEY_RETIRED. Carry the new identity to the other
    /// clusters (`identity export`): there it needs approvals. Make a backup afterwards, as an
    /// older one brings the old keys back and not the new ones.
    Rotate {
        /// Replace the keys of this plugin.
        #[arg(long, value_name = "NAME")]
        plugin: Option<String>,
        /// Replace the host's own key.
        #[arg(long)]
        transfer: bool,
    },
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
        Command::Show => {
            let keys = own_keys(&client).await?;
            Ok(Page::new(keys.iter().map(key_json).collect(), keys_table(&keys)))
        }
        Command::Rotate { plugin, transfer } => {
            let keys = own_keys(&client).await?;
            let keys = chosen(&keys, plugin.as_deref(), transfer)?;
            let rotated = client.peers().rotate_keys(RotateKeysRequest { keys }).await;
            let keys = rotated.map_err(Failure::from)?.into_inner().keys;
            let page = Page::new(keys.iter().map(key_json).collect(), keys_table(&keys));
            Ok(page.and(
                "\nOthers seal to these keys until they have the new identity:\n  \
                 mintmark identity export --out FILE\n",
            ))
        }
    }
}

async fn own_keys(client: &Client) -> Result<Vec<HostKey>, Error> {
    let status = client.status().show_status(ShowStatusRequest {}).await;
    Ok(status.map_err(Failure::from)?.into_inner().keys)
}

/// The digests of the present keys that are to be replaced.
fn chosen(keys: &[HostKey], plugin: Option<&str>, transfer: bool) -> Result<Vec<Vec<u8>>, Error> {
    let all = plugin.is_none() && !transfer;
    let of_plugin =
        |name: &str| plugin.is_some_and(|plugin| name.ends_with(&format!("/plugin/{plugin}")));
    let wanted = |key: &&HostKey| {
        key.retired_at_ms.is_none()
            && (all || of_plugin(&key.name) || (transfer && key.name.contains("/transfer/")))
    };
    let found: Vec<&HostKey> = keys.iter().filter(wanted).collect();
    if plugin.is_some() && !found.iter().any(|key| of_plugin(&key.name)) {
        let next = "see the plugins that have keys with `mintmark identity show`";
        return Err(Error::misfit("no active plugin has that name", next));
    }
    Ok(found.into_iter().map(|key| key.key.clone()).collect())
}

/// A key for programs.
pub(super) fn key_json(key: &HostKey) -> Value {
    json!({
        "name": key.name,
        "key": hex::encode(&key.key),
        "not_after_ms": key.not_after_ms,
        "retired_at_ms": key.retired_at_ms,
        "opens_until_ms": key.opens_until_ms,
    })
}

/// Keys for people.
pub(super) fn keys_table(keys: &[HostKey]) -> String {
    let row = |key: &HostKey| {
        let state = match (key.opens_until_ms, key.not_after_ms) {
            (Some(until), _) => format!("retired, opens until {}", moment(until)),
            (None, Some(end)) => format!("in use, certificate until {}", moment(end)),
            (None, None) => "in use".to_owned(),
        };
        vec![key.name.clone(), short(&key.key), state]
    };
    table(&["sealed to", "key", "state"], &keys.iter().map(row).collect::<Vec<_>>())
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
