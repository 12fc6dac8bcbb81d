//! Refusals, each with its reason code over gRPC.

use crate::station::{Device, Station};
use crate::world::{Order, World, text};

fn reason<T: std::fmt::Debug>(answer: Result<T, mintmark_rpc::client::Failure>) -> String {
    answer.unwrap_err().reason.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_reason() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let rates = "rates = [{ units = 4, per_seconds = 3600 }]";
    let (entitlement, _) =
        world.entitle((&headquarters, &site), &Order { rates, ..Order::default() });
    let tester = site.user("station", "tester-1", &[]);
    let other = site.user("station", "tester-2", &[]);
    let bound = site.user("station", "tester-3", &["--entitlement", "ent-0000000000000000"]);
    let station = Station::open(&tester, &entitlement).await.unwrap();

    let first = Device::new("device-1");
    station.provision(&first).await.unwrap();
    let again = Device::new("device-1");
    assert_eq!(reason(station.provision(&again).await), "KEY_MISMATCH");
    let twin = station.provision_with("device-2", first.csr()).await;
    assert_eq!(reason(twin), "DUPLICATE_KEY");
    assert_eq!(reason(station.provision_with("device-3", b"no request").await), "CSR_INVALID");
    let mut altered = first.csr().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(reason(station.provision_with("device-3", &altered).await), "CSR_INVALID");
    assert_eq!(reason(station.provision_with("", first.csr()).await), "INVALID_ARGUMENT");

    let other = Station::open(&other, &entitlement).await.unwrap();
    assert_eq!(reason(other.provision(&first).await), "PERMISSION_DENIED");
    let bound = Station::open(&bound, &entitlement).await.unwrap();
    assert_eq!(reason(bound.provision(&Device::new("device-4")).await), "NOT_FOUND");

    for number in 5..8 {
        station.provision(&Device::new(&format!("device-{number}"))).await.unwrap();
    }
    let limited = station.provision(&Device::new("device-8")).await.unwrap_err();
    assert_eq!(limited.reason.as_deref(), Some("RATE_LIMITED"));
    assert!(limited.retry_after.is_some_and(|wait| wait.as_secs() > 3_000), "{limited:?}");

    let unknown = Station::open(&tester, "ent-00000000000000ff").await.unwrap();
    assert_eq!(reason(unknown.provision(&first).await), "NOT_FOUND");
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let elsewhere = world.host("site", "hanoi");
    world.introduce(&headquarters, &elsewhere);
    let (_, file) = world.create(&headquarters, &Order::default());

    assert_eq!(elsewhere.refused(&["entitlement", "import", text(&file)]), "WRONG_SITE");
    let mut changed = std::fs::read(&file).unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let altered = world.path("altered");
    std::fs::write(&altered, &changed).unwrap();
    assert_eq!(site.refused(&["entitlement", "import", text(&altered)]), "UNTRUSTED_MESSAGE");
    std::fs::write(&altered, &changed[..last]).unwrap();
    assert_eq!(site.refused(&["entitlement", "import", text(&altered)]), "UNTRUSTED_MESSAGE");

    let (_, later) = world.create(&headquarters, &Order { number: "PO-2", ..Order::default() });
    assert_eq!(site.refused(&["entitlement", "import", text(&later)]), "OUT_OF_ORDER");
    site.done(&["entitlement", "import", text(&file)]);
    site.done(&["entitlement", "import", text(&later)]);

    // The same order again is the same entitlement; another one under its number is refused.
    let (first, _) = world.create(&headquarters, &Order::default());
    let (second, _) = world.create(&headquarters, &Order::default());
    assert_eq!(first, second);
    let path = world.path("other.toml");
    let order = std::fs::read_to_string(world.path("PO-1.toml")).unwrap();
    std::fs::write(&path, order.replace("total = 20", "total = 21")).unwrap();
    let out = world.path("other");
    let create = ["entitlement", "create", text(&path), "--out", text(&out)];
    assert_eq!(headquarters.refused(&create), "WRONG_STATE");
    let order = order.replace("PO-1", "PO-3").replace("total = 20", "total = 2000000");
    std::fs::write(&path, order).unwrap();
    assert_eq!(headquarters.refused(&create), "APPROVAL_REQUIRED");
}
