//! Orders: statements that a host signs with its custody key and other hosts act on.
//!
//! Plugins carry orders as opaque bytes. What widens a right is thereby decided by hosts from
//! authenticated bytes, never by what a plugin says that it read.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::canonical::{self, DecodeError, Digest, framed, sha256};

/// Certificates in DER, leaf first.
pub type Chain = Vec<Vec<u8>>;

/// The label of a grant's signature.
pub const GRANT: &str = "mintmark grant v1";
/// The label of a receipt's signature.
pub const RECEIPT: &str = "mintmark receipt v1";
/// The label of a directive's signature.
pub const DIRECTIVE: &str = "mintmark directive v1";
/// The label of a checkpoint's signature.
pub const CHECKPOINT: &str = "mintmark checkpoint v1";
/// The label of a charter's signature, which the root makes.
pub const CHARTER: &str = "mintmark charter v1";

/// The label of an approval's signature, which a person makes.
pub const APPROVAL: &str = "mintmark approval v1";
/// The label of a closing statement's signature.
pub const CLOSING: &str = "mintmark closing v1";

/// Most bytes of an order's body.
pub const BODY_BYTES_MAX: usize = 2 << 20;
/// Most certificates in a chain.
pub const CHAIN_LENGTH_MAX: usize = 4;
/// Most bytes of one certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a signature (an ASN.1 ECDSA P-384 signature has up to 104).
pub const SIGNATURE_BYTES_MAX: usize = 128;
/// Most bytes of an encoded order.
pub const ORDER_BYTES_MAX: usize =
    BODY_BYTES_MAX + CHAIN_LENGTH_MAX * (CERTIFICATE_BYTES_MAX + 8) + SIGNATURE_BYTES_MAX + 64;

/// A body with the signature of a cluster's host over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOrder {
    /// The canonical encoding of what is ordered.
    pub body: Vec<u8>,
    /// The custody leaf and the cluster CA (for a charter: the root alone).
    pub chain: Chain,
    /// Over [`signed_bytes`].
    pub signature: Vec<u8>,
}

/// The bytes that an order's signature covers.
pub fn signed_bytes(label: &str, body: &[u8]) -> Vec<u8> {
    framed(label, &[body])
}

/// The digest by which an order is known: of label and body, so that a second signature over the
/// same body is the same order.
pub fn digest(label: &str, body: &[u8]) -> Digest {
    sha256(&signed_bytes(label, body))
}

impl SignedOrder {
    /// Decodes an order and checks its bounds; the signature is the caller's to verify.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let order: Self = canonical::decode(bytes, ORDER_BYTES_MAX)?;
        if order.is_bounded() { Ok(order) } else { Err(DecodeError::TooLong) }
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// The digest by which this order is known under `label`.
    pub fn digest(&self, label: &str) -> Digest {
        digest(label, &self.body)
    }

    /// The bytes that this order's signature covers under `label`.
    pub fn signed_bytes(&self, label: &str) -> Vec<u8> {
        signed_bytes(label, &self.body)
    }

    /// Decodes the body. Call it after the signature has been verified.
    pub fn open<T>(&self) -> Result<T, DecodeError>
    where
        T: Serialize + DeserializeOwned,
    {
        canonical::decode(&self.body, BODY_BYTES_MAX)
    }

    /// True if no part is larger than an order may have.
    pub fn is_bounded(&self) -> bool {
        self.body.len() <= BODY_BYTES_MAX
            && self.signature.len() <= SIGNATURE_BYTES_MAX
            && chain_is_bounded(&self.chain)
    }
}

/// True for a chain of 1 to 4 certificates of at most 4 KiB.
pub fn chain_is_bounded(chain: &[Vec<u8>]) -> bool {
    matches!(chain.len(), 1..=CHAIN_LENGTH_MAX)
        && chain.iter().all(|der| matches!(der.len(), 1..=CERTIFICATE_BYTES_MAX))
}
