//! What plugin authors depend on: the host's functions as Rust types, and what makes a component of
//! a crate.
//!
//! A plugin is a gRPC service that runs next to the keys. It works with handles ([`keys::Key`],
//! [`allotments::Unit`]), never with key bytes. Each call is one transaction: what it wrote is
//! there when it answers `Ok`, and gone when it does not. The host counts, limits and logs; a
//! plugin cannot make it do more than its grant allows.
//!
//! # A whole plugin
//!
//! It has five files. `proto/acme/lots/v1/lots.proto` is what clients see:
//!
//! ```proto
//! syntax = "proto3";
//! package acme.lots.v1;
//!
//! service Lots {
//!   rpc Open(OpenRequest) returns (OpenResponse);
//!   rpc Count(stream CountRequest) returns (stream CountResponse);
//! }
//! message OpenRequest { string lot = 1; }
//! message OpenResponse { uint64 opened_at_ms = 1; }
//! message CountRequest { string lot = 1; uint64 parts = 2; }
//! message CountResponse { uint64 parts = 1; }
//! ```
//!
//! `plugin.toml` says who may call what, and what the plugin asks for; the host grants at most
//! this:
//!
//! ```toml
//! name = "lots"
//! version = "0.1.0"
//! security_version = 1
//! contract = "0.1.0"
//!
//! [services."acme.lots.v1.Lots"]
//! Open = ["operator", "admin"]
//! Count = ["station"]
//! ```
//!
//! `Cargo.toml` has `mintmark-sdk`, `prost = "0.14"` and `serde` as dependencies and
//! `mintmark-sdk-build` as a build dependency; `build.rs` makes Rust of the proto file:
//!
//! ```text
//! fn main() -> Result<(), mintmark_sdk_build::Error> {
//!     mintmark_sdk_build::compile(&["proto/acme/lots/v1/lots.proto"], &["proto"])
//! }
//! ```
//!
//! And `src/lib.rs` is the plugin:
//!
//! ```
//! use mintmark_sdk::{Error, Plugin, Status, clock, log, records::Table};
//! use proto::{
//!     CountRequest, CountResponse, LotsService, OpenRequest, OpenResponse,
//!     lots::{SERVICE_NAME, dispatch},
//! };
//! use serde::{Deserialize, Serialize};
//!
//! mod proto {
//!     # #[cfg(any())]
//!     mintmark_sdk::include_proto!("acme.lots.v1");
//!     # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/build/tests/generated/acme.lots.v1.rs"));
//! }
//!
//! /// What is kept of a lot.
//! #[derive(Serialize, Deserialize)]
//! struct Lot {
//!     opened_at_ms: u64,
//!     parts: u64,
//! }
//!
//! const LOTS: Table<Lot> = Table::new("lots");
//!
//! struct Lots;
//!
//! impl LotsService for Lots {
//!     fn open(&self, request: OpenRequest) -> Result<OpenResponse, Status> {
//!         if request.lot.is_empty() {
//!             return Err(Status::invalid("INVALID_ARGUMENT", "a lot has a name"));
//!         }
//!         // A retry gets the answer that the first request got.
//!         if let Some(lot) = LOTS.get(&request.lot)? {
//!             return Ok(OpenResponse { opened_at_ms: lot.opened_at_ms });
//!         }
//!         let opened_at_ms = clock::now();
//!         LOTS.put(&request.lot, &Lot { opened_at_ms, parts: 0 })?;
//!         log::info!("a lot is open");
//!         Ok(OpenResponse { opened_at_ms })
//!     }
//!
//!     // Of a stream too, each request is a call of its own, with its own transaction.
//!     fn count(&self, request: CountRequest) -> Result<CountResponse, Status> {
//!         let mut lot = LOTS.get(&request.lot)?.ok_or(Error::NotFound)?;
//!         lot.parts = lot.parts.saturating_add(request.parts);
//!         LOTS.put(&request.lot, &lot)?;
//!         Ok(CountResponse { parts: lot.parts })
//!     }
//! }
//!
//! struct LotsPlugin;
//!
//! impl Plugin for LotsPlugin {
//!     const NAME: &'static str = "lots";
//!     const VERSION: &'static str = "0.1.0";
//!     const SERVICES: &'static [&'static str] = &[SERVICE_NAME];
//!
//!     fn dispatch(service: &str, method: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
//!         match service {
//!             SERVICE_NAME => dispatch(&Lots, method, message),
//!             _ => Err(Status::unimplemented()),
//!         }
//!     }
//! }
//!
//! # #[cfg(any())]
//! mintmark_sdk::register!(LotsPlugin);
//!
//! // In a test: an empty request has no name for the lot.
//! let refused = LotsPlugin::dispatch(SERVICE_NAME, "Open", &[]).unwrap_err();
//! assert_eq!(refused.message, "a lot has a name");
//! ```
//!
//! # Rules of the house
//!
//! - **Nothing stays in memory.** An instance may be replaced between any two calls. What is to
//!   last goes into [`records`].
//! - **`?` is enough.** An [`Error`] of the host becomes a [`Status`] with the host's reason, and
//!   the caller reads what to do next. Where absence is an answer, [`Absent::or_absent`] says so.
//! - **A retry is a question, not an order.** A method that is asked twice gives the same answer
//!   and does nothing twice; the host does so for units, a plugin for its own records.
//! - **No secrets in texts.** A plugin has none, and a message never repeats what the caller sent.
//!
//! # Testing
//!
//! Natively the wrappers ask what a test installed: `mintmark-sdk-testing` has a host in memory
//! with the real policy and the real cryptography; [`backend`] is for whoever writes another. The
//! crate type `cdylib` is not in a plugin's `Cargo.toml`: it is given on the command line when the
//! component is built, since natively it would not link.

pub mod allotments;
pub mod backend;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
pub mod caller;
pub mod certificates;
pub mod clock;
pub mod error;
pub mod key_sets;
pub mod keys;
pub mod ledger;
pub mod log;
pub mod messages;
pub mod peers;
mod plugin;
pub mod records;
#[doc(hidden)]
pub mod service;
mod status;
pub mod transfers;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod wasm;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use plugin::__bytes;

pub use error::{Absent, Error, Limit, Reason};
pub use plugin::{DESCRIPTORS_SECTION, MANIFEST_SECTION, Package, Plugin};
pub use status::{Code, Status};

pub use mintmark_exchange as exchange;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Timestamp = u64;

/// A SHA-256 digest.
pub type Digest = [u8; 32];
