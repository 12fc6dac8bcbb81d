//! The full walk over a store that recomputes what commits maintain step by step.

use crate::{
    Damage, Error, Head, Key, Position, Verified, Version,
    ledger::{CHAIN_START, RowFields, row_hash},
    set_hash::{self, SetKey},
};

/// Takes all records, then all rows by node and sequence, and compares with the position.
pub(crate) struct Walk<'a> {
    set_key: &'a SetKey,
    expected: &'a Position,
    records: u64,
    rows: u64,
    sum: [u8; 32],
    /// The ends of the chains seen so far; the last one is still being followed.
    ends: Vec<Head>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(set_key: &'a SetKey, expected: &'a Position) -> Self {
        Self { set_key, expected, records: 0, rows: 0, sum: [0; 32], ends: Vec::new() }
    }

    pub(crate) fn record(&mut self, key: &Key, version: Version, value: &[u8]) {
        set_hash::add(&mut self.sum, &self.set_key.term(key, version, value));
        self.records += 1;
    }

    pub(crate) fn row(&mut self, node: &str, sequence: u64, encoded: &[u8]) -> Result<(), Error> {
        let fields = RowFields::decode(encoded).ok_or(Damage::Row { sequence })?;
        if fields.sequence != sequence {
            return Err(Damage::Row { sequence }.into());
        }
        let continues = self.ends.last().is_some_and(|end| end.node == node);
        if !continues {
            self.ends.push(Head { node: node.to_owned(), sequence: 0, hash: CHAIN_START });
        }
        let end = self.ends.last_mut().expect("pushed above if there was none");
        if end.sequence.checked_add(1) != Some(sequence) || end.hash != fields.previous {
            return Err(Damage::Chain { sequence }.into());
        }
        end.sequence = sequence;
        end.hash = row_hash(&fields.previous, encoded);
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Verified, Error> {
        self.ends.sort_by(|a, b| a.node.cmp(&b.node));
        let heads = &self.expected.heads;
        let unlike = |a: &[Head], b: &[Head]| a.iter().find(|head| !b.contains(head)).cloned();
        if let Some(head) = unlike(heads, &self.ends).or_else(|| unlike(&self.ends, heads)) {
            let sequence = head.sequence;
            return Err(Damage::Head { sequence }.into());
        }
        if self.sum != self.expected.set_hash {
            return Err(Damage::SetHash.into());
        }
        Ok(Verified { records: self.records, rows: self.rows, position: self.expected.clone() })
    }
}
