//! Keys that somebody gave: sealed on arrival, each handed out once; loads and imports that break
//! off at any chunk go on where they stood, and nothing is lost or doubled.

use std::collections::BTreeSet;

use futures_executor::block_on;
use mintmark_crypto::SecretBytes;
use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_custody::pools::{PoolLoad, PoolProgress, PoolState, PoolStatus};
use mintmark_custody::{Artefact, Failure, Session};
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::pool::{
    CHUNK_KEYS, KeyFile, KeyFileHead, assemble, given_digest, load_digest,
};
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::proposal::GrantProposal;
use mintmark_exchange::row::{Event, Row};
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::sdk::{Status, transfers};
use mintmark_sdk_testing::{Device, Hardware, NODE, Office, TestHost};
use mintmark_store::Range;

use crate::bench::{Bench, Line, draw, finish, import};

const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::EcdsaP256;
/// Two whole chunks, and a third that is not.
const SMALL: usize = 2 * CHUNK_KEYS + 7;

/// A licensing authority: its keys, and the hashes by which it knows them.
pub(crate) struct Authority {
    algorithm: SignatureAlgorithm,
    keys: Vec<SecretBytes>,
    pub(crate) hashes: Vec<[u8; 32]>,
}

impl Authority {
    pub(crate) fn new(count: usize) -> Self {
        Self::of(ALGORITHM, count)
    }

    pub(crate) fn of(algorithm: SignatureAlgorithm, count: usize) -> Self {
        let keys: Vec<_> = (0..count).map(|_| SigningKey::generate(algorithm)).collect();
        Self {
            algorithm,
            hashes: keys.iter().map(|key| sha256(key.public_key_info())).collect(),
            keys: keys.iter().map(SigningKey::to_pkcs8).collect(),
        }
    }

    /// The same keys in another file.
    pub(crate) fn turned(mut self) -> Self {
        self.keys.reverse();
        self.hashes.reverse();
        self
    }

    pub(crate) fn chunks(&self) -> Vec<&[SecretBytes]> {
        self.keys.chunks(CHUNK_KEYS).collect()
    }

    pub(crate) fn announced(&self, name: &str) -> PoolLoad {
        let digests = self.chunks().into_iter().map(digest_of).collect::<Vec<_>>();
        PoolLoad {
            name: name.to_owned(),
            plugin: "entitlement".to_owned(),
            algorithm: self.algorithm.name().to_owned(),
            keys: self.keys.len() as u64,
            digest: load_digest(&digests),
        }
    }
}

fn digest_of(chunk: &[SecretBytes]) -> [u8; 32] {
    given_digest(chunk.iter().map(SecretBytes::expose))
}

pub(crate) fn admin(host: &TestHost) -> Session {
    let session = if host.uri().contains("/site/") {
        host.session_of::<Line>("operator", "mei")
    } else {
        host.session_of::<Office>("admin", "ada")
    };
    Session { plugin: None, ..session }
}

pub(crate) fn begin(hq: &TestHost, load: &PoolLoad) -> Result<PoolProgress, Refusal> {
    block_on(hq.custody().begin_load(admin(hq), load))
}

pub(crate) fn send(
    hq: &TestHost,
    name: &str,
    number: usize,
    chunk: &[SecretBytes],
) -> Result<PoolProgress, Refusal> {
    let number = u32::try_from(number).unwrap();
    block_on(hq.custody().load_chunk(admin(hq), name, number, chunk))
}

/// Loads what is missing.
pub(crate) fn load(
    hq: &TestHost,
    name: &str,
    authority: &Authority,
) -> Result<PoolProgress, Refusal> {
    let mut reached = begin(hq, &authority.announced(name))?;
    for (number, chunk) in authority.chunks().into_iter().enumerate().skip(reached.chunk as usize) {
        reached = send(hq, name, number, chunk)?;
    }
    Ok(reached)
}

