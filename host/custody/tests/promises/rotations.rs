//! P13: keys are replaced while messages travel. What is sealed to a retired key opens for as long
//! as a message may travel; a signing key that was replaced signs nothing more.

use futures_executor::block_on;
use mintmark_crypto::digest::sha256;
use mintmark_custody::{Call, CommitFailure, HostKey, Session, verify};
use mintmark_exchange::message::{Header, MessageHead};
use mintmark_exchange::pool::{CHUNK_KEYS, KeyFile};
use mintmark_exchange::proposal::GrantProposal;
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::Certificate;
use mintmark_sdk_testing::sdk::{Package, Plugin as _};
use mintmark_sdk_testing::{Office, TestHost};

use crate::bench::{Bench, Line, finish, import, import_receipt, rows};
use crate::disks::Disk;
use crate::pools;

const DAY_MS: u64 = 86_400_000;
const TRANSIT_MS: u64 = 180 * DAY_MS;
/// Certificates are told apart by when they were issued.
const LATER_MS: u64 = 3_600_000;

fn admin<P: Package>(host: &TestHost) -> Session {
    Session { plugin: None, ..host.session_of::<P>("admin", "ada") }
}

fn keys(host: &TestHost) -> Vec<HostKey> {
    block_on(host.custody().host_keys()).unwrap()
}

/// The digests of the present keys whose name has this in it.
pub(crate) fn present(host: &TestHost, of: &str) -> Vec<[u8; 32]> {
    let keys = keys(host).into_iter();
    keys.filter(|key| key.retired.is_none() && key.name.contains(of)).map(|key| key.key).collect()
}

pub(crate) fn try_rotate<P: Package>(
    host: &TestHost,
    keys: &[[u8; 32]],
) -> Result<Vec<HostKey>, Refusal> {
    block_on(host.custody().rotate_keys(admin::<P>(host), keys))
}

/// Replaces the keys whose name has this in it.
pub(crate) fn rotate<P: Package>(host: &TestHost, of: &str) -> Vec<HostKey> {
    try_rotate::<P>(host, &present(host, of)).unwrap()
}

/// The other side takes the host's identity, and is asked for approvals.
pub(crate) fn announce(host: &TestHost, to: &TestHost) {
    let identity = host.export_identity();
    let refused = to.import_identity(&identity).unwrap_err();
    assert_eq!(refused.reason, "APPROVAL_REQUIRED");
    to.approve(&refused);
    assert!(to.import_identity(&identity).unwrap().changed);
    assert!(!to.import_identity(&identity).unwrap().changed, "again it changes nothing");
}

fn order(bench: &Bench, number: &str) -> GrantProposal {
    let mut order = bench.order(number, 10);
    order.terms.not_after += 400 * DAY_MS;
    order.terms.audit_return.seconds = 400 * 86_400;
    order
}

pub(crate) fn header(file: &[u8]) -> Header {
    MessageHead::parse(file).unwrap().0.header().clone()
}

/// SHA-256 of the key that signed a message.
fn signer(file: &[u8]) -> [u8; 32] {
    let certificate = Certificate::parse(&header(file).sender_chain[0]).unwrap();
    sha256(certificate.public_key_info())
}

fn events(host: &TestHost) -> Vec<Event> {
    rows(host).into_iter().map(|row| row.body.event).collect()
}

fn retired_rows(host: &TestHost) -> usize {
    let retired = |event: &Event| matches!(event, Event::KeyRetired { .. });
    events(host).iter().filter(|event| retired(event)).count()
}

fn is_destroyed(host: &TestHost, digest: [u8; 32]) -> bool {
    events(host).iter().any(|event| {
        matches!(event, Event::KeyDestroyed { key_hash: Some(hash), .. } if *hash == digest)
    })
}

async fn call(host: &TestHost) -> Call {
    let session = host.session_of::<Line>("operator", "mei");
    host.custody().begin(session, None).await.unwrap()
}

