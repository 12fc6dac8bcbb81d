//! I1, I3: never one too many, and the same question gets the same answer.

use futures_executor::block_on;
use futures_util::future::join;
use mintmark_custody::Failure;
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, UnitState};
use mintmark_sdk_testing::Device;

use crate::bench::{Bench, draw, finish, issue};

#[test]
fn i1_two_calls_at_once_for_one_subject_make_one_unit() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    let tester = || async {
        let mut call = bench.call().await;
        let (unit, artefact) = issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        let number = call.unit_status(&unit).await.unwrap().number;
        finish(call).await.unwrap();
        (number, artefact)
    };
    let (one, other) = block_on(join(tester(), tester()));
    assert_eq!(one, other);
    assert_eq!(bench.counters(&entitlement).issued, 1);
    let changes: Vec<_> = bench.unit_rows().into_iter().map(|row| row.change).collect();
    assert_eq!(changes, [UnitChange::Issued, UnitChange::Released]);
}

#[test]
fn i1_two_devices_that_race_for_one_subject_make_one_device() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let tester = || async {
        let mut call = bench.call().await;
        let issued = issue(&mut call, &entitlement, "SN:1", &Device::new()).await;
        match issued {
            Ok(_) => finish(call).await,
            Err(refusal) => {
                call.abort(refusal.reason).await;
                Err(refusal)
            }
        }
    };
    let (one, other) = block_on(join(tester(), tester()));
    assert_eq!(one, Ok(()));
    assert_eq!(other.unwrap_err().reason, Reason::KeyMismatch);
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn i1_hundreds_of_testers_never_make_one_too_many() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(20);
    let made: usize = std::thread::scope(|scope| {
        let line = |line: usize| {
            let (bench, entitlement) = (&bench, &entitlement);
            move || {
                let provision = |device: usize| {
                    let subject = format!("SN:{line}-{device}");
                    bench.provision(entitlement, &subject, &Device::new()).is_ok()
                };
                (0..10).filter(|device| provision(*device)).count()
            }
        };
        let lines: Vec<_> = (0..6).map(|number| scope.spawn(line(number))).collect();
        lines.into_iter().map(|line| line.join().unwrap()).sum()
    });
    let counters = bench.counters(&entitlement);
    assert_eq!(counters.issued as usize, made);
    // Who came while the last units were tentative was told to come again.
    for device in 0..20 {
        drop(bench.provision(&entitlement, &format!("late:{device}"), &Device::new()));
    }
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.unused), (20, 0));
    let mut numbers: Vec<_> = bench.unit_rows().into_iter().map(|row| row.unit).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[test]
fn i1_one_call_can_not_give_one_serial_to_two_devices() {
    use mintmark_exchange::serial::{CheckDigit, SerialRule};
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    let prefix = "T".to_owned();
    order.product.serial =
        SerialRule::Given { prefix, digits: 3, from: 100, to: 199, check: CheckDigit::None };
    let entitlement = bench.entitlement_of(&order);
    block_on(async {
        let mut call = bench.call().await;
        let allotment = call.open_allotment(&entitlement).await.unwrap();
        call.draw(&allotment, "SN:1", Some("T150")).await.unwrap();
        let second = call.draw(&allotment, "SN:2", Some("T150")).await;
        assert_eq!(second.err().unwrap().reason, Reason::DuplicateSubject);
        finish(call).await.unwrap();
    });
    assert_eq!(bench.counters(&entitlement).reserved, 1);
}

#[test]
fn i1_one_call_can_not_spend_two_entitlements_on_one_subject() {
    use mintmark_exchange::serial::SerialRule;
    let bench = Bench::new();
    let first = bench.entitlement(10);
    let mut order = bench.order("po-2", 10);
    let SerialRule::Assigned { start, .. } = &mut order.product.serial else { panic!("assigned") };
    *start = 1_000;
    let second = bench.entitlement_of(&order);
    block_on(async {
        let mut call = bench.call().await;
        draw(&mut call, &first, "SN:1").await.unwrap();
        let refused = draw(&mut call, &second, "SN:1").await.err().unwrap();
        assert_eq!(refused.reason, Reason::DuplicateSubject);
        finish(call).await.unwrap();
    });
    assert_eq!(bench.counters(&first).reserved, 1);
    assert_eq!(bench.counters(&second).unused, 10);
}

#[test]
fn i1_one_call_can_not_give_one_key_to_two_units() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    block_on(async {
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        let refused = issue(&mut call, &entitlement, "SN:2", &device).await.err().unwrap();
        assert_eq!(refused.reason, Reason::DuplicateKey);
        finish(call).await.unwrap();
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.reserved), (1, 1));
}

