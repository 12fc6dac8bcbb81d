//! The one wasmtime engine, with what wasmtime leaves too generous set tighter, and the thread that
//! moves its epoch.
//!
//! Guests yield at each tick, so that a busy guest never keeps a worker thread to itself; the
//! deadline is a time-out around the call.

use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, UpdateDeadline,
    WasmBacktraceDetails,
};

use crate::config::{Limits, MESSAGE_BYTES_MAX, RuntimeConfig};
use crate::interfaces;
use crate::state::{INSTANCES_MAX, MEMORIES_MAX, State, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// How often guests yield.
const TICK: Duration = Duration::from_millis(10);

/// The stack of a guest, and that of the fiber that it runs on together with host functions.
const WASM_STACK_BYTES: usize = 512 << 10;
/// See [`WASM_STACK_BYTES`].
const FIBER_STACK_BYTES: usize = 2 << 20;

/// What a guest may hand over in one call of a host function, or as its answer: a message and what
/// lies around it.
const HOSTCALL_FUEL: usize = MESSAGE_BYTES_MAX + (64 << 10);

/// The vtable-like data of one instance, in bytes.
const INSTANCE_BYTES_MAX: usize = 4 << 20;

/// An engine and what its guests are linked to.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
}

impl Machine {
    /// Starts the engine and its clock.
    ///
    /// # Errors
    ///
    /// When the platform cannot give what the configuration asks for, above all address space.
    pub(crate) fn start(config: &RuntimeConfig) -> wasmtime::Result<Self> {
        let engine = Engine::new(&engine_config(config))?;
        let mut linker = Linker::new(&engine);
        interfaces::link(&mut linker)?;
        tick(&engine)?;
        Ok(Self { engine, linker })
    }

    /// A store for one instance.
    pub(crate) fn store(&self, limits: Limits) -> Store<State> {
        let mut store = Store::new(&self.engine, State::new(limits));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(limits.handles as usize);
        store.epoch_deadline_callback(|mut store| {
            // Only the guest's own code comes here.
            store.data_mut().set_in_guest();
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_epoch_deadline(1);
        store
    }
}

fn engine_config(config: &RuntimeConfig) -> Config {
    let mut engine = Config::new();
    engine
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)))
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    confine(&mut engine);
    engine
}

/// What a Rust plugin does not need is off: each proposal is code of a compiler that nobody here
/// relies on.
fn confine(engine: &mut Config) {
    engine
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .gc_support(false)
        .shared_memory(false);
}

fn pool(config: &RuntimeConfig) -> PoolingAllocationConfig {
    let instances = config.instances_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instances_per_component(INSTANCES_MAX as u32)
        .max_memories_per_component(MEMORIES_MAX as u32)
        .max_tables_per_component(TABLES_MAX as u32)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_memories_per_module(1)
        .max_tables_per_module(TABLES_MAX as u32)
        .table_elements(TABLE_ELEMENTS_MAX)
        .total_core_instances(instances.saturating_mul(INSTANCES_MAX as u32))
        .total_memories(instances.saturating_mul(MEMORIES_MAX as u32))
        .total_tables(instances.saturating_mul(TABLES_MAX as u32))
        .total_stacks(instances)
        .max_memory_size(usize::try_from(config.memory_bytes_max()).unwrap_or(usize::MAX));
    pool
}

/// Moves the epoch until the engine is gone.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let weak = engine.weak();
    let run = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("guest-epoch".into()).spawn(run)?;
    Ok(())
}
