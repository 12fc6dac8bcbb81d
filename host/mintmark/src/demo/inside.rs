//! A host inside of the demo's own process, with a wall clock that the demo sets.
//!
//! The machine's clock is not the demo's to set. Store, ledger, TLS and socket are the real ones;
//! the hands of the clock alone are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mintmark_custody::{SystemTimeSource, TimeSource};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::host::tell_address;
use super::stage::Stage;
use crate::assemble::Node;
use crate::config::Config;
use crate::error::Error;

/// The running host.
pub(super) struct Inside {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Error>>,
    hands: Hands,
}

/// The machine's clocks, the wall clock behind by as much as is set.
#[derive(Clone)]
struct Hands {
    machine: Arc<SystemTimeSource>,
    behind_ms: Arc<AtomicU64>,
}

impl TimeSource for Hands {
    fn wall_ms(&self) -> u64 {
        self.machine.wall_ms().saturating_sub(self.behind_ms.load(Ordering::SeqCst))
    }

    fn monotonic_ms(&self) -> u64 {
        self.machine.monotonic_ms()
    }
}

impl Inside {
    /// Starts the host of a cluster that nobody else runs. Its admin learns the address.
    pub(super) async fn start(stage: &Stage, cluster: &str) -> Result<Self, Error> {
        let config = Config::read(&stage.path().join(cluster).join("config.toml"))?;
        let hands = Hands { machine: Arc::default(), behind_ms: Arc::default() };
        let node = Node::start_at_danger(&config, Box::new(hands.clone())).await?;
        tell_address(stage, cluster, &node.server.local_addr().to_string())?;
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let until = async move {
                // Whoever drops the sender wants the host to end, too.
                let _ = stopped.await;
            };
            Ok(node.server.serve(until).await?)
        });
        Ok(Self { stop, served, hands })
    }

    /// Sets the wall clock behind the machine's.
    pub(super) fn set_behind_ms(&self, ms: u64) {
        self.hands.behind_ms.store(ms, Ordering::SeqCst);
    }

    /// Stops the host.
    pub(super) async fn stop(self) -> Result<(), Error> {
        let Self { stop, served, .. } = self;
        drop(stop);
        let ended = served.await;
        ended.unwrap_or_else(|_| Err(Error::misfit("a host broke off", "Run the demo again.")))
    }
}
