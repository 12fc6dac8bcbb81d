//! WASI with nothing in it: no files, no sockets, no environment, no arguments.
//!
//! What a plugin prints goes to its log; the wall clock is the site time of the call; the monotonic
//! clock stands still during a call, so that nothing can be measured with it; randomness is the
//! host's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};

use crate::log::{CallLog, Level};

/// The most random bytes in one call of the function.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// What one write to standard output may have.
const WRITE_BYTES_MAX: usize = 4 << 10;

/// Site time in milliseconds, set when a call begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct SiteClock(Arc<AtomicU64>);

impl SiteClock {
    /// From now on it is `ms`.
    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The context of one instance.
pub(crate) fn context(clock: &SiteClock, log: &CallLog) -> WasiCtx {
    WasiCtxBuilder::new()
        .stdout(Printed { level: Level::Info, log: log.clone() })
        .stderr(Printed { level: Level::Warning, log: log.clone() })
        .wall_clock(clock.clone())
        .monotonic_clock(clock.clone())
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

impl HostWallClock for SiteClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.since_epoch()
    }
}

impl HostMonotonicClock for SiteClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since_epoch().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Standard output or standard error: complete lines go to the call's log.
#[derive(Clone)]
struct Printed {
    level: Level,
    log: CallLog,
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only the streams of WASI 0.3 come this way, which are not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.is_empty()) {
            self.log.write(self.level, line);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}
