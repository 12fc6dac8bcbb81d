//! Lines of a plugin, for admins and authors: bounded a line, a call and a second, escaped, kept
//! until the call ends.
//!
//! They are kept because a call that used a limited key and then failed may tell nothing, not even
//! in a log line; its lines are dropped and counted. Writing never fails and never waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::escape::escaped;

/// The longest line; what exceeds it is cut.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The most that one call can say.
const CALL_BYTES_MAX: usize = 64 << 10;

/// A line counts as so many bytes more than its text, so that empty lines are not free.
const LINE_COST_BYTES: usize = 32;

/// How much a quiet plugin saves up, in seconds of its rate.
const BURST_SECONDS: u64 = 4;

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// What one call has said so far. Clones are the same log: standard output writes to it as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallLog(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<(Level, String)>,
    bytes: usize,
    dropped: u64,
}

/// What a plugin may say in a second, over all of its calls.
#[derive(Debug)]
pub(crate) struct LogRate {
    per_second: u64,
    state: Mutex<(Instant, u64)>,
}

impl CallLog {
    /// Keeps a line, or drops and counts it.
    pub(crate) fn write(&self, level: Level, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = escaped(line, LINE_BYTES_MAX);
        let cost = line.len() + LINE_COST_BYTES;
        if lines.bytes + cost > CALL_BYTES_MAX {
            lines.dropped += 1;
            return;
        }
        lines.bytes += cost;
        lines.lines.push((level, line));
    }

    /// Hands the lines to the log, as far as the plugin's rate goes.
    pub(crate) fn publish(&self, plugin: &str, request: &str, rate: &LogRate) {
        let kept = self.take();
        let mut dropped = kept.dropped;
        for (level, line) in kept.lines {
            if rate.allows(line.len() + LINE_COST_BYTES, Instant::now()) {
                publish_line(level, plugin, request, &line);
            } else {
                dropped += 1;
            }
        }
        if dropped > 0 {
            tracing::warn!(target: "plugin", plugin, request, dropped, "lines were dropped");
        }
    }

    /// Drops the lines of a run that is repeated, and says them then.
    pub(crate) fn discard(&self) {
        drop(self.take());
    }

    /// Drops the lines of a call that may tell nothing, and says how many.
    pub(crate) fn withhold(&self, plugin: &str, request: &str) {
        let kept = self.take();
        let withheld = kept.dropped + kept.lines.len() as u64;
        if withheld > 0 {
            tracing::warn!(target: "plugin", plugin, request, withheld, "lines were withheld");
        }
    }

    fn take(&self) -> Lines {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogRate {
    /// A plugin that has been quiet for a while.
    pub(crate) fn new(per_second: u64, now: Instant) -> Self {
        Self { per_second, state: Mutex::new((now, per_second.saturating_mul(BURST_SECONDS))) }
    }

    fn allows(&self, bytes: usize, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, saved) = *state;
        let passed_ms = now.saturating_duration_since(last).as_millis() as u64;
        let earned = passed_ms.saturating_mul(self.per_second) / 1_000;
        let most = self.per_second.saturating_mul(BURST_SECONDS);
        // A moment too short to earn a byte is not forgotten: the time is moved only with the
        // savings.
        let (last, saved) =
            if earned > 0 { (now, saved.saturating_add(earned).min(most)) } else { (last, saved) };
        let cost = bytes as u64;
        let allowed = saved >= cost;
        *state = (last, if allowed { saved - cost } else { saved });
        allowed
    }
}

fn publish_line(level: Level, plugin: &str, request: &str, line: &str) {
    match level {
        Level::Debug => tracing::debug!(target: "plugin", plugin, request, "{line}"),
        Level::Info => tracing::info!(target: "plugin", plugin, request, "{line}"),
        Level::Warning => tracing::warn!(target: "plugin", plugin, request, "{line}"),
        Level::Error => tracing::error!(target: "plugin", plugin, request, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn w13_a_call_that_floods_is_cut_and_counted() {
        let log = CallLog::default();
        for _ in 0..100_000 {
            log.write(Level::Info, "x\ny");
        }
        log.write(Level::Info, &"z".repeat(1 << 20));
        let lines = log.take();
        let bytes: usize = lines.lines.iter().map(|(_, line)| line.len()).sum();
        assert!(bytes <= CALL_BYTES_MAX);
        assert_eq!(lines.dropped + lines.lines.len() as u64, 100_001);
        assert!(lines.lines.iter().all(|(_, line)| !line.contains('\n')));
    }

    #[test]
    fn w13_a_plugin_that_floods_is_held_to_its_rate() {
        let begin = Instant::now();
        let rate = LogRate::new(1_000, begin);
        let burst = (0..100).filter(|_| rate.allows(100, begin)).count();
        assert_eq!(burst, 40);
        let later = begin + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| rate.allows(100, later)).count(), 5);
    }
}
