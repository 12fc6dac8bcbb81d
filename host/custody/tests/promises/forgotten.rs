//! Headquarters, restored from a backup, has forgotten what it did after it: it learns that again
//! from its sites, and does nothing a second time.

use futures_executor::block_on;
use mintmark_custody::Session;
use mintmark_exchange::directive::Change;
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::pool::CHUNK_KEYS;
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::sdk::transfers::{self, AdoptedOrder};
use mintmark_sdk_testing::sdk::{Plugin, Status, allotments, ledger};
use mintmark_sdk_testing::{Office, TestHost, World};

use crate::approvals::agree;
use crate::bench::{Bench, Line, import, import_receipt, rows};
use crate::closings::report;
use crate::directives::{act, carried, import_directive, order};
use crate::disks::Disk;
use crate::pools::{Authority, begin, destroy, load, send};
use crate::restores::{approved, stop};

/// A headquarters on a disk, and a site that it knows.
fn bench() -> (Bench, Disk) {
    let disk = Disk::empty();
    let world = World::new();
    let mut hq = world.headquarters_on("berlin", disk.create());
    hq.install::<Office>();
    hq.install::<Line>();
    let mut site = world.site("shenzhen");
    site.install::<Line>();
    site.enrol_station("line-4", &[]);
    hq.import_identity(&site.export_identity()).unwrap();
    (Bench { world, hq, site }, disk)
}

/// The same, and the site knows headquarters.
fn introduced() -> (Bench, Disk) {
    let (bench, disk) = bench();
    bench.site.import_identity(&bench.hq.export_identity()).unwrap();
    (bench, disk)
}

fn backup(host: &TestHost) -> Vec<u8> {
    let session = host.session_of::<Office>("admin", "anna");
    let mut backup = block_on(host.custody().backup(session)).unwrap();
    std::iter::from_fn(|| block_on(backup.next_piece()).unwrap()).flatten().collect()
}

/// The same after headquarters was restored from the backup.
fn restored(bench: Bench, disk: &Disk, backup: &[u8]) -> Bench {
    let Bench { world, hq, site } = bench;
    let clock = hq.clock().clone();
    let (stopped, voters) = stop(hq);
    disk.restore(backup, &clock, |ceremony| approved(ceremony, &voters)).unwrap();
    Bench { world, hq: stopped.start_on(disk.open()).unwrap(), site }
}

/// Two people let the site's next bundle open a new epoch of the stream.
pub(crate) fn open_stream(bench: &Bench) {
    open_epoch(bench, 1);
}

fn open_epoch(bench: &Bench, epoch: u64) {
    let site = bench.site.uri();
    // Who asks does not approve.
    let zoe = || Session { plugin: None, ..bench.hq.session_of::<Office>("admin", "zoe") };
    let open = || block_on(bench.hq.custody().open_stream(zoe(), &site, None));
    let refused: Refusal = open().unwrap_err();
    agree(&bench.hq, &refused);
    assert_eq!(open(), Ok(epoch));
}

fn adopt(hq: &TestHost, order: &[u8]) -> Result<AdoptedOrder, Status> {
    hq.run::<Office, _>("admin", "anna", || Ok(transfers::adopt_order(order)?))
}

/// The signed grant, as the site's host has it.
fn held_grant(site: &TestHost, entitlement: &str) -> Vec<u8> {
    let grant = site.run::<Line, _>("auditor", "eve", || {
        Ok(allotments::Allotment::open(entitlement)?.status()?.grant)
    });
    grant.unwrap()
}

fn adoptions(hq: &TestHost) -> usize {
    let adopted = |event: &Event| matches!(event, Event::OrderAdopted { .. });
    rows(hq).iter().filter(|row| adopted(&row.body.event)).count()
}

#[test]
fn r15_a_restored_headquarters_takes_its_orders_back_from_the_site_that_holds_them() {
    let (bench, disk) = introduced();
    let first = bench.entitlement(10);
    report(&bench);
    let backup = backup(&bench.hq);
    let second = bench.entitlement_of(&bench.order("po-2", 900_000));
    let reduction = order(&bench, &second, Change::Reduce { units: 3 });
    let reduction = carried(&bench.site, &reduction);
    act(&bench.site, &reduction).unwrap();
    report(&bench);
    let grant = held_grant(&bench.site, &second);
    assert_eq!(
        adopt(&bench.hq, &grant).unwrap_err().reason,
        "WRONG_STATE",
        "nothing was forgotten"
    );

    let bench = restored(bench, &disk, &backup);
    let site = bench.site.uri();
    let change = || Office::change(&bench.hq, &site, Line::NAME, &second, &Change::Revoke);
    assert_eq!(change().unwrap_err().reason, "NOT_FOUND");
    assert_eq!(adopt(&bench.hq, &reduction).unwrap_err().reason, "NOT_FOUND", "its grant is first");
    let mut forged = SignedOrder::decode(&grant).unwrap();
    *forged.signature.last_mut().unwrap() ^= 1;
    assert_eq!(adopt(&bench.hq, &forged.encode()).unwrap_err().reason, "UNTRUSTED_MESSAGE");
    for _ in 0..2 {
        assert_eq!(adopt(&bench.hq, &grant), Ok(AdoptedOrder::Grant));
        assert_eq!(adopt(&bench.hq, &reduction), Ok(AdoptedOrder::Directive));
    }
    let known = held_grant(&bench.site, &first);
    assert_eq!(adopt(&bench.hq, &known), Ok(AdoptedOrder::Grant));
    assert_eq!(adoptions(&bench.hq), 2, "what is known changes nothing");

    // It sends nothing before a bundle has shown what the site holds.
    assert_eq!(change().unwrap_err().reason, "WRONG_STATE");
    open_stream(&bench);
    report(&bench);
    report(&bench);
    // What was granted after the backup counts for the threshold, as it did.
    let large = Office::grant(&bench.hq, &site, Line::NAME, &bench.order("po-3", 200_000));
    assert_eq!(large.unwrap_err().reason, "APPROVAL_REQUIRED");
    let file = order(&bench, &second, Change::Revoke);
    import_directive(&bench.site, &file).unwrap();
    assert_eq!(bench.reserve(&second, "SN:1").unwrap_err().reason, Reason::Revoked);
}

