//! Rate windows, checked again from the times in the rows.
//!
//! A rate of `units` per interval is exact: in no interval of that length are more units
//! reserved. Within one start of the host the monotonic clock counts, which nobody can set;
//! between two starts, site time.

use serde::{Deserialize, Serialize};

use crate::{grant::Rate, row::CALL_DEADLINE_MS};

/// Recent reservations under one rate, in bounded memory.
///
/// Rows come in the order of their commits, so a decision can come up to [`CALL_DEADLINE_MS`] late;
/// it is put where it belongs, and the windows behind it are checked again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RateMeter {
    /// In the order of their times.
    moments: Vec<Moment>,
    /// True while the rate is exceeded, so that one burst is one finding.
    over: bool,
}

/// When units were reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instant {
    /// Which start of the host.
    pub(super) era: u64,
    pub(super) monotonic_ms: u64,
    pub(super) time_ms: u64,
}

/// Units reserved at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    /// The earliest and the latest of them; the same but for large rates.
    first: Instant,
    last: Instant,
    units: u64,
    /// Units of all moments up to and with this one, since the meter began.
    sum: u64,
}

/// Rates of more units than this are counted in steps of a 4,096th of their interval. A step
/// leaves the window with its earliest unit and enters it with its latest: a breach is never
/// reported where there was none.
const EXACT_UNITS_MAX: u64 = 4_096;

impl Instant {
    fn order(&self) -> (u64, u64) {
        (self.era, self.monotonic_ms)
    }

    /// Milliseconds from `earlier` to here.
    fn since(&self, earlier: &Self) -> u64 {
        if self.era == earlier.era {
            self.monotonic_ms.saturating_sub(earlier.monotonic_ms)
        } else {
            self.time_ms.saturating_sub(earlier.time_ms)
        }
    }
}

impl RateMeter {
    /// Counts one unit; true if the rate is exceeded by it and was not before.
    pub(super) fn count(&mut self, rate: &Rate, at: Instant) -> bool {
        let window_ms = rate.per_seconds.saturating_mul(1000);
        let place = self.insert(at, step_ms(rate, window_ms));
        let over = self.is_over(place, window_ms, rate.units);
        self.forget(window_ms, rate.units);
        let began = over && !self.over;
        self.over = over;
        began
    }

    /// Adds a unit to its moment; gives the moment's place.
    fn insert(&mut self, at: Instant, step_ms: u64) -> usize {
        let place = self.moments.partition_point(|moment| moment.first.order() <= at.order());
        let step = |at: &Instant| (at.era, at.monotonic_ms / step_ms);
        let same = |moment: &Moment| step(&moment.first) == step(&at);
        let place = match place.checked_sub(1) {
            Some(before) if same(&self.moments[before]) => before,
            before => {
                let first = self.moments.first().map_or(0, |first| first.sum - first.units);
                let sum = before.map_or(first, |before| self.moments[before].sum);
                self.moments.insert(place, Moment { first: at, last: at, units: 0, sum });
                place
            }
        };
        let moment = &mut self.moments[place];
        moment.units += 1;
        if at.order() > moment.last.order() {
            moment.last = at;
        }
        for moment in &mut self.moments[place..] {
            moment.sum += 1;
        }
        place
    }

    /// True if a window that ends at `place` or later, and holds it, holds too many units.
    fn is_over(&self, place: usize, window_ms: u64, units: u64) -> bool {
        let begin = self.moments[place].first;
        self.moments[place..]
            .iter()
            .take_while(|end| end.last.since(&begin) < window_ms)
            .any(|end| end.sum - self.sum_before(&end.last, window_ms) > units)
    }

    /// Units that had left the window by `end`.
    fn sum_before(&self, end: &Instant, window_ms: u64) -> u64 {
        let first = self.moments.partition_point(|moment| end.since(&moment.first) >= window_ms);
        self.moments.get(first).map_or(0, |first| first.sum - first.units)
    }

    /// Drops what no later row can need: what left the window of the earliest row that may still
    /// come, and what has a whole `units` between itself and that.
    fn forget(&mut self, window_ms: u64, units: u64) {
        let Some(newest) = self.moments.last().map(|moment| moment.last) else {
            return;
        };
        let late =
            self.moments.partition_point(|moment| newest.since(&moment.last) > CALL_DEADLINE_MS);
        let Some(earliest) = self.moments.get(late).map(|moment| (moment.first, moment.sum)) else {
            return;
        };
        let needless = |moment: &Moment| {
            earliest.0.since(&moment.first) >= window_ms.saturating_add(CALL_DEADLINE_MS)
                || earliest.1 - moment.sum > units
        };
        let dropped = self.moments[..late].partition_point(needless);
        self.moments.drain(..dropped);
    }
}

fn step_ms(rate: &Rate, window_ms: u64) -> u64 {
    if rate.units <= EXACT_UNITS_MAX { 1 } else { (window_ms / EXACT_UNITS_MAX).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Instant {
        Instant { era: 1, monotonic_ms, time_ms: 1_000_000 + monotonic_ms }
    }

    fn exceeded(rate: Rate, times: impl IntoIterator<Item = Instant>) -> usize {
        let mut meter = RateMeter::default();
        times.into_iter().filter(|time| meter.count(&rate, *time)).count()
    }

    #[test]
    fn a_full_window_is_allowed_and_one_unit_more_is_not() {
        let rate = Rate { units: 4, per_seconds: 10 };
        assert_eq!(exceeded(rate, [0, 0, 1, 9_999, 10_000, 10_000, 10_001].map(at)), 0);
        assert_eq!(exceeded(rate, [0, 0, 1, 9_998, 9_999].map(at)), 1);
    }

    #[test]
    fn rows_that_come_late_are_counted_where_they_belong() {
        let rate = Rate { units: 2, per_seconds: 10 };
        assert_eq!(exceeded(rate, [0, 12_000, 11_000, 1].map(at)), 0);
        // 8,000 comes after 12,000 and makes three within ten seconds.
        assert_eq!(exceeded(rate, [3_000, 12_000, 8_000].map(at)), 1);
    }

    #[test]
    fn r13_a_restart_does_not_empty_the_window() {
        let rate = Rate { units: 2, per_seconds: 10 };
        let again = |monotonic_ms, time_ms| Instant { era: 2, monotonic_ms, time_ms };
        assert_eq!(exceeded(rate, [at(5_000), at(5_001), again(0, 1_006_000)]), 1);
        assert_eq!(exceeded(rate, [at(5_000), at(5_001), again(0, 1_015_000)]), 0);
    }

    #[test]
    fn a_flood_is_one_finding_in_bounded_memory() {
        let rate = Rate { units: 10, per_seconds: 86_400 };
        let mut meter = RateMeter::default();
        let began = (0..20_000).filter(|n| meter.count(&rate, at(*n * 7))).count();
        assert_eq!(began, 1);
        assert!(meter.moments.len() < 1_000);
    }

    #[test]
    fn a_large_rate_is_counted_in_bounded_memory() {
        let rate = Rate { units: 100_000, per_seconds: 86_400 };
        let mut meter = RateMeter::default();
        // One per 864 ms is exactly the rate; five times as fast is not.
        assert!((0..150_000).all(|n| !meter.count(&rate, at(n * 864))));
        assert!(meter.moments.len() < 5_000);
        let start = 150_000 * 864;
        assert!((0..120_000).any(|n| meter.count(&rate, at(start + n * 172))));
    }
}
