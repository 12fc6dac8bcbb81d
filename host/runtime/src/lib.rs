//! Loads, confines and calls WebAssembly plugins.
//!
//! wasmtime lives here alone. A plugin is one file, a component; [`component::inspect`] reads it without running any of it.

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
pub use config::{COMPONENT_BYTES_MAX, Limits, LimitsAsked, MESSAGE_BYTES_MAX, RuntimeConfig};
pub use error::Error;
pub use manifest::Manifest;
pub use refused::{Code, PluginStatus, Refused};
pub use routes::{ActivePlugin, PluginState, Route};
pub use runtime::{PluginStream, Runtime};