pub(crate) fn pools(host: &TestHost) -> Vec<PoolStatus> {
    block_on(host.custody().pools(admin(host))).unwrap()
}

fn left(hq: &TestHost) -> u64 {
    pools(hq)[0].left
}

pub(crate) fn order(bench: &Bench, number: &str, total: usize) -> GrantProposal {
    let mut order = bench.order(number, total as u64);
    order.product.origin = KeyOrigin::Pool;
    order.product.delivery = Delivery::SealedToDevice;
    order.terms.confirm_proof = ConfirmProof::None;
    order.product.serial = SerialRule::Assigned {
        prefix: format!("{number}-"),
        digits: 6,
        start: 0,
        check: CheckDigit::None,
    };
    order.pool = Some("licences".to_owned());
    order
}

/// The key file of an entitlement, fetched at headquarters.
pub(crate) fn key_file(hq: &TestHost, entitlement: &str) -> Vec<u8> {
    let file = block_on(hq.custody().key_file(admin(hq), entitlement)).unwrap();
    hq.fetch(&file).unwrap()
}

pub(crate) fn show(site: &TestHost, head: &[u8]) -> Result<(String, PoolProgress), Refusal> {
    block_on(site.custody().begin_keys(admin(site), head))
}

pub(crate) fn take(
    site: &TestHost,
    entitlement: &str,
    number: usize,
    chunk: &[u8],
) -> Result<PoolProgress, Refusal> {
    let number = u32::try_from(number).unwrap();
    block_on(site.custody().import_keys(admin(site), entitlement, number, chunk))
}

/// Imports what is missing of a key file.
pub(crate) fn import_keys(site: &TestHost, file: &[u8]) -> Result<PoolProgress, Refusal> {
    let file = KeyFile::parse(file).unwrap();
    let (entitlement, mut reached) = show(site, file.head())?;
    let chunks = file.chunks().unwrap();
    for (number, chunk) in chunks.into_iter().enumerate().skip(reached.chunk as usize) {
        reached = take(site, &entitlement, number, chunk)?;
    }
    Ok(reached)
}

/// A bench with a loaded pool, and an entitlement from it whose keys are not here yet.
pub(crate) fn granted(loaded: usize, total: usize) -> (Bench, Authority, String, Vec<u8>) {
    let bench = Bench::new();
    let authority = Authority::new(loaded);
    assert!(load(&bench.hq, "licences", &authority).unwrap().whole);
    let entitlement = bench.entitlement_of(&order(&bench, "po-1", total));
    let file = key_file(&bench.hq, &entitlement);
    (bench, authority, entitlement, file)
}

/// Provisions with a key of the pool, which the device opens.
pub(crate) fn provision(
    bench: &Bench,
    entitlement: &str,
    subject: &str,
) -> Result<[u8; 32], Refusal> {
    let device = Device::new();
    let artefact = seal(bench, entitlement, subject, &device)?;
    let sealed = artefact.sealed_key.unwrap();
    let public_key = &artefact.public_key;
    let opened = device.open(&sealed.encapsulated_key, &sealed.ciphertext, public_key).unwrap();
    let algorithm = SignatureAlgorithm::for_public_key(public_key).unwrap();
    let key = SigningKey::from_pkcs8(algorithm, &opened).unwrap();
    assert_eq!(key.public_key_info(), public_key);
    Ok(sha256(public_key))
}

fn seal(
    bench: &Bench,
    entitlement: &str,
    subject: &str,
    device: &Device,
) -> Result<Artefact, Refusal> {
    block_on(async {
        let mut call = bench.call().await;
        let csr = call.read_csr(&device.csr())?;
        let unit = draw(&mut call, entitlement, subject).await?;
        let artefact = call.seal_to_device(&unit, &csr, &[]).await?;
        finish(call).await.map(|()| artefact)
    })
}

/// A fact that a refusal gives to programs.
fn fact<'a>(refusal: &'a Refusal, name: &str) -> Option<&'a str> {
    let mut facts = refusal.metadata.iter();
    facts.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// How many keys the site's store has.
