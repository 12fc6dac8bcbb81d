//! The restore ceremony: nothing that may have been used after the backup is ever used again.

use futures_executor::block_on;
use mintmark_custody::restoring::Ceremony;
use mintmark_custody::{OpenError, Suspicion};
use mintmark_exchange::approval::{Act, ApprovalRequest};
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::row::{Event, Row};
use mintmark_exchange::unit::UnitChange;
use mintmark_model::Reason;
use mintmark_sdk_testing::sdk::Plugin;
use mintmark_sdk_testing::{Device, Office, TestHost, Voter};

use crate::after_restore::{carried, show};
use crate::backups::pieces;
use crate::bench::{Bench, Line, draw, finish, import, import_receipt, rows};
use crate::disks::Disk;
use crate::forgotten::open_stream;

/// A site on a disk, with units in each state, as of a backup.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) disk: Disk,
    pub(crate) entitlement: String,
    backup: Vec<u8>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let disk = Disk::empty();
        let bench = Bench::on(disk.create());
        let mut order = bench.order("po-1", 10);
        order.terms.confirm_proof = ConfirmProof::None;
        order.terms.certificates_per_unit = 2;
        let entitlement = bench.entitlement_of(&order);
        bench.provision(&entitlement, "SN:confirmed", &Device::new()).unwrap();
        bench.provision(&entitlement, "SN:issued", &Device::new()).unwrap();
        block_on(async {
            let mut call = bench.call().await;
            let unit = draw(&mut call, &entitlement, "SN:confirmed").await.unwrap();
            call.confirm(&unit, None).await.unwrap();
            draw(&mut call, &entitlement, "SN:reserved").await.unwrap();
            finish(call).await.unwrap();
        });
        let backup = pieces(&bench).concat();
        Self { bench, disk, entitlement, backup }
    }

    /// Restores the backup with two approvals, and starts the site again.
    pub(crate) fn restored(self) -> Bench {
        self.restored_on(|disk| disk)
    }

    /// The same on hardware that has the platform's secret and nothing else of it.
    pub(crate) fn restored_elsewhere(self) -> Bench {
        self.restored_on(|disk| disk.recovered())
    }

    fn restored_on(self, place: impl FnOnce(Disk) -> Disk) -> Bench {
        let Self { bench, disk, backup, .. } = self;
        let Bench { world, hq, site } = bench;
        let clock = site.clock().clone();
        let (stopped, voters) = stop(site);
        let disk = place(disk);
        disk.restore(&backup, &clock, |ceremony| approved(ceremony, &voters)).unwrap();
        Bench { world, hq, site: stopped.start_on(disk.open()).unwrap() }
    }
}

/// The host does not run any more; its approvers do not mind.
pub(crate) fn stop(site: TestHost) -> (mintmark_sdk_testing::Stopped, std::sync::Arc<[Voter]>) {
    let voters = site.voters();
    (site.stop(), voters)
}

/// The request of a restore, and the approvals of two.
pub(crate) fn approved(ceremony: &Ceremony, voters: &[Voter]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let encoded = ceremony.request();
    let request = ApprovalRequest::decode(&encoded).unwrap();
    (encoded, voters[..2].iter().map(|voter| voter.says(&request, true)).collect())
}

/// The rows of the ledger that the host writes now.
fn events(site: &TestHost) -> Vec<Event> {
    rows(site).into_iter().map(|Row { body, .. }| body.event).collect()
}

