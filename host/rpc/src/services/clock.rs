//! Site time, and what may be said about it.

use mintmark_custody::ClockStatus;
use mintmark_model::clock::Suspicion;
use tonic::{Request, Response, async_trait};

use super::Answer;
use crate::{
    caller::Caller,
    host::Host,
    proto::admin::{
        AcknowledgeClockRequest, AcknowledgeClockResponse, ClockState, LowerClockRequest,
        LowerClockResponse, ShowClockRequest, ShowClockResponse, clock_server::Clock,
    },
    refusal,
};

const ACKNOWLEDGE: &str = "/mintmark.admin.v1.Clock/AcknowledgeClock";
const LOWER: &str = "/mintmark.admin.v1.Clock/LowerClock";

#[async_trait]
impl Clock for Host {
    async fn show_clock(&self, _: Request<ShowClockRequest>) -> Answer<ShowClockResponse> {
        let clock = Some(state(self.custody.clock()));
        Ok(Response::new(ShowClockResponse { clock }))
    }

    async fn acknowledge_clock(
        &self,
        request: Request<AcknowledgeClockRequest>,
    ) -> Answer<AcknowledgeClockResponse> {
        let session = Caller::session(&request, ACKNOWLEDGE)?;
        let clock = self.custody.acknowledge_clock(session).await.map_err(refusal::status)?;
        Ok(Response::new(AcknowledgeClockResponse { clock: Some(state(clock)) }))
    }

    async fn lower_clock(&self, request: Request<LowerClockRequest>) -> Answer<LowerClockResponse> {
        let session = Caller::session(&request, LOWER)?;
        let to_ms = request.into_inner().to_ms;
        let clock = self.custody.lower_clock(session, to_ms).await.map_err(refusal::status)?;
        Ok(Response::new(LowerClockResponse { clock: Some(state(clock)) }))
    }
}

fn state(clock: ClockStatus) -> ClockState {
    let (suspicion, off_by_ms) = match clock.suspicion {
        None => ("", 0),
        Some(Suspicion::Behind { by_ms }) => ("behind", by_ms),
        Some(Suspicion::Ahead { by_ms }) => ("ahead", by_ms),
    };
    ClockState {
        site_time_ms: clock.site_time_ms,
        wall_ms: clock.wall_ms,
        headquarters_ms: clock.headquarters_ms,
        suspicion: suspicion.to_owned(),
        off_by_ms,
        acknowledged: clock.acknowledged,
    }
}