pub(crate) fn kept(bench: &Bench, entitlement: &str) -> usize {
    const POOL_KEYS: u8 = 31;
    let prefix = [entitlement.as_bytes(), &[0]].concat();
    block_on(async {
        let snapshot = bench.site.hardware().store.snapshot().await.unwrap();
        snapshot.scan(&Range::all(POOL_KEYS, prefix)).await.unwrap().len()
    })
}

#[test]
fn ten_thousand_given_keys_are_handed_out_once_each_in_their_order() {
    let (bench, authority, entitlement, file) = granted(10_000, 6_000);
    assert_eq!(left(&bench.hq), 4_000);
    assert!(import_keys(&bench.site, &file).unwrap().whole);
    let second = bench.entitlement_of(&order(&bench, "po-2", 4_000));
    import_keys(&bench.site, &key_file(&bench.hq, &second)).unwrap();
    assert_eq!(left(&bench.hq), 0);
    for unit in 0..5 {
        let first = provision(&bench, &entitlement, &format!("SN:{unit}")).unwrap();
        assert_eq!(first, authority.hashes[unit]);
        let next = provision(&bench, &second, &format!("SX:{unit}")).unwrap();
        assert_eq!(next, authority.hashes[6_000 + unit]);
    }
    let third =
        Office::grant(&bench.hq, &bench.site.uri(), "device-key", &order(&bench, "po-3", 1));
    assert_eq!(third.unwrap_err().reason, "QUOTA_EXHAUSTED");
    assert_eq!(bench.counters(&entitlement).unused, 5_995);
    assert_eq!(pools(&bench.site).iter().map(|pool| pool.left).sum::<u64>(), 9_990);
}

#[test]
fn a_pool_has_keys_of_one_algorithm_and_any_that_devices_may_have() {
    for algorithm in SignatureAlgorithm::ALL {
        let (bench, authority) = (Bench::new(), Authority::of(algorithm, 3));
        load(&bench.hq, "licences", &authority).unwrap();
        let mut order = order(&bench, "po-1", 3);
        order.product.algorithm = algorithm.name().to_owned();
        let entitlement = bench.entitlement_of(&order);
        import_keys(&bench.site, &key_file(&bench.hq, &entitlement)).unwrap();
        for (unit, hash) in authority.hashes.iter().enumerate() {
            assert_eq!(provision(&bench, &entitlement, &format!("SN:{unit}")).unwrap(), *hash);
        }
        assert_eq!(kept(&bench, &entitlement), 0);
        let other = SignatureAlgorithm::ALL.into_iter().find(|one| *one != algorithm).unwrap();
        let mixed = Authority { algorithm: other, ..authority };
        let refused = load(&bench.hq, "mixed", &mixed).unwrap_err();
        assert_eq!((refused.reason, fact(&refused, "key")), (Reason::InvalidArgument, Some("0")));
    }
}

#[test]
fn a_key_that_was_handed_out_is_not_in_the_store_any_more_and_a_retry_gets_the_same() {
    let (bench, _, entitlement, file) = granted(20, 20);
    import_keys(&bench.site, &file).unwrap();
    assert_eq!(kept(&bench, &entitlement), 20);
    let device = Device::new();
    let first = seal(&bench, &entitlement, "SN:1", &device).unwrap();
    assert_eq!(kept(&bench, &entitlement), 19);
    let bench = bench.restarted();
    assert_eq!(seal(&bench, &entitlement, "SN:1", &device).unwrap(), first);
    let other = seal(&bench, &entitlement, "SN:1", &Device::new()).unwrap_err();
    assert_eq!(other.reason, Reason::KeyMismatch);
    assert_eq!(kept(&bench, &entitlement), 19);
}

