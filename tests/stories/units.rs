//! The life of units, with the program's own commands and as other programs see it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{self, find};
use crate::station::{Device, Station};
use crate::world::{Host, Order, World, text};

/// A site with an entitlement and two stations; gives their contexts.
fn line(world: &World, order: &Order<'_>) -> (Host, Host, String, [String; 2]) {
    let (headquarters, site) = world.pair();
    let (entitlement, _) = world.entitle((&headquarters, &site), order);
    let stations = ["tester-1", "tester-2"].map(|name| site.user("station", name, &[]));
    (headquarters, site, entitlement, stations)
}

/// Runs `device` as somebody.
fn device(context: &str, entitlement: &str, arguments: &[&str]) -> program::Ended {
    let begin = ["--context", context, "device"];
    program::run(&[&begin[..], arguments, &["--entitlement", entitlement]].concat())
}

fn done(context: &str, entitlement: &str, arguments: &[&str]) -> Value {
    let ended = device(context, entitlement, arguments);
    assert_eq!(ended.code, 0, "{}", ended.text);
    ended.answer
}

fn refused(context: &str, entitlement: &str, arguments: &[&str]) -> Option<String> {
    let ended = device(context, entitlement, arguments);
    assert_ne!(ended.code, 0, "{}", ended.text);
    find(&ended.answer, "reason")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_is_given_back_handed_over_and_replaced_and_headquarters_finds_it_clean() {
    let world = World::new();
    let more_terms = "max_units_per_subject = 2\ncertificates_per_unit = 2";
    let order = Order { more_terms, ..Order::default() };
    let (headquarters, site, entitlement, [one, two]) = line(&world, &order);
    let anna = site.at("anna.context.toml");
    let first = Station::open(&one, &entitlement).await.unwrap();

    let reserved = first.reserve(&Device::new("device-1")).await.unwrap();
    let give_back = ["return", "device-1", "--reason", "the board is bent"];
    assert_eq!(refused(&one, &entitlement, &give_back).as_deref(), Some("PERMISSION_DENIED"));
    for _ in 0..2 {
        let returned = done(&anna, &entitlement, &give_back);
        assert_eq!(find(&returned, "state").as_deref(), Some("returned"), "{returned}");
    }

    let (out_1, out_2) = (site.at("devices-1"), site.at("devices-2"));
    let provision = ["provision", "device-1", "--out", &out_1];
    let made = done(&one, &entitlement, &provision);
    assert_ne!(find(&made, "unit"), Some(reserved.unit.to_string()), "{made}");
    // The other station has the device's key, and not its unit.
    std::fs::create_dir_all(&out_2).unwrap();
    let key = |out: &str| Path::new(out).join("device-1.key.pem");
    std::fs::copy(key(&out_1), key(&out_2)).unwrap();
    let again = ["provision", "device-1", "--out", &out_2];
    assert_eq!(refused(&two, &entitlement, &again).as_deref(), Some("PERMISSION_DENIED"));
    done(&anna, &entitlement, &["hand-over", "device-1", "--station", "tester-2"]);
    done(&two, &entitlement, &again);
    let certificate = |out: &str| std::fs::read(Path::new(out).join("device-1.pem")).unwrap();
    assert_eq!(certificate(&out_1), certificate(&out_2), "byte for byte");
    assert_eq!(refused(&one, &entitlement, &provision).as_deref(), Some("PERMISSION_DENIED"));

    let further = ["recertify", "device-1", "--ordinal", "1", "--out", &out_2];
    let second = find(&done(&two, &entitlement, &further), "file").unwrap();
    let bytes = std::fs::read(&second).unwrap();
    done(&two, &entitlement, &further);
    assert_eq!(std::fs::read(&second).unwrap(), bytes);

    // The device lost its key: a second person says so, and it gets one more unit.
    let lost = ["fail", "device-1", "--kind", "key-lost", "--detail", "the flash was erased"];
    assert_eq!(refused(&two, &entitlement, &lost).as_deref(), Some("PERMISSION_DENIED"));
    done(&anna, &entitlement, &lost);
    let out_3 = site.at("devices-3");
    done(&two, &entitlement, &["provision", "device-1", "--out", &out_3]);
    done(&two, &entitlement, &["confirm", "device-1", "--from", &out_3]);

    let (verdict, _) = world.report((&headquarters, &site), "life");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
    lists(&world, (&headquarters, &site), &entitlement, [&out_1, &second, &out_3]);
}

/// The batch's list has the two certificates of the key that was lost, and not the new one's:
/// `openssl` says so where it is there.
fn lists(world: &World, pair: (&Host, &Host), entitlement: &str, devices: [&str; 3]) {
    let (headquarters, site) = pair;
    let list = world.path("batch.crl");
    let crl = ["device", "crl", "--entitlement", entitlement, "--out", text(&list)];
    for number in ["1", "2"] {
        let made = site.done(&crl);
        assert_eq!(find(&made, "number").as_deref(), Some(number), "{made}");
        assert_eq!(find(&made, "revoked").as_deref(), Some("2"), "{made}");
    }
    let product_ca = world.path("product-ca.pem");
    headquarters.done(&["entitlement", "show", entitlement, "--ca", text(&product_ca)]);
    let openssl = |arguments: &[&str]| Command::new("openssl").args(arguments).output();
    let Ok(read) = openssl(&["crl", "-in", text(&list), "-noout", "-crlnumber"]) else {
        // The program is not there to be asked; host/pki's tests ask another verifier.
        return;
    };
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    // Versions of the program write `02`, `0x2` or `0x02`.
    let number = read.trim().trim_start_matches("crlNumber=").trim_start_matches("0x");
    assert_eq!(number.trim_start_matches('0'), "2", "{read}");
    let [first, second, third] = devices;
    let chain = |out: &str| text(&Path::new(out).join("device-1.pem")).to_owned();
    for (device, revoked) in
        [(chain(first), true), (second.to_owned(), true), (chain(third), false)]
    {
        let check = ["verify", "-crl_check", "-CAfile", text(&product_ca), "-CRLfile", text(&list)];
        let said = openssl(&[&check[..], &["-untrusted", &device, &device]].concat()).unwrap();
        let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        assert_eq!(text.contains("certificate revoked"), revoked, "{text}");
        assert_eq!(text.contains(": OK"), !revoked, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_request_that_is_replayed_a_thousand_times_at_once_makes_one_identity() {
    let world = World::new();
    let (_headquarters, site, entitlement, [one, _]) = line(&world, &Order::default());
    let station = Station::open(&one, &entitlement).await.unwrap();
    let csr = Device::new("device-1").csr().to_vec();
    let replays: Vec<_> = (0..1_000)
        .map(|_| {
            let (station, csr) = (station.clone(), csr.clone());
            tokio::spawn(async move {
                loop {
                    match station.provision_with("device-1", &csr).await {
                        Ok(identity) => return identity,
                        Err(failure) => {
                            // What says that waiting helps is asked again.
                            let reason = failure.reason.as_deref();
                            let waits = ["CONFLICT", "RATE_LIMITED", "UNAVAILABLE"];
                            assert!(reason.is_some_and(|one| waits.contains(&one)), "{failure:?}");
                        }
                    }
                }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for replay in replays {
        answers.push(replay.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "1,000 identical answers");
    let shown = site.done(&["entitlement", "show", &entitlement]);
    assert_eq!((&shown["issued"], &shown["unused"]), (&1.into(), &19.into()), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_a_device_that_asks_anew_never_gets_a_second_unit() {
    let world = World::new();
    let (_headquarters, site, entitlement, [one, two]) = line(&world, &Order::default());
    let station = Station::open(&one, &entitlement).await.unwrap();
    let other = Station::open(&two, &entitlement).await.unwrap();
    let device = Device::new("device-1");
    let identity = station.provision(&device).await.unwrap();
    let reason = async |station: &Station, device: &Device| {
        station.provision(device).await.unwrap_err().reason.unwrap_or_default()
    };
    assert_eq!(reason(&station, &Device::new("device-1")).await, "KEY_MISMATCH");
    assert_eq!(reason(&other, &device).await, "PERMISSION_DENIED");
    assert_eq!(station.provision(&device).await.unwrap(), identity);
    let shown = site.done(&["entitlement", "show", &entitlement]);
    assert_eq!((&shown["issued"], &shown["unused"]), (&1.into(), &19.into()), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_a_client_that_is_gone_before_the_answer_gets_the_same_one_afterwards() {
    let world = World::new();
    let (_headquarters, mut site, entitlement, [one, _]) = line(&world, &Order::default());
    let station = Station::open(&one, &entitlement).await.unwrap();
    let device = Device::new("device-1");
    // The client gives up at some moment between the request and its answer, many times.
    for wait_us in [0, 50, 200, 500, 1_000, 3_000, 10_000, 30_000] {
        let asked = station.provision(&device);
        drop(tokio::time::timeout(std::time::Duration::from_micros(wait_us), asked).await);
    }
    let identity = station.provision(&device).await.unwrap();
    site.kill();
    site.start();
    let station = Station::open(&one, &entitlement).await.unwrap();
    assert_eq!(station.provision(&device).await.unwrap(), identity);
    let shown = site.done(&["entitlement", "show", &entitlement]);
    assert_eq!((&shown["issued"], &shown["unused"]), (&1.into(), &19.into()), "{shown}");
}
