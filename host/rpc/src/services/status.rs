//! What the host says of itself.

use mintmark_custody::{InstalledPlugin, LedgerPosition, StorageStatus};
use mintmark_model::Refusal;
use mintmark_runtime::PluginState;
use tonic::{Request, Response, async_trait};

use super::{
    Answer,
    peers::{host_key, peer},
};
use crate::{
    host::Host,
    proto::admin::{
        LedgerHead, PluginHealth, Problem, ShowStatusRequest, ShowStatusResponse, Storage,
        status_server::Status,
    },
    refusal,
};

#[async_trait]
impl Status for Host {
    async fn show_status(&self, _: Request<ShowStatusRequest>) -> Answer<ShowStatusResponse> {
        let status = self.custody.status().await.map_err(refusal::status)?;
        let installed = &status.plugins;
        let plugins = self.runtime.status().into_iter();
        let plugins = plugins.map(|state| self.health(state, installed)).collect();
        Ok(Response::new(ShowStatusResponse {
            cluster: status.cluster,
            kind: status.kind.to_owned(),
            hardware_model: status.hardware_model.to_owned(),
            node: status.node,
            store_commit: status.commit,
            heads: status.heads.into_iter().map(head).collect(),
            site_time_ms: status.site_time_ms,
            clock_suspect: status.clock_suspect,
            plugins,
            peers: status.peers.into_iter().map(peer).collect(),
            read_only: status.read_only,
            boot: status.boot,
            batches: status.batches,
            epoch: status.epoch,
            problem: status.problem.map(problem),
            keys: status.keys.into_iter().map(host_key).collect(),
            storage: Some(storage(status.storage)),
        }))
    }
}

impl Host {
    fn health(&self, state: PluginState, installed: &[InstalledPlugin]) -> PluginHealth {
        let kept = installed.iter().find(|plugin| plugin.measurement == state.measurement);
        let active = self.runtime.active();
        let active = active.iter().find(|plugin| plugin.name() == state.name);
        let services = active.map(|plugin| plugin.services().map(str::to_owned).collect());
        PluginHealth {
            name: state.name,
            version: state.version,
            measurement: state.measurement.to_vec(),
            services: services.unwrap_or_default(),
            problem: state.fault.unwrap_or_default(),
            signers: kept.map(|plugin| plugin.signers.clone()).unwrap_or_default(),
        }
    }
}

fn problem(refusal: Refusal) -> Problem {
    Problem { reason: refusal.reason.code().to_owned(), detail: refusal.detail }
}

fn storage(status: StorageStatus) -> Storage {
    Storage {
        state: status.state.name().to_owned(),
        free_bytes: status.free_bytes,
        mark_bytes: status.mark_bytes,
        detail: status.detail,
    }
}

fn head(head: LedgerPosition) -> LedgerHead {
    LedgerHead { node: head.node, sequence: head.sequence, hash: head.hash.to_vec() }
}
