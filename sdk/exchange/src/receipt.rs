//! Receipts: headquarters' signed answers to bundles.

use serde::{Deserialize, Serialize};

use crate::{canonical::Digest, checkpoint::Checkpoint, message::HeadRef, reconcile::Verdict};

/// Travels as a [`SignedOrder`](crate::SignedOrder) under [`RECEIPT`](crate::order::RECEIPT).
///
/// A site counts its unreported units from the last rows of its newest receipt, so a receipt widens
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
    /// Per checkpoint of the bundle, the rows that headquarters now holds.
    pub stretches: Vec<Stretch>,
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

/// The rows of a ledger that a checkpoint covers.
///
/// The last row's hash alone does not say which rows come before it to somebody who has none of
/// them: he believes the Merkle root, so the receipt must name the one that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The sequence of the row before the first one; zero at the beginning.
    pub from: u64,
    /// The last row.
    pub to: HeadRef,
    /// [`crate::merkle::Tree`] over the hashes of the rows.
    pub merkle_root: Digest,
}

impl Stretch {
    /// What the checkpoint covers.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let to = HeadRef {
            node: checkpoint.node.clone(),
            incarnation: checkpoint.incarnation,
            sequence: checkpoint.to.sequence,
            hash: checkpoint.to.hash,
        };
        Self { from: checkpoint.from.sequence, to, merkle_root: checkpoint.merkle_root }
    }
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
