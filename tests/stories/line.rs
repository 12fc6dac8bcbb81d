//! The ways to provision besides one call for one device.

use crate::station::{Device, Station};
use crate::world::{Order, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_answers_in_order_and_ends_at_the_first_refusal() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    let station = site.user("station", "tester-1", &[]);
    let station = Station::open(&station, &entitlement).await.unwrap();
    let devices: Vec<_> = (0..8).map(|number| Device::new(&format!("device-{number}"))).collect();
    let asked: Vec<_> = devices.iter().map(|one| (one.subject.as_str(), one.csr())).collect();

    let (answers, ended) = station.provision_all(&asked[..6]).await;
    ended.unwrap();
    let units: Vec<_> = answers.iter().map(|identity| identity.unit).collect();
    assert_eq!(units, (0..6).collect::<Vec<_>>());
    // The order is that of the requests, not that of the units.
    let backwards: Vec<_> = asked[..6].iter().rev().copied().collect();
    let (mut again, ended) = station.provision_all(&backwards).await;
    ended.unwrap();
    again.reverse();
    assert_eq!(again, answers, "a retry gets the same bytes");
    for (device, identity) in devices.iter().zip(&answers) {
        // The proof shows that each answer is the one of its own device.
        station.confirm(device, identity).await.unwrap();
    }

    let refused = [asked[6], ("device-0b", devices[0].csr()), asked[7]];
    let (answers, ended) = station.provision_all(&refused).await;
    assert_eq!(ended.unwrap_err().reason.as_deref(), Some("DUPLICATE_KEY"));
    assert_eq!(answers.len(), 1, "what was answered before the refusal stands");
    assert_eq!(station.provision(&devices[6]).await.unwrap(), answers[0]);
    for subject in ["device-0b", "device-7"] {
        let unit = station.unit(subject).await.unwrap_err();
        assert_eq!(unit.reason.as_deref(), Some("NOT_FOUND"), "{subject}");
    }
    let shown = site.done(&["entitlement", "show", &entitlement]);
    assert_eq!((&shown["unused"], &shown["confirmed"]), (&13.into(), &6.into()), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserving_and_issuing_is_provisioning_in_two_steps() {
    let world = World::new();
    let (headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
    let station = site.user("station", "tester-1", &[]);
    let station = Station::open(&station, &entitlement).await.unwrap();
    let device = Device::new("device-1");

    let reserved = station.reserve(&device).await.unwrap();
    assert_eq!(station.reserve(&device).await.unwrap(), reserved, "a retry takes no other unit");
    let shown = site.done(&["entitlement", "show", &entitlement]);
    assert_eq!((&shown["reserved"], &shown["unused"]), (&1.into(), &19.into()), "{shown}");
    let identity = station.issue(&device).await.unwrap();
    assert_eq!((identity.unit, &identity.serial), (reserved.unit, &reserved.serial));
    assert_eq!(station.issue(&device).await.unwrap(), identity);
    assert_eq!(station.provision(&device).await.unwrap(), identity);
    assert_eq!(station.reserve(&device).await.unwrap(), reserved);
    let other = station.issue(&Device::new("device-1")).await.unwrap_err();
    assert_eq!(other.reason.as_deref(), Some("KEY_MISMATCH"));
    let shown = site.done(&["entitlement", "show", &entitlement]);
    assert_eq!((&shown["issued"], &shown["unused"]), (&1.into(), &19.into()), "{shown}");
    station.confirm(&device, &identity).await.unwrap();
}
