//! Headquarters → factory → headquarters.

use serde_json::Value;

use crate::program::find;
use crate::station::{Device, Station};
use crate::world::{Host, Order, World, text};

/// An entitlement is made, carried, used up, reported on, and answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_loop_ends_with_a_clean_verdict_and_a_receipt() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let order = Order { total: 6, audit_units: 4, ..Order::default() };
    let (entitlement, file) = world.entitle((&headquarters, &site), &order);
    let station = site.user("station", "tester-1", &[]);
    let station = Station::open(&station, &entitlement).await.unwrap();

    for number in 0..4 {
        let device = Device::new(&format!("device-{number}"));
        let identity = station.provision(&device).await.unwrap();
        assert_eq!(identity.unit, number);
        // A retry gets the same bytes, and costs nothing.
        assert_eq!(station.provision(&device).await.unwrap(), identity);
        station.confirm(&device, &identity).await.unwrap();
    }
    let overdue = station.provision(&Device::new("device-4")).await.unwrap_err();
    assert_eq!(overdue.reason.as_deref(), Some("RECEIPT_OVERDUE"));

    let (first, receipt) = world.report((&headquarters, &site), "first");
    assert_eq!(find(&first, "verdict").as_deref(), Some("clean"), "{first}");
    site.done(&["receipt", "import", text(&receipt)]);
    // The same file again changes nothing and says so.
    site.done(&["receipt", "import", text(&receipt)]);
    site.done(&["entitlement", "import", text(&file)]);

    for number in 4..6 {
        let device = Device::new(&format!("device-{number}"));
        station.provision(&device).await.unwrap();
    }
    let exhausted = station.provision(&Device::new("device-6")).await.unwrap_err();
    assert_eq!(exhausted.reason.as_deref(), Some("QUOTA_EXHAUSTED"));

    let failed = ["--kind", "permanent", "--detail", "no radio", "--entitlement", &entitlement];
    site.done(&[&["device", "fail", "device-4"][..], &failed[..]].concat());
    let scrapped = ["--reason", "dropped", "--entitlement", &entitlement];
    site.done(&[&["device", "scrap", "device-5"][..], &scrapped[..]].concat());

    let (second, receipt) = world.report((&headquarters, &site), "second");
    assert_eq!(find(&second, "verdict").as_deref(), Some("clean"), "{second}");
    site.done(&["receipt", "import", text(&receipt)]);
    verify_offline(&world, &headquarters, &[&first, &second]);
}

/// The verdict rests on no single program: the opened bundles are checked again, offline, in the
/// order in which they came.
fn verify_offline(world: &World, headquarters: &Host, verdicts: &[&Value]) {
    let opened = world.path("opened");
    let mut files = Vec::new();
    for verdict in verdicts {
        let report = find(verdict, "report").unwrap();
        headquarters.done(&["report", "show", &report]);
        let export = ["report", "export", &report, "--opened", text(&opened)];
        files.push(find(&headquarters.done(&export), "file").unwrap());
    }
    let root = headquarters.at("root.pem");
    let mut arguments = vec!["audit", "verify", "--root", &root];
    arguments.extend(files.iter().map(String::as_str));
    let verified = crate::program::done(&arguments);
    let said: Vec<_> =
        verified.as_array().unwrap().iter().map(|report| find(report, "verdict")).collect();
    assert_eq!(said, vec![Some("clean".to_owned()); verdicts.len()], "{verified}");
}

/// Keys that are not born in the device reach it sealed, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_origin_are_delivered() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let origins = [
        ("PO-11", "site-born", "ecdsa-p256", "sealed-to-device"),
        ("PO-12", "derived", "ecdsa-p256", "sealed-to-device"),
        ("PO-13", "derived", "ed25519", "sealed-to-device"),
        ("PO-14", "device-born", "ed25519", "none"),
        ("PO-15", "site-born", "ed25519", "sealed-to-station"),
    ];
    let sealing = site.at("tester-1.sealing.csr.pem");
    let station = site.user("station", "tester-1", &["--sealing-csr", &sealing]);
    let station_key = site.at("tester-1.sealing.key.pem");
    for (number, origin, algorithm, delivery) in origins {
        let product = format!("product-{}", number.to_lowercase());
        let product = product.as_str();
        let order = Order { number, origin, algorithm, delivery, product, ..Order::default() };
        let (entitlement, _) = world.entitle((&headquarters, &site), &order);
        let out = site.at(number);
        std::fs::create_dir_all(&out).unwrap();
        let mut arguments = vec!["--context", &station, "device", "provision", "unit-a"];
        arguments.extend(["--entitlement", &entitlement, "--out", &out]);
        match delivery {
            "none" => arguments.extend(["--algorithm", algorithm]),
            "sealed-to-station" => arguments.extend(["--station-key", &station_key]),
            _ => arguments.push("--sealed"),
        }
        crate::program::done(&arguments);
        let confirm = ["--context", &station, "device", "confirm", "unit-a"];
        let from = ["--entitlement", &entitlement, "--from", &out];
        crate::program::done(&[&confirm[..], &from[..]].concat());
    }
    let (verdict, _) = world.report((&headquarters, &site), "origins");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
}
