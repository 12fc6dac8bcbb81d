//! The disk form of what waits for approvals, and of the list of approvers.

use serde::{Deserialize, Serialize};

/// An act that waits. It goes when the act is done, when somebody says no, or when it expires.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ApprovalRecord {
    /// The request, encoded.
    pub(crate) request: Vec<u8>,
    /// A yes of each person who gave one, encoded, in the order in which they came.
    pub(crate) statements: Vec<Vec<u8>>,
}

/// The list of approvers after a change.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ApproversRecord {
    /// The list, encoded.
    pub(crate) list: Vec<u8>,
}
