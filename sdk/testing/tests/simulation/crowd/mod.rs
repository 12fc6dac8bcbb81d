//! Many clients at once, at two sites and with headquarters, against a reference model.
//!
//! In each round the clients of both sites call at the same moment, from threads of their own. In
//! which order their calls take effect is nobody's to say; but there must be one in which a model
//! of the rules, asked one call after the other, would have answered the same and come to the same
//! units. Disks fail under the calls, the power is cut between rounds, and headquarters, which is
//! restarted too, must find every bundle clean.

mod line;
mod order;
mod reference;

use mintmark_plugin_device_key::proto::FailureKind;
use mintmark_sdk_testing::Chance;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::beginning::Beginning;
use crate::courier::Headquarters;
use crate::life::Told;
use line::Line;
use reference::{Ask, STATIONS};

/// Days that are lived where nobody says how many.
const DAYS: u32 = 60;
const SUBJECTS: usize = 4;
const DEVICES: usize = 6;
/// Most clients of a site that call at once.
const CLIENTS_MAX: usize = 5;

/// Calls that overlap, and what happens before and after.
#[derive(Clone, Debug)]
struct Round {
    /// What the clients of each site ask.
    asks: [Vec<Ask>; 2],
    pass_ms: u64,
    /// Which site's machine fails, how, and after how many operations.
    fault: Option<(usize, usize, u64)>,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    /// The power of a site is cut.
    Cut(usize),
    /// The power of headquarters is cut.
    CutHeadquarters,
    /// Both sites report, and get their receipts.
    Report,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let (subject, device, station) = (0..SUBJECTS, 0..DEVICES, 0..STATIONS.len());
    let kinds = [FailureKind::Transient, FailureKind::Permanent, FailureKind::KeyLost];
    let kind = proptest::sample::select(kinds.to_vec()).boxed();
    let station = station.boxed();
    let ask = prop_oneof![
        6 => (subject.clone(), device.clone(), station.clone())
            .prop_map(|(subject, device, station)| Ask::Provision { subject, device, station }),
        2 => (subject.clone(), station.clone())
            .prop_map(|(subject, station)| Ask::Reserve { subject, station }),
        4 => (subject.clone(), device, station.clone())
            .prop_map(|(subject, device, station)| Ask::Confirm { subject, device, station }),
        4 => (subject.clone(), kind, station.clone())
            .prop_map(|(subject, kind, station)| Ask::Fail { subject, kind, station }),
        1 => subject.clone().prop_map(|subject| Ask::Scrap { subject }),
        2 => subject.clone().prop_map(|subject| Ask::Return { subject }),
        1 => (subject, station).prop_map(|(subject, station)| Ask::HandOver { subject, station }),
    ];
    proptest::collection::vec(ask, 0..=CLIENTS_MAX)
}

fn round() -> impl Strategy<Value = Round> {
    let then = prop_oneof![
        4 => Just(Then::Nothing),
        1 => (0..2_usize).prop_map(Then::Cut),
        1 => Just(Then::CutHeadquarters),
        2 => Just(Then::Report),
    ];
    let fault = proptest::option::weighted(0.2, (0..2_usize, 0..3_usize, 0..12_u64));
    ([asks(), asks()], 0..6_000_u64, fault, then).prop_map(|(asks, pass_ms, fault, then)| Round {
        asks,
        pass_ms,
        fault,
        then,
    })
}

/// What days had to tell.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    calls: u64,
    done: u64,
    in_doubt: u64,
    faults: u64,
    cuts: u64,
    reports: u64,
}

/// Lives a day to its end; panics where something has no explanation.
fn live(beginning: &Beginning, seed: u64, rounds: &[Round], tally: &mut Tally) {
    let mut chance = Chance::new(seed);
    let mut hq = Headquarters::new(beginning);
    let mut lines = [0, 1].map(|number| Line::new(beginning, number));
    for round in rounds {
        let waited = hq.waited_ms();
        for line in &lines {
            line.host().clock().pass_ms(round.pass_ms + waited);
        }
        hq.host().clock().pass_ms(round.pass_ms);
        if let Some((site, kind, after)) = round.fault {
            lines[site].arm(kind, after);
        }
        std::thread::scope(|scope| {
            for (line, asks) in lines.iter_mut().zip(&round.asks) {
                scope.spawn(|| line.call_at_once(asks));
            }
        });
        for line in &mut lines {
            line.look(&mut chance, tally);
        }
        match round.then {
            Then::Nothing => {}
            Then::Cut(site) => {
                tally.cuts += 1;
                lines[site].cut(&mut chance);
            }
            Then::CutHeadquarters => hq.cut(&mut chance, &mut Told::default()),
            Then::Report => lines.iter_mut().for_each(|line| line.report(&mut hq, tally)),
        }
    }
    for line in &mut lines {
        line.cut(&mut chance);
        line.report(&mut hq, tally);
    }
}

#[test]
fn i1_calls_that_overlap_have_an_order_in_which_they_keep_every_rule() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("MINTMARK_SEED").unwrap_or(1);
    let days = number("MINTMARK_DAYS").map_or(DAYS, |days| u32::try_from(days).unwrap());
    let beginning = Beginning::new(2);
    let tally = std::cell::RefCell::new(Tally::default());
    let config = ProptestConfig {
        cases: days,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        // Threads decide as well what happens: a smaller day seldom fails the same way.
        max_shrink_iters: 50,
        ..ProptestConfig::default()
    };
    eprintln!("MINTMARK_SEED={seed} MINTMARK_DAYS={days}");
    let lived = TestRunner::new(config).run(
        &(any::<u64>(), proptest::collection::vec(round(), 1..9)),
        |(seed, rounds)| {
            live(&beginning, seed, &rounds, &mut tally.borrow_mut());
            Ok(())
        },
    );
    let tally = tally.into_inner();
    eprintln!("{days} days: {tally:?}");
    if let Err(error) = lived {
        panic!("{error}");
    }
    let Tally { done, in_doubt, faults, cuts, reports, .. } = tally;
    let fired = [done, in_doubt, faults, cuts, reports];
    assert!(days < DAYS || fired.iter().all(|count| *count > 0), "{tally:?}");
}
