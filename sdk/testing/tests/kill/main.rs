//! kill -9 at the system calls of a start, a provisioning, an import, an export, a receipt and a
//! rotation; and system calls that fail.
//!
//! A site runs in a process of its own, on real files: the embedded store and the emulated
//! platform. `strace` counts its system calls, and kills it before the n-th of each name, by
//! thread, or before the n-th on one of its files. After each death the site is started again: it
//! is whole, what was answered is answered again with the same bytes, and what was not answered
//! happened once or not at all.
//!
//! By default a sample of the points is visited; `MINTMARK_KILL_POINTS=all` visits all.

#![expect(clippy::unwrap_used, reason = "a test fails where its world does")]

mod strace;
mod victim;

use std::collections::BTreeMap;
use std::path::Path;

use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::{Device, TestHost, World};
use tempfile::TempDir;

use strace::{Injection, Traced};
use victim::{Act, Outcome};

/// About so many points are visited unless all are wanted.
const SAMPLE: usize = 60;

/// A site before the act, and what the acts need.
struct Eve {
    folder: TempDir,
    entitlement: String,
    device: Device,
}

impl Eve {
    /// The site takes headquarters' messages in their order: what the act takes is the next.
    fn of(act: Act) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new();
        let mut hq = world.headquarters("berlin");
        hq.install::<EntitlementPlugin>();
        let mut site = world.site_on("shenzhen", victim::create(folder.path()));
        site.install::<DeviceKeyPlugin>();
        world.introduce(&hq, &site);
        site.enrol_station("line-4", &[]);
        let entitlement = victim::import(&site, &granted(&hq, &site, "PO-1")).unwrap();
        let device = Device::new();
        victim::provision(&site, &entitlement, "SN:0", &Device::new().csr()).unwrap();
        let write = |name, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        if act == Act::Import {
            write("second", &granted(&hq, &site, "PO-2"));
        }
        let bundle = victim::export(&site).unwrap();
        let request = office::IngestRequest { file_id: hq.stage(&bundle) };
        let receipt = loop {
            let step: office::IngestResponse =
                hq.call("auditor", "eva", "Ingest", &request).unwrap();
            if step.done {
                break hq.fetch(&step.receipt_file_id).unwrap();
            }
        };
        write("keys", &victim::keys(&site));
        drop(site.stop());
        write("receipt", &receipt);
        write("request", &device.csr());
        write("entitlement", entitlement.as_bytes());
        Self { folder, entitlement, device }
    }

    /// A copy of everything, for one death.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }
}

fn granted(hq: &TestHost, site: &TestHost, number: &str) -> Vec<u8> {
    let request = victim::order(site, number);
    let created: office::CreateResponse = hq.call("admin", "ada", "Create", &request).unwrap();
    hq.fetch(&created.file_id).unwrap()
}

/// Where a process is killed.
struct Point {
    act: Act,
    injection: Injection,
}

/// Every point of every act: each system call of any thread, and each one on each file.
fn points(eves: &BTreeMap<Act, Eve>) -> Vec<Point> {
    let mut points = Vec::new();
    for (act, eve) in eves {
        let act = *act;
        for on in [None, Some("store"), Some("anchor"), Some("memory")] {
            let folder = eve.copy();
            let counted = Traced::run(folder.path(), act, &Injection::none(on));
            for (call, most) in &counted.calls {
                let at = |when| Point { act, injection: Injection::kill(on, call, when) };
                points.extend((1..=*most).map(at));
            }
        }
    }
    points
}

/// All of them, or a sample.
fn visited(points: Vec<Point>) -> Vec<Point> {
    let all = std::env::var("MINTMARK_KILL_POINTS").is_ok_and(|value| value == "all");
    let step = if all { 1 } else { points.len().div_ceil(SAMPLE).max(1) };
    points.into_iter().step_by(step).collect()
}

/// Whether the tests can be run here. Where all points are asked for, or the tool is, they must be.
fn runs() -> bool {
    let required = std::env::var("MINTMARK_REQUIRE_TOOLS").unwrap_or_default();
    let required = required.split(',').any(|name| name == "strace" || name == "all");
    let asked = required || std::env::var_os("MINTMARK_KILL_POINTS").is_some();
    let can = strace::can_trace();
    assert!(can || !asked, "there is no `strace` that may attach itself to processes");
    if !can {
        eprintln!("no `strace` that may attach itself to processes: not run");
    }
    can
}

