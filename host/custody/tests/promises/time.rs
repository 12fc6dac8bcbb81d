//! Time: clocks that are set back, forward, frozen and slowed, and what is said about them.

use futures_executor::block_on;
use mintmark_custody::{ClockStatus, Session};
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::grant::{AuditReturn, ConfirmProof, Rate};
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::row::Event;
use mintmark_model::clock::Suspicion;
use mintmark_model::{Principal, Reason, Refusal, Role};
use mintmark_sdk_testing::sdk::ledger;
use mintmark_sdk_testing::{Device, Office};

use crate::approvals::agree;
use crate::bench::{Bench, Line, draw, finish, import};

const DAY: u64 = 86_400_000;
const YEARS: u64 = 3_660 * DAY;

impl Bench {
    fn clock_status(&self) -> ClockStatus {
        self.site.custody().clock()
    }

    /// Whether one more device is made; else why not.
    fn one_more(&self, entitlement: &str, subject: &str) -> Result<(), Reason> {
        let made = self.provision(entitlement, subject, &Device::new());
        made.map(drop).map_err(|refusal| refusal.reason)
    }

    fn acknowledge_clock(&self) -> Result<ClockStatus, Refusal> {
        block_on(self.site.custody().acknowledge_clock(admin("AcknowledgeClock")))
    }

    fn lower_clock(&self, to_ms: u64) -> Result<ClockStatus, Refusal> {
        block_on(self.site.custody().lower_clock(admin("LowerClock"), to_ms))
    }

    /// What people said about the clock, as rows.
    fn words(&self) -> Vec<(u64, u64)> {
        let words = self.rows().into_iter().filter_map(|row| match row.body.event {
            Event::ClockAcknowledged { mark_before_ms, mark_after_ms } => {
                Some((mark_before_ms, mark_after_ms))
            }
            _ => None,
        });
        words.collect()
    }
}

fn admin(method: &str) -> Session {
    let principal = Principal {
        organization: "acme".to_owned(),
        cluster: "site/shenzhen".to_owned(),
        role: Role::Admin,
        name: "admin".to_owned(),
    };
    Session::new(principal, None, format!("/mintmark.admin.v1.Clock/{method}"), &[])
}

#[test]
fn r10_a_clock_that_is_set_back_revives_nothing() {
    let mut bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.one_more(&entitlement, "SN:1").unwrap();
    bench.world.pass_ms(31 * DAY);
    assert_eq!(bench.one_more(&entitlement, "SN:2"), Err(Reason::Expired));
    let end = bench.clock_status().site_time_ms;
    // Live, and then at a start.
    bench.site.clock().set_wall_ms(end - 30 * DAY);
    for _ in 0..2 {
        assert_eq!(bench.one_more(&entitlement, "SN:2"), Err(Reason::ClockSuspect));
        let clock = bench.clock_status();
        assert_eq!(clock.site_time_ms, end);
        assert!(matches!(clock.suspicion, Some(Suspicion::Behind { .. })));
        bench = bench.restarted();
    }
    bench.site.clock().set_wall_ms(end);
    assert_eq!(bench.one_more(&entitlement, "SN:2"), Err(Reason::Expired));
}

#[test]
fn r10_what_is_set_back_is_on_record_in_the_next_bundle() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.one_more(&entitlement, "SN:1").unwrap();
    bench.site.clock().set_wall_ms(bench.site.clock().now_ms() - 30 * DAY);
    assert_eq!(bench.one_more(&entitlement, "SN:2"), Err(Reason::ClockSuspect));
    let rows = bench.rows();
    let suspect = |row: &&mintmark_exchange::row::Row| row.body.clock_suspect;
    let refused = rows.iter().filter(suspect).any(
        |row| matches!(&row.body.event, Event::Outcome { reason, .. } if reason == "CLOCK_SUSPECT"),
    );
    assert!(refused);
    let orders = bench
        .site
        .run::<Line, _>("auditor", "eve", || Ok(ledger::checkpoints(None, 1 << 24)?.orders));
    let order = SignedOrder::decode(&orders.unwrap()[0]).unwrap();
    assert!(order.open::<Checkpoint>().unwrap().clock_suspect);
}

