//! Whether the store is the one that the platform remembers.
//!
//! Every batch is anchored before anything of it is released. So a store that is behind its anchor,
//! or beside it, may have lost what left the host: it opens read-only. It says what it holds, and
//! writes and releases nothing, until the restore ceremony has written off what cannot be known.

use std::fmt;

use mintmark_model::{Reason, Refusal};
use mintmark_platform::Platform;
use mintmark_platform::anchor::{Anchor, Standing, compare};
use mintmark_store::{Snapshot, Store};

use crate::custody::{host_place, mark_of};
use crate::disk::host::HostRecord;
use crate::genesis::OpenError;
use crate::host::Host;
use crate::room;
use crate::transfers::taken_digests;
use crate::verify::{VerifyError, wrong};
use crate::view::View;

/// Why a store is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// The platform has never anchored this store.
    NoAnchor,
    /// The store is older than its anchor.
    Behind,
    /// The store has another history, or another epoch, than its anchor.
    AnotherHistory,
}

impl Suspicion {
    /// What is suspected of a store that stands so to its anchor; none where there is no anchor.
    pub fn of(standing: Option<Standing>) -> Option<Self> {
        match standing {
            None => Some(Self::NoAnchor),
            Some(Standing::Equal | Standing::StoreAhead) => None,
            Some(Standing::StoreBehind) => Some(Self::Behind),
            Some(Standing::Different) => Some(Self::AnotherHistory),
        }
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoAnchor => {
                "the platform has no anchor for this store; bring it back with `mintmark restore`"
            }
            Self::Behind => {
                "the store is older than the platform remembers; put the newest data back, or \
                 restore a backup with `mintmark restore`"
            }
            Self::AnotherHistory => {
                "the store has another history than the platform remembers; put the right data \
                 back, or restore a backup with `mintmark restore`"
            }
        })
    }
}

impl Host {
    /// Why nothing can be written, to whoever wanted to.
    pub(crate) fn cannot_write(&self) -> Refusal {
        match self.suspicion {
            Some(suspicion) => Refusal::new(
                Reason::RollbackSuspected,
                format!("Nothing is written or released: {suspicion}."),
            ),
            None => room::poisoned(self.committer.poison()),
        }
    }
}

/// How a store that nobody serves stands to what its platform remembers; none where the platform
/// has no anchor.
///
/// # Errors
///
/// The store cannot be read, or was never begun.
pub async fn standing(
    store: &dyn Store,
    store_id: &[u8; 16],
    anchor: Option<&Anchor>,
) -> Result<Option<Standing>, VerifyError> {
    let view = View::new(store).await?;
    let record: Option<HostRecord> = view.peek(&host_place()).await?;
    let record = record.ok_or_else(|| wrong("the host", "there is no record of it"))?;
    let snapshot = store.snapshot().await?;
    Ok(anchor.map(|anchor| compared(anchor, store_id, record.epoch, &*snapshot)))
}

fn compared(anchor: &Anchor, store_id: &[u8; 16], epoch: u64, snapshot: &dyn Snapshot) -> Standing {
    let current = mark_of(&snapshot.position().mark());
    compare(anchor, store_id, epoch, &current, &mark_of(snapshot.previous()))
}

/// Brings the anchor forward after a crash; says so where the store does not fit it.
pub(crate) async fn catch_up(
    platform: &dyn Platform,
    store_id: &[u8; 16],
    epoch: u64,
    snapshot: &dyn Snapshot,
    view: &View,
) -> Result<Option<Suspicion>, OpenError> {
    let anchor = platform.anchor().map_err(OpenError::Platform)?;
    let standing = anchor.map(|anchor| compared(&anchor, store_id, epoch, snapshot));
    if standing == Some(Standing::StoreAhead) {
        tracing::info!("the host stopped between a commit and its anchor; catching up");
        // The batch that was not anchored may have taken something: that is never forgotten.
        let known = taken_digests(view).await.map_err(OpenError::Refused)?;
        platform.remember(&known).map_err(OpenError::Platform)?;
        let current = mark_of(&snapshot.position().mark());
        let anchor = Anchor::new(*store_id, epoch, current);
        platform.advance(&anchor).map_err(OpenError::Platform)?;
    }
    Ok(Suspicion::of(standing))
}
