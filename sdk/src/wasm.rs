//! The component's side: the wrappers' questions, put to the host through its imports.
//!
//! Each interface is a type without content, so that a call of a wrapper is a call of one import
//! and an import that nobody calls is not in the component.

mod allotments;
mod certificates;
mod errors;
mod export;
mod keys;
mod ledger;
mod messages;
mod plain;
mod transfers;

pub use export::Component;

use crate::{Digest, backend, log::Level};

/// The host.
#[derive(Clone, Copy)]
pub(crate) struct Host;

/// One accessor per interface, as natively.
macro_rules! accessors {
    ($($name:ident: $interface:ident),+ $(,)?) => {
        $(pub(crate) fn $name() -> impl backend::$interface {
            Host
        })+
    };
}

accessors! {
    allotments: Allotments,
    caller: Caller,
    certificates: Certificates,
    clock: Clock,
    key_sets: KeySets,
    keys: Keys,
    ledger: Ledger,
    messages: Messages,
    peers: Peers,
    records: Records,
    transfers: Transfers,
}

pub(crate) fn write_log(level: Level, line: &str) {
    backend::Log::write(&Host, level, line);
}

/// What the wrappers hold: the imports' handles.
pub(crate) mod held {
    pub(crate) use super::{
        allotments::{Allotment, Unit},
        certificates::Csr,
        keys::{Key, KeySet},
        messages::{Opened, Writer},
    };
}

/// # Panics
/// When the host breaks the contract; then the call ends.
fn digest(bytes: Vec<u8>) -> Digest {
    bytes.try_into().expect("the contract says that a digest has 32 bytes")
}
