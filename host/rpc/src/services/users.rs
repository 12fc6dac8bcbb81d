//! Certificates for people and programs.

use tonic::{Request, Response, async_trait};

use super::Answer;
use crate::{
    caller::Caller,
    host::Host,
    proto::admin::{
        IssueUserRequest, IssueUserResponse, RevokeUserRequest, RevokeUserResponse,
        users_server::Users,
    },
    refusal,
};

const ISSUE: &str = "/mintmark.admin.v1.Users/IssueUser";
const REVOKE: &str = "/mintmark.admin.v1.Users/RevokeUser";

#[async_trait]
impl Users for Host {
    async fn issue_user(&self, request: Request<IssueUserRequest>) -> Answer<IssueUserResponse> {
        let session = Caller::session(&request, ISSUE)?;
        let asked = request.into_inner();
        let sealing = asked.sealing_csr.as_deref();
        let issued = self
            .custody
            .issue_user(session, &asked.role, &asked.name, &asked.csr, sealing, &asked.entitlements)
            .await
            .map_err(refusal::status)?;
        Ok(Response::new(IssueUserResponse {
            chain: issued.chain,
            sealing_certificate: issued.sealing_certificate,
        }))
    }

    async fn revoke_user(&self, request: Request<RevokeUserRequest>) -> Answer<RevokeUserResponse> {
        let session = Caller::session(&request, REVOKE)?;
        let RevokeUserRequest { role, name } = request.into_inner();
        let revoked = self.custody.revoke_user(session, &role, &name).await;
        revoked.map_err(refusal::status)?;
        Ok(Response::new(RevokeUserResponse {}))
    }
}
