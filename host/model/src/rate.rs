//! Exact sliding windows: in no interval of the window's length are more units reserved than its
//! limit.
//!
//! Time is the monotonic clock in milliseconds. Reservations of one instant share an entry, so
//! memory is bounded by the number of instants, at most the window's units.

use std::collections::VecDeque;

/// At most `units` reservations in any interval of `per_ms` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The most units in one interval.
    pub units: u64,
    /// The interval's length in milliseconds.
    pub per_ms: u64,
}

/// What a window holds.
#[derive(Debug, Clone)]
pub struct Window {
    rate: Rate,
    /// (instant, units reserved then), oldest first.
    entries: VecDeque<(u64, u64)>,
    held: u64,
}

impl Window {
    /// A window that begins with `held` units reserved at `now`: what the last windows held counts
    /// as reserved at the start, so a restart can only slow.
    #[must_use]
    pub fn new(rate: Rate, held: u64, now_ms: u64) -> Self {
        let mut window = Self { rate, entries: VecDeque::new(), held: 0 };
        if held > 0 {
            window.add(now_ms, held);
        }
        window
    }

    /// The window's rate.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// How long to wait until one more unit fits; zero when it fits now.
    pub fn wait_ms(&mut self, now_ms: u64) -> u64 {
        self.forget(now_ms);
        if self.held < self.rate.units {
            return 0;
        }
        let mut excess = self.held - self.rate.units + 1;
        for (at, units) in &self.entries {
            if *units >= excess {
                return at.saturating_add(self.rate.per_ms).saturating_sub(now_ms).max(1);
            }
            excess -= units;
        }
        self.rate.per_ms
    }

    /// Units in the window that ends at `now_ms`.
    pub fn held(&mut self, now_ms: u64) -> u64 {
        self.forget(now_ms);
        self.held
    }

    /// Reserves one unit at `now_ms`.
    pub fn reserve(&mut self, now_ms: u64) {
        self.add(now_ms, 1);
    }

    /// Gives back a unit that was reserved at `at_ms` and came to nothing. An instant that left the
    /// window is no loss.
    pub fn give_back(&mut self, at_ms: u64) {
        let Some(place) = self.entries.iter().rposition(|entry| entry.0 == at_ms) else { return };
        self.held -= 1;
        self.entries[place].1 -= 1;
        // An instant at which nothing is reserved takes no room.
        if self.entries[place].1 == 0 {
            self.entries.remove(place);
        }
    }

    fn add(&mut self, at_ms: u64, units: u64) {
        self.held += units;
        match self.entries.back_mut() {
            // Time never goes back here: a late reservation counts at the newest instant, which can
            // only slow.
            Some(entry) if entry.0 >= at_ms => entry.1 += units,
            _ => self.entries.push_back((at_ms, units)),
        }
    }

    /// Drops what lies a whole window back. An interval is half open: units reserved at `t` and at
    /// `t + per_ms` are in no common interval of that length.
    fn forget(&mut self, now_ms: u64) {
        while let Some((at, units)) = self.entries.front().copied() {
            if at.saturating_add(self.rate.per_ms) > now_ms {
                break;
            }
            self.held -= units;
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { units: 3, per_ms: 1_000 };

    #[test]
    fn the_next_unit_waits_until_the_oldest_leaves() {
        let mut window = Window::new(RATE, 0, 0);
        for at in [0, 10, 20] {
            assert_eq!(window.wait_ms(at), 0);
            window.reserve(at);
        }
        assert_eq!(window.wait_ms(20), 980);
        assert_eq!(window.wait_ms(999), 1);
        assert_eq!(window.wait_ms(1_000), 0);
    }

    #[test]
    fn r13_a_restart_only_slows() {
        let mut window = Window::new(RATE, 3, 500);
        assert_eq!(window.wait_ms(500), 1_000);
        assert_eq!(window.wait_ms(1_499), 1);
        assert_eq!(window.wait_ms(1_500), 0);
    }

    #[test]
    fn what_came_to_nothing_is_given_back_once() {
        let mut window = Window::new(RATE, 2, 0);
        window.reserve(5);
        assert!(window.wait_ms(5) > 0);
        window.give_back(5);
        window.give_back(5);
        assert_eq!(window.wait_ms(5), 0);
        window.reserve(6);
        assert!(window.wait_ms(6) > 0);
    }

    #[test]
    fn draws_that_come_to_nothing_take_no_room() {
        let mut window = Window::new(RATE, 0, 0);
        for at in 0..10_000 {
            window.reserve(at);
            window.give_back(at);
        }
        assert!(window.entries.is_empty());
        // The oldest of several, too: it is not always the newest that is given back.
        for at in [10_000, 10_001] {
            window.reserve(at);
        }
        window.give_back(10_000);
        assert_eq!(window.entries, [(10_001, 1)]);
    }

    #[test]
    fn a_clock_that_steps_back_never_refills() {
        let mut window = Window::new(RATE, 0, 1_000);
        for at in [1_000, 900, 800] {
            window.reserve(at);
        }
        assert_eq!(window.wait_ms(1_900), 100);
    }
}
