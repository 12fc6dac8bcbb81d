//! The signature checks that this crate asks others for.

use crate::order::SignedOrder;

/// Who made a signature, as the certificate says that was verified up to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// SPIFFE URI of the cluster: `spiffe://<org>/site/<name>` or `…/headquarters/<name>`.
    pub cluster: String,
    /// The rest of the leaf's path, without a leading slash: `custody/<n>`.
    pub leaf: String,
}

/// Checks signatures. The host has one on its trust store, a plugin one on its host functions,
/// the offline verifier one on the root that it was given.
pub trait Verify {
    /// True if `signature` over `message` holds under the key with this SubjectPublicKeyInfo. The
    /// key fixes the algorithm.
    fn verify_signature(&self, public_key_info: &[u8], message: &[u8], signature: &[u8]) -> bool;

    /// Verifies the chain to the root as of `at_ms`, and the signature over
    /// [`SignedOrder::signed_bytes`]; says who signed, or nothing.
    fn verify_order(&self, label: &str, order: &SignedOrder, at_ms: u64) -> Option<Signer>;
}
