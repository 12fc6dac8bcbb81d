//! A store whose commits wait while a test wants it.

use std::sync::{Arc, Condvar, Mutex};

use mintmark_store::{Later, Outcome, Snapshot, Store, Transaction, Verified};

/// Holds commits while it is closed.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    waits: bool,
}

impl Gate {
    pub(crate) fn set(&self, closed: bool) {
        *self.state.lock().unwrap() = State { closed, waits: false };
        self.changed.notify_all();
    }

    /// Returns when a commit has begun and does not end.
    pub(crate) fn until_a_commit_waits(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !state.waits).unwrap());
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waits = state.closed;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.closed).unwrap());
    }
}

pub(super) struct Gated {
    pub(super) store: Arc<dyn Store>,
    pub(super) gate: Arc<Gate>,
}

impl Store for Gated {
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>> {
        self.store.snapshot()
    }

    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>> {
        self.gate.pass();
        self.store.commit(batch)
    }

    fn verify(&self) -> Later<'_, Verified> {
        self.store.verify()
    }
}