#[test]
fn r10_a_suspect_clock_stops_no_device_from_ending() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    bench.one_more(&entitlement, "SN:1").unwrap();
    bench.site.clock().set_wall_ms(bench.site.clock().now_ms() - DAY);
    block_on(async {
        let mut call = bench.call().await;
        let unit = draw(&mut call, &entitlement, "SN:1").await.unwrap();
        call.confirm(&unit, None).await.unwrap();
        finish(call).await.unwrap();
    });
    assert_eq!(bench.counters(&entitlement).confirmed, 1);
}

#[test]
fn r11_a_clock_that_is_set_forward_and_corrected_is_as_if_nothing_was() {
    let mut bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let now = bench.site.clock().now_ms();
    bench.site.clock().set_wall_ms(now + YEARS);
    // Live, and then at a start.
    for _ in 0..2 {
        assert_eq!(bench.one_more(&entitlement, "SN:1"), Err(Reason::ClockSuspect));
        assert_eq!(bench.clock_status().site_time_ms, now);
        bench = bench.restarted();
    }
    bench.site.clock().set_wall_ms(now + 1_000);
    bench.one_more(&entitlement, "SN:1").unwrap();
    assert_eq!(bench.clock_status().site_time_ms, now + 1_000);
    assert!(bench.words().is_empty());
}

#[test]
fn r11_one_admin_may_acknowledge_once_in_a_start_and_lower_never() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let now = bench.site.clock().now_ms();
    assert_eq!(bench.acknowledge_clock().unwrap_err().reason, Reason::WrongState);
    bench.site.clock().set_wall_ms(now + YEARS);
    let clock = bench.acknowledge_clock().unwrap();
    assert_eq!((clock.site_time_ms, clock.suspicion), (now + YEARS, None));
    assert!(clock.acknowledged);
    assert_eq!(bench.words(), [(now, now + YEARS)]);
    assert_eq!(bench.one_more(&entitlement, "SN:1"), Err(Reason::Expired));
    // The clock is corrected; site time is not, over a restart too.
    bench.site.clock().set_wall_ms(now);
    assert_eq!(bench.lower_clock(now).unwrap_err().reason, Reason::ApprovalRequired);
    assert_eq!(bench.acknowledge_clock().unwrap_err().reason, Reason::ApprovalRequired);
    let bench = bench.restarted();
    let clock = bench.clock_status();
    assert_eq!(clock.site_time_ms, now + YEARS);
    assert!(clock.suspicion.is_some() && !clock.acknowledged);
    assert_eq!(bench.words().len(), 1);
}

#[test]
fn r11_lowering_is_for_a_clock_that_was_corrected_and_not_below_headquarters() {
    let bench = Bench::new();
    bench.entitlement(10);
    let now = bench.site.clock().now_ms();
    let refused = |to_ms| bench.lower_clock(to_ms).unwrap_err().reason;
    assert_eq!(refused(now), Reason::InvalidArgument);
    // Headquarters' message came from a later time than this.
    assert_eq!(refused(now - 1), Reason::InvalidArgument);
    bench.world.pass_ms(DAY);
    assert_eq!(refused(now), Reason::WrongState);
    bench.site.clock().set_wall_ms(now);
    assert_eq!(refused(now), Reason::ApprovalRequired);
}

#[test]
fn an_acknowledged_clock_that_is_behind_prolongs_no_window() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.audit_return.seconds = 90 * 86_400;
    let entitlement = bench.entitlement_of(&order);
    bench.world.pass_ms(29 * DAY);
    bench.one_more(&entitlement, "SN:1").unwrap();
    bench.site.clock().set_wall_ms(bench.site.clock().now_ms() - 20 * DAY);
    bench.acknowledge_clock().unwrap();
    bench.one_more(&entitlement, "SN:2").unwrap();
    // Site time goes on, by the monotonic clock.
    bench.world.pass_ms(DAY + 60_000);
    assert_eq!(bench.one_more(&entitlement, "SN:3"), Err(Reason::Expired));
}

