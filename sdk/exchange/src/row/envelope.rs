//! The store's envelope around a row, and its hash.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | sequence, big-endian, from 1 |
//! | 32 | hash of the previous row, zeros for the first |
//! | 4 | length of the body, big-endian |
//! | … | body |
//! | 1 | count of counters |
//! | 8 each | counters, big-endian |
//! | 32 | set hash of the store after the row's transaction |

use crate::{
    canonical::{DecodeError, Digest, sha256_of},
    row::{BODY_BYTES_MAX, RowBody},
    unit::Counters,
};

/// A row as the ledger holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row's number in its ledger, from 1.
    pub sequence: u64,
    /// Hash of the row before.
    pub previous: Digest,
    /// What happened.
    pub body: RowBody,
    /// The counters of the allotment that the row is about, after its transaction.
    pub counters: Option<Counters>,
    /// Keyed hash over all records of the store after the row's transaction.
    pub set_hash: Digest,
    /// SHA-256 of the previous hash and the whole envelope.
    pub hash: Digest,
}

impl Row {
    /// Reads an envelope strictly: no trailing bytes, canonical body, no counters or all ten.
    pub fn decode(encoded: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = encoded;
        let sequence = u64::from_be_bytes(take(&mut rest)?);
        let previous = take(&mut rest)?;
        let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?))
            .map_err(|_| DecodeError::TooLong)?;
        if length > BODY_BYTES_MAX {
            return Err(DecodeError::TooLong);
        }
        let (body, after) = rest.split_at_checked(length).ok_or(DecodeError::Malformed)?;
        rest = after;
        let counters = take_counters(&mut rest)?;
        let set_hash = take(&mut rest)?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing);
        }
        let body = RowBody::decode(body)?;
        let hash = hash(&previous, encoded);
        Ok(Self { sequence, previous, body, counters, set_hash, hash })
    }

    /// Sequence, previous hash and own hash, without reading the body; `None` if it is too short
    /// for an envelope.
    pub fn link(encoded: &[u8]) -> Option<(u64, Digest, Digest)> {
        let mut rest = encoded;
        let sequence = u64::from_be_bytes(take(&mut rest).ok()?);
        let previous = take(&mut rest).ok()?;
        Some((sequence, previous, hash(&previous, encoded)))
    }
}

/// Writes an envelope, as the store does. The body is opaque to it.
pub fn encode_envelope(
    sequence: u64,
    previous: &Digest,
    body: &[u8],
    counters: &[u64],
    set_hash: &Digest,
) -> Result<Vec<u8>, DecodeError> {
    let length = u32::try_from(body.len()).map_err(|_| DecodeError::TooLong)?;
    let count = u8::try_from(counters.len()).map_err(|_| DecodeError::TooLong)?;
    let mut encoded = Vec::with_capacity(body.len() + 160);
    encoded.extend_from_slice(&sequence.to_be_bytes());
    encoded.extend_from_slice(previous);
    encoded.extend_from_slice(&length.to_be_bytes());
    encoded.extend_from_slice(body);
    encoded.push(count);
    for counter in counters {
        encoded.extend_from_slice(&counter.to_be_bytes());
    }
    encoded.extend_from_slice(set_hash);
    Ok(encoded)
}

fn hash(previous: &Digest, encoded: &[u8]) -> Digest {
    sha256_of(&[previous, encoded])
}

