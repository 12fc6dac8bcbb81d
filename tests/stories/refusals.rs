//! Refusals, each with its reason code over gRPC.

use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key::FailureKind;

use crate::station::{Device, Station};
use crate::world::{Host, Order, World, text};

fn reason<T: std::fmt::Debug>(answer: Result<T, Failure>) -> String {
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

/// The admin of a site, for what a station may not do.
async fn admin(site: &Host, entitlement: &str) -> Station {
    Station::open(&site.at("anna.context.toml"), entitlement).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_ends_only_as_its_life_allows() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let order = Order { attempts_max: 2, ..Order::default() };
    let (entitlement, _) = world.entitle((&headquarters, &site), &order);
    let station = site.user("station", "tester-1", &[]);
    let station = Station::open(&station, &entitlement).await.unwrap();
    let admin = admin(&site, &entitlement).await;

    let unknown = Device::new("unknown");
    assert_eq!(reason(station.confirm_with("unknown", unknown.sign(b"x")).await), "NOT_FOUND");
    for kind in [FailureKind::Transient, FailureKind::Permanent] {
        assert_eq!(reason(station.fail("unknown", kind).await), "NOT_FOUND");
    }
    assert_eq!(reason(admin.scrap("unknown").await), "NOT_FOUND");
    assert_eq!(reason(station.issue(&unknown).await), "NOT_FOUND");

    let (first, second) = (Device::new("device-1"), Device::new("device-2"));
    let identity = station.provision(&first).await.unwrap();
    let other = station.provision(&second).await.unwrap();
    let message = &identity.confirm_message;
    let wrong = [second.sign(message), first.sign(&other.confirm_message), b"proof".to_vec()];
    for proof in wrong.into_iter().chain([Vec::new()]) {
        assert_eq!(reason(station.confirm_with("device-1", proof).await), "PROOF_INVALID");
    }

    for attempts in 1..=2 {
        let tried = station.fail("device-1", FailureKind::Transient).await.unwrap();
        assert_eq!(tried.attempts, attempts);
    }
    let third = station.fail("device-1", FailureKind::Transient).await;
    assert_eq!(reason(third), "ATTEMPTS_EXHAUSTED");

    station.fail("device-1", FailureKind::Permanent).await.unwrap();
    assert_eq!(reason(station.confirm(&first, &identity).await), "WRONG_STATE");
    assert_eq!(reason(station.provision(&first).await), "WRONG_STATE");
    assert_eq!(reason(station.fail("device-1", FailureKind::Transient).await), "WRONG_STATE");
    station.confirm(&second, &other).await.unwrap();
    assert_eq!(reason(station.scrap("device-2").await), "PERMISSION_DENIED");
    admin.scrap("device-2").await.unwrap();
    assert_eq!(reason(station.confirm(&second, &other).await), "WRONG_STATE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_of_the_terms_has_its_reason() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let pair = (&headquarters, &site);
    let (entitlement, _) = world.entitle(pair, &Order { in_doubt_max: 2, ..Order::default() });
    let (same_product, _) = world.entitle(pair, &Order { number: "PO-2", ..Order::default() });
    let past = ["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"];
    let past = Order { number: "PO-3", window: past, ..Order::default() };
    let (past, _) = world.entitle(pair, &past);
    let future = ["2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"];
    let future = Order { number: "PO-4", window: future, ..Order::default() };
    let (future, _) = world.entitle(pair, &future);
    let context = site.user("station", "tester-1", &[]);
    let station = Station::open(&context, &entitlement).await.unwrap();

    let first = Device::new("device-1");
    let identity = station.provision(&first).await.unwrap();
    station.provision(&Device::new("device-2")).await.unwrap();
    let third = Device::new("device-3");
    assert_eq!(reason(station.provision(&third).await), "IN_DOUBT_EXHAUSTED");
    assert_eq!(reason(station.reserve(&third).await), "IN_DOUBT_EXHAUSTED");
    assert_eq!(station.provision(&first).await.unwrap(), identity, "a retry is not one more");
    station.confirm(&first, &identity).await.unwrap();
    station.provision(&third).await.unwrap();

    let station = Station::open(&context, &same_product).await.unwrap();
    assert_eq!(reason(station.provision(&first).await), "DUPLICATE_SUBJECT");
    assert_eq!(reason(station.reserve(&first).await), "DUPLICATE_SUBJECT");
    for (entitlement, wanted) in [(past, "EXPIRED"), (future, "NOT_YET_VALID")] {
        let station = Station::open(&context, &entitlement).await.unwrap();
        let device = Device::new(wanted);
        assert_eq!(reason(station.provision(&device).await), wanted);
        assert_eq!(reason(station.reserve(&device).await), wanted);
        assert_eq!(reason(station.unit(wanted).await), "NOT_FOUND", "nothing was reserved");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_taken_once_and_only_for_what_it_is() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let (entitlement, file) = world.entitle((&headquarters, &site), &Order::default());
    let admin = admin(&site, &entitlement).await;
    let again = admin.import(&file).await.unwrap_err();
    assert_eq!(again.reason.as_deref(), Some("REPLAYED"));
    assert!(again.metadata.contains_key("row"), "{again:?}");

    let (_, receipt) = world.report((&headquarters, &site), "first");
    assert_eq!(reason(admin.import(&receipt).await), "UNTRUSTED_MESSAGE");
    let (_, next) = world.create(&headquarters, &Order { number: "PO-2", ..Order::default() });
    assert_eq!(reason(admin.import_receipt(&next).await), "UNTRUSTED_MESSAGE");
    // Neither refusal used the file up.
    assert_eq!(admin.import_receipt(&receipt).await.unwrap(), "clean");
    admin.import(&next).await.unwrap();
    assert_eq!(reason(admin.import_receipt(&receipt).await), "REPLAYED");
    assert_eq!(reason(admin.import(&next).await), "REPLAYED");
}

/// The strangers have the same names; only their root is another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_root_signed_is_refused() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let elsewhere = World::new();
    let strangers = elsewhere.pair();
    let (headquarters_there, site_there) = (&strangers.0, &strangers.1);
    let (entitlement, theirs) =
        elsewhere.entitle((headquarters_there, site_there), &Order::default());
    let (_, receipt) = elsewhere.report((headquarters_there, site_there), "theirs");
    let admin = admin(&site, &entitlement).await;
    assert_eq!(reason(admin.import(&theirs).await), "UNTRUSTED_MESSAGE");
    assert_eq!(reason(admin.import_receipt(&receipt).await), "UNTRUSTED_MESSAGE");
    let bundle = elsewhere.path("theirs.bundle");
    let (bundle, out) = (text(&bundle), world.path("no.receipt"));
    let ingest = ["audit", "ingest", bundle, "--receipt", text(&out)];
    assert_eq!(headquarters.refused(&ingest), "UNTRUSTED_MESSAGE");
    let identity = elsewhere.path("shenzhen.identity");
    let import = ["identity", "import", text(&identity)];
    assert_eq!(headquarters.refused(&import), "UNTRUSTED_MESSAGE");
    assert_eq!(reason(admin.provision(&Device::new("device-1")).await), "NOT_FOUND");
}
