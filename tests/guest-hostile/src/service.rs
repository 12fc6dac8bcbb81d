//! The service: each method does its deed.

use std::sync::atomic::{AtomicU64, Ordering};

use mintmark_sdk::{Status, records, transfers};

use crate::misdeeds::{self, Then};
use crate::proto::{self, HostileService, Nothing};
use crate::tour;

/// Answers `mintmark.test.v1.Hostile`.
pub(crate) struct Hostile;

/// What no plugin should do: it keeps something in memory from call to call.
static CALLS: AtomicU64 = AtomicU64::new(0);

impl HostileService for Hostile {
    fn echo(&self, request: proto::EchoRequest) -> Result<proto::EchoResponse, Status> {
        let calls_before = CALLS.fetch_add(1, Ordering::Relaxed);
        if !request.fail.is_empty() {
            return Err(Status::invalid("INVALID_ARGUMENT", request.fail));
        }
        let records = records::scan(&[], None, 64)?.len() as u64;
        Ok(proto::EchoResponse { text: request.text, calls_before, records })
    }

    fn trap(&self, _: Nothing) -> Result<Nothing, Status> {
        misdeeds::trap()
    }

    fn panic(&self, _: Nothing) -> Result<Nothing, Status> {
        panic!("the guest panics on purpose")
    }

    fn r#loop(&self, _: Nothing) -> Result<Nothing, Status> {
        misdeeds::spin()
    }

    fn rubbish(&self, _: Nothing) -> Result<Nothing, Status> {
        Err(Status::fault("rubbish is answered before it is dispatched"))
    }

    fn grow_memory(&self, _: Nothing) -> Result<Nothing, Status> {
        misdeeds::grow_memory()
    }

    fn record_flood(&self, request: proto::FloodRequest) -> Result<Nothing, Status> {
        misdeeds::flood_records(request.count)?;
        Ok(Nothing {})
    }

    fn log_flood(&self, request: proto::FloodRequest) -> Result<Nothing, Status> {
        misdeeds::flood_log(request.count);
        Ok(Nothing {})
    }

    fn host_call_flood(
        &self,
        request: proto::FloodRequest,
    ) -> Result<proto::FloodResponse, Status> {
        Ok(proto::FloodResponse { answered: misdeeds::flood_host(request.count) })
    }

    fn import(&self, request: proto::ImportRequest) -> Result<proto::ImportResponse, Status> {
        let imported = transfers::import_grant(&request.order)?;
        Ok(proto::ImportResponse { entitlement: imported.entitlement })
    }

    fn provision(&self, request: proto::ProvisionRequest) -> Result<proto::Identity, Status> {
        misdeeds::provision(&request)
    }

    fn draw_then_trap(&self, request: proto::ProvisionRequest) -> Result<proto::Identity, Status> {
        misdeeds::draw(&request)?;
        records::put("drawn", request.subject)?;
        misdeeds::trap()
    }

    fn certify_then_fail(
        &self,
        request: proto::ProvisionRequest,
    ) -> Result<proto::Identity, Status> {
        misdeeds::provision_then(&request, Then::Fail)
    }

    fn certify_then_trap(
        &self,
        request: proto::ProvisionRequest,
    ) -> Result<proto::Identity, Status> {
        misdeeds::provision_then(&request, Then::Trap)
    }

    fn certify_then_loop(
        &self,
        request: proto::ProvisionRequest,
    ) -> Result<proto::Identity, Status> {
        misdeeds::provision_then(&request, Then::Loop)
    }

    fn overdraw(&self, request: proto::OverdrawRequest) -> Result<proto::OverdrawResponse, Status> {
        misdeeds::overdraw(&request)?;
        Ok(proto::OverdrawResponse { drawn: u64::MAX })
    }

    fn search(&self, request: proto::SearchRequest) -> Result<proto::SearchResponse, Status> {
        Ok(tour::search(&request))
    }
}
