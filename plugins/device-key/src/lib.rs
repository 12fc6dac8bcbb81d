//! The device-key plugin of a factory site: provisions devices under the entitlements that
//! headquarters granted, and reports what was made.
//!
//! The service is glue; what it decides lies in pure modules, and the host keeps every limit
//! whatever happens here.

mod answer;
mod bundle;
mod host;
pub mod proto;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mintmark_sdk::Package;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn manifest() -> toml::Table {
        DeviceKeyPlugin::MANIFEST.parse().unwrap()
    }

    #[test]
    fn the_manifest_says_what_the_code_says() {
        let manifest = manifest();
        assert_eq!(manifest["name"].as_str(), Some(DeviceKeyPlugin::NAME));
        assert_eq!(manifest["version"].as_str(), Some(DeviceKeyPlugin::VERSION));
        let services: BTreeSet<_> =
            manifest["services"].as_table().unwrap().keys().map(String::as_str).collect();
        assert_eq!(services, DeviceKeyPlugin::SERVICES.iter().copied().collect());
    }

    #[test]
    fn every_method_names_its_roles_and_nothing_else_does() {
        let descriptors = FileDescriptorSet::decode(DeviceKeyPlugin::DESCRIPTORS).unwrap();
        let mut declared = BTreeSet::new();
        for file in &descriptors.file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                let methods = service.method.iter().map(|method| method.name().to_owned());
                declared.extend(methods.map(|method| (name.clone(), method)));
            }
        }
        let mut named = BTreeSet::new();
        for (service, methods) in manifest()["services"].as_table().unwrap() {
            for (method, roles) in methods.as_table().unwrap() {
                assert!(!roles.as_array().unwrap().is_empty(), "{method}");
                named.insert((service.clone(), method.clone()));
            }
        }
        assert_eq!(named, declared);
    }

    #[test]
    fn an_unknown_service_or_method_is_refused() {
        let service = DeviceKeyPlugin::SERVICES[0];
        for (service, method) in [(service, "Nothing"), ("acme.v1.Other", "Status"), ("", "")] {
            let status = DeviceKeyPlugin::dispatch(service, method, &[]).unwrap_err();
            assert_eq!(status, Status::unimplemented());
        }
    }
}
