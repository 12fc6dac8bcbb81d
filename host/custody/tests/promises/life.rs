//! The life of a unit (03, 3.4): given back, handed over, without its key, scrapped, recertified.

use mintmark_custody::{Artefact, Failure, UnitStatus};
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::proof::confirm_bytes;
use mintmark_exchange::row::Event;
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, Refusal, UnitState};
use mintmark_sdk_testing::Device;

use crate::bench::Bench;

pub(crate) const MEI: (&str, &str) = ("operator", "mei");
pub(crate) const LINE_4: (&str, &str) = ("station", "line-4");
const LINE_5: (&str, &str) = ("station", "line-5");

pub(crate) type Who<'a> = (&'a str, &'a str);

pub(crate) fn give_back(bench: &Bench, who: Who<'_>, unit: Who<'_>) -> Result<UnitStatus, Refusal> {
    bench.with_unit(who, unit, async |call, unit| call.give_back(unit, "the board is bent").await)
}

fn hand_over(bench: &Bench, who: Who<'_>, unit: Who<'_>, to: &str) -> Result<UnitStatus, Refusal> {
    bench.with_unit(who, unit, async |call, unit| call.hand_over(unit, to).await)
}

pub(crate) fn fail(
    bench: &Bench,
    who: Who<'_>,
    unit: Who<'_>,
    failure: Failure,
) -> Result<UnitStatus, Refusal> {
    bench.with_unit(who, unit, async |call, unit| call.fail(unit, failure, "no radio").await)
}

fn scrap(bench: &Bench, unit: Who<'_>) -> Result<UnitStatus, Refusal> {
    bench.with_unit(MEI, unit, async |call, unit| call.scrap(unit, "dropped").await)
}

fn recertify(
    bench: &Bench,
    who: Who<'_>,
    unit: Who<'_>,
    ordinal: u16,
) -> Result<Artefact, Refusal> {
    bench.with_unit(who, unit, async |call, unit| call.recertify(unit, ordinal, &[]).await)
}

fn confirm(bench: &Bench, unit: Who<'_>) -> Result<UnitStatus, Refusal> {
    bench.with_unit(LINE_4, unit, async |call, unit| call.confirm(unit, None).await)
}

pub(crate) fn reason<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> Reason {
    answer.unwrap_err().reason
}

pub(crate) fn changes(bench: &Bench) -> Vec<UnitChange> {
    bench.unit_rows().into_iter().map(|row| row.change).collect()
}

/// Issues a unit that is reserved, to a device with a new key.
pub(crate) fn issue(bench: &Bench, unit: Who<'_>) -> Result<Artefact, Refusal> {
    bench.with_unit(LINE_4, unit, async |call, unit| {
        let csr = call.read_csr(&Device::new().csr())?;
        call.certify_csr(unit, &csr, &[]).await
    })
}

/// The whole store is right.
pub(crate) fn verified(bench: &Bench) {
    let hardware = bench.site.hardware();
    let sealing = hardware.platform.sealing_secret().unwrap();
    let platform = Some(&*hardware.platform);
    let verified = mintmark_custody::verify(&*hardware.store, &sealing, platform);
    if let Err(error) = futures_executor::block_on(verified) {
        panic!("{error}");
    }
}

/// An entitlement whose terms the test changes.
pub(crate) fn entitlement(
    bench: &Bench,
    change: impl FnOnce(&mut mintmark_exchange::proposal::GrantProposal),
) -> String {
    let mut order = bench.order("po-1", 10);
    order.terms.confirm_proof = ConfirmProof::None;
    change(&mut order);
    bench.entitlement_of(&order)
}

