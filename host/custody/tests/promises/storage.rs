//! S4, S10: a disk that fills up is announced, and what cannot be undone is never begun on it.

use futures_executor::block_on;
use mintmark_custody::{
    Failure, OpenError, Session, Settings, StorageState, StorageStatus, UnitStatus,
};
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::sdk::Status;
use mintmark_sdk_testing::sdk::keys::{Algorithm, Key, KeyPolicy, Operations};
use mintmark_sdk_testing::{Device, DiskFault, Machine};

use crate::backups::pieces;
use crate::bench::{Bench, Line, finish, import, issue};

const LINE_4: (&str, &str) = ("station", "line-4");
const MEI: (&str, &str) = ("operator", "mei");

/// The mark of a host whose admin has set none.
fn mark() -> u64 {
    Settings::default().free_bytes_min
}

/// So much is free, and the host has looked.
fn free(bench: &Bench, bytes: u64) -> StorageStatus {
    bench.site.space().set_free(bytes);
    looked(bench)
}

fn looked(bench: &Bench) -> StorageStatus {
    bench.site.clock().pass_ms(1_000);
    bench.site.custody().storage()
}

/// A bench with an entitlement of ten whose devices are confirmed without a proof, and devices.
fn line(devices: &[&str]) -> (Bench, String) {
    on(Bench::new(), devices)
}

fn on(bench: Bench, devices: &[&str]) -> (Bench, String) {
    let mut order = bench.order("po-1", 10);
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    for device in devices {
        bench.provision(&entitlement, device, &Device::new()).unwrap();
    }
    (bench, entitlement)
}

fn confirm(bench: &Bench, entitlement: &str, subject: &str) -> Result<UnitStatus, Refusal> {
    let unit = (entitlement, subject);
    bench.with_unit(LINE_4, unit, async |call, unit| call.confirm(unit, None).await)
}

fn fail(bench: &Bench, entitlement: &str, subject: &str) -> Result<UnitStatus, Refusal> {
    let unit = (entitlement, subject);
    let act = async |call: &mut mintmark_custody::Call, unit: &_| {
        call.fail(unit, Failure::Permanent, "no radio").await
    };
    bench.with_unit(LINE_4, unit, act)
}

fn scrap(bench: &Bench, entitlement: &str, subject: &str) -> Result<UnitStatus, Refusal> {
    let unit = (entitlement, subject);
    bench.with_unit(MEI, unit, async |call, unit| call.scrap(unit, "dropped").await)
}

fn make_key(bench: &Bench) -> Result<(), Status> {
    bench.site.run::<Line, _>("operator", "mei", || {
        let policy = KeyPolicy::new(Operations::SIGN);
        Key::open_or_generate("label-1", Algorithm::ED25519, &policy)?;
        Ok(())
    })
}

/// The admin's session.
fn anna(bench: &Bench) -> Session {
    bench.site.session_of::<Line>("admin", "anna")
}

/// How many refusals for want of room are on record.
fn refusals_on_record(bench: &Bench) -> u32 {
    let count = |row: mintmark_exchange::row::Row| match row.body.event {
        Event::Outcome { reason, count, .. } if reason == "STORAGE_FULL" => count,
        _ => 0,
    };
    bench.rows().into_iter().map(count).sum()
}

