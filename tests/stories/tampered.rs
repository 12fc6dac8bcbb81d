//! What is tampered with, lost or there twice is named, by headquarters and by the offline check
//! alike; and what is genuine can be proved.

use std::path::Path;

use serde_json::Value;

use crate::program::{self, done, find, refused};
use crate::station::{Device, Station};
use crate::world::{Host, Order, World, copy_folder, text};

/// Makes and confirms these devices.
pub(crate) async fn make(site: &Host, entitlement: &str, numbers: std::ops::Range<u32>) {
    let known = site.at("tester-1.context.toml");
    let station = match Path::new(&known).exists() {
        true => known,
        false => site.user("station", "tester-1", &[]),
    };
    let station = Station::open(&station, entitlement).await.unwrap();
    for number in numbers {
        let device = Device::new(&format!("device-{number}"));
        let identity = station.provision(&device).await.unwrap();
        station.confirm(&device, &identity).await.unwrap();
    }
}

/// The findings of an answer: kind in small letters, row.
fn findings(answer: &Value) -> Vec<(String, Option<u64>)> {
    let found = answer["findings"].as_array().unwrap();
    let plain = |finding: &Value| {
        let kind = finding["kind"].as_str().unwrap().replace('-', "").to_lowercase();
        (kind, finding["row"].as_u64())
    };
    found.iter().map(plain).collect()
}

/// Repeats the checks of these reports without any host; the last one must come to the same.
fn assert_same_offline(world: &World, headquarters: &Host, answers: &[&Value]) {
    let opened = world.path("opened");
    let mut files = Vec::new();
    for answer in answers {
        let report = find(answer, "report").unwrap();
        let export = ["report", "export", &report, "--opened", text(&opened)];
        files.push(find(&headquarters.done(&export), "file").unwrap());
    }
    let root = headquarters.at("root.pem");
    let mut arguments = vec!["audit", "verify", "--root", &root];
    arguments.extend(files.iter().map(String::as_str));
    let ended = program::run(&arguments);
    assert_ne!(ended.code, 0, "{}", ended.text);
    let (said, again) = (answers.last().unwrap(), ended.answer.as_array().unwrap().last().unwrap());
    assert_eq!(find(said, "verdict"), find(again, "verdict"), "{}", ended.text);
    assert_eq!(findings(said), findings(again), "{}", ended.text);
}

pub(crate) fn assert_found(answer: &Value, verdict: &str, kind: &str) -> u64 {
    assert_eq!(find(answer, "verdict").as_deref(), Some(verdict), "{answer}");
    let found = findings(answer);
    let named = found.iter().find(|(found, row)| found == kind && row.is_some());
    named.unwrap_or_else(|| panic!("no {kind}: {answer}")).1.unwrap()
}

