//! The disk form of the host's own identity, of its people and of its files.

use serde::{Deserialize, Serialize};

/// The host: who it is, and the keys that are its own, sealed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    /// The cluster's SPIFFE URI.
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) incarnation: u64,
    /// Raised by each restore, in the store and in its anchor.
    pub(crate) epoch: u64,
    /// Private key of the cluster CA, sealed.
    pub(crate) cluster_key: Vec<u8>,
    /// The request for the cluster CA's certificate.
    pub(crate) request: Vec<u8>,
    pub(crate) installed: Option<InstalledRecord>,
}

/// What the root's answer made of the host.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InstalledRecord {
    pub(crate) root: Vec<u8>,
    pub(crate) cluster_certificate: Vec<u8>,
    /// The signed charter, encoded.
    pub(crate) charter: Vec<u8>,
    /// Private keys for signing orders and for opening key packages, sealed, with certificates.
    pub(crate) custody_key: Vec<u8>,
    pub(crate) custody_certificate: Vec<u8>,
    pub(crate) transfer_key: Vec<u8>,
    pub(crate) transfer_certificate: Vec<u8>,
}

/// A person or a station.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    pub(crate) certificate: Vec<u8>,
    /// For keys that are delivered to a station.
    pub(crate) sealing_certificate: Option<Vec<u8>>,
    /// The entitlements that a station may use; empty means all of the cluster.
    pub(crate) entitlements: Vec<String>,
    /// When its certificates were revoked. The name is nobody's again.
    pub(crate) revoked_at: Option<u64>,
}

/// A staged file.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub(crate) length: u64,
    pub(crate) parts: u32,
    /// SHA-256 of the whole, once it is complete.
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) owner: String,
    pub(crate) staged_at: u64,
}