#[test]
fn s4_below_the_mark_nothing_new_is_made_and_what_is_there_is_ended_and_reported() {
    let (bench, entitlement) = line(&["SN:1", "SN:2", "SN:3", "SN:5"]);
    let device = Device::new();
    let first = bench.provision(&entitlement, "SN:6", &device).unwrap();
    let second = bench.granted(&bench.order("po-2", 10));
    let rows = bench.rows().len();
    let storage = free(&bench, mark() - 1);
    assert_eq!((storage.state, storage.free_bytes), (StorageState::Low, Some(mark() - 1)));

    let refused = bench.provision(&entitlement, "SN:4", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::StorageFull);
    assert!(refused.detail.contains("511 MiB are free"), "{refused}");
    assert_eq!(bench.reserve(&entitlement, "SN:4").unwrap_err().reason, Reason::StorageFull);
    assert_eq!(make_key(&bench).unwrap_err().reason, "STORAGE_FULL");
    assert_eq!(bench.site.try_stage(b"a file").unwrap_err().reason, "STORAGE_FULL");
    assert_eq!(bench.counters(&entitlement).unused, 5, "no unit was drawn");
    assert_eq!(bench.rows().len(), rows, "refusals are not written either");

    // What the device was given it is given again: it can be brought to its end.
    assert_eq!(bench.provision(&entitlement, "SN:6", &device).unwrap(), first);
    confirm(&bench, &entitlement, "SN:1").unwrap();
    fail(&bench, &entitlement, "SN:2").unwrap();
    scrap(&bench, &entitlement, "SN:3").unwrap();
    crate::life::fail(&bench, crate::life::MEI, (&entitlement, "SN:6"), Failure::KeyLost).unwrap();
    bench.receipt();
    assert!(refusals_on_record(&bench) >= 4, "a bundle takes them along");
    assert!(!pieces(&bench).is_empty());
    let ended = bench.counters(&entitlement);
    assert_eq!((ended.confirmed, ended.failed, ended.scrapped), (1, 2, 1));

    // There is room again, and nobody starts the host again.
    assert_eq!(free(&bench, 2 * mark()).state, StorageState::Ample);
    bench.provision(&entitlement, "SN:4", &Device::new()).unwrap();
    make_key(&bench).unwrap();
    import(&bench.site, &second).unwrap();
}

/// A call that gives once more what was given is served: it could carry anything along.
#[test]
fn s4_below_the_mark_no_plugin_writes_the_reserve_full() {
    let (bench, entitlement) = line(&["SN:1", "SN:2"]);
    let device = Device::new();
    bench.provision(&entitlement, "SN:3", &device).unwrap();
    let release_with = |records: Vec<usize>| {
        block_on(async {
            let mut call = bench.call().await;
            issue(&mut call, &entitlement, "SN:3", &device).await?;
            for (number, bytes) in records.into_iter().enumerate() {
                let entry = (format!("{number}").into_bytes(), vec![0; bytes]);
                if let Err(refusal) = call.records_put(vec![entry]).await {
                    call.abort(refusal.reason).await;
                    return Err(refusal);
                }
            }
            finish(call).await
        })
    };
    release_with(vec![256 << 10]).unwrap();
    free(&bench, mark() - 1);
    let rows = bench.rows().len();
    for records in [vec![256 << 10], vec![4 << 10], vec![1 << 10; 4]] {
        assert_eq!(release_with(records).unwrap_err().reason, Reason::StorageFull);
    }
    assert_eq!(bench.rows().len(), rows);
    release_with(vec![1 << 10; 3]).unwrap();
    confirm(&bench, &entitlement, "SN:1").unwrap();
    free(&bench, 2 * mark());
    release_with(vec![256 << 10]).unwrap();
}

#[test]
fn s4_an_import_below_the_mark_takes_nothing_and_can_be_repeated() {
    let (bench, _) = line(&[]);
    let file = bench.site.stage(&bench.granted(&bench.order("po-2", 10)));
    let import = || {
        use mintmark_exchange::proposal::EntitlementBody;
        use mintmark_sdk_testing::sdk::{messages, messages::Purpose, transfers};
        bench.site.run::<Line, _>("operator", "mei", || {
            let message = messages::open(Purpose::Entitlement, &file)?;
            let body = EntitlementBody::decode(&message.read_all(1 << 22)?).unwrap();
            Ok(transfers::import_grant(&body.order)?.entitlement)
        })
    };
    free(&bench, mark() - 1);
    assert_eq!(import().unwrap_err().reason, "STORAGE_FULL");
    free(&bench, 2 * mark());
    // Neither the message's place in headquarters' stream nor the grant was used up.
    let entitlement = import().unwrap();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
}