#[test]
fn i1_a_restore_writes_off_whatever_may_have_been_used_since() {
    let scene = Scene::new();
    let entitlement = scene.entitlement.clone();
    // After the backup a unit is used that the backup has as unused.
    scene.bench.provision(&entitlement, "SN:after", &Device::new()).unwrap();
    let before = rows(&scene.bench.site);
    let bench = scene.restored();
    assert_eq!(bench.site.custody().suspicion(), None);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.lost, counters.confirmed), (10, 9, 1));
    assert_eq!((counters.unused, counters.reserved, counters.issued), (0, 0, 0));
    for subject in ["SN:after", "SN:new"] {
        let refused = bench.provision(&entitlement, subject, &Device::new()).unwrap_err();
        assert_eq!(refused.reason, Reason::QuotaExhausted, "{subject}");
    }
    for subject in ["SN:issued", "SN:reserved"] {
        let refused = bench.provision(&entitlement, subject, &Device::new()).unwrap_err();
        let ended = matches!(refused.reason, Reason::WrongState | Reason::KeyMismatch);
        assert!(ended, "{subject}: {refused}");
    }
    // The new ledger begins with where it comes from.
    let events = events(&bench.site);
    let [
        Event::Started(started),
        Event::Restored { epoch, backup },
        Event::Approved { act, approvers, .. },
        ..,
    ] = &events[..]
    else {
        panic!("{:?}", &events[..3]);
    };
    assert_eq!((*epoch, act.as_str(), approvers.len()), (2, "restore", 2));
    assert_eq!(started.replaces.as_ref(), Some(backup));
    let end = &before[usize::try_from(backup.sequence).unwrap() - 1];
    assert_eq!((end.sequence, end.hash), (backup.sequence, backup.hash));
    assert!(started.incarnation > backup.incarnation);
    let lost =
        |event: &Event| matches!(event, Event::Unit(unit) if unit.change == UnitChange::Lost);
    assert_eq!(events.iter().filter(|event| lost(event)).count(), 2);
    let unused = Event::UnusedLost { entitlement, units: 7 };
    assert!(events.contains(&unused));
}

#[test]
fn a_backup_that_nothing_followed_costs_nothing() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    // The backup's own row is the last thing that happened; another backup has it.
    pieces(&bench);
    let Bench { world, hq, site } = bench;
    let clock = site.clock().clone();
    let snapshot = block_on(site.hardware().store.snapshot()).unwrap();
    let sealing = site.hardware().platform.sealing_secret().unwrap();
    let id = site.hardware().store_id;
    let mut writer = mintmark_store::BackupWriter::new(snapshot, &id, &sealing);
    let mut backup = Vec::new();
    while let Some(piece) = block_on(writer.next_piece()).unwrap() {
        backup.extend(piece);
    }
    drop(writer);
    let (stopped, voters) = stop(site);
    disk.restore(&backup, &clock, |ceremony| {
        assert!(ceremony.losses().is_empty());
        approved(ceremony, &voters)
    })
    .unwrap();
    let bench = Bench { world, hq, site: stopped.start_on(disk.open()).unwrap() };
    assert_eq!(bench.counters(&entitlement).unused, 9);
    // Nobody knows what the rate windows held, so they begin full.
    let early = bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(early.reason, Reason::RateLimited);
    bench.site.clock().pass_ms(early.retry_after_ms.unwrap());
    bench.provision(&entitlement, "SN:2", &Device::new()).unwrap();
}

#[test]
fn r1_what_was_imported_after_the_backup_is_never_imported_again() {
    let scene = Scene::new();
    let file = scene.bench.granted(&scene.bench.order("po-2", 10));
    import(&scene.bench.site, &file).unwrap();
    let bench = scene.restored();
    let refused = import(&bench.site, &file).unwrap_err();
    assert_eq!(refused.reason, "REPLAYED");
}

#[test]
fn r8_the_store_before_a_restore_and_another_restore_do_not_fit_the_anchor() {
    let scene = Scene::new();
    let old = scene.disk.copy();
    let backup = scene.backup.clone();
    let Scene { bench: Bench { site, .. }, disk, .. } = scene;
    let clock = site.clock().clone();
    let (stopped, voters) = stop(site);
    let twin = disk.copy();
    disk.restore(&backup, &clock, |ceremony| approved(ceremony, &voters)).unwrap();
    twin.restore(&backup, &clock, |ceremony| approved(ceremony, &voters)).unwrap();
    disk.set_back(&old);
    let site = stopped.start_on(disk.open()).unwrap();
    assert_eq!(site.custody().suspicion(), Some(Suspicion::AnotherHistory));
    let stopped = site.stop();
    disk.set_back(&twin);
    let site = stopped.start_on(disk.open()).unwrap();
    assert_eq!(site.custody().suspicion(), Some(Suspicion::AnotherHistory));
}

