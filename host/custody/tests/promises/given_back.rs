//! What a unit that is given back frees, and what it does not.

use mintmark_custody::Failure;
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, UnitState};
use mintmark_sdk_testing::Device;

use crate::bench::Bench;
use crate::life::{LINE_4, MEI, changes, entitlement, fail, give_back, issue, reason, verified};

#[test]
fn a_unit_that_is_given_back_ends_and_its_device_may_have_another() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let unit = (entitlement.as_str(), "SN:1");
    assert_eq!(bench.reserve(&entitlement, "SN:1"), Ok(0));
    for who in [LINE_4, ("auditor", "eve")] {
        assert_eq!(reason(give_back(&bench, who, unit)), Reason::PermissionDenied);
    }
    for _ in 0..2 {
        let returned = give_back(&bench, MEI, unit).unwrap();
        assert_eq!((returned.number, returned.state), (0, UnitState::Returned));
    }
    assert_eq!(bench.counters(&entitlement).returned, 1);
    // It spent nothing of the one unit that the terms allow the device.
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    assert_eq!(reason(give_back(&bench, MEI, unit)), Reason::WrongState, "it was issued");
    assert_eq!(changes(&bench), [UnitChange::Reserved, UnitChange::Returned, UnitChange::Issued]);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.returned, counters.issued, counters.unused), (1, 1, 8));
    assert_eq!(bench.unit_rows().last().unwrap().unit, 1, "a number with a row is not used again");
}

#[test]
fn a_serial_number_that_was_given_back_can_be_brought_again() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| {
        let (prefix, check) = ("T".to_owned(), CheckDigit::None);
        order.product.serial = SerialRule::Given { prefix, digits: 3, from: 100, to: 199, check };
    });
    let serial = Some("T150");
    bench.reserve_with(&entitlement, "SN:1", serial).unwrap();
    let taken = bench.reserve_with(&entitlement, "SN:2", serial);
    assert_eq!(reason(taken), Reason::DuplicateSubject);
    give_back(&bench, MEI, (&entitlement, "SN:1")).unwrap();
    assert_eq!(bench.reserve_with(&entitlement, "SN:2", serial), Ok(1));
    let taken = bench.reserve_with(&entitlement, "SN:1", serial);
    assert_eq!(reason(taken), Reason::DuplicateSubject);
    verified(&bench);
}

/// A unit that is given back does not free what a unit before it was released with: the device is
/// out there with that subject and that serial number.
#[test]
fn i1_a_device_that_has_an_identity_is_not_freed_by_a_unit_that_is_given_back() {
    let bench = Bench::new();
    let given = |order: &mut mintmark_exchange::proposal::GrantProposal| {
        let (prefix, check) = ("T".to_owned(), CheckDigit::None);
        order.product.serial = SerialRule::Given { prefix, digits: 3, from: 100, to: 199, check };
        order.terms.max_units_per_subject = 3;
        order.terms.confirm_proof = ConfirmProof::None;
    };
    let first = entitlement(&bench, given);
    let mut order = bench.order("po-2", 10);
    given(&mut order);
    let second = bench.entitlement_of(&order);
    let unit = (first.as_str(), "SN:1");
    let (serial, other) = (Some("T150"), Some("T151"));
    bench.reserve_with(&first, "SN:1", serial).unwrap();
    issue(&bench, unit).unwrap();
    fail(&bench, MEI, unit, Failure::KeyLost).unwrap();
    assert_eq!(bench.reserve_with(&first, "SN:1", serial), Ok(1));
    give_back(&bench, MEI, unit).unwrap();
    for entitlement in [&first, &second] {
        let taken = bench.reserve_with(entitlement, "SN:2", serial);
        assert_eq!(reason(taken), Reason::DuplicateSubject, "the serial number is out there");
    }
    let elsewhere = bench.reserve_with(&second, "SN:1", other);
    assert_eq!(reason(elsewhere), Reason::DuplicateSubject, "the device is out there");
    // Here it may still have what the terms allow; a number that nothing had is free again.
    assert_eq!(bench.reserve_with(&first, "SN:1", other), Ok(2));
    give_back(&bench, MEI, unit).unwrap();
    assert_eq!(bench.reserve_with(&first, "SN:2", other), Ok(3));
    for number in [4, 5] {
        assert_eq!(bench.reserve_with(&first, "SN:1", serial), Ok(number));
        issue(&bench, unit).unwrap();
        fail(&bench, MEI, unit, Failure::KeyLost).unwrap();
    }
    assert_eq!(bench.reserve_with(&first, "SN:1", serial), Ok(5), "three were released");
    assert_eq!(reason(issue(&bench, unit)), Reason::KeyMismatch);
    verified(&bench);
}

#[test]
fn a_device_that_was_given_back_is_free_for_another_entitlement() {
    let bench = Bench::new();
    let first = bench.entitlement(10);
    let mut order = bench.order("po-2", 10);
    let SerialRule::Assigned { start, .. } = &mut order.product.serial else { panic!("assigned") };
    *start = 1_000;
    let second = bench.entitlement_of(&order);
    bench.reserve(&first, "SN:1").unwrap();
    assert_eq!(reason(bench.reserve(&second, "SN:1")), Reason::DuplicateSubject);
    give_back(&bench, MEI, (&first, "SN:1")).unwrap();
    bench.provision(&second, "SN:1", &Device::new()).unwrap();
    assert_eq!(reason(bench.reserve(&first, "SN:1")), Reason::DuplicateSubject);
}

/// A number that was drawn in vain is drawn again, by whoever comes next.
#[test]
fn a_store_is_right_whose_device_has_a_lower_number_than_before() {
    use crate::bench::{draw, finish};
    for lost in [false, true] {
        let bench = Bench::new();
        let entitlement = entitlement(&bench, |order| order.terms.max_units_per_subject = 2);
        let unit = (entitlement.as_str(), "SN:2");
        let mut vain = futures_executor::block_on(bench.call());
        futures_executor::block_on(draw(&mut vain, &entitlement, "SN:1")).unwrap();
        assert_eq!(bench.reserve(&entitlement, "SN:2"), Ok(1));
        futures_executor::block_on(vain.abort(Reason::InvalidArgument));
        if lost {
            issue(&bench, unit).unwrap();
            fail(&bench, MEI, unit, Failure::KeyLost).unwrap();
        } else {
            give_back(&bench, MEI, unit).unwrap();
        }
        assert_eq!(bench.reserve(&entitlement, "SN:2"), Ok(0));
        verified(&bench);
        let mut again = futures_executor::block_on(bench.call());
        futures_executor::block_on(draw(&mut again, &entitlement, "SN:2")).unwrap();
        futures_executor::block_on(finish(again)).unwrap();
    }
}
