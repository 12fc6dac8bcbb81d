//! What headquarters keeps about a site between two bundles.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    canonical::Digest,
    checkpoint::Position,
    message::HeadRef,
    order::SignedOrder,
    reconcile::rates::{RateMeter, Served},
    row::{PluginActivation, Row},
    unit::Counters,
};

/// A site as of the last bundle that was accepted. Opaque: kept by the entitlement plugin in
/// records, and begun afresh by the offline verifier, which reads all bundles.
///
/// It grows with what headquarters grants and orders; what else a site writes has its bounds here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SiteState {
    pub(super) heads: BTreeMap<String, Heads>,
    pub(super) nodes: BTreeMap<String, NodeState>,
    pub(super) entitlements: BTreeMap<String, EntitlementState>,
    /// Versions of plugins that the site installed, by measurement; at most [`PLUGINS_MAX`].
    pub(super) plugins: BTreeMap<Digest, PluginVersion>,
}

/// What a grant may ask of a plugin's version, beside its measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PluginVersion {
    pub(super) security_version: u32,
    /// At most [`PUBLISHERS_MAX`].
    pub(super) publishers: Vec<Digest>,
}

/// Most versions of plugins in the life of a site.
pub(super) const PLUGINS_MAX: usize = 1_024;
/// Most publishers of one version.
pub(super) const PUBLISHERS_MAX: usize = 16;
/// Most nodes in the life of a site.
pub(super) const NODES_MAX: usize = 16;
/// Most ledgers of one node.
pub(super) const LEDGERS_MAX: usize = 256;
/// Ledgers of a node, the newest ones, of which is kept what the site signed.
const WITNESSES_MAX: usize = 3;

impl SiteState {
    /// Per node, the last row held: what a receipt names.
    pub fn heads(&self) -> Vec<HeadRef> {
        let head = |(node, heads): (&String, &Heads)| HeadRef {
            node: node.clone(),
            incarnation: heads.incarnation,
            sequence: heads.position.sequence,
            hash: heads.position.hash,
        };
        self.heads.iter().map(head).collect()
    }

    /// The counters of an entitlement over all nodes.
    pub fn counters(&self, entitlement: &str) -> Option<Counters> {
        self.entitlements.get(entitlement).map(EntitlementState::counters)
    }

    /// Takes a version of a plugin; false for more than a site can have.
    pub(super) fn install(&mut self, version: &PluginActivation) -> bool {
        let known = self.plugins.contains_key(&version.measurement);
        let room = known || self.plugins.len() < PLUGINS_MAX;
        if !room || version.publishers.len() > PUBLISHERS_MAX {
            return false;
        }
        let PluginActivation { security_version, publishers, .. } = version;
        let kept =
            PluginVersion { security_version: *security_version, publishers: publishers.clone() };
        self.plugins.insert(version.measurement, kept);
        true
    }

    /// What ended for ever has no rate any more.
    pub(super) fn forget_ended_rates(&mut self) {
        for state in self.entitlements.values_mut().filter(|state| state.revoked || state.closed) {
            state.ledgers.values_mut().for_each(|ledger| ledger.rates.clear());
        }
    }

    /// The entitlements that the site has imported.
    pub fn entitlements(&self) -> impl Iterator<Item = &str> {
        self.entitlements.keys().map(String::as_str)
    }
}

/// The ledgers of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Heads {
    pub(super) incarnation: u64,
    pub(super) position: Position,
    /// The checkpoint that ends with that row, as the site signed it: should another row of the
    /// ledger ever be shown, both signatures prove it.
    pub(super) witness: Option<SignedOrder>,
    /// Ledgers that were replaced.
    retired: Vec<Retired>,
}

/// A ledger that a later one has replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Retired {
    incarnation: u64,
    /// Its last row.
    position: Position,
    witness: Option<SignedOrder>,
}

impl Heads {
    /// The last row held of a ledger; the beginning where none is.
    pub(super) fn last_of(&self, incarnation: u64) -> Position {
        if incarnation == self.incarnation {
            return self.position;
        }
        let retired = self.retired.iter().find(|retired| retired.incarnation == incarnation);
        retired.map(|retired| retired.position).unwrap_or_default()
    }

    /// True for a ledger that is one more than a node may have.
    pub(super) fn is_one_too_many(&self, incarnation: u64) -> bool {
        incarnation > self.incarnation && self.retired.len() + 1 >= LEDGERS_MAX
    }

