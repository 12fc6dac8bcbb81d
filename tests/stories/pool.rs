//! Keys that an authority gave, from its file to a device.

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};

use crate::program::{done, find};
use crate::world::{Order, World, text};

/// More than a chunk, so that there is something to break off from.
const KEYS: usize = 1_030;

#[test]
fn given_keys_reach_devices_once_each_and_power_cuts_lose_none() {
    let world = World::new();
    let (mut headquarters, mut site) = world.pair();
    let (keys, first) = authority(&world);
    let loading = ["pool", "load", text(&keys), "--name", "licences"];
    let loaded = headquarters.done(&loading);
    assert_eq!((loaded["keys"].as_u64(), loaded["whole"].as_bool()), (Some(1_030), Some(true)));
    headquarters.kill();
    headquarters.start();
    let again = headquarters.done(&loading);
    assert_eq!(again["here_before"].as_u64(), Some(1_030), "the same file changes nothing");
    let twice = ["pool", "load", text(&keys), "--name", "licences-2"];
    assert_eq!(headquarters.refused(&twice), "DUPLICATE_KEY");

    let order = Order {
        origin: "pool",
        pool: "licences",
        delivery: "sealed-to-device",
        total: 1_028,
        ..Order::default()
    };
    let (entitlement, file) = world.entitle((&headquarters, &site), &order);
    let key_file = format!("{}.keys", text(&file));
    let shown = headquarters.done(&["pool", "show", "licences"]);
    assert_eq!(shown["left"].as_u64(), Some(2));
    // The order again gives the same files, and takes no key.
    let (same, _) = world.create(&headquarters, &order);
    assert_eq!(same, entitlement);
    assert_eq!(headquarters.done(&["pool", "show", "licences"])["left"].as_u64(), Some(2));

    let station = site.user("station", "tester-1", &[]);
    let out = site.at("devices");
    std::fs::create_dir_all(&out).unwrap();
    let provision = ["--context", &station, "device", "provision", "unit-a", "--sealed"];
    let provision = [&provision[..], &["--entitlement", &entitlement, "--out", &out]].concat();
    assert_eq!(crate::program::refused(&provision), "WRONG_STATE", "its keys are not here");
    let cut_off = world.path("cut-off.keys");
    let whole = std::fs::read(&key_file).unwrap();
    std::fs::write(&cut_off, &whole[..whole.len() - 1]).unwrap();
    assert_ne!(site.run(&["pool", "import", text(&cut_off)]).code, 0);
    let imported = site.done(&["pool", "import", &key_file]);
    assert_eq!(find(&imported, "entitlement").as_deref(), Some(&*entitlement));
    site.kill();
    site.start();
    let again = site.done(&["pool", "import", &key_file]);
    assert_eq!(again["here_before"].as_u64(), Some(1_028));
    done(&provision);
    done(&provision);
    let delivered = std::fs::read(format!("{out}/unit-a.key.pem")).unwrap();
    let (_, delivered) = pem_rfc7468::decode_vec(&delivered).unwrap();
    let delivered = SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256, &delivered).unwrap();
    assert_eq!(delivered.public_key_info(), first, "unit 0 has key 0");
    let confirm = ["--context", &station, "device", "confirm", "unit-a"];
    done(&[&confirm[..], &["--entitlement", &entitlement, "--from", &out]].concat());
    let listed = site.done(&["pool", "list"]);
    assert_eq!(listed[0]["left"].as_u64(), Some(1_027), "{listed}");
    let (verdict, _) = world.report((&headquarters, &site), "pool");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
    assert_eq!(headquarters.done(&["pool", "destroy", "licences"])["destroyed"].as_u64(), Some(2));
}

/// An authority's file; gives the public key of its first key too.
fn authority(world: &World) -> (std::path::PathBuf, Vec<u8>) {
    let keys: Vec<SigningKey> =
        (0..KEYS).map(|_| SigningKey::generate(SignatureAlgorithm::EcdsaP256)).collect();
    let pem = |key: &SigningKey| {
        let ending = pem_rfc7468::LineEnding::LF;
        pem_rfc7468::encode_string("PRIVATE KEY", ending, key.to_pkcs8().expose()).unwrap()
    };
    let path = world.path("licences.pem");
    std::fs::write(&path, keys.iter().map(pem).collect::<String>()).unwrap();
    (path, keys[0].public_key_info().to_vec())
}
