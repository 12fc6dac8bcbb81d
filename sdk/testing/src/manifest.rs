//! The manifest as far as a test host keeps it: who may call what, and what the plugin may ask for.
//!
//! As strict as the runtime's: an unknown key, role, purpose, algorithm or operation is refused,
//! so that a manifest that passes here is not refused at installation.

use std::collections::BTreeMap;

use mintmark_custody::{Digest, PluginClaims, Slot, SlotKind};
use mintmark_model::{Algorithm, Operation, Operations, Role};
use serde::Deserialize;

const PURPOSES: &[&str] = &["entitlement", "bundle", "receipt", "directive", "closing"];
const TRANSFERS: &[&str] = &["grant", "import", "receipt", "directive", "closing"];

/// The deadline of a plugin that asks for none.
const DEADLINE_MS: u64 = 5_000;

/// `plugin.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) security_version: u32,
    #[serde(rename = "contract")]
    _contract: String,
    services: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    messages: Messages,
    #[serde(default)]
    transfers: Transfers,
    #[serde(default)]
    ledger: Ledger,
    #[serde(default)]
    slots: Vec<SlotForm>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Messages {
    send: Vec<String>,
    receive: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Transfers {
    claims: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Ledger {
    read: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotForm {
    kind: String,
    name: String,
    algorithms: Vec<String>,
    operations: Vec<String>,
    #[serde(default)]
    export: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    deadline_ms: Option<u64>,
    #[serde(rename = "memory_mib")]
    _memory_mib: Option<u64>,
    #[serde(rename = "host_calls")]
    _host_calls: Option<u32>,
}

impl Manifest {
    /// Reads a manifest; says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        known("messages.send", &manifest.messages.send, PURPOSES)?;
        known("messages.receive", &manifest.messages.receive, PURPOSES)?;
        known("transfers.claims", &manifest.transfers.claims, TRANSFERS)?;
        for slot in &manifest.slots {
            slot.read()?;
        }
        for roles in manifest.services.values().flat_map(BTreeMap::values) {
            for role in roles {
                role_of(role)?;
            }
        }
        Ok(manifest)
    }

    /// What custody lets the plugin with this measurement ask for.
    pub(crate) fn claims(&self, measurement: Digest) -> Result<PluginClaims, String> {
        Ok(PluginClaims {
            name: self.name.clone(),
            measurement,
            slots: self.slots.iter().map(SlotForm::read).collect::<Result<_, _>>()?,
            sends: self.messages.send.clone(),
            receives: self.messages.receive.clone(),
            transfers: self.transfers.claims.clone(),
            reads_ledger: self.ledger.read,
        })
    }

    /// The service that has `method`, and who may call it. `method` is a name, or
    /// `<package.Service>/<Method>` where two services have the same.
    pub(crate) fn method(&self, method: &str) -> Option<Method> {
        let (wanted, name) = match method.trim_start_matches('/').rsplit_once('/') {
            Some((service, name)) => (Some(service), name),
            None => (None, method),
        };
        let mut services = self.services.iter();
        services.find_map(|(service, methods)| {
            let roles = methods.get(name).filter(|_| wanted.is_none_or(|wanted| wanted == service));
            let roles = roles?.iter().filter_map(|role| Role::from_name(role)).collect();
            Some(Method { service: service.clone(), name: name.to_owned(), roles })
        })
    }

    /// How long a call may take.
    pub(crate) fn deadline_ms(&self) -> u64 {
        self.limits.deadline_ms.unwrap_or(DEADLINE_MS)
    }
}

/// A method that a manifest names.
pub(crate) struct Method {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
}

impl SlotForm {
    fn read(&self) -> Result<Slot, String> {
        let kind =
            SlotKind::from_name(&self.kind).ok_or_else(|| unknown("slots.kind", &self.kind))?;
        let algorithms = self.algorithms.iter().map(|name| {
            Algorithm::from_name(name).ok_or_else(|| unknown("slots.algorithms", name))
        });
        let operations = self.operations.iter().map(|name| {
            Operation::from_name(name).ok_or_else(|| unknown("slots.operations", name))
        });
        Ok(Slot {
            kind,
            prefix: self.name.clone(),
            algorithms: algorithms.collect::<Result<_, _>>()?,
            operations: Operations::of(&operations.collect::<Result<Vec<_>, _>>()?),
            export: self.export,
        })
    }
}

fn role_of(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| unknown("role", name))
}

fn known(what: &str, names: &[String], set: &[&str]) -> Result<(), String> {
    match names.iter().find(|name| !set.contains(&name.as_str())) {
        Some(name) => Err(unknown(what, name)),
        None => Ok(()),
    }
}

fn unknown(what: &str, name: &str) -> String {
    format!("`{what}` does not know `{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "lots"
        version = "0.1.0"
        security_version = 1
        contract = "0.1.0"
        [services."acme.lots.v1.Lots"]
        Open = ["operator"]
        [messages]
        send = ["bundle"]
        [[slots]]
        kind = "key"
        name = "labels"
        algorithms = ["ed25519"]
        operations = ["sign"]
    "#;

    #[test]
    fn a_method_is_found_by_its_name_or_its_path() {
        let manifest = Manifest::parse(GOOD).unwrap();
        for name in ["Open", "acme.lots.v1.Lots/Open", "/acme.lots.v1.Lots/Open"] {
            let method = manifest.method(name).unwrap();
            assert_eq!(
                (method.service.as_str(), method.name.as_str()),
                ("acme.lots.v1.Lots", "Open")
            );
            assert_eq!(method.roles, [Role::Operator]);
        }
        assert!(manifest.method("acme.other.v1.Lots/Open").is_none());
        assert!(manifest.method("Close").is_none());
    }

    #[test]
    fn i8_whatever_is_unknown_is_refused() {
        for (from, to) in [
            ("send", "sends"),
            ("\"bundle\"", "\"parcel\""),
            ("\"operator\"", "\"root\""),
            ("\"ed25519\"", "\"rsa\""),
            ("\"sign\"", "\"everything\""),
            ("kind = \"key\"", "kind = \"root\""),
            ("contract = \"0.1.0\"", ""),
        ] {
            assert!(Manifest::parse(&GOOD.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }
}
