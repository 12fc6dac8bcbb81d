//! `peers`: plugins of other clusters.

use mintmark_custody::PeerIdentity;

use crate::bindings::mintmark::host::peers::{Host, Identity};
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

impl Host for State {
    async fn get(&mut self, cluster: String, plugin: String) -> Result<Identity, Failure> {
        bounds::text("cluster", &cluster)?;
        bounds::text("plugin", &plugin)?;
        let (call, _) = self.enter(0)?;
        Ok(identity(&call.peer(&cluster, &plugin).await?))
    }

    async fn clusters(&mut self) -> Result<Vec<String>, Failure> {
        let (call, _) = self.enter(0)?;
        let clusters = call.peer_clusters().await?;
        self.answer(clusters.iter().map(String::len).sum())?;
        Ok(clusters)
    }
}

/// A peer, as the contract says it.
pub(super) fn identity(peer: &PeerIdentity) -> Identity {
    Identity {
        cluster: peer.cluster.clone(),
        plugin: peer.plugin.clone(),
        measurement: peer.measurement.to_vec(),
        hardware_model: peer.hardware_model.clone(),
    }
}
