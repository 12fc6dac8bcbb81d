//! One encoding per value: postcard, strict when read; and the framing of signed bytes.
//!
//! A value that could be written in two ways could be signed once and shown twice. Decoding
//! therefore refuses trailing bytes and anything that its own encoder would not have written.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// Why bytes are not a value of the expected format. Says nothing about the bytes themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than this format may have; nothing was read.
    #[error("longer than the format allows")]
    TooLong,
    /// The bytes end early, or are no encoding of the type.
    #[error("not an encoding of the expected type")]
    Malformed,
    /// A whole value, and then something else.
    #[error("bytes follow the value")]
    Trailing,
    /// Another encoding of a value than the one that is signed and hashed.
    #[error("not the canonical encoding")]
    NotCanonical,
    /// A version of the format that this code does not know.
    #[error("unknown format version")]
    UnknownVersion,
}

/// Encodes `value`; the same value gives the same bytes everywhere.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("the formats hold only sized sequences of plain data")
}

/// Decodes at most `bytes_max` bytes, refusing trailing bytes and other than canonical encodings.
pub fn decode<T>(bytes: &[u8], bytes_max: usize) -> Result<T, DecodeError>
where
    T: Serialize + DeserializeOwned,
{
    if bytes.len() > bytes_max {
        return Err(DecodeError::TooLong);
    }
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|_| DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing);
    }
    if encode::<T>(&value) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

/// The bytes to sign: the label, then the fields, each after its length as a big-endian `u64`.
///
/// The label separates purposes: a signature made for one can't be shown as one for another, and
/// the lengths keep two lists of fields from having the same bytes.
pub fn framed(label: &str, fields: &[&[u8]]) -> Vec<u8> {
    let length: usize = fields.iter().map(|field| field.len() + 8).sum();
    let mut bytes = Vec::with_capacity(label.len() + 8 + length);
    for part in std::iter::once(label.as_bytes()).chain(fields.iter().copied()) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// SHA-256 of the concatenation of `parts`.
pub fn sha256_of(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// True for a name of a cluster, node, leaf, plugin or product: 1 to 63 of `[a-z0-9-]`, starting
/// with a letter or digit.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.len(), 1..=63)
        && bytes[0] != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Most bytes of a subject or a serial.
pub const SUBJECT_BYTES_MAX: usize = 128;

/// Most bytes of a SPIFFE URI.
pub const SPIFFE_BYTES_MAX: usize = 255;

/// True for a subject or serial: 1 to 128 printable ASCII characters without space.
///
/// Such a string has one Unicode normal form and no look-alikes or direction marks, so comparing
/// bytes is comparing subjects.
pub fn is_subject(text: &str) -> bool {
    matches!(text.len(), 1..=SUBJECT_BYTES_MAX) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_trailing_bytes_are_refused() {
        let mut bytes = encode(&(7_u32, "x"));
        assert_eq!(decode::<(u32, String)>(&bytes, 64), Ok((7, "x".to_owned())));
        bytes.push(0);
        assert_eq!(decode::<(u32, String)>(&bytes, 64), Err(DecodeError::Trailing));
    }

    #[test]
    fn p6_an_overlong_integer_is_refused() {
        // 0x87 0x00 is 7 again, in two bytes.
        assert_eq!(decode::<u32>(&[0x87, 0x00], 64), Err(DecodeError::NotCanonical));
        assert_eq!(decode::<u32>(&[0x07], 64), Ok(7));
    }

    #[test]
    fn p3_a_huge_length_is_refused_without_its_bytes() {
        let claimed = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(decode::<Vec<u8>>(&claimed, 64), Err(DecodeError::Malformed));
        assert_eq!(decode::<Vec<u8>>(&[0; 65], 64), Err(DecodeError::TooLong));
    }

    #[test]
    fn moving_a_byte_between_fields_changes_the_framed_bytes() {
        assert_ne!(framed("l", &[b"ab", b"c"]), framed("l", &[b"a", b"bc"]));
        assert_ne!(framed("la", &[b"b"]), framed("l", &[b"ab"]));
        assert_eq!(framed("l", &[b"a"]), b"\0\0\0\0\0\0\0\x01l\0\0\0\0\0\0\0\x01a");
    }

    #[test]
    fn p16_names_and_subjects_have_one_spelling() {
        assert!(is_name("line-3") && !is_name("") && !is_name("-x") && !is_name("Ä"));
        assert!(is_subject("SN:0001/a") && !is_subject("a b") && !is_subject("a\u{202e}b"));
        assert!(!is_subject(&"x".repeat(129)));
    }
}
