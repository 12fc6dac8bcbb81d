//! I2: where the log can not be written, nothing is released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mintmark_crypto::Secret;
use mintmark_model::Reason;
use mintmark_platform::{Anchor, Platform};
use mintmark_sdk_testing::sdk::allotments::Allotment;
use mintmark_sdk_testing::sdk::certificates::Csr;
use mintmark_sdk_testing::sdk::{Status, ledger, records};
use mintmark_sdk_testing::{Device, Hardware};
use mintmark_store::{Error, Later, Outcome, Snapshot, Store, Transaction, Verified};

use crate::bench::{Bench, Line};

/// How the disk behaves.
const WORKS: u8 = 0;
/// Nothing is written.
const REFUSES: u8 = 1;
/// Everything is written, and then the sync fails.
const LOSES_THE_ANSWER: u8 = 2;
/// There is no room.
const FULL: u8 = 3;
/// It was mounted again, read-only.
const READ_ONLY: u8 = 4;

/// A store on a disk that fails when a test says so.
struct FlakyDisk {
    inner: Arc<dyn Store>,
    mood: AtomicU8,
}

impl Store for FlakyDisk {
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>> {
        Box::pin(async move {
            match self.mood.load(Ordering::SeqCst) {
                WORKS => self.inner.commit(batch).await,
                REFUSES => Err(Error::Unavailable),
                FULL => Err(Error::Full),
                READ_ONLY => Err(Error::ReadOnly),
                _ => {
                    self.inner.commit(batch).await?;
                    Err(Error::Unavailable)
                }
            }
        })
    }

    fn verify(&self) -> Later<'_, Verified> {
        self.inner.verify()
    }
}

/// A platform whose anchor can not be written when a test says so.
struct FlakyPlatform {
    inner: Arc<dyn Platform>,
    mood: AtomicU8,
}

impl Platform for FlakyPlatform {
    fn sealing_secret(&self) -> Result<Secret<32>, mintmark_platform::Error> {
        self.inner.sealing_secret()
    }

    fn hardware_model(&self) -> &'static str {
        self.inner.hardware_model()
    }

    fn anchor(&self) -> Result<Option<Anchor>, mintmark_platform::Error> {
        self.inner.anchor()
    }

    fn advance(&self, anchor: &Anchor) -> Result<(), mintmark_platform::Error> {
        match self.mood.load(Ordering::SeqCst) {
            WORKS => self.inner.advance(anchor),
            FULL => Err(mintmark_platform::Error::Full),
            READ_ONLY => Err(mintmark_platform::Error::ReadOnly),
            _ => Err(mintmark_platform::Error::Unavailable),
        }
    }

    fn remember(&self, digests: &[[u8; 32]]) -> Result<(), mintmark_platform::Error> {
        self.inner.remember(digests)
    }

    fn remembers(&self, digest: &[u8; 32]) -> bool {
        self.inner.remembers(digest)
    }
}

struct Flaky {
    bench: Bench,
    disk: Arc<FlakyDisk>,
    platform: Arc<FlakyPlatform>,
}

impl Flaky {
    fn new() -> Self {
        let Hardware { store, store_id, platform } = Hardware::memory();
        let disk = Arc::new(FlakyDisk { inner: store, mood: AtomicU8::new(WORKS) });
        let platform = Arc::new(FlakyPlatform { inner: platform, mood: AtomicU8::new(WORKS) });
        let bench = Bench::on(Hardware {
            store: Arc::clone(&disk) as Arc<dyn Store>,
            store_id,
            platform: Arc::clone(&platform) as Arc<dyn Platform>,
        });
        Self { bench, disk, platform }
    }

    /// The host starts again, on hardware that works.
    fn repaired(self) -> Bench {
        self.disk.mood.store(WORKS, Ordering::SeqCst);
        self.platform.mood.store(WORKS, Ordering::SeqCst);
        self.bench.restarted()
    }
}