#[test]
fn a_key_is_gone_with_a_call_that_failed_after_it_was_sealed_and_with_no_other() {
    let (bench, authority, entitlement, file) = granted(20, 20);
    import_keys(&bench.site, &file).unwrap();
    let device = Device::new();
    block_on(async {
        let mut call = bench.call().await;
        draw(&mut call, &entitlement, "SN:1").await.unwrap();
        assert!(!call.abort(Reason::PluginFault).await.tainted);
    });
    assert_eq!(kept(&bench, &entitlement), 20, "nothing was sealed");
    block_on(async {
        let mut call = bench.call().await;
        let csr = call.read_csr(&device.csr()).unwrap();
        let unit = draw(&mut call, &entitlement, "SN:2").await.unwrap();
        call.seal_to_device(&unit, &csr, &[]).await.unwrap();
        assert!(call.abort(Reason::PluginFault).await.tainted);
    });
    assert_eq!(kept(&bench, &entitlement), 19);
    let stored = seal(&bench, &entitlement, "SN:2", &device).unwrap();
    assert_eq!(sha256(&stored.public_key), authority.hashes[0]);
    // A unit that ends takes its key with it.
    block_on(async {
        let mut call = bench.call().await;
        let unit = draw(&mut call, &entitlement, "SN:2").await.unwrap();
        call.fail(&unit, Failure::Permanent, "dead").await.unwrap();
        finish(call).await.unwrap();
    });
    assert_eq!(kept(&bench, &entitlement), 19);
}

#[test]
fn a_load_that_breaks_off_at_any_chunk_goes_on_and_nothing_is_lost_or_doubled() {
    let authority = Authority::new(SMALL);
    let chunks = authority.chunks();
    for broken in 0..=chunks.len() {
        let Bench { world, mut hq, site } = Bench::new();
        begin(&hq, &authority.announced("licences")).unwrap();
        for (number, chunk) in chunks.iter().enumerate().take(broken) {
            send(&hq, "licences", number, chunk).unwrap();
        }
        hq = hq.restart().unwrap();
        let status = pools(&hq).remove(0);
        let whole = broken == chunks.len();
        let state = if whole { PoolState::Ready } else { PoolState::Loading };
        assert_eq!((status.state, status.keys), (state, SMALL as u64));
        let bench = Bench { world, hq, site };
        let early = bench.hq.run::<Office, _>("admin", "ada", || grant(&bench, 3));
        assert_eq!(early.is_ok(), whole, "a pool is there at once when it is whole");
        let hq = &bench.hq;
        let reached = load(hq, "licences", &authority).unwrap();
        assert_eq!((reached.chunk as usize, reached.keys), (chunks.len(), SMALL as u64));
        let again = load(hq, "licences", &authority).unwrap();
        assert_eq!(again, reached, "the same file again changes nothing");
        let loaded = rows_of(hq).into_iter().filter_map(|row| match row.body.event {
            Event::PoolLoaded { chunk, keys, .. } => Some((chunk, keys)),
            _ => None,
        });
        assert_eq!(loaded.collect::<Vec<_>>(), [(0, 1_024), (1, 1_024), (2, 7)]);
    }
}

/// The rows of a host whose plugin may not read them.
pub(crate) fn rows_of(host: &TestHost) -> Vec<Row> {
    let store = &host.hardware().store;
    let rows = block_on(async { store.snapshot().await?.rows(NODE, 0, usize::MAX).await });
    rows.unwrap().iter().map(|row| Row::decode(&row.encoded).unwrap()).collect()
}

/// Grants an order from the pool in a plugin's call, and drops the message.
pub(crate) fn grant(bench: &Bench, total: usize) -> Result<transfers::Exported, Status> {
    let mut order = order(bench, &format!("po-{total}"), total);
    order.product.template = None;
    let site = bench.site.uri();
    Ok(transfers::export_grant(&transfers::Proposal {
        cluster: &site,
        plugin: "device-key",
        proposal: &order.encode(),
        product_ca: None,
        batch_key: None,
        key_set: None,
    })?)
}

