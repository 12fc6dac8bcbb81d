//! Approvals: what needs several people, and how each of them says yes.
//!
//! An act that needs approvals is refused with the digest of an [`ApprovalRequest`]; the request
//! waits at the host. Approvers sign [`ApprovalStatement`]s over that digest. The act, repeated,
//! uses them up. Which people count, and how many of them, is the list of [`Approvers`]' to say:
//! the charter's, or one that M of N of the list before agreed to.
//!
//! [`approved`] is the only judge of it: the host asks it when an act is repeated, and the restore
//! of a store that nobody serves asks it about files.

mod judgement;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, DecodeError, Digest, encode, framed, is_name, sha256};
use crate::charter::{Approver, Charter};

pub use judgement::{NotApproved, Place, StatementError, approved, signer};

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
        /// The new list, whole, so that who approves it sees every name in it.
        list: Approvers,
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
    /// Give somebody new the certificate of an admin, auditor or publisher.
    IssueUser {
        /// The role's name.
        role: String,
        /// The person's name.
        name: String,
        /// SHA-256 of the key's SubjectPublicKeyInfo.
        key_hash: Digest,
    },
    /// Revoke the certificate of an admin, auditor or publisher.
    RevokeUser {
        /// The role's name.
        role: String,
        /// The person's name.
        name: String,
    },
}

/// Who approves, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvers {
    /// 1 for the charter's own list; each change is one more.
    pub version: u64,
    /// So many different people must agree: the M of M of N.
    pub quorum: u32,
    /// The people: the N.
    pub members: Vec<Approver>,
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
    /// SHA-256 of the SubjectPublicKeyInfo of who asked, where the host knows it: another name with
    /// the same key does not count either.
    pub requester_key: Option<Digest>,
    /// Makes two equal acts two requests.
    pub id: [u8; 16],
    /// Site time, milliseconds since the epoch.
    pub made_at: u64,
    /// Nothing counts after.
    pub expires_at: u64,
}

/// What one approver signs. Travels as a [`SignedOrder`](crate::SignedOrder) under
/// [`APPROVAL`](crate::order::APPROVAL), signed with the key that the list names. In the place of
/// the chain is that key's SubjectPublicKeyInfo alone: a person's certificate lasts 90 days, the
/// list names keys.
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
/// Most people in a list.
pub const MEMBERS_MAX: usize = 32;
/// Most bytes of an encoded request.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;

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
            Self::IssueUser { .. } => "issue-user",
            Self::RevokeUser { .. } => "revoke-user",
        }
    }
}

impl Approvers {
    /// The list that a cluster begins with.
    pub fn of_charter(charter: &Charter) -> Self {
        let members = charter.approvers.clone();
        Self { version: 1, quorum: charter.floor_m, members }
    }

    /// SHA-256 of the canonical encoding.
    pub fn digest(&self) -> Digest {
        sha256(&encode(self))
    }

    /// True if every member is a person of his own, by name and by key, and the quorum is not below
    /// `floor` and can be reached. A list that is not sound approves nothing.
    pub fn is_sound(&self, floor: u32) -> bool {
        let mut names: Vec<_> = self.members.iter().map(|member| &member.name).collect();
        let mut keys: Vec<_> = self.members.iter().map(|member| member.key_hash).collect();
        names.sort_unstable();
        names.dedup();
        keys.sort_unstable();
        keys.dedup();
        self.members.len() <= MEMBERS_MAX
            && self.members.iter().all(|member| is_name(&member.name))
            && names.len() == self.members.len()
            && keys.len() == self.members.len()
            && self.quorum >= floor.max(1)
            && self.quorum as usize <= self.members.len()
    }

    /// True if so many members can approve a request of this requester's, who is not counted.
    pub fn can_approve(&self, requester: &str, requester_key: Option<Digest>) -> bool {
        let others = self.members.iter().filter(|it| !is_same(it, requester, requester_key));
        others.count() >= self.quorum as usize
    }
}

/// Whether the member is who asks: by the last name in his path, whatever his role, or by his key.
fn is_same(member: &Approver, requester: &str, requester_key: Option<Digest>) -> bool {
    let name = requester.rsplit('/').next();
    name == Some(member.name.as_str()) || requester_key == Some(member.key_hash)
}

impl ApprovalRequest {
    /// Decodes a request strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let request: Self = canonical::decode(bytes, REQUEST_BYTES_MAX)?;
        if request.version == VERSION { Ok(request) } else { Err(DecodeError::UnknownVersion) }
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Whether the member is who asked.
    pub fn is_requester(&self, member: &Approver) -> bool {
        is_same(member, &self.requester, self.requester_key)
    }

    /// What approvers sign.
    pub fn digest(&self) -> Digest {
        sha256(&framed("mintmark approval request v1", &[&encode(self)]))
    }
}

impl ApprovalStatement {
    /// A yes or a no to a request.
    pub fn to(request: &ApprovalRequest, approve: bool) -> Self {
        let (request, cluster) = (request.digest(), request.cluster.clone());
        Self { version: VERSION, request, cluster, approve }
    }
}