#[test]
fn r12_a_frozen_monotonic_clock_refills_nothing_and_is_noticed() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.rates = vec![Rate { units: 1, per_seconds: 30 }];
    let entitlement = bench.entitlement_of(&order);
    bench.one_more(&entitlement, "SN:1").unwrap();
    let now = bench.site.clock().now_ms();
    bench.site.clock().set_wall_ms(now + 59_000);
    assert_eq!(bench.one_more(&entitlement, "SN:2"), Err(Reason::RateLimited));
    bench.site.clock().set_wall_ms(now + 61_000);
    assert_eq!(bench.one_more(&entitlement, "SN:2"), Err(Reason::ClockSuspect));
}

#[test]
fn r12_a_monotonic_clock_that_jumps_is_noticed() {
    let mut bench = Bench::new();
    let mut order = bench.order("po-1", 100);
    order.terms.rates = vec![Rate { units: 1, per_seconds: 20 }];
    let entitlement = bench.entitlement_of(&order);
    let mut made = 0;
    for round in 0..20 {
        bench.site.clock().jump_monotonic_ms(20_000);
        made += u32::from(bench.one_more(&entitlement, &format!("SN:{round}")).is_ok());
        if round % 3 == 2 {
            bench = bench.restarted();
        }
    }
    // A minute in total, over all starts.
    assert!((1..=4).contains(&made), "{made}");
}

#[test]
fn r12_both_clocks_slowed_leave_the_counts_and_the_audit() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 20);
    order.terms.audit_return = AuditReturn { units: 5, seconds: 86_400 };
    order.terms.rates = vec![Rate { units: 2, per_seconds: 10 }];
    let entitlement = bench.entitlement_of(&order);
    // Whatever the hands of the clocks are made to show, the fifth unit is the last one.
    for number in 0..20 {
        let expected = if number < 5 { Ok(()) } else { Err(Reason::ReceiptOverdue) };
        let made = bench.one_more(&entitlement, &format!("SN:{number}"));
        assert_eq!(made, expected, "device {number}");
        bench.world.pass_ms(5_000);
    }
    assert_eq!(bench.counters(&entitlement).drawn(), 5);
}

#[test]
fn r13_a_hundred_kills_never_refill_a_window() {
    let mut bench = Bench::new();
    let mut order = bench.order("po-1", 1_000);
    let (short, long) = (Rate { units: 3, per_seconds: 10 }, Rate { units: 5, per_seconds: 60 });
    order.terms.rates = vec![short, long];
    let entitlement = bench.entitlement_of(&order);
    let mut times = Vec::new();
    for round in 0..100_u64 {
        // The wall clock goes ahead by a little more: site time is no measure.
        let ahead = if round % 9 == 0 { 5_000 } else { 0 };
        bench.site.clock().set_wall_ms(bench.site.clock().now_ms() + ahead);
        for _ in 0..2 {
            let subject = format!("SN:{}", times.len());
            let drawn = block_on(async {
                let mut call = bench.call().await;
                match draw(&mut call, &entitlement, &subject).await {
                    Ok(_) => finish(call).await,
                    Err(refusal) => Err(refusal),
                }
            });
            match drawn {
                Ok(()) => times.push(bench.rows().last().unwrap().body.monotonic_ms),
                Err(refusal) => assert_eq!(refusal.reason, Reason::RateLimited),
            }
        }
        bench.world.pass_ms(1_100);
        bench = bench.restarted();
    }
    for rate in [short, long] {
        let units = usize::try_from(rate.units).unwrap();
        let too_many = |window: &[u64]| window[units] - window[0] < rate.per_seconds * 1_000;
        assert!(!times.windows(units + 1).any(too_many), "{rate:?}: {times:?}");
    }
    assert!(times.len() >= 3, "{times:?}");
}