#[test]
fn a_chunk_again_changes_nothing_and_another_is_refused_by_name() {
    let (Bench { hq, .. }, authority) = (Bench::new(), Authority::new(SMALL));
    let chunks = authority.chunks();
    let refused = |refusal: Result<PoolProgress, Refusal>| refusal.unwrap_err();
    assert_eq!(refused(send(&hq, "licences", 0, chunks[0])).reason, Reason::NotFound);
    begin(&hq, &authority.announced("licences")).unwrap();
    let early = refused(send(&hq, "licences", 1, chunks[1]));
    assert_eq!(early.reason, Reason::OutOfOrder);
    assert_eq!(fact(&early, "expected"), Some("0"));
    let first = send(&hq, "licences", 0, chunks[0]).unwrap();
    assert_eq!(send(&hq, "licences", 0, chunks[0]).unwrap(), first);
    let other = refused(send(&hq, "licences", 0, chunks[1]));
    assert_eq!((other.reason, other.metadata.len()), (Reason::InvalidArgument, 1));
    let torn = refused(send(&hq, "licences", 1, &chunks[1][1..]));
    assert_eq!(torn.reason, Reason::InvalidArgument);
    // What is no key, by its number in the file.
    let mut spoiled = Authority::new(CHUNK_KEYS).keys;
    spoiled[3] = SecretBytes::new(vec![0x30; 138]);
    let no_key = refused(send(&hq, "licences", 1, &spoiled));
    assert!(no_key.detail.starts_with("Key 1027 is no PKCS #8 key"), "{no_key}");
    // Other keys than were announced do not make a pool.
    send(&hq, "licences", 1, chunks[1]).unwrap();
    let others = Authority::new(7);
    let not_announced = refused(send(&hq, "licences", 2, &others.keys));
    assert_eq!(not_announced.reason, Reason::InvalidArgument);
    assert!(send(&hq, "licences", 2, chunks[2]).unwrap().whole);
    let renamed = refused(load(&hq, "licences", &others));
    assert_eq!(renamed.reason, Reason::WrongState);
}

#[test]
fn a_key_that_was_given_before_is_refused_by_name_as_long_as_a_pool_knows_it() {
    let Bench { hq, .. } = Bench::new();
    let twice = |authority: &Authority, from: usize, to: usize| {
        let mut keys: Vec<_> =
            authority.keys.iter().map(|key| SecretBytes::new(key.expose().to_vec())).collect();
        keys[to] = SecretBytes::new(keys[from].expose().to_vec());
        Authority { algorithm: ALGORITHM, keys, hashes: Vec::new() }
    };
    let authority = Authority::new(SMALL);
    let duplicate = |refusal: Refusal, key: &str, other: &str| {
        assert_eq!(refusal.reason, Reason::DuplicateKey);
        assert_eq!((fact(&refusal, "key"), fact(&refusal, "other")), (Some(key), Some(other)));
    };
    let in_chunk = load(&hq, "same-chunk", &twice(&authority, 2, 9)).unwrap_err();
    duplicate(in_chunk, "9", "2");
    let in_file = load(&hq, "same-file", &twice(&authority, 2, 1_500)).unwrap_err();
    duplicate(in_file, "1500", "2");
    // The first chunk of that file is here; given up, its keys may come again.
    let blocked = load(&hq, "licences", &authority).unwrap_err();
    duplicate(blocked, "0", "0");
    assert_eq!(destroy(&hq, "same-file").unwrap(), 1_024);
    load(&hq, "licences", &authority).unwrap();
    let other_pool = load(&hq, "again", &authority).unwrap_err();
    duplicate(other_pool, "0", "0");
    // Keys of a pool are remembered when it is destroyed: some may have left it.
    assert_eq!(destroy(&hq, "licences").unwrap(), SMALL as u64);
    let gone = load(&hq, "again", &authority).unwrap_err();
    assert_eq!(gone.reason, Reason::DuplicateKey);
    assert_eq!(destroy(&hq, "nothing").unwrap_err().reason, Reason::NotFound);
}