#[test]
fn another_station_gets_the_stored_bytes_once_an_operator_has_handed_the_unit_over() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.site.enrol_station("line-6", &["ent-0123456789abcdef".to_owned()]);
    let unit = (entitlement.as_str(), "SN:1");
    let device = Device::new();
    let made = bench.provision(&entitlement, "SN:1", &device).unwrap();
    let other = || bench.provision_as("line-5", &entitlement, "SN:1", &device);
    assert_eq!(reason(other()), Reason::PermissionDenied);
    assert_eq!(reason(hand_over(&bench, LINE_5, unit, "line-5")), Reason::PermissionDenied);
    assert_eq!(reason(hand_over(&bench, MEI, unit, "line-9")), Reason::NotFound);
    assert_eq!(reason(hand_over(&bench, MEI, unit, "line-6")), Reason::PermissionDenied);
    for _ in 0..2 {
        let handed = hand_over(&bench, MEI, unit, "line-5").unwrap();
        assert!(handed.station.ends_with("/station/line-5"), "{}", handed.station);
    }
    assert_eq!(other().unwrap(), made);
    let before = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(before), Reason::PermissionDenied);
    let handed = bench.rows().into_iter().filter_map(|row| match row.body.event {
        Event::HandedOver { entitlement, unit, station } => {
            Some((entitlement, unit, station, row.body.principal))
        }
        _ => None,
    });
    let site = bench.site.uri();
    let (station, mei) = (format!("{site}/station/line-5"), format!("{site}/operator/mei"));
    assert_eq!(handed.collect::<Vec<_>>(), [(entitlement, 0, station, mei)]);
    assert_eq!(changes(&bench), [UnitChange::Issued, UnitChange::Released]);
}

#[test]
fn a_unit_that_has_ended_is_not_handed_over() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let unit = (entitlement.as_str(), "SN:1");
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    fail(&bench, LINE_4, unit, Failure::Permanent).unwrap();
    assert_eq!(reason(hand_over(&bench, MEI, unit, "line-5")), Reason::WrongState);
}

#[test]
fn a_device_that_failed_too_often_is_not_tried_again() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.max_attempts_per_subject = 2);
    let unit = (entitlement.as_str(), "SN:1");
    let device = Device::new();
    bench.provision(&entitlement, "SN:1", &device).unwrap();
    assert_eq!(fail(&bench, LINE_4, unit, Failure::Transient).unwrap().attempts, 1);
    bench.provision(&entitlement, "SN:1", &device).unwrap();
    assert_eq!(fail(&bench, LINE_4, unit, Failure::Transient).unwrap().attempts, 2);
    let again = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(again), Reason::AttemptsExhausted);
    let third = fail(&bench, LINE_4, unit, Failure::Transient);
    assert_eq!(reason(third), Reason::AttemptsExhausted);
    let bench = bench.restarted();
    let again = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(again), Reason::AttemptsExhausted);
    // How it ends can still be said.
    confirm(&bench, unit).unwrap();
    assert_eq!(bench.counters(&entitlement).confirmed, 1);
}

#[test]
fn attempts_are_counted_over_all_units_of_a_device() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| {
        order.terms.max_attempts_per_subject = 2;
        order.terms.max_units_per_subject = 3;
    });
    let unit = (entitlement.as_str(), "SN:1");
    for attempts in 1..=2 {
        bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
        assert_eq!(fail(&bench, LINE_4, unit, Failure::Transient).unwrap().attempts, attempts);
        fail(&bench, MEI, unit, Failure::KeyLost).unwrap();
    }
    let third = bench.provision(&entitlement, "SN:1", &Device::new());
    assert_eq!(reason(third), Reason::AttemptsExhausted);
    assert_eq!(bench.counters(&entitlement).failed, 2);
}

