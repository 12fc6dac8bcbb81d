//! `status`: what a host says of itself.

use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{
    ShowClockRequest, ShowStatusRequest, ShowStatusResponse, Storage,
};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::error::Error;
use crate::output::{Page, lines, moment, short, table};

/// Carries the command out.
pub(crate) async fn run(desk: &Desk) -> Result<Page, Error> {
    let client = desk.connect().await?;
    let status = client.status().show_status(ShowStatusRequest {}).await.map_err(Failure::from)?;
    let status = status.into_inner();
    let page = Page::new(as_json(&status), as_text(&status));
    if !status.clock_suspect {
        return Ok(page);
    }
    let clock = client.clock().show_clock(ShowClockRequest {}).await.map_err(Failure::from)?;
    let clock = clock.into_inner().clock.unwrap_or_default();
    Ok(page.and(&format!("\nClock\n{}", super::clock::advice(&clock))))
}

fn as_json(status: &ShowStatusResponse) -> Value {
    let heads = status.heads.iter().map(|head| {
        json!({ "node": head.node, "sequence": head.sequence, "hash": hex::encode(&head.hash) })
    });
    let plugins = status.plugins.iter().map(|plugin| {
        json!({
            "name": plugin.name,
            "version": plugin.version,
            "measurement": hex::encode(&plugin.measurement),
            "services": plugin.services,
            "problem": plugin.problem,
            "signers": plugin.signers,
        })
    });
    let peers = status.peers.iter().map(super::identity::peer_json);
    json!({
        "cluster": status.cluster,
        "kind": status.kind,
        "hardware_model": status.hardware_model,
        "node": status.node,
        "boot": status.boot,
        "store_commit": status.store_commit,
        "read_only": status.read_only,
        "epoch": status.epoch,
        "problem": status.problem.as_ref().map(|problem| {
            json!({ "reason": problem.reason, "detail": problem.detail })
        }),
        "storage": status.storage.as_ref().map(storage_json),
        "site_time_ms": status.site_time_ms,
        "clock_suspect": status.clock_suspect,
        "heads": heads.collect::<Vec<_>>(),
        "plugins": plugins.collect::<Vec<_>>(),
        "peers": peers.collect::<Vec<_>>(),
        "keys": status.keys.iter().map(super::identity::key_json).collect::<Vec<_>>(),
    })
}

fn storage_json(storage: &Storage) -> Value {
    json!({
        "state": storage.state,
        "free_bytes": storage.free_bytes,
        "mark_bytes": storage.mark_bytes,
        "detail": storage.detail,
    })
}

fn storage_text(storage: &Storage) -> String {
    let free = match storage.free_bytes {
        Some(bytes) => format!("{} MiB free", bytes >> 20),
        None => "what is free is not known".to_owned(),
    };
    let mark = storage.mark_bytes >> 20;
    let detail = storage.detail.as_str();
    let then = if detail.is_empty() { "" } else { "; " };
    format!("{}, {free}, low below {mark} MiB{then}{detail}", storage.state)
}

fn as_text(status: &ShowStatusResponse) -> String {
    let clock = if status.clock_suspect { " (suspect; it stands still)" } else { "" };
    let store = match &status.problem {
        None => "writable".to_owned(),
        Some(problem) => format!("read only, {}: {}", problem.reason, problem.detail),
    };
    let mut text = lines(&[
        ("cluster", format!("{} ({})", status.cluster, status.kind)),
        ("node", format!("{}, start {}", status.node, status.boot)),
        ("platform", status.hardware_model.clone()),
        ("site time", format!("{}{clock}", moment(status.site_time_ms))),
        ("store", format!("epoch {}, commit {}, {store}", status.epoch, status.store_commit)),
        ("storage", status.storage.as_ref().map(storage_text).unwrap_or_default()),
    ]);
    let heads = status
        .heads
        .iter()
        .map(|head| vec![head.node.clone(), head.sequence.to_string(), hex::encode(&head.hash)]);
    text.push_str("\nLedger\n");
    text.push_str(&table(&["node", "rows", "last hash"], &heads.collect::<Vec<_>>()));
    let plugins = status.plugins.iter().map(|plugin| {
        let state = if plugin.problem.is_empty() { "serves" } else { &plugin.problem };
        let (name, version) = (plugin.name.clone(), plugin.version.clone());
        let signed = super::plugin::signed(&plugin.signers);
        vec![name, version, short(&plugin.measurement), signed, state.to_owned()]
    });
    text.push_str("\nPlugins\n");
    let heading = ["name", "version", "measurement", "signed by", "state"];
    text.push_str(&table(&heading, &plugins.collect::<Vec<_>>()));
    text.push_str("\nOther clusters\n");
    text.push_str(&super::identity::peers_table(&status.peers));
    text.push_str("\nKeys\n");
    text.push_str(&super::identity::keys_table(&status.keys));
    text
}