#[test]
fn s4_where_next_to_nothing_is_free_nothing_is_written_and_the_host_goes_on_by_itself() {
    let (bench, entitlement) = line(&["SN:1"]);
    let rows = bench.rows().len();
    assert_eq!(free(&bench, 0).state, StorageState::Full);
    for refused in [confirm(&bench, &entitlement, "SN:1"), fail(&bench, &entitlement, "SN:1")] {
        assert_eq!(refused.unwrap_err().reason, Reason::StorageFull);
    }
    assert!(block_on(bench.site.custody().backup(anna(&bench))).is_err());
    // Reads go on, and nothing is in doubt.
    assert_eq!(bench.rows().len(), rows);
    let status = block_on(bench.site.custody().status()).unwrap();
    assert!(!status.read_only && status.storage.state == StorageState::Full);
    free(&bench, 2 * mark());
    confirm(&bench, &entitlement, "SN:1").unwrap();
}

#[test]
fn s4_a_call_that_began_with_room_is_brought_to_its_end_also_by_its_rerun() {
    let (bench, entitlement) = line(&[]);
    let device = Device::new();
    block_on(async {
        let mut call = bench.call().await;
        let (_, first) = issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        free(&bench, mark() - 1);
        let mut rerun = bench.call_as("line-4", Some(call.into_carry())).await;
        let (_, again) = issue(&mut rerun, &entitlement, "SN:1", &device).await.unwrap();
        finish(rerun).await.unwrap();
        assert_eq!(first, again);
    });
    assert_eq!(bench.counters(&entitlement).issued, 1);
    let refused = bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::StorageFull);
}

#[test]
fn s4_a_host_does_not_start_on_a_full_disk_and_says_why() {
    let (bench, entitlement) = line(&["SN:1"]);
    let hardware = bench.site.hardware().clone();
    let stopped = {
        bench.site.space().set_free(0);
        bench.site.stop()
    };
    let again = stopped.fork();
    match stopped.start_on(hardware.clone()) {
        Err(OpenError::Refused(refusal)) => assert_eq!(refusal.reason, Reason::StorageFull),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
    let site = again.start_on(hardware).unwrap();
    let bench = Bench { site, ..bench };
    confirm(&bench, &entitlement, "SN:1").unwrap();
}

#[test]
fn s4_a_disk_that_was_full_is_named_and_holds_nothing_that_was_not_written() {
    let machine = Machine::new();
    let (bench, entitlement) = on(Bench::on(machine.create().unwrap()), &["SN:1"]);
    // Nobody could tell that it fills up: not a byte more fits.
    machine.disk.fail(Some(DiskFault::Full(0)));
    let device = Device::new();
    let refused = bench.provision(&entitlement, "SN:2", &device).unwrap_err();
    assert_eq!(refused.reason, Reason::StorageFull);
    assert!(refused.detail.contains("restart"), "{refused}");
    assert!(machine.disk.fired() > 0, "the disk was asked");
    let status = block_on(bench.site.custody().status()).unwrap();
    assert!(status.read_only);
    assert_eq!(status.problem.unwrap().reason, Reason::StorageFull);
    // That there is room again proves nothing about what is on it.
    machine.disk.fail(None);
    let refused = bench.provision(&entitlement, "SN:2", &device).unwrap_err();
    assert_eq!(refused.reason, Reason::StorageFull);
    let Bench { world, hq, site } = bench;
    let stopped = site.stop();
    let site = stopped.start_on(machine.open().unwrap()).unwrap();
    let bench = Bench { world, hq, site };
    assert_eq!(bench.counters(&entitlement).issued, 1);
    bench.provision(&entitlement, "SN:2", &device).unwrap();
}

#[test]
fn s10_a_file_that_was_taken_away_ends_releases_until_it_is_back_and_a_backup_can_be_made() {
    let (bench, entitlement) = line(&["SN:1"]);
    bench.site.space().set_in_place(false);
    assert_eq!(looked(&bench).state, StorageState::Gone);
    let refused = bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::LedgerUnavailable);
    assert!(refused.detail.contains("make a backup"), "{refused}");
    assert!(confirm(&bench, &entitlement, "SN:1").is_err());
    assert!(!pieces(&bench).is_empty());
    bench.site.space().set_in_place(true);
    assert_eq!(looked(&bench).state, StorageState::Ample);
    confirm(&bench, &entitlement, "SN:1").unwrap();
}
