//! Time as the test sets it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mintmark_custody::TimeSource;

/// 2026-01-01T00:00:00Z: where the clocks of a new world stand.
pub(crate) const EPOCH_MS: u64 = 1_767_225_600_000;

/// Both clocks of one host. Clones are the same clocks; they stand still unless a test moves them.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl TestClock {
    pub(crate) fn new(wall_ms: u64) -> Self {
        let (wall_ms, monotonic_ms) = (AtomicU64::new(wall_ms), AtomicU64::new(0));
        Self(Arc::new(Hands { wall_ms, monotonic_ms }))
    }

    /// Lets time pass on both clocks.
    pub fn pass_ms(&self, ms: u64) {
        self.0.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.0.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Clocks of their own that show the same.
    pub(crate) fn fork(&self) -> Self {
        let fork = Self::new(self.now_ms());
        fork.0.monotonic_ms.store(self.monotonic_ms(), Ordering::SeqCst);
        fork
    }

    /// Sets the wall clock alone, as somebody at the machine would.
    pub fn set_wall_ms(&self, ms: u64) {
        self.0.wall_ms.store(ms, Ordering::SeqCst);
    }

    /// Sets the monotonic clock ahead alone, which no honest machine does.
    pub fn jump_monotonic_ms(&self, ms: u64) {
        self.0.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// What the wall clock shows, in milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        self.0.wall_ms.load(Ordering::SeqCst)
    }
}

impl TimeSource for TestClock {
    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.monotonic_ms.load(Ordering::SeqCst)
    }
}
