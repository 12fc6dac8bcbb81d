//! What this cluster and others know of each other.

use mintmark_custody::{Digest, HostKey, status::PeerStatus};
use mintmark_model::Refusal;
use tonic::{Request, Response, async_trait};

use super::Answer;
use crate::{
    caller::Caller,
    host::Host,
    proto::admin::{
        self as proto, ExportIdentityRequest, ExportIdentityResponse, ImportIdentityRequest,
        ImportIdentityResponse, ListPeersRequest, ListPeersResponse, Peer, PeerPlugin,
        RotateKeysRequest, RotateKeysResponse, peers_server::Peers,
    },
    refusal,
};

const EXPORT: &str = "/mintmark.admin.v1.Peers/ExportIdentity";
const IMPORT: &str = "/mintmark.admin.v1.Peers/ImportIdentity";
const ROTATE: &str = "/mintmark.admin.v1.Peers/RotateKeys";

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

    async fn rotate_keys(&self, request: Request<RotateKeysRequest>) -> Answer<RotateKeysResponse> {
        let session = Caller::session(&request, ROTATE)?;
        let keys = request.into_inner().keys;
        let keys: Result<Vec<Digest>, _> = keys.into_iter().map(Digest::try_from).collect();
        let malformed = |_| refusal::status(Refusal::invalid("A digest has 32 bytes."));
        let rotated = self.custody.rotate_keys(session, &keys.map_err(malformed)?).await;
        let keys = rotated.map_err(refusal::status)?.into_iter().map(host_key).collect();
        Ok(Response::new(RotateKeysResponse { keys }))
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

pub(super) fn host_key(key: HostKey) -> proto::HostKey {
    let (retired_at_ms, opens_until_ms) = key.retired.unzip();
    proto::HostKey {
        name: key.name,
        key: key.key.to_vec(),
        not_after_ms: key.not_after_ms,
        retired_at_ms,
        opens_until_ms,
    }
}

fn plugin((name, measurement): (String, Digest)) -> PeerPlugin {
    PeerPlugin { name, measurement: measurement.to_vec() }
}