#[test]
fn p13_what_is_sealed_to_a_retired_key_opens_for_a_transit_and_then_is_refused() {
    let bench = Bench::new();
    let [first, second] = ["po-1", "po-2"].map(|number| bench.granted(&order(&bench, number)));
    let rotated = rotate::<Line>(&bench.site, "");
    let now = bench.site.clock().now_ms();
    assert_eq!(rotated.len(), 2, "the plugin's key and the host's own");
    assert!(rotated.iter().all(|key| key.retired == Some((now, now + TRANSIT_MS))));
    import(&bench.site, &first).unwrap();
    bench.world.pass_ms(DAY_MS);
    let [third, fourth] = ["po-3", "po-4"].map(|number| bench.granted(&order(&bench, number)));
    bench.world.pass_ms(TRANSIT_MS - DAY_MS - 1);
    import(&bench.site, &second).unwrap();
    assert_eq!(keys(&bench.site).len(), 4, "the retired ones are shown while they open");
    bench.world.pass_ms(1);
    assert_eq!(keys(&bench.site).len(), 2);
    for _ in 0..2 {
        assert_eq!(import(&bench.site, &third).unwrap_err().reason, "KEY_RETIRED");
    }
    assert!(rotated.iter().all(|key| is_destroyed(&bench.site, key.key)));
    // A plugin that takes no notice of the refusal changes nothing about it.
    let file = bench.site.stage(&fourth);
    block_on(async {
        let mut call = call(&bench.site).await;
        let refused = call.open_message("entitlement", &file).await.err().unwrap();
        assert_eq!(refused.reason, Reason::KeyRetired);
        finish(call).await.unwrap();
    });
    assert_eq!(import(&bench.site, &fourth).unwrap_err().reason, "REPLAYED");
    // The stream goes on past what nobody can open.
    announce(&bench.site, &bench.hq);
    let fifth = bench.granted(&order(&bench, "po-5"));
    assert_eq!(header(&fifth).recipient.to_vec(), present(&bench.site, "/plugin/").concat());
    import(&bench.site, &fifth).unwrap();
}

#[test]
fn p13_a_damaged_message_to_a_retired_key_is_untrusted_and_not_a_word_more() {
    let bench = Bench::new();
    rotate::<Line>(&bench.site, "");
    bench.world.pass_ms(DAY_MS);
    let file = bench.granted(&order(&bench, "po-1"));
    bench.world.pass_ms(TRANSIT_MS - DAY_MS);
    let (_, head) = MessageHead::parse(&file).unwrap();
    for place in (0..head).step_by(29) {
        let mut changed = file.clone();
        changed[place] ^= 1;
        let refused = import(&bench.site, &changed).unwrap_err();
        assert_eq!(refused.reason, "UNTRUSTED_MESSAGE", "changed at {place}");
    }
    assert_eq!(import(&bench.site, &file).unwrap_err().reason, "KEY_RETIRED");
}

#[test]
fn p13_keys_that_are_sealed_to_a_retired_transfer_key_are_taken_for_a_transit() {
    let bench = Bench::new();
    let first = bench.granted(&order(&bench, "po-1"));
    rotate::<Line>(&bench.site, "/transfer/");
    import(&bench.site, &first).unwrap();
    bench.world.pass_ms(DAY_MS);
    let second = bench.granted(&order(&bench, "po-2"));
    bench.world.pass_ms(TRANSIT_MS - DAY_MS);
    // The message opens: it is sealed to the plugin's key.
    assert_eq!(import(&bench.site, &second).unwrap_err().reason, "KEY_RETIRED");
    announce(&bench.site, &bench.hq);
    import(&bench.site, &bench.granted(&order(&bench, "po-3"))).unwrap();
}

#[test]
fn p13_a_key_file_that_is_half_imported_goes_on_over_a_rotation() {
    let total = 2 * CHUNK_KEYS + 1;
    let (bench, _, entitlement, file) = pools::granted(total, total);
    let file = KeyFile::parse(&file).unwrap();
    let chunks = file.chunks().unwrap();
    pools::show(&bench.site, file.head()).unwrap();
    pools::take(&bench.site, &entitlement, 0, chunks[0]).unwrap();
    rotate::<Line>(&bench.site, "/transfer/");
    rotate::<Line>(&bench.site, "/transfer/");
    pools::take(&bench.site, &entitlement, 1, chunks[1]).unwrap();
    bench.world.pass_ms(TRANSIT_MS);
    let refused = pools::take(&bench.site, &entitlement, 2, chunks[2]).unwrap_err();
    assert_eq!(refused.reason, Reason::KeyRetired);
    let (_, progress) = pools::show(&bench.site, file.head()).unwrap();
    assert_eq!((progress.chunk, progress.whole), (2, false), "the import stays where it was");
}

