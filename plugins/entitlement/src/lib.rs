//! The entitlement plugin of headquarters: grants devices to sites, and audits what they report.
//!
//! The services are glue; what they decide lies in pure modules. The host signs every grant and
//! every receipt itself, and the checks of a bundle are those of `exchange`, which an auditor can
//! repeat without this program.

mod adopt;
mod answer;
mod blob;
mod catalog;
mod change;
mod check;
mod closing;
mod conclude;
mod grant;
mod ingest;
#[cfg(test)]
mod memory;
mod opened;
mod order;
pub mod proto;
mod register;
mod report;
mod serials;
mod service;
mod signatures;

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mintmark_sdk::Package;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn manifest() -> toml::Table {
        EntitlementPlugin::MANIFEST.parse().unwrap()
    }

    #[test]
    fn the_manifest_says_what_the_code_says() {
        let manifest = manifest();
        assert_eq!(manifest["name"].as_str(), Some(EntitlementPlugin::NAME));
        assert_eq!(manifest["version"].as_str(), Some(EntitlementPlugin::VERSION));
        let services: BTreeSet<_> =
            manifest["services"].as_table().unwrap().keys().map(String::as_str).collect();
        assert_eq!(services, EntitlementPlugin::SERVICES.iter().copied().collect());
    }

    #[test]
    fn every_method_names_its_roles_and_nothing_else_does() {
        let descriptors = FileDescriptorSet::decode(EntitlementPlugin::DESCRIPTORS).unwrap();
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
        let service = EntitlementPlugin::SERVICES[0];
        for (service, method) in [(service, "Nothing"), ("acme.v1.Other", "Status"), ("", "")] {
            let status = EntitlementPlugin::dispatch(service, method, &[]).unwrap_err();
            assert_eq!(status, Status::unimplemented());
        }
    }
}
