//! How much room the disk has, and what is still done while there is little.
//!
//! A write that meets a full disk ends a start of the host: nobody knows what of it is durable. So
//! the end is announced. Below a mark only what ends units and reports them is written; what would
//! make something new is refused before a unit is drawn or a key is made. Where next to nothing is
//! free, nothing is written at all. As soon as there is room the host goes on by itself.
//!
//! Other programs may fill the disk as well. So a part of the mark is really taken, as a reserve,
//! and given back to the file system when the mark is passed: what is still served then has room,
//! however little the others left. The engine's own file is no such reserve: it grows in large
//! steps, but without blocks, which the file system finds only when a page is written.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use mintmark_exchange::row::Event;
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, Refusal};
use mintmark_store::Poison;

use crate::call::Call;
use crate::custody::Custody;
use crate::host::Host;

/// The disks are looked at so often, in milliseconds of the monotonic clock, while there are calls.
const LOOK_MS: u64 = 1_000;
/// Which part of the mark is the reserve. Of the default that is 128 MiB: the longest bundle, its
/// copies in the engine, and a hundred thousand confirmations.
const RESERVE_PART: u64 = 4;
/// Which part of the mark must be free for anything to be written. Of the default that is 8 MiB:
/// two batches.
const FLOOR_PART: u64 = 64;
/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// The file systems on which a host writes. Tests bring their own.
pub trait DiskSpace: Send + Sync {
    /// What is free where the host writes, in bytes: the least of its file systems. `None` where
    /// that cannot be told; then only a write that fails tells it.
    fn free_bytes(&self) -> Option<u64>;
    /// Whether the files that the host has open are still those in its directories.
    fn is_in_place(&self) -> bool;
    /// Takes so many bytes for a reserve, or with none gives it back. Answers whether it is held
    /// now.
    fn set_reserve(&self, bytes: u64) -> bool;
}

/// Room without end: for hosts in memory.
pub struct Endless;

impl DiskSpace for Endless {
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn set_reserve(&self, _: u64) -> bool {
        false
    }
}

/// What there is room for, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageState {
    /// Everything.
    Ample,
    /// Confirm, fail, scrap and export.
    Low,
    /// Nothing.
    Full,
    /// Nothing but a backup: a file of the host's is no longer in its directory.
    Gone,
}

impl StorageState {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Low => "low",
            Self::Full => "full",
            Self::Gone => "gone",
        }
    }
}

/// The disks as they were last looked at.
#[derive(Debug, Clone)]
pub struct StorageStatus {
    /// What there is room for.
    pub state: StorageState,
    /// What is free; `None` where that cannot be told.
    pub free_bytes: Option<u64>,
    /// Below so many free bytes the storage is low.
    pub mark_bytes: u64,
    /// What happened and what to do; empty while there is room.
    pub detail: String,
}

/// The disks of a node, watched.
pub(crate) struct Room {
    space: Box<dyn DiskSpace>,
    mark: u64,
    /// Held by whoever looks; nobody waits for it.
    looking: Mutex<Look>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Look {
    /// When, on the monotonic clock.
    last: Option<u64>,
    reserved: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    state: StorageState,
    free: Option<u64>,
}

impl Room {
    pub(crate) fn new(space: Box<dyn DiskSpace>, mark: u64) -> Self {
        let seen = Seen { state: StorageState::Ample, free: None };
        Self { space, mark, looking: Mutex::default(), seen: Mutex::new(seen) }
    }

    /// What there is room for. Looks where the last look is too old and nobody else is looking: a
    /// file system that answers slowly keeps one call waiting, not all.
    pub(crate) fn state(&self, now_ms: u64) -> StorageState {
        match self.looking.try_lock() {
            Ok(mut look) => self.look(&mut look, now_ms),
            Err(TryLockError::Poisoned(look)) => self.look(&mut look.into_inner(), now_ms),
            Err(TryLockError::WouldBlock) => {}
        }
        self.seen().state
    }

    fn look(&self, look: &mut Look, now_ms: u64) {
        if look.last.is_some_and(|last| now_ms < last.saturating_add(LOOK_MS)) {
            return;
        }
        let before = self.seen().state;
        let mut now = self.judge(look.reserved);
        if look.reserved && now.state != StorageState::Ample {
            look.reserved = self.space.set_reserve(0);
            now = self.judge(look.reserved);
        }
        let first = look.last.is_none();
        if now.state == StorageState::Ample && (first || before != now.state) {
            look.reserved = self.space.set_reserve(self.mark / RESERVE_PART);
        }
        look.last = Some(now_ms);
        *self.seen() = now;
        if now.state != before {
            self.tell(now);
        }
    }

