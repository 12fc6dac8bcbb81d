//! Rows about refused and faulted calls, merged so that a flood of them does not flood the ledger.
//!
//! The first refusal of a principal for a reason is a row at once. Equal ones in the same minute
//! are counted here, and their number is a row when the minute is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What makes two refusals equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OutcomeKey {
    pub(crate) principal: String,
    pub(crate) method: String,
    pub(crate) reason: String,
}

/// Refusals that were counted and have no row yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) key: OutcomeKey,
    pub(crate) count: u32,
}

/// The merging of one node.
#[derive(Default)]
pub(crate) struct Outcomes(Mutex<State>);

#[derive(Default)]
struct State {
    minute: u64,
    seen: BTreeMap<OutcomeKey, u32>,
}

/// So many different refusals in a minute are kept apart. Those beyond them are one per principal
/// and reason, and beyond twice as many one per reason: memory stays bounded, and the sum right.
const KINDS_MAX: usize = 4_096;
/// Stands for what is not kept apart.
const SEVERAL: &str = "(several)";

impl Outcomes {
    /// Counts a refusal. Gives what is to be written now: what an earlier minute left, and the
    /// refusal itself if it is the first of its kind in this minute.
    pub(crate) fn count(&self, mut key: OutcomeKey, now_ms: u64) -> Vec<Merged> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms / 60_000;
        let mut due = if minute == state.minute { Vec::new() } else { state.drain() };
        state.minute = minute;
        if state.seen.len() >= KINDS_MAX && !state.seen.contains_key(&key) {
            key.method = SEVERAL.to_owned();
        }
        if state.seen.len() >= 2 * KINDS_MAX && !state.seen.contains_key(&key) {
            key.principal = SEVERAL.to_owned();
        }
        match state.seen.get_mut(&key) {
            Some(more) => *more = more.saturating_add(1),
            None => {
                state.seen.insert(key.clone(), 0);
                due.push(Merged { key, count: 1 });
            }
        }
        due
    }

    /// Counts again what was taken for rows that were not written.
    pub(crate) fn give_back(&self, merged: Vec<Merged>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Merged { key, count } in merged {
            let more = state.seen.entry(key).or_default();
            *more = more.saturating_add(count);
        }
    }

    /// What was counted and has no row yet, for a checkpoint.
    pub(crate) fn drain(&self) -> Vec<Merged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain()
    }
}

impl State {
    fn drain(&mut self) -> Vec<Merged> {
        let seen = std::mem::take(&mut self.seen).into_iter();
        seen.filter(|(_, more)| *more > 0).map(|(key, count)| Merged { key, count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(reason: &str) -> OutcomeKey {
        OutcomeKey {
            principal: "spiffe://acme/site/a/station/t".into(),
            method: "/p.S/M".into(),
            reason: reason.into(),
        }
    }

    #[test]
    fn a_flood_is_one_row_and_a_number() {
        let outcomes = Outcomes::default();
        assert_eq!(outcomes.count(key("EXPIRED"), 0).len(), 1);
        for _ in 0..999 {
            assert!(outcomes.count(key("EXPIRED"), 59_999).is_empty());
        }
        assert_eq!(outcomes.count(key("REVOKED"), 10).len(), 1);
        let due = outcomes.count(key("EXPIRED"), 60_000);
        assert_eq!(due.iter().map(|merged| merged.count).collect::<Vec<_>>(), [999, 1]);
    }

    /// Rows and the refusals that they stand for.
    fn sum(rows: &[Merged]) -> (usize, u64) {
        (rows.len(), rows.iter().map(|merged| u64::from(merged.count)).sum())
    }

    #[test]
    fn a_hundred_thousand_refusals_are_few_rows_and_none_is_lost() {
        let outcomes = Outcomes::default();
        let mut rows = Vec::new();
        for number in 0..100_000_u64 {
            let reason = ["EXPIRED", "REVOKED", "RATE_LIMITED"][number as usize % 3];
            rows.extend(outcomes.count(key(reason), number * 3));
        }
        rows.extend(outcomes.drain());
        // Five minutes, three reasons, a first row and a rest of each.
        assert_eq!(sum(&rows), (30, 100_000));
    }

    #[test]
    fn any_number_of_callers_and_methods_is_counted_in_bounded_memory() {
        let outcomes = Outcomes::default();
        let mut rows = Vec::new();
        for number in 0..100_000_u64 {
            let mut key = key(["EXPIRED", "REVOKED"][number as usize % 2]);
            key.principal = format!("spiffe://acme/site/a/station/t{number}");
            key.method = format!("/p.S/M{}", number % 7);
            rows.extend(outcomes.count(key, 0));
        }
        assert!(outcomes.0.lock().unwrap().seen.len() <= 2 * KINDS_MAX + 2);
        let several = rows.iter().filter(|row| row.key.principal == SEVERAL).count();
        assert_eq!(several, 2, "one row for each reason");
        rows.extend(outcomes.drain());
        let (count, refusals) = sum(&rows);
        assert!(count <= 2 * KINDS_MAX + 4 && refusals == 100_000);
    }

    #[test]
    fn what_is_given_back_is_counted_again() {
        let outcomes = Outcomes::default();
        outcomes.count(key("EXPIRED"), 0);
        (0..5).for_each(|_| drop(outcomes.count(key("EXPIRED"), 0)));
        let drained = outcomes.drain();
        assert_eq!(sum(&drained), (1, 5));
        outcomes.give_back(drained);
        assert_eq!(sum(&outcomes.drain()), (1, 5));
    }
}
