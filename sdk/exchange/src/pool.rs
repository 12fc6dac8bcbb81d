//! Pools of given keys: how they are announced when they are loaded, and the key file that carries
//! them to a site.
//!
//! Keys of a pool are too many for the message that carries a grant. They go in a file of their
//! own, in chunks that are each sealed to the site's transfer key under the grant's core digest.
//! The grant names the digest of the file's head, and the head that of each chunk: a file belongs
//! to one grant, and a chunk to one place in it. So a site takes chunk after chunk, and stops and
//! goes on wherever it likes.

use serde::{Deserialize, Serialize};

use crate::canonical::{self, DecodeError, Digest, encode, framed, sha256, sha256_of};
use crate::grant::is_entitlement;

/// What a key file begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFileHead {
    /// 1.
    pub version: u16,
    /// The entitlement whose units use the keys: unit n uses key n.
    pub entitlement: String,
    /// The algorithm of the keys.
    pub algorithm: String,
    /// How many keys there are.
    pub keys: u64,
    /// SHA-256 of each chunk as [`SealedKeys::encode`] writes it, in order.
    pub chunks: Vec<Digest>,
}

/// A chunk of a key file: scalars (or seeds) of fixed length, one after the other, sealed.
///
/// AAD of the sealing is [`chunk_aad`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKeys {
    /// The HPKE encapsulated key.
    pub encapsulated: Vec<u8>,
    /// The sealed bytes.
    pub ciphertext: Vec<u8>,
}

/// A key file, cut into its parts.
#[derive(Debug, Clone, Copy)]
pub struct KeyFile<'a> {
    head: &'a [u8],
    chunks: &'a [u8],
}

/// The only version of a key file.
pub const VERSION: u16 = 1;
/// The first bytes of a key file.
pub const MAGIC: [u8; 4] = *b"MMKF";
/// Keys of every chunk but the last, in a load and in a key file.
pub const CHUNK_KEYS: usize = 1024;
/// Most keys of a key file.
pub const KEYS_MAX: u64 = 1 << 20;
/// Most keys of a load.
pub const LOAD_KEYS_MAX: u64 = 1 << 22;
/// Most bytes of an encoded head.
pub const HEAD_BYTES_MAX: usize = (KEYS_MAX as usize / CHUNK_KEYS) * 32 + 256;
/// Most bytes of an encoded chunk: scalars of 48 bytes, and what sealing adds.
pub const CHUNK_BYTES_MAX: usize = CHUNK_KEYS * 48 + 256;
/// The HPKE `info` of chunks.
pub const CHUNK_INFO: &[u8] = b"mintmark key file v1";

impl KeyFileHead {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a head strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let head: Self = canonical::decode(bytes, HEAD_BYTES_MAX)?;
        if head.version != VERSION {
            return Err(DecodeError::UnknownVersion);
        }
        let sound = is_entitlement(&head.entitlement)
            && (1..=KEYS_MAX).contains(&head.keys)
            && head.chunks.len() as u64 == head.keys.div_ceil(CHUNK_KEYS as u64);
        if sound { Ok(head) } else { Err(DecodeError::Malformed) }
    }

    /// The digest by which a grant names the file.
    pub fn digest(&self) -> Digest {
        sha256(&framed("mintmark key file v1", &[&self.encode()]))
    }
}

impl SealedKeys {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a chunk strictly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        canonical::decode(bytes, CHUNK_BYTES_MAX)
    }
}

impl<'a> KeyFile<'a> {
    /// Cuts a file into head and chunks; what is in them is for a site's host to check.
    ///
    /// # Errors
    ///
    /// For bytes that do not begin as a key file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(DecodeError::Malformed)?;
        let (head, chunks) = frame(rest, HEAD_BYTES_MAX)?;
        Ok(Self { head, chunks })
    }

    /// The encoded head.
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The encoded chunks, in order.
    ///
    /// # Errors
    ///
    /// For a file that ends in the middle of a chunk.
    pub fn chunks(&self) -> Result<Vec<&'a [u8]>, DecodeError> {
        let mut chunks = Vec::new();
        let mut rest = self.chunks;
        while !rest.is_empty() {
            let (chunk, after) = frame(rest, CHUNK_BYTES_MAX)?;
            chunks.push(chunk);
            rest = after;
        }
        Ok(chunks)
    }
}

/// A key file of these parts.
pub fn assemble(head: &KeyFileHead, chunks: &[Vec<u8>]) -> Vec<u8> {
    let length: usize = chunks.iter().map(|chunk| chunk.len() + 4).sum();
    let mut file = Vec::with_capacity(length + HEAD_BYTES_MAX);
    file.extend_from_slice(&MAGIC);
    let head = head.encode();
    for part in std::iter::once(&head).chain(chunks) {
        let length = u32::try_from(part.len()).expect("heads and chunks are below 64 KiB");
        file.extend_from_slice(&length.to_be_bytes());
        file.extend_from_slice(part);
    }
    file
}