    /// Without its reserve the host needs as much more: otherwise giving it back would look like
    /// room.
    fn judge(&self, reserved: bool) -> Seen {
        let free = self.space.free_bytes();
        let missing = if reserved { 0 } else { self.mark / RESERVE_PART };
        let state = match free {
            _ if !self.space.is_in_place() => StorageState::Gone,
            Some(free) if free < self.mark / FLOOR_PART => StorageState::Full,
            Some(free) if free < self.mark.saturating_add(missing) => StorageState::Low,
            _ => StorageState::Ample,
        };
        Seen { state, free }
    }

    fn tell(&self, now: Seen) {
        let (state, free, mark) = (now.state.name(), now.free, self.mark);
        if now.state == StorageState::Ample {
            tracing::info!(state, free, mark, "there is room on the disk again");
        } else {
            tracing::warn!(state, free, mark, "{}", self.detail(now));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn detail(&self, seen: Seen) -> String {
        let free = seen.free.unwrap_or_default() / MIB;
        match seen.state {
            StorageState::Ample => String::new(),
            StorageState::Low => format!(
                "The disk is nearly full, {free} MiB are free: only confirm, fail, scrap and \
                 export are served. Free more than {} MiB; the host goes on by itself.",
                (self.mark + self.mark / RESERVE_PART) / MIB
            ),
            StorageState::Full => format!(
                "The disk is full, {free} MiB are free: nothing is written or released. Free \
                 space; the host goes on by itself."
            ),
            StorageState::Gone => {
                "A file of the host's was taken out of its directory: nothing is released. Put it \
                 back, or make a backup before the host stops; only it still has the data."
                    .to_owned()
            }
        }
    }

    /// Why what was asked for is not done.
    fn refusal(&self) -> Refusal {
        let seen = *self.seen();
        let reason = match seen.state {
            StorageState::Gone => Reason::LedgerUnavailable,
            _ => Reason::StorageFull,
        };
        let refusal = Refusal::new(reason, self.detail(seen));
        match seen.free {
            Some(free) => refusal.with("free_bytes", free.to_string()),
            None => refusal,
        }
    }
}

impl Call {
    /// Whether there is room for something new: a unit, a key, a certificate.
    ///
    /// # Errors
    ///
    /// `STORAGE_FULL`, before anything was made.
    pub(crate) fn check_storage(&self) -> Result<(), Refusal> {
        match self.room {
            // That a file is gone is told at the commit, as any other failure of the ledger is.
            StorageState::Ample | StorageState::Gone => Ok(()),
            StorageState::Low | StorageState::Full => Err(self.host.room.refusal()),
        }
    }

    /// Whether anything is written.
    ///
    /// # Errors
    ///
    /// `STORAGE_FULL`, or that a file is gone.
    pub(crate) fn check_written(&self) -> Result<(), Refusal> {
        match self.room {
            StorageState::Ample | StorageState::Low => Ok(()),
            StorageState::Full | StorageState::Gone => Err(self.host.room.refusal()),
        }
    }

    /// Whether there is room for what this call did.
    ///
    /// # Errors
    ///
    /// As [`Call::check_storage`]; then nothing of the call may be kept.
    pub(crate) fn check_effects(&self) -> Result<(), Refusal> {
        let served = match self.room {
            StorageState::Ample => true,
            StorageState::Low => {
                let mut events = self.rows.iter().map(|row| &row.event);
                events.clone().any(ends_or_reports)
                    && events.all(|event| ends_or_reports(event) || goes_along(event))
            }
            StorageState::Full => false,
            StorageState::Gone => {
                let mut events = self.rows.iter().map(|row| &row.event);
                events.all(|event| matches!(event, Event::BackupMade { .. }))
                    && !self.rows.is_empty()
            }
        };
        if served { Ok(()) } else { Err(self.host.room.refusal()) }
    }
}

/// What is served while there is little room: it ends a unit, an allotment, a key or somebody's
/// access, gives once more what was given, or is on its way to headquarters or into a backup. What
/// people agree to is told too: scrap beyond the allowance needs it.
fn ends_or_reports(event: &Event) -> bool {
    match event {
        Event::Unit(unit) => matches!(
            unit.change,
            UnitChange::Released
                | UnitChange::Confirmed
                | UnitChange::AttemptFailed
                | UnitChange::Failed
                | UnitChange::KeyLost
                | UnitChange::Scrapped
                | UnitChange::Returned
        ),
        Event::BundleExported { .. }
        | Event::ClosingExported { .. }
        | Event::CrlIssued { .. }
        | Event::BackupMade { .. }
        | Event::Closed { .. }
        | Event::KeyDestroyed { .. }
        | Event::KeySetDestroyed { .. }
        | Event::UserRevoked { .. }
        | Event::ApprovalRequested { .. }
        | Event::ApprovalGiven { .. } => true,
        _ => false,
    }
}

/// What such a call writes besides, and what alone is not served.
fn goes_along(event: &Event) -> bool {
    matches!(
        event,
        Event::MessageSealed { .. }
            | Event::KeyUsed { .. }
            | Event::Note { .. }
            | Event::Outcome { .. }
            | Event::Approved { .. }
    )
}

impl Custody {
    /// The disks, as they were looked at a moment ago at most.
    #[must_use]
    pub fn storage(&self) -> StorageStatus {
        let room = &self.host.room;
        room.state(self.host.clock.now().monotonic_ms);
        let seen = *room.seen();
        StorageStatus {
            state: seen.state,
            free_bytes: seen.free,
            mark_bytes: room.mark,
            detail: room.detail(seen),
        }
    }
}

impl Host {
    /// A start is a row too.
    pub(crate) fn check_storage_to_start(&self) -> Result<(), Refusal> {
        match self.room.state(self.clock.started().monotonic_ms) {
            StorageState::Ample | StorageState::Low => Ok(()),
            StorageState::Full | StorageState::Gone => Err(self.room.refusal()),
        }
    }

    /// A backup is not written here, but its row is.
    pub(crate) fn check_storage_for_backup(&self) -> Result<(), Refusal> {
        match self.room.state(self.clock.now().monotonic_ms) {
            StorageState::Full => Err(self.room.refusal()),
            StorageState::Ample | StorageState::Low | StorageState::Gone => Ok(()),
        }
    }
}

/// Why nothing is written any more in this start.
pub(crate) fn poisoned(poison: Option<Poison>) -> Refusal {
    let (reason, detail) = match poison {
        Some(Poison::Full) => (
            Reason::StorageFull,
            "The disk was full when the ledger was written, so nothing more is released; free \
             space, then restart the host.",
        ),
        Some(Poison::ReadOnly) => (
            Reason::ReadOnly,
            "The disk takes no writes, so nothing is released; make it writable, then restart the \
             host.",
        ),
        _ => (
            Reason::LedgerUnavailable,
            "The ledger cannot be written, so nothing is released; restart the host.",
        ),
    };
    Refusal::new(reason, detail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A disk of which others take what they like.
    #[derive(Default)]
    struct Disk {
        free: AtomicU64,
        reserve: AtomicU64,
        looks: AtomicU64,
    }

    impl DiskSpace for Arc<Disk> {
        fn free_bytes(&self) -> Option<u64> {
            self.looks.fetch_add(1, Ordering::SeqCst);
            Some(self.free.load(Ordering::SeqCst))
        }

        fn is_in_place(&self) -> bool {
            true
        }

        fn set_reserve(&self, bytes: u64) -> bool {
            let before = self.reserve.swap(bytes, Ordering::SeqCst);
            self.free.fetch_add(before, Ordering::SeqCst);
            self.free.fetch_sub(bytes, Ordering::SeqCst);
            bytes > 0
        }
    }

    const MARK: u64 = 640;

    fn room(free: u64) -> (Arc<Disk>, Room) {
        let disk = Arc::new(Disk { free: AtomicU64::new(free), ..Disk::default() });
        (Arc::clone(&disk), Room::new(Box::new(disk), MARK))
    }

    #[test]
    fn s4_the_reserve_is_taken_while_there_is_room_and_given_back_below_the_mark() {
        let (disk, room) = room(1_000);
        assert_eq!(room.state(0), StorageState::Ample);
        assert_eq!(disk.free.load(Ordering::SeqCst), 1_000 - MARK / RESERVE_PART);
        // Others take all that is left.
        disk.free.store(0, Ordering::SeqCst);
        assert_eq!(room.state(LOOK_MS), StorageState::Low);
        assert_eq!(disk.free.load(Ordering::SeqCst), MARK / RESERVE_PART);
        // That the reserve is free again is not taken for room.
        disk.free.store(MARK + MARK / RESERVE_PART - 1, Ordering::SeqCst);
        assert_eq!(room.state(2 * LOOK_MS), StorageState::Low);
        disk.free.store(MARK + MARK / RESERVE_PART, Ordering::SeqCst);
        assert_eq!(room.state(3 * LOOK_MS), StorageState::Ample);
        assert_eq!(disk.free.load(Ordering::SeqCst), MARK);
    }

    #[test]
    fn s4_when_the_reserve_is_used_up_nothing_is_written() {
        let (disk, room) = room(MARK / FLOOR_PART);
        assert_eq!(room.state(0), StorageState::Low);
        disk.free.store(MARK / FLOOR_PART - 1, Ordering::SeqCst);
        assert_eq!(room.state(LOOK_MS), StorageState::Full);
        assert_eq!(room.refusal().reason, Reason::StorageFull);
    }

    #[test]
    fn the_disks_are_looked_at_once_a_second_and_never_waited_for() {
        let (disk, room) = room(10_000);
        for now_ms in 0..LOOK_MS {
            room.state(now_ms);
        }
        assert_eq!(disk.looks.load(Ordering::SeqCst), 1);
        disk.free.store(0, Ordering::SeqCst);
        let looking = room.looking.lock().unwrap();
        assert_eq!(room.state(LOOK_MS), StorageState::Ample, "somebody else looks");
        drop(looking);
        assert_ne!(room.state(LOOK_MS), StorageState::Ample);
    }
}
