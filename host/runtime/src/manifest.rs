//! The manifest, `plugin.toml`: who a plugin is, who may call it, what it asks for.
//!
//! Strict: an unknown key, role, purpose, algorithm or operation is refused, and what is absent is
//! not asked for.

use std::collections::BTreeMap;

use serde::Deserialize;

use mintmark_custody::{Digest, PluginClaims, Slot, SlotKind};
use mintmark_model::{Algorithm, Name, Operation, Operations, Role};

use crate::config::LimitsAsked;
use crate::error::Error;

/// The longest manifest.
pub(crate) const MANIFEST_BYTES_MAX: usize = 64 << 10;

/// The contract of this host: `major.minor`, and patch versions that only add functions.
const CONTRACT: (u32, u32) = (0, 1);

const PURPOSES: &[&str] = &["entitlement", "bundle", "receipt", "directive", "closing"];
const TRANSFERS: &[&str] = &["grant", "import", "receipt", "directive", "closing"];

/// A manifest that was read and holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// 1 to 63 characters of `[a-z0-9-]`, beginning with a letter or digit.
    pub name: String,
    /// Major, minor, patch.
    pub version: String,
    /// Never falls without approvals.
    pub security_version: u32,
    /// The contract that it was built for.
    pub contract: String,
    /// Roles by service and method.
    pub services: BTreeMap<String, BTreeMap<String, Vec<Role>>>,
    /// Purposes of messages that it sends.
    pub sends: Vec<String>,
    /// Purposes of messages that it receives.
    pub receives: Vec<String>,
    /// Transfers that it asks for.
    pub transfers: Vec<String>,
    /// Whether it reads the ledger.
    pub reads_ledger: bool,
    /// Keys that it makes.
    pub slots: Vec<Slot>,
    /// Limits that it asks for.
    pub limits: LimitsAsked,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`] with what is wrong and where; [`Error::Contract`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(Error::Excess("bytes of the manifest"));
        }
        let form: Form = toml::from_str(text).map_err(|error| Error::manifest(error.message()))?;
        form.read()
    }

    /// What custody lets the plugin with this measurement ask for.
    #[must_use]
    pub fn claims(&self, measurement: Digest) -> PluginClaims {
        PluginClaims {
            name: self.name.clone(),
            measurement,
            slots: self.slots.clone(),
            sends: self.sends.clone(),
            receives: self.receives.clone(),
            transfers: self.transfers.clone(),
            reads_ledger: self.reads_ledger,
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    name: String,
    version: String,
    security_version: u32,
    contract: String,
    services: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    messages: MessagesForm,
    #[serde(default)]
    transfers: TransfersForm,
    #[serde(default)]
    ledger: LedgerForm,
    #[serde(default)]
    slots: Vec<SlotForm>,
    #[serde(default)]
    limits: LimitsForm,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct MessagesForm {
    #[serde(default)]
    send: Vec<String>,
    #[serde(default)]
    receive: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TransfersForm {
    #[serde(default)]
    claims: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LedgerForm {
    #[serde(default)]
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
#[serde(deny_unknown_fields)]
struct LimitsForm {
    deadline_ms: Option<u64>,
    memory_mib: Option<u64>,
    host_calls: Option<u32>,
}

impl Form {
    fn read(self) -> Result<Manifest, Error> {
        check_name(&self.name)?;
        check_version("version", &self.version)?;
        check_contract(&self.contract)?;
        if self.services.is_empty() {
            return Err(Error::manifest("`services` is empty"));
        }
        let services = self
            .services
            .into_iter()
            .map(|(service, methods)| Ok((service.clone(), read_methods(&service, methods)?)));
        Ok(Manifest {
            services: services.collect::<Result<_, Error>>()?,
            name: self.name,
            version: self.version,
            security_version: self.security_version,
            contract: self.contract,
            sends: known("messages.send", self.messages.send, PURPOSES)?,
            receives: known("messages.receive", self.messages.receive, PURPOSES)?,
            transfers: known("transfers.claims", self.transfers.claims, TRANSFERS)?,
            reads_ledger: self.ledger.read,
            slots: self.slots.into_iter().map(SlotForm::read).collect::<Result<_, _>>()?,
            limits: self.limits.read()?,
        })
    }
}

impl SlotForm {
    fn read(self) -> Result<Slot, Error> {
        let kind =
            SlotKind::from_name(&self.kind).ok_or_else(|| unknown("slots.kind", &self.kind))?;
        if Name::parse(&self.name).is_none() {
            return Err(Error::manifest("`slots.name` is not 1 to 64 characters of [a-z0-9-.]"));
        }
        if self.algorithms.is_empty() || self.operations.is_empty() {
            return Err(Error::manifest("a slot names no algorithm or no operation"));
        }
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

impl LimitsForm {
    fn read(self) -> Result<LimitsAsked, Error> {
        let zero =
            self.deadline_ms == Some(0) || self.memory_mib == Some(0) || self.host_calls == Some(0);
        if zero {
            return Err(Error::manifest("a limit is 0"));
        }
        Ok(LimitsAsked {
            deadline_ms: self.deadline_ms,
            memory_mib: self.memory_mib,
            host_calls: self.host_calls,
        })
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let fits =
        (1..=63).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-');
    if fits { Ok(()) } else { Err(Error::manifest("`name` is not a name of [a-z0-9-]")) }
}

/// Three numbers; no suffixes, so that versions have one order.
fn check_version(what: &str, version: &str) -> Result<(), Error> {
    let numbers = version.split('.').map(|part| {
        let plain = part.bytes().all(|byte| byte.is_ascii_digit());
        let short = part == "0" || !part.starts_with('0');
        plain && short && part.parse::<u32>().is_ok()
    });
    let numbers: Vec<_> = numbers.collect();
    if numbers.len() == 3 && numbers.iter().all(|number| *number) {
        return Ok(());
    }
    Err(Error::manifest(&format!("`{what}` is not major.minor.patch")))
}

fn check_contract(contract: &str) -> Result<(), Error> {
    check_version("contract", contract)?;
    let (major, minor) = CONTRACT;
    if contract.starts_with(&format!("{major}.{minor}.")) {
        return Ok(());
    }
    Err(Error::Contract(contract.to_owned()))
}

fn read_methods(
    service: &str,
    methods: BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, Vec<Role>>, Error> {
    if methods.is_empty() {
        return Err(Error::manifest(&format!("the service `{service}` has no method")));
    }
    let methods = methods.into_iter().map(|(method, names)| {
        let roles = names
            .iter()
            .map(|name| Role::from_name(name).ok_or_else(|| unknown("role", name)))
            .collect::<Result<Vec<_>, _>>()?;
        if roles.is_empty() {
            return Err(Error::manifest(&format!("nobody may call `{method}`")));
        }
        Ok((method, roles))
    });
    methods.collect()
}

fn known(what: &str, names: Vec<String>, set: &[&str]) -> Result<Vec<String>, Error> {
    match names.iter().find(|name| !set.contains(&name.as_str())) {
        Some(name) => Err(unknown(what, name)),
        None => Ok(names),
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::manifest(&format!("`{what}` does not know `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "device-key"
        version = "0.1.0"
        security_version = 1
        contract = "0.1.0"
        [services."mintmark.devicekey.v1.DeviceKey"]
        Provision = ["station", "operator", "admin"]
        [messages]
        send = ["bundle"]
        receive = ["entitlement", "receipt"]
        [transfers]
        claims = ["import"]
        [ledger]
        read = true
        [[slots]]
        kind = "ca"
        name = "product-"
        algorithms = ["ecdsa-p256"]
        operations = ["certify"]
        [limits]
        deadline_ms = 1000
    "#;

    #[test]
    fn a_manifest_becomes_claims() {
        let manifest = Manifest::parse(GOOD).unwrap();
        let roles = &manifest.services["mintmark.devicekey.v1.DeviceKey"]["Provision"];
        assert_eq!(roles, &[Role::Station, Role::Operator, Role::Admin]);
        assert_eq!(manifest.limits.deadline_ms, Some(1_000));
        let claims = manifest.claims([7; 32]);
        assert_eq!((claims.name.as_str(), claims.measurement), ("device-key", [7; 32]));
        assert!(claims.reads_ledger && !claims.slots[0].export);
        assert!(claims.slots[0].operations.has(Operation::Certify));
    }

    #[test]
    fn i8_whatever_is_unknown_is_refused() {
        for (from, to) in [
            ("name = \"device-key\"", "name = \"device-key\"\nextra = 1"),
            ("read = true", "read = true\nwrite = true"),
            ("deadline_ms", "deadline"),
            ("kind = \"ca\"", "kind = \"root\""),
            ("kind = \"ca\"", "kind = \"ca\"\nwildcard = true"),
            ("\"certify\"", "\"everything\""),
            ("\"ecdsa-p256\"", "\"rsa\""),
            ("\"bundle\"", "\"*\""),
            ("\"import\"", "\"steal\""),
            ("\"station\"", "\"root\""),
            ("contract = \"0.1.0\"", ""),
            ("security_version = 1", "security_version = -1"),
        ] {
            assert_ne!(GOOD.replace(from, to), GOOD, "{from}");
            let refused = Manifest::parse(&GOOD.replace(from, to));
            assert!(matches!(refused, Err(Error::Manifest(_))), "{from} -> {to}");
        }
    }

    #[test]
    fn names_and_versions_have_one_form() {
        for (from, to) in [
            ("\"device-key\"", "\"-x\""),
            ("\"device-key\"", "\"Device\""),
            ("\"device-key\"", "\"a/b\""),
            ("version = \"0.1.0\"", "version = \"0.1\""),
            ("version = \"0.1.0\"", "version = \"0.01.0\""),
            ("version = \"0.1.0\"", "version = \"0.1.0-rc\""),
            ("version = \"0.1.0\"", "version = \"0.1.99999999999\""),
            ("name = \"product-\"", "name = \"\""),
            ("[\"station\", \"operator\", \"admin\"]", "[]"),
            ("deadline_ms = 1000", "deadline_ms = 0"),
        ] {
            assert!(Manifest::parse(&GOOD.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn another_contract_is_named() {
        let other = GOOD.replace("contract = \"0.1.0\"", "contract = \"0.2.0\"");
        assert_eq!(Manifest::parse(&other), Err(Error::Contract("0.2.0".into())));
        let newer = GOOD.replace("contract = \"0.1.0\"", "contract = \"0.1.7\"");
        assert!(Manifest::parse(&newer).is_ok());
    }

    #[test]
    fn p7_p17_deep_and_long_manifests_are_refused() {
        assert!(Manifest::parse(&"#".repeat(MANIFEST_BYTES_MAX + 1)).is_err());
        let deep = format!("x = {}", "[".repeat(20_000));
        assert!(Manifest::parse(&deep).is_err());
    }
}
