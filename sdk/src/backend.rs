//! Where the SDK's wrappers ask: in a component the host, natively what a test installed.
//!
//! One trait per interface of the contract ([`Keys`], [`Records`], …) and one per resource
//! ([`KeyHandle`], …). A function of an interface that a backend leaves out refuses, so a small
//! backend for a test is a few lines; a resource has all its functions. Plugins never see any of
//! it; whoever writes a test host does:
//!
//! ```
//! use std::{cell::RefCell, collections::BTreeMap, rc::Rc};
//!
//! use mintmark_sdk::{Error, backend::{self, Records}, records::{self, Entry}};
//!
//! #[derive(Default)]
//! struct Map(RefCell<BTreeMap<Vec<u8>, Vec<u8>>>);
//!
//! impl Records for Map {
//!     fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
//!         Ok(keys.iter().map(|key| self.0.borrow().get(key).cloned()).collect())
//!     }
//!     fn put(&self, entries: &[Entry]) -> Result<(), Error> {
//!         let entries = entries.iter().map(|entry| (entry.key.clone(), entry.value.clone()));
//!         self.0.borrow_mut().extend(entries);
//!         Ok(())
//!     }
//! }
//! # use mintmark_sdk::backend::*;
//! impl Caller for Map {}
//! impl Clock for Map {}
//! // … and so on for every interface that the plugin under test does not use.
//! # impl Allotments for Map {}
//! # impl Certificates for Map {}
//! # impl KeySets for Map {}
//! # impl Keys for Map {}
//! # impl Ledger for Map {}
//! # impl Log for Map {}
//! # impl Messages for Map {}
//! # impl Peers for Map {}
//! # impl Transfers for Map {}
//!
//! # #[cfg(not(target_family = "wasm"))] {
//! let _installed = backend::install(Rc::new(Map::default()));
//! records::put("lot", "7")?;
//! assert_eq!(records::get("lot")?.as_deref(), Some(b"7".as_slice()));
//! # }
//! # Ok::<_, Error>(())
//! ```
//!
//! In a component the wrappers call the imports without a detour through a table of functions: a
//! component imports what it calls and nothing else, and that is what the host compares with the
//! plugin's grant.

mod handles;
mod interfaces;
#[cfg(not(target_family = "wasm"))]
mod native;

pub use handles::{
    AllotmentHandle, CsrHandle, KeyHandle, KeySetHandle, OpenedHandle, UnitHandle, WriterHandle,
};
pub use interfaces::{
    Allotments, Caller, Certificates, Clock, KeySets, Keys, Ledger, Log, Messages, Peers, Records,
    Transfers,
};

#[cfg(target_family = "wasm")]
pub(crate) use crate::wasm::{
    allotments, caller, certificates, clock, held, key_sets, keys, ledger, messages, peers,
    records, transfers, write_log,
};
#[cfg(not(target_family = "wasm"))]
pub use native::{Backend, Installed, install};
#[cfg(not(target_family = "wasm"))]
pub(crate) use native::{
    allotments, caller, certificates, clock, held, key_sets, keys, ledger, messages, peers,
    records, transfers, write_log,
};

/// What every wrapper of a resource has beside its methods: the way to what it holds; natively,
/// also the way from and to a backend's handle.
macro_rules! handle {
    ($wrapper:ident, $handle:ident $(, $field:ident: $value:expr)*) => {
        impl $wrapper {
            pub(crate) fn new(handle: $crate::backend::held::$wrapper) -> Self {
                Self { handle, $($field: $value),* }
            }

            /// A component holds the import itself, so that only the functions that it calls are
            /// imported.
            #[cfg(target_family = "wasm")]
            fn handle(&self) -> &impl $crate::backend::$handle {
                &self.handle
            }

            #[cfg(not(target_family = "wasm"))]
            fn handle(&self) -> &(impl $crate::backend::$handle + ?Sized) {
                &*self.handle
            }

            /// Wraps a backend's handle.
            #[cfg(not(target_family = "wasm"))]
            pub fn from_handle(handle: impl $crate::backend::$handle + 'static) -> Self {
                Self::new(Box::new(handle))
            }

            /// The backend's handle, where it is a `T`: for a backend that gets back what it gave.
            #[cfg(not(target_family = "wasm"))]
            pub fn backing<T: 'static>(&self) -> Option<&T> {
                let handle: &dyn std::any::Any = &*self.handle;
                handle.downcast_ref()
            }
        }

        impl std::fmt::Debug for $wrapper {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_struct(stringify!($wrapper)).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use handle;
