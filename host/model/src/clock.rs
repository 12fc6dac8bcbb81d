//! Site time: never backwards, and suspect where the clocks disagree.
//!
//! Two clocks are read. Anybody at the machine can set the *wall clock*; the *monotonic clock* only
//! counts, and from nothing at each start. Site time is the greatest of three: the *mark*, which is
//! whatever site time was before; the wall clock; and the *floor*, which is a wall clock that was
//! believed once and has gone on by the monotonic clock since, slower by 100 ppm.
//!
//! The wall clock is believed while it is at most 60 s behind the floor. The floor never gives way,
//! and it is what rows carry, so it outlives a restart: a clock that is set back by a little at
//! each of a hundred starts gains 60 s and 100 ppm in total, and not in each. Within a start it is
//! believed while it is at most 60 s and 100 ppm ahead of the monotonic clock. At a start nobody
//! knows how long the machine was off, so there it may be ahead of the mark by a month.
//!
//! A wall clock that is not believed is *suspect*: site time stands still, and what depends on time
//! stops. Nothing of a suspect reading is kept, so to correct the clock is enough.

use crate::escrow::Moment;

/// How far the wall clock may be off, besides the drift.
pub const STEP_MS_MAX: u64 = 60_000;
/// How far ahead of the mark a start may be: longer than the holidays of a factory.
pub const AWAY_MS_MAX: u64 = 31 * 86_400_000;
/// One part in so many is the drift that wall clock and monotonic clock may have: 100 ppm.
const DRIFT: u64 = 10_000;

/// What both clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, in milliseconds since the epoch.
    pub wall_ms: u64,
    /// The monotonic clock, in milliseconds since any point of this start.
    pub monotonic_ms: u64,
}

/// Why the wall clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// It is behind what it must at least be.
    Behind {
        /// By so many milliseconds.
        by_ms: u64,
    },
    /// It is ahead of what it can be.
    Ahead {
        /// By so many milliseconds.
        by_ms: u64,
    },
}

/// A site's clock, as a pure function of readings and of what people and headquarters say.
#[derive(Debug, Clone)]
pub struct SiteClock {
    /// The latest site time.
    mark_ms: u64,
    floor: Line,
    /// Where wall clock and monotonic clock went together first; none until the wall clock is
    /// believed in this start.
    pace: Option<Line>,
    /// How far behind the floor the wall clock may be: more where somebody acknowledged it.
    behind_ms_max: u64,
    /// The latest time that headquarters said.
    heard_ms: u64,
    /// The monotonic clock's last reading: it can stand, and not go back.
    monotonic_ms: u64,
    suspicion: Option<Suspicion>,
    acknowledged: bool,
}

/// A time, and the monotonic clock then.
#[derive(Debug, Clone, Copy)]
struct Line {
    time_ms: u64,
    monotonic_ms: u64,
}

impl Line {
    fn elapsed(&self, monotonic_ms: u64) -> u64 {
        monotonic_ms.saturating_sub(self.monotonic_ms)
    }
}

impl SiteClock {
    /// The clock at a start. `mark_ms` is the latest site time that is on record, none in a new
    /// store; `heard_ms` is the latest time that headquarters said.
    #[must_use]
    pub fn start(reading: Reading, mark_ms: Option<u64>, heard_ms: u64) -> Self {
        let mark_ms = mark_ms.unwrap_or(reading.wall_ms).max(heard_ms);
        let monotonic_ms = reading.monotonic_ms;
        let mut clock = Self {
            mark_ms,
            floor: Line { time_ms: mark_ms, monotonic_ms },
            pace: None,
            behind_ms_max: STEP_MS_MAX,
            heard_ms,
            monotonic_ms,
            suspicion: None,
            acknowledged: false,
        };
        clock.now(reading);
        clock
    }

    /// Now. Neither time ever goes back.
    pub fn now(&mut self, reading: Reading) -> Moment {
        let wall_ms = reading.wall_ms;
        self.monotonic_ms = self.monotonic_ms.max(reading.monotonic_ms);
        let monotonic_ms = self.monotonic_ms;
        self.suspicion = self.judge(wall_ms);
        if self.suspicion.is_none() {
            let here = Line { time_ms: wall_ms, monotonic_ms };
            self.pace.get_or_insert(here);
            if wall_ms > self.floor_ms() {
                self.floor = here;
            }
            self.mark_ms = self.mark_ms.max(self.floor_ms());
        }
        Moment { site_ms: self.mark_ms, monotonic_ms, suspect: self.suspicion.is_some() }
    }

