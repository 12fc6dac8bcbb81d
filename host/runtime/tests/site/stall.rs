//! A store whose records of plugins can be made to stay away, as if others held them, and whose
//! syncs can be made to last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use mintmark_store::{
    Found, Key, Later, Mark, Outcome, Position, Range, Row, Snapshot, Store, Transaction, Verified,
};

/// The table of the plugins' records.
const RECORDS: u8 = 3;

/// Whether who reads a plugin's record waits for ever.
pub(crate) type Stalls = Arc<AtomicBool>;

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

/// The store.
pub(crate) struct Stalling {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) stalls: Stalls,
}

struct View {
    snapshot: Arc<dyn Snapshot>,
    stalls: Stalls,
}

impl Store for Stalling {
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>> {
        Box::pin(async {
            let (snapshot, stalls) = (self.store.snapshot().await?, Arc::clone(&self.stalls));
            let view: Arc<dyn Snapshot> = Arc::new(View { snapshot, stalls });
            Ok(view)
        })
    }

    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>> {
        self.gate.pass();
        self.store.commit(batch)
    }

    fn verify(&self) -> Later<'_, Verified> {
        self.store.verify()
    }
}

impl Snapshot for View {
    fn get<'a>(&'a self, keys: &'a [Key]) -> Later<'a, Vec<Found>> {
        let stalls = self.stalls.load(Ordering::Relaxed);
        if stalls && keys.iter().any(|key| key.table == RECORDS) {
            return Box::pin(std::future::pending());
        }
        self.snapshot.get(keys)
    }

    fn scan<'a>(&'a self, range: &'a Range) -> Later<'a, Vec<(Key, Found)>> {
        self.snapshot.scan(range)
    }

    fn rows<'a>(&'a self, node: &'a str, after: u64, limit_bytes: usize) -> Later<'a, Vec<Row>> {
        self.snapshot.rows(node, after, limit_bytes)
    }

    fn position(&self) -> &Position {
        self.snapshot.position()
    }

    fn previous(&self) -> &Mark {
        self.snapshot.previous()
    }

    fn is_stable(&self) -> bool {
        self.snapshot.is_stable()
    }
}
