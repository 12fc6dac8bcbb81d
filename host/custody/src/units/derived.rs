//! Device keys that follow from an entitlement's secret: the same at headquarters and at the site.
//!
//! Everything that tells two devices apart is in what the secret is expanded with, each field after
//! its length; so no two units, entitlements, products or algorithms share a key, also where they
//! shared a secret. `crypto` adds the number of the try, which counts rejected scalars from 0.

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{Secret, device_key, framed};
use mintmark_exchange::grant::Grant;

/// The label under which device keys are derived (03, 3.3).
const LABEL: &str = "mintmark device key v1";

/// The key of a unit.
pub(super) fn derived_key(
    algorithm: SignatureAlgorithm,
    secret: &Secret<32>,
    grant: &Grant,
    unit: u64,
) -> SigningKey {
    device_key(algorithm, secret, &info(algorithm, &grant.product.id, &grant.entitlement, unit))
}

fn info(algorithm: SignatureAlgorithm, product: &str, entitlement: &str, unit: u64) -> Vec<u8> {
    let fields: [&[u8]; 4] = [
        algorithm.name().as_bytes(),
        product.as_bytes(),
        entitlement.as_bytes(),
        &unit.to_be_bytes(),
    ];
    framed(LABEL, &fields)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mintmark_crypto::digest::sha256;

    use super::*;

    const ENTITLEMENT: &str = "ent-0123456789abcdef";

    fn secret() -> Secret<32> {
        Secret::filled_by(|bytes| (0..).zip(bytes).for_each(|(value, byte)| *byte = value))
    }

    /// Scalar and SHA-256 of the SubjectPublicKeyInfo, computed by a program of its own from the
    /// format's text: HMAC-SHA-256 and the curve's equation.
    #[test]
    fn the_keys_are_those_of_the_published_vectors() {
        let vectors = [
            (
                0,
                "66a94b9377b92aaf74f5ffcef1d8a81383dd4b1632b4876107179711677747f7",
                "3d5c8d79fa2d97865097cf5ac869f2aed253db43467d30e0ff71b27e0633c1de",
            ),
            (
                1,
                "5e2ff2ba0a10a11591f7d729b300532ef645053edb5c2e665ac57978d6317d4e",
                "13d36d12e6affd927cbfcf8593e1f57ad9357db811b7408ecf8eeb9f02408bed",
            ),
            (
                1 << 40,
                "28c101c0bcc4c1bc6e7d8cda879b66d648011e53e3b5262249c861d7dbfb6534",
                "491d3fa90188b6fe147f6982a96820a918577dbec52ee513d14bd11695f2e36e",
            ),
        ];
        let algorithm = SignatureAlgorithm::EcdsaP256;
        for (unit, scalar, key_hash) in vectors {
            let info = info(algorithm, "thermostat-2", ENTITLEMENT, unit);
            let key = device_key(algorithm, &secret(), &info);
            assert_eq!(hex::encode(key.to_scalar().expose()), scalar, "unit {unit}");
            assert_eq!(hex::encode(sha256(key.public_key_info())), key_hash, "unit {unit}");
        }
        let algorithm = SignatureAlgorithm::Ed25519;
        let key =
            device_key(algorithm, &secret(), &info(algorithm, "thermostat-2", ENTITLEMENT, 0));
        assert_eq!(
            hex::encode(key.to_scalar().expose()),
            "556d588317be526d9daace1f84df96b34d5db3f6448ff52556579185faed135b",
        );
    }

    #[test]
    fn nothing_shares_a_key_even_under_one_secret() {
        let secret = secret();
        let (mut keys, mut made) = (BTreeSet::new(), 0);
        for algorithm in SignatureAlgorithm::ALL {
            // Names that would run into each other if they were merely put side by side.
            for (product, entitlement) in
                [("t2", "ent-1"), ("t2e", "nt-1"), ("t", "2ent-1"), ("t2", "ent-11"), ("", "")]
            {
                for unit in [0, 1, 256, 1 << 32, u64::MAX] {
                    let info = info(algorithm, product, entitlement, unit);
                    let key = device_key(algorithm, &secret, &info);
                    keys.insert(key.to_scalar().expose().to_vec());
                    made += 1;
                }
            }
        }
        assert_eq!(keys.len(), made);
    }
}
