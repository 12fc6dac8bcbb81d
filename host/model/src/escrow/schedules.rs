//! Rates under random schedules: draws under way together, committed out of order, and restarts.

use super::*;

/// A small generator: splitmix64, so that a seed is a schedule.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// What a start takes over.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// What the record says.
    Kept,
    /// Nothing: the check must notice.
    Forgetful,
}

/// A committed unit.
#[derive(Clone, Copy)]
struct Row {
    /// In real time, which passes while the host is off too.
    real_ms: u64,
    /// In the time that rows can tell: starts go on where the rows before them ended.
    served_ms: u64,
}

/// A site with one allotment.
struct Site {
    random: Random,
    rates: Vec<Rate>,
    escrow: Escrow,
    drafts: Vec<Draft>,
    /// Nothing but these two outlives a restart.
    rows: Vec<Row>,
    held: Held,
    real_ms: u64,
    monotonic_ms: u64,
    started_ms: u64,
    served_before_ms: u64,
    served_latest_ms: u64,
}

fn open(rates: &[Rate], drawn: u64, held: Vec<u64>, monotonic_ms: u64) -> Escrow {
    let mut counters = Counters::credited(1 << 40);
    counters.unused -= drawn;
    counters.reserved = drawn;
    Escrow::open(Opening {
        limits: Limits {
            not_before: 0,
            not_after: u64::MAX,
            rates: rates.to_vec(),
            max_in_doubt: u64::MAX,
            audit_return_units: u64::MAX,
        },
        end: None,
        counters,
        next: drawn,
        free: BTreeSet::new(),
        held,
        lease: Lease { receipted_drawn: 0, due: u64::MAX },
        monotonic_ms,
    })
}

impl Site {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let count = 1 + random.below(3);
        let rate = |random: &mut Random| Rate {
            units: 1 + random.below(8),
            per_ms: 1_000 * (1 + random.below(20)),
        };
        let rates: Vec<_> = (0..count).map(|_| rate(&mut random)).collect();
        let escrow = open(&rates, 0, vec![0; rates.len()], 0);
        let held = Held { drawn: 0, units: vec![0; rates.len()] };
        Self {
            random,
            rates,
            escrow,
            drafts: Vec::new(),
            rows: Vec::new(),
            held,
            real_ms: 0,
            monotonic_ms: 0,
            started_ms: 0,
            served_before_ms: 0,
            served_latest_ms: 0,
        }
    }

    fn moment(&self) -> Moment {
        Moment { site_ms: 0, monotonic_ms: self.monotonic_ms, suspect: false }
    }

    fn pass(&mut self, ms: u64) {
        self.real_ms += ms;
        self.monotonic_ms += ms;
    }

    fn draw(&mut self) {
        match self.escrow.draw(self.moment()) {
            Ok(draft) => self.drafts.push(draft),
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::RateLimited);
                self.check_wait(refusal.retry_after_ms.unwrap());
            }
        }
    }

    /// A refusal says exactly when to come back.
    fn check_wait(&self, wait_ms: u64) {
        let wait_at = |at_ms| {
            let mut windows = self.escrow.windows.clone();
            windows.iter_mut().map(|window| window.wait_ms(at_ms)).max().unwrap()
        };
        assert_eq!(wait_at(self.monotonic_ms + wait_ms - 1), 1);
        assert_eq!(wait_at(self.monotonic_ms + wait_ms), 0);
    }

    /// Commits one of the draws that are under way, whichever.
    fn commit(&mut self) -> Option<Draft> {
        let index = self.random.below(self.drafts.len().max(1) as u64);
        let draft = (!self.drafts.is_empty())
            .then(|| self.drafts.swap_remove(usize::try_from(index).unwrap()))?;
        let served_ms = self.served_before_ms + draft.moment.monotonic_ms - self.started_ms;
        self.served_latest_ms = self.served_latest_ms.max(served_ms);
        let late_ms = self.monotonic_ms - draft.moment.monotonic_ms;
        self.rows.push(Row { real_ms: self.real_ms - late_ms, served_ms });
        self.held = draft.held.clone();
        Some(draft)
    }

    fn restart(&mut self, start: Start) {
        if self.random.one_in(2) {
            // Durable, and nobody was told.
            self.commit();
        }
        self.drafts.clear();
        let off_ms = self.random.below(3) * self.random.below(5_000);
        self.real_ms += off_ms;
        self.monotonic_ms = self.random.below(1_000_000);
        self.started_ms = self.monotonic_ms;
        self.served_before_ms = self.served_latest_ms;
        let drawn = self.rows.len() as u64;
        let held = match start {
            Start::Kept => self.held.at_start(&self.rates, drawn),
            Start::Forgetful => vec![0; self.rates.len()],
        };
        self.escrow = open(&self.rates, drawn, held, self.monotonic_ms);
    }

    fn run(&mut self, steps: u64, start: Start) {
        for _ in 0..steps {
            match self.random.below(100) {
                0..=9 => {
                    let ms = self.random.below(4_000);
                    self.pass(ms);
                }
                10..=64 => self.draw(),
                65..=92 => {
                    if let Some(draft) = self.commit() {
                        self.escrow.settle(draft);
                    }
                }
                93..=96 => {
                    if let Some(draft) = self.drafts.pop() {
                        self.escrow.give_back(draft);
                    }
                }
                _ => self.restart(start),
            }
        }
    }

    /// The first rate that an interval exceeds, if one does.
    fn exceeded(&self, time: fn(&Row) -> u64) -> Option<Rate> {
        let mut times: Vec<u64> = self.rows.iter().map(time).collect();
        times.sort_unstable();
        self.rates.iter().copied().find(|rate| {
            let units = usize::try_from(rate.units).unwrap();
            times.windows(units + 1).any(|one| one[units] - one[0] < rate.per_ms)
        })
    }
}