#[test]
fn a_lost_key_is_said_by_a_second_and_the_device_gets_one_more_unit_where_the_terms_allow() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.max_units_per_subject = 2);
    let unit = (entitlement.as_str(), "SN:1");
    let (device, later) = (Device::new(), Device::new());
    bench.provision(&entitlement, "SN:1", &device).unwrap();
    let own = fail(&bench, LINE_4, unit, Failure::KeyLost);
    assert_eq!(reason(own), Reason::PermissionDenied);
    // Nor does it help to be handed the unit, or to hand it on.
    hand_over(&bench, MEI, unit, "line-5").unwrap();
    for who in [LINE_4, LINE_5] {
        assert_eq!(reason(fail(&bench, who, unit, Failure::KeyLost)), Reason::PermissionDenied);
    }
    for _ in 0..2 {
        let failed = fail(&bench, MEI, unit, Failure::KeyLost).unwrap();
        assert_eq!(failed.state, UnitState::Failed);
    }
    let old = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(old), Reason::DuplicateKey, "the key that was lost stays the old unit's");
    bench.provision(&entitlement, "SN:1", &later).unwrap();
    assert_eq!(bench.unit_rows().last().unwrap().unit, 1);
    fail(&bench, MEI, unit, Failure::KeyLost).unwrap();
    let third = bench.provision(&entitlement, "SN:1", &Device::new());
    assert!(matches!(reason(third), Reason::WrongState | Reason::KeyMismatch));
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.failed, counters.unused), (2, 8));
    let lost = bench.unit_rows().into_iter().filter(|row| row.change == UnitChange::KeyLost);
    assert_eq!(lost.count(), 2);
    verified(&bench);
}

/// One tester program could spend and revoke the devices of all others.
#[test]
fn i1_no_station_and_nobody_who_had_the_unit_says_that_its_key_is_lost() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.max_units_per_subject = 2);
    let unit = |device| (entitlement.as_str(), device);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    bench.provision_of(MEI, &entitlement, "SN:2", &Device::new()).unwrap();
    for (who, device) in [(LINE_5, "SN:1"), (LINE_4, "SN:2"), (MEI, "SN:2")] {
        let said = fail(&bench, who, unit(device), Failure::KeyLost);
        assert_eq!(reason(said), Reason::PermissionDenied, "{who:?} of {device}");
    }
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.failed), (2, 0));
    assert_eq!(changes(&bench), [UnitChange::Issued; 2]);
    fail(&bench, ("admin", "ada"), unit("SN:2"), Failure::KeyLost).unwrap();
    verified(&bench);
}

#[test]
fn a_device_that_works_has_not_lost_its_key() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |_| ());
    let unit = (entitlement.as_str(), "SN:1");
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    confirm(&bench, unit).unwrap();
    assert_eq!(reason(fail(&bench, MEI, unit, Failure::KeyLost)), Reason::WrongState);
}

#[test]
fn scrap_within_the_allowance_is_a_persons_and_beyond_it_several_peoples() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.scrap_allowance = 2);
    for device in ["SN:1", "SN:2", "SN:3", "SN:4"] {
        bench.provision(&entitlement, device, &Device::new()).unwrap();
    }
    let unit = |device| (entitlement.as_str(), device);
    confirm(&bench, unit("SN:2")).unwrap();
    fail(&bench, LINE_4, unit("SN:3"), Failure::Permanent).unwrap();
    let program =
        bench.with_unit(LINE_4, unit("SN:1"), async |call, unit| call.scrap(unit, "dropped").await);
    assert_eq!(reason(program), Reason::PermissionDenied);
    let silent = bench.with_unit(MEI, unit("SN:1"), async |call, unit| call.scrap(unit, "").await);
    assert_eq!(reason(silent), Reason::InvalidArgument);
    bench.reserve(&entitlement, "SN:5").unwrap();
    assert_eq!(reason(scrap(&bench, unit("SN:5"))), Reason::WrongState, "it was not issued");
    scrap(&bench, unit("SN:2")).unwrap();
    scrap(&bench, unit("SN:3")).unwrap();
    scrap(&bench, unit("SN:3")).unwrap();
    for device in ["SN:1", "SN:4"] {
        assert_eq!(reason(scrap(&bench, unit(device))), Reason::ApprovalRequired);
    }
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.scrapped, counters.issued), (2, 2));
}

