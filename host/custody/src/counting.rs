//! The counters of allotments in a transaction: sums of what a call's units and orders do to them.

use std::collections::BTreeMap;

use mintmark_exchange::grant::Terms;
use mintmark_model::{Counters, UnitState};
use mintmark_store::{Add, Sum, Transaction};

use crate::tables;
use crate::units::work::Which;

/// What an order does to an allotment's counters, in row order.
pub(crate) struct Credit {
    pub(crate) entitlement: String,
    pub(crate) deltas: [i64; 10],
    /// No counter exceeds it.
    pub(crate) most: u64,
}

/// Sums the changes of counters by allotment.
#[derive(Default)]
pub(crate) struct Counting {
    changes: BTreeMap<String, Change>,
}

#[derive(Default)]
struct Change {
    deltas: [i64; 10],
    /// No counter of an allotment exceeds what its grant credits, whatever happens above.
    credited_max: u64,
    /// The scrap allowance, where a device is scrapped that nobody had to approve.
    scrapped_max: Option<u64>,
}

impl Counting {
    /// An order changes what there is.
    pub(crate) fn credit(&mut self, credit: &Credit) {
        let change = self.changes.entry(credit.entitlement.clone()).or_default();
        for (sum, delta) in change.deltas.iter_mut().zip(credit.deltas) {
            *sum += delta;
        }
        change.credited_max = change.credited_max.max(credit.most);
    }

    /// A unit goes from one place to another, in row order.
    pub(crate) fn shift(&mut self, entitlement: &str, from: usize, to: usize, terms: &Terms) {
        let change = self.changes.entry(entitlement.to_owned()).or_default();
        change.deltas[from] -= 1;
        change.deltas[to] += 1;
        change.credited_max = change.credited_max.max(terms.total);
    }

    /// A device is scrapped within the allowance: the counter must not be beyond it afterwards.
    pub(crate) fn scrap_within(&mut self, entitlement: &str, allowance: u64) {
        self.changes.entry(entitlement.to_owned()).or_default().scrapped_max = Some(allowance);
    }

    /// Writes ten adds per allotment; gives the index of the first of each.
    pub(crate) fn write_into(
        self,
        which: Which,
        transaction: &mut Transaction,
    ) -> BTreeMap<String, usize> {
        let mut first = BTreeMap::new();
        for (entitlement, change) in self.changes {
            let [credited, parts @ ..] = &change.deltas;
            // Promise I1, at every commit: what is credited is what is somewhere.
            assert_eq!(*credited, parts.iter().sum::<i64>(), "units neither appear nor vanish");
            let whole = transaction.adds.len();
            first.insert(entitlement.clone(), whole);
            // And what the store holds must add up as well: else nothing is written, and nothing
            // of this call is released.
            transaction.sums.push(Sum { whole, parts: parts.len() });
            for (position, delta) in change.deltas.into_iter().enumerate() {
                let scrapped = position == Counters::position(UnitState::Scrapped);
                let max = match change.scrapped_max {
                    // A call that failed may know nothing of an extension that came since: what it
                    // does not raise is within the bound of then.
                    _ if which == Which::Released && delta <= 0 => u64::MAX,
                    Some(allowance) if scrapped => allowance.min(change.credited_max),
                    _ => change.credited_max,
                };
                let key = tables::counter(&entitlement, position);
                transaction.adds.push(Add { key, delta, min: 0, max });
            }
        }
        first
    }
}
