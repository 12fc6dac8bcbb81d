//! Rollback and clones, with a store and a platform on a real disk that are copied.

use std::path::Path;
use std::sync::Arc;

use cap_std::{ambient_authority, fs::Dir};
use mintmark_custody::OpenError;
use mintmark_exchange::directive::Change;
use mintmark_platform::Platform;
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_sdk_testing::sdk::ledger;
use mintmark_sdk_testing::{Device, Hardware, NODE, Office, TestHost, World};
use mintmark_store::{Embedded, Identity};
use tempfile::TempDir;

use crate::bench::{Bench, Line, import, import_receipt};
use crate::directives::{import_directive, order};

const FILE: &str = "store";
const STORE_ID: [u8; 16] = [7; 16];

/// A data directory and a platform's directory.
struct Disk {
    data: TempDir,
    platform: TempDir,
}

impl Disk {
    fn empty() -> Self {
        Self { data: tempfile::tempdir().unwrap(), platform: tempfile::tempdir().unwrap() }
    }

    fn create(&self) -> Hardware {
        let platform = EmulatedPlatform::create(&open(&self.platform)).unwrap();
        let sealing = platform.sealing_secret().unwrap();
        let identity = Identity::new(STORE_ID, NODE);
        let store = Embedded::create(&open(&self.data), FILE, &identity, &sealing).unwrap();
        Hardware { store: Arc::new(store), store_id: STORE_ID, platform: Arc::new(platform) }
    }

    fn open(&self) -> Hardware {
        let platform = EmulatedPlatform::open(&open(&self.platform)).unwrap();
        let sealing = platform.sealing_secret().unwrap();
        let identity = Identity::new(STORE_ID, NODE);
        let store = Embedded::open(&open(&self.data), FILE, &identity, &sealing).unwrap();
        Hardware { store: Arc::new(store), store_id: STORE_ID, platform: Arc::new(platform) }
    }

    /// A copy of both directories.
    fn copy(&self) -> Self {
        let copy = Self::empty();
        copy_files(self.data.path(), copy.data.path());
        copy_files(self.platform.path(), copy.platform.path());
        copy
    }

    /// Puts the data of `older` back, without its platform.
    fn set_back(&self, older: &Self) {
        copy_files(older.data.path(), self.data.path());
    }
}

fn open(directory: &TempDir) -> Dir {
    Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap()
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn r2_a_data_directory_that_was_set_back_is_not_served() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let entitlement = bench.entitlement(10);
    let backup = disk.copy();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let Bench { site, .. } = bench;
    let stopped = site.stop();
    disk.set_back(&backup);
    let refused = stopped.start_on(disk.open()).err().unwrap();
    assert!(matches!(refused, OpenError::RollbackSuspected), "{refused}");
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
        verified.unwrap().lost_head
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
