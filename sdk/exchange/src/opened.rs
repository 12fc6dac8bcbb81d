//! Opened bundles: what an auditor needs to repeat a reconciliation without the site, headquarters
//! or their keys.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | `MMOB` |
//! | 2 | version, 1, big-endian |
//! | 4 | length of the head, big-endian |
//! | … | head ([`OpenedHead`]) |
//! | … | the bundle's body, as [`crate::bundle`] describes it |
//!
//! Nothing vouches for the file as a whole, and nothing has to: orders and checkpoints are signed
//! and carry their chains, and the rows hash to the checkpoints.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, DecodeError, Digest},
    order::SignedOrder,
    reconcile::LostHead,
};

/// The facts beside the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedHead {
    /// SPIFFE URI of the site.
    pub site: String,
    /// The bundle's message digest.
    pub bundle: Digest,
    /// When the site made it, milliseconds since the epoch.
    pub made_at: u64,
    /// The grants of the site, each signed under [`GRANT`](crate::order::GRANT).
    pub grants: Vec<SignedOrder>,
    /// The directives to the site, each signed under [`DIRECTIVE`](crate::order::DIRECTIVE).
    pub directives: Vec<SignedOrder>,
    /// The site's closing statements, each signed under [`CLOSING`](crate::order::CLOSING).
    pub closings: Vec<SignedOrder>,
    /// Rows of headquarters' own ledger that the bundle names and that headquarters lacks, as it
    /// says itself.
    pub lost_heads: Vec<LostHead>,
    /// Whether headquarters was ever restored from a backup, as it says itself.
    pub restored: bool,
}

/// The first bytes of an opened bundle.
pub const MAGIC: [u8; 4] = *b"MMOB";
/// The only version of the format.
pub const VERSION: u16 = 1;
/// Most bytes of an encoded head.
pub const HEAD_BYTES_MAX: usize = 64 << 20;
/// Bytes before the head.
pub const PREFIX_BYTES: usize = 10;

impl OpenedHead {
    fn orders(&self) -> impl Iterator<Item = &SignedOrder> {
        self.grants.iter().chain(&self.directives).chain(&self.closings)
    }

    /// The file up to the body; `None` for a head that is too long.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let head = canonical::encode(self);
        let length = u32::try_from(head.len()).ok().filter(|_| head.len() <= HEAD_BYTES_MAX)?;
        let mut file = Vec::with_capacity(PREFIX_BYTES + head.len());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_be_bytes());
        file.extend_from_slice(&length.to_be_bytes());
        file.extend_from_slice(&head);
        Some(file)
    }

    /// How many bytes the head has that comes after these, the first bytes of a file.
    pub fn length(prefix: &[u8; PREFIX_BYTES]) -> Result<usize, DecodeError> {
        let [m, a, g, i, v0, v1, length @ ..] = *prefix;
        if [m, a, g, i] != MAGIC {
            return Err(DecodeError::Malformed);
        }
        if u16::from_be_bytes([v0, v1]) != VERSION {
            return Err(DecodeError::UnknownVersion);
        }
        let length = usize::try_from(u32::from_be_bytes(length)).ok();
        length.filter(|length| *length <= HEAD_BYTES_MAX).ok_or(DecodeError::TooLong)
    }

    /// Reads a head, as long as [`Self::length`] said.
    pub fn decode(head: &[u8]) -> Result<Self, DecodeError> {
        let head: Self = canonical::decode(head, HEAD_BYTES_MAX)?;
        let bounded = head.orders().all(SignedOrder::is_bounded);
        if bounded { Ok(head) } else { Err(DecodeError::TooLong) }
    }

    /// Cuts a file into head and body.
    pub fn split(file: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let (prefix, rest) = file.split_first_chunk().ok_or(DecodeError::Malformed)?;
        let (head, body) =
            rest.split_at_checked(Self::length(prefix)?).ok_or(DecodeError::Malformed)?;
        Ok((Self::decode(head)?, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HeadRef;

    fn head() -> OpenedHead {
        let grant = SignedOrder { body: vec![1], chain: vec![vec![2]], signature: vec![3] };
        let directive = SignedOrder { body: vec![4], ..grant.clone() };
        let closing = SignedOrder { body: vec![5], ..grant.clone() };
        OpenedHead {
            site: "spiffe://acme/site/shenzhen".to_owned(),
            bundle: [4; 32],
            made_at: 5,
            grants: vec![grant],
            directives: vec![directive],
            closings: vec![closing],
            lost_heads: vec![LostHead { head: HeadRef::default(), by_restore: true }],
            restored: true,
        }
    }

    #[test]
    fn a_file_comes_apart_into_head_and_body() {
        let mut file = head().encode().unwrap();
        file.extend_from_slice(b"body");
        assert_eq!(OpenedHead::split(&file), Ok((head(), b"body".as_slice())));
    }

    #[test]
    fn p1_every_truncated_prefix_of_the_head_is_refused() {
        let file = head().encode().unwrap();
        for end in 0..file.len() {
            assert!(OpenedHead::split(&file[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn p3_a_length_that_is_too_large_is_refused() {
        let mut file = head().encode().unwrap();
        file[6..10].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(OpenedHead::split(&file), Err(DecodeError::TooLong));
        let length = u32::try_from(HEAD_BYTES_MAX).unwrap();
        file[6..10].copy_from_slice(&length.to_be_bytes());
        assert_eq!(OpenedHead::split(&file), Err(DecodeError::Malformed));
    }
}
