//! The disk form of keys and key sets.

use mintmark_model::policy::{ContentRule, ExportRule, KeyGrant, KeyPolicy, Recipients};
use mintmark_model::{Algorithm, KeyState, Operations, Role};
use serde::{Deserialize, Serialize};

/// A key, with its material sealed under its policy.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) algorithm: String,
    pub(crate) policy: PolicyRecord,
    pub(crate) state: u8,
    pub(crate) kind: KeyKind,
    /// SubjectPublicKeyInfo; none for a symmetric key.
    pub(crate) public_key: Option<Vec<u8>>,
    /// See [`crate::vault`]; empty once the key is destroyed.
    pub(crate) sealed: Vec<u8>,
    /// Set when the key went into a grant: it never goes into another.
    pub(crate) exported: bool,
}

/// What a key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyKind {
    /// A key of a plugin's own.
    Plain,
    /// A product CA, with its certificate.
    ProductCa(Vec<u8>),
    /// A batch CA's key; its certificate is in the grant.
    BatchKey,
    /// A secret from which device keys are derived.
    KeySet {
        /// How many.
        size: u64,
        /// Their algorithm.
        algorithm: String,
    },
}

/// A key's policy. Its digest is part of the associated data of the sealed material.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PolicyRecord {
    operations: u16,
    grants: Vec<GrantRecord>,
    activation: Option<u64>,
    deactivation: Option<u64>,
    content: ContentRecord,
    export: Option<RecipientsRecord>,
    allotment: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct GrantRecord {
    plugin: String,
    measurements: Vec<[u8; 32]>,
    roles: Vec<String>,
    operations: u16,
}

#[derive(Clone, Serialize, Deserialize)]
enum ContentRecord {
    Message,
    Prefix(Vec<u8>),
    Certificate,
}

#[derive(Clone, Serialize, Deserialize)]
struct RecipientsRecord {
    plugin: String,
    cluster_role: String,
    clusters: Vec<String>,
    operations: u16,
}

/// Key states in the order of their numbers on disk.
const STATES: [KeyState; 6] = [
    KeyState::PreActive,
    KeyState::Active,
    KeyState::Suspended,
    KeyState::Deactivated,
    KeyState::Compromised,
    KeyState::Destroyed,
];

impl KeyRecord {
    /// The key's state; a number that is none is the strictest state.
    pub(crate) fn state(&self) -> KeyState {
        STATES.get(usize::from(self.state)).copied().unwrap_or(KeyState::Destroyed)
    }

    /// The key's algorithm, where it is known.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::from_name(&self.algorithm)
    }
}

/// The number of a state on disk.
pub(crate) fn state_number(state: KeyState) -> u8 {
    let position = STATES.iter().position(|other| *other == state);
    u8::try_from(position.expect("STATES has every state")).expect("there are six states")
}

impl From<&KeyPolicy> for PolicyRecord {
    fn from(policy: &KeyPolicy) -> Self {
        let grants = policy.grants.iter().map(|grant| GrantRecord {
            plugin: grant.plugin.clone(),
            measurements: grant.measurements.clone(),
            roles: grant.roles.iter().map(|role| role.name().to_owned()).collect(),
            operations: grant.operations.bits(),
        });
        Self {
            operations: policy.operations.bits(),
            grants: grants.collect(),
            activation: policy.activation,
            deactivation: policy.deactivation,
            content: match &policy.content {
                ContentRule::Message => ContentRecord::Message,
                ContentRule::Prefix(prefix) => ContentRecord::Prefix(prefix.clone()),
                ContentRule::Certificate => ContentRecord::Certificate,
            },
            export: match &policy.export {
                ExportRule::Never => None,
                ExportRule::SealedTo(recipients) => Some(RecipientsRecord {
                    plugin: recipients.plugin.clone(),
                    cluster_role: recipients.cluster_role.clone(),
                    clusters: recipients.clusters.clone(),
                    operations: recipients.operations.bits(),
                }),
            },
            allotment: policy.allotment.clone(),
        }
    }
}

impl PolicyRecord {
    /// The policy; none where it names what this program does not know (promise I8).
    pub(crate) fn policy(&self) -> Option<KeyPolicy> {
        let grants = self.grants.iter().map(|grant| {
            let roles = grant.roles.iter().map(|role| Role::from_name(role));
            Some(KeyGrant {
                plugin: grant.plugin.clone(),
                measurements: grant.measurements.clone(),
                roles: roles.collect::<Option<_>>()?,
                operations: Operations::from_bits(grant.operations)?,
            })
        });
        Some(KeyPolicy {
            operations: Operations::from_bits(self.operations)?,
            grants: grants.collect::<Option<_>>()?,
            activation: self.activation,
            deactivation: self.deactivation,
            content: match &self.content {
                ContentRecord::Message => ContentRule::Message,
                ContentRecord::Prefix(prefix) => ContentRule::Prefix(prefix.clone()),
                ContentRecord::Certificate => ContentRule::Certificate,
            },
            export: match &self.export {
                None => ExportRule::Never,
                Some(recipients) => ExportRule::SealedTo(Recipients {
                    plugin: recipients.plugin.clone(),
                    cluster_role: recipients.cluster_role.clone(),
                    clusters: recipients.clusters.clone(),
                    operations: Operations::from_bits(recipients.operations)?,
                }),
            },
            allotment: self.allotment.clone(),
        })
    }
}
