//! What this cluster and others know of each other.

use mintmark_custody::{Digest, status::PeerStatus};
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

#[async_trait]
impl Peers for Host {
    async fn export_identity(
        &self,
        request: Request<ExportIdentityRequest>,
    ) -> Answer<ExportIdentityResponse> {
        let session = Caller::session(&request, EXPORT)?;
        let exported = self.custody.export_identity(session).await;
        let (file_id, fingerprint) = exported.map_err(refusal::status)?;
        Ok(Response::new(ExportIdentityResponse { file_id, fingerprint: fingerprint.to_vec() }))
    }

    async fn import_identity(
        &self,
        request: Request<ImportIdentityRequest>,
    ) -> Answer<ImportIdentityResponse> {
        let session = Caller::session(&request, IMPORT)?;
        let file = request.into_inner().file_id;
        let imported = self.custody.import_identity(session, &file).await;
        let imported = imported.map_err(refusal::status)?;
        Ok(Response::new(ImportIdentityResponse {
            cluster: imported.cluster,
            fingerprint: imported.fingerprint.to_vec(),
            hardware_model: imported.hardware_model,
            plugins: imported.plugins.into_iter().map(plugin).collect(),
            changed: imported.changed,
        }))
    }

    async fn list_peers(&self, _: Request<ListPeersRequest>) -> Answer<ListPeersResponse> {
        let peers = self.custody.peers().await.map_err(refusal::status)?;
        let peers = peers.into_iter().map(peer).collect();
        Ok(Response::new(ListPeersResponse { peers }))
    }
}

pub(super) fn peer(peer: PeerStatus) -> Peer {
    Peer {
        cluster: peer.cluster,
        hardware_model: peer.hardware_model,
        fingerprint: peer.fingerprint.map(|digest| digest.to_vec()).unwrap_or_default(),
        plugins: peer.trusted.into_iter().map(plugin).collect(),
        sequence: peer.sequence,
    }
}

fn plugin((name, measurement): (String, Digest)) -> PeerPlugin {
    PeerPlugin { name, measurement: measurement.to_vec() }
}
