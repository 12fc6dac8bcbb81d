//! Merkle roots over row hashes, built row by row in logarithmic memory.
//!
//! The tree is that of RFC 9162, section 2.1.1: leaves are hashed with a leading 0 and inner nodes
//! with a leading 1, so no leaf can be shown as an inner node.

use serde::{Deserialize, Serialize};

use crate::canonical::{Digest, sha256, sha256_of};

/// A tree that grows to the right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Roots of the complete subtrees, largest first: one per set bit of `leaves`.
    peaks: Vec<Digest>,
    leaves: u64,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the hash of the next row.
    pub fn push(&mut self, row_hash: &Digest) {
        let mut node = sha256_of(&[&[0], row_hash]);
        for _ in 0..self.leaves.trailing_ones() {
            let left = self.peaks.pop().expect("one peak per set bit of `leaves`");
            node = join(&left, &node);
        }
        self.peaks.push(node);
        self.leaves += 1;
    }

    /// How many rows were appended.
    pub fn len(&self) -> u64 {
        self.leaves
    }

    /// True before the first row.
    pub fn is_empty(&self) -> bool {
        self.leaves == 0
    }

    /// The root; of an empty tree the hash of nothing, as in RFC 9162.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => sha256(&[]),
            Some(last) => peaks.fold(*last, |right, left| join(left, &right)),
        }
    }
}

fn join(left: &Digest, right: &Digest) -> Digest {
    sha256_of(&[&[1], left, right])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 9162, 2.1.1, taken literally.
    fn reference(rows: &[Digest]) -> Digest {
        match rows {
            [] => sha256(&[]),
            [row] => sha256_of(&[&[0], row]),
            _ => {
                let split = (rows.len() / 2 + 1).next_power_of_two();
                let split = if split >= rows.len() { split / 2 } else { split };
                let (left, right) = rows.split_at(split);
                join(&reference(left), &reference(right))
            }
        }
    }

    #[test]
    fn the_root_is_the_one_of_rfc_9162() {
        let rows: Vec<Digest> = (0..70_u8).map(|n| sha256(&[n])).collect();
        let mut tree = Tree::new();
        for count in 0..rows.len() {
            assert_eq!(tree.root(), reference(&rows[..count]), "{count} rows");
            tree.push(&rows[count]);
        }
    }

    #[test]
    fn the_empty_root_is_the_hash_of_nothing() {
        let known = "e3b0c442";
        let root = Tree::new().root();
        assert_eq!(root[..4].iter().map(|b| format!("{b:02x}")).collect::<String>(), known);
    }
}
