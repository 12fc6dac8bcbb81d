//! Site time: never backwards, and suspect where the clocks disagree.
//!
//! Site time is the greater of a mark and the wall clock. The wall clock may leave the monotonic
//! clock by 60 s a boot plus 100 ppm; beyond that, or at a start behind the mark or far ahead of
//! it, the clock is suspect: what depends on time stops, and the reading never raises the mark. The
//! mark survives a restart in the last ledger row.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mintmark_model::escrow::Moment;

/// Where time comes from. Tests bring their own.
pub trait TimeSource: Send + Sync {
    /// The wall clock, in milliseconds since the epoch.
    fn wall_ms(&self) -> u64;
    /// A clock that never steps, in milliseconds since any point of this boot.
    fn monotonic_ms(&self) -> u64;
}

/// The operating system's clocks.
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

/// The site's clock.
pub(crate) struct SiteClock {
    source: Box<dyn TimeSource>,
    state: Mutex<State>,
}

struct State {
    mark_ms: u64,
    /// Both clocks at the start.
    wall_start: u64,
    monotonic_start: u64,
    suspect: bool,
}

/// How far wall and monotonic clock may part in one boot, besides the drift.
const STEP_MS_MAX: u64 = 60_000;
/// How far ahead of the mark a start may be: longer than any sensible storage of a host.
const AHEAD_MS_MAX: u64 = 366 * 86_400_000;

impl SiteClock {
    /// The clock at a start; `mark_ms` is the time of the last ledger row, if there is one.
    pub(crate) fn start(source: Box<dyn TimeSource>, mark_ms: Option<u64>) -> Self {
        let wall = source.wall_ms();
        let suspect = mark_ms.is_some_and(|mark| {
            wall.saturating_add(STEP_MS_MAX) < mark || wall > mark.saturating_add(AHEAD_MS_MAX)
        });
        let mark_ms = match mark_ms {
            Some(mark) if suspect => mark,
            Some(mark) => mark.max(wall),
            None => wall,
        };
        let monotonic_start = source.monotonic_ms();
        let state = State { mark_ms, wall_start: wall, monotonic_start, suspect };
        Self { source, state: Mutex::new(state) }
    }

    /// Now. Within a boot neither time ever goes back.
    pub(crate) fn now(&self) -> Moment {
        let mut state = self.lock();
        let (wall, monotonic) = (self.source.wall_ms(), self.source.monotonic_ms());
        let elapsed = monotonic.saturating_sub(state.monotonic_start);
        let expected = state.wall_start.saturating_add(elapsed);
        let allowed = STEP_MS_MAX + elapsed / 10_000;
        if wall.abs_diff(expected) > allowed {
            state.suspect = true;
        }
        if !state.suspect {
            state.mark_ms = state.mark_ms.max(wall);
        }
        Moment { site_ms: state.mark_ms, monotonic_ms: monotonic, suspect: state.suspect }
    }

    /// The monotonic clock at the start of the host.
    pub(crate) fn started_ms(&self) -> u64 {
        self.lock().monotonic_start
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Clone, Default)]
    struct Hands {
        wall: Arc<AtomicU64>,
        monotonic: Arc<AtomicU64>,
    }

    impl Hands {
        fn pass(&self, ms: u64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
            self.monotonic.fetch_add(ms, Ordering::SeqCst);
        }
    }

    impl TimeSource for Hands {
        fn wall_ms(&self) -> u64 {
            self.wall.load(Ordering::SeqCst)
        }

        fn monotonic_ms(&self) -> u64 {
            self.monotonic.load(Ordering::SeqCst)
        }
    }

    fn clock(wall: u64, mark: Option<u64>) -> (Hands, SiteClock) {
        let hands = Hands::default();
        hands.wall.store(wall, Ordering::SeqCst);
        let clock = SiteClock::start(Box::new(hands.clone()), mark);
        (hands, clock)
    }

    #[test]
    fn r10_a_clock_set_back_is_suspect_and_time_stands() {
        let day = 86_400_000;
        let (hands, clock) = clock(100 * day, None);
        assert!(!clock.now().suspect);
        hands.wall.store(70 * day, Ordering::SeqCst);
        let now = clock.now();
        assert!(now.suspect);
        assert_eq!(now.site_ms, 100 * day);
    }

    #[test]
    fn r10_a_start_behind_the_mark_is_suspect() {
        let (_, behind) = clock(1_000_000, Some(2_000_000));
        let now = behind.now();
        assert_eq!((now.suspect, now.site_ms), (true, 2_000_000));
    }

    #[test]
    fn r11_a_clock_set_forward_never_raises_the_mark() {
        let (hands, clock) = clock(5_000, Some(5_000));
        hands.wall.store(10 * 366 * 86_400_000, Ordering::SeqCst);
        let now = clock.now();
        assert_eq!((now.suspect, now.site_ms), (true, 5_000));
    }

    #[test]
    fn r12_a_frozen_monotonic_clock_is_noticed() {
        let (hands, clock) = clock(1_000, None);
        hands.wall.fetch_add(61_000, Ordering::SeqCst);
        assert!(clock.now().suspect);
    }

    #[test]
    fn drift_within_its_budget_is_accepted() {
        let (hands, clock) = clock(1_000, None);
        hands.pass(86_400_000);
        hands.wall.fetch_add(60_000 + 8_640, Ordering::SeqCst);
        assert!(!clock.now().suspect);
        hands.wall.fetch_add(1, Ordering::SeqCst);
        assert!(clock.now().suspect);
    }
}
