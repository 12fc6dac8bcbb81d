//! Keys are replaced at the factory and at headquarters, while files travel between them.

use std::path::Path;

use mintmark_exchange::message::MessageHead;
use serde_json::Value;

use crate::approvals::{ADMINS, done_as, waits};
use crate::program::find;
use crate::station::{Device, Station};
use crate::world::{Host, Order, World, text};

/// The digest of the key to which a file is sealed.
fn sealed_to(file: &Path) -> String {
    let file = std::fs::read(file).unwrap();
    hex::encode(MessageHead::parse(&file).unwrap().0.header().recipient)
}

/// The digest of the key of a host's plugin that is in use.
fn in_use(host: &Host) -> String {
    let keys = host.done(&["identity", "show"]);
    let present = |key: &&Value| {
        key["retired_at_ms"].is_null() && find(key, "name").unwrap().contains("/plugin/")
    };
    find(keys.as_array().unwrap().iter().find(present).unwrap(), "key").unwrap()
}

async fn provision(site: &Host, entitlement: &str, name: &str) {
    let station = site.user("station", &format!("tester-{name}"), &[]);
    let station = Station::open(&station, entitlement).await.unwrap();
    let device = Device::new(name);
    let identity = station.provision(&device).await.unwrap();
    station.confirm(&device, &identity).await.unwrap();
}

/// The site's keys are replaced while an entitlement travels; headquarters takes the new identity
/// with two approvals; then headquarters' keys are replaced, and the site hears of it by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_keys_are_replaced_on_both_sides_and_nothing_that_travels_is_lost() {
    let world = World::new();
    let headquarters = world.host_of("headquarters", "berlin", &ADMINS);
    let mut site = world.host("site", "shenzhen");
    world.introduce(&headquarters, &site);
    let (first, travelling) = world.create(&headquarters, &Order::default());
    let before = in_use(&site);
    assert_eq!(sealed_to(&travelling), before);

    let rotated = site.done(&["identity", "rotate"]);
    let rotated = rotated.as_array().unwrap();
    assert_eq!(rotated.len(), 2, "{rotated:?}");
    let transit = |key: &Value| key["opens_until_ms"].as_u64().zip(key["retired_at_ms"].as_u64());
    let days = rotated.iter().map(|key| transit(key).map(|(until, at)| (until - at) / 86_400_000));
    assert!(days.into_iter().all(|days| days == Some(180)), "{rotated:?}");
    assert_ne!(in_use(&site), before);
    site.kill();
    site.start();
    site.done(&["entitlement", "import", text(&travelling)]);
    provision(&site, &first, "device-1").await;

    let identity = world.path("rotated.identity");
    site.done(&["identity", "export", "--out", text(&identity)]);
    let import = ["identity", "import", text(&identity)];
    let request = waits(&headquarters, &import);
    for name in ["bela", "chen"] {
        done_as(&headquarters, name, &["approvals", "approve", &request]);
    }
    headquarters.done(&import);
    let order = Order { number: "PO-2", ..Order::default() };
    let (second, file) = world.entitle((&headquarters, &site), &order);
    assert_eq!(sealed_to(&file), in_use(&site));
    provision(&site, &second, "device-2").await;
    let (verdict, receipt) = world.report((&headquarters, &site), "rotated");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
    site.done(&["receipt", "import", text(&receipt)]);

    headquarters.done(&["identity", "rotate", "--plugin", "entitlement"]);
    let order = Order { number: "PO-3", ..Order::default() };
    let (third, _) = world.entitle((&headquarters, &site), &order);
    provision(&site, &third, "device-3").await;
    let (verdict, _) = world.report((&headquarters, &site), "learned");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
    assert_eq!(sealed_to(&world.path("learned.bundle")), in_use(&headquarters));
    let shown = site.done(&["status"]);
    assert_eq!(shown["keys"].as_array().map(Vec::len), Some(4), "{shown}");
}