#[test]
fn one_call_can_not_scrap_more_than_the_allowance_nor_can_two_at_once() {
    use futures_executor::block_on;
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.scrap_allowance = 1);
    for device in ["SN:1", "SN:2"] {
        bench.provision(&entitlement, device, &Device::new()).unwrap();
    }
    let both = bench.with_unit(MEI, (&entitlement, "SN:1"), async |call, unit| {
        call.scrap(unit, "dropped").await?;
        let allotment = call.open_allotment(&entitlement).await?;
        let other = call.find_unit(&allotment, "SN:2").await?;
        call.scrap(&other, "dropped").await
    });
    assert_eq!(reason(both), Reason::ApprovalRequired);
    assert_eq!(bench.counters(&entitlement).scrapped, 0);
    block_on(async {
        let session = || bench.site.session_of::<crate::bench::Line>("operator", "mei");
        let mut one = bench.site.custody().begin(session(), None).await.unwrap();
        let mut two = bench.site.custody().begin(session(), None).await.unwrap();
        for (call, device) in [(&mut one, "SN:1"), (&mut two, "SN:2")] {
            let allotment = call.open_allotment(&entitlement).await.unwrap();
            let unit = call.find_unit(&allotment, device).await.unwrap();
            call.scrap(&unit, "dropped").await.unwrap();
        }
        assert_eq!(crate::bench::finish(one).await, Ok(()));
        // The counter's bound, at the commit.
        assert_eq!(reason(crate::bench::finish(two).await), Reason::ApprovalRequired);
    });
    assert_eq!(bench.counters(&entitlement).scrapped, 1);
}

#[test]
fn further_certificates_are_for_the_one_key_and_bounded_by_the_terms() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.certificates_per_unit = 3);
    let unit = (entitlement.as_str(), "SN:1");
    bench.reserve(&entitlement, "SN:1").unwrap();
    assert_eq!(reason(recertify(&bench, LINE_4, unit, 1)), Reason::WrongState);
    let first = bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    assert_eq!(reason(recertify(&bench, LINE_4, unit, 2)), Reason::WrongState, "1 is next");
    assert_eq!(reason(recertify(&bench, LINE_5, unit, 1)), Reason::PermissionDenied);
    let second = recertify(&bench, LINE_4, unit, 1).unwrap();
    assert_eq!(recertify(&bench, LINE_4, unit, 1).unwrap(), second, "byte for byte");
    confirm(&bench, unit).unwrap();
    let third = recertify(&bench, LINE_4, unit, 2).unwrap();
    for ordinal in [0, 3, u16::MAX] {
        assert_eq!(reason(recertify(&bench, LINE_4, unit, ordinal)), Reason::InvalidArgument);
    }
    let made = [&first, &second, &third];
    assert!(made.iter().all(|one| one.public_key == first.public_key));
    let certificates: Vec<_> = made.iter().map(|one| one.certificate.clone().unwrap()).collect();
    assert!(certificates[0] != certificates[1] && certificates[1] != certificates[2]);
    let rows = bench.unit_rows();
    let rows = rows.iter().filter(|row| row.change == UnitChange::Recertified);
    let named: Vec<_> = rows.map(|row| (row.certificate_hash, row.key_hash)).collect();
    let hash = |bytes: &[u8]| Some(mintmark_custody::sha256(bytes));
    let key = hash(&first.public_key);
    assert_eq!(named, [(hash(&certificates[1]), key), (hash(&certificates[2]), key)]);
    assert_eq!(bench.counters(&entitlement).confirmed, 1);
}

