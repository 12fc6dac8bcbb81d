//! Whether the store is the one that the platform remembers.
//!
//! Every batch is anchored before anything of it is released. So a store that is behind its anchor,
//! or beside it, may have lost what left the host: it opens read-only. It says what it holds, and
//! writes and releases nothing, until the restore ceremony has written off what cannot be known.

use std::fmt;

use mintmark_model::{Reason, Refusal};
use mintmark_platform::Platform;
use mintmark_platform::anchor::{Anchor, Standing, compare};
use mintmark_store::Snapshot;

use crate::custody::mark_of;
use crate::genesis::OpenError;
use crate::host::Host;
use crate::room;
use crate::transfers::taken_digests;
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

/// Brings the anchor forward after a crash; says so where the store does not fit it.
pub(crate) async fn catch_up(
    platform: &dyn Platform,
    store_id: &[u8; 16],
    epoch: u64,
    snapshot: &dyn Snapshot,
    view: &View,
) -> Result<Option<Suspicion>, OpenError> {
    let current = mark_of(&snapshot.position().mark());
    let previous = mark_of(snapshot.previous());
    let Some(anchor) = platform.anchor().map_err(OpenError::Platform)? else {
        return Ok(Some(Suspicion::NoAnchor));
    };
    match compare(&anchor, store_id, epoch, &current, &previous) {
        Standing::Equal => Ok(None),
        Standing::StoreAhead => {
            tracing::info!("the host stopped between a commit and its anchor; catching up");
            // The batch that was not anchored may have taken something: that is never forgotten.
            let known = taken_digests(view).await.map_err(OpenError::Refused)?;
            platform.remember(&known).map_err(OpenError::Platform)?;
            let anchor = Anchor::new(*store_id, epoch, current);
            platform.advance(&anchor).map_err(OpenError::Platform)?;
            Ok(None)
        }
        Standing::StoreBehind => Ok(Some(Suspicion::Behind)),
        Standing::Different => Ok(Some(Suspicion::AnotherHistory)),
    }
}
