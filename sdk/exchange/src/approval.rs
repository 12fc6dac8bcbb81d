//! Approvals: what needs several people, and how each of them says yes.
//!
//! An act that needs approvals is refused with the digest of an [`ApprovalRequest`]; the request
//! waits at the host. Approvers sign [`ApprovalStatement`]s over that digest. The act, repeated,
//! uses them up. Which people count, and how many of them, is the charter's to say.

use serde::{Deserialize, Serialize};

use crate::canonical::{Digest, encode, framed, sha256};

/// What several people must agree to. New cases go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Scrap a unit beyond the allowance of its terms.
    Scrap {
        /// The entitlement.
        entitlement: String,
        /// The unit.
        unit: u64,
        /// The device.
        subject: String,
    },
    /// Grant an order that takes a site's credit of a product over the threshold.
    Order {
        /// The order number.
        order: String,
        /// SPIFFE URI of the site.
        recipient: String,
        /// SHA-256 of the proposal.
        proposal: Digest,
        /// Units.
        total: u64,
    },
    /// Extend an entitlement.
    Extend {
        /// The entitlement.
        entitlement: String,
        /// SPIFFE URI of the site.
        recipient: String,
        /// Units to add.
        units: u64,
        /// The new end of the window, milliseconds since the epoch.
        not_after: Option<u64>,
    },
    /// Acknowledge a suspect clock once more in the same boot.
    AcknowledgeClock {
        /// The boot.
        boot: u64,
        /// The high-water mark, milliseconds since the epoch.
        mark_ms: u64,
    },
    /// Lower the clock's high-water mark.
    LowerClock {
        /// The mark before.
        mark_ms: u64,
        /// The mark after.
        to_ms: u64,
    },
    /// Serve a store that was restored from a backup.
    Restore {
        /// Which store.
        store_id: [u8; 16],
        /// The number of the backup's last transaction.
        commit: u64,
        /// The digest of the heads of its ledgers.
        heads: Digest,
        /// The epoch that the restored store will have.
        epoch: u64,
    },
    /// Change who approves, or how many must.
    ChangeCharter {
        /// SHA-256 of the canonical encoding of the new list.
        list: Digest,
        /// Its version.
        version: u64,
    },
    /// Open a new epoch of headquarters' stream to a site.
    OpenStream {
        /// SPIFFE URI of the site.
        site: String,
        /// The new epoch.
        epoch: u64,
    },
    /// Take another identity for a cluster that is known already.
    ReplaceIdentity {
        /// SPIFFE URI of the cluster.
        cluster: String,
        /// The new identity's fingerprint.
        fingerprint: Digest,
    },
    /// Activate a plugin with a lower security version than the active one.
    DowngradePlugin {
        /// The plugin's name.
        name: String,
        /// SHA-256 of the component.
        measurement: Digest,
    },
}

/// One exact act that waits for approvals, at one cluster and under one list of approvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the cluster.
    pub cluster: String,
    /// The store's epoch: a restore makes every request void.
    pub epoch: u64,
    /// The version of the list of approvers.
    pub list_version: u64,
    /// What is to be done.
    pub act: Act,
    /// SPIFFE URI of who asked; his own approval does not count.
    pub requester: String,
    /// Makes two equal acts two requests.
    pub id: [u8; 16],
    /// Site time, milliseconds since the epoch.
    pub made_at: u64,
    /// Nothing counts after.
    pub expires_at: u64,
}

/// What one approver signs. Travels as a [`SignedOrder`](crate::SignedOrder) under
/// [`APPROVAL`](crate::order::APPROVAL), signed with the key that the charter names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalStatement {
    /// 1.
    pub version: u16,
    /// [`ApprovalRequest::digest`].
    pub request: Digest,
    /// SPIFFE URI of the cluster.
    pub cluster: String,
    /// False for a no, which ends the request.
    pub approve: bool,
}

/// The only version of requests and statements.
pub const VERSION: u16 = 1;

impl Act {
    /// The act in one word, for rows and lists.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scrap { .. } => "scrap",
            Self::Order { .. } => "order",
            Self::Extend { .. } => "extend",
            Self::AcknowledgeClock { .. } => "acknowledge-clock",
            Self::LowerClock { .. } => "lower-clock",
            Self::Restore { .. } => "restore",
            Self::ChangeCharter { .. } => "change-charter",
            Self::OpenStream { .. } => "open-stream",
            Self::ReplaceIdentity { .. } => "replace-identity",
            Self::DowngradePlugin { .. } => "downgrade-plugin",
        }
    }
}

impl ApprovalRequest {
    /// What approvers sign.
    pub fn digest(&self) -> Digest {
        sha256(&framed("mintmark approval request v1", &[&encode(self)]))
    }
}