#[test]
fn r15_a_site_that_was_never_granted_anything_shows_a_restored_headquarters_that_it_holds_nothing()
{
    let (bench, disk) = bench();
    let backup = backup(&bench.hq);
    let bench = restored(bench, &disk, &backup);
    let site = bench.site.uri();
    let granted = || Office::grant(&bench.hq, &site, Line::NAME, &bench.order("po-1", 10));
    assert_eq!(granted().unwrap_err().reason, "WRONG_STATE");
    open_stream(&bench);
    assert_eq!(granted().unwrap_err().reason, "WRONG_STATE", "approvals alone are not enough");
    bench.site.import_identity(&bench.hq.export_identity()).unwrap();
    report(&bench);
    report(&bench);
    let entitlement = import(&bench.site, &granted().unwrap()).unwrap();
    bench.reserve(&entitlement, "SN:1").unwrap();
}

#[test]
fn r15_what_was_on_its_way_arrives_before_a_new_epoch_begins() {
    let (bench, disk) = introduced();
    bench.entitlement(10);
    report(&bench);
    let file = bench.granted(&bench.order("po-2", 10));
    let backup = backup(&bench.hq);
    let bench = restored(bench, &disk, &backup);
    open_stream(&bench);
    let early = Office::acknowledge(&bench.hq, &bench.bundle()).unwrap_err();
    assert_eq!(early.reason, "WRONG_STATE");
    assert!(early.metadata.contains(&("sequence".to_owned(), "3".to_owned())), "{early:?}");
    let second = import(&bench.site, &file).unwrap();
    report(&bench);
    bench.reserve(&second, "SN:1").unwrap();
}

#[test]
fn units_are_never_added_under_another_ca_than_the_grants() {
    let (bench, disk) = introduced();
    let backup = backup(&bench.hq);
    // The product's CA is made with its first order, and is lost with it.
    let entitlement = bench.entitlement(10);
    report(&bench);
    let grant = held_grant(&bench.site, &entitlement);
    let bench = restored(bench, &disk, &backup);
    open_stream(&bench);
    report(&bench);
    report(&bench);
    assert_eq!(adopt(&bench.hq, &grant), Ok(AdoptedOrder::Grant));
    bench.entitlement_of(&bench.order("po-2", 10));
    let site = bench.site.uri();
    let more = Change::Extend { units: 5, not_after: None };
    let extend = || Office::change(&bench.hq, &site, Line::NAME, &entitlement, &more);
    bench.hq.approve(&extend().unwrap_err());
    assert_eq!(extend().unwrap_err().reason, "WRONG_STATE");
}

#[test]
fn given_keys_that_were_loaded_after_the_backup_are_not_loaded_again() {
    let (bench, disk) = bench();
    load(&bench.hq, "before", &Authority::new(3)).unwrap();
    let backup = backup(&bench.hq);
    let authority = Authority::new(20);
    load(&bench.hq, "licences", &authority).unwrap();
    let bench = restored(bench, &disk, &backup);
    let again = load(&bench.hq, "licences", &authority).unwrap_err();
    assert_eq!(again.reason, Reason::DuplicateKey, "{again}");
    let turned = load(&bench.hq, "others", &authority.turned()).unwrap_err();
    assert_eq!(turned.reason, Reason::DuplicateKey, "in another order, under another name");
    load(&bench.hq, "new", &Authority::new(20)).unwrap();
}

#[test]
fn r15_a_restored_headquarters_tells_what_it_forgot_from_what_it_never_had() {
    let (bench, disk) = introduced();
    bench.entitlement(10);
    let backup = backup(&bench.hq);
    report(&bench);
    report(&bench);
    let checkpoint = bench
        .site
        .run::<Line, _>("auditor", "eve", || Ok(ledger::checkpoints(None, 1 << 24)?.orders))
        .unwrap()
        .swap_remove(0);
    let witness = |hq: &TestHost| {
        let verified =
            hq.run::<Office, _>("auditor", "eva", || Ok(ledger::verify_checkpoint(&checkpoint)?));
        let verified = verified.unwrap();
        (verified.witness, verified.restored)
    };
    assert_eq!(witness(&bench.hq), (ledger::Witness::Held, false));
    let bench = restored(bench, &disk, &backup);
    assert_eq!(witness(&bench.hq), (ledger::Witness::Forgotten, true));
}

