//! Merkle roots over row hashes, and proofs that a row is under a root; both are made row by row
//! in logarithmic memory.
//!
//! The tree is that of RFC 9162, section 2.1.1: leaves are hashed with a leading 0 and inner nodes
//! with a leading 1, so no leaf can be shown as an inner node. The proofs are those of 2.1.3.

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
        let mut node = leaf(row_hash);
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

/// Makes the proof that one row is in a tree, while all rows of the tree pass by.
#[derive(Debug, Clone)]
pub struct PathBuilder {
    /// The subtrees beside the way from the root down to the row.
    siblings: Vec<Sibling>,
    rows: u64,
    passed: u64,
}

/// A subtree that does not hold the row.
#[derive(Debug, Clone)]
struct Sibling {
    first: u64,
    end: u64,
    tree: Tree,
}

impl PathBuilder {
    /// For the row with this index, from 0, in a tree of so many rows; `None` where there is no
    /// such row.
    pub fn new(index: u64, rows: u64) -> Option<Self> {
        if index >= rows {
            return None;
        }
        let (mut first, mut end) = (0, rows);
        let mut siblings = Vec::new();
        while end - first > 1 {
            let middle = first + left_rows(end - first);
            let beside = if index < middle { (middle, end) } else { (first, middle) };
            siblings.push(Sibling { first: beside.0, end: beside.1, tree: Tree::new() });
            (first, end) = if index < middle { (first, middle) } else { (middle, end) };
        }
        Some(Self { siblings, rows, passed: 0 })
    }

    /// Takes the hash of the next row.
    pub fn push(&mut self, row_hash: &Digest) {
        let index = self.passed;
        self.passed += 1;
        let holds = |sibling: &&mut Sibling| (sibling.first..sibling.end).contains(&index);
        if let Some(sibling) = self.siblings.iter_mut().find(holds) {
            sibling.tree.push(row_hash);
        }
    }

    /// The proof, from the row's neighbour up to the root; `None` unless exactly all rows passed.
    pub fn finish(self) -> Option<Vec<Digest>> {
        let whole = self.passed == self.rows;
        whole.then(|| self.siblings.iter().rev().map(|sibling| sibling.tree.root()).collect())
    }
}

/// True if `path` proves that the row with this index, from 0, is in the tree of so many rows with
/// this root: RFC 9162, 2.1.3.2.
pub fn is_included(
    row_hash: &Digest,
    index: u64,
    rows: u64,
    path: &[Digest],
    root: &Digest,
) -> bool {
    if index >= rows {
        return false;
    }
    let (mut place, mut last) = (index, rows - 1);
    let mut node = leaf(row_hash);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            node = join(sibling, &node);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            node = join(&node, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && node == *root
}

/// How many of two rows or more are in the left subtree: the largest power of two below.
fn left_rows(rows: u64) -> u64 {
    1 << (rows - 1).ilog2()
}

fn leaf(row_hash: &Digest) -> Digest {
    sha256_of(&[&[0], row_hash])
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

    fn rows(count: u64) -> Vec<Digest> {
        (0..count).map(|n| sha256(&n.to_be_bytes())).collect()
    }

    fn tree_and_path(rows: &[Digest], index: u64) -> (Digest, Vec<Digest>) {
        let mut tree = Tree::new();
        let mut path = PathBuilder::new(index, rows.len() as u64).unwrap();
        for row in rows {
            tree.push(row);
            path.push(row);
        }
        (tree.root(), path.finish().unwrap())
    }

    #[test]
    fn every_row_of_every_tree_is_proved_at_its_own_place_alone() {
        for count in 1..=70_u64 {
            let rows = rows(count);
            for index in 0..count {
                let (root, path) = tree_and_path(&rows, index);
                let row = &rows[index as usize];
                assert!(is_included(row, index, count, &path, &root), "{index} of {count}");
                assert!(path.len() <= 7, "{index} of {count}");
                for other in (0..count + 2).filter(|other| *other != index) {
                    assert!(!is_included(row, other, count, &path, &root), "{other} of {count}");
                }
            }
        }
    }

    #[test]
    fn a_proof_with_anything_changed_does_not_hold() {
        for count in [1, 2, 3, 5, 8, 37, 64, 65] {
            let rows = rows(count);
            for index in 0..count {
                let row = &rows[index as usize];
                let (root, path) = tree_and_path(&rows, index);
                assert!(!is_included(&sha256(b"other"), index, count, &path, &root));
                assert!(!is_included(row, index, count, &path, &sha256(b"other")));
                for place in 0..path.len() {
                    let mut changed = path.clone();
                    changed[place][31] ^= 1;
                    assert!(!is_included(row, index, count, &changed, &root));
                    let mut shorter = path.clone();
                    shorter.remove(place);
                    assert!(!is_included(row, index, count, &shorter, &root));
                }
                let longer = [path.as_slice(), &[root]].concat();
                assert!(!is_included(row, index, count, &longer, &root));
            }
        }
    }

    #[test]
    fn a_proof_for_another_number_of_rows_has_another_length() {
        for (count, other) in [(1, 2), (4, 2), (4, 5), (8, 9), (64, 32), (70, u64::MAX)] {
            let rows = rows(count);
            let (root, path) = tree_and_path(&rows, 0);
            assert!(!is_included(&rows[0], 0, other, &path, &root), "{count} as {other}");
        }
        assert!(!is_included(&rows(1)[0], 0, 0, &[], &Tree::new().root()));
    }

    #[test]
    fn an_inner_node_cannot_be_shown_as_a_row() {
        let rows = rows(4);
        let (root, path) = tree_and_path(&rows, 0);
        // The left inner node under the root, with what is beside it, as a tree of two rows.
        let left = join(&leaf(&rows[0]), &leaf(&rows[1]));
        assert_eq!(join(&left, &path[1]), root);
        assert!(!is_included(&left, 0, 2, &path[1..], &root));
    }

    #[test]
    fn a_proof_needs_all_rows_and_no_more() {
        assert!(PathBuilder::new(3, 3).is_none() && PathBuilder::new(0, 0).is_none());
        for passed in [2, 4] {
            let mut path = PathBuilder::new(1, 3).unwrap();
            rows(passed).iter().for_each(|row| path.push(row));
            assert_eq!(path.finish(), None);
        }
    }

    #[test]
    fn the_empty_root_is_the_hash_of_nothing() {
        let known = "e3b0c442";
        let root = Tree::new().root();
        assert_eq!(root[..4].iter().map(|b| format!("{b:02x}")).collect::<String>(), known);
    }
}
