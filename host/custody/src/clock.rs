//! Site time: the machine's clocks, read and judged by [`mintmark_model::clock`].
//!
//! What outlives a start is in `kept`; what people may say about the clock is in `acts`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mintmark_model::clock::{self, Reading, Suspicion};
use mintmark_model::escrow::Moment;

use kept::Kept;

mod acts;
pub(crate) mod kept;

/// Where time comes from. Tests bring their own.
pub trait TimeSource: Send + Sync {
    /// The wall clock, in milliseconds since the epoch.
    fn wall_ms(&self) -> u64;
    /// A clock that never steps, in milliseconds since any point of this boot.
    fn monotonic_ms(&self) -> u64;
}

/// The operating system's clocks.
///
/// The monotonic one stands while the machine is suspended. The wall clock has then gone ahead of
/// it, which is suspect as any jump is; and rates only slow.
pub struct SystemTimeSource {
    start: Instant,
}

impl Default for SystemTimeSource {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl TimeSource for SystemTimeSource {
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The state of a site's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStatus {
    /// Site time in milliseconds; where the clock is suspect, the mark at which it stands.
    pub site_time_ms: u64,
    /// What the wall clock shows, in milliseconds.
    pub wall_ms: u64,
    /// The latest time that headquarters said, in milliseconds; zero where it said none.
    pub headquarters_ms: u64,
    /// Why the wall clock is not believed.
    pub suspicion: Option<Suspicion>,
    /// Whether an admin acknowledged a suspect clock in this start.
    pub acknowledged: bool,
}

/// What a call says about the clock; it holds once the call is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ClockWord {
    /// Headquarters' time in a message.
    Heard(u64),
    /// A suspect reading is acknowledged.
    Acknowledged(Reading),
    /// The mark is lowered.
    Lowered(u64),
}

/// The site's clock.
pub(crate) struct SiteClock {
    source: Box<dyn TimeSource>,
    state: Mutex<clock::SiteClock>,
    started: Moment,
    transit_ms_max: u64,
}

impl SiteClock {
    /// The clock at a start of the host.
    pub(crate) fn start(source: Box<dyn TimeSource>, kept: Kept, transit_ms_max: u64) -> Self {
        let reading = read(&*source);
        let mut state = clock::SiteClock::start(reading, kept.mark_ms, kept.heard_ms);
        let started = state.now(reading);
        if let Some(suspicion) = state.suspicion() {
            tracing::warn!(?suspicion, "the clock is suspect at the start");
        }
        Self { source, state: Mutex::new(state), started, transit_ms_max }
    }

    /// Now. Within a start neither time ever goes back.
    pub(crate) fn now(&self) -> Moment {
        self.look().0
    }

    /// When the host started: the time of the row that says so.
    pub(crate) fn started(&self) -> Moment {
        self.started
    }

    /// The clock's state, with the reading that it comes from.
    pub(crate) fn status(&self) -> (ClockStatus, Reading) {
        let (moment, reading, state) = self.look();
        let status = ClockStatus {
            site_time_ms: moment.site_ms,
            wall_ms: reading.wall_ms,
            headquarters_ms: state.heard_ms(),
            suspicion: state.suspicion(),
            acknowledged: state.acknowledged(),
        };
        let reading = Reading { monotonic_ms: moment.monotonic_ms, ..reading };
        (status, reading)
    }

    /// A call that said this is committed.
    pub(crate) fn apply(&self, word: ClockWord) {
        let mut state = self.lock();
        match word {
            ClockWord::Heard(ms) => state.hear(ms, read(&*self.source), self.transit_ms_max),
            ClockWord::Acknowledged(reading) => state.acknowledge(reading),
            ClockWord::Lowered(to_ms) => state.lower(to_ms),
        }
    }

    fn look(&self) -> (Moment, Reading, MutexGuard<'_, clock::SiteClock>) {
        let mut state = self.lock();
        let before = state.suspicion();
        let reading = read(&*self.source);
        let moment = state.now(reading);
        match (before, state.suspicion()) {
            (None, Some(suspicion)) => tracing::warn!(?suspicion, "the clock became suspect"),
            (Some(_), None) => tracing::info!("the clock is believed again"),
            _ => {}
        }
        (moment, reading, state)
    }

    fn lock(&self) -> MutexGuard<'_, clock::SiteClock> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(source: &dyn TimeSource) -> Reading {
    Reading { wall_ms: source.wall_ms(), monotonic_ms: source.monotonic_ms() }
}
