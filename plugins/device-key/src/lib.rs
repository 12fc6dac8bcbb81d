//! The device-key plugin of a factory site: provisions devices under the entitlements that
//! headquarters granted, and reports what was made.
//!
//! The service is glue; what it decides lies in pure modules, and the host keeps every limit
//! whatever happens here.

mod answer;
mod bundle;
mod host;
mod proto;
mod request;
mod service;

use mintmark_sdk::{Plugin, Status, register};

use crate::service::DeviceKey;

/// The plugin, as the host knows it.
pub struct DeviceKeyPlugin;

impl Plugin for DeviceKeyPlugin {
    const NAME: &'static str = "device-key";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SERVICES: &'static [&'static str] = &[proto::device_key::SERVICE_NAME];

    fn dispatch(service: &str, method: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
        match service {
            proto::device_key::SERVICE_NAME => {
                proto::device_key::dispatch(&DeviceKey, method, message)
            }
            _ => Err(Status::unimplemented()),
        }
    }
}

register!(DeviceKeyPlugin);
