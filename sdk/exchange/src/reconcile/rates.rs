//! Rate windows, checked again from the times in the rows.
//!
//! A rate of `units` per interval is exact: in no interval of that length are more units
//! reserved. Within one start of the host the monotonic clock counts, which nobody can set. How
//! long a host was off nobody knows: a start goes on where the rows before it ended, as the host's
//! own windows do, which count what they held as reserved at the start.

use serde::{Deserialize, Serialize};

use crate::{grant::Rate, row::ROW_DELAY_MS_MAX};

/// The time that a node has served, over all its starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Served {
    /// In the starts before this one.
    before_ms: u64,
    /// The monotonic clock in the row of this start.
    start_ms: u64,
    /// Its latest in the rows of this start.
    latest_ms: u64,
}

/// Recent reservations under one rate, in bounded memory.
///
/// Rows come in the order of their commits, so a decision can come up to [`ROW_DELAY_MS_MAX`] late;
/// it is put where it belongs, and the windows behind it are checked again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RateMeter {
    /// In the order of their times.
    moments: Vec<Moment>,
    /// True while the rate is exceeded, so that one burst is one finding.
    over: bool,
}

/// Units reserved at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    /// The earliest and the latest of them, as time served; the same but for large rates.
    first: u64,
    last: u64,
    units: u64,
    /// Units of all moments up to and with this one, since the meter began.
    sum: u64,
}

/// Rates of more units than this are counted in steps of a 4,096th of their interval. A step
/// leaves the window with its earliest unit and enters it with its latest: a breach is never
/// reported where there was none.
const EXACT_UNITS_MAX: u64 = 4_096;
/// Where more moments than this must be kept, since any of them may be followed by a late row, they
/// are counted in steps too.
const MOMENTS_EXACT: usize = 4_096;
const CROWDED_STEP_MS: u64 = ROW_DELAY_MS_MAX / MOMENTS_EXACT as u64;

impl Served {
    /// A row says what the monotonic clock was at its decision.
    pub(super) fn passed(&mut self, monotonic_ms: u64) {
        self.latest_ms = self.latest_ms.max(monotonic_ms);
    }

    /// The row of a start.
    pub(super) fn started(&mut self, monotonic_ms: u64) {
        self.before_ms = self.at(self.latest_ms);
        (self.start_ms, self.latest_ms) = (monotonic_ms, monotonic_ms);
    }

    /// The time served at a decision in this start.
    pub(super) fn at(&self, monotonic_ms: u64) -> u64 {
        self.before_ms.saturating_add(monotonic_ms.saturating_sub(self.start_ms))
    }
}

impl RateMeter {
    /// Counts one unit, reserved when `at` was served; true if the rate is exceeded by it and was
    /// not before.
    pub(super) fn count(&mut self, rate: &Rate, at: u64) -> bool {
        let window_ms = rate.per_seconds.saturating_mul(1000);
        let crowded = if self.moments.len() < MOMENTS_EXACT { 1 } else { CROWDED_STEP_MS };
        let place = self.insert(at, step_ms(rate, window_ms).max(crowded));
        let over = self.is_over(place, window_ms, rate.units);
        self.forget(window_ms, rate.units);
        let began = over && !self.over;
        self.over = over;
        began
    }

    /// Adds a unit to its moment; gives the moment's place.
    fn insert(&mut self, at: u64, step_ms: u64) -> usize {
        let place = self.moments.partition_point(|moment| moment.first <= at);
        let same = |moment: &Moment| moment.first / step_ms == at / step_ms;
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
        moment.last = moment.last.max(at);
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
            .take_while(|end| end.last.saturating_sub(begin) < window_ms)
            .any(|end| end.sum - self.sum_before(end.last, window_ms) > units)
    }

    /// Units that had left the window by `end`.
    fn sum_before(&self, end: u64, window_ms: u64) -> u64 {
        let left = |moment: &Moment| end.saturating_sub(moment.first) >= window_ms;
        let first = self.moments.partition_point(left);
        self.moments.get(first).map_or(0, |first| first.sum - first.units)
    }

