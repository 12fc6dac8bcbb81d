//! Rows of a ledger that headquarters can still tell by their hash, in bounded memory.
//!
//! A row's hash covers all rows before it. So one row that is known vouches for everything before
//! it, and a copy of the ledger that went its own way differs at each known row that it comes to.

use serde::{Deserialize, Serialize};

use crate::{canonical::Digest, checkpoint::Position};

/// Known rows of one ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Trail {
    /// Where bundles ended, oldest first: a bundle may come late or again.
    ends: Vec<Position>,
    /// Rows at even distances, oldest first: a copy that reports less than is held passes no end.
    marks: Vec<Position>,
    /// Binary logarithm of the distance.
    spacing: u32,
}

/// Most ends of bundles that are remembered per ledger.
pub(super) const ENDS_MAX: usize = 64;
/// Most marks per ledger: beyond that every other one is dropped.
const MARKS_MAX: usize = 64;

impl Trail {
    /// The hash of a row, where it is known.
    pub(super) fn hash_at(&self, sequence: u64) -> Option<Digest> {
        if sequence == 0 {
            return Some([0; 32]);
        }
        let mut known = self.ends.iter().chain(&self.marks);
        known.find(|position| position.sequence == sequence).map(|position| position.hash)
    }

    /// Takes a row where a bundle ended.
    pub(super) fn remember_end(&mut self, end: Position) {
        let Err(place) = self.ends.binary_search_by_key(&end.sequence, |known| known.sequence)
        else {
            return;
        };
        self.ends.insert(place, end);
        if self.ends.len() > ENDS_MAX {
            self.ends.remove(0);
        }
    }

    /// Takes the next row of the ledger; rows that were taken before change nothing.
    pub(super) fn pass(&mut self, row: Position) {
        let is_new = self.marks.last().is_none_or(|last| last.sequence < row.sequence);
        if !is_new || row.sequence.trailing_zeros() < self.spacing {
            return;
        }
        self.marks.push(row);
        while self.marks.len() > MARKS_MAX {
            self.spacing += 1;
            let spacing = self.spacing;
            self.marks.retain(|mark| mark.sequence.trailing_zeros() >= spacing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sequence: u64) -> Position {
        Position { sequence, hash: crate::canonical::sha256(&sequence.to_be_bytes()) }
    }

    #[test]
    fn marks_are_evenly_spaced_in_bounded_memory_over_any_length() {
        let mut trail = Trail::default();
        for length in 1..=10_000 {
            trail.pass(row(length));
            trail.pass(row(length.div_ceil(2)));
            assert!(trail.marks.len() <= MARKS_MAX);
        }
        assert!(trail.marks.len() >= MARKS_MAX / 2);
        let spacing = 1 << trail.spacing;
        for (mark, sequence) in trail.marks.iter().zip((1..).map(|n| n * spacing)) {
            assert_eq!(*mark, row(sequence));
            assert_eq!(trail.hash_at(sequence), Some(mark.hash));
        }
        assert_eq!(trail.hash_at(spacing + 1), None);
    }

    #[test]
    fn the_newest_ends_are_remembered_in_any_order() {
        let mut trail = Trail::default();
        for sequence in (1..=100).rev().chain(1..=100) {
            trail.remember_end(row(sequence));
        }
        assert_eq!(trail.ends.len(), ENDS_MAX);
        assert_eq!(trail.hash_at(100), Some(row(100).hash));
        assert_eq!(trail.hash_at(36), None);
    }
}
