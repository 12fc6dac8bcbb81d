//! The two records that the store keeps about itself: the header and its standing.
//!
//! ```text
//! header:    magic 8 ‖ format u32 ‖ store id 16 ‖ HMAC-SHA-256 32          (in the clear)
//! standing:  commit u64 ‖ set hash 32
//!            ‖ previous (commit u64 ‖ heads digest 32 ‖ set hash 32)
//!            ‖ head count u32 ‖ per head: name length u8 ‖ name ‖ sequence u64 ‖ hash 32
//!                                                                          (sealed)
//! ```

use mintmark_crypto::Secret;

use crate::{Damage, Error, Head, Identity, Mark, Position, sealing::Sealing};

const MAGIC: &[u8; 8] = b"MINTMARK";
/// The newest format that this program reads, and the one that it writes.
const FORMAT: u32 = 1;
const HEADER_LEN: usize = 28;

/// Which store this is, and in which format.
pub(super) struct Header {
    store_id: [u8; 16],
}

impl Header {
    pub(super) fn new(store_id: [u8; 16]) -> Self {
        Self { store_id }
    }

    pub(super) fn encode(&self, sealing: &Sealing) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_LEN + 32);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&FORMAT.to_be_bytes());
        header.extend_from_slice(&self.store_id);
        let code = sealing.header_code(&header);
        header.extend_from_slice(&code);
        header
    }

    /// The keys of the store that the header belongs to, if it is the one asked for.
    ///
    /// The format comes first, since a newer one may have anything after it; then the identity,
    /// so that another site's store is called that and not a wrong secret.
    pub(super) fn check(
        bytes: &[u8],
        identity: &Identity,
        secret: &Secret<32>,
    ) -> Result<Sealing, Error> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Damage::Header)?;
        let (found, rest) = rest.split_first_chunk().ok_or(Damage::Header)?;
        let found = u32::from_be_bytes(*found);
        if found > FORMAT {
            let known = FORMAT;
            return Err(Error::NewerFormat { found, known });
        }
        if found != FORMAT || bytes.len() != HEADER_LEN + 32 {
            return Err(Damage::Header.into());
        }
        let (store_id, code) = rest.split_at(16);
        if store_id != identity.store_id {
            return Err(Error::WrongIdentity);
        }
        let sealing = Sealing::new(secret, &identity.store_id);
        sealing.check_header(&bytes[..HEADER_LEN], code)?;
        Ok(sealing)
    }
}

/// Where the store stands, and where it stood before the last batch.
pub(crate) struct Standing {
    pub(crate) position: Position,
    pub(crate) previous: Mark,
}

impl Standing {
    /// The standing of a store without commits.
    pub(crate) fn fresh() -> Self {
        let position = Position::default();
        Self { previous: position.mark(), position }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let heads = &self.position.heads;
        let count = u32::try_from(heads.len()).expect("there are fewer nodes than 2^32");
        let mut bytes = Vec::with_capacity(116 + 104 * heads.len());
        bytes.extend_from_slice(&self.position.commit.to_be_bytes());
        bytes.extend_from_slice(&self.position.set_hash);
        bytes.extend_from_slice(&self.previous.commit.to_be_bytes());
        bytes.extend_from_slice(&self.previous.heads_digest);
        bytes.extend_from_slice(&self.previous.set_hash);
        bytes.extend_from_slice(&count.to_be_bytes());
        for head in heads {
            let len = u8::try_from(head.node.len()).expect("a node's name is at most 255 bytes");
            bytes.push(len);
            bytes.extend_from_slice(head.node.as_bytes());
            bytes.extend_from_slice(&head.sequence.to_be_bytes());
            bytes.extend_from_slice(&head.hash);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let commit = take_u64(&mut rest)?;
        let set_hash = take(&mut rest)?;
        let previous = Mark {
            commit: take_u64(&mut rest)?,
            heads_digest: take(&mut rest)?,
            set_hash: take(&mut rest)?,
        };
        let count = u32::from_be_bytes(take(&mut rest)?);
        let heads = (0..count).map(|_| take_head(&mut rest)).collect::<Option<Vec<Head>>>()?;
        let position = Position { commit, heads, set_hash };
        rest.is_empty().then_some(Self { position, previous })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn take_head(rest: &mut &[u8]) -> Option<Head> {
    let [len] = take(rest)?;
    let (name, after) = rest.split_at_checked(usize::from(len))?;
    *rest = after;
    Some(Head {
        node: String::from_utf8(name.to_vec()).ok()?,
        sequence: take_u64(rest)?,
        hash: take(rest)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret<32> {
        Secret::from_bytes(&[5; 32])
    }

    fn identity() -> Identity {
        Identity::new([3; 16], "node")
    }

    fn header() -> Vec<u8> {
        Header::new([3; 16]).encode(&Sealing::new(&secret(), &[3; 16]))
    }

    fn check(header: &[u8]) -> Result<(), Error> {
        Header::check(header, &identity(), &secret()).map(|_| ())
    }

    #[test]
    fn a_header_is_accepted_with_its_identity_and_secret_alone() {
        assert_eq!(check(&header()), Ok(()));
        let other = Secret::from_bytes(&[6; 32]);
        let checked = Header::check(&header(), &identity(), &other).map(|_| ());
        assert_eq!(checked, Err(Error::WrongSecret));
        let other = Identity::new([4; 16], "node");
        let checked = Header::check(&header(), &other, &secret()).map(|_| ());
        assert_eq!(checked, Err(Error::WrongIdentity));
    }

    #[test]
    fn s14_a_newer_format_is_refused_by_number() {
        let mut newer = header();
        newer[11] = 2;
        assert_eq!(check(&newer), Err(Error::NewerFormat { found: 2, known: 1 }));
    }

    #[test]
    fn every_edited_or_truncated_header_is_refused() {
        for index in 0..header().len() {
            let mut edited = header();
            edited[index] ^= 1;
            assert!(check(&edited).is_err(), "{index}");
            assert!(check(&header()[..index]).is_err(), "{index}");
        }
    }

    #[test]
    fn a_standing_is_read_as_written_and_never_in_part() {
        let position = Position {
            commit: 9,
            heads: vec![
                Head { node: "a".into(), sequence: 4, hash: [1; 32] },
                Head { node: "b".into(), sequence: 2, hash: [2; 32] },
            ],
            set_hash: [3; 32],
        };
        let previous = Position::default().mark();
        let encoded = Standing { position: position.clone(), previous }.encode();
        let decoded = Standing::decode(&encoded).unwrap();
        assert_eq!((decoded.position, decoded.previous), (position, previous));
        for len in 0..encoded.len() {
            assert!(Standing::decode(&encoded[..len]).is_none(), "{len}");
        }
    }
}
