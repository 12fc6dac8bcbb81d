//! SubjectPublicKeyInfo (RFC 5280, 4.1.2.7): the one form in which public keys travel.
//!
//! Each kind of key has exactly one encoding here: fixed leading bytes, then a key of fixed
//! length. Compressed points, explicit curve parameters and other paraphrases do not match, so
//! that two encodings of one key cannot have two digests.

use crate::Error;

/// The kinds of public keys that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Ed25519,
    P256,
    P384,
    X25519,
}

impl KeyKind {
    const ALL: [Self; 4] = [Self::Ed25519, Self::P256, Self::P384, Self::X25519];

    /// The encoding of a raw key of this kind.
    pub(crate) fn encode(self, key: &[u8]) -> Vec<u8> {
        debug_assert_eq!(key.len(), self.key_len());
        [self.prefix(), key].concat()
    }

    /// Everything before the key itself: two SEQUENCEs, the algorithm (RFC 8410, RFC 5480), and
    /// the head of the BIT STRING.
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
            Self::X25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00",
            Self::P256 => {
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                  \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
            }
            Self::P384 => {
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                  \x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00"
            }
        }
    }

    fn key_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::X25519 => 32,
            Self::P256 => 1 + 2 * 32,
            Self::P384 => 1 + 2 * 48,
        }
    }
}

/// Kind and raw key of an encoded public key. The point is checked where the key is used.
pub(crate) fn parse(info: &[u8]) -> Result<(KeyKind, &[u8]), Error> {
    KeyKind::ALL
        .into_iter()
        .find_map(|kind| Some((kind, info.strip_prefix(kind.prefix())?)))
        .filter(|(kind, key)| key.len() == kind.key_len())
        .ok_or(Error::PublicKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_again() {
        for kind in KeyKind::ALL {
            let key = vec![4; kind.key_len()];
            let info = kind.encode(&key);
            assert_eq!(parse(&info), Ok((kind, key.as_slice())));
        }
    }

    #[test]
    fn k6_other_lengths_and_other_algorithms_are_refused() {
        for kind in KeyKind::ALL {
            let info = kind.encode(&vec![4; kind.key_len()]);
            for len in 0..info.len() {
                assert_eq!(parse(&info[..len]), Err(Error::PublicKey));
            }
            assert_eq!(parse(&[&info[..], &[0]].concat()), Err(Error::PublicKey));
        }
        // X448 (RFC 8410) with a key of 32 bytes.
        let x448 = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6f\x03\x21\x00".as_slice(), &[4; 32]];
        assert_eq!(parse(&x448.concat()), Err(Error::PublicKey));
    }
}