    /// What the site signed about the last row held of a ledger.
    pub(super) fn witness_of(&self, incarnation: u64) -> Option<&SignedOrder> {
        if incarnation == self.incarnation {
            return self.witness.as_ref();
        }
        let retired = self.retired.iter().find(|retired| retired.incarnation == incarnation);
        retired.and_then(|retired| retired.witness.as_ref())
    }

    /// Takes a stretch of ledger that ends at `to`, and what the site signed about it.
    pub(super) fn advance(&mut self, incarnation: u64, to: Position, witness: &SignedOrder) {
        let goes_on = incarnation == self.incarnation && to.sequence > self.position.sequence;
        if incarnation > self.incarnation {
            if self.position.sequence > 0 {
                self.retired.push(Retired {
                    incarnation: self.incarnation,
                    position: self.position,
                    witness: self.witness.take(),
                });
                for old in self.retired.iter_mut().rev().skip(WITNESSES_MAX - 1) {
                    old.witness = None;
                }
            }
        } else if !goes_on {
            return;
        }
        (self.incarnation, self.position) = (incarnation, to);
        self.witness = Some(witness.clone());
    }
}

/// What the rows of a node said last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NodeState {
    /// The ledger whose rows are being applied.
    pub(super) incarnation: u64,
    /// Goes on over restarts, and over restores.
    pub(super) served: Served,
    pub(super) boot: u64,
    pub(super) boots: u64,
    pub(super) time_max_ms: u64,
    pub(super) monotonic_max_ms: u64,
    pub(super) suspect: bool,
    /// True once a suspect clock was acknowledged in this start.
    pub(super) acknowledged: bool,
    /// True once a survivor closed the node: it need not report any more.
    pub(super) closed: bool,
    /// The call for which approvals were used up last, and the act that was approved:
    /// [`crate::approval::Act::name`].
    pub(super) approved: Option<([u8; 16], String)>,
    /// True once a restore said so: only then may units be written off.
    pub(super) restored: bool,
    /// For each ledger that a restore began, the ledger and row after which it goes on: the end of
    /// a backup.
    pub(super) replaces: BTreeMap<u64, (u64, u64)>,
}

impl NodeState {
    /// True for a row of an earlier ledger from which the present one does not go on. Ends since
    /// a ledger goes on from an earlier one, whatever is kept.
    pub(super) fn is_forgotten(&self, (incarnation, row): (u64, u64)) -> bool {
        let mut ledger = self.incarnation;
        while let Some((before, last)) = self.replaces.get(&ledger).filter(|_| self.restored) {
            match incarnation.cmp(before) {
                _ if incarnation >= ledger || *before >= ledger => return false,
                Ordering::Greater => return true,
                Ordering::Equal => return row > *last,
                Ordering::Less => ledger = *before,
            }
        }
        false
    }

    /// True if approvals of this act were used up in the row's own call.
    pub(super) fn is_approved(&self, row: &Row, act: &str) -> bool {
        self.approved
            .as_ref()
            .is_some_and(|(request, approved)| *request == row.body.request && approved == act)
    }
}

/// An entitlement at a site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EntitlementState {
    pub(super) product: String,
    /// Unit numbers are below.
    pub(super) unit_limit: u64,
    pub(super) not_after: u64,
    pub(super) revoked: bool,
    pub(super) closed: bool,
    /// True once the site acted on what nobody ordered: its limit says nothing more.
    pub(super) disordered: bool,
    /// When the last order or closing that takes rights away was acted on.
    pub(super) narrowed_ms: Option<u64>,
    /// Directives that were applied.
    pub(super) directives: BTreeSet<Digest>,
    pub(super) retries: u64,
    pub(super) attempts_failed: u64,
    pub(super) scrapped: u64,
    /// The batch's newest certificate revocation list: its number, and how many it lists.
    pub(super) crl: (u64, u64),
    pub(super) reserved_in_bundle: u64,
    /// True once a restore set the site back: it may have forgotten what it did with it since the
    /// backup, and nothing is drawn of it any more.
    pub(super) set_back: bool,
    pub(super) ledgers: BTreeMap<String, NodeLedger>,
}

impl EntitlementState {
    /// True for what was decided while the rights that were taken away were still there: a key may
    /// have been used for it, and it is committed all the same. How far site time may step back is
    /// judged by itself.
    pub(super) fn was_decided_before(&self, time_ms: u64) -> bool {
        self.narrowed_ms.is_some_and(|narrowed_ms| time_ms < narrowed_ms)
    }