#[test]
fn i2_no_certificate_leaves_a_host_whose_disk_refuses() {
    let flaky = Flaky::new();
    let entitlement = flaky.bench.entitlement(10);
    let device = Device::new();
    flaky.disk.mood.store(REFUSES, Ordering::SeqCst);
    let refused = flaky.bench.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(refused.reason, Reason::LedgerUnavailable);
    // The disk recovers, but what is on it is not known before a start has looked.
    flaky.disk.mood.store(WORKS, Ordering::SeqCst);
    let refused = flaky.bench.provision(&entitlement, "SN:2", &device).unwrap_err();
    assert_eq!(refused.reason, Reason::LedgerUnavailable);
    let bench = flaky.repaired();
    assert_eq!(bench.counters(&entitlement).unused, 10);
    assert!(bench.unit_rows().is_empty());
    bench.provision(&entitlement, "SN:1", &device).unwrap();
}

#[test]
fn i2_a_ledger_that_cannot_be_written_stops_releases_and_not_refusals() {
    let flaky = Flaky::new();
    let bench = &flaky.bench;
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    bench.provision(&entitlement, "SN:1", &device).unwrap();
    flaky.disk.mood.store(REFUSES, Ordering::SeqCst);
    let refused = bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::LedgerUnavailable);
    // What was released before is a release too.
    let refused = bench.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(refused.reason, Reason::LedgerUnavailable);
    // Refusals and reads go on.
    let refused = bench.provision("ent-none", "SN:3", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::NotFound);
    assert_eq!(bench.counters(&entitlement).issued, 1);
    let status = futures_executor::block_on(bench.site.custody().status()).unwrap();
    assert!(status.read_only && bench.site.custody().suspicion().is_none());
    assert_eq!(status.problem.unwrap().reason, Reason::LedgerUnavailable);
}

/// Nothing is released, and refusal and status name this reason, until a start has looked.
fn stops_for(reason: Reason, breaks: impl Fn(&Flaky)) {
    let flaky = Flaky::new();
    let entitlement = flaky.bench.entitlement(10);
    breaks(&flaky);
    for subject in ["SN:1", "SN:2"] {
        let refused = flaky.bench.provision(&entitlement, subject, &Device::new()).unwrap_err();
        assert_eq!(refused.reason, reason);
        // What failed first stays the cause.
        flaky.disk.mood.store(REFUSES, Ordering::SeqCst);
    }
    let status = futures_executor::block_on(flaky.bench.site.custody().status()).unwrap();
    assert!(status.read_only);
    assert_eq!(status.problem.unwrap().reason, reason);
    let bench = flaky.repaired();
    bench.provision(&entitlement, "SN:3", &Device::new()).unwrap();
}

#[test]
fn s4_a_store_or_anchor_that_has_no_room_is_named() {
    stops_for(Reason::StorageFull, |flaky| flaky.disk.mood.store(FULL, Ordering::SeqCst));
    stops_for(Reason::StorageFull, |flaky| flaky.platform.mood.store(FULL, Ordering::SeqCst));
}

#[test]
fn s10_a_store_or_anchor_that_has_become_read_only_is_named() {
    stops_for(Reason::ReadOnly, |flaky| flaky.disk.mood.store(READ_ONLY, Ordering::SeqCst));
    stops_for(Reason::ReadOnly, |flaky| flaky.platform.mood.store(READ_ONLY, Ordering::SeqCst));
}

#[test]
fn i2_a_file_that_a_lost_commit_may_have_made_is_not_handed_out() {
    let flaky = Flaky::new();
    let file = flaky.bench.site.stage(b"a bundle, say");
    assert_eq!(flaky.bench.site.fetch(&file).unwrap(), b"a bundle, say");
    flaky.platform.mood.store(REFUSES, Ordering::SeqCst);
    flaky.bench.site.try_stage(b"never anchored").unwrap_err();
    // Nobody can tell by its name when a file was made.
    assert_eq!(flaky.bench.site.fetch(&file).unwrap_err().reason, "LEDGER_UNAVAILABLE");
    let bench = flaky.repaired();
    assert_eq!(bench.site.fetch(&file).unwrap(), b"a bundle, say");
}

#[test]
fn i2_a_commit_whose_sync_failed_is_found_at_the_next_start() {
    let flaky = Flaky::new();
    let entitlement = flaky.bench.entitlement(10);
    let device = Device::new();
    flaky.disk.mood.store(LOSES_THE_ANSWER, Ordering::SeqCst);
    let refused = flaky.bench.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(refused.reason, Reason::LedgerUnavailable);
    let bench = flaky.repaired();
    assert_eq!(bench.counters(&entitlement).issued, 1);
    let first = bench.provision(&entitlement, "SN:1", &device).unwrap();
    assert_eq!(bench.provision(&entitlement, "SN:1", &device).unwrap(), first);
    assert_eq!(bench.counters(&entitlement).issued, 1);
}

