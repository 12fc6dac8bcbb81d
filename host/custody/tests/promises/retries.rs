//! R2 to R4 and every race for one device: the same question gets the same answer, and costs once.

use std::collections::BTreeSet;

use futures_executor::block_on;
use futures_util::future::join;
use mintmark_custody::Artefact;
use mintmark_exchange::serial::SerialRule;
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::Device;
use mintmark_sdk_testing::sdk::Status;
use mintmark_sdk_testing::sdk::allotments::{Allotment, Artefact as Identity};
use mintmark_sdk_testing::sdk::certificates::Csr;

use crate::bench::{Bench, Line, draw, finish, issue};

/// Provisions as a plugin does, with the host's reruns.
fn provision(
    bench: &Bench,
    entitlement: &str,
    subject: &str,
    csr: &[u8],
) -> Result<Identity, Status> {
    bench.site.run::<Line, _>("station", "line-4", || {
        let unit = Allotment::open(entitlement)?.draw(subject, None)?;
        Ok(unit.certify_csr(&Csr::read(csr)?, &[])?)
    })
}

/// A second entitlement of the same product.
fn second(bench: &Bench) -> String {
    let mut order = bench.order("po-2", 10);
    let SerialRule::Assigned { start, .. } = &mut order.product.serial else { panic!("assigned") };
    *start = 1_000;
    bench.entitlement_of(&order)
}

async fn race(bench: &Bench, entitlement: &str, subject: &str, device: &Device) -> Outcome {
    let mut call = bench.call().await;
    match issue(&mut call, entitlement, subject, device).await {
        Ok((_, artefact)) => finish(call).await.map(|()| artefact),
        Err(refusal) => {
            call.abort(refusal.reason).await;
            Err(refusal)
        }
    }
}

type Outcome = Result<Artefact, Refusal>;

/// Exactly one of both succeeded; why the other did not.
fn loser(one: Outcome, other: Outcome) -> Reason {
    match (one, other) {
        (Ok(_), Err(refusal)) | (Err(refusal), Ok(_)) => refusal.reason,
        (one, other) => panic!("{one:?}, {other:?}"),
    }
}

#[test]
fn r2_a_request_that_is_replayed_a_thousand_times_at_once_makes_one_identity() {
    const LINES: usize = 10;
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let csr = Device::new().csr();
    let answers: Vec<Identity> = std::thread::scope(|scope| {
        let replay = || {
            let replayed = (0..1_000 / LINES).map(|_| {
                loop {
                    match provision(&bench, &entitlement, "SN:1", &csr) {
                        Ok(identity) => return identity,
                        Err(status) => assert_eq!(status.reason, "CONFLICT", "{status:?}"),
                    }
                }
            });
            replayed.collect::<Vec<_>>()
        };
        let lines: Vec<_> = (0..LINES).map(|_| scope.spawn(replay)).collect();
        lines.into_iter().flat_map(|line| line.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "1,000 identical answers");
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.unused), (1, 9));
    let rows = bench.unit_rows();
    let issued = rows.iter().filter(|row| row.change == UnitChange::Issued).count();
    assert_eq!((issued, rows.len()), (1, 1_000), "each repeated release is a row");
    let certificates: BTreeSet<_> = rows.iter().map(|row| row.certificate_hash).collect();
    assert_eq!(certificates.len(), 1);
}

#[test]
fn r3_a_device_that_asks_anew_never_gets_a_second_unit() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let other = second(&bench);
    let device = Device::new();
    let first = bench.provision(&entitlement, "SN:1", &device).unwrap();
    // Another request for the same key: the host signs nothing twice.
    assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), first);
    let refused = [
        (bench.provision(&entitlement, "SN:1", &Device::new()), Reason::KeyMismatch),
        (bench.provision_as("line-5", &entitlement, "SN:1", &device), Reason::PermissionDenied),
        (bench.provision(&other, "SN:1", &device), Reason::DuplicateSubject),
        (bench.provision(&other, "SN:1", &Device::new()), Reason::DuplicateSubject),
        (bench.provision(&entitlement, "SN:2", &device), Reason::DuplicateKey),
        (bench.provision(&other, "SN:2", &device), Reason::DuplicateKey),
    ];
    for (answer, reason) in refused {
        assert_eq!(answer.unwrap_err().reason, reason);
    }
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.unused), (1, 9));
    assert_eq!(bench.counters(&other).unused, 10);
}

