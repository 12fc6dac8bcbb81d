//! Headquarters is set back to a backup by the ceremony, and its sites set it right.

use serde_json::Value;

use crate::program::{done, find};
use crate::station::{Device, Station};
use crate::world::{Host, Order, World, text};

const ADMINS: [&str; 3] = ["anna", "bela", "chen"];

/// Bela and chen sign a request, each with the key at hand; gives the statements' files.
fn signed(world: &World, host: &Host, request: &str) -> Vec<String> {
    let sign = |name: &&str| {
        let statement = text(&world.path(&format!("{name}.statement"))).to_owned();
        let key = host.at(&format!("{name}.key.pem"));
        let sign = ["approvals", "sign", "--request", request, "--key", &key, "--out", &statement];
        done(&sign);
        statement
    };
    ADMINS[1..].iter().map(sign).collect()
}

/// Restores a host from its backup and starts it again.
fn restore(world: &World, host: &mut Host, backup: &str) {
    host.kill();
    let (config, request) = (host.at("host.toml"), host.at("restore.request"));
    done(&["restore", backup, "--config", &config, "--request-out", &request]);
    let statements = signed(world, host, &request);
    let approvals = statements.iter().flat_map(|file| ["--approval", file]);
    let carry_out = ["restore", backup, "--config", &config, "--request", &request];
    done(&carry_out.into_iter().chain(approvals).collect::<Vec<_>>());
    host.start();
}

/// A command of anna's that needs the others.
fn agreed(host: &Host, arguments: &[&str]) -> Value {
    let refused = host.run(arguments);
    assert_eq!(find(&refused.answer, "reason").as_deref(), Some("APPROVAL_REQUIRED"));
    let request = find(&refused.answer, "request").unwrap();
    for name in &ADMINS[1..] {
        assert_eq!(host.run_as(name, &["approvals", "approve", &request]).code, 0);
    }
    host.done(arguments)
}

async fn make(station: &Station, subjects: &[&str]) {
    for subject in subjects {
        let device = Device::new(subject);
        let identity = station.provision(&device).await.unwrap();
        station.confirm(&device, &identity).await.unwrap();
    }
}

/// The bundle of a site from row `after` on, carried to headquarters.
fn report_after(world: &World, pair: (&Host, &Host), name: &str, after: &str) -> (Value, String) {
    let (headquarters, site) = pair;
    let file = |end: &str| text(&world.path(&format!("{name}.{end}"))).to_owned();
    let (bundle, receipt) = (file("bundle"), file("receipt"));
    site.done(&["audit", "export", "--out", &bundle, "--after", after]);
    let ingest = ["audit", "ingest", &bundle, "--receipt", &receipt];
    (headquarters.run(&ingest).answer, receipt)
}

/// Headquarters orders a change, and the site acts on it.
fn order(world: &World, (headquarters, site): (&Host, &Host), change: &[&str]) {
    let file = text(&world.path(change[0])).to_owned();
    headquarters.done(&[&["entitlement"], change, &["--out", &file]].concat());
    site.done(&["directive", "import", &file]);
}

fn verdict(answer: &Value) -> String {
    find(answer, "verdict").unwrap_or_else(|| panic!("no verdict: {answer}"))
}