    /// Units that were ever drawn, over all nodes and all of their ledgers.
    pub(super) fn drawn(&self) -> u64 {
        self.ledgers.values().fold(0, |sum, ledger| sum.saturating_add(ledger.drawn))
    }

    pub(super) fn counters(&self) -> Counters {
        let mut sum = [0_u64; Counters::COUNT];
        for ledger in self.ledgers.values() {
            for (sum, value) in sum.iter_mut().zip(ledger.counters.values()) {
                *sum = sum.saturating_add(value);
            }
        }
        Counters::from_values(sum)
    }
}

/// An entitlement in one node's ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NodeLedger {
    /// What the rows imply.
    pub(super) counters: Counters,
    /// Take the next row's counters as they are: after a restore, or after a finding.
    pub(super) adopt: bool,
    /// A row whose counters are ahead of what is implied, with its call: the counters of a
    /// transaction's rows are all those after the whole transaction.
    pub(super) unsettled: Option<Unsettled>,
    /// Units drawn.
    pub(super) drawn: u64,
    /// Units drawn as of the ends of earlier bundles: (incarnation, sequence, drawn).
    drawn_at: Vec<(u64, u64, u64)>,
    /// One per rate of the terms.
    pub(super) rates: Vec<RateMeter>,
}

/// Most ends of bundles that are remembered per ledger.
const ENDS_MAX: usize = 64;

/// Counters that only the next row of the same call can explain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Unsettled {
    pub(super) row: u64,
    pub(super) request: [u8; 16],
    pub(super) counters: Counters,
}

impl NodeLedger {
    /// Remembers how many units were drawn at the end of a bundle.
    pub(super) fn remember_drawn(&mut self, incarnation: u64, sequence: u64) {
        let last = self.drawn_at.last();
        let repeated = last.is_some_and(|last| last.0 == incarnation && last.1 >= sequence);
        if repeated {
            return;
        }
        self.drawn_at.push((incarnation, sequence, self.drawn));
        if self.drawn_at.len() > ENDS_MAX {
            self.drawn_at.remove(0);
        }
    }

    /// Units drawn as of the end of an earlier bundle.
    pub(super) fn drawn_at(&self, incarnation: u64, sequence: u64) -> Option<u64> {
        let row = (incarnation, sequence);
        self.drawn_at.iter().rfind(|end| (end.0, end.1) == row).map(|end| end.2)
    }

    /// Units drawn after a row, where that is known.
    pub(super) fn drawn_since(&self, incarnation: u64, sequence: u64) -> Option<u64> {
        let row = (incarnation, sequence);
        let earlier = self.drawn_at.iter().rfind(|end| (end.0, end.1) <= row);
        let before = match earlier {
            // A new ledger goes on where the one before ended.
            Some(end) if (end.0, end.1) == row || sequence == 0 => end.2,
            // Between two ends that are known: at least what was drawn after the later one.
            Some(_) => self.drawn_at.iter().find(|end| (end.0, end.1) >= row)?.2,
            // The allotment began after that row.
            None if self.drawn_at.len() < ENDS_MAX => 0,
            None => return None,
        };
        self.drawn.checked_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node in this ledger after restores; each goes on from row 5 of the ledger that it names.
    fn node(incarnation: u64, replaces: &[(u64, u64)]) -> NodeState {
        let replaces = replaces.iter().map(|(ledger, before)| (*ledger, (*before, 5))).collect();
        NodeState { incarnation, restored: true, replaces, ..NodeState::default() }
    }

    #[test]
    fn rows_after_the_backups_are_forgotten() {
        let node = node(4, &[(4, 2), (2, 1)]);
        let forgotten = [(1, 6), (2, 6), (3, 1)];
        assert!(forgotten.into_iter().all(|row| node.is_forgotten(row)));
        let known = [(0, 1), (1, 5), (2, 5), (4, 1), (4, 9), (5, 1)];
        assert!(known.into_iter().all(|row| !node.is_forgotten(row)));
    }

    #[test]
    fn ledgers_that_replace_each_other_forget_nothing_and_end() {
        for replaces in [&[(2, 2)][..], &[(2, 3), (3, 2)], &[(3, 2), (2, 3)], &[(2, 9)]] {
            for row in [(1, 1), (1, 9), (2, 1), (3, 9)] {
                assert!(!node(2, replaces).is_forgotten(row), "{replaces:?} {row:?}");
            }
        }
    }
}
