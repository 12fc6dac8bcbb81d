//! What the host says of itself.

use mintmark_custody::LedgerPosition;
use tonic::{Request, Response, async_trait};

use super::Answer;
use crate::{
    host::Host,
    proto::admin::{
        LedgerHead, PluginHealth, ShowStatusRequest, ShowStatusResponse, status_server::Status,
    },
    refusal,
};

#[async_trait]
impl Status for Host {
    async fn show_status(&self, _: Request<ShowStatusRequest>) -> Answer<ShowStatusResponse> {
        let status = self.custody.status().await.map_err(refusal::status)?;
        let plugins = self.runtime.status().into_iter().map(health).collect();
        Ok(Response::new(ShowStatusResponse {
            cluster: status.cluster,
            kind: status.kind,
            hardware_model: status.hardware_model,
            node: status.node,
            store_commit: status.store_commit,
            heads: status.heads.into_iter().map(head).collect(),
            site_time_ms: status.site_time_ms,
            clock_suspect: status.clock_suspect,
            plugins,
            peers: status.peers,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}

fn head(head: LedgerPosition) -> LedgerHead {
    LedgerHead { node: head.node, sequence: head.sequence, hash: head.hash.to_vec() }
}