    /// Drops what no later row can need: what left the window of the earliest row that may still
    /// come, and what has a whole `units` between itself and that.
    fn forget(&mut self, window_ms: u64, units: u64) {
        let Some(newest) = self.moments.last().map(|moment| moment.last) else {
            return;
        };
        let late = |moment: &Moment| newest.saturating_sub(moment.last) > ROW_DELAY_MS_MAX;
        let late = self.moments.partition_point(late);
        let Some(earliest) = self.moments.get(late).map(|moment| (moment.first, moment.sum)) else {
            return;
        };
        let needless = |moment: &Moment| {
            earliest.0.saturating_sub(moment.first) >= window_ms.saturating_add(ROW_DELAY_MS_MAX)
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

    fn exceeded(rate: Rate, times: impl IntoIterator<Item = u64>) -> usize {
        let mut meter = RateMeter::default();
        times.into_iter().filter(|time| meter.count(&rate, *time)).count()
    }

    #[test]
    fn a_full_window_is_allowed_and_one_unit_more_is_not() {
        let rate = Rate { units: 4, per_seconds: 10 };
        assert_eq!(exceeded(rate, [0, 0, 1, 9_999, 10_000, 10_000, 10_001]), 0);
        assert_eq!(exceeded(rate, [0, 0, 1, 9_998, 9_999]), 1);
    }

    #[test]
    fn rows_that_come_late_are_counted_where_they_belong() {
        let rate = Rate { units: 2, per_seconds: 10 };
        assert_eq!(exceeded(rate, [0, 12_000, 11_000, 1]), 0);
        // 8,000 comes after 12,000 and makes three within ten seconds.
        assert_eq!(exceeded(rate, [3_000, 12_000, 8_000]), 1);
    }

    #[test]
    fn r13_a_restart_does_not_empty_the_window() {
        let rate = Rate { units: 2, per_seconds: 10 };
        let mut served = Served::default();
        served.started(3);
        let mut times: Vec<_> = [5_000, 5_001].map(|at| served.at(at)).to_vec();
        served.passed(5_001);
        // However long it was off, and wherever its clock begins now.
        served.started(700_000);
        times.push(served.at(700_000 + 9_998));
        assert_eq!(exceeded(rate, times.clone()), 1);
        times[2] += 1;
        assert_eq!(exceeded(rate, times), 0);
    }

    #[test]
    fn a_flood_is_one_finding_in_bounded_memory() {
        let rate = Rate { units: 10, per_seconds: 86_400 };
        let mut meter = RateMeter::default();
        let began = (0..20_000).filter(|n| meter.count(&rate, *n * 7)).count();
        assert_eq!(began, 1);
        assert!(meter.moments.len() < 2 * MOMENTS_EXACT);
    }

    #[test]
    fn a_large_rate_is_counted_in_bounded_memory() {
        let rate = Rate { units: 100_000, per_seconds: 86_400 };
        let mut meter = RateMeter::default();
        // One per 864 ms is exactly the rate; five times as fast is not.
        assert!((0..150_000).all(|n| !meter.count(&rate, n * 864)));
        assert!(meter.moments.len() < 5_000);
        let start = 150_000 * 864;
        assert!((0..120_000).any(|n| meter.count(&rate, start + n * 172)));
    }

    /// splitmix64.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Times in the order of decisions, then as rows: a row comes up to a call's deadline late.
    fn schedule(seed: u64, rate: &Rate) -> (Vec<u64>, Vec<u64>) {
        let mut state = seed;
        let even = (rate.per_seconds * 1_000).div_ceil(rate.units);
        let mut at = 0;
        let mut decided = Vec::new();
        for _ in 0..40 {
            // Exactly the rate, or a little slower; a few come early.
            at += match next(&mut state) % 24 {
                0 => even - next(&mut state) % (even / 4),
                _ => even + next(&mut state) % 3,
            };
            decided.push(at);
        }
        let late: Vec<u64> =
            decided.iter().map(|at| at + next(&mut state) % ROW_DELAY_MS_MAX).collect();
        let mut order: Vec<usize> = (0..decided.len()).collect();
        order.sort_by_key(|index| late[*index]);
        let rows = order.into_iter().map(|index| decided[index]).collect();
        (decided, rows)
    }

    #[test]
    fn r13_one_unit_too_many_in_any_window_is_found_and_nothing_else() {
        let (mut breaches, mut clean) = (0, 0);
        for seed in 0..3_000 {
            let rate = Rate { units: 1 + seed % 7, per_seconds: 1 + seed % 13 };
            let (decided, rows) = schedule(seed, &rate);
            let units = usize::try_from(rate.units).unwrap();
            let too_many = |window: &[u64]| window[units] - window[0] < rate.per_seconds * 1_000;
            let breach = decided.windows(units + 1).any(too_many);
            assert_eq!(exceeded(rate, rows) > 0, breach, "seed {seed}");
            breaches += u32::from(breach);
            clean += u32::from(!breach);
        }
        assert!(breaches > 500 && clean > 500, "{breaches} and {clean}: this tries nothing");
    }
}
