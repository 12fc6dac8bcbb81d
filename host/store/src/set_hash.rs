//! A keyed additive hash over the live records: one number that changes when any record does.
//!
//! It is the sum, modulo 2^256, of one HMAC-SHA-256 per record. A commit subtracts the terms of
//! what it replaced and adds those of what it wrote, so its cost does not grow with the store.
//! Without the key nobody can find another set of records with the same sum, as the terms are not
//! known; with it, a record that was removed, added or set back by itself shows in a full walk.

use mintmark_crypto::{Secret, digest, mac};

use crate::{Key, Version};

/// The key of the set hash; known to the host alone.
pub(crate) struct SetKey(Secret<32>);

impl SetKey {
    pub(crate) fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The term of one record: table ‖ key length u32 ‖ key ‖ version u64 ‖ SHA-256(value).
    pub(crate) fn term(&self, key: &Key, version: Version, value: &[u8]) -> [u8; 32] {
        let key_len = u32::try_from(key.key.len()).expect("keys are at most 1024 bytes");
        let mut message = Vec::with_capacity(45 + key.key.len());
        message.push(key.table);
        message.extend_from_slice(&key_len.to_be_bytes());
        message.extend_from_slice(&key.key);
        message.extend_from_slice(&version.0.to_be_bytes());
        message.extend_from_slice(&digest::sha256(value));
        mac::hmac_sha256(self.0.expose(), &message)
    }
}

/// `sum + term` modulo 2^256, big-endian.
pub(crate) fn add(sum: &mut [u8; 32], term: &[u8; 32]) {
    let mut carry = 0_u16;
    for (byte, addend) in sum.iter_mut().zip(term).rev() {
        let [high, low] = (u16::from(*byte) + u16::from(*addend) + carry).to_be_bytes();
        *byte = low;
        carry = u16::from(high);
    }
}

/// `sum - term` modulo 2^256, big-endian.
pub(crate) fn subtract(sum: &mut [u8; 32], term: &[u8; 32]) {
    let mut borrow = false;
    for (byte, subtrahend) in sum.iter_mut().zip(term).rev() {
        let (difference, borrowed_first) = byte.overflowing_sub(*subtrahend);
        let (difference, borrowed_second) = difference.overflowing_sub(u8::from(borrow));
        *byte = difference;
        borrow = borrowed_first || borrowed_second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addition_and_subtraction_are_inverse_and_wrap() {
        let terms: Vec<[u8; 32]> = (0_u8..64).map(|n| digest::sha256(&[n])).collect();
        let mut sum = [0; 32];
        terms.iter().for_each(|term| add(&mut sum, term));
        assert_ne!(sum, [0; 32]);
        terms.iter().rev().for_each(|term| subtract(&mut sum, term));
        assert_eq!(sum, [0; 32]);

        let mut one = [0; 32];
        one[31] = 1;
        subtract(&mut sum, &one);
        assert_eq!(sum, [0xff; 32]);
        add(&mut sum, &one);
        assert_eq!(sum, [0; 32]);
    }

    #[test]
    fn a_term_depends_on_every_part() {
        let key = SetKey::new(Secret::from_bytes(&[7; 32]));
        let base = key.term(&Key::new(1, "ab"), Version(1), b"v");
        for other in [
            key.term(&Key::new(2, "ab"), Version(1), b"v"),
            key.term(&Key::new(1, "a"), Version(1), b"v"),
            key.term(&Key::new(1, "ab"), Version(2), b"v"),
            key.term(&Key::new(1, "ab"), Version(1), b"w"),
            SetKey::new(Secret::from_bytes(&[8; 32])).term(&Key::new(1, "ab"), Version(1), b"v"),
        ] {
            assert_ne!(base, other);
        }
    }
}
