//! The ledgers of a node, and the names of their chains in the store.
//!
//! A node writes to the chain of its own name. A restore begins a new ledger: it keeps the one
//! before as `<node>~<incarnation>`, which no node is called, and the new one has the node's name.

use mintmark_store::Head;

use crate::host::Identity;

/// A ledger of this store, as the rest of the world names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) node: String,
    pub(crate) incarnation: u64,
    /// Its chain in the store, and where that ends.
    pub(crate) head: Head,
}

/// What stands between a node and the number of its ledger.
const BETWEEN: char = '~';

/// The chain of a ledger that another one has replaced.
pub(crate) fn archived(node: &str, incarnation: u64) -> String {
    format!("{node}{BETWEEN}{incarnation}")
}

/// The node and the number of a ledger that was replaced; `None` for one that is written.
pub(crate) fn of_archived(chain: &str) -> Option<(&str, u64)> {
    let (node, incarnation) = chain.split_once(BETWEEN)?;
    Some((node, incarnation.parse().ok()?))
}

impl Identity {
    /// The ledgers with these heads, older ones of a node first: so they are read, and reported.
    pub(crate) fn ledgers(&self, heads: &[Head]) -> Vec<Ledger> {
        let ledger = |head: &Head| {
            let (node, incarnation) =
                of_archived(&head.node).unwrap_or((&head.node, self.incarnation));
            Ledger { node: node.to_owned(), incarnation, head: head.clone() }
        };
        let mut ledgers: Vec<Ledger> = heads.iter().map(ledger).collect();
        ledgers.sort_by(|one, other| {
            (&one.node, one.incarnation).cmp(&(&other.node, other.incarnation))
        });
        ledgers
    }

    /// The chain of a ledger, whether there is one or not.
    pub(crate) fn chain_of_ledger(&self, node: &str, incarnation: u64) -> String {
        match incarnation == self.incarnation {
            true => node.to_owned(),
            false => archived(node, incarnation),
        }
    }

    /// The chain that somebody asks for by node, or by node and number of its ledger.
    pub(crate) fn chain_named(&self, name: &str) -> String {
        match of_archived(name) {
            Some((node, incarnation)) => self.chain_of_ledger(node, incarnation),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_whose_ledger_it_is() {
        assert_eq!(of_archived(&archived("n1", 7)), Some(("n1", 7)));
        for written in ["n1", "n1~", "n1~x", "n1~-1"] {
            assert_eq!(of_archived(written), None, "{written}");
        }
    }
}
