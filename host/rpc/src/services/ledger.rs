//! What the host's ledger proves to others.

use tonic::{Request, Response, async_trait};

use super::Answer;
use crate::{
    host::Host,
    proto::admin::{ProveDeviceRequest, ProveDeviceResponse, ledger_server::Ledger},
    refusal,
};

#[async_trait]
impl Ledger for Host {
    async fn prove_device(
        &self,
        request: Request<ProveDeviceRequest>,
    ) -> Answer<ProveDeviceResponse> {
        let ProveDeviceRequest { entitlement, subject } = request.into_inner();
        let proof = self.custody.prove(&entitlement, &subject).await.map_err(refusal::status)?;
        Ok(Response::new(ProveDeviceResponse { proof }))
    }
}