/// Three units may have no receipt, so what headquarters forgets is more than it allows at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_a_headquarters_that_was_set_back_loses_nothing_and_counts_nothing_twice() {
    let world = World::new();
    let mut headquarters = world.host_of("headquarters", "berlin", &ADMINS);
    let site = world.host("site", "shenzhen");
    world.introduce(&headquarters, &site);
    let few = Order { audit_units: 3, ..Order::default() };
    let (first, _) = world.entitle((&headquarters, &site), &few);
    let station = site.user("station", "tester-1", &[]);
    let one = Station::open(&station, &first).await.unwrap();
    make(&one, &["a-1", "a-2"]).await;
    let (clean, receipt) = world.report((&headquarters, &site), "first");
    assert_eq!(verdict(&clean), "clean", "{clean}");
    site.done(&["receipt", "import", text(&receipt)]);
    let backup = text(&world.path("berlin.backup")).to_owned();
    headquarters.done(&["backup", "--out", &backup]);

    // What headquarters will have forgotten: two receipts, an order, an entitlement.
    for (number, device) in ["second", "third"].into_iter().zip(["b", "c"]) {
        make(&one, &[&format!("{device}-1"), &format!("{device}-2")]).await;
        let (_, receipt) = world.report((&headquarters, &site), number);
        site.done(&["receipt", "import", text(&receipt)]);
    }
    order(&world, (&headquarters, &site), &["reduce", &first, "--units", "5"]);
    let later = Order { number: "PO-2", ..Order::default() };
    let (second, _) = world.entitle((&headquarters, &site), &later);
    let two = Station::open(&station, &second).await.unwrap();
    make(&two, &["d-1"]).await;

    restore(&world, &mut headquarters, &backup);
    let listed = headquarters.done(&["entitlement", "list"]).to_string();
    assert!(listed.contains(&first) && !listed.contains(&second), "{listed}");
    agreed(&headquarters, &["stream", "open", "site/shenzhen"]);
    let pair = (&headquarters, &site);
    let (missing, _) = world.report(pair, "after");
    assert_eq!(verdict(&missing), "hold", "rows are missing: {missing}");
    let (held, _) = report_after(&world, pair, "again", "0");
    assert_eq!(verdict(&held), "hold", "an entitlement is unknown: {held}");

    let orders = text(&world.path("shenzhen.orders")).to_owned();
    site.done(&["entitlement", "orders", "--out", &orders]);
    for known in [1, 3] {
        let adopted = headquarters.done(&["entitlement", "adopt", &orders]);
        assert_eq!(adopted["known_before"], known, "{adopted}");
    }
    let receipt = world.path("again.receipt");
    let again = world.path("again.bundle");
    let ingest = ["audit", "ingest", text(&again), "--receipt", text(&receipt)];
    let noted = headquarters.done(&ingest);
    assert_eq!(verdict(&noted), "clean-with-notes", "{noted}");
    site.done(&["receipt", "import", text(&receipt)]);
    let shown = |id: &str, confirmed: u64| {
        let shown = headquarters.done(&["entitlement", "show", id]);
        assert_eq!((&shown["confirmed"], &shown["total"]), (&confirmed.into(), &20.into()));
    };
    shown(&first, 6);
    shown(&second, 1);

    // Both go on: the site makes and reports, headquarters changes what it had forgotten.
    make(&one, &["e-1", "e-2"]).await;
    let (clean, receipt) = world.report(pair, "on");
    assert_eq!(verdict(&clean), "clean", "{clean}");
    site.done(&["receipt", "import", text(&receipt)]);
    shown(&first, 8);
    order(&world, pair, &["revoke", &second]);
    let refused = two.provision(&Device::new("d-2")).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("REVOKED"));
}

/// It was known when the backup was made, and never had a message: it has no bundle to seal.
#[test]
fn r15_a_site_without_an_entitlement_shows_that_it_holds_nothing() {
    let world = World::new();
    let mut headquarters = world.host_of("headquarters", "berlin", &ADMINS);
    let site = world.host("site", "shenzhen");
    world.introduce(&headquarters, &site);
    let backup = text(&world.path("berlin.backup")).to_owned();
    headquarters.done(&["backup", "--out", &backup]);
    restore(&world, &mut headquarters, &backup);
    agreed(&headquarters, &["stream", "open", "site/shenzhen"]);

    let nothing = text(&world.path("nothing.bundle")).to_owned();
    let export = ["audit", "export", "--out", &nothing];
    assert_eq!(site.refused(&export), "WRONG_STATE", "nobody is there to report to");
    world.introduce(&site, &headquarters);
    for name in ["nothing-at-all", "in-the-new-epoch"] {
        let (clean, receipt) = world.report((&headquarters, &site), name);
        assert_eq!(verdict(&clean), "clean", "{clean}");
        site.done(&["receipt", "import", text(&receipt)]);
    }
    world.entitle((&headquarters, &site), &Order::default());
}
