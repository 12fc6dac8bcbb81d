//! Device keys that are derived: one secret stands for as many keys as there are units.

use crate::Secret;
use crate::hkdf;
use crate::sign::{SignatureAlgorithm, SigningKey};

/// The device key that follows from `seed` and `info`.
///
/// HKDF-Expand(seed, info ‖ try) gives the candidates for the scalar; `try` is one byte that
/// counts the rejected ones from 0. A candidate is rejected if it is 0 or not below the group's
/// order, so that scalars are uniform; for Ed25519 each candidate is a seed and the first is
/// taken. Whoever knows the secret derives the same key.
///
/// # Panics
///
/// If 256 candidates in a row are rejected: for P-256 that has a probability below 2^-8000.
#[must_use]
pub fn device_key(algorithm: SignatureAlgorithm, seed: &Secret<32>, info: &[u8]) -> SigningKey {
    (0..=u8::MAX)
        .find_map(|attempt| match algorithm {
            SignatureAlgorithm::Ed25519 | SignatureAlgorithm::EcdsaP256 => {
                candidate::<32>(algorithm, seed, info, attempt)
            }
            SignatureAlgorithm::EcdsaP384 => candidate::<48>(algorithm, seed, info, attempt),
        })
        .expect("one of 256 uniform candidates is below the order")
}

fn candidate<const N: usize>(
    algorithm: SignatureAlgorithm,
    seed: &Secret<32>,
    info: &[u8],
    attempt: u8,
) -> Option<SigningKey> {
    let scalar = Secret::<N>::filled_by(|bytes| hkdf::fill(seed, &[info, &[attempt]], bytes));
    SigningKey::from_scalar(algorithm, scalar.expose()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign;

    /// The order of P-256's group (SP 800-186, 3.2.1.3).
    const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

    #[test]
    fn the_same_secret_and_info_give_the_same_key() {
        for algorithm in SignatureAlgorithm::ALL {
            let seed = Secret::from_bytes(&[7; 32]);
            let key = device_key(algorithm, &seed, b"unit 1");
            let again = device_key(algorithm, &seed, b"unit 1");
            assert_eq!(key.public_key_info(), again.public_key_info());
            let other = device_key(algorithm, &seed, b"unit 2");
            assert_ne!(key.public_key_info(), other.public_key_info());
            let signature = key.sign(b"message");
            assert_eq!(sign::verify(again.public_key_info(), b"message", &signature), Ok(()));
        }
    }

    #[test]
    fn the_scalar_is_the_first_candidate() {
        let seed = Secret::from_bytes(&[7; 32]);
        let expanded = hkdf::expand(&seed, &[b"unit 1", &[0]], 32).unwrap();
        for algorithm in [SignatureAlgorithm::Ed25519, SignatureAlgorithm::EcdsaP256] {
            let key = device_key(algorithm, &seed, b"unit 1");
            assert_eq!(key.to_scalar().expose(), expanded.expose());
        }
    }

    #[test]
    fn only_scalars_from_one_to_the_order_less_one_are_taken() {
        let from = |scalar: &[u8]| SigningKey::from_scalar(SignatureAlgorithm::EcdsaP256, scalar);
        let order = hex::decode(P256_ORDER).unwrap();
        let mut below = order.clone();
        below[31] -= 1;
        let mut one = [0; 32];
        one[31] = 1;
        assert!(from(&below).is_ok());
        assert!(from(&one).is_ok());
        assert!(from(&order).is_err());
        assert!(from(&[0; 32]).is_err());
        assert!(from(&[0xff; 32]).is_err());
    }
}
