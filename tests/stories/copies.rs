//! A site that is there twice, each of them with all that the other remembers.

use crate::program::find;
use crate::station::{Device, Station};
use crate::tampered::{assert_found, make};
use crate::world::{Order, World, text};

/// No two hosts can be kept from serving that do not know of each other; but only one of them is
/// heard of by headquarters, and the other one starves, and is named as soon as it reports.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_two_hosts_serve_one_copied_store_and_the_copy_starves_and_is_named() {
    let world = World::new();
    let (headquarters, mut site) = world.pair();
    let order = Order { audit_units: 4, ..Order::default() };
    let (entitlement, _) = world.entitle((&headquarters, &site), &order);
    make(&site, &entitlement, 0..1).await;
    let (_, receipt) = world.report((&headquarters, &site), "first");
    site.done(&["receipt", "import", text(&receipt)]);

    site.kill();
    let mut copy = site.copied(&world, "copied");
    site.start();
    copy.start();
    // Both work at once; the original reports.
    make(&site, &entitlement, 1..3).await;
    make(&copy, &entitlement, 11..13).await;
    let (second, receipt) = world.report((&headquarters, &site), "second");
    assert_eq!(find(&second, "verdict").as_deref(), Some("clean"), "{second}");

    // What headquarters sends names the original's last row, which the copy has not.
    assert_eq!(copy.refused(&["receipt", "import", text(&receipt)]), "OUT_OF_ORDER");
    site.done(&["receipt", "import", text(&receipt)]);
    let (next, file) = world.create(&headquarters, &Order { number: "PO-2", ..Order::default() });
    assert_eq!(copy.refused(&["entitlement", "import", text(&file)]), "OUT_OF_ORDER");
    site.done(&["entitlement", "import", text(&file)]);
    make(&site, &next, 21..22).await;

    // The copy has what it may make without an audit, and no more.
    make(&copy, &entitlement, 13..15).await;
    let station = Station::open(&copy.at("tester-1.context.toml"), &entitlement).await.unwrap();
    let fifth = station.provision(&Device::new("device-15")).await.unwrap_err();
    assert_eq!(fifth.reason.as_deref(), Some("RECEIPT_OVERDUE"));

    let (forked, none) = world.report((&headquarters, &copy), "copy");
    assert_found(&forked, "breach", "fork");
    assert!(!none.exists(), "a fork gets no receipt");
    let (third, _) = world.report((&headquarters, &site), "third");
    assert_eq!(find(&third, "verdict").as_deref(), Some("clean"), "{third}");
}