#[test]
fn a_device_that_failed_too_often_gets_no_further_certificate_unless_it_works() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| {
        order.terms.certificates_per_unit = 2;
        order.terms.max_attempts_per_subject = 1;
    });
    let unit = (entitlement.as_str(), "SN:1");
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    fail(&bench, LINE_4, unit, Failure::Transient).unwrap();
    assert_eq!(reason(recertify(&bench, LINE_4, unit, 1)), Reason::AttemptsExhausted);
    confirm(&bench, unit).unwrap();
    recertify(&bench, LINE_4, unit, 1).unwrap();
}

#[test]
fn a_certificate_of_a_call_that_failed_is_stored_and_no_other_is_made() {
    use futures_executor::block_on;
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.certificates_per_unit = 2);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let made = block_on(async {
        let mut call = bench.call().await;
        let allotment = call.open_allotment(&entitlement).await.unwrap();
        let unit = call.find_unit(&allotment, "SN:1").await.unwrap();
        let made = call.recertify(&unit, 1, &[]).await.unwrap();
        assert!(call.is_tainted());
        assert!(call.abort(Reason::PluginFault).await.tainted);
        made
    });
    let again = recertify(&bench, LINE_4, (&entitlement, "SN:1"), 1).unwrap();
    assert_eq!(again, made);
    let expected = [UnitChange::Issued, UnitChange::Recertified, UnitChange::Released];
    assert_eq!(changes(&bench), expected);
}

#[test]
fn of_a_call_that_failed_only_the_certificate_is_kept() {
    use futures_executor::block_on;
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.certificates_per_unit = 3);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    block_on(async {
        let mut call = bench.call().await;
        let allotment = call.open_allotment(&entitlement).await.unwrap();
        let unit = call.find_unit(&allotment, "SN:1").await.unwrap();
        call.confirm(&unit, None).await.unwrap();
        call.recertify(&unit, 1, &[]).await.unwrap();
        call.recertify(&unit, 2, &[]).await.unwrap();
        call.abort(Reason::PluginFault).await;
        let mut call = bench.call().await;
        let allotment = call.open_allotment(&entitlement).await.unwrap();
        let unit = call.find_unit(&allotment, "SN:1").await.unwrap();
        let status = call.unit_status(&unit).await.unwrap();
        assert_eq!((status.state, status.certificates), (UnitState::Issued, 3));
    });
    let expected = [UnitChange::Issued, UnitChange::Recertified, UnitChange::Recertified];
    assert_eq!(changes(&bench), expected);
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn an_ended_window_gives_what_it_gave_for_its_grace_and_always_takes_how_a_unit_ends() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| {
        order.terms.grace_seconds = 3_600;
        order.terms.max_pause_seconds = 60 * 86_400;
        order.terms.certificates_per_unit = 2;
    });
    let device = Device::new();
    let made = bench.provision(&entitlement, "SN:1", &device).unwrap();
    for other in ["SN:2", "SN:3"] {
        bench.provision(&entitlement, other, &Device::new()).unwrap();
    }
    bench.reserve(&entitlement, "SN:4").unwrap();
    let unit = |device| (entitlement.as_str(), device);
    bench.world.pass_ms(30 * 86_400_000 + 1);
    assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), made);
    // Nothing new is signed in the grace.
    assert_eq!(reason(recertify(&bench, LINE_4, unit("SN:1"), 1)), Reason::Expired);
    let fresh = bench.provision(&entitlement, "SN:4", &Device::new());
    assert_eq!(reason(fresh), Reason::Expired);
    bench.world.pass_ms(3_600_000);
    let over = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(over), Reason::Expired);
    // Also when the clock can not be relied on.
    bench.site.clock().set_wall_ms(bench.site.clock().now_ms() + 10 * 365 * 86_400_000);
    confirm(&bench, unit("SN:1")).unwrap();
    fail(&bench, LINE_4, unit("SN:2"), Failure::Permanent).unwrap();
    scrap(&bench, unit("SN:3")).unwrap();
    give_back(&bench, MEI, unit("SN:4")).unwrap();
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.confirmed, counters.failed, counters.scrapped), (1, 1, 1));
    assert_eq!((counters.returned, counters.in_doubt()), (1, 0));
}