#[test]
fn p13_a_replaced_signing_key_never_signs_again() {
    let bench = Bench::new();
    let before = signer(&bench.bundle());
    block_on(async {
        // A message that is being written when the key is replaced.
        let mut call = call(&bench.site).await;
        let berlin = "headquarters/berlin";
        let mut writer = call.seal_message("bundle", berlin, Office::NAME, &[]).await.unwrap();
        call.write_message(&mut writer, b"not committed yet").unwrap();
        call.finish_message(writer).await.unwrap();
        let custody = bench.site.custody();
        let old: Vec<_> = custody.host_keys().await.unwrap().iter().map(|key| key.key).collect();
        custody.rotate_keys(admin::<Line>(&bench.site), &old).await.unwrap();
        assert!(matches!(call.commit().await, Err(CommitFailure::Conflict(_))));
    });
    let bench = bench.restarted();
    let after = signer(&bench.bundle());
    assert_ne!(after, before);
    assert!(is_destroyed(&bench.site, before) && !is_destroyed(&bench.site, after));
}

#[test]
fn p13_what_was_signed_before_a_rotation_is_good_and_what_the_old_key_signs_after_is_not() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let travelling = bench.bundle();
    bench.world.pass_ms(LATER_MS);
    let copied = disk.copy();
    rotate::<Line>(&bench.site, "");
    bench.world.pass_ms(1);
    announce(&bench.site, &bench.hq);
    Office::acknowledge(&bench.hq, &travelling).unwrap();
    bench.world.pass_ms(1);
    Office::acknowledge(&bench.hq, &bench.bundle()).unwrap();
    // Who has the old key still, be it a copy or a restored backup.
    let Bench { world, hq, site } = bench;
    let site = site.stop().start_on(copied.open()).unwrap();
    let bench = Bench { world, hq, site };
    let refused = Office::acknowledge(&bench.hq, &bench.bundle()).unwrap_err();
    assert_eq!(refused.reason, "KEY_RETIRED");
    // Only people can make the old keys the right ones again.
    announce(&bench.site, &bench.hq);
    let known = bench.granted(&order(&bench, "po-1"));
    assert_eq!(header(&known).recipient.to_vec(), present(&bench.site, "/plugin/").concat());
}

#[test]
fn p13_an_older_identity_never_replaces_a_newer_one() {
    let bench = Bench::new();
    let old = bench.site.export_identity();
    bench.world.pass_ms(1);
    rotate::<Line>(&bench.site, "/plugin/");
    announce(&bench.site, &bench.hq);
    assert_eq!(bench.hq.import_identity(&old).unwrap_err().reason, "OUT_OF_ORDER");
    let file = bench.granted(&order(&bench, "po-1"));
    assert_eq!(header(&file).recipient.to_vec(), present(&bench.site, "/plugin/").concat());
}

#[test]
fn p13_a_site_learns_headquarters_keys_from_its_messages_and_does_not_unlearn_them() {
    let bench = Bench::new();
    bench.entitlement_of(&order(&bench, "po-1"));
    let travelling = bench.granted(&order(&bench, "po-2"));
    let recipient = |bench: &Bench| header(&bench.bundle()).recipient.to_vec();
    let key = |bench: &Bench| present(&bench.hq, "/plugin/").concat();
    bench.world.pass_ms(LATER_MS);
    rotate::<Office>(&bench.hq, "/plugin/");
    assert_ne!(recipient(&bench), key(&bench), "nobody told the site");
    Office::acknowledge(&bench.hq, &bench.bundle()).unwrap();
    announce(&bench.hq, &bench.site);
    // Signed with the old key, before; and it names the old keys.
    import(&bench.site, &travelling).unwrap();
    assert_eq!(recipient(&bench), key(&bench));
    bench.world.pass_ms(LATER_MS);
    rotate::<Office>(&bench.hq, "/plugin/");
    // The receipt of above is before it in the stream.
    let receipt = block_on(bench.hq.custody().outbox(admin::<Office>(&bench.hq), None)).unwrap();
    let receipt = receipt.iter().find(|entry| entry.purpose == "receipt").unwrap();
    import_receipt(&bench.site, &bench.hq.fetch(&receipt.file).unwrap()).unwrap();
    import(&bench.site, &bench.granted(&order(&bench, "po-3"))).unwrap();
    assert_eq!(recipient(&bench), key(&bench), "the message said so");
}

