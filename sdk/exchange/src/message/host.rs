//! What hosts tell each other in a message's header, past the plugins.

use serde::{Deserialize, Serialize};

use crate::{canonical::Digest, order::Chain};

/// Written by the sending host and checked by the receiving one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHeader {
    /// There in every message from headquarters to a site but the identity.
    pub stream: Option<Stream>,
}

/// A message's place in headquarters' stream to one site, and what headquarters says with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Raised when headquarters was restored from a backup.
    pub epoch: u64,
    /// From 1, without gaps.
    pub sequence: u64,
    /// [`MessageHead::digest`](super::MessageHead::digest) of the message before; zeros for none.
    pub previous: Digest,
    /// Headquarters' time: a lower bound for the site's clock.
    pub sent_at: u64,
    /// Headquarters' plugins and their present certificates.
    pub certificates: Vec<PluginCertificates>,
    /// The plugins whose messages the site is to accept.
    pub trust: Vec<TrustedMeasurement>,
    /// Certificate revocation lists, DER.
    pub crls: Vec<Vec<u8>>,
    /// Headquarters' ledger head, so that sites witness it.
    pub head: Option<HeadRef>,
    /// Per node of the site, the last row that headquarters holds. A host whose own ledger does
    /// not contain it is a copy, and refuses the message.
    pub site_heads: Vec<HeadRef>,
}

/// The present certificates of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCertificates {
    /// The plugin's name.
    pub plugin: String,
    /// Signs messages.
    pub signing: Chain,
    /// Messages are sealed to its key.
    pub encryption: Chain,
}

/// A plugin that is trusted by its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrustedMeasurement {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component.
    pub measurement: Digest,
}

/// A row of a node's ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeadRef {
    /// The node.
    pub node: String,
    /// Which ledger of that node.
    pub incarnation: u64,
    /// The row's number.
    pub sequence: u64,
    /// The row's hash.
    pub hash: Digest,
}