#[test]
fn a_call_that_came_to_nothing_gives_its_number_back() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    block_on(async {
        let mut call = bench.call().await;
        draw(&mut call, &entitlement, "SN:1").await.unwrap();
        let aborted = call.abort(Reason::InvalidArgument).await;
        assert!(!aborted.tainted);
    });
    assert_eq!(bench.counters(&entitlement).unused, 10);
    bench.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    assert_eq!(bench.unit_rows().last().unwrap().unit, 0);
}

#[test]
fn a_whole_life_in_one_call_is_one_transaction() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.confirm_proof = mintmark_exchange::grant::ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    block_on(async {
        let mut call = bench.call().await;
        let (unit, _) = issue(&mut call, &entitlement, "SN:1", &Device::new()).await.unwrap();
        let tried = call.fail(&unit, Failure::Transient, "again").await.unwrap();
        assert_eq!((tried.state, tried.attempts), (UnitState::Issued, 1));
        let confirmed = call.confirm(&unit, None).await.unwrap();
        assert_eq!(confirmed.state, UnitState::Confirmed);
        finish(call).await.unwrap();
    });
    let changes: Vec<_> = bench.unit_rows().into_iter().map(|row| row.change).collect();
    let expected = [UnitChange::Issued, UnitChange::AttemptFailed, UnitChange::Confirmed];
    assert_eq!(changes, expected);
    assert_eq!(bench.counters(&entitlement).confirmed, 1);
}

#[test]
fn i5_no_plugin_gets_past_a_limit_of_the_grant() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 5);
    order.terms.max_in_doubt = 3;
    let entitlement = bench.entitlement_of(&order);
    block_on(async {
        let mut call = bench.call().await;
        for subject in ["SN:1", "SN:2", "SN:3"] {
            draw(&mut call, &entitlement, subject).await.unwrap();
        }
        let fourth = draw(&mut call, &entitlement, "SN:4").await.err().unwrap();
        assert_eq!(fourth.reason, Reason::InDoubtExhausted);
        finish(call).await.unwrap();
    });
    assert_eq!(bench.counters(&entitlement).reserved, 3);
}

/// Headquarters may grant ranges of serial numbers that meet, and who brings his own may take one.
#[test]
fn a_serial_number_that_is_taken_stops_no_later_draw_also_after_a_restart() {
    use mintmark_exchange::serial::SerialRule;
    let bench = Bench::new();
    let order = |number, from| {
        let mut order = bench.order(number, 5);
        let SerialRule::Assigned { start, .. } = &mut order.product.serial else { panic!() };
        *start = from;
        bench.entitlement_of(&order)
    };
    let (first, second) = (order("po-1", 1), order("po-2", 4));
    for (number, subject) in ["SN:1", "SN:2", "SN:3", "SN:4"].into_iter().enumerate() {
        assert_eq!(bench.reserve(&first, subject), Ok(number as u64));
    }
    // T2-00000004 is the first's; the second goes on with its next number.
    assert_eq!(bench.reserve(&second, "SN:11"), Ok(1));
    // And the first after that: T2-00000005 is the second's.
    let refused = bench.reserve(&first, "SN:5").unwrap_err();
    assert_eq!(refused.reason, Reason::QuotaExhausted);
    let bench = bench.restarted();
    for (number, subject) in [(2, "SN:12"), (3, "SN:13"), (4, "SN:14")] {
        assert_eq!(bench.reserve(&second, subject), Ok(number));
    }
    assert_eq!(bench.reserve(&second, "SN:15").unwrap_err().reason, Reason::QuotaExhausted);
    for entitlement in [&first, &second] {
        let counters = bench.counters(entitlement);
        assert_eq!((counters.reserved, counters.unused), (4, 1), "what is set aside stays unused");
    }
    crate::life::verified(&bench);
}

#[test]
fn more_serial_numbers_that_are_taken_than_one_draw_tries_stop_it_for_that_time_alone() {
    let bench = Bench::new();
    let (first, second) = (bench.entitlement(20), bench.entitlement_of(&bench.order("po-2", 30)));
    for subject in 0..20 {
        bench.reserve(&first, &format!("SN:{subject}")).unwrap();
    }
    assert_eq!(bench.reserve(&second, "SN:20").unwrap_err().reason, Reason::Conflict);
    assert_eq!(bench.reserve(&second, "SN:20"), Ok(20));
}
