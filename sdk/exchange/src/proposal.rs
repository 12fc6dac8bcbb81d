//! What plugins write: a grant's proposal, and the bodies of the messages that carry orders.
//!
//! None of it limits anything. A proposal becomes a grant only by the host's check and signature,
//! and a body merely carries an order that the other host verifies for itself.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, DecodeError},
    grant::{PACKAGE_BYTES_MAX, Terms, TermsError},
    order::ORDER_BYTES_MAX,
    product::{KeyOrigin, Product},
};

/// What headquarters' plugin asks its host to grant. The host adds id, number, recipient, accepted
/// plugins and CA certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantProposal {
    /// 1.
    pub version: u16,
    /// The order number that it fulfils.
    pub order: String,
    /// The devices.
    pub product: Product,
    /// The limits.
    pub terms: Terms,
    /// The pool that device keys are taken off; there exactly where the product's origin is one.
    pub pool: Option<String>,
}

/// The body of a message with the purpose `entitlement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementBody {
    /// 1.
    pub version: u16,
    /// An encoded [`GrantPackage`](crate::grant::GrantPackage), as `transfers` made it.
    pub order: Vec<u8>,
}

/// The body of a message with the purpose `receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptMessageBody {
    /// 1.
    pub version: u16,
    /// An encoded [`SignedOrder`](crate::SignedOrder) under [`RECEIPT`](crate::order::RECEIPT).
    pub order: Vec<u8>,
}

/// The body of a message with the purpose `directive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectiveMessageBody {
    /// 1.
    pub version: u16,
    /// An encoded [`SignedOrder`](crate::SignedOrder) under
    /// [`DIRECTIVE`](crate::order::DIRECTIVE).
    pub order: Vec<u8>,
}

/// The body of a message with the purpose `closing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingMessageBody {
    /// 1.
    pub version: u16,
    /// An encoded [`SignedOrder`](crate::SignedOrder) under [`CLOSING`](crate::order::CLOSING).
    pub order: Vec<u8>,
}

/// The only version of a proposal and of the bodies.
pub const VERSION: u16 = 1;
/// Most bytes of a proposal.
pub const PROPOSAL_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a body beyond the order in it.
const BODY_OVERHEAD_BYTES_MAX: usize = 16;

impl GrantProposal {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes a proposal strictly; [`GrantProposal::check`] says whether it makes sense.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let proposal: Self = canonical::decode(bytes, PROPOSAL_BYTES_MAX)?;
        known(proposal.version, proposal)
    }

    /// Refuses what no site could keep, naming the field.
    pub fn check(&self) -> Result<(), TermsError> {
        if !canonical::is_subject(&self.order) {
            return Err(TermsError::Malformed("order"));
        }
        if (self.product.origin == KeyOrigin::Pool) != self.pool.is_some() {
            return Err(TermsError::Mismatch("product.pool"));
        }
        self.terms.check()?;
        self.product.check(self.terms.total)
    }
}

impl EntitlementBody {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes a body strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body: Self = canonical::decode(bytes, PACKAGE_BYTES_MAX + BODY_OVERHEAD_BYTES_MAX)?;
        known(body.version, body)
    }
}

impl ReceiptMessageBody {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes a body strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body: Self = canonical::decode(bytes, ORDER_BYTES_MAX + BODY_OVERHEAD_BYTES_MAX)?;
        known(body.version, body)
    }
}

impl DirectiveMessageBody {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes a body strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body: Self = canonical::decode(bytes, ORDER_BYTES_MAX + BODY_OVERHEAD_BYTES_MAX)?;
        known(body.version, body)
    }
}

impl ClosingMessageBody {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes a body strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body: Self = canonical::decode(bytes, ORDER_BYTES_MAX + BODY_OVERHEAD_BYTES_MAX)?;
        known(body.version, body)
    }
}

fn known<T>(version: u16, value: T) -> Result<T, DecodeError> {
    if version == VERSION { Ok(value) } else { Err(DecodeError::UnknownVersion) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_round_trips_and_another_version_is_refused() {
        let body = EntitlementBody { version: 1, order: vec![7; 300] };
        assert_eq!(EntitlementBody::decode(&body.encode()), Ok(body.clone()));
        let newer = EntitlementBody { version: 2, ..body };
        assert_eq!(EntitlementBody::decode(&newer.encode()), Err(DecodeError::UnknownVersion));
    }

    #[test]
    fn p1_every_truncated_prefix_of_a_body_is_refused() {
        let bytes = ReceiptMessageBody { version: 1, order: vec![7; 40] }.encode();
        for end in 0..bytes.len() {
            assert!(ReceiptMessageBody::decode(&bytes[..end]).is_err(), "{end}");
            assert!(DirectiveMessageBody::decode(&bytes[..end]).is_err(), "{end}");
            assert!(ClosingMessageBody::decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