#[test]
fn r13_a_refusal_says_exactly_when_to_come_back_after_a_start_too() {
    let mut bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.rates =
        vec![Rate { units: 1, per_seconds: 10 }, Rate { units: 2, per_seconds: 60 }];
    let entitlement = bench.entitlement_of(&order);
    let waits = |bench: &Bench, subject: &str| {
        let refused = bench.provision(&entitlement, subject, &Device::new()).unwrap_err();
        assert_eq!(refused.reason, Reason::RateLimited);
        refused.retry_after_ms.unwrap()
    };
    bench.one_more(&entitlement, "SN:1").unwrap();
    bench.world.pass_ms(4_000);
    assert_eq!(waits(&bench, "SN:2"), 6_000);
    bench = bench.restarted();
    // What was held counts as of the start.
    assert_eq!(waits(&bench, "SN:2"), 10_000);
    bench.world.pass_ms(9_999);
    assert_eq!(waits(&bench, "SN:2"), 1);
    bench.world.pass_ms(1);
    bench.one_more(&entitlement, "SN:2").unwrap();
    // Now the longer window is full.
    assert_eq!(waits(&bench, "SN:3"), 50_000);
}

#[test]
fn headquarters_time_is_a_lower_bound_that_outlives_a_start() {
    let mut bench = Bench::new();
    let now = bench.site.clock().now_ms();
    bench.hq.clock().pass_ms(10 * DAY);
    let late = Office::order("po-1", 10, now);
    let entitlement = bench.entitlement_of(&late);
    for _ in 0..2 {
        let clock = bench.clock_status();
        assert_eq!((clock.site_time_ms, clock.headquarters_ms), (now + 10 * DAY, now + 10 * DAY));
        assert!(matches!(clock.suspicion, Some(Suspicion::Behind { .. })));
        assert_eq!(bench.one_more(&entitlement, "SN:1"), Err(Reason::ClockSuspect));
        bench = bench.restarted();
    }
    // Correcting the clock suffices.
    bench.site.clock().set_wall_ms(now + 10 * DAY);
    bench.one_more(&entitlement, "SN:1").unwrap();
}

#[test]
fn headquarters_time_settles_a_clock_that_was_off_for_long() {
    let mut bench = Bench::new();
    let mut first = bench.order("po-1", 10);
    // No report is due on the way.
    first.terms.audit_return.seconds = 100 * 86_400;
    let entitlement = bench.entitlement_of(&first);
    bench.world.pass_ms(DAY);
    // Two months on a ship.
    bench.site.clock().set_wall_ms(bench.site.clock().now_ms() + 60 * DAY);
    bench = bench.restarted();
    assert_eq!(bench.one_more(&entitlement, "SN:1"), Err(Reason::ClockSuspect));
    bench.hq.clock().pass_ms(59 * DAY);
    let order = Office::order("po-2", 10, bench.hq.clock().now_ms());
    let second = import(&bench.site, &bench.granted(&order)).unwrap();
    assert_eq!(bench.clock_status().suspicion, None);
    assert_eq!(bench.one_more(&entitlement, "SN:1"), Err(Reason::Expired));
    bench.one_more(&second, "SN:2").unwrap();
}

#[test]
fn only_an_authentic_message_tells_the_time() {
    let bench = Bench::new();
    bench.entitlement(10);
    let heard = bench.clock_status().headquarters_ms;
    bench.hq.clock().pass_ms(6 * DAY);
    let order = Office::order("po-2", 10, bench.hq.clock().now_ms());
    let mut forged = bench.granted(&order);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(import(&bench.site, &forged).unwrap_err().reason, "UNTRUSTED_MESSAGE");
    assert_eq!(bench.clock_status().headquarters_ms, heard);
}

