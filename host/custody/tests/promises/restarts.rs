//! Starts: what was true before is true after.

use futures_executor::block_on;
use mintmark_custody::{Failure, OpenError, Suspicion};
use mintmark_exchange::grant::{AuditReturn, ConfirmProof, Rate};
use mintmark_exchange::row::Event;
use mintmark_model::Reason;
use mintmark_platform::{Anchor, Mark};
use mintmark_sdk_testing::{Device, Hardware};

use crate::bench::{Bench, draw, finish, import, import_receipt};

#[test]
fn i1_the_equation_holds_over_restarts_in_any_state() {
    let mut bench = Bench::new();
    let mut order = bench.order("po-1", 12);
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    for round in 0..3_u64 {
        block_on(async {
            let mut call = bench.call().await;
            draw(&mut call, &entitlement, &format!("reserved:{round}")).await.unwrap();
            finish(call).await.unwrap();
        });
        for fate in ["issued", "confirmed", "failed"] {
            let subject = format!("{fate}:{round}");
            bench.provision(&entitlement, &subject, &Device::new()).unwrap();
            block_on(async {
                let mut call = bench.call().await;
                let unit = draw(&mut call, &entitlement, &subject).await.unwrap();
                match fate {
                    "confirmed" => drop(call.confirm(&unit, None).await.unwrap()),
                    "failed" => {
                        drop(call.fail(&unit, Failure::Permanent, "dead").await.unwrap());
                    }
                    _ => {}
                }
                finish(call).await.unwrap();
            });
        }
        bench = bench.restarted();
        let counters = bench.counters(&entitlement);
        let made = round + 1;
        assert_eq!([counters.reserved, counters.issued], [made, made]);
        assert_eq!([counters.confirmed, counters.failed], [made, made]);
        assert_eq!(counters.unused, 12 - 4 * made);
    }
    let refused = bench.provision(&entitlement, "SN:13", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::QuotaExhausted);
}

#[test]
fn i1_limits_are_the_same_after_a_start() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.max_in_doubt = 2;
    order.terms.rates = vec![Rate { units: 3, per_seconds: 60 }];
    order.terms.audit_return = AuditReturn { units: 4, seconds: 86_400 };
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    let refused =
        |bench: &Bench| bench.provision(&entitlement, "SN:9", &Device::new()).unwrap_err();
    let confirm = |bench: &Bench, subject: &str| {
        block_on(async {
            let mut call = bench.call().await;
            let unit = draw(&mut call, &entitlement, subject).await.unwrap();
            call.confirm(&unit, None).await.unwrap();
            finish(call).await.unwrap();
        });
    };
    for subject in ["SN:1", "SN:2"] {
        bench.provision(&entitlement, subject, &Device::new()).unwrap();
    }
    let bench = bench.restarted();
    assert_eq!(refused(&bench).reason, Reason::InDoubtExhausted);
    confirm(&bench, "SN:1");
    bench.provision(&entitlement, "SN:3", &Device::new()).unwrap();
    confirm(&bench, "SN:2");
    let bench = bench.restarted();
    assert_eq!(refused(&bench).reason, Reason::RateLimited);
    bench.world.pass_ms(60_000);
    bench.provision(&entitlement, "SN:4", &Device::new()).unwrap();
    confirm(&bench, "SN:3");
    let bench = bench.restarted();
    bench.world.pass_ms(60_000);
    assert_eq!(refused(&bench).reason, Reason::ReceiptOverdue);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let bench = bench.restarted();
    bench.world.pass_ms(60_000);
    bench.provision(&entitlement, "SN:9", &Device::new()).unwrap();
}

#[test]
fn numbers_that_came_to_nothing_are_used_after_a_start() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(3);
    block_on(async {
        // The first of two tentative units is dropped, the second is committed.
        let mut dropped = bench.call().await;
        draw(&mut dropped, &entitlement, "SN:1").await.unwrap();
        let mut kept = bench.call().await;
        draw(&mut kept, &entitlement, "SN:2").await.unwrap();
        finish(kept).await.unwrap();
        drop(dropped);
    });
    let bench = bench.restarted();
    for subject in ["SN:3", "SN:4"] {
        bench.provision(&entitlement, subject, &Device::new()).unwrap();
    }
    let mut numbers: Vec<_> = bench.unit_rows().into_iter().map(|row| row.unit).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
    let refused = bench.provision(&entitlement, "SN:5", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::QuotaExhausted);
}

#[test]
fn each_start_is_a_row_and_counts() {
    let bench = Bench::new().restarted().restarted();
    let started = |row: &mintmark_exchange::row::Row| matches!(row.body.event, Event::Started(_));
    let boots: Vec<_> = bench.rows().into_iter().filter(started).map(|row| row.body.boot).collect();
    assert_eq!(boots, [1, 2, 3]);
}

#[test]
fn r1_an_entitlement_is_remembered_over_a_start() {
    let bench = Bench::new();
    let file = bench.granted(&bench.order("po-1", 10));
    import(&bench.site, &file).unwrap();
    let bench = bench.restarted();
    assert_eq!(import(&bench.site, &file).unwrap_err().reason, "REPLAYED");
}

#[test]
fn r2_a_store_that_is_older_than_its_anchor_is_not_served() {
    let bench = Bench::new();
    let hardware = bench.site.hardware().clone();
    let anchor = hardware.platform.anchor().unwrap().unwrap();
    let mark = Mark { commit: anchor.commit + 1, ..anchor.mark() };
    hardware.platform.advance(&Anchor::new(anchor.store_id, anchor.epoch, mark)).unwrap();
    let site = bench.site.restart().unwrap();
    assert_eq!(site.custody().suspicion(), Some(Suspicion::Behind));
}

#[test]
fn r2_a_store_of_another_platform_is_not_served() {
    let bench = Bench::new();
    let other = Hardware::memory();
    let mixed = Hardware { platform: other.platform, ..bench.site.hardware().clone() };
    let refused = bench.site.stop().start_on(mixed).err().unwrap();
    assert!(matches!(refused, OpenError::Refused(_)), "its keys do not open: {refused}");
}
