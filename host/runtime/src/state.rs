//! What belongs to one instance: its call, its handles, its budgets.

use tokio::time::{Duration, Instant};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use mintmark_custody::Call;
use mintmark_model::{Reason, Refusal};

use crate::config::Limits;
use crate::failure::{Failure, Stop};
use crate::log::CallLog;
use crate::wasi::{self, SiteClock};

/// The most tables, memories and core instances of one component instance. What the Rust toolchain
/// makes has one memory and a handful of the others.
pub(crate) const MEMORIES_MAX: usize = 2;
/// See [`MEMORIES_MAX`].
pub(crate) const TABLES_MAX: usize = 8;
/// See [`MEMORIES_MAX`].
pub(crate) const INSTANCES_MAX: usize = 32;
/// The most elements of all tables together.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// The data of a store.
pub(crate) struct State {
    call: Option<Call>,
    table: ResourceTable,
    wasi: WasiCtx,
    clock: SiteClock,
    log: CallLog,
    limits: Limits,
    budget: Budget,
    deadline: Instant,
    /// Set when the guest asks custody, cleared at a tick of the epoch, which only its own code
    /// meets. A call is suspended in a host function or at a tick; so while it is, this says where.
    in_host: bool,
    /// Memory and tables, summed by wasmtime's callbacks.
    pub(crate) limiter: Limiter,
}

impl State {
    /// A state without a call: imports refuse to answer.
    pub(crate) fn new(limits: Limits) -> Self {
        let (clock, log) = (SiteClock::default(), CallLog::default());
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Self {
            call: None,
            table,
            wasi: wasi::context(&clock, &log),
            clock,
            log,
            budget: Budget::of(&limits),
            deadline: Instant::now(),
            in_host: false,
            limiter: Limiter { memory_bytes_left: limits.memory_bytes, ..Limiter::default() },
            limits,
        }
    }

    /// A call begins, with fresh budgets.
    pub(crate) fn begin(&mut self, call: Option<Call>) {
        if let Some(call) = &call {
            self.clock.set(call.now_ms());
        }
        self.call = call;
        self.budget = Budget::of(&self.limits);
        self.deadline = Instant::now() + self.time();
        self.in_host = false;
    }

    /// The call, taken out to be ended; and its log.
    pub(crate) fn end(&mut self) -> (Option<Call>, CallLog) {
        (self.call.take(), self.log.clone())
    }

