//! Ledger rows: their encoding and the hash that chains them.
//!
//! ```text
//! sequence u64 ‖ previous hash 32 ‖ body length u32 ‖ body ‖ counter count u8 ‖ counters u64 each
//! ‖ set hash 32                                     (integers big-endian)
//! hash = SHA-256(previous hash ‖ encoded row)
//! ```
//!
//! The first row of a chain has sequence 1 and a previous hash of zeros.

use mintmark_crypto::digest;

use crate::{Damage, Error};

/// A row as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in its node's chain, from 1.
    pub sequence: u64,
    /// Its hash, which the next row names.
    pub hash: [u8; 32],
    /// The encoded row; [`RowFields::decode`] reads it.
    pub encoded: Vec<u8>,
}

/// The fields of an encoded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFields<'a> {
    /// The row's place in its chain.
    pub sequence: u64,
    /// The hash of the row before it; zeros for the first.
    pub previous: [u8; 32],
    /// What the writer of the row said.
    pub body: &'a [u8],
    /// The counters that the row names, as of after its transaction.
    pub counters: Vec<u64>,
    /// The hash of all live records, as of after its transaction.
    pub set_hash: [u8; 32],
}

impl<'a> RowFields<'a> {
    /// The encoded row.
    pub fn encode(&self) -> Vec<u8> {
        let body_len = u32::try_from(self.body.len()).expect("a body is at most 1 MiB");
        let count = u8::try_from(self.counters.len()).expect("a row names at most 255 counters");
        let mut encoded = Vec::with_capacity(77 + self.body.len() + 8 * self.counters.len());
        encoded.extend_from_slice(&self.sequence.to_be_bytes());
        encoded.extend_from_slice(&self.previous);
        encoded.extend_from_slice(&body_len.to_be_bytes());
        encoded.extend_from_slice(self.body);
        encoded.push(count);
        for counter in &self.counters {
            encoded.extend_from_slice(&counter.to_be_bytes());
        }
        encoded.extend_from_slice(&self.set_hash);
        encoded
    }

    /// Reads an encoded row; `None` unless it is exactly one.
    pub fn decode(encoded: &'a [u8]) -> Option<Self> {
        let (sequence, rest) = encoded.split_first_chunk()?;
        let (previous, rest) = rest.split_first_chunk()?;
        let (body_len, rest) = rest.split_first_chunk()?;
        let body_len = usize::try_from(u32::from_be_bytes(*body_len)).ok()?;
        let (body, rest) = rest.split_at_checked(body_len)?;
        let (&count, rest) = rest.split_first()?;
        let (counters, rest) = rest.split_at_checked(8 * usize::from(count))?;
        let (counters, _) = counters.as_chunks();
        Some(Self {
            sequence: u64::from_be_bytes(*sequence),
            previous: *previous,
            body,
            counters: counters.iter().map(|c| u64::from_be_bytes(*c)).collect(),
            set_hash: rest.try_into().ok()?,
        })
    }
}

/// The hash of an encoded row that follows a row with the hash `previous`.
pub fn row_hash(previous: &[u8; 32], encoded: &[u8]) -> [u8; 32] {
    digest::sha256_parts(&[previous, encoded])
}

/// Rows of one chain that are collected to be read, checked against each other on the way.
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    after: u64,
    budget_bytes: usize,
}

impl Page {
    pub(crate) fn new(after: u64, limit_bytes: usize) -> Self {
        Self { rows: Vec::new(), after, budget_bytes: limit_bytes }
    }

    /// Takes the next row, found at `sequence`; `false` when it is one too many.
    pub(crate) fn push(&mut self, sequence: u64, encoded: &[u8]) -> Result<bool, Error> {
        if encoded.len() > self.budget_bytes && !self.rows.is_empty() {
            return Ok(false);
        }
        let row = follow(sequence, self.after, self.rows.last(), encoded)?;
        self.budget_bytes = self.budget_bytes.saturating_sub(encoded.len());
        self.after = sequence;
        self.rows.push(row);
        Ok(true)
    }
}

/// The row found at `sequence`, if it follows sequence `after` and, where given, the row `before`.
fn follow(sequence: u64, after: u64, before: Option<&Row>, encoded: &[u8]) -> Result<Row, Error> {
    let fields = RowFields::decode(encoded).ok_or(Damage::Row { sequence })?;
    if fields.sequence != sequence {
        return Err(Damage::Row { sequence }.into());
    }
    let links = match before {
        Some(before) => fields.previous == before.hash,
        None => after != 0 || fields.previous == CHAIN_START,
    };
    if after.checked_add(1) != Some(sequence) || !links {
        return Err(Damage::Chain { sequence }.into());
    }
    Ok(Row { sequence, hash: row_hash(&fields.previous, encoded), encoded: encoded.to_vec() })
}

/// The previous hash of the first row.
pub const CHAIN_START: [u8; 32] = [0; 32];

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RowFields<'static> {
        RowFields {
            sequence: 7,
            previous: [1; 32],
            body: b"body",
            counters: vec![3, u64::MAX],
            set_hash: [2; 32],
        }
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 7];
        expected.extend_from_slice(&[1; 32]);
        expected.extend_from_slice(b"\0\0\0\x04body\x02");
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend_from_slice(&[0xff; 8]);
        expected.extend_from_slice(&[2; 32]);
        assert_eq!(sample().encode(), expected);
        assert_eq!(RowFields::decode(&expected), Some(sample()));
    }

    #[test]
    fn a_page_refuses_rows_that_do_not_follow() {
        let first = RowFields { sequence: 1, previous: CHAIN_START, ..sample() };
        let first_encoded = first.encode();
        let second =
            RowFields { sequence: 2, previous: row_hash(&CHAIN_START, &first_encoded), ..sample() };
        let mut page = Page::new(0, 1 << 20);
        assert_eq!(page.push(1, &first_encoded), Ok(true));
        assert_eq!(page.push(3, &second.encode()), Err(Damage::Row { sequence: 3 }.into()));
        let unlinked = RowFields { previous: [9; 32], ..second.clone() };
        let broken = Err(Damage::Chain { sequence: 2 }.into());
        assert_eq!(page.push(2, &unlinked.encode()), broken);
        assert_eq!(page.push(2, &second.encode()), Ok(true));
        assert_eq!(Page::new(0, 1 << 20).push(2, &second.encode()), broken);
        assert_eq!(page.rows.len(), 2);
    }

    #[test]
    fn every_truncated_prefix_and_every_longer_row_is_refused() {
        let encoded = sample().encode();
        for len in 0..encoded.len() {
            assert_eq!(RowFields::decode(&encoded[..len]), None, "{len}");
        }
        let mut longer = encoded;
        longer.push(0);
        assert_eq!(RowFields::decode(&longer), None);
    }
}