#[test]
fn s13_on_other_hardware_only_the_ceremony_makes_a_store_of_a_backup() {
    let scene = Scene::new();
    let entitlement = scene.entitlement.clone();
    let Scene { bench: Bench { world, hq, site }, disk, backup, .. } = scene;
    let clock = site.clock().clone();
    let (stopped, voters) = stop(site);
    let other = disk.recovered();
    // The files themselves are read-only there: the new platform has never anchored them.
    other.set_back(&disk);
    let site = stopped.start_on(other.open()).unwrap();
    assert_eq!(site.custody().suspicion(), Some(Suspicion::NoAnchor));
    let stopped = site.stop();
    other.restore(&backup, &clock, |ceremony| approved(ceremony, &voters)).unwrap();
    let bench = Bench { world, hq, site: stopped.start_on(other.open()).unwrap() };
    assert_eq!(bench.site.custody().suspicion(), None);
    assert_eq!(bench.counters(&entitlement).lost, 9);
}

#[test]
fn a_restore_needs_the_quorum_for_exactly_this_backup_and_epoch() {
    let scene = Scene::new();
    let Scene { bench, disk, backup, .. } = scene;
    let later = pieces(&bench).concat();
    let Bench { world, hq, site } = bench;
    let clock = site.clock().clone();
    let (stopped, voters) = stop(site);
    let says = |encoded: &[u8], voters: &[&Voter], approve: bool| {
        let request = ApprovalRequest::decode(encoded).unwrap();
        voters.iter().map(|voter| voter.says(&request, approve)).collect::<Vec<_>>()
    };
    let mut kept = None;
    let refused = |what: &str, result: Result<(), OpenError>| match result {
        Err(OpenError::Refused(refusal)) => {
            assert_eq!(refusal.reason, Reason::ApprovalRequired, "{what}: {refusal}");
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(()) => panic!("{what}"),
    };
    let none = disk.restore(&backup, &clock, |ceremony| (ceremony.request(), Vec::new()));
    refused("nobody", none);
    let (first, second) = (&voters[0], &voters[1]);
    for (what, who) in [("one", vec![first]), ("one twice", vec![first, first])] {
        let result = disk.restore(&backup, &clock, |ceremony| {
            let request = ceremony.request();
            let statements = says(&request, &who, true);
            kept = Some((request.clone(), says(&request, &[first, second], true)));
            (request, statements)
        });
        refused(what, result);
    }
    let stranger = Voter::new("ada");
    for (what, who, approve) in
        [("a stranger", vec![first, &stranger], true), ("a no", vec![first, second], false)]
    {
        let result = disk.restore(&backup, &clock, |ceremony| {
            let request = ceremony.request();
            let statements = says(&request, &who, approve);
            (request, statements)
        });
        refused(what, result);
    }
    let (request, statements) = kept.unwrap();
    let other = disk.restore(&later, &clock, |_| (request.clone(), statements.clone()));
    refused("another backup", other);
    let mut edited = ApprovalRequest::decode(&request).unwrap();
    if let Act::Restore { epoch, .. } = &mut edited.act {
        *epoch += 1;
    }
    let result = disk.restore(&backup, &clock, |_| (edited.encode(), statements.clone()));
    refused("another epoch", result);
    world.pass_ms(8 * 86_400_000);
    let late = disk.restore(&backup, &clock, |_| (request.clone(), statements.clone()));
    refused("a week later", late);
    // All of it left the host as it was.
    let site = stopped.start_on(disk.open()).unwrap();
    assert_eq!(site.custody().suspicion(), None);
    drop(hq);
}

#[test]
fn approvals_of_a_restore_are_used_once() {
    let scene = Scene::new();
    let Scene { bench: Bench { site, .. }, disk, backup, .. } = scene;
    let clock = site.clock().clone();
    let (_stopped, voters) = stop(site);
    let mut used = None;
    disk.restore(&backup, &clock, |ceremony| {
        let signed = approved(ceremony, &voters);
        used = Some(signed.clone());
        signed
    })
    .unwrap();
    let again = disk.restore(&backup, &clock, |ceremony| {
        assert_eq!(ceremony.epoch(), 3);
        used.clone().unwrap()
    });
    assert!(matches!(again, Err(OpenError::Refused(_))));
}

#[test]
fn headquarters_notes_the_ledger_that_goes_on_and_gets_all_of_them_again_from_the_first_row() {
    let bench = Scene::new().restored();
    let checkpoints = |after| {
        let signed = bench.site.run::<crate::bench::Line, _>("auditor", "eve", || {
            Ok(mintmark_sdk_testing::sdk::ledger::checkpoints(after, 1 << 24)?.orders)
        });
        signed.unwrap().len()
    };
    assert_eq!(checkpoints(None), 2, "the ledger that was replaced, and the one that goes on");
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    assert_eq!((checkpoints(None), checkpoints(Some(0))), (1, 2));
    // By the replaced ledger units would be left; all of them are settled.
    bench.world.pass_ms(30 * 86_400_000);
    bench.granted(&bench.order("po-2", 10));
}

#[test]
fn a_restored_site_that_lacks_messages_which_it_had_acknowledged_gets_a_new_epoch() {
    let scene = Scene::new();
    for _ in 0..3 {
        import_receipt(&scene.bench.site, &scene.bench.receipt()).unwrap();
    }
    // One more is on its way: it names rows that will be lost, and never arrives.
    let file = scene.bench.granted(&scene.bench.order("po-2", 10));
    let bench = scene.restored();
    assert_eq!(import(&bench.site, &file).unwrap_err().reason, "OUT_OF_ORDER");
    let late = import_receipt(&bench.site, &bench.receipt()).unwrap_err();
    assert_eq!(late.reason, "OUT_OF_ORDER", "headquarters keeps none of those in between");
    bench.world.pass_ms(1_000);
    open_stream(&bench);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    bench.world.pass_ms(8 * 86_400_000);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    // What can never arrive is no debt of the site's.
    let file = bench.granted(&bench.order("po-3", 10));
    import(&bench.site, &file).unwrap();
}

/// The site is in a new epoch of the stream, a week and a day later, and has reported that.
fn goes_on_later(bench: &Bench) {
    Office::acknowledge(&bench.hq, &bench.bundle()).unwrap();
    bench.world.pass_ms(1_000);
    open_stream(bench);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    bench.world.pass_ms(8 * 86_400_000);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
}

#[test]
fn what_a_restored_site_had_reported_and_has_lost_is_no_debt_for_ever() {
    let scene = Scene::new();
    let file = scene.bench.granted(&scene.bench.order("po-2", 10));
    import(&scene.bench.site, &file).unwrap();
    import_receipt(&scene.bench.site, &scene.bench.receipt()).unwrap();
    let bench = scene.restored();
    assert!(import(&bench.site, &file).is_err(), "it never comes back");
    goes_on_later(&bench);
    import(&bench.site, &bench.granted(&bench.order("po-3", 10))).unwrap();
}

/// The message was taken, as the site's own host said; the order in it may have been, too.
#[test]
fn a_claimed_restore_hides_no_grant_that_the_site_had_taken() {
    let scene = Scene::new();
    let file = scene.bench.granted(&scene.bench.order("po-2", 10));
    let order = carried(&scene.bench.site, &file);
    import_receipt(&scene.bench.site, &scene.bench.receipt()).unwrap();
    show(&scene.bench.site, &order).unwrap();
    let bench = scene.restored();
    goes_on_later(&bench);
    let more = bench.order("po-3", 10);
    let refused = Office::grant(&bench.hq, &bench.site.uri(), Line::NAME, &more).unwrap_err();
    assert_eq!(refused.reason, "RECEIPT_OVERDUE");
}

#[test]
fn r8_old_messages_that_name_lost_rows_are_not_taken_by_a_restored_host() {
    let scene = Scene::new();
    let entitlement = scene.entitlement.clone();
    scene.bench.provision(&entitlement, "SN:after", &Device::new()).unwrap();
    let receipt = scene.bench.receipt();
    let bench = scene.restored();
    let refused = import_receipt(&bench.site, &receipt).unwrap_err();
    assert_eq!(refused.reason, "OUT_OF_ORDER");
}
