//! Rollback and clones, with a store and a platform on a real disk that are copied.

use futures_executor::block_on;
use mintmark_custody::Suspicion;
use mintmark_exchange::directive::Change;
use mintmark_model::Reason;
use mintmark_sdk_testing::sdk::ledger;
use mintmark_sdk_testing::{Device, Office, TestHost, World};

use crate::bench::{Bench, Line, import, import_receipt};
use crate::directives::{import_directive, order};
use crate::disks::Disk;

#[test]
fn r5_s7_a_store_that_lost_its_newest_commits_is_not_served() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let entitlement = bench.entitlement(10);
    let backup = disk.copy();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let Bench { site, .. } = bench;
    let stopped = site.stop();
    disk.set_back(&backup);
    let site = stopped.start_on(disk.open()).unwrap();
    assert_eq!(site.custody().suspicion(), Some(Suspicion::Behind));
}

#[test]
fn r5_a_host_that_was_set_back_answers_and_releases_nothing() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let entitlement = bench.entitlement(10);
    let known = Device::new();
    bench.provision(&entitlement, "SN:1", &known).unwrap();
    let backup = disk.copy();
    bench.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    let anchor = bench.site.hardware().platform.anchor().unwrap();
    let Bench { world, hq, site } = bench;
    let stopped = site.stop();
    disk.set_back(&backup);
    let bench = Bench { world, hq, site: stopped.start_on(disk.open()).unwrap() };
    let status = block_on(bench.site.custody().status()).unwrap();
    assert!(status.read_only);
    let problem = status.problem.unwrap();
    assert_eq!(problem.reason, Reason::RollbackSuspected);
    assert!(problem.to_string().contains("mintmark restore"), "{problem}");
    // What is committed can be read, rows included.
    assert_eq!(bench.counters(&entitlement).issued, 1);
    assert_eq!(bench.unit_rows().len(), 1);
    // Nothing is made, and nothing that was made is given again.
    for (subject, device) in [("SN:2", &Device::new()), ("SN:1", &known)] {
        let refused = bench.provision(&entitlement, subject, device).unwrap_err();
        assert_eq!(refused.reason, Reason::RollbackSuspected, "{subject}");
    }
    // A refusal of its own stays what it is.
    let refused = bench.provision("ent-none", "SN:3", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::NotFound);
    // Neither store nor anchor moved.
    assert_eq!(bench.site.hardware().platform.anchor().unwrap(), anchor);
    let Bench { world, hq, site } = bench;
    let bench = Bench { world, hq, site: site.restart().unwrap() };
    assert_eq!(bench.site.custody().suspicion(), Some(Suspicion::Behind));
    assert_eq!(bench.unit_rows().len(), 1);
}

#[test]
fn r5_a_copy_of_a_site_gets_nothing_more_once_the_site_reported() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let entitlement = bench.entitlement(10);
    let copied = disk.copy();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let receipt = bench.receipt();
    import_receipt(&bench.site, &receipt).unwrap();
    let next = bench.granted(&bench.order("po-2", 10));
    let changed = order(&bench, &entitlement, Change::Revoke);
    let Bench { site, .. } = bench;
    // The copy runs as the site, and is as far as the copy was.
    let copy = site.stop().start_on(copied.open()).unwrap();
    let refused = import_receipt(&copy, &receipt).unwrap_err();
    assert_eq!(refused.reason, "OUT_OF_ORDER", "it has not the rows that the receipt names");
    let refused = import(&copy, &next).unwrap_err();
    assert_eq!(refused.reason, "OUT_OF_ORDER");
    let refused = import_directive(&copy, &changed).unwrap_err();
    assert_eq!(refused.reason, "OUT_OF_ORDER");
}

#[test]
fn r5_a_copy_that_goes_its_own_way_has_not_the_rows_that_headquarters_holds() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let entitlement = bench.entitlement(10);
    let copied = disk.copy();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let receipt = bench.receipt();
    let Bench { world, hq, site } = bench;
    let copy = site.stop().start_on(copied.open()).unwrap();
    let bench = Bench { world, hq, site: copy };
    for number in 0..20 {
        let made = bench.provision(&entitlement, &format!("copy:{number}"), &Device::new());
        assert_eq!(made.is_ok(), number < 10, "the copy has its own ten units, and no more");
    }
    let refused = import_receipt(&bench.site, &receipt).unwrap_err();
    assert_eq!(refused.reason, "OUT_OF_ORDER");
}

/// Both directories of headquarters were set back: it can't know, but its sites have seen more.
#[test]
fn r8_a_headquarters_that_was_set_back_hears_of_it_from_its_sites() {
    let disk = Disk::empty();
    let world = World::new();
    let mut hq = world.headquarters_on("berlin", disk.create());
    hq.install::<Office>();
    let mut site = world.site("shenzhen");
    site.install::<Line>();
    world.introduce(&hq, &site);
    site.enrol_station("line-4", &[]);
    let bench = Bench { world, hq, site };
    let entitlement = bench.entitlement(10);
    let copied = disk.copy();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    // Each message has headquarters' head as it was before: the second one is past the copy.
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let checkpoint = checkpoint_of(&bench);
    let lost = |hq: &TestHost| {
        let verified =
            hq.run::<Office, _>("auditor", "eva", || Ok(ledger::verify_checkpoint(&checkpoint)?));
        verified.unwrap().witness == ledger::Witness::Lost
    };
    assert!(!lost(&bench.hq), "headquarters has what the site saw");
    let set_back = bench.hq.stop().start_on(copied.open()).unwrap();
    assert!(lost(&set_back));
}

fn checkpoint_of(bench: &Bench) -> Vec<u8> {
    let checkpoints = bench
        .site
        .run::<Line, _>("auditor", "eve", || Ok(ledger::checkpoints(None, 1 << 24)?.orders));
    checkpoints.unwrap().swap_remove(0)
}