pub(crate) fn destroy(hq: &TestHost, name: &str) -> Result<u64, Refusal> {
    block_on(hq.custody().destroy_pool(admin(hq), name))
}

#[test]
fn a_key_leaves_its_pool_with_the_grant_that_is_committed_and_with_no_other() {
    let Bench { world, hq, site } = Bench::new();
    load(&hq, "licences", &Authority::new(SMALL)).unwrap();
    let mut bench = Bench { world, hq, site };
    for fate in ["failed", "swallowed", "crashed"] {
        let ended = bench.hq.run::<Office, _>("admin", "ada", || match fate {
            "failed" => {
                grant(&bench, 5)?;
                Err(Status::wrong_state("the plugin changed its mind"))
            }
            // The host refuses, and the plugin goes on as if nothing were.
            "swallowed" => {
                assert_eq!(grant(&bench, SMALL + 1).unwrap_err().reason, "QUOTA_EXHAUSTED");
                Ok(())
            }
            _ => Err(Status::fault("the power went")),
        });
        assert!(ended.is_err(), "{fate}");
        let Bench { world, hq, site } = bench;
        bench = Bench { world, hq: hq.restart().unwrap(), site };
        assert_eq!(left(&bench.hq), SMALL as u64, "{fate}");
    }
    bench.hq.run::<Office, _>("admin", "ada", || grant(&bench, 1_500)).unwrap();
    assert_eq!(left(&bench.hq), SMALL as u64 - 1_500);
    let refused = |change: fn(&mut GrantProposal)| {
        let mut order = order(&bench, "po-9", 5);
        change(&mut order);
        let refused = Office::grant(&bench.hq, &bench.site.uri(), "device-key", &order);
        refused.unwrap_err().reason
    };
    assert_eq!(refused(|order| order.pool = Some("others".to_owned())), "NOT_FOUND");
    assert_eq!(refused(|order| order.pool = None), "TERMS_INVALID");
    assert_eq!(refused(|order| order.product.algorithm = "ed25519".into()), "TERMS_INVALID");
    assert_eq!(left(&bench.hq), SMALL as u64 - 1_500);
}

#[test]
fn two_grants_at_once_take_different_keys() {
    let bench = Bench::new();
    let authority = Authority::new(40);
    load(&bench.hq, "licences", &authority).unwrap();
    let file = |number: &str| {
        Office::grant(&bench.hq, &bench.site.uri(), "device-key", &order(&bench, number, 20))
    };
    let files = std::thread::scope(|scope| {
        let numbers = ["po-1", "po-2"];
        let running = numbers.map(|number| scope.spawn(move || file(number)));
        running.map(|thread| thread.join().unwrap())
    });
    // One of them may hear of the other; asked again it gets its keys.
    let numbers = ["po-1", "po-2"].into_iter().zip(files);
    let mut waiting: Vec<_> = numbers
        .map(|(number, granted)| (number, granted.or_else(|_| file(number)).unwrap()))
        .collect();
    let mut keys = BTreeSet::new();
    while let Some((number, granted)) = waiting.pop() {
        let entitlement = match import(&bench.site, &granted) {
            Ok(entitlement) => entitlement,
            Err(status) => {
                // The other one comes first in the stream.
                assert_eq!((status.reason.as_str(), waiting.len()), ("OUT_OF_ORDER", 1));
                waiting.insert(0, (number, granted));
                continue;
            }
        };
        import_keys(&bench.site, &key_file(&bench.hq, &entitlement)).unwrap();
        for unit in 0..20 {
            let subject = format!("{number}:{unit}");
            keys.insert(provision(&bench, &entitlement, &subject).unwrap());
        }
    }
    assert_eq!((left(&bench.hq), keys.len()), (0, 40));
    assert_eq!(keys, authority.hashes.into_iter().collect());
}

