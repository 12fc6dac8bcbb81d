//! The host's log, kept: what a guest says must not carry out what it may not.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing_subscriber::filter::LevelFilter;

static START: Once = Once::new();
static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What all tests of this process write to.
struct Kept;

/// Keeps the log of this process from now on.
pub(crate) fn start() {
    START.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Kept);
        subscriber.with_max_level(LevelFilter::DEBUG).init();
    });
}

/// What was written so far, by all tests.
pub(crate) fn text() -> String {
    String::from_utf8_lossy(&written()).into_owned()
}

fn written() -> MutexGuard<'static, Vec<u8>> {
    WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        written().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