    /// Why the last reading was not believed.
    #[must_use]
    pub const fn suspicion(&self) -> Option<Suspicion> {
        self.suspicion
    }

    /// The latest site time.
    #[must_use]
    pub const fn mark_ms(&self) -> u64 {
        self.mark_ms
    }

    /// The latest time that headquarters said; zero where it said none.
    #[must_use]
    pub const fn heard_ms(&self) -> u64 {
        self.heard_ms
    }

    /// Whether a suspect clock was acknowledged in this start.
    #[must_use]
    pub const fn acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// What the mark becomes where somebody acknowledges a reading: never less than it was.
    #[must_use]
    pub fn acknowledged_mark(&self, reading: Reading) -> u64 {
        self.mark_ms.max(reading.wall_ms)
    }

    /// Somebody says that the wall clock may be as `reading` has it. One that is ahead is believed;
    /// one that is behind is let be, and site time goes on from the mark by the monotonic clock, so
    /// that nothing is gained by it.
    pub fn acknowledge(&mut self, reading: Reading) {
        let Reading { wall_ms, monotonic_ms } = reading;
        self.mark_ms = self.acknowledged_mark(reading);
        self.floor = Line { time_ms: self.mark_ms, monotonic_ms };
        self.pace = Some(Line { time_ms: wall_ms, monotonic_ms });
        self.behind_ms_max = STEP_MS_MAX.saturating_add(self.mark_ms.saturating_sub(wall_ms));
        self.suspicion = None;
        self.acknowledged = true;
    }

    /// Several people say that the mark is too high. The next reading is judged as at a start.
    pub fn lower(&mut self, to_ms: u64) {
        self.mark_ms = to_ms.max(self.heard_ms);
        self.floor = Line { time_ms: self.mark_ms, monotonic_ms: self.monotonic_ms };
        self.pace = None;
        self.behind_ms_max = STEP_MS_MAX;
    }

    /// Headquarters said what time it was when it wrote: it is later now. That settles a suspicion
    /// where the wall clock is at or past the mark, and no further past headquarters' time than a
    /// message may be under way.
    pub fn hear(&mut self, heard_ms: u64, reading: Reading, transit_ms_max: u64) {
        self.heard_ms = self.heard_ms.max(heard_ms);
        self.now(reading);
        let Reading { wall_ms, .. } = reading;
        let here = Line { time_ms: wall_ms, monotonic_ms: self.monotonic_ms };
        self.mark_ms = self.mark_ms.max(self.heard_ms);
        if self.floor_ms() < self.mark_ms {
            self.floor = Line { time_ms: self.mark_ms, ..here };
            if self.is_behind(wall_ms) {
                // The wall clock was wrong since the start. Corrected, it is judged as at one.
                self.pace = None;
            }
        }
        let latest = self.heard_ms.saturating_add(transit_ms_max);
        if self.suspicion.is_some() && (self.mark_ms..=latest).contains(&wall_ms) {
            (self.floor, self.pace, self.behind_ms_max) = (here, Some(here), STEP_MS_MAX);
        }
        self.now(reading);
    }

    /// What the time is at least, by the monotonic clock.
    fn floor_ms(&self) -> u64 {
        let elapsed = self.floor.elapsed(self.monotonic_ms);
        self.floor.time_ms.saturating_add(elapsed - elapsed.div_ceil(DRIFT))
    }

    /// What the wall clock can show at most.
    fn ceiling_ms(&self) -> u64 {
        match self.pace {
            Some(pace) => {
                let elapsed = pace.elapsed(self.monotonic_ms);
                let most = elapsed.saturating_add(elapsed / DRIFT).saturating_add(STEP_MS_MAX);
                pace.time_ms.saturating_add(most)
            }
            None => self.floor_ms().saturating_add(AWAY_MS_MAX),
        }
    }

    fn is_behind(&self, wall_ms: u64) -> bool {
        wall_ms.saturating_add(self.behind_ms_max) < self.floor_ms()
    }

