//! The identity bundle: what one cluster tells another about itself before they can exchange.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Digest, encode, framed, sha256},
    message::HeadRef,
    order::Chain,
};

/// The body of a message with [`Purpose::Identity`](crate::message::Purpose::Identity): signed by
/// custody, not sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityBody {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the cluster.
    pub cluster: String,
    /// What the host runs on; `software-emulated` where there is no hardware root of trust.
    pub hardware_model: String,
    /// The plugins that may seal and open messages here.
    pub plugins: Vec<PluginIdentity>,
    /// The host's own HPKE certificate; key packages are sealed to it.
    pub transfer: Chain,
    /// The certificates that sign orders and checkpoints.
    pub custody: Vec<Chain>,
    /// The certificates of the nodes.
    pub nodes: Vec<Chain>,
    /// The newest body version understood, per purpose.
    pub body_versions: Vec<BodyVersion>,
    /// The first head of each node's ledger.
    pub first_heads: Vec<HeadRef>,
    /// Site time of the statement, milliseconds since the epoch.
    pub made_at: u64,
}

/// A plugin's two certificates and the code that holds their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginIdentity {
    /// The plugin's name.
    pub name: String,
    /// SHA-256 of the component.
    pub measurement: Digest,
    /// Signs messages.
    pub signing: Chain,
    /// Messages are sealed to its key.
    pub encryption: Chain,
}

/// The newest version of a body that a cluster understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyVersion {
    /// Which body.
    pub purpose: crate::message::Purpose,
    /// The newest version.
    pub version: u16,
}

/// The only version of an identity body.
pub const VERSION: u16 = 1;
/// Most bytes of an identity body.
pub const BYTES_MAX: usize = 1 << 20;

impl IdentityBody {
    /// The number that two people compare by phone before a cluster is trusted.
    pub fn fingerprint(&self) -> Digest {
        sha256(&framed("mintmark identity v1", &[&encode(self)]))
    }
}
