//! Keys that an authority gave, from its file to a device.

use std::path::PathBuf;

use mintmark_crypto::SecretBytes;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::pool::{CHUNK_KEYS, given_digest, load_digest};
use mintmark_rpc::proto::admin::pools_client::PoolsClient;
use mintmark_rpc::proto::admin::{BeginLoadRequest, LoadChunkRequest};

use crate::program::{done, find};
use crate::station::connect;
use crate::world::{Host, Order, World, text};

/// More than a chunk, so that there is something to break off from.
const KEYS: usize = 1_030;

#[test]
fn given_keys_reach_devices_once_each_and_power_cuts_between_chunks_lose_none() {
    let world = World::new();
    let (mut headquarters, mut site) = world.pair();
    let authority = Authority::new(&world);
    loads(&mut headquarters, &authority);
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
    // The last chunk is damaged; the one before it is taken.
    let (damaged, mut content) = (world.path("damaged.keys"), whole);
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, content).unwrap();
    assert_eq!(site.refused(&["pool", "import", text(&damaged)]), "UNTRUSTED_MESSAGE");
    site.kill();
    site.start();
    assert_eq!(crate::program::refused(&provision), "WRONG_STATE", "its keys are not all here");
    let imported = site.done(&["pool", "import", &key_file]);
    assert_eq!(find(&imported, "entitlement").as_deref(), Some(&*entitlement));
    assert_eq!(imported["here_before"].as_u64(), Some(1_024), "a chunk was there");
    site.kill();
    site.start();
    let again = site.done(&["pool", "import", &key_file]);
    assert_eq!(again["here_before"].as_u64(), Some(1_028));
    done(&provision);
    done(&provision);
    let delivered = std::fs::read(format!("{out}/unit-a.key.pem")).unwrap();
    let (_, delivered) = pem_rfc7468::decode_vec(&delivered).unwrap();
    let delivered = SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256, &delivered).unwrap();
    assert_eq!(
        delivered.public_key_info(),
        authority.keys[0].public_key_info(),
        "unit 0 has key 0"
    );
    let confirm = ["--context", &station, "device", "confirm", "unit-a"];
    done(&[&confirm[..], &["--entitlement", &entitlement, "--from", &out]].concat());
    let listed = site.done(&["pool", "list"]);
    assert_eq!(listed[0]["left"].as_u64(), Some(1_027), "{listed}");
    let (verdict, _) = world.report((&headquarters, &site), "pool");
    assert_eq!(find(&verdict, "verdict").as_deref(), Some("clean"), "{verdict}");
    assert_eq!(headquarters.done(&["pool", "destroy", "licences"])["destroyed"].as_u64(), Some(2));
}

/// Headquarters takes the authority's keys, in two lives.
fn loads(headquarters: &mut Host, authority: &Authority) {
    let loading = ["pool", "load", text(&authority.file), "--name", "licences"];
    authority.load_first_chunk(headquarters, "licences");
    headquarters.kill();
    headquarters.start();
    let loaded = headquarters.done(&loading);
    assert_eq!((loaded["keys"].as_u64(), loaded["whole"].as_bool()), (Some(1_030), Some(true)));
    assert_eq!(loaded["here_before"].as_u64(), Some(1_024), "a chunk was there");
    headquarters.kill();
    headquarters.start();
    let again = headquarters.done(&loading);
    assert_eq!(again["here_before"].as_u64(), Some(1_030), "the same file changes nothing");
    let twice = ["pool", "load", text(&authority.file), "--name", "licences-2"];
    assert_eq!(headquarters.refused(&twice), "DUPLICATE_KEY");
}

/// A licensing authority: its keys, and the file that has them.
struct Authority {
    keys: Vec<SigningKey>,
    file: PathBuf,
}

impl Authority {
    fn new(world: &World) -> Self {
        let keys: Vec<SigningKey> =
            (0..KEYS).map(|_| SigningKey::generate(SignatureAlgorithm::EcdsaP256)).collect();
        let pem = |key: &SigningKey| {
            let ending = pem_rfc7468::LineEnding::LF;
            pem_rfc7468::encode_string("PRIVATE KEY", ending, key.to_pkcs8().expose()).unwrap()
        };
        let file = world.path("licences.pem");
        std::fs::write(&file, keys.iter().map(pem).collect::<String>()).unwrap();
        Self { keys, file }
    }

    /// What `pool load` does, as far as the first of its chunks.
    fn load_first_chunk(&self, headquarters: &Host, name: &str) {
        let keys: Vec<_> = self.keys.iter().map(SigningKey::to_pkcs8).collect();
        let digests: Vec<_> = keys
            .chunks(CHUNK_KEYS)
            .map(|chunk| given_digest(chunk.iter().map(SecretBytes::expose)))
            .collect();
        let begin = BeginLoadRequest {
            name: name.to_owned(),
            plugin: String::new(),
            algorithm: "ecdsa-p256".to_owned(),
            keys: keys.len() as u64,
            digest: load_digest(&digests).to_vec(),
        };
        let first = keys[..CHUNK_KEYS].iter().map(|key| key.expose().to_vec()).collect();
        let chunk = LoadChunkRequest { name: name.to_owned(), chunk: 0, keys: first };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reached = runtime.block_on(async {
            let connection = connect(&headquarters.at("anna.context.toml")).await.unwrap();
            let mut pools = PoolsClient::new(connection.channel());
            pools.begin_load(begin).await.unwrap();
            pools.load_chunk(chunk).await.unwrap().into_inner()
        });
        assert_eq!((reached.keys, reached.whole), (1_024, false));
    }
}
