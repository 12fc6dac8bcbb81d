//! The disk form of what headquarters' host remembers of the entitlements that it granted.

use serde::{Deserialize, Serialize};

/// An entitlement that this host granted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct GrantedRecord {
    pub(crate) number: u32,
    pub(crate) product: String,
    /// Units credited, extensions included, whatever was taken back.
    pub(crate) limit: u64,
    pub(crate) not_before: u64,
    /// The end of the window, as it was ordered last.
    pub(crate) not_after: u64,
    /// `audit_return` of the terms.
    pub(crate) audit_units: u64,
    pub(crate) audit_seconds: u64,
    pub(crate) issued_at: u64,
    /// SubjectPublicKeyInfo of the batch CA's key, where there is one.
    pub(crate) batch_key: Option<Vec<u8>>,
    /// SHA-256 of the product CA's certificate, where there is one.
    pub(crate) product_ca: Option<[u8; 32]>,
    /// How many directives were signed about it.
    pub(crate) directives: u32,
    /// Whether one of them revoked it.
    pub(crate) revoked: bool,
    /// The epoch and the number of its message to the site; none where the site showed it first.
    pub(crate) message: Option<(u64, u64)>,
    /// The first ledger of the site whose checkpoint says that the message was taken.
    pub(crate) taken_by: Option<u64>,
    /// Whether that ledger reported all that there was, and did not name the entitlement.
    pub(crate) unused: bool,
    /// The newest ledger of the site that does not have it, although an older one had.
    pub(crate) forgotten_by: Option<u64>,
    /// What the site's host said at the last row that has a receipt.
    pub(crate) reported: Option<ReportedRecord>,
    /// The digest of the site's closing statement, once it is here.
    pub(crate) closed: Option<[u8; 32]>,
}

/// What a site's checkpoint said of an entitlement.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ReportedRecord {
    pub(crate) counters: [u64; 10],
    pub(crate) limit: u64,
    pub(crate) ended: bool,
    /// The row: of which ledger, and its number.
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    /// Up to when all is reported.
    pub(crate) as_of: u64,
}

/// What a site was credited of a product lately.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CreditRecord {
    pub(crate) at: u64,
    pub(crate) units: u64,
    pub(crate) entitlement: String,
}
