//! What needs several people, and their signatures.

use mintmark_custody::PendingApproval;
use mintmark_model::Refusal;
use tonic::{Request, Response, async_trait};

use super::{Answer, digest};
use crate::{
    caller::Caller,
    host::Host,
    proto::admin::{
        self, Approver, ChangeApproversRequest, ChangeApproversResponse, DecideRequest,
        DecideResponse, ListApprovalsRequest, ListApprovalsResponse, ShowApproversRequest,
        ShowApproversResponse, approvals_server::Approvals,
    },
    refusal,
};

const DECIDE: &str = "/mintmark.admin.v1.Approvals/Decide";
const CHANGE: &str = "/mintmark.admin.v1.Approvals/ChangeApprovers";

#[async_trait]
impl Approvals for Host {
    async fn list_approvals(
        &self,
        _: Request<ListApprovalsRequest>,
    ) -> Answer<ListApprovalsResponse> {
        let approvals = self.custody.approvals().await.map_err(refusal::status)?;
        let approvals = approvals.into_iter().map(pending).collect();
        Ok(Response::new(ListApprovalsResponse { approvals }))
    }

    async fn decide(&self, request: Request<DecideRequest>) -> Answer<DecideResponse> {
        let session = Caller::session(&request, DECIDE)?;
        let statement = request.into_inner().statement;
        let decided = self.custody.decide_approval(session, &statement).await;
        let decided = decided.map_err(refusal::status)?;
        Ok(Response::new(DecideResponse {
            approver: decided.approver,
            given: decided.given,
            needed: decided.needed,
        }))
    }

    async fn show_approvers(
        &self,
        _: Request<ShowApproversRequest>,
    ) -> Answer<ShowApproversResponse> {
        let now = self.custody.approvers().await.map_err(refusal::status)?;
        let member = |(name, key_hash): (String, [u8; 32])| {
            let key_hash = key_hash.to_vec();
            Approver { name, key_hash }
        };
        Ok(Response::new(ShowApproversResponse {
            approvers: now.members.into_iter().map(member).collect(),
            quorum: now.quorum,
            floor: now.floor,
            version: now.version,
        }))
    }

    async fn change_approvers(
        &self,
        request: Request<ChangeApproversRequest>,
    ) -> Answer<ChangeApproversResponse> {
        let session = Caller::session(&request, CHANGE)?;
        let ChangeApproversRequest { approvers, quorum } = request.into_inner();
        let member = |it: Approver| Ok((it.name, digest(&it.key_hash, "key_hash")?));
        let members: Result<Vec<_>, Refusal> = approvers.into_iter().map(member).collect();
        let members = members.map_err(refusal::status)?;
        let changed = self.custody.change_approvers(session, members, quorum).await;
        let version = changed.map_err(refusal::status)?.version;
        Ok(Response::new(ChangeApproversResponse { version }))
    }
}

fn pending(pending: PendingApproval) -> admin::PendingApproval {
    admin::PendingApproval {
        request: pending.request,
        digest: pending.digest.to_vec(),
        approvers: pending.approvers,
        needed: pending.needed,
    }
}