#[test]
fn s1_whoever_is_killed_at_a_system_call_has_lost_and_doubled_nothing() {
    if !runs() {
        return;
    }
    let eves = Act::ALL.into_iter().map(|act| (act, Eve::of(act))).collect();
    let points = points(&eves);
    let count = points.len();
    assert!(count >= 300, "only {count} points");
    let points = visited(points);
    let (mut killed, mut answered) = (0, 0);
    for point in &points {
        let eve = &eves[&point.act];
        let folder = eve.copy();
        let traced = Traced::run(folder.path(), point.act, &point.injection);
        killed += usize::from(traced.was_killed);
        answered += usize::from(traced.answer.is_some());
        check(eve, folder.path(), point, &traced);
    }
    println!("{count} points; visited {}, killed {killed}, {answered} had answered", points.len());
    // How often a thread waits for another is not always the same.
    assert!(killed * 10 >= points.len() * 9, "killed only {killed} of {}", points.len());
}

#[test]
fn s4_s5_s10_a_sync_or_write_that_fails_ends_the_releases_of_this_start_and_is_named() {
    if !runs() {
        return;
    }
    let eve = Eve::of(Act::Provision);
    let mut failed = 0;
    for (error, reason) in [
        ("EIO", "LEDGER_UNAVAILABLE"),
        ("ENOSPC", "STORAGE_FULL"),
        ("EDQUOT", "STORAGE_FULL"),
        ("EROFS", "READ_ONLY"),
    ] {
        for call in ["fdatasync", "fsync", "pwrite64"] {
            for when in [1, 2, 5] {
                let folder = eve.copy();
                let injection = Injection::error(call, error, when);
                let traced = Traced::run(folder.path(), Act::Provision, &injection);
                assert!(!traced.was_killed);
                let refused = traced.refused.as_deref();
                failed += usize::from(refused.is_some());
                assert!(refused.is_none_or(|named| named == reason), "{injection}: {refused:?}");
                assert!(refused.is_none() || traced.answer.is_none());
                check(&eve, folder.path(), &Point { act: Act::Provision, injection }, &traced);
            }
        }
    }
    println!("{failed} provisionings met a call that failed");
    assert!(failed > 12, "the faults did fire: {failed}");
}

/// What holds after a death.
fn check(eve: &Eve, folder: &Path, point: &Point, traced: &Traced) {
    let what = format!("{:?} {}: {:?}", point.act, point.injection, traced.answer.is_some());
    let site = victim::open(folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    let verified = futures_executor::block_on(site.hardware().store.verify());
    assert!(verified.is_ok(), "{what}: {verified:?}");
    let before = counters(&site, &eve.entitlement);
    let places = before.unused + before.reserved + before.issued;
    assert_eq!((before.credited, before.reserved), (places, 0), "{what}");
    if point.act == Act::Provision && traced.answer.is_some() {
        assert_eq!(before.issued, 2, "{what}: what was answered is on record");
    }
    let again = victim::act(&site, folder, point.act);
    match (&again, point.act, &traced.answer) {
        (Outcome::Refused(reason), Act::Import | Act::Receipt, _) => {
            assert_eq!(reason, "REPLAYED", "{what}")
        }
        (Outcome::Answered(bytes), Act::Provision | Act::Rotate, Some(known)) => {
            assert_eq!(bytes, known, "{what}: the same question has the same answer")
        }
        (Outcome::Answered(_), Act::Import | Act::Receipt, Some(_)) => {
            panic!("{what}: what was answered was taken twice")
        }
        (Outcome::Answered(_), _, _) => {}
        (Outcome::Refused(reason), _, _) => panic!("{what}: {reason}"),
    }
    if point.act == Act::Provision {
        let Outcome::Answered(first) = &again else { unreachable!("it was matched above") };
        let repeated = victim::act(&site, folder, Act::Provision);
        assert_eq!(repeated, Outcome::Answered(first.clone()), "{what}");
        let identity = <line::DeviceIdentity as prost::Message>::decode(&first[..]).unwrap();
        assert_eq!(identity.public_key, eve.device.public_key(), "{what}");
    }
    if point.act == Act::Rotate {
        let old = std::fs::read(folder.join("keys")).unwrap();
        let Outcome::Answered(new) = &again else { unreachable!("it was matched above") };
        assert!(new.len() == old.len() && *new != old, "{what}: the keys are other ones");
        assert_eq!(victim::act(&site, folder, Act::Rotate), again, "{what}: replaced once");
    }
    let after = counters(&site, &eve.entitlement);
    let issued = if point.act == Act::Provision { 2 } else { 1 };
    assert_eq!((after.issued, after.unused), (issued, after.credited - issued), "{what}");
}

fn counters(site: &TestHost, entitlement: &str) -> line::Counters {
    let request = line::StatusRequest { entitlement: entitlement.to_owned() };
    let status: line::EntitlementStatus = site.call("auditor", "eve", "Status", &request).unwrap();
    status.counters.unwrap()
}
