//! gRPC over mutual TLS: principals, services, routing to plugins.
//!
//! A connection gets its [principal](mintmark_model::Principal) once, from its certificate; every
//! call passes one place that knows caller and role; then either a service of the host answers
//! (`proto/mintmark/admin/v1`), which parses, calls custody and converts, or the message goes to
//! the plugin that declares the method. Nothing is decided here.
//!
//! [`Server`] is the host's side, [`client`] the other.

mod acceptor;
mod caller;
pub mod client;
mod codec;
mod front;
mod host;
pub mod limits;
pub mod proto;
mod reflection;
pub mod refusal;
mod requests;
mod roles;
mod routing;
mod server;
mod services;
mod text;
mod tls;

pub use server::{ServeError, Server};