fn take_counters(rest: &mut &[u8]) -> Result<Option<Counters>, DecodeError> {
    let [count] = take(rest)?;
    if count == 0 {
        return Ok(None);
    }
    if usize::from(count) != Counters::COUNT {
        return Err(DecodeError::Malformed);
    }
    let mut values = [0; Counters::COUNT];
    for value in &mut values {
        *value = u64::from_be_bytes(take(rest)?);
    }
    Ok(Some(Counters::from_values(values)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(DecodeError::Malformed)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Event;

    fn body() -> RowBody {
        RowBody {
            version: 1,
            time_ms: 2,
            monotonic_ms: 3,
            boot: 4,
            clock_suspect: false,
            plugin: None,
            principal: "spiffe://acme/site/shenzhen/node/n1".to_owned(),
            request: [5; 16],
            event: Event::Note { text: "note".to_owned() },
        }
    }

    #[test]
    fn an_envelope_has_the_bytes_of_the_format() {
        let body = body().encode();
        let encoded = encode_envelope(7, &[1; 32], &body, &[2; 10], &[3; 32]).unwrap();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let counters = 2_u64.to_be_bytes().repeat(10);
        let parts: [&[u8]; 7] =
            [&7_u64.to_be_bytes(), &[1; 32], &length, &body, &[10], &counters, &[3; 32]];
        assert_eq!(encoded, parts.concat());
        let row = Row::decode(&encoded).unwrap();
        assert_eq!(row.body, super::tests::body());
        assert_eq!(row.counters, Some(Counters::from_values([2; 10])));
        assert_eq!(row.hash, sha256_of(&[&[1; 32], &encoded]));
        assert_eq!(Row::link(&encoded), Some((7, [1; 32], row.hash)));
    }

    #[test]
    fn p1_every_truncated_prefix_and_p4_every_longer_row_is_refused() {
        let encoded = encode_envelope(7, &[1; 32], &body().encode(), &[], &[3; 32]).unwrap();
        for end in 0..encoded.len() {
            assert!(Row::decode(&encoded[..end]).is_err(), "{end}");
        }
        let longer = [encoded.as_slice(), &[0]].concat();
        assert_eq!(Row::decode(&longer), Err(DecodeError::Trailing));
    }

    #[test]
    fn p2_every_bit_flip_is_refused_or_changes_the_hash() {
        let encoded = encode_envelope(7, &[1; 32], &body().encode(), &[4; 10], &[3; 32]).unwrap();
        let hash = Row::decode(&encoded).unwrap().hash;
        for bit in 0..encoded.len() * 8 {
            let mut flipped = encoded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Row::decode(&flipped).is_err() || Row::decode(&flipped).unwrap().hash != hash);
        }
    }

    #[test]
    fn some_counters_but_not_all_are_refused() {
        for count in [1, 9, 11] {
            let counters = vec![0; count];
            let body = body().encode();
            let encoded = encode_envelope(1, &[0; 32], &body, &counters, &[0; 32]).unwrap();
            assert_eq!(Row::decode(&encoded), Err(DecodeError::Malformed));
        }
    }

    #[test]
    fn an_unknown_version_or_event_is_refused() {
        let newer = RowBody { version: 2, ..body() };
        assert_eq!(RowBody::decode(&newer.encode()), Err(DecodeError::UnknownVersion));
        let mut unknown = body().encode();
        let place = unknown.len() - "note".len() - 2;
        unknown[place] = 0x7f;
        assert_eq!(RowBody::decode(&unknown), Err(DecodeError::Malformed));
    }

    /// The numbers of the cases are part of the format: a new one goes to the end.
    #[test]
    fn the_cases_of_a_row_keep_their_numbers() {
        let number = |event: &Event| crate::canonical::encode(event)[0];
        let entitlement = String::new;
        assert_eq!(number(&Event::Note { text: String::new() }), 2);
        assert_eq!(number(&Event::Closed { entitlement: entitlement(), destroyed: 0 }), 19);
        let policy = Event::PolicyChanged { name: String::new(), policy: [0; 32] };
        assert_eq!(number(&policy), 31);
        assert_eq!(number(&Event::BackupMade { commit: 0, digest: [0; 32] }), 41);
        let (key, key_hash) = (String::new(), [0; 32]);
        assert_eq!(number(&Event::KeyRetired { key, key_hash, opens_until: 0 }), 42);
        let (order, recipient, entitlement) = ([0; 32], String::new(), entitlement());
        assert_eq!(number(&Event::OrderAdopted { order, recipient, entitlement }), 43);
    }
}