#[test]
fn an_import_that_breaks_off_at_any_chunk_goes_on_and_no_unit_is_there_before() {
    let (mut bench, authority, entitlement, file) = granted(SMALL, SMALL);
    let parsed = KeyFile::parse(&file).unwrap();
    let chunks = parsed.chunks().unwrap();
    for (number, chunk) in chunks.iter().enumerate() {
        bench = bench.restarted();
        let early = provision(&bench, &entitlement, "SN:1").unwrap_err();
        assert_eq!(early.reason, Reason::WrongState, "{early}");
        let (name, reached) = show(&bench.site, parsed.head()).unwrap();
        assert_eq!((name.as_str(), reached.chunk as usize), (&*entitlement, number));
        if let Some(after) = chunks.get(number + 1) {
            let early = take(&bench.site, &entitlement, number + 1, after).unwrap_err();
            assert_eq!(early.reason, Reason::OutOfOrder);
        }
        // Torn on the way: refused by name, and the import stays where it was.
        let mut torn = chunk.to_vec();
        torn[chunk.len() / 2] ^= 1;
        let refused = take(&bench.site, &entitlement, number, &torn).unwrap_err();
        assert_eq!(refused.reason, Reason::UntrustedMessage);
        assert_eq!(fact(&refused, "chunk"), Some(&*number.to_string()));
        let here = take(&bench.site, &entitlement, number, chunk).unwrap();
        assert_eq!(take(&bench.site, &entitlement, number, chunk).unwrap(), here);
        let status = pools(&bench.site).remove(0);
        assert_eq!((status.name.as_str(), status.arrived), (&*entitlement, here.keys));
    }
    bench = bench.restarted();
    assert_eq!(kept(&bench, &entitlement), SMALL);
    assert_eq!(import_keys(&bench.site, &file).unwrap().keys, SMALL as u64);
    assert_eq!(provision(&bench, &entitlement, "SN:1").unwrap(), authority.hashes[0]);
    let again = take(&bench.site, &entitlement, 0, chunks[0]).unwrap();
    assert!(again.whole);
    assert_eq!(kept(&bench, &entitlement), SMALL - 1, "a chunk again brings no key back");
}

#[test]
fn a_key_file_is_for_one_grant_at_one_site() {
    let (bench, _, entitlement, file) = granted(20, 10);
    let second = bench.entitlement_of(&order(&bench, "po-2", 10));
    let other = key_file(&bench.hq, &second);
    let (parsed, other) = (KeyFile::parse(&file).unwrap(), KeyFile::parse(&other).unwrap());
    show(&bench.site, parsed.head()).unwrap();
    show(&bench.site, other.head()).unwrap();
    let mixed = take(&bench.site, &entitlement, 0, other.chunks().unwrap()[0]).unwrap_err();
    assert_eq!(mixed.reason, Reason::UntrustedMessage);
    // A head that lists other chunks is none that a grant names.
    let mut forged = KeyFileHead::decode(parsed.head()).unwrap();
    forged.chunks = KeyFileHead::decode(other.head()).unwrap().chunks;
    let forged = assemble(&forged, &[]);
    let refused = show(&bench.site, KeyFile::parse(&forged).unwrap().head()).unwrap_err();
    assert_eq!(refused.reason, Reason::UntrustedMessage);
    let elsewhere = bench.world.site_on("suzhou", Hardware::memory());
    let session = Session { plugin: None, ..bench.site.session_of::<Line>("operator", "mei") };
    let unknown = block_on(elsewhere.custody().begin_keys(session, parsed.head())).unwrap_err();
    assert_eq!(unknown.reason, Reason::NotFound);
    let unasked = take(&bench.site, "ent-ffffffffffffffff", 0, &[]).unwrap_err();
    assert_eq!(unasked.reason, Reason::NotFound);
    let no_pools_here = begin(&bench.site, &Authority::new(1).announced("mine")).unwrap_err();
    assert_eq!(no_pools_here.reason, Reason::PermissionDenied);
}
