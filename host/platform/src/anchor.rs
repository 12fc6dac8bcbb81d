//! The anchor: where the store stood, kept where the store can't be restored from.

/// Where a store stood, in fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of its last transaction.
    pub commit: u64,
    /// The digest of the heads of its chains.
    pub heads_digest: [u8; 32],
    /// The hash of its live records.
    pub set_hash: [u8; 32],
}

/// What the platform remembers of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Which store.
    pub store_id: [u8; 16],
    /// Raised by each restore, so that what came before it never fits again.
    pub epoch: u64,
    /// The number of the store's last transaction.
    pub commit: u64,
    /// The digest of the heads of its chains.
    pub heads_digest: [u8; 32],
    /// The hash of its live records.
    pub set_hash: [u8; 32],
}

impl Anchor {
    /// The anchor of the store `store_id` that stands at `mark` in `epoch`.
    pub fn new(store_id: [u8; 16], epoch: u64, mark: Mark) -> Self {
        Self {
            store_id,
            epoch,
            commit: mark.commit,
            heads_digest: mark.heads_digest,
            set_hash: mark.set_hash,
        }
    }

    /// Where the store stood.
    pub fn mark(&self) -> Mark {
        Mark { commit: self.commit, heads_digest: self.heads_digest, set_hash: self.set_hash }
    }

    /// Whether the anchor may be replaced by `next`: a later epoch of any store, or the same or a
    /// later commit of the same store and epoch.
    pub fn may_become(&self, next: &Self) -> bool {
        if next.epoch != self.epoch {
            return next.epoch > self.epoch;
        }
        next == self || (next.store_id == self.store_id && next.commit > self.commit)
    }
}

/// How a store stands to its anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing happened between the last commit and the end of the host.
    Equal,
    /// The store has one batch that was not anchored, so nothing of it was released: a crash. The
    /// anchor is brought forward.
    StoreAhead,
    /// The store was set back: what it lost may have been released. The host does not serve.
    StoreBehind,
    /// The store has another history, or is another store. The host does not serve.
    Different,
}

/// Compares a store with its anchor.
///
/// `current` is where the store stands, `previous` where it stood before its last batch. A number
/// alone does not say that a store is ahead by a crash: a store that was set back and then went
/// another way has a greater number too. As the anchor follows every batch before the next one
/// begins, a store that is ahead of it honestly has the anchor's very mark as its previous one.
pub fn compare(
    anchor: &Anchor,
    store_id: &[u8; 16],
    epoch: u64,
    current: &Mark,
    previous: &Mark,
) -> Standing {
    if anchor.store_id != *store_id || anchor.epoch != epoch {
        return Standing::Different;
    }
    let anchored = anchor.mark();
    if *current == anchored {
        Standing::Equal
    } else if current.commit < anchored.commit {
        Standing::StoreBehind
    } else if current.commit > anchored.commit && *previous == anchored {
        Standing::StoreAhead
    } else {
        Standing::Different
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(commit: u64, history: u8) -> Mark {
        Mark { commit, heads_digest: [history; 32], set_hash: [history; 32] }
    }

    fn standing(current: Mark, previous: Mark) -> Standing {
        let anchor = Anchor::new([1; 16], 2, mark(10, 10));
        compare(&anchor, &[1; 16], 2, &current, &previous)
    }

    #[test]
    fn a_store_that_was_not_interrupted_is_equal() {
        assert_eq!(standing(mark(10, 10), mark(7, 7)), Standing::Equal);
    }

    #[test]
    fn a_store_ahead_by_its_last_batch_is_a_crash() {
        assert_eq!(standing(mark(14, 14), mark(10, 10)), Standing::StoreAhead);
    }

    #[test]
    fn r5_a_store_that_was_set_back_is_behind() {
        assert_eq!(standing(mark(9, 9), mark(8, 8)), Standing::StoreBehind);
    }

    #[test]
    fn r8_a_store_that_went_another_way_is_different() {
        for (current, previous) in [
            (mark(10, 11), mark(7, 7)),
            (mark(14, 14), mark(10, 11)),
            (mark(14, 14), mark(12, 12)),
            (mark(14, 14), mark(9, 9)),
        ] {
            assert_eq!(standing(current, previous), Standing::Different);
        }
    }

    #[test]
    fn s8_another_store_or_epoch_is_different() {
        let anchor = Anchor::new([1; 16], 2, mark(10, 10));
        for (store_id, epoch) in [([2; 16], 2), ([1; 16], 1), ([1; 16], 3)] {
            let standing = compare(&anchor, &store_id, epoch, &mark(10, 10), &mark(7, 7));
            assert_eq!(standing, Standing::Different);
        }
    }

    #[test]
    fn an_anchor_never_goes_back() {
        let anchor = Anchor::new([1; 16], 2, mark(10, 10));
        let next = |store, epoch, mark| anchor.may_become(&Anchor::new([store; 16], epoch, mark));
        assert!(next(1, 2, mark(10, 10)));
        assert!(next(1, 2, mark(11, 11)));
        assert!(next(2, 3, mark(1, 1)));
        assert!(!next(1, 2, mark(10, 11)));
        assert!(!next(1, 2, mark(9, 9)));
        assert!(!next(2, 2, mark(11, 11)));
        assert!(!next(1, 1, mark(11, 11)));
    }
}
