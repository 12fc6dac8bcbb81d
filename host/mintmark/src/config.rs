//! A host's configuration: one TOML file, strict, with every path relative to itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mintmark_custody::Settings;
use mintmark_pki::{ClusterPath, ClusterRole};
use mintmark_runtime::{DEADLINE_MS_MAX, LimitsAsked, RuntimeConfig};
use serde::Deserialize;

use crate::error::Error;
use crate::files;

/// The lowest mark for free space: a part of it must hold what is served below it.
const FREE_MIB_MIN: u64 = 16;

/// What one node of a cluster is told. An unknown key is refused, never ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's name within its cluster.
    node: String,
    /// Where to listen: an IP address and a port; port 0 takes any that is free.
    listen: String,
    /// The store and what is remade when it is lost.
    data_dir: PathBuf,
    /// The emulated platform. Not in `data_dir`, since a copy of the one must not have the other.
    platform_dir: PathBuf,
    /// Which cluster it is.
    cluster: Cluster,
    /// What the host allows.
    #[serde(default)]
    limits: Limits,
    /// What the host tells of itself.
    #[serde(default)]
    logs: Logs,
}

/// Which cluster it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    organization: String,
    role: Role,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Headquarters,
    Site,
}

/// What the host allows. What is left out keeps the default of the part that it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    approval_units: Option<u64>,
    transit_days_max: Option<u64>,
    instances_max: Option<u32>,
    free_mib_min: Option<u64>,
    plugins: BTreeMap<String, PluginLimits>,
}

/// What a plugin may use, above what its manifest asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PluginLimits {
    deadline_ms: Option<u64>,
    memory_mib: Option<u64>,
    host_calls: Option<u32>,
}

