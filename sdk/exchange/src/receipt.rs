//! Receipts: headquarters' signed answers to bundles.

use serde::{Deserialize, Serialize};

use crate::{canonical::Digest, message::HeadRef, reconcile::Verdict};

/// Travels as a [`SignedOrder`](crate::SignedOrder) under [`RECEIPT`](crate::order::RECEIPT).
///
/// A site counts its unreported units from the heads of its newest receipt, so a receipt widens
/// what it may do next: custody acts on it, never a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptBody {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the headquarters that answers.
    pub exporter: String,
    /// SPIFFE URI of the site whose bundle it was.
    pub recipient: String,
    /// The bundle's message digest.
    pub bundle: Digest,
    /// Per node, the last row that headquarters now holds.
    pub heads: Vec<HeadRef>,
    /// What the check of the bundle gave.
    pub verdict: Verdict,
    /// Digest of the stored report.
    pub report: Digest,
    /// When headquarters answered, milliseconds since the epoch.
    pub made_at: u64,
    /// Up to when the bundle reports all that the site did; `audit_return.seconds` runs from it.
    pub exported_at: u64,
    /// What headquarters now holds, per entitlement.
    pub holds: Vec<Holding>,
}

/// The devices of an entitlement that headquarters knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The entitlement.
    pub entitlement: String,
    /// Units in the register that have an issued identity.
    pub devices: u64,
}

/// The only version of a receipt.
pub const VERSION: u16 = 1;
