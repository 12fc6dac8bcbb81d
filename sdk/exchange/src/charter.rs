//! The charter: what the root signs about a cluster together with its certificate.

use serde::{Deserialize, Serialize};

use crate::{approval::Approvers, canonical::Digest, message::TrustedMeasurement};

/// Who may approve at a cluster, and which plugins of others it trusts from the start.
///
/// Travels as a [`SignedOrder`](crate::SignedOrder) under [`CHARTER`](crate::order::CHARTER),
/// signed by the root. Changed only by M of N of the present list, never below the floor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the cluster.
    pub cluster: String,
    /// The people who approve.
    pub approvers: Vec<Approver>,
    /// The smallest M that a quorum may ever have.
    pub floor_m: u32,
    /// Plugins of headquarters whose messages this cluster accepts.
    pub trusted_plugins: Vec<TrustedMeasurement>,
    /// When the root signed, milliseconds since the epoch.
    pub issued_at: u64,
}

/// One person who approves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approver {
    /// The name in the person's certificate: `/admin/<name>`.
    pub name: String,
    /// SHA-256 of the SubjectPublicKeyInfo. Two names with one key are one person.
    pub key_hash: Digest,
}

/// The only version of a charter.
pub const VERSION: u16 = 1;

impl Charter {
    /// True if names are names, keys and names are distinct, and the floor can be reached.
    pub fn is_sound(&self) -> bool {
        self.version == VERSION && Approvers::of_charter(self).is_sound(1)
    }
}
