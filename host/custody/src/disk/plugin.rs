//! The disk form of plugin versions, of plugins' identities, and of keys that were retired.

use serde::{Deserialize, Serialize};

/// A version of a plugin.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PluginRecord {
    pub(crate) measurement: [u8; 32],
    pub(crate) security_version: u32,
    pub(crate) size: u64,
    pub(crate) parts: u32,
    pub(crate) installed_at: u64,
    /// Names of those whose signatures over the release were verified.
    pub(crate) signers: Vec<String>,
}

/// The identity of a plugin's name. Its keys survive upgrades; its certificates name the active
/// measurement.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    pub(crate) active_version: String,
    pub(crate) measurement: [u8; 32],
    pub(crate) security_version: u32,
    /// Private keys, sealed.
    pub(crate) signing_key: Vec<u8>,
    pub(crate) encryption_key: Vec<u8>,
    pub(crate) signing_certificate: Vec<u8>,
    pub(crate) encryption_certificate: Vec<u8>,
}

/// An HPKE key of a plugin's or of the host's that another one replaced.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RetiredRecord {
    /// The private key, sealed as it was before; empty once it is destroyed.
    pub(crate) sealed: Vec<u8>,
    /// Site time.
    pub(crate) retired_at: u64,
    /// It opens nothing from then on.
    pub(crate) opens_until: u64,
}
