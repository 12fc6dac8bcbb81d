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

/// So many different refusals in a minute are kept apart; what comes after them gets rows of its
/// own kind.
const KINDS_MAX: usize = 4_096;

impl Outcomes {
    /// Counts a refusal. Gives what is to be written now: what an earlier minute left, and the
    /// refusal itself if it is the first of its kind in this minute.
    pub(crate) fn count(&self, mut key: OutcomeKey, now_ms: u64) -> Vec<Merged> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms / 60_000;
        let mut due = if minute == state.minute { Vec::new() } else { state.drain() };
        state.minute = minute;
        if state.seen.len() >= KINDS_MAX && !state.seen.contains_key(&key) {
            key.method = "(several)".to_owned();
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
}