#[test]
fn of_a_unit_that_has_ended_only_certificate_and_hashes_are_kept() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let unit = (entitlement.as_str(), "SN:1");
    let device = Device::new();
    let made = bench.provision(&entitlement, "SN:1", &device).unwrap();
    let certificate = made.certificate.unwrap();
    let hash = mintmark_custody::sha256(&certificate);
    let proof = device.sign(&confirm_bytes(&entitlement, 0, &hash, &made.confirm_nonce));
    let confirmed =
        bench.with_unit(LINE_4, unit, async |call, unit| call.confirm(unit, Some(&proof)).await);
    assert_eq!(confirmed.unwrap().state, UnitState::Confirmed);
    // A device that made its key asks again and gets the same.
    let again = bench.provision(&entitlement, "SN:1", &device).unwrap();
    assert_eq!(again.certificate.as_ref(), Some(&certificate));
    let scrapped = scrap(&bench, unit).unwrap();
    let key = mintmark_custody::sha256(device.public_key());
    assert_eq!((scrapped.key_hash, scrapped.certificate_hash), (Some(key), Some(hash)));
    let over = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(over), Reason::WrongState);
    let row = bench.unit_rows().pop().unwrap();
    assert_eq!((row.key_hash, row.certificate_hash), (Some(key), Some(hash)));
}

#[test]
fn certificates_of_devices_that_ended_are_on_the_batchs_list_and_its_number_rises() {
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| {
        order.terms.certificates_per_unit = 2;
        order.terms.max_units_per_subject = 2;
    });
    let unit = |device| (entitlement.as_str(), device);
    for device in ["SN:1", "SN:2", "SN:3", "SN:4"] {
        bench.provision(&entitlement, device, &Device::new()).unwrap();
    }
    let list = |who: Who<'_>| {
        bench.with_unit(who, unit("SN:4"), async |call, _| {
            let allotment = call.open_allotment(&entitlement).await?;
            call.revocation_list(&allotment).await
        })
    };
    assert_eq!(reason(list(LINE_4)), Reason::PermissionDenied);
    let empty = list(MEI).unwrap();
    assert_eq!((empty.number, empty.revoked), (1, 0));
    recertify(&bench, LINE_4, unit("SN:1"), 1).unwrap();
    fail(&bench, MEI, unit("SN:1"), Failure::KeyLost).unwrap();
    fail(&bench, LINE_4, unit("SN:2"), Failure::Permanent).unwrap();
    scrap(&bench, unit("SN:2")).unwrap();
    scrap(&bench, unit("SN:3")).unwrap();
    let made = list(("auditor", "eve")).unwrap();
    assert_eq!((made.number, made.revoked), (2, 4), "both certificates of the first");
    let file = bench.site.fetch(&made.file).unwrap();
    assert_eq!(mintmark_custody::sha256(&file), made.digest);
    let rows = bench.rows().into_iter().filter_map(|row| match row.body.event {
        Event::CrlIssued { number, revoked, digest, .. } => Some((number, revoked, digest)),
        _ => None,
    });
    let expected = [(1, 0, empty.digest), (2, 4, made.digest)];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
    // The list names serial numbers of the units: 0x01, entitlement, unit, ordinal.
    for (unit, ordinal, listed) in
        [(0, 0, true), (0, 1, true), (1, 0, true), (2, 0, true), (3, 0, false)]
    {
        let serial = mintmark_exchange::certificate::CertificateSerial { number: 1, unit, ordinal };
        let found = file.windows(15).any(|bytes| bytes == serial.to_bytes());
        assert_eq!(found, listed, "unit {unit} ordinal {ordinal}");
    }
}

