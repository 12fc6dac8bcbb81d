//! Who may run: places for the calls of one plugin, a bounded queue before them, and places for all
//! instances.
//!
//! A place is taken before anything else, because a slot of the pool that is not there is an error
//! and not a wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use mintmark_model::{Reason, Refusal};

use crate::config::Limits;

/// When to come back to a queue that is full.
const FULL_RETRY_MS: u64 = 250;

/// The gate of one plugin.
#[derive(Debug)]
pub(crate) struct Gate {
    running: Arc<Semaphore>,
    present: Arc<Semaphore>,
    wait_max: Duration,
}

/// A call's place; given back when the guest has run, before the commit.
#[derive(Debug)]
pub(crate) struct Turn {
    _running: OwnedSemaphorePermit,
    _present: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate with as many places as the limits say.
    pub(crate) fn new(limits: &Limits) -> Self {
        let running = limits.concurrent.max(1) as usize;
        Self {
            running: Arc::new(Semaphore::new(running)),
            present: Arc::new(Semaphore::new(running.saturating_add(limits.queued as usize))),
            wait_max: Duration::from_millis(limits.deadline_ms),
        }
    }

    /// Waits for a place among the running calls, unless too many wait already.
    pub(crate) async fn enter(&self) -> Result<Turn, Refusal> {
        let present = Arc::clone(&self.present).try_acquire_owned().map_err(|_| full())?;
        Ok(Turn { _running: wait(&self.running, self.wait_max).await?, _present: present })
    }
}

/// Waits for a place in `places`, at most so long.
pub(crate) async fn wait(
    places: &Arc<Semaphore>,
    time_max: Duration,
) -> Result<OwnedSemaphorePermit, Refusal> {
    let place = Arc::clone(places).acquire_owned();
    match tokio::time::timeout(time_max, place).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(full()),
    }
}

fn full() -> Refusal {
    let detail = "The plugin has too many calls at once.";
    Refusal::new(Reason::Unavailable, detail).retry_after(FULL_RETRY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn w12_a_full_queue_refuses_at_once_and_a_long_wait_ends() {
        let limits = Limits { concurrent: 1, queued: 1, deadline_ms: 20, ..Limits::default() };
        let gate = Gate::new(&limits);
        let first = gate.enter().await.unwrap();
        let (second, third) = tokio::join!(gate.enter(), gate.enter());
        assert_eq!(second.unwrap_err().reason, Reason::Unavailable);
        assert_eq!(third.unwrap_err().retry_after_ms, Some(FULL_RETRY_MS));
        drop(first);
        assert!(gate.enter().await.is_ok());
    }
}