#[test]
fn r15_receipts_of_a_restored_headquarters_reach_a_site_that_has_later_ones_of_before() {
    let (bench, disk) = introduced();
    let entitlement = bench.entitlement(10);
    let backup = backup(&bench.hq);
    for subject in ["SN:1", "SN:2"] {
        bench.reserve(&entitlement, subject).unwrap();
        report(&bench);
    }
    let bench = restored(bench, &disk, &backup);
    open_stream(&bench);
    report(&bench);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    assert_eq!(bench.counters(&entitlement).reserved, 2);
}

/// The load was given up before the backup; after it the same file came again, whole.
#[test]
fn given_keys_of_a_load_that_was_given_up_are_not_handed_out_twice_across_a_restore() {
    let (bench, disk) = bench();
    let authority = Authority::new(CHUNK_KEYS + 5);
    begin(&bench.hq, &authority.announced("licences")).unwrap();
    send(&bench.hq, "licences", 0, authority.chunks()[0]).unwrap();
    destroy(&bench.hq, "licences").unwrap();
    let backup = backup(&bench.hq);
    load(&bench.hq, "licences", &authority).unwrap();
    let bench = restored(bench, &disk, &backup);
    for name in ["licences", "others"] {
        begin(&bench.hq, &authority.announced(name)).unwrap();
        let again = send(&bench.hq, name, 0, authority.chunks()[0]).unwrap_err();
        assert_eq!(again.reason, Reason::DuplicateKey, "{again}");
    }
}

/// The numbers of what headquarters granted under the ledger that it writes.
fn numbers(hq: &TestHost) -> Vec<u32> {
    let number = |event| match event {
        Event::GrantExported { number, .. } => Some(number),
        _ => None,
    };
    rows(hq).into_iter().filter_map(|row| number(row.body.event)).collect()
}

#[test]
fn r15_two_restores_from_one_backup_give_no_number_twice() {
    let (bench, disk) = introduced();
    let known = bench.entitlement(10);
    report(&bench);
    let backup = backup(&bench.hq);
    let later = bench.entitlement_of(&bench.order("po-2", 10));
    report(&bench);
    let grant = held_grant(&bench.site, &later);
    let (mut bench, mut given) = (bench, Vec::new());
    for (epoch, number) in [(1, "po-3"), (2, "po-4")] {
        bench = restored(bench, &disk, &backup);
        open_epoch(&bench, epoch);
        report(&bench);
        report(&bench);
        assert_eq!(adopt(&bench.hq, &grant), Ok(AdoptedOrder::Grant));
        bench.entitlement_of(&bench.order(number, 10));
        given.extend(numbers(&bench.hq));
        // Neither is older than what the site has acted on.
        for entitlement in [&known, &later] {
            let file = order(&bench, entitlement, Change::Reduce { units: 1 });
            assert_eq!(import_directive(&bench.site, &file).unwrap().applied, 1, "{number}");
        }
    }
    assert!(given.len() == 2 && given[1] >= given[0] + (1 << 20), "{given:?}");
}

/// What is on its way, and forgotten, can still be taken in the old epoch.
#[test]
fn r15_a_restored_headquarters_credits_nothing_before_the_site_is_in_the_new_epoch() {
    let (bench, disk) = introduced();
    let first = bench.entitlement(10);
    report(&bench);
    let backup = backup(&bench.hq);
    let forgotten = bench.granted(&bench.order("po-2", 10));
    let early = bench.bundle();
    let bench = restored(bench, &disk, &backup);
    open_stream(&bench);
    let receipt = Office::acknowledge(&bench.hq, &early).unwrap();
    let site = bench.site.uri();
    let again = || Office::grant(&bench.hq, &site, Line::NAME, &bench.order("po-2", 10));
    let more = Change::Extend { units: 5, not_after: None };
    let extend = || Office::change(&bench.hq, &site, Line::NAME, &first, &more);
    let second = import(&bench.site, &forgotten).unwrap();
    for refused in [again().unwrap_err(), extend().unwrap_err()] {
        assert_eq!(refused.reason, "WRONG_STATE");
        assert!(refused.message.contains("has not entered the new epoch"), "{refused}");
    }
    // What takes a right away waits for nothing.
    order(&bench, &first, Change::Reduce { units: 1 });
    import_receipt(&bench.site, &receipt).unwrap();
    assert_eq!(again().unwrap_err().reason, "WRONG_STATE", "nothing says so yet");
    Office::acknowledge(&bench.hq, &bench.bundle()).unwrap();
    assert_eq!(adopt(&bench.hq, &held_grant(&bench.site, &second)), Ok(AdoptedOrder::Grant));
    bench.hq.approve(&extend().unwrap_err());
    extend().unwrap();
    bench.granted(&bench.order("po-3", 10));
}
