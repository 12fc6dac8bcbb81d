//! Sites and headquarters on machines that fail, against a model of what was promised.
//!
//! Each seed is a life: clients ask for whatever comes to mind, disks and platforms fail, the power
//! is cut, and after each start everything that was answered must be there, once. The hosts run the
//! code that serves: both plugins, custody, the embedded engine; only disk, platform and clocks are
//! simulated. The model knows nothing of them but what was answered.
//!
//! A life that fails prints a line that begins with `MINTMARK_SEED=`, which lives it again. What is
//! asked and what fails is the seed's; keys and signatures are new each time.

#![expect(clippy::unwrap_used, reason = "a test fails where its world does")]

mod beginning;
mod courier;
mod crowd;
mod life;
mod model;
mod site;
mod trial;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use beginning::Beginning;
use life::{Life, Told};

/// Lives of one site, and of two sites with headquarters, where nobody says how many.
const SEEDS: u64 = 2_000;
const SEEDS_OF_TWO: u64 = 150;

/// What one process lives: seeds from here on, so that parallel runs differ.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("MINTMARK_SEED") {
        return seed..seed + 1;
    }
    let first = number("MINTMARK_SEED_FROM").unwrap_or(0);
    first..first + number("MINTMARK_SEEDS").unwrap_or(default)
}

/// Lives every seed, on every processor; what each had to tell is added up.
fn live(test: &str, seeds: std::ops::Range<u64>, life: impl Fn(u64) -> Told + Sync) -> Told {
    let next = AtomicU64::new(seeds.start);
    let told = Mutex::new(Told::default());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match catch_unwind(AssertUnwindSafe(|| life(seed))) {
                        Ok(more) => told.lock().unwrap().add(&more),
                        Err(_) => {
                            next.store(seeds.end, Ordering::Relaxed);
                            panic!(
                                "MINTMARK_SEED={seed} cargo test -p mintmark-sdk-testing {test}"
                            );
                        }
                    }
                }
            });
        }
    });
    told.into_inner().unwrap()
}

/// The positive control: everything that was to happen did happen.
fn check_fired(seeds: u64, told: &Told, wanted: &[(&str, u64)]) {
    eprintln!("{seeds} lives: {told:?}");
    if seeds < 100 {
        return;
    }
    for (what, count) in wanted {
        assert!(*count > 0, "no {what} in {seeds} lives");
    }
}

#[test]
fn s2_no_fault_of_disk_or_platform_breaks_a_promise() {
    let beginning = Beginning::new(1);
    let seeds = seeds(SEEDS);
    let lived = seeds.end - seeds.start;
    let told = live("s2_no_fault", seeds, |seed| Life::begin(&beginning, seed).live(14));
    check_fired(
        lived,
        &told,
        &[
            ("s1 power cut", told.cuts),
            ("s3 fault while starting", told.faults_starting),
            ("s4 full disk", told.faults_full),
            ("s5 failed sync or write", told.faults_disk),
            ("fault of the platform", told.faults_platform),
            ("s6 bit that flipped and was named", told.flips_named),
            ("s6 sector in a wrong place that was named", told.copies_named),
            ("s6 write that went astray", told.astray),
            ("s6 write that went astray and was named", told.astray_named),
            ("s7 lost write that was named", told.lost_named),
            ("call in doubt", told.in_doubt),
            ("call in doubt that was durable", told.in_doubt_durable),
            ("retry", told.retries),
            ("report", told.reports),
        ],
    );
}

#[test]
fn i1_two_sites_and_headquarters_agree_whatever_fails() {
    let beginning = Beginning::new(2);
    let seeds = seeds(SEEDS_OF_TWO);
    let lived = seeds.end - seeds.start;
    let told = live("i1_two_sites", seeds, |seed| Life::begin(&beginning, seed).live(60));
    check_fired(
        lived,
        &told,
        &[
            ("power cut", told.cuts),
            ("fault of a disk", told.faults_disk),
            ("report", told.reports),
            ("start of headquarters", told.starts_hq),
            ("message that came twice", told.replayed),
            ("message that came too early", told.out_of_order),
        ],
    );
}

/// What did not hold, with what led to it.
fn wrong(story: &[String], what: impl Debug) -> ! {
    let last = story.len().saturating_sub(40);
    for line in &story[last..] {
        eprintln!("  {line}");
    }
    panic!("{what:?}");
}
