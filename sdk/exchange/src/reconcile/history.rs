//! Rows that are held already, by their hashes, which the register keeps.
//!
//! A row's hash covers all rows before it. A copy of a site goes its own way at some row; the first
//! row that it shows in the place of one that is held has another hash, and names it as a fork.

use crate::{
    canonical::Digest,
    checkpoint::{Checkpoint, Position},
    reconcile::{PAGE_ROWS, PageRef, Register, Unavailable},
};

/// A ledger of a site.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ledger<'a> {
    pub(super) site: &'a str,
    pub(super) node: &'a str,
    pub(super) incarnation: u64,
}

impl<'a> Ledger<'a> {
    pub(super) fn of(checkpoint: &'a Checkpoint) -> Self {
        let Checkpoint { cluster, node, incarnation, .. } = checkpoint;
        Self { site: cluster, node, incarnation: *incarnation }
    }

    /// The hash of a row that is held. `None` for one that the register has lost.
    pub(super) fn hash_at(
        self,
        sequence: u64,
        register: &mut dyn Register,
    ) -> Result<Option<Digest>, Unavailable> {
        let Some(index) = sequence.checked_sub(1) else {
            return Ok(Some(Position::default().hash));
        };
        let hashes = register.page(&self.page(index / PAGE_ROWS))?.unwrap_or_default();
        let place = usize::try_from(index % PAGE_ROWS).expect("a page has 64 rows");
        Ok(hashes.get(place).copied().filter(|hash| *hash != [0; 32]))
    }

    /// Adds a row; `open` is the page that it belongs to, as it was left.
    pub(super) fn add(
        self,
        row: Position,
        open: &mut Option<Vec<Digest>>,
        register: &mut dyn Register,
    ) -> Result<(), Unavailable> {
        let Some(index) = row.sequence.checked_sub(1) else {
            return Ok(());
        };
        let mut hashes = match open.take() {
            Some(hashes) => hashes,
            None => register.page(&self.page(index / PAGE_ROWS))?.unwrap_or_default(),
        };
        let place = usize::try_from(index % PAGE_ROWS).expect("a page has 64 rows");
        // Rows that are lost from the register are zeros, which no row has as its hash.
        hashes.resize(place, [0; 32]);
        hashes.push(row.hash);
        if hashes.len() as u64 == PAGE_ROWS {
            return register.put_page(&self.page(index / PAGE_ROWS), &hashes);
        }
        *open = Some(hashes);
        Ok(())
    }

    /// Writes the page that a stretch ends in, after its last row.
    pub(super) fn close(
        self,
        last: u64,
        open: &mut Option<Vec<Digest>>,
        register: &mut dyn Register,
    ) -> Result<(), Unavailable> {
        match (open.take(), last.checked_sub(1)) {
            (Some(hashes), Some(index)) => {
                register.put_page(&self.page(index / PAGE_ROWS), &hashes)
            }
            _ => Ok(()),
        }
    }

    fn page(self, page: u64) -> PageRef<'a> {
        let Self { site, node, incarnation } = self;
        PageRef { site, node, incarnation, page }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{canonical::sha256, reconcile::MemoryRegister};

    const LEDGER: Ledger<'_> =
        Ledger { site: "spiffe://acme/site/shenzhen", node: "n1", incarnation: 1 };

    fn row(sequence: u64) -> Position {
        Position { sequence, hash: sha256(&sequence.to_be_bytes()) }
    }

    #[test]
    fn every_row_is_told_by_its_hash_however_bundles_are_cut() {
        let mut register = MemoryRegister::new();
        let mut next = 1;
        for length in [1, 62, 1, 1, 127, 64, 3, 0, 200] {
            let mut open = None;
            for sequence in next..next + length {
                LEDGER.add(row(sequence), &mut open, &mut register).unwrap();
            }
            next += length;
            LEDGER.close(next - 1, &mut open, &mut register).unwrap();
        }
        for sequence in 1..next {
            let hash = LEDGER.hash_at(sequence, &mut register).unwrap();
            assert_eq!(hash, Some(row(sequence).hash), "{sequence}");
        }
        assert_eq!(LEDGER.hash_at(0, &mut register), Ok(Some([0; 32])));
        assert_eq!(LEDGER.hash_at(next, &mut register), Ok(None));
        let other = Ledger { incarnation: 2, ..LEDGER };
        assert_eq!(other.hash_at(1, &mut register), Ok(None));
    }

    #[test]
    fn a_row_that_the_register_lost_is_unknown_and_not_another_one() {
        let mut register = MemoryRegister::new();
        let mut open = None;
        LEDGER.add(row(3), &mut open, &mut register).unwrap();
        LEDGER.close(3, &mut open, &mut register).unwrap();
        assert_eq!(LEDGER.hash_at(2, &mut register), Ok(None));
        assert_eq!(LEDGER.hash_at(3, &mut register), Ok(Some(row(3).hash)));
    }
}
