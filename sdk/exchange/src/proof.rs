//! What a device signs to show that it holds the key that it was registered with.

use serde::{Deserialize, Serialize};

use crate::canonical::{Digest, framed, sha256};

/// The label of a confirmation.
pub const LABEL: &str = "mintmark confirm v1";

/// A device's answer to the nonce that the host drew when it issued the identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProof {
    /// The device key's SubjectPublicKeyInfo, so that headquarters can verify again.
    pub public_key: Vec<u8>,
    /// The host's nonce.
    pub nonce: [u8; 32],
    /// The device's signature over [`confirm_bytes`].
    pub signature: Vec<u8>,
}

impl DeviceProof {
    /// SHA-256 of the device's SubjectPublicKeyInfo: the unit's key hash.
    pub fn key_hash(&self) -> Digest {
        sha256(&self.public_key)
    }
}

/// The bytes that the device signs: framed, with the fields entitlement id, unit (u64,
/// big-endian), identity hash, nonce.
///
/// `identity_hash` is SHA-256 of the device's certificate as DER; where the product has no
/// certificates it is SHA-256 of the device key's SubjectPublicKeyInfo.
pub fn confirm_bytes(
    entitlement: &str,
    unit: u64,
    identity_hash: &Digest,
    nonce: &[u8; 32],
) -> Vec<u8> {
    framed(LABEL, &[entitlement.as_bytes(), &unit.to_be_bytes(), identity_hash, nonce])
}