    fn judge(&self, wall_ms: u64) -> Option<Suspicion> {
        let (floor, ceiling) = (self.floor_ms(), self.ceiling_ms());
        if self.is_behind(wall_ms) {
            return Some(Suspicion::Behind { by_ms: floor - wall_ms });
        }
        (wall_ms > ceiling).then(|| Suspicion::Ahead { by_ms: wall_ms - ceiling })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    /// Where the clocks begin: the mark of a store that was open before.
    const MARK: u64 = 20_000 * DAY;
    const TRANSIT: u64 = 180 * DAY;

    /// A machine whose clocks a test sets.
    struct Machine {
        clock: SiteClock,
        wall: u64,
        monotonic: u64,
    }

    impl Machine {
        fn started(wall: u64, mark: Option<u64>) -> Self {
            let reading = Reading { wall_ms: wall, monotonic_ms: 0 };
            Self { clock: SiteClock::start(reading, mark, 0), wall, monotonic: 0 }
        }

        fn reading(&self) -> Reading {
            Reading { wall_ms: self.wall, monotonic_ms: self.monotonic }
        }

        fn now(&mut self) -> Moment {
            self.clock.now(self.reading())
        }

        fn suspect(&mut self) -> bool {
            self.now().suspect
        }

        fn pass(&mut self, ms: u64) {
            self.wall += ms;
            self.monotonic += ms;
        }

        /// A restart, whose rows keep the site time of `now`.
        fn restart(&mut self) {
            let mark = self.now().site_ms;
            let reading = Reading { wall_ms: self.wall, monotonic_ms: 0 };
            self.monotonic = 0;
            self.clock = SiteClock::start(reading, Some(mark), self.clock.heard_ms());
        }
    }

    #[test]
    fn r10_a_clock_set_back_live_is_suspect_and_time_stands() {
        let mut machine = Machine::started(MARK, None);
        machine.wall -= 30 * DAY;
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (true, MARK));
        let by_ms = 30 * DAY;
        assert_eq!(machine.clock.suspicion(), Some(Suspicion::Behind { by_ms }));
        machine.pass(DAY);
        assert_eq!(machine.now().site_ms, MARK);
        // Correcting it suffices, and the day is not lost.
        machine.wall += 30 * DAY;
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + DAY));
    }

    #[test]
    fn r10_a_start_behind_the_mark_is_suspect_until_the_clock_is_right() {
        let mut machine = Machine::started(MARK - 30 * DAY, Some(MARK));
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (true, MARK));
        machine.wall = MARK + 1;
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + 1));
    }

    #[test]
    fn r10_a_hundred_starts_gain_no_more_than_one() {
        let mut machine = Machine::started(MARK, None);
        let mut passed = 0;
        let mut served = 0;
        for _ in 0..100 {
            machine.pass(50_000);
            passed += 50_000;
            served += u64::from(!machine.suspect());
            // The whole of each run is taken back before the next one.
            machine.wall -= 50_000;
            machine.restart();
        }
        assert!(machine.suspect());
        assert!(served <= 2, "{served} runs");
        assert!(machine.now().site_ms <= MARK + passed);
    }

    #[test]
    fn r11_ten_years_ahead_never_raise_the_mark_and_correcting_the_clock_suffices() {
        let years = 3_660 * DAY;
        let mut machine = Machine::started(MARK, Some(MARK));
        machine.wall += years;
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (true, MARK));
        machine.restart();
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (true, MARK));
        machine.wall -= years;
        machine.pass(1_000);
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + 1_000));
    }

    #[test]
    fn r11_after_an_acknowledgement_only_lowering_helps() {
        let years = 3_660 * DAY;
        let mut machine = Machine::started(MARK + years, Some(MARK));
        machine.clock.acknowledge(machine.reading());
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + years));
        machine.wall = MARK + 5;
        assert!(machine.suspect());
        machine.restart();
        assert!(machine.suspect());
        machine.clock.lower(MARK);
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + 5));
    }

    #[test]
    fn an_acknowledged_clock_that_is_behind_gains_nothing() {
        let mut machine = Machine::started(MARK - 30 * DAY, Some(MARK));
        machine.clock.acknowledge(machine.reading());
        assert!(machine.clock.acknowledged());
        machine.pass(DAY);
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + DAY - DAY / 10_000));
        // And it may not be set back any further.
        machine.wall -= 2 * 60_000;
        assert!(machine.suspect());
    }

    #[test]
    fn r12_a_frozen_monotonic_clock_is_noticed() {
        let mut machine = Machine::started(MARK, None);
        machine.wall += 60_000;
        assert!(!machine.suspect());
        machine.wall += 1;
        assert!(machine.suspect());
    }

    #[test]
    fn r12_a_monotonic_clock_that_jumps_is_noticed_and_gains_no_more_at_each_start() {
        let mut machine = Machine::started(MARK, None);
        let mut gained = 0;
        for _ in 0..100 {
            machine.monotonic += 59_000;
            gained += if machine.suspect() { 0 } else { 59_000 };
            machine.restart();
        }
        assert!(gained <= 60_000, "{gained}");
    }

    #[test]
    fn r12_a_monotonic_clock_that_goes_back_stands() {
        let mut machine = Machine::started(MARK, None);
        machine.pass(10_000);
        assert_eq!(machine.now().monotonic_ms, 10_000);
        machine.monotonic = 0;
        assert_eq!(machine.now().monotonic_ms, 10_000);
    }

    #[test]
    fn drift_within_its_budget_is_accepted() {
        let mut machine = Machine::started(MARK, None);
        machine.pass(DAY);
        machine.wall += 60_000 + 8_640;
        assert!(!machine.suspect());
        machine.wall += 1;
        assert!(machine.suspect());
        let mut machine = Machine::started(MARK, None);
        machine.pass(DAY);
        machine.wall -= 60_000 + 8_640;
        assert!(!machine.suspect());
        machine.wall -= 1;
        assert!(machine.suspect());
    }

    #[test]
    fn an_honest_clock_that_drifts_is_never_suspect() {
        for drift in [-99_i64, -20, 0, 20, 99] {
            let mut machine = Machine::started(MARK, None);
            for day in 0..1_000 {
                machine.pass(DAY);
                let drifted = drift * i64::try_from(DAY).unwrap() / 1_000_000;
                machine.wall = machine.wall.checked_add_signed(drifted).unwrap();
                assert!(!machine.suspect(), "{drift} ppm, day {day}");
                if day % 7 == 0 {
                    // Two days off.
                    machine.wall += 2 * DAY;
                    machine.restart();
                    assert!(!machine.suspect(), "{drift} ppm, day {day}");
                }
            }
        }
    }

    #[test]
    fn headquarters_time_is_a_lower_bound() {
        let mut machine = Machine::started(MARK, None);
        machine.clock.hear(MARK + 30_000, machine.reading(), TRANSIT);
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + 30_000));
        machine.clock.hear(MARK + DAY, machine.reading(), TRANSIT);
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (true, MARK + DAY));
        // Correcting the clock suffices.
        machine.wall += DAY + 60_000;
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + DAY + 60_000));
        // It is no use to ask for less.
        machine.clock.lower(MARK);
        assert_eq!(machine.clock.mark_ms(), MARK + DAY);
    }

    #[test]
    fn headquarters_time_settles_a_suspicion_only_near_it() {
        let started = |wall| Machine::started(wall, Some(MARK));
        // Shipped for two months.
        let mut machine = started(MARK + 60 * DAY);
        assert!(machine.suspect());
        machine.clock.hear(MARK + 50 * DAY, machine.reading(), TRANSIT);
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + 60 * DAY));
        // Further past headquarters' time than a message may be under way.
        let mut machine = started(MARK + 60 * DAY + TRANSIT);
        machine.clock.hear(MARK + 50 * DAY, machine.reading(), TRANSIT);
        assert!(machine.suspect());
        // Behind the mark.
        let mut machine = started(MARK - DAY);
        machine.clock.hear(MARK - 10 * DAY, machine.reading(), TRANSIT);
        assert!(machine.suspect());
        assert_eq!(machine.now().site_ms, MARK);
    }

    #[test]
    fn both_clocks_slowed_together_cannot_be_seen() {
        let mut machine = Machine::started(MARK, None);
        // A day in which both clocks count an hour.
        machine.pass(DAY / 24);
        let now = machine.now();
        assert_eq!((now.suspect, now.site_ms), (false, MARK + DAY / 24));
    }
}
