//! I6: verify, then decrypt, then parse. Whatever is changed on the way is refused, and nothing
//! changes.

use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use mintmark_crypto::SecretBytes;
use mintmark_custody::Call;
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::sdk::Package;
use mintmark_sdk_testing::{Device, Hardware, Office, TestHost, World};
use mintmark_store::{
    Error, Found, Key, Later, Mark, Outcome, Position, Range, Row, Snapshot, Store, Transaction,
    Verified,
};

use crate::bench::{Bench, Line, import, import_receipt};

/// What stands in for what in the answers of a store.
#[derive(Default)]
struct Exchanged {
    original: Vec<u8>,
    changed: Vec<u8>,
}

/// A store that gives other bytes for one staged file: a change costs no commit.
#[derive(Clone)]
struct Exchanging {
    inner: Arc<dyn Store>,
    exchanged: Arc<Mutex<Exchanged>>,
}

struct ExchangingSnapshot {
    inner: Arc<dyn Snapshot>,
    exchanged: Arc<Mutex<Exchanged>>,
}

impl Store for Exchanging {
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>> {
        Box::pin(async {
            let (inner, exchanged) = (self.inner.snapshot().await?, self.exchanged.clone());
            Ok(Arc::new(ExchangingSnapshot { inner, exchanged }) as Arc<dyn Snapshot>)
        })
    }

    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>> {
        self.inner.commit(batch)
    }

    fn verify(&self) -> Later<'_, Verified> {
        self.inner.verify()
    }
}

impl Snapshot for ExchangingSnapshot {
    fn get<'a>(&'a self, keys: &'a [Key]) -> Later<'a, Vec<Found>> {
        Box::pin(async {
            let mut found = self.inner.get(keys).await?;
            let exchanged = self.exchanged.lock().map_err(|_| Error::Unavailable)?;
            for one in &mut found {
                let value = one.value.as_ref().map(SecretBytes::expose);
                if !exchanged.original.is_empty() && value == Some(&exchanged.original[..]) {
                    one.value = Some(SecretBytes::new(exchanged.changed.clone()));
                }
            }
            Ok(found)
        })
    }

    fn scan<'a>(&'a self, range: &'a Range) -> Later<'a, Vec<(Key, Found)>> {
        self.inner.scan(range)
    }

    fn rows<'a>(&'a self, node: &'a str, after: u64, limit: usize) -> Later<'a, Vec<Row>> {
        self.inner.rows(node, after, limit)
    }

    fn position(&self) -> &Position {
        self.inner.position()
    }

    fn previous(&self) -> &Mark {
        self.inner.previous()
    }

    fn is_stable(&self) -> bool {
        self.inner.is_stable()
    }
}

/// Both hosts, each on a store that exchanges.
struct Post {
    bench: Bench,
    at_hq: Exchanging,
    at_site: Exchanging,
}

fn exchanging() -> (Exchanging, Hardware) {
    let hardware = Hardware::memory();
    let store = Exchanging { inner: hardware.store, exchanged: Arc::default() };
    let hardware = Hardware { store: Arc::new(store.clone()), ..hardware };
    (store, hardware)
}

impl Post {
    fn new() -> Self {
        let world = World::new();
        let (at_hq, hardware) = exchanging();
        let mut hq = world.headquarters_on("berlin", hardware);
        hq.install::<Office>();
        let (at_site, hardware) = exchanging();
        let mut site = world.site_on("shenzhen", hardware);
        site.install::<Line>();
        world.introduce(&hq, &site);
        site.enrol_station("line-4", &[]);
        Self { bench: Bench { world, hq, site }, at_hq, at_site }
    }
}

/// Every truncated prefix, and the content with each of its bits turned.
fn damaged(content: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..content.len() * 8).map(|place| {
        let mut bytes = content.to_vec();
        bytes[place / 8] ^= 1 << (place % 8);
        bytes
    });
    (0..content.len()).map(|end| content[..end].to_vec()).chain(flipped)
}

async fn begin<P: Package>(host: &TestHost) -> Call {
    let session = host.session_of::<P>("admin", "ada");
    host.custody().begin(session, None).await.unwrap()
}

fn attempt<P: Package>(host: &TestHost, purpose: &str, file: &str) -> Option<Refusal> {
    block_on(async {
        let mut call = begin::<P>(host).await;
        let refusal = call.open_message(purpose, file).await.err();
        call.abort(refusal.as_ref().map_or(Reason::WrongState, |refusal| refusal.reason)).await;
        refusal
    })
}

/// Opens every damaged form of a file; none may be taken, and none may change anything.
fn refuses_all_damage<P: Package>(
    host: &TestHost,
    store: &Exchanging,
    purpose: &str,
    content: &[u8],
) {
    assert!(content.len() < 256 << 10, "the file is one part");
    let file = host.stage(content);
    let before = block_on(host.custody().status()).unwrap();
    for changed in damaged(content) {
        let original = content.to_vec();
        *store.exchanged.lock().unwrap() = Exchanged { original, changed: changed.clone() };
        let refusal = attempt::<P>(host, purpose, &file);
        let place = changed.iter().zip(content).position(|(one, other)| one != other);
        let place = place.unwrap_or(changed.len());
        let refusal = refusal.unwrap_or_else(|| panic!("{purpose}: taken, changed at {place}"));
        assert_eq!(refusal.reason, Reason::UntrustedMessage, "{purpose}: changed at {place}");
    }
    *store.exchanged.lock().unwrap() = Exchanged::default();
    let after = block_on(host.custody().status()).unwrap();
    let written = after.heads[0].sequence - before.heads[0].sequence;
    assert_eq!(written, 1, "a flood of equal refusals is one row");
}

