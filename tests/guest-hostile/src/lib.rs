//! A plugin that misbehaves on purpose: it traps, loops, floods, lies, and looks for keys in its
//! own memory.
//!
//! Tests run it in the real runtime and see what became of the host and of everybody else. It is
//! in no release.

mod memory;
mod misdeeds;
pub mod proto;
mod service;
mod tour;

use mintmark_sdk::{Plugin, Status, register};

use crate::service::Hostile;

/// The plugin, as the host knows it.
pub struct HostilePlugin;

impl Plugin for HostilePlugin {
    const NAME: &'static str = "hostile";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SERVICES: &'static [&'static str] = &[proto::hostile::SERVICE_NAME];

    fn dispatch(service: &str, method: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
        match (service, method) {
            // No field has this number and this wire type.
            (proto::hostile::SERVICE_NAME, "Rubbish") => Ok(vec![0xff; 64]),
            (proto::hostile::SERVICE_NAME, _) => {
                proto::hostile::dispatch(&Hostile, method, message)
            }
            _ => Err(Status::unimplemented()),
        }
    }
}

register!(HostilePlugin);
