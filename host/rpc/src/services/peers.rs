//! What this cluster and others know of each other.

use mintmark_custody::PeerIdentity;
use tonic::{Request, Response, async_trait};

use super::Answer;
use crate::{
    caller::Caller,
    host::Host,
    proto::admin::{
        ExportIdentityRequest, ExportIdentityResponse, ImportIdentityRequest,
        ImportIdentityResponse, ListPeersRequest, ListPeersResponse, Peer, PeerPlugin,
        peers_server::Peers,
    },
    refusal,
};

const EXPORT: &str = "/mintmark.admin.v1.Peers/ExportIdentity";
const IMPORT: &str = "/mintmark.admin.v1.Peers/ImportIdentity";
const LIST: &str = "/mintmark.admin.v1.Peers/ListPeers";

#[async_trait]
impl Peers for Host {
    async fn export_identity(
        &self,
        request: Request<ExportIdentityRequest>,
    ) -> Answer<ExportIdentityResponse> {
        let session = Caller::session(&request, EXPORT)?;
        let file_id = self.custody.export_identity(session).await.map_err(refusal::status)?;
        Ok(Response::new(ExportIdentityResponse { file_id }))
    }

    async fn import_identity(
        &self,
        request: Request<ImportIdentityRequest>,
    ) -> Answer<ImportIdentityResponse> {
        let session = Caller::session(&request, IMPORT)?;
        let file = request.into_inner().file_id;
        let imported = self.custody.import_identity(session, &file).await;
        let imported = imported.map_err(refusal::status)?;
        let plugin = |(name, measurement): (String, [u8; 32])| PeerPlugin {
            name,
            measurement: measurement.to_vec(),
        };
        Ok(Response::new(ImportIdentityResponse {
            cluster: imported.cluster,
            fingerprint: imported.fingerprint,
            hardware_model: imported.hardware_model,
            plugins: imported.plugins.into_iter().map(plugin).collect(),
            changed: imported.changed,
        }))
    }

    async fn list_peers(&self, request: Request<ListPeersRequest>) -> Answer<ListPeersResponse> {
        let session = Caller::session(&request, LIST)?;
        let peers = self.custody.peers(session).await.map_err(refusal::status)?;
        let peers = peers.into_iter().map(peer).collect();
        Ok(Response::new(ListPeersResponse { peers }))
    }
}

fn peer(peer: PeerIdentity) -> Peer {
    Peer {
        cluster: peer.cluster,
        plugin: peer.plugin,
        measurement: peer.measurement.to_vec(),
        hardware_model: peer.hardware_model,
    }
}
