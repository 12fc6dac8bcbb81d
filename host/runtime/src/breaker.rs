//! A plugin that fails call after call is left alone for a while: it wastes the host's time, and
//! somebody should look.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mintmark_model::{Reason, Refusal};

/// So many failed calls in a row open the breaker.
const FAULTS_MAX: u32 = 32;

/// How long it stays open; then single calls try again.
const REST: Duration = Duration::from_secs(10);

/// Counts what fails in a row.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<Faults>);

#[derive(Debug, Default)]
struct Faults {
    in_a_row: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Refuses while the breaker is open. When its time is over, one call is let through and the
    /// next one waits for it.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Refusal> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.open_until {
            Some(until) if now < until => {
                let left = until.duration_since(now).as_millis() as u64;
                let detail = "The plugin failed too often in a row; it is left alone for a while.";
                Err(Refusal::new(Reason::Unavailable, detail).retry_after(left.max(1)))
            }
            Some(_) => {
                faults.open_until = Some(now + REST);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A call returned, with whatever answer.
    pub(crate) fn returned(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Faults::default();
    }

    /// A call trapped or ran out of time. Says whether the breaker opens by it.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.in_a_row = faults.in_a_row.saturating_add(1);
        if faults.in_a_row < FAULTS_MAX {
            return false;
        }
        let opens = faults.open_until.is_none();
        faults.open_until = Some(now + REST);
        opens
    }

    /// Whether calls are refused now.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.open_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w15_a_crash_loop_is_left_alone_and_tried_again() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 1..FAULTS_MAX {
            assert!(!breaker.failed(now) && breaker.admit(now).is_ok());
        }
        assert!(breaker.failed(now) && breaker.is_open(now));
        assert_eq!(breaker.admit(now).unwrap_err().reason, Reason::Unavailable);

        let later = now + REST;
        assert!(breaker.admit(later).is_ok(), "one call tries");
        assert!(breaker.admit(later).is_err(), "the next one waits for it");
        assert!(!breaker.failed(later), "said once");
        breaker.returned();
        assert!(breaker.admit(later).is_ok() && !breaker.is_open(later));
    }
}