/// The digest of an encoded chunk.
pub fn sealed_digest(chunk: &[u8]) -> Digest {
    sha256(&framed("mintmark sealed keys v1", &[chunk]))
}

/// What a chunk is sealed under: the grant's core digest, and its place in the file.
pub fn chunk_aad(core: &Digest, chunk: u32) -> Vec<u8> {
    framed("mintmark key chunk v1", &[core, &chunk.to_be_bytes()])
}

/// The digest of a chunk of a load: its keys as they were given.
pub fn given_digest<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let fields: Vec<&[u8]> = keys.into_iter().collect();
    sha256(&framed("mintmark given keys v1", &fields))
}

/// The digest of a whole load, of the digests of its chunks.
pub fn load_digest(chunks: &[Digest]) -> Digest {
    let parts: Vec<&[u8]> = chunks.iter().map(|digest| &digest[..]).collect();
    sha256_of(&parts)
}

/// A part behind its length.
fn frame(bytes: &[u8], bytes_max: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| DecodeError::TooLong)?;
    if length > bytes_max {
        return Err(DecodeError::TooLong);
    }
    rest.split_at_checked(length).ok_or(DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(keys: u64, chunks: usize) -> KeyFileHead {
        KeyFileHead {
            version: 1,
            entitlement: "ent-0123456789abcdef".to_owned(),
            algorithm: "ecdsa-p256".to_owned(),
            keys,
            chunks: vec![[7; 32]; chunks],
        }
    }

    #[test]
    fn a_file_comes_apart_as_it_was_put_together() {
        let chunks = vec![vec![1; 70], vec![2; 5]];
        let file = assemble(&head(1_025, 2), &chunks);
        let parsed = KeyFile::parse(&file).unwrap();
        assert_eq!(KeyFileHead::decode(parsed.head()), Ok(head(1_025, 2)));
        assert_eq!(parsed.chunks().unwrap(), [&chunks[0][..], &chunks[1][..]]);
    }

    #[test]
    fn p1_a_file_that_was_cut_off_is_never_a_whole_one() {
        let file = assemble(&head(1_025, 2), &[vec![1; 70], vec![2; 5]]);
        for end in 0..file.len() {
            let chunks = KeyFile::parse(&file[..end]).and_then(|file| file.chunks());
            assert!(chunks.is_err() || chunks.unwrap().len() < 2, "{end}");
        }
    }

    #[test]
    fn p3_a_huge_length_is_refused_without_its_bytes() {
        let file = [&MAGIC[..], &[0xff; 4]].concat();
        assert_eq!(KeyFile::parse(&file).err(), Some(DecodeError::TooLong));
    }

    #[test]
    fn i8_a_head_that_contradicts_itself_is_refused() {
        let refused = |head: KeyFileHead| KeyFileHead::decode(&head.encode()).unwrap_err();
        assert_eq!(refused(head(1_024, 2)), DecodeError::Malformed);
        assert_eq!(refused(head(0, 0)), DecodeError::Malformed);
        assert_eq!(refused(head(KEYS_MAX + 1, 1_025)), DecodeError::Malformed);
        let newer = KeyFileHead { version: 2, ..head(1, 1) };
        assert_eq!(refused(newer), DecodeError::UnknownVersion);
        let most = head(KEYS_MAX, 1_024);
        assert_eq!(KeyFileHead::decode(&most.encode()), Ok(most));
    }

    #[test]
    fn a_chunk_has_one_place_and_a_load_one_digest() {
        assert_ne!(chunk_aad(&[1; 32], 0), chunk_aad(&[1; 32], 1));
        assert_ne!(given_digest([&b"ab"[..], b"c"]), given_digest([&b"a"[..], b"bc"]));
        assert_ne!(load_digest(&[[1; 32], [2; 32]]), load_digest(&[[2; 32], [1; 32]]));
    }
    proptest! {
        #[test]
        fn p2_a_flipped_bit_gives_no_head_or_one_that_no_grant_names(
            bit in any::<prop::sample::Index>(),
        ) {
            let bytes = head(2_000, 2).encode();
            let mut flipped = bytes.clone();
            let bit = bit.index(bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = KeyFileHead::decode(&flipped);
            prop_assert!(read.is_err() || read.unwrap().digest() != head(2_000, 2).digest());
        }

        #[test]
        fn p3_any_bytes_are_cut_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _any = SealedKeys::decode(&bytes);
            let _any = KeyFileHead::decode(&bytes);
            bytes.splice(0..0, MAGIC);
            let length = bytes.len();
            if let Ok(chunks) = KeyFile::parse(&bytes).and_then(|file| file.chunks()) {
                prop_assert!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>() < length);
            }
        }
    }
}