#[test]
fn r13_no_schedule_of_restarts_exceeds_a_rate() {
    let mut units = 0;
    for seed in 0..2_000 {
        let mut site = Site::new(seed);
        site.run(600, Start::Kept);
        units += site.rows.len();
        assert_eq!(site.exceeded(|row| row.real_ms), None, "seed {seed}");
        assert_eq!(site.exceeded(|row| row.served_ms), None, "seed {seed}, as rows tell it");
    }
    assert!(units > 20_000, "only {units} units: the schedules try nothing");
}

#[test]
fn r13_a_start_that_forgets_is_caught() {
    let caught = (0..200).filter(|seed| {
        let mut site = Site::new(*seed);
        site.run(600, Start::Forgetful);
        site.exceeded(|row| row.served_ms).is_some()
    });
    assert!(caught.count() > 150);
}

#[test]
fn r13_a_hundred_restarts_in_one_window_give_no_unit_more() {
    let rates = vec![Rate { units: 3, per_ms: 10_000 }, Rate { units: 5, per_ms: 60_000 }];
    let mut held = Held { drawn: 0, units: vec![0, 0] };
    let mut drawn = 0;
    for start in 0..100 {
        let mut escrow = open(&rates, drawn, held.at_start(&rates, drawn), start);
        let moment = Moment { site_ms: 0, monotonic_ms: start + 9_999, suspect: false };
        while let Ok(draft) = escrow.draw(moment) {
            held = draft.held.clone();
            drawn += 1;
            escrow.settle(draft);
        }
    }
    assert_eq!(drawn, 3);
}

#[test]
fn what_is_committed_counts_once() {
    let rates = vec![Rate { units: 4, per_ms: 10_000 }];
    let mut escrow = open(&rates, 0, vec![0], 0);
    let at = |ms| Moment { site_ms: 0, monotonic_ms: ms, suspect: false };
    let first = escrow.draw(at(0)).unwrap();
    escrow.settle(first);
    let second = escrow.draw(at(9_000)).unwrap();
    // The second one was drawn while the first was in its window: both are held.
    assert_eq!(second.held.at_start(&rates, 2), [2]);
    escrow.settle(second);
    let third = escrow.draw(at(12_000)).unwrap();
    let held = third.held.clone();
    // The first has left; a fourth that is under way is committed after the third.
    let fourth = escrow.draw(at(12_001)).unwrap();
    assert_eq!(held.at_start(&rates, 3), [2]);
    assert_eq!(fourth.held.at_start(&rates, 4), [3]);
    // The older record, kept last, says no less.
    assert_eq!(held.at_start(&rates, 4), [3]);
    escrow.settle(third);
    escrow.settle(fourth);
}