#[test]
fn a_message_that_comes_to_nothing_tells_the_time_all_the_same() {
    let bench = Bench::new();
    bench.hq.clock().pass_ms(30_000);
    let file = bench.site.stage(&bench.granted(&bench.order("po-1", 10)));
    let now = bench.site.clock().now_ms();
    block_on(async {
        let mut call = bench.call().await;
        call.open_message("entitlement", &file).await.unwrap();
        // Nothing is believed before it is on record.
        assert_eq!(bench.clock_status().headquarters_ms, 0);
        call.abort(Reason::WrongPlugin).await;
    });
    let bench = bench.restarted();
    let clock = bench.clock_status();
    assert_eq!((clock.headquarters_ms, clock.site_time_ms), (now + 30_000, now + 30_000));
}

#[test]
fn r11_lowering_takes_several_people_and_then_time_runs_on() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let now = bench.site.clock().now_ms();
    bench.site.clock().set_wall_ms(now + YEARS);
    bench.acknowledge_clock().unwrap();
    bench.site.clock().set_wall_ms(now + 1_000);
    let refused = bench.lower_clock(now + 1_000).unwrap_err();
    agree(&bench.site, &refused);
    // What was approved is this very time.
    assert_eq!(bench.lower_clock(now + 2_000).unwrap_err().reason, Reason::ApprovalRequired);
    let clock = bench.lower_clock(now + 1_000).unwrap();
    assert_eq!((clock.site_time_ms, clock.suspicion), (now + 1_000, None));
    bench.one_more(&entitlement, "SN:1").unwrap();
    // Earlier rows, with their later times, do not raise it again.
    let bench = bench.restarted();
    assert_eq!(bench.clock_status().site_time_ms, now + 1_000);
    bench.one_more(&entitlement, "SN:2").unwrap();
    assert_eq!(bench.words(), [(now, now + YEARS), (now + YEARS, now + 1_000)]);
}

#[test]
fn r11_a_second_acknowledgement_takes_several_people() {
    let bench = Bench::new();
    let now = bench.site.clock().now_ms();
    bench.site.clock().set_wall_ms(now + YEARS);
    bench.acknowledge_clock().unwrap();
    bench.site.clock().set_wall_ms(now);
    let refused = bench.acknowledge_clock().unwrap_err();
    agree(&bench.site, &refused);
    let clock = bench.acknowledge_clock().unwrap();
    // Nothing is gained: site time goes on from where it stood.
    assert_eq!((clock.site_time_ms, clock.suspicion), (now + YEARS, None));
    bench.site.clock().set_wall_ms(now - DAY);
    assert_eq!(bench.acknowledge_clock().unwrap_err().reason, Reason::ApprovalRequired);
}

#[test]
fn r10_rows_of_an_earlier_decision_set_no_clock_back_at_a_start_however_many() {
    let mut bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    bench.provision(&entitlement, "SN:0", &device).unwrap();
    let began = bench.clock_status().site_time_ms;
    for round in 1..4 {
        let mut slow = block_on(bench.call());
        block_on(async {
            let unit = draw(&mut slow, &entitlement, "SN:0").await.unwrap();
            slow.unit_artefact(&unit).await.unwrap();
        });
        bench.world.pass_ms(50_000);
        bench.one_more(&entitlement, &format!("SN:{round}")).unwrap();
        let latest = bench.clock_status().site_time_ms;
        block_on(async {
            let unit = draw(&mut slow, &entitlement, "SN:0").await.unwrap();
            for _ in 0..300 {
                slow.unit_artefact(&unit).await.unwrap();
            }
            finish(slow).await.unwrap();
        });
        // The rows at the end say when the slow call began; somebody sets the clock to that.
        bench.site.clock().set_wall_ms(began);
        bench = bench.restarted();
        assert!(bench.clock_status().site_time_ms >= latest, "round {round}");
        bench.site.clock().set_wall_ms(latest);
    }
}