#[test]
fn p1_p5_a_damaged_entitlement_is_refused_whatever_the_damage() {
    let post = Post::new();
    let file = post.bench.granted(&post.bench.order("po-1", 10));
    refuses_all_damage::<Line>(&post.bench.site, &post.at_site, "entitlement", &file);
    let last = post.bench.rows().pop().unwrap();
    assert!(matches!(last.body.event, Event::Outcome { .. }), "{:?}", last.body.event);
    import(&post.bench.site, &file).unwrap();
}

#[test]
fn p1_p5_a_damaged_bundle_is_refused_whatever_the_damage() {
    let post = Post::new();
    let entitlement = post.bench.entitlement(10);
    post.bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let bundle = post.bench.bundle();
    refuses_all_damage::<Office>(&post.bench.hq, &post.at_hq, "bundle", &bundle);
    Office::acknowledge(&post.bench.hq, &bundle).unwrap();
}

#[test]
fn p1_p5_a_damaged_receipt_is_refused_whatever_the_damage() {
    let post = Post::new();
    post.bench.entitlement(10);
    let receipt = post.bench.receipt();
    refuses_all_damage::<Line>(&post.bench.site, &post.at_site, "receipt", &receipt);
    import_receipt(&post.bench.site, &receipt).unwrap();
}

#[test]
fn p1_p5_a_damaged_identity_is_refused_whatever_the_damage() {
    let post = Post::new();
    let stranger = post.bench.world.headquarters("oslo").export_identity();
    let site = &post.bench.site;
    let file = site.stage(&stranger);
    for changed in damaged(&stranger) {
        let original = stranger.clone();
        *post.at_site.exchanged.lock().unwrap() = Exchanged { original, changed };
        let session = site.session_of::<Line>("admin", "ada");
        let refused = block_on(site.custody().import_identity(session, &file)).unwrap_err();
        assert_eq!(refused.reason, Reason::UntrustedMessage);
    }
    *post.at_site.exchanged.lock().unwrap() = Exchanged::default();
    assert!(site.import_identity(&stranger).unwrap().changed);
}

#[test]
fn p3_bytes_after_the_message_are_refused() {
    let bench = Bench::new();
    let mut file = bench.granted(&bench.order("po-1", 10));
    file.push(0);
    assert_eq!(import(&bench.site, &file).unwrap_err().reason, "UNTRUSTED_MESSAGE");
}

#[test]
fn a_message_for_one_purpose_is_none_for_another() {
    let bench = Bench::new();
    let file = bench.granted(&bench.order("po-1", 10));
    assert_eq!(import_receipt(&bench.site, &file).unwrap_err().reason, "UNTRUSTED_MESSAGE");
    let file = bench.site.stage(&file);
    let refusal = attempt::<Line>(&bench.site, "bundle", &file).unwrap();
    assert_eq!(refusal.reason, Reason::PermissionDenied, "the manifest does not claim it");
}

#[test]
fn p13_a_bundle_that_travelled_too_long_is_refused() {
    let bench = Bench::new();
    let file = bench.bundle();
    bench.world.pass_ms(181 * 86_400_000);
    let refused = Office::acknowledge(&bench.hq, &file).unwrap_err();
    assert_eq!(refused.reason, "UNTRUSTED_MESSAGE");
}

#[test]
fn r3_messages_are_taken_in_their_order_and_once() {
    let bench = Bench::new();
    let first = bench.granted(&bench.order("po-1", 10));
    let second = bench.granted(&bench.order("po-2", 10));
    let early = import(&bench.site, &second).unwrap_err();
    assert_eq!(early.reason, "OUT_OF_ORDER");
    assert!(early.metadata.contains(&("expected".to_owned(), "1".to_owned())));
    import(&bench.site, &first).unwrap();
    assert_eq!(import(&bench.site, &first).unwrap_err().reason, "REPLAYED");
    import(&bench.site, &second).unwrap();
    assert_eq!(import(&bench.site, &second).unwrap_err().reason, "REPLAYED");
}

#[test]
fn a_failed_import_leaves_the_stream_where_it_was() {
    let bench = Bench::new();
    let first = bench.granted(&bench.order("po-1", 10));
    let file = bench.site.stage(&first);
    block_on(async {
        let mut call = begin::<Line>(&bench.site).await;
        call.open_message("entitlement", &file).await.unwrap();
        call.abort(Reason::PluginFault).await;
    });
    import(&bench.site, &first).unwrap();
}

#[test]
fn a_plugin_that_drops_a_message_of_headquarters_can_not_take_it_later() {
    let bench = Bench::new();
    let first = bench.granted(&bench.order("po-1", 10));
    let file = bench.site.stage(&first);
    block_on(async {
        // Opened and committed without a look at the order in it.
        let mut call = begin::<Line>(&bench.site).await;
        call.open_message("entitlement", &file).await.unwrap();
        crate::bench::finish(call).await.unwrap();
    });
    assert_eq!(import(&bench.site, &first).unwrap_err().reason, "REPLAYED");
}

#[test]
fn an_aborted_export_loses_no_count_of_refusals() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(1);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    for _ in 0..5 {
        bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    }
    block_on(async {
        let mut call = begin::<Line>(&bench.site).await;
        call.checkpoints(None, 1 << 24).await.unwrap();
        call.abort(Reason::PluginFault).await;
    });
    bench.bundle();
    let counted = bench.rows().into_iter().filter_map(|row| match row.body.event {
        Event::Outcome { reason, count, .. } if reason == "QUOTA_EXHAUSTED" => Some(count),
        _ => None,
    });
    assert_eq!(counted.sum::<u32>(), 5);
}