#[test]
fn scrap_that_several_people_approved_passes_the_bound_and_the_next_one_does_not() {
    use mintmark_sdk_testing::sdk::Status;
    use mintmark_sdk_testing::sdk::allotments::Allotment;
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.scrap_allowance = 1);
    for device in ["SN:1", "SN:2", "SN:3"] {
        bench.provision(&entitlement, device, &Device::new()).unwrap();
    }
    let scrap = |device: &str| -> Result<(), Status> {
        bench.site.run::<crate::bench::Line, _>("operator", "mei", || {
            Allotment::open(&entitlement)?.find(device)?.scrap("dropped")?;
            Ok(())
        })
    };
    scrap("SN:1").unwrap();
    let refused = scrap("SN:2").unwrap_err();
    assert_eq!(refused.reason, "APPROVAL_REQUIRED");
    bench.site.approve(&refused);
    // They approved this device, and no other.
    assert_eq!(scrap("SN:3").unwrap_err().reason, "APPROVAL_REQUIRED");
    scrap("SN:2").unwrap();
    scrap("SN:2").unwrap();
    assert_eq!(scrap("SN:3").unwrap_err().reason, "APPROVAL_REQUIRED");
    assert_eq!(bench.counters(&entitlement).scrapped, 2);
    let rows = bench.rows();
    let approved = rows.iter().find(|row| matches!(row.body.event, Event::Approved { .. }));
    let request = approved.unwrap().body.request;
    let scrapped = rows.iter().filter(|row| row.body.request == request);
    let scrapped = scrapped.filter(|row| matches!(&row.body.event, Event::Unit(_)));
    assert_eq!(scrapped.count(), 1, "the rows of one call");
}

#[test]
fn a_revoked_entitlement_releases_nothing_and_takes_how_its_units_end() {
    use mintmark_exchange::directive::Change;
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.grace_seconds = 86_400);
    let unit = |device| (entitlement.as_str(), device);
    let device = Device::new();
    for subject in ["SN:1", "SN:2", "SN:3"] {
        let device = if subject == "SN:1" { &device } else { &Device::new() };
        bench.provision(&entitlement, subject, device).unwrap();
    }
    bench.reserve(&entitlement, "SN:4").unwrap();
    let revoke = crate::directives::order(&bench, &entitlement, Change::Revoke);
    crate::directives::import_directive(&bench.site, &revoke).unwrap();
    let again = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(again), Reason::Revoked, "also in the grace");
    confirm(&bench, unit("SN:1")).unwrap();
    fail(&bench, LINE_4, unit("SN:2"), Failure::Permanent).unwrap();
    scrap(&bench, unit("SN:3")).unwrap();
    give_back(&bench, MEI, unit("SN:4")).unwrap();
    assert_eq!(bench.counters(&entitlement).in_doubt(), 0);
}

#[test]
fn a_closed_entitlement_gives_what_it_gave_for_its_grace_from_the_closing_on() {
    use mintmark_sdk_testing::sdk::transfers;
    let bench = Bench::new();
    let entitlement = entitlement(&bench, |order| order.terms.grace_seconds = 3_600);
    let unit = |device| (entitlement.as_str(), device);
    let device = Device::new();
    let made = bench.provision(&entitlement, "SN:1", &device).unwrap();
    bench.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    crate::bench::import_receipt(&bench.site, &bench.receipt()).unwrap();
    let closed = bench.site.run::<crate::bench::Line, _>("admin", "ada", || {
        transfers::export_closing(&entitlement)?;
        Ok(())
    });
    closed.unwrap();
    assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), made);
    bench.world.pass_ms(3_600_001);
    let over = bench.provision(&entitlement, "SN:1", &device);
    assert_eq!(reason(over), Reason::Closed);
    confirm(&bench, unit("SN:1")).unwrap();
    fail(&bench, LINE_4, unit("SN:2"), Failure::Permanent).unwrap();
    assert_eq!(bench.counters(&entitlement).in_doubt(), 0);
}
