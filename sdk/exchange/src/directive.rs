//! Directives: headquarters' later orders about an entitlement.

use serde::{Deserialize, Serialize};

/// Travels as a [`SignedOrder`](crate::SignedOrder) under
/// [`DIRECTIVE`](crate::order::DIRECTIVE); acted on by custody alone, only for allotments whose
/// grant came from the same exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the headquarters that orders.
    pub exporter: String,
    /// SPIFFE URI of the site that is to act.
    pub recipient: String,
    /// The entitlement.
    pub entitlement: String,
    /// What is to change.
    pub change: Change,
    /// Makes two equal changes two orders.
    pub id: [u8; 16],
    /// When headquarters ordered it, milliseconds since the epoch.
    pub made_at: u64,
}

/// The change of an entitlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Nothing more is reserved or released, for ever.
    Revoke,
    /// Takes away as many of these units as are unused, and says how many that were.
    Reduce {
        /// How many at most.
        units: u64,
    },
    /// The window ends earlier.
    Shorten {
        /// The new end, not later than the present one.
        not_after: u64,
    },
    /// More units, a later end, or both.
    Extend {
        /// Units to add; zero for none.
        units: u64,
        /// The new end, not earlier than the present one; `None` leaves it.
        not_after: Option<u64>,
    },
}

/// The only version of a directive.
pub const VERSION: u16 = 1;
