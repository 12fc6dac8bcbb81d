//! One file per interface of the contract: each converts types, checks sizes and asks the call.
//! None decides anything.

mod allotments;
mod caller;
mod certificates;
mod clock;
mod key_sets;
mod keys;
mod ledger;
mod log;
pub(crate) mod messages;
mod peers;
mod records;
mod transfers;
mod types;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::All;
use crate::state::State;

/// Links every interface that a plugin may import. What a component may really import is checked
/// when it is read; linked is more than is allowed, so that what is missing is named there and not
/// here.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    All::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
