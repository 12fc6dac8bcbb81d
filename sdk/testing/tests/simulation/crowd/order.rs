//! Is there an order in which calls that overlapped would have been answered like this?

use mintmark_plugin_device_key::proto::UnitState;

use super::reference::{Ask, Reference};

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Where the unit is; of an identity that is not said.
    Done(Option<(UnitState, u32)>),
    Refused(String),
    /// Nobody knows what came of it.
    InDoubt,
}

/// Calls that overlapped, and what is there afterwards.
pub(crate) struct Round<'a> {
    pub(crate) asked: &'a [Ask],
    pub(crate) answered: &'a [Answered],
    /// Every unit, as [`Reference::shown`] has them.
    pub(crate) shown: &'a [(usize, i32, u32, usize)],
    pub(crate) now_ms: u64,
}

impl Round<'_> {
    /// The states of the reference in which the calls can have left it; more than one only where
    /// the units look alike.
    pub(crate) fn explain(&self, before: &Reference) -> Vec<Reference> {
        let mut found = Vec::new();
        let left = (0..self.asked.len()).collect();
        self.search(before, left, &mut found);
        found
    }

    fn search(&self, at: &Reference, left: Vec<usize>, found: &mut Vec<Reference>) {
        if left.is_empty() {
            if at.shown() == self.shown && !found.contains(at) {
                found.push(at.clone());
            }
            return;
        }
        for place in 0..left.len() {
            let mut rest = left.clone();
            let call = rest.swap_remove(place);
            for next in self.step(at, call) {
                self.search(&next, rest.clone(), found);
            }
        }
    }

    /// What one call can have made of it.
    fn step(&self, at: &Reference, call: usize) -> Vec<Reference> {
        let ask = &self.asked[call];
        let mut after = at.clone();
        let expected = after.ask(ask, self.now_ms);
        match (&self.answered[call], expected) {
            (Answered::Done(told), Ok(expected)) => {
                let same = told.is_none_or(|told| told == expected);
                if same { vec![after] } else { Vec::new() }
            }
            (Answered::Done(_), Err(_)) => Vec::new(),
            (Answered::Refused(reason), expected) => {
                let refused = expected.is_err_and(|reasons| reasons.contains(&reason.as_str()));
                let stricter = at.stricter(ask, self.asked, self.now_ms);
                let right = refused || stricter.contains(&reason.as_str());
                if right { vec![at.clone()] } else { Vec::new() }
            }
            (Answered::InDoubt, Ok(_)) if after != *at => vec![at.clone(), after],
            (Answered::InDoubt, _) => vec![at.clone()],
        }
    }
}
