//! `clock`: site time.

use crate::bindings::mintmark::host::clock::{ClockState, Host};
use crate::state::State;

impl Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let (call, _) = self.enter(0)?;
        Ok(call.now_ms())
    }

    fn state(&mut self) -> wasmtime::Result<ClockState> {
        let (call, _) = self.enter(0)?;
        Ok(if call.clock_suspect() { ClockState::Suspect } else { ClockState::Steady })
    }
}
