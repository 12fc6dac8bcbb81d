//! The entitlement plugin of headquarters: grants devices to sites, and audits what they report.
//!
//! The services are glue; what they decide lies in pure modules. The host signs every grant and
//! every receipt itself, and the checks of a bundle are those of `exchange`, which an auditor can
//! repeat without this program.

mod answer;
mod blob;
mod catalog;
mod check;
mod conclude;
mod grant;
mod ingest;
#[cfg(test)]
mod memory;
mod opened;
mod order;
mod proto;
mod register;
mod report;
mod service;
mod signatures;
mod standing;

use mintmark_sdk::{Plugin, Status, register};

use crate::service::{Audit, Entitlements};

/// The plugin, as the host knows it.
pub struct EntitlementPlugin;

impl Plugin for EntitlementPlugin {
    const NAME: &'static str = "entitlement";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SERVICES: &'static [&'static str] =
        &[proto::entitlements::SERVICE_NAME, proto::audit::SERVICE_NAME];

    fn dispatch(service: &str, method: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
        match service {
            proto::entitlements::SERVICE_NAME => {
                proto::entitlements::dispatch(&Entitlements, method, message)
            }
            proto::audit::SERVICE_NAME => proto::audit::dispatch(&Audit, method, message),
            _ => Err(Status::unimplemented()),
        }
    }
}

register!(EntitlementPlugin);