    /// Time for the whole call.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.limits.deadline_ms)
    }

    /// Time that is left of it, in milliseconds.
    pub(crate) fn ms_left(&self) -> u64 {
        let left = self.deadline.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    /// What the guest says.
    pub(crate) const fn log(&self) -> &CallLog {
        &self.log
    }

    /// Notes that the guest's own code runs.
    pub(crate) const fn set_in_guest(&mut self) {
        self.in_host = false;
    }

    /// Whether a suspended call waits for custody, and not for its turn to compute.
    pub(crate) const fn is_in_host(&self) -> bool {
        self.in_host
    }

    /// Whether the guest has closed every handle, so that none can come to name another call's
    /// object.
    pub(crate) fn has_no_handles(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether the call must run again because a concurrent one was faster.
    pub(crate) fn must_rerun(&self) -> bool {
        self.call.as_ref().is_some_and(Call::must_rerun)
    }

    /// Counts a host call that hands in so many bytes, and gives what it works on.
    pub(crate) fn enter(
        &mut self,
        bytes: usize,
    ) -> Result<(&mut Call, &mut ResourceTable), Failure> {
        self.budget.count_call()?;
        self.budget.count_bytes(bytes)?;
        match &mut self.call {
            Some(call) => {
                self.in_host = true;
                Ok((call, &mut self.table))
            }
            None => Err(absent().into()),
        }
    }

    /// Counts a host call that works on handles alone.
    pub(crate) fn enter_table(&mut self) -> Result<&mut ResourceTable, Failure> {
        self.budget.count_call()?;
        Ok(&mut self.table)
    }

    /// Counts bytes that the host keeps behind a handle, and gives the table for it. A body may be
    /// as large as the budget of bytes, which it is taken from when it is read; so what is kept has
    /// as much of its own.
    pub(crate) fn keep(&mut self, bytes: u64) -> Result<&mut ResourceTable, Failure> {
        self.budget.count_kept(bytes)?;
        Ok(&mut self.table)
    }

    /// Counts bytes of an answer.
    pub(crate) fn answer(&mut self, bytes: usize) -> Result<(), Failure> {
        self.budget.count_bytes(bytes)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Without a call there is nothing to ask: a plugin describes itself.
fn absent() -> Refusal {
    Refusal::new(Reason::Unavailable, "The host answers only during a call.")
}

/// What is left of the calls and bytes of one call.
///
/// A guest that exceeds it is told once; a guest that goes on asking is stopped.
#[derive(Debug)]
struct Budget {
    calls: u32,
    bytes: u64,
    /// What may be kept behind handles. Closing them gives nothing back.
    kept: u64,
    told: bool,
}

impl Budget {
    const fn of(limits: &Limits) -> Self {
        let bytes = limits.host_bytes;
        Self { calls: limits.host_calls, bytes, kept: bytes, told: false }
    }

    fn count_call(&mut self) -> Result<(), Failure> {
        match self.calls.checked_sub(1) {
            Some(left) if !self.told => self.calls = left,
            _ => return Err(self.exceeded("calls")),
        }
        Ok(())
    }

    fn count_bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        match self.bytes.checked_sub(bytes as u64) {
            Some(left) => self.bytes = left,
            None => return Err(self.exceeded("bytes")),
        }
        Ok(())
    }

    fn count_kept(&mut self, bytes: u64) -> Result<(), Failure> {
        match self.kept.checked_sub(bytes) {
            Some(left) => self.kept = left,
            None => return Err(self.exceeded("bytes")),
        }
        Ok(())
    }

    fn exceeded(&mut self, what: &str) -> Failure {
        if std::mem::replace(&mut self.told, true) {
            return Stop::Budget.into();
        }
        Failure::budget(what)
    }
}

/// Sums what wasmtime asks about one memory or table at a time.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    memory_bytes_left: u64,
    table_elements: usize,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current) as u64;
        let Some(left) = self.memory_bytes_left.checked_sub(grown) else { return Ok(false) };
        self.memory_bytes_left = left;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = self.table_elements.saturating_add(desired.saturating_sub(current));
        if sum > TABLE_ELEMENTS_MAX {
            return Ok(false);
        }
        self.table_elements = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w5_memories_are_summed() {
        let mut limiter = Limiter { memory_bytes_left: 100, ..Limiter::default() };
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn w6_tables_are_summed() {
        let mut limiter = Limiter::default();
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn w13_what_the_host_keeps_for_a_guest_is_bounded() {
        let mut state = State::new(Limits { host_bytes: 10, ..Limits::default() });
        assert!(state.keep(6).is_ok() && state.keep(4).is_ok());
        assert!(state.answer(10).is_ok(), "what is kept can be read");
        let Err(Failure::Refused(refusal)) = state.keep(1) else { panic!("refused") };
        assert_eq!(refusal.reason, Reason::BudgetExceeded);
        assert!(matches!(state.keep(1), Err(Failure::Trap(_))));
    }

    #[test]
    fn a_guest_is_told_once_that_its_budget_is_spent() {
        let limits = Limits { host_calls: 1, ..Limits::default() };
        let mut budget = Budget::of(&limits);
        assert!(budget.count_call().is_ok());
        assert!(matches!(budget.count_call(), Err(Failure::Refused(_))));
        assert!(matches!(budget.count_call(), Err(Failure::Trap(_))));
    }
}
