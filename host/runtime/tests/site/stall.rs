//! A store whose records of plugins can be made to stay away, as if others held them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mintmark_store::{
    Found, Key, Later, Mark, Outcome, Position, Range, Row, Snapshot, Store, Transaction, Verified,
};

/// The table of the plugins' records.
const RECORDS: u8 = 3;

/// Whether who reads a plugin's record waits for ever.
pub(crate) type Stalls = Arc<AtomicBool>;

/// The store.
pub(crate) struct Stalling {
    pub(crate) store: Arc<dyn Store>,
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
