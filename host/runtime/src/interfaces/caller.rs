//! `caller`: on whose behalf the call is made.

use crate::bindings::mintmark::host::caller::{Host, Principal};
use crate::state::State;

impl Host for State {
    fn current(&mut self) -> wasmtime::Result<Principal> {
        let (call, _) = self.enter(0)?;
        let principal = call.principal();
        Ok(Principal {
            organization: principal.organization.clone(),
            cluster: principal.cluster.clone(),
            role: principal.role.name().to_owned(),
            name: principal.name.clone(),
        })
    }

    fn request_id(&mut self) -> wasmtime::Result<String> {
        let (call, _) = self.enter(0)?;
        Ok(call.request_id())
    }

    fn time_left_ms(&mut self) -> wasmtime::Result<u64> {
        self.enter(0)?;
        Ok(self.ms_left())
    }
}
