//! Loads, confines and calls WebAssembly plugins.
//!
//! wasmtime lives here alone, and nothing here decides what a plugin may do: that is custody's.
//! What is decided here is how much it may use.
//!
//! | module | what it keeps |
//! |---|---|
//! | [`component`] | reads a component without running it: shape, manifest, imports, services |
//! | `engine`, `state`, `config` | the settings and budgets of every instance |
//! | `code` | compiled code, on disk under custody's MAC |
//! | `plugin`, `routes`, `gate`, `breaker` | what is active, and who may run |
//! | `interfaces` | one file per WIT interface: convert, check sizes, ask the call |
//! | `guest`, `invocation` | one instance; one call from end to end |
//! | `log`, `refused`, `escape` | what of a plugin's words gets out, and how |
//!
//! A call is one transaction of custody's. [`Runtime::call`] begins it, runs the guest with it,
//! takes it out of the store, commits or aborts it, and only then answers.

mod bindings;
mod bounds;
mod breaker;
mod code;
pub mod component;
mod config;
mod engine;
mod error;
mod escape;
mod failure;
mod gate;
mod guest;
#[cfg(test)]
mod guests;
mod interfaces;
mod invocation;
mod log;
mod manifest;
mod plugin;
mod refused;
mod routes;
mod runtime;
mod state;
mod wasi;

pub use component::{Inspected, Method, Service, inspect};
pub use config::{
    COMPONENT_BYTES_MAX, DEADLINE_MS_MAX, Limits, LimitsAsked, MESSAGE_BYTES_MAX, RuntimeConfig,
};
pub use error::Error;
pub use manifest::Manifest;
pub use refused::{Code, PluginStatus, Refused};
pub use routes::{ActivePlugin, PluginState, Route};
pub use runtime::{PluginStream, Runtime};
