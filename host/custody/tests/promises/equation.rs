//! I1: what is credited is what is somewhere, at every commit, or nothing is released.

use futures_executor::block_on;
use mintmark_custody::Failure;
use mintmark_model::Reason;
use mintmark_sdk_testing::Device;
use mintmark_store::{Add, Key, Outcome, Transaction};

use crate::bench::Bench;

/// The table of counters, and the place of a counter in it (`tables.rs`).
fn counter(entitlement: &str, position: u8) -> Key {
    Key::new(5, [entitlement.as_bytes(), &[0, position]].concat())
}

/// Changes a counter behind custody's back, as a store that lost or invented something.
fn change(bench: &Bench, entitlement: &str, position: u8, delta: i64) {
    let add = Add { key: counter(entitlement, position), delta, min: 0, max: u64::MAX };
    let transaction = Transaction { adds: vec![add], ..Transaction::default() };
    let outcomes = block_on(bench.site.hardware().store.commit(vec![transaction])).unwrap();
    assert!(matches!(outcomes[..], [Outcome::Committed { .. }]));
}

const CREDITED: u8 = 0;
const UNUSED: u8 = 1;
const CONFIRMED: u8 = 4;

#[test]
fn i1_counters_that_do_not_add_up_release_nothing() {
    for (position, delta) in [(UNUSED, 1), (UNUSED, -1), (CONFIRMED, 1), (CREDITED, 1)] {
        let bench = Bench::new();
        let entitlement = bench.entitlement(10);
        let device = Device::new();
        let made = bench.provision(&entitlement, "SN:1", &device).unwrap();
        change(&bench, &entitlement, position, delta);
        let rows = bench.rows().len();
        let refused = bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
        // It was signed before the commit found out, so that not a word of the call travels.
        assert_eq!(refused.reason, Reason::PluginFault, "{position} {delta}");
        let unit = (entitlement.as_str(), "SN:1");
        let failed = bench.with_unit(("station", "line-4"), unit, async |call, unit| {
            call.fail(unit, Failure::Permanent, "no radio").await
        });
        // More credit than was ever granted is out of its own bound before any sum is asked for.
        let why = if position == CREDITED { Reason::QuotaExhausted } else { Reason::Unavailable };
        assert_eq!(failed.unwrap_err().reason, why, "{position} {delta}");
        assert!(bench.unit_rows().iter().all(|row| row.subject == "SN:1"), "nothing of SN:2");
        assert!(bench.rows().len() >= rows);
        // What changes no counter and was released before is released again.
        assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), made);
        // And what was wrong is put right again.
        change(&bench, &entitlement, position, -delta);
        bench.provision(&entitlement, "SN:3", &Device::new()).unwrap();
    }
}

#[test]
fn i1_a_start_over_counters_that_do_not_add_up_serves_none_of_their_units() {
    let bench = Bench::new();
    let (entitlement, device) = (bench.entitlement(10), Device::new());
    bench.provision(&entitlement, "SN:1", &device).unwrap();
    // The anchor remembers the newest transaction, so that it is one of custody's.
    change(&bench, &entitlement, UNUSED, 1);
    bench.site.stage(b"anything");
    let bench = bench.restarted();
    for subject in ["SN:1", "SN:2"] {
        let refused = bench.provision(&entitlement, subject, &device).unwrap_err();
        assert_eq!(refused.reason, Reason::Unavailable);
        assert!(refused.detail.contains("do not add up"), "{refused}");
    }
}