#[test]
fn p13_of_two_rotations_at_once_one_is_done_and_a_repetition_changes_nothing() {
    let bench = Bench::new();
    let old = present(&bench.site, "");
    let rotate_them = || try_rotate::<Line>(&bench.site, &old).unwrap();
    let (one, other) = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(rotate_them), scope.spawn(rotate_them));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(one, other);
    let new = present(&bench.site, "");
    bench.world.pass_ms(1_000);
    assert_eq!(rotate_them(), one);
    // Some of it does not exist: nothing of it is done.
    let refused = try_rotate::<Line>(&bench.site, &[new[0], [7; 32]]).unwrap_err();
    assert_eq!(refused.reason, Reason::NotFound);
    let refused = try_rotate::<Line>(&bench.site, &[]).unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidArgument);
    assert_eq!(present(&bench.site, ""), new);
    assert_eq!(retired_rows(&bench.site), 2);
    assert_eq!(present(&bench.restarted().site, ""), new);
}

#[test]
fn p13_a_retired_key_is_destroyed_at_a_start_and_the_store_is_whole() {
    let bench = Bench::new();
    let check = |bench: &Bench| {
        let hardware = bench.site.hardware();
        let sealing = hardware.platform.sealing_secret().unwrap();
        block_on(verify(&*hardware.store, &sealing, Some(&*hardware.platform))).unwrap();
    };
    let rotated = rotate::<Line>(&bench.site, "");
    let bench = bench.restarted();
    assert!(rotated.iter().all(|key| !is_destroyed(&bench.site, key.key)));
    check(&bench);
    bench.world.pass_ms(TRANSIT_MS);
    // The host has a row of that time: at a start it does not believe a clock that is months ahead.
    bench.bundle();
    assert!(rotated.iter().all(|key| !is_destroyed(&bench.site, key.key)));
    let bench = bench.restarted();
    assert!(rotated.iter().all(|key| is_destroyed(&bench.site, key.key)));
    check(&bench);
    // It is told apart from a key that was never here.
    assert_eq!(try_rotate::<Line>(&bench.site, &[rotated[0].key]).unwrap().len(), 1);
}

#[test]
fn p13_retired_keys_do_not_pile_up() {
    let bench = Bench::new();
    for _ in 0..16 {
        rotate::<Line>(&bench.site, "/transfer/");
    }
    let refused = try_rotate::<Line>(&bench.site, &present(&bench.site, "/transfer/")).unwrap_err();
    assert_eq!(refused.reason, Reason::WrongState);
    rotate::<Line>(&bench.site, "/plugin/");
    bench.world.pass_ms(TRANSIT_MS);
    rotate::<Line>(&bench.site, "/transfer/");
}

#[test]
fn the_certificate_of_the_key_that_signs_orders_is_renewed_at_a_start_before_it_ends() {
    let renewed = |host: &TestHost| {
        let of_custody = |event: &Event| match event {
            Event::LeafIssued { name, .. } => name.contains("/custody/"),
            _ => false,
        };
        events(host).iter().filter(|event| of_custody(event)).count()
    };
    let bench = Bench::new().restarted();
    assert_eq!(renewed(&bench.site), 0, "it is new");
    bench.world.pass_ms(200 * DAY_MS);
    // Both have rows of that time: so their clocks are believed when they start.
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let Bench { world, hq, site } = bench;
    let (hq, site) = (hq.restart().unwrap(), site.restart().unwrap());
    let bench = Bench { world, hq, site }.restarted();
    assert_eq!(renewed(&bench.site), 1, "once");
    rotate::<Line>(&bench.site, "");
    rotate::<Office>(&bench.hq, "");
    announce(&bench.site, &bench.hq);
    announce(&bench.hq, &bench.site);
    // The certificates with which both began have ended.
    bench.world.pass_ms(170 * DAY_MS);
    bench.entitlement_of(&order(&bench, "po-1"));
    import_receipt(&bench.site, &bench.receipt()).unwrap();
}
