//! Headquarters changes its mind: by files, with the program's own commands.

use mintmark_exchange::opened::OpenedHead;

use crate::program::{done, find};
use crate::station::{Device, Station};
use crate::world::{Order, World, text};

/// One entitlement is reduced, revoked and audited; what was lost on the way is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_headquarters_takes_back_what_it_granted() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    let station = site.user("station", "tester-1", &[]);
    let station = Station::open(&station, &entitlement).await.unwrap();
    let device = Device::new("device-1");
    let identity = station.provision(&device).await.unwrap();
    station.confirm(&device, &identity).await.unwrap();

    let reduced = world.path("reduced.directive");
    let reduce = ["entitlement", "reduce", &entitlement, "--units", "5", "--out", text(&reduced)];
    headquarters.done(&reduce);
    let revoked = world.path("revoked.directive");
    headquarters.done(&["entitlement", "revoke", &entitlement, "--out", text(&revoked)]);
    assert_eq!(site.refused(&["directive", "import", text(&revoked)]), "OUT_OF_ORDER");
    // The first file was lost; the outbox has its bytes.
    std::fs::remove_file(&reduced).unwrap();
    let again = world.path("again");
    let outbox = ["outbox", "export", "--site", "shenzhen", "--sequence", "2"];
    headquarters.done(&[&outbox[..], &["--out", text(&again)]].concat());
    let reduced = again.join("shenzhen-000002.directive");
    let acted = site.done(&["directive", "import", text(&reduced)]);
    assert_eq!((&acted["units"], &acted["credited"]), (&5.into(), &15.into()), "{acted}");
    site.done(&["directive", "import", text(&revoked)]);
    let repeated = site.done(&["directive", "import", text(&revoked)]);
    assert_eq!(repeated["already_imported"], true, "{repeated}");
    let refused = station.provision(&Device::new("device-2")).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("REVOKED"));

    let (verdict, _) = world.report((&headquarters, &site), "revoked");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
    let shown = headquarters.done(&["entitlement", "show", &entitlement]);
    assert_eq!((&shown["exposure"], &shown["revoked"]), (&0.into(), &true.into()), "{shown}");
    assert_eq!(shown["audit"], "complete", "{shown}");
    // An auditor comes to the same verdict, with the directives beside the grants.
    let report = find(&verdict, "report").unwrap();
    let opened = world.path("opened");
    let export = ["report", "export", &report, "--opened", text(&opened)];
    let file = find(&headquarters.done(&export), "file").unwrap();
    done(&["audit", "verify", "--root", &headquarters.at("root.pem"), &file]);
}

/// An entitlement is closed, and the sum is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a13_an_entitlement_is_closed_and_balances() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    let station = site.user("station", "tester-1", &[]);
    let station = Station::open(&station, &entitlement).await.unwrap();
    let device = Device::new("device-1");
    let identity = station.provision(&device).await.unwrap();
    station.confirm(&device, &identity).await.unwrap();

    let file = world.path("closed.closing");
    let close = ["entitlement", "close", &entitlement, "--out", text(&file)];
    assert_eq!(site.refused(&close), "WRONG_STATE", "nothing of it was reported");
    let (last, receipt) = world.report((&headquarters, &site), "last");
    site.done(&["receipt", "import", text(&receipt)]);
    let closed = site.done(&close);
    assert_eq!((&closed["confirmed"], &closed["destroyed"]), (&1.into(), &19.into()), "{closed}");
    let taken = headquarters.done(&["entitlement", "closed", text(&file)]);
    assert_eq!((&taken["credited"], &taken["destroyed"]), (&20.into(), &19.into()), "{taken}");
    let repeated = headquarters.done(&["entitlement", "closed", text(&file)]);
    assert_eq!(repeated["already_imported"], true, "{repeated}");
    let refused = station.provision(&Device::new("device-2")).await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("CLOSED"));
    let (after, _) = world.report((&headquarters, &site), "after");
    assert_eq!(find(&after, "verdict").as_deref(), Some("clean"), "{after}");
    // An auditor comes to the same verdict, with the statement beside the grants.
    let opened = world.path("opened");
    let [last, after] = [last, after].map(|verdict| {
        let report = find(&verdict, "report").unwrap();
        let export = ["report", "export", &report, "--opened", text(&opened)];
        find(&headquarters.done(&export), "file").unwrap()
    });
    let (head, _) = OpenedHead::split(&std::fs::read(&after).unwrap()).unwrap();
    assert_eq!(head.closings.len(), 1);
    done(&["audit", "verify", "--root", &headquarters.at("root.pem"), &last, &after]);
}
