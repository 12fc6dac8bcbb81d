//! Closing statements: what a site's host says of an entitlement when it is over.

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::Position,
    grant::{TermsError, is_entitlement},
    unit::Counters,
};

/// Travels as a [`SignedOrder`](crate::SignedOrder) under [`CLOSING`](crate::order::CLOSING),
/// signed by the site's custody key.
///
/// All rows about the entitlement but those of the closing itself were receipted before it was
/// made, so headquarters can compare it with what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingStatement {
    /// 1.
    pub version: u16,
    /// SPIFFE URI of the site.
    pub site: String,
    /// SPIFFE URI of the headquarters that granted it.
    pub exporter: String,
    /// The entitlement.
    pub entitlement: String,
    /// Its number.
    pub number: u32,
    /// The counters after the closing: nothing is unused.
    pub counters: Counters,
    /// Units ever credited, whatever was taken back since: unit numbers are below.
    pub limit: u64,
    /// Units whose end nobody knows yet, by number, rising.
    pub in_doubt: Vec<u64>,
    /// The row that closed the allotment comes after this one, in the ledger of the node that
    /// signs.
    pub after: Position,
    /// Site time of the statement, milliseconds since the epoch.
    pub made_at: u64,
}

/// The only version of a closing statement.
pub const VERSION: u16 = 1;
/// Most units that a statement lists as in doubt.
pub const IN_DOUBT_MAX: usize = 100_000;

impl ClosingStatement {
    /// Refuses what contradicts itself, naming the field.
    pub fn check(&self) -> Result<(), TermsError> {
        if self.version != VERSION {
            return Err(TermsError::Malformed("version"));
        }
        if !is_entitlement(&self.entitlement) {
            return Err(TermsError::Malformed("entitlement"));
        }
        if !self.counters.hold_the_equation() || self.counters.credited > self.limit {
            return Err(TermsError::Mismatch("counters"));
        }
        if self.counters.unused != 0 {
            return Err(TermsError::Mismatch("counters.unused"));
        }
        let listed = self.in_doubt.len() as u64;
        let rising = self.in_doubt.windows(2).all(|pair| pair[0] < pair[1]);
        let within = self.in_doubt.last().is_none_or(|last| *last < self.limit);
        if !rising || !within || listed != self.counters.in_doubt() {
            return Err(TermsError::Mismatch("in_doubt"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> ClosingStatement {
        ClosingStatement {
            version: VERSION,
            site: "spiffe://acme/site/shenzhen".to_owned(),
            exporter: "spiffe://acme/headquarters/berlin".to_owned(),
            entitlement: "ent-0123456789abcdef".to_owned(),
            number: 1,
            counters: Counters {
                credited: 10,
                issued: 2,
                confirmed: 5,
                destroyed: 3,
                ..Counters::default()
            },
            limit: 12,
            in_doubt: vec![4, 11],
            after: Position::default(),
            made_at: 1,
        }
    }

    fn refused(change: impl FnOnce(&mut ClosingStatement)) -> bool {
        let mut changed = statement();
        change(&mut changed);
        changed.check().is_err()
    }

    #[test]
    fn a_statement_that_does_not_add_up_is_refused() {
        assert_eq!(statement().check(), Ok(()));
        assert!(refused(|one| one.counters.destroyed += 1));
        assert!(refused(|one| (one.counters.destroyed, one.counters.unused) = (2, 1)));
        assert!(refused(|one| one.limit = 9));
        assert!(refused(|one| one.in_doubt = vec![4]));
        assert!(refused(|one| one.in_doubt = vec![11, 4]));
        assert!(refused(|one| one.in_doubt = vec![4, 4]));
        assert!(refused(|one| one.in_doubt = vec![4, 12]));
        assert!(refused(|one| one.entitlement.push('0')));
        assert!(refused(|one| one.version = 2));
    }
}