/// Copies what a host knows: its data and what its platform remembers.
fn copy(from: &Path, to: &Path) {
    for name in ["data", "platform"] {
        let (from, to) = (from.join(name), to.join(name));
        if to.exists() {
            std::fs::remove_dir_all(&to).unwrap();
        }
        copy_folder(&from, &to);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_row_that_a_plugin_leaves_out_is_named() {
    let world = World::new();
    let headquarters = world.host("headquarters", "berlin");
    let component = world.path("tampering.wasm");
    std::fs::write(&component, mintmark_bundled::danger::DEVICE_KEY_TAMPERING).unwrap();
    let site = world.host_with(("site", "hanoi"), &["anna"], &[text(&component)]);
    world.introduce(&headquarters, &site);
    let order = Order { site: "site/hanoi", ..Order::default() };
    let (entitlement, _) = world.entitle((&headquarters, &site), &order);
    make(&site, &entitlement, 0..2).await;
    let (answer, receipt) = world.report((&headquarters, &site), "tampered");
    assert_found(&answer, "breach", "gap");
    assert!(!receipt.exists(), "a breach gives no receipt");
    assert_same_offline(&world, &headquarters, &[&answer]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_site_that_is_set_back_with_its_anchor_is_named_and_the_proof_is_kept() {
    let world = World::new();
    let (headquarters, mut site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    make(&site, &entitlement, 0..1).await;
    let (first, receipt) = world.report((&headquarters, &site), "first");
    site.done(&["receipt", "import", text(&receipt)]);

    let (copied, original) = (world.path("copied"), world.path("original"));
    site.kill();
    copy(&site.folder, &copied);
    site.start();
    make(&site, &entitlement, 1..3).await;
    let (second, _) = world.report((&headquarters, &site), "second");
    assert_eq!(find(&second, "verdict").as_deref(), Some("clean"), "{second}");

    site.kill();
    copy(&site.folder, &original);
    copy(&copied, &site.folder);
    site.start();
    make(&site, &entitlement, 7..8).await;
    let (forked, none) = world.report((&headquarters, &site), "forked");
    let row = assert_found(&forked, "breach", "fork");
    assert!(!none.exists(), "a fork gets no receipt");
    let shown = headquarters.done(&["report", "show", &find(&forked, "report").unwrap()]);
    let proof = &shown["equivocation"];
    assert_eq!(proof["row"].as_u64(), Some(row), "{shown}");
    assert_ne!(proof["held"], proof["shown"]);
    assert_same_offline(&world, &headquarters, &[&first, &second, &forked]);

    // The original goes on as if nothing had been.
    site.kill();
    copy(&original, &site.folder);
    site.start();
    let (third, _) = world.report((&headquarters, &site), "third");
    assert_eq!(find(&third, "verdict").as_deref(), Some("clean"), "{third}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_bundle_that_is_missing_is_named_and_so_is_a_headquarters_that_was_set_back() {
    let world = World::new();
    let (mut headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    let before = world.path("before");
    headquarters.kill();
    copy(&headquarters.folder, &before);
    headquarters.start();
    make(&site, &entitlement, 0..1).await;
    let (first, receipt) = world.report((&headquarters, &site), "first");
    assert_eq!(find(&first, "verdict").as_deref(), Some("clean"), "{first}");
    site.done(&["receipt", "import", text(&receipt)]);
    make(&site, &entitlement, 1..2).await;

    headquarters.kill();
    copy(&before, &headquarters.folder);
    headquarters.start();
    let (second, none) = world.report((&headquarters, &site), "second");
    assert_eq!(assert_found(&second, "hold", "missingbundle"), 1);
    let witnessed = findings(&second).iter().any(|(kind, _)| kind == "witness");
    assert!(witnessed && !none.exists(), "{second}");
    assert_same_offline(&world, &headquarters, &[&second]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_device_at_two_sites_is_named() {
    let world = World::new();
    let (headquarters, first_site) = world.pair();
    let second_site = world.host("site", "hanoi");
    world.introduce(&headquarters, &second_site);
    let (own, _) = world.entitle((&headquarters, &first_site), &Order::default());
    make(&first_site, &own, 0..2).await;
    let (first, _) = world.report((&headquarters, &first_site), "first");
    assert_eq!(find(&first, "verdict").as_deref(), Some("clean"), "{first}");

    let order = Order { number: "PO-2", site: "site/hanoi", ..Order::default() };
    let (entitlement, _) = world.entitle((&headquarters, &second_site), &order);
    make(&second_site, &entitlement, 1..3).await;
    let (second, none) = world.report((&headquarters, &second_site), "second");
    assert_found(&second, "breach", "duplicate");
    assert!(!none.exists());
    assert_same_offline(&world, &headquarters, &[&first, &second]);

    // Nothing is kept of what the breach said: who makes its other device is not accused.
    make(&first_site, &own, 2..3).await;
    let (third, _) = world.report((&headquarters, &first_site), "third");
    assert_eq!(find(&third, "verdict").as_deref(), Some("clean"), "{third}");
    assert_same_offline(&world, &headquarters, &[&first, &second, &third]);
}

/// A proof needs neither the site nor headquarters, and is about one certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_proved_offline_to_whoever_has_the_root() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    let station = site.user("station", "tester-1", &[]);
    let out = site.at("devices");
    for device in ["SN-1", "SN-2"] {
        let provision = ["device", "provision", device, "--entitlement", &entitlement];
        done(&[&["--context", &station][..], &provision[..], &["--out", &out]].concat());
    }
    let proof = world.path("SN-1.proof");
    let prove = ["audit", "prove", "SN-1", "--entitlement", &entitlement, "--out", text(&proof)];
    assert_eq!(site.refused(&prove), "WRONG_STATE", "no bundle holds it yet");
    let (_, receipt) = world.report((&headquarters, &site), "first");
    site.done(&["receipt", "import", text(&receipt)]);
    let proved = site.done(&prove);
    assert_eq!(proved["receipted"], Value::Bool(true), "{proved}");

    let root = headquarters.at("root.pem");
    let verify = ["audit", "verify-proof", text(&proof), "--root", &root];
    let certificate = |device: &str| format!("{out}/{device}.pem");
    let own = certificate("SN-1");
    let verified = done(&[&verify[..], &["--certificate", &own]].concat());
    assert_eq!(verified["device"], "SN-1", "{verified}");
    assert_eq!(
        find(&verified, "receipted_by").as_deref(),
        Some("spiffe://acme/headquarters/berlin")
    );
    let other = certificate("SN-2");
    assert_ne!(program::run(&[&verify[..], &["--certificate", &other]].concat()).code, 0);
    let elsewhere = World::new();
    let root = text(&elsewhere.path("ca/root.pem")).to_owned();
    assert_ne!(program::run(&["audit", "verify-proof", text(&proof), "--root", &root]).code, 0);

    let mut content = std::fs::read(&proof).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&proof, content).unwrap();
    assert_ne!(program::run(&verify).code, 0);
    let unknown = ["audit", "prove", "SN-9", "--entitlement", &entitlement, "--out", &out];
    assert_eq!(
        refused(&[&["--context", &site.at("anna.context.toml")][..], &unknown].concat()),
        "NOT_FOUND"
    );
}