#[test]
fn r4_a_crash_between_store_and_anchor_is_caught_up() {
    let flaky = Flaky::new();
    let entitlement = flaky.bench.entitlement(10);
    let device = Device::new();
    flaky.platform.mood.store(REFUSES, Ordering::SeqCst);
    let refused = flaky.bench.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(refused.reason, Reason::LedgerUnavailable, "not anchored is not released");
    let bench = flaky.repaired();
    assert_eq!(bench.counters(&entitlement).issued, 1);
    bench.provision(&entitlement, "SN:1", &device).unwrap();
    bench.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    assert_eq!(bench.counters(&entitlement).issued, 2);
}

#[test]
fn i2_a_failed_call_releases_nothing_either_where_the_disk_refuses() {
    let flaky = Flaky::new();
    let entitlement = flaky.bench.entitlement(10);
    let device = Device::new();
    futures_executor::block_on(async {
        let mut call = flaky.bench.call().await;
        crate::bench::issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        flaky.disk.mood.store(REFUSES, Ordering::SeqCst);
        assert!(call.abort(Reason::PluginFault).await.tainted);
    });
    let bench = flaky.repaired();
    assert_eq!(bench.counters(&entitlement).unused, 10);
    bench.provision(&entitlement, "SN:1", &device).unwrap();
}

#[test]
fn i2_what_a_plugin_kept_of_an_unwritten_call_leaves_in_no_read_and_no_refusal() {
    let flaky = Flaky::new();
    let entitlement = flaky.bench.entitlement(10);
    let device = Device::new();
    let run = |work: &dyn Fn() -> Result<Vec<u8>, Status>| {
        flaky.bench.site.run::<Line, _>("station", "line-4", work)
    };
    let kept = || Ok(records::get("kept")?.unwrap_or_default());
    assert_eq!(run(&kept), Ok(Vec::new()));
    flaky.platform.mood.store(REFUSES, Ordering::SeqCst);
    let made = run(&|| {
        let unit = Allotment::open(&entitlement)?.draw("SN:1", None)?;
        let artefact = unit.certify_csr(&Csr::read(&device.csr())?, &[])?;
        records::put("kept", artefact.certificate.unwrap())?;
        Ok(Vec::new())
    });
    // The store has it all, the anchor nothing: whoever sets the store back has the unit again.
    assert_eq!(made.unwrap_err().reason, "LEDGER_UNAVAILABLE");
    assert_eq!(run(&kept).unwrap_err().reason, "LEDGER_UNAVAILABLE");
    for _ in 0..2 {
        let told = run(&|| Err(Status::invalid("INVALID_ARGUMENT", format!("{:?}", kept()?))));
        let told = told.unwrap_err();
        assert_eq!(told.reason, "LEDGER_UNAVAILABLE");
        assert!(!told.message.contains("48, 130"), "{told:?}");
    }
    let bench = flaky.repaired();
    assert_eq!(bench.counters(&entitlement).issued, 1);
    let kept = bench.site.run::<Line, _>("station", "line-4", kept).unwrap();
    assert!(!kept.is_empty());
}

#[test]
fn i2_no_proof_leaves_of_a_bundle_that_was_never_anchored() {
    let flaky = Flaky::new();
    let entitlement = flaky.bench.entitlement(10);
    flaky.bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let prove = || {
        let proof = flaky.bench.site.custody().prove(&entitlement, "SN:1");
        futures_executor::block_on(proof).map_err(|refusal| refusal.reason)
    };
    assert_eq!(prove(), Err(Reason::WrongState));
    flaky.platform.mood.store(REFUSES, Ordering::SeqCst);
    let export = || Ok(ledger::checkpoints(None, 1 << 24)?.orders);
    let lost = flaky.bench.site.run::<Line, _>("auditor", "eve", export);
    assert_eq!(lost.unwrap_err().reason, "LEDGER_UNAVAILABLE");
    assert_eq!(prove(), Err(Reason::LedgerUnavailable));
}
