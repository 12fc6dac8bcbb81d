//! A disk that has as much room as a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mintmark_custody::DiskSpace;

/// What is free, in bytes.
#[derive(Clone)]
pub(crate) struct Room(Arc<AtomicU64>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Room {
    pub(crate) fn set_free(&self, bytes: u64) {
        self.0.store(bytes, Ordering::SeqCst);
    }
}

impl DiskSpace for Room {
    fn free_bytes(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst))
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn set_reserve(&self, _: u64) -> bool {
        false
    }
}
