//! Directives: headquarters' later orders about an entitlement.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, DecodeError},
    grant::{TIME_MS_MAX, TOTAL_MAX, TermsError, is_entitlement},
};

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
    /// Counts the directives about the entitlement, from 1: an older one is not acted on after a
    /// newer one, whoever kept it back.
    pub number: u32,
    /// What is to change.
    pub change: Change,
    /// For units that are added to a product with certificates: a certificate for the same batch
    /// CA key that covers them too, DER.
    pub batch_ca: Option<Vec<u8>>,
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
/// Most bytes of an encoded change.
pub const CHANGE_BYTES_MAX: usize = 64;

impl Change {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes a change strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        canonical::decode(bytes, CHANGE_BYTES_MAX)
    }

    /// The change in one word, for lists.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Reduce { .. } => "reduce",
            Self::Shorten { .. } => "shorten",
            Self::Extend { .. } => "extend",
        }
    }
}

impl Directive {
    /// Refuses what no host could act on, naming the field.
    pub fn check(&self) -> Result<(), TermsError> {
        if self.version != VERSION {
            return Err(TermsError::Malformed("version"));
        }
        if !is_entitlement(&self.entitlement) {
            return Err(TermsError::Malformed("entitlement"));
        }
        if self.number == 0 {
            return Err(TermsError::Zero("number"));
        }
        self.change.check()
    }
}

impl Change {
    /// Refuses what would change nothing or what no site could keep, naming the field.
    pub fn check(&self) -> Result<(), TermsError> {
        let time = |not_after: u64| match not_after {
            0 => Err(TermsError::Zero("not_after")),
            1..=TIME_MS_MAX => Ok(()),
            _ => Err(TermsError::TooLarge("not_after")),
        };
        let count = |units: u64| match units {
            0 => Err(TermsError::Zero("units")),
            1..=TOTAL_MAX => Ok(()),
            _ => Err(TermsError::TooLarge("units")),
        };
        match *self {
            Self::Revoke => Ok(()),
            Self::Reduce { units } => count(units),
            Self::Shorten { not_after } => time(not_after),
            Self::Extend { units: 0, not_after: Some(not_after) } => time(not_after),
            Self::Extend { units, not_after } => {
                count(units)?;
                not_after.map_or(Ok(()), time)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_back_and_its_truncations_do_not() {
        let changes = [
            Change::Revoke,
            Change::Reduce { units: 7 },
            Change::Shorten { not_after: TIME_MS_MAX },
            Change::Extend { units: TOTAL_MAX, not_after: Some(1) },
        ];
        for change in changes {
            let bytes = change.encode();
            assert_eq!(Change::decode(&bytes), Ok(change));
            assert!((0..bytes.len()).all(|end| Change::decode(&bytes[..end]).is_err()));
        }
    }

    #[test]
    fn p15_a_change_of_nothing_or_beyond_all_bounds_is_refused() {
        let refused = [
            Change::Reduce { units: 0 },
            Change::Reduce { units: u64::MAX },
            Change::Shorten { not_after: 0 },
            Change::Shorten { not_after: u64::MAX },
            Change::Extend { units: 0, not_after: None },
            Change::Extend { units: TOTAL_MAX + 1, not_after: None },
            Change::Extend { units: 1, not_after: Some(u64::MAX) },
        ];
        for change in refused {
            assert!(change.check().is_err(), "{change:?}");
        }
        assert!(Change::Extend { units: 0, not_after: Some(5) }.check().is_ok());
    }
}