#[test]
fn r4_a_client_that_never_saw_the_answer_gets_the_same_one() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    // The client is gone before the commit: nothing happened.
    block_on(async {
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:0", &Device::new()).await.unwrap();
        drop(call);
    });
    assert_eq!(bench.counters(&entitlement).unused, 10);
    // It is gone after the commit.
    let lost = bench.provision(&entitlement, "SN:1", &device).unwrap();
    let bench = bench.restarted();
    assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), lost);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.unused), (1, 9));
}

#[test]
fn two_subjects_that_race_for_one_key_make_one_device() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    let (one, other) = block_on(join(
        race(&bench, &entitlement, "SN:1", &device),
        race(&bench, &entitlement, "SN:2", &device),
    ));
    let reason = loser(one, other);
    assert!(matches!(reason, Reason::DuplicateKey | Reason::Conflict), "{reason}");
    assert_eq!(bench.counters(&entitlement).issued, 1);
    let retried = [bench.provision(&entitlement, "SN:1", &device), {
        bench.provision(&entitlement, "SN:2", &device)
    }];
    let [one, other] = retried;
    assert_eq!(loser(one, other), Reason::DuplicateKey);
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn two_entitlements_that_race_for_one_device_make_one_unit() {
    let bench = Bench::new();
    let (first, other) = (bench.entitlement(10), second(&bench));
    let device = Device::new();
    let (one, two) = block_on(join(
        race(&bench, &first, "SN:1", &device),
        race(&bench, &other, "SN:1", &device),
    ));
    let reason = loser(one, two);
    assert!(matches!(reason, Reason::DuplicateSubject | Reason::Conflict), "{reason}");
    let made = bench.counters(&first).issued + bench.counters(&other).issued;
    assert_eq!(made, 1);
}

#[test]
fn two_entitlements_that_race_for_one_key_make_one_device() {
    let bench = Bench::new();
    let (first, other) = (bench.entitlement(10), second(&bench));
    let device = Device::new();
    let (one, two) = block_on(join(
        race(&bench, &first, "SN:1", &device),
        race(&bench, &other, "SN:2", &device),
    ));
    let reason = loser(one, two);
    assert!(matches!(reason, Reason::DuplicateKey | Reason::Conflict), "{reason}");
    let made = bench.counters(&first).issued + bench.counters(&other).issued;
    assert_eq!(made, 1);
}

#[test]
fn a_retry_with_another_key_that_races_with_the_first_makes_one_identity() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.reserve(&entitlement, "SN:1").unwrap();
    let (device, other) = (Device::new(), Device::new());
    let (one, two) = block_on(join(
        race(&bench, &entitlement, "SN:1", &device),
        race(&bench, &entitlement, "SN:1", &other),
    ));
    let reason = loser(one, two);
    assert!(matches!(reason, Reason::KeyMismatch | Reason::Conflict), "{reason}");
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn giving_back_and_issuing_at_once_end_in_one_of_both() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.reserve(&entitlement, "SN:1").unwrap();
    let device = Device::new();
    block_on(async {
        let session = bench.site.session_of::<Line>("operator", "mei");
        let mut back = bench.site.custody().begin(session, None).await.unwrap();
        let mut call = bench.call().await;
        let csr = call.read_csr(&device.csr()).unwrap();
        let unit = draw(&mut call, &entitlement, "SN:1").await.unwrap();
        call.certify_csr(&unit, &csr, &[]).await.unwrap();
        let allotment = back.open_allotment(&entitlement).await.unwrap();
        let same = back.find_unit(&allotment, "SN:1").await.unwrap();
        let (returned, ended) = join(back.give_back(&same, "bent"), finish(call)).await;
        assert_eq!(ended, Ok(()));
        let refused = returned.unwrap_err().reason;
        assert!(matches!(refused, Reason::WrongState | Reason::Conflict), "{refused}");
        back.abort(refused).await;
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.returned), (1, 0));
}