/// What the host tells of itself, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Logs {
    /// Which lines, as `tracing` filters are written.
    pub(crate) filter: String,
    /// In which form.
    pub(crate) format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl Default for Logs {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// Reads a configuration file. Paths in it become paths from where the program runs.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = String::from_utf8(files::read(path)?);
        let text = text.map_err(|_| Error::Usage("the configuration is not UTF-8".to_owned()))?;
        let parsed = Self::parse(&text);
        let mut config = parsed.map_err(|why| Error::Toml { path: path.to_owned(), why })?;
        let base = path.parent().unwrap_or(Path::new(""));
        config.data_dir = base.join(&config.data_dir);
        config.platform_dir = base.join(&config.platform_dir);
        config.check()?;
        Ok(config)
    }

    /// Parses a configuration, whose paths stay as they are written.
    fn parse(text: &str) -> Result<Self, Box<toml::de::Error>> {
        toml::from_str(text).map_err(Box::new)
    }

    /// Whoever copies the data must not copy the anchor with it.
    fn check(&self) -> Result<(), Error> {
        let (data, platform) = (&self.data_dir, &self.platform_dir);
        if data.starts_with(platform) || platform.starts_with(data) {
            let text = "data_dir and platform_dir must not lie within each other";
            return Err(Error::Usage(text.to_owned()));
        }
        if self.limits.free_mib_min.is_some_and(|mebibytes| mebibytes < FREE_MIB_MIN) {
            let text = format!("free_mib_min must be {FREE_MIB_MIN} or more");
            return Err(Error::Usage(text));
        }
        for (name, limits) in &self.limits.plugins {
            if limits.deadline_ms.is_some_and(|deadline_ms| deadline_ms > DEADLINE_MS_MAX) {
                let text = format!("deadline_ms of {name} must be {DEADLINE_MS_MAX} or less");
                return Err(Error::Usage(text));
            }
        }
        self.cluster().map(drop)
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> Result<ClusterPath, Error> {
        let role = match self.cluster.role {
            Role::Headquarters => ClusterRole::Headquarters,
            Role::Site => ClusterRole::Site,
        };
        ClusterPath::new(&self.cluster.organization, role, &self.cluster.name).map_err(|_| {
            let text = "organization and name of the cluster are 1 to 63 of a-z, 0-9 and -";
            Error::Usage(text.to_owned())
        })
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Where to listen.
    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }

    /// The folder of the store.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The folder of the emulated platform.
    pub(crate) fn platform_dir(&self) -> &Path {
        &self.platform_dir
    }

    /// What logs to write.
    pub(crate) fn logs(&self) -> &Logs {
        &self.logs
    }

    /// What custody is told.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        if let Some(units) = self.limits.approval_units {
            settings.approval_units = units;
        }
        if let Some(days) = self.limits.transit_days_max {
            settings.max_transit_seconds = days.saturating_mul(86_400);
        }
        if let Some(mebibytes) = self.limits.free_mib_min {
            settings.free_bytes_min = mebibytes.saturating_mul(1 << 20);
        }
        settings
    }

    /// What the plugins' runtime is told.
    pub(crate) fn runtime(&self) -> RuntimeConfig {
        let mut runtime = RuntimeConfig::default();
        if let Some(instances) = self.limits.instances_max {
            runtime.instances_max = instances;
        }
        let asked = |limits: &PluginLimits| LimitsAsked {
            deadline_ms: limits.deadline_ms,
            memory_mib: limits.memory_mib,
            host_calls: limits.host_calls,
        };
        let plugins = self.limits.plugins.iter();
        runtime.overrides = plugins.map(|(name, limits)| (name.clone(), asked(limits))).collect();
        runtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../example.toml");

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let config = Config::parse(EXAMPLE).unwrap();
        assert_eq!(config.cluster().unwrap().to_string(), "spiffe://acme/site/shenzhen");
        assert_eq!(config.logs, Logs::default());
        let settings = Settings::default();
        assert_eq!(config.settings().approval_units, settings.approval_units);
        assert_eq!(config.settings().max_transit_seconds, settings.max_transit_seconds);
        assert_eq!(config.settings().free_bytes_min, settings.free_bytes_min);
        let runtime = RuntimeConfig { overrides: config.runtime().overrides, ..Default::default() };
        assert_eq!(config.runtime(), runtime);
    }

    #[test]
    fn an_unknown_key_is_refused_wherever_it_stands() {
        let unknown = "\nnew_key = 1\n";
        for (before, after) in [
            ("[cluster]", format!("[cluster]{unknown}")),
            ("[limits]", format!("[limits]{unknown}")),
            ("[limits.plugins.device-key]", format!("[limits.plugins.device-key]{unknown}")),
            ("[logs]", format!("[logs]{unknown}")),
        ] {
            assert!(EXAMPLE.contains(before));
            let error = Config::parse(&EXAMPLE.replace(before, &after)).unwrap_err();
            assert!(error.to_string().contains("new_key"), "{error}");
        }
        let error = Config::parse(&format!("{unknown}{EXAMPLE}")).unwrap_err();
        assert!(error.to_string().contains("new_key"), "{error}");
    }

    #[test]
    fn what_is_required_is_never_assumed() {
        for key in ["node", "listen", "data_dir", "platform_dir", "organization", "role", "name"] {
            let without = EXAMPLE.lines().filter(|line| !line.starts_with(&format!("{key} =")));
            let without: Vec<_> = without.collect();
            assert!(without.len() < EXAMPLE.lines().count(), "{key}");
            assert!(Config::parse(&without.join("\n")).is_err(), "{key}");
        }
    }

    #[test]
    fn s4_the_mark_for_free_space_is_never_so_low_that_nothing_fits_below_it() {
        let mut config = Config::parse(EXAMPLE).unwrap();
        config.limits.free_mib_min = Some(FREE_MIB_MIN);
        assert!(config.check().is_ok());
        assert_eq!(config.settings().free_bytes_min, FREE_MIB_MIN << 20);
        config.limits.free_mib_min = Some(FREE_MIB_MIN - 1);
        assert!(config.check().is_err());
    }

    #[test]
    fn the_anchor_does_not_lie_with_the_data() {
        let mut config = Config::parse(EXAMPLE).unwrap();
        assert!(config.check().is_ok());
        config.platform_dir = config.data_dir.join("platform");
        assert!(config.check().is_err());
    }
}
