//! What a plugin may use: defaults, ceilings, and what an admin sets for one plugin.

use std::collections::BTreeMap;

use mintmark_custody::CALL_MS_MAX;

/// The most bytes of a component file.
pub const COMPONENT_BYTES_MAX: usize = 32 << 20;

/// The most bytes of a request or a response.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The longest deadline that a plugin can have, in milliseconds: its rows would be too late after a
/// longer one.
pub const DEADLINE_MS_MAX: u64 = CALL_MS_MAX;

const MIB: u64 = 1 << 20;

/// How the runtime confines plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// What a plugin gets that asks for nothing.
    pub limits: Limits,
    /// The most that a manifest can ask for.
    pub ceiling: Limits,
    /// What an admin set for a plugin, by name; above the ceiling too, but for
    /// [`DEADLINE_MS_MAX`].
    pub overrides: BTreeMap<String, LimitsAsked>,
    /// The most instances alive at once, of all plugins together.
    pub instances_max: u32,
}

/// The budgets of a call, and how many calls there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time for instantiation and call together.
    pub deadline_ms: u64,
    /// Linear memory, all memories of an instance together.
    pub memory_bytes: u64,
    /// Host functions called.
    pub host_calls: u32,
    /// Bytes handed to host functions and back.
    pub host_bytes: u64,
    /// Open handles.
    pub handles: u32,
    /// Calls that run at once.
    pub concurrent: u32,
    /// Calls that wait for their turn.
    pub queued: u32,
    /// Bytes of log lines in one second, beyond what a quiet time saved up.
    pub log_bytes_per_second: u64,
}

/// What a manifest asks for, or an admin sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsAsked {
    /// See [`Limits::deadline_ms`].
    pub deadline_ms: Option<u64>,
    /// See [`Limits::memory_bytes`], in MiB.
    pub memory_mib: Option<u64>,
    /// See [`Limits::host_calls`].
    pub host_calls: Option<u32>,
}

impl RuntimeConfig {
    /// The limits of the plugin `name` whose manifest asks for `asked`.
    pub(crate) fn limits(&self, name: &str, asked: &LimitsAsked) -> Limits {
        let wanted = self.limits.with(asked);
        let capped = Limits {
            deadline_ms: wanted.deadline_ms.min(self.ceiling.deadline_ms),
            memory_bytes: wanted.memory_bytes.min(self.ceiling.memory_bytes),
            host_calls: wanted.host_calls.min(self.ceiling.host_calls),
            ..wanted
        };
        let set = self.overrides.get(name).map_or(capped, |set| capped.with(set));
        Limits { deadline_ms: set.deadline_ms.min(DEADLINE_MS_MAX), ..set }
    }

    /// The most memory that any plugin can have.
    pub(crate) fn memory_bytes_max(&self) -> u64 {
        let set = self.overrides.values().filter_map(|set| set.memory_mib);
        let set = set.map(|mib| mib.saturating_mul(MIB)).max().unwrap_or(0);
        self.limits.memory_bytes.max(self.ceiling.memory_bytes).max(set)
    }
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        let limits = Limits::default();
        let ceiling =
            Limits { deadline_ms: 30_000, memory_bytes: 256 * MIB, host_calls: 100_000, ..limits };
        Self { limits, ceiling, overrides: BTreeMap::new(), instances_max: 128 }
    }
}

impl Limits {
    fn with(self, asked: &LimitsAsked) -> Self {
        let memory_bytes = asked.memory_mib.map(|mib| mib.saturating_mul(MIB));
        Self {
            deadline_ms: asked.deadline_ms.unwrap_or(self.deadline_ms),
            memory_bytes: memory_bytes.unwrap_or(self.memory_bytes),
            host_calls: asked.host_calls.unwrap_or(self.host_calls),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline_ms: 5_000,
            memory_bytes: 64 * MIB,
            host_calls: 10_000,
            host_bytes: 64 * MIB,
            handles: 256,
            concurrent: 32,
            queued: 1_024,
            log_bytes_per_second: 256 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_gets_what_it_asks_for_up_to_the_ceiling() {
        let mut config = RuntimeConfig::default();
        let asked = LimitsAsked {
            deadline_ms: Some(u64::MAX),
            memory_mib: Some(u64::MAX),
            host_calls: Some(7),
        };
        let limits = config.limits("p", &asked);
        assert_eq!(limits.deadline_ms, config.ceiling.deadline_ms);
        assert_eq!(limits.memory_bytes, config.ceiling.memory_bytes);
        assert_eq!(limits.host_calls, 7);

        let mut set = LimitsAsked { deadline_ms: Some(45_000), ..LimitsAsked::default() };
        config.overrides.insert("p".into(), set);
        assert_eq!(config.limits("p", &asked).deadline_ms, 45_000);
        set.deadline_ms = Some(DEADLINE_MS_MAX + 1);
        config.overrides.insert("p".into(), set);
        assert_eq!(config.limits("p", &asked).deadline_ms, DEADLINE_MS_MAX);
        assert_eq!(config.limits("q", &LimitsAsked::default()), config.limits);
    }
}
