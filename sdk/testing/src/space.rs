//! Room on the disk, as the test wants it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use mintmark_custody::DiskSpace;

/// The file system of one host, which has room without end unless a test says otherwise. Clones
/// are the same one.
#[derive(Clone, Debug, Default)]
pub struct TestSpace(Arc<Disk>);

#[derive(Debug)]
struct Disk {
    free: AtomicU64,
    in_place: AtomicBool,
}

impl Default for Disk {
    fn default() -> Self {
        Self { free: AtomicU64::new(u64::MAX), in_place: AtomicBool::new(true) }
    }
}

impl TestSpace {
    /// So many bytes are free from now on. A host looks once a second of its monotonic clock.
    pub fn set_free(&self, bytes: u64) {
        self.0.free.store(bytes, Ordering::SeqCst);
    }

    /// Whether the host's files are where they were opened, from now on.
    pub fn set_in_place(&self, in_place: bool) {
        self.0.in_place.store(in_place, Ordering::SeqCst);
    }
}

impl DiskSpace for TestSpace {
    fn free_bytes(&self) -> Option<u64> {
        Some(self.0.free.load(Ordering::SeqCst))
    }

    fn is_in_place(&self) -> bool {
        self.0.in_place.load(Ordering::SeqCst)
    }

    fn set_reserve(&self, _: u64) -> bool {
        false
    }
}
