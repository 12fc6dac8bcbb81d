//! Where a store stands: its commit number, the heads of its chains and the hash of its records.

use mintmark_crypto::{digest, framed};

/// Which store this is, and which chain this opener writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The store's random id, chosen when it is created.
    pub store_id: [u8; 16],
    /// The node's name, 1..=255 bytes: the chain that this opener's rows go to.
    pub node: String,
}

impl Identity {
    /// The store `store_id`, opened by `node`.
    pub fn new(store_id: [u8; 16], node: impl Into<String>) -> Self {
        Self { store_id, node: node.into() }
    }
}

/// The end of one node's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The node.
    pub node: String,
    /// The sequence of its last row.
    pub sequence: u64,
    /// The hash of its last row.
    pub hash: [u8; 32],
}

/// Where a store stands after a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of the last transaction; 0 for a fresh store.
    pub commit: u64,
    /// The heads of all chains that have a row, by node name.
    pub heads: Vec<Head>,
    /// The keyed additive hash of all live records.
    pub set_hash: [u8; 32],
}

impl Position {
    /// The digest of all heads: label `mintmark/store/heads/v1`, then per head node, sequence and
    /// hash, framed.
    pub fn heads_digest(&self) -> [u8; 32] {
        let sequences: Vec<[u8; 8]> = self.heads.iter().map(|h| h.sequence.to_be_bytes()).collect();
        let fields: Vec<&[u8]> = self
            .heads
            .iter()
            .zip(&sequences)
            .flat_map(|(head, sequence)| [head.node.as_bytes(), sequence, &head.hash])
            .collect();
        digest::sha256(&framed("mintmark/store/heads/v1", &fields))
    }

    /// The fixed-size form, for an anchor.
    pub fn mark(&self) -> Mark {
        Mark { commit: self.commit, heads_digest: self.heads_digest(), set_hash: self.set_hash }
    }

    /// The head of `node`, if it has a row.
    pub fn head(&self, node: &str) -> Option<&Head> {
        let index = self.index(node).ok()?;
        self.heads.get(index)
    }

    /// Moves the head of `node`, keeping the order by name.
    pub(crate) fn advance(&mut self, node: &str, sequence: u64, hash: [u8; 32]) {
        let head = Head { node: node.to_owned(), sequence, hash };
        match self.index(node) {
            Ok(index) => self.heads[index] = head,
            Err(index) => self.heads.insert(index, head),
        }
    }

    fn index(&self, node: &str) -> Result<usize, usize> {
        self.heads.binary_search_by(|head| head.node.as_str().cmp(node))
    }
}

/// A [`Position`] in fixed size: what an anchor outside the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of the last transaction.
    pub commit: u64,
    /// The digest of all heads.
    pub heads_digest: [u8; 32],
    /// The hash of all live records.
    pub set_hash: [u8; 32],
}
