//! Headquarters' stream stands still for no honest site, whatever was lost on the way; and a key
//! that was replaced is worth nothing.

use futures_executor::block_on;
use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_custody::Session;
use mintmark_exchange::message::{self, ChunkRef, MessageHead, Stream, TAG_BYTES, Tail};
use mintmark_exchange::proposal::GrantProposal;
use mintmark_exchange::row::Event;
use mintmark_model::Reason;
use mintmark_pki::{Certificate, LeafUsage, issue};
use mintmark_sdk_testing::Office;
use mintmark_sdk_testing::sdk::Plugin as _;

use crate::bench::{Bench, Line, import, import_receipt};
use crate::closings::report;
use crate::disks::Disk;
use crate::forgotten::open_stream;
use crate::restores::Scene;
use crate::rotations::{announce, header, present, rotate, try_rotate};

const DAY_MS: u64 = 86_400_000;
const TRANSIT_MS: u64 = 180 * DAY_MS;
const LATER_MS: u64 = 3_600_000;

/// An order whose window and whose audit are longer than a transit.
fn long(bench: &Bench, number: &str) -> GrantProposal {
    let mut order = bench.order(number, 10);
    order.terms.not_after += 400 * DAY_MS;
    order.terms.audit_return.seconds = 400 * 86_400;
    order
}

/// How often the site began a stream anew.
fn begun(bench: &Bench) -> usize {
    let begun = |event: &Event| matches!(event, Event::StreamOpened { .. });
    bench.rows().iter().filter(|row| begun(&row.body.event)).count()
}

#[test]
fn r15_a_site_that_is_restored_before_its_first_bundle_gets_a_new_epoch() {
    let scene = Scene::new();
    scene.bench.world.pass_ms(1_000);
    // After the backup: the key to which headquarters seals is lost with the store.
    rotate::<Line>(&scene.bench.site, "/plugin/");
    announce(&scene.bench.site, &scene.bench.hq);
    let lost = scene.bench.granted(&scene.bench.order("po-2", 10));
    let bench = scene.restored();
    assert_eq!(import(&bench.site, &lost).unwrap_err().reason, "WRONG_SITE");
    bench.world.pass_ms(1_000);
    announce(&bench.site, &bench.hq);
    let late = import_receipt(&bench.site, &bench.receipt()).unwrap_err();
    assert_eq!(late.reason, "OUT_OF_ORDER", "what is before it can not be taken");
    open_stream(&bench);
    report(&bench);
    report(&bench);
    assert_eq!(begun(&bench), 1);
    bench.world.pass_ms(8 * DAY_MS);
    report(&bench);
    import(&bench.site, &bench.granted(&bench.order("po-3", 10))).unwrap();
}

#[test]
fn what_is_on_its_way_in_a_stream_that_goes_on_arrives_before_the_new_epoch() {
    let bench = Bench::new();
    bench.entitlement(10);
    let travelling = bench.granted(&bench.order("po-2", 10));
    open_stream(&bench);
    let receipt = bench.receipt();
    import(&bench.site, &travelling).unwrap();
    import_receipt(&bench.site, &receipt).unwrap();
    assert_eq!(begun(&bench), 0);
    report(&bench);
    assert_eq!(begun(&bench), 1);
    report(&bench);
    assert_eq!(begun(&bench), 1, "what was approved is done once");
}

#[test]
fn p13_a_message_that_travelled_too_long_is_passed_over_unopened() {
    let bench = Bench::new();
    let [first, second] = ["po-1", "po-2"].map(|number| bench.granted(&long(&bench, number)));
    bench.world.pass_ms(TRANSIT_MS + 1);
    let third = bench.granted(&long(&bench, "po-3"));
    assert_eq!(import(&bench.site, &second).unwrap_err().reason, "OUT_OF_ORDER");
    for _ in 0..2 {
        assert_eq!(import(&bench.site, &first).unwrap_err().reason, "EXPIRED");
    }
    assert_eq!(import(&bench.site, &second).unwrap_err().reason, "EXPIRED");
    let entitlement = import(&bench.site, &third).unwrap();
    bench.reserve(&entitlement, "SN:1").unwrap();
    let events: Vec<Event> = bench.rows().into_iter().map(|row| row.body.event).collect();
    for number in 1..=3 {
        let taken = events.iter().any(|event| {
            matches!(event, Event::MessageOpened { sequence: Some(one), .. } if *one == number)
        });
        assert!(taken, "message {number} is on record");
    }
    let imported = |event: &&Event| matches!(event, Event::GrantImported { .. });
    assert_eq!(events.iter().filter(imported).count(), 1);
}

#[test]
fn a_grant_that_no_key_opened_is_no_debt_once_a_new_epoch_has_begun() {
    let bench = Bench::new();
    bench.entitlement_of(&long(&bench, "po-1"));
    report(&bench);
    rotate::<Line>(&bench.site, "/plugin/");
    bench.world.pass_ms(DAY_MS);
    let mut order = long(&bench, "po-2");
    order.terms.audit_return.seconds = 7 * 86_400;
    let lost = bench.granted(&order);
    bench.world.pass_ms(TRANSIT_MS - DAY_MS);
    assert_eq!(import(&bench.site, &lost).unwrap_err().reason, "KEY_RETIRED");
    announce(&bench.site, &bench.hq);
    report(&bench);
    let site = bench.site.uri();
    let more = || Office::grant(&bench.hq, &site, Line::NAME, &long(&bench, "po-3"));
    assert_eq!(more().unwrap_err().reason, "RECEIPT_OVERDUE", "the site can not report about it");
    open_stream(&bench);
    assert_eq!(more().unwrap_err().reason, "RECEIPT_OVERDUE", "approvals alone are not enough");
    report(&bench);
    report(&bench);
    import(&bench.site, &more().unwrap()).unwrap();
}

/// The message that would follow another of headquarters, by somebody who has a key of the same
/// age as the one that signed it.
fn forged(bench: &Bench, before: &[u8], made_at: u64, lie: impl FnOnce(&mut Stream)) -> Vec<u8> {
    let mut header = header(before);
    let (head, _) = MessageHead::parse(before).unwrap();
    let honest = Certificate::parse(&header.sender_chain[0]).unwrap();
    let (ca, ca_certificate) = bench.world.second_ca(&bench.hq);
    let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
    let leaf = issue::leaf(
        &ca,
        &ca_certificate,
        &honest.spiffe_id().unwrap(),
        key.public_key_info(),
        LeafUsage::Signing,
        honest.measurement().unwrap().as_ref(),
        honest.validity(),
    );
    header.sender_chain = vec![leaf.unwrap(), ca_certificate];
    header.made_at = made_at;
    let stream = header.host.stream.as_mut().unwrap();
    stream.sequence += 1;
    stream.previous = head.digest();
    lie(stream);
    let preamble = message::preamble(&header).unwrap();
    let sealed = [0; TAG_BYTES];
    let chunk = ChunkRef { digest: sha256(&sealed), length: TAG_BYTES as u32 };
    let encapsulated_key = head.tail().encapsulated_key.clone();
    let tail = Tail { encapsulated_key, chunks: vec![chunk] };
    let signature = key.sign(&message::signed_bytes(&preamble, &tail));
    let mut content = message::assemble(&preamble, &tail, &signature).unwrap();
    content.extend_from_slice(&sealed);
    content
}

/// A site that took a first message, whose key headquarters then replaced so long ago that nobody
/// can open what was sealed by it, and it would be passed over; when all began, and the message.
fn replaced_long_ago() -> (Bench, u64, Vec<u8>) {
    let bench = Bench::new();
    let began = bench.site.clock().now_ms();
    let first = bench.granted(&long(&bench, "po-1"));
    import(&bench.site, &first).unwrap();
    bench.world.pass_ms(LATER_MS);
    rotate::<Office>(&bench.hq, "/plugin/");
    announce(&bench.hq, &bench.site);
    bench.world.pass_ms(TRANSIT_MS);
    (bench, began, first)
}

#[test]
fn p13_who_has_a_replaced_key_sets_no_clock_and_brings_no_key_back() {
    let (bench, began, first) = replaced_long_ago();
    let ahead = bench.site.clock().now_ms() + 100 * DAY_MS;
    let stolen = forged(&bench, &first, began, |stream| stream.sent_at = ahead);
    assert_eq!(import(&bench.site, &stolen).unwrap_err().reason, "UNTRUSTED_MESSAGE");
    assert_eq!(header(&bench.bundle()).recipient.to_vec(), present(&bench.hq, "/plugin/").concat());
    import(&bench.site, &bench.granted(&long(&bench, "po-2"))).unwrap();
    bench.site.clock().pass_ms(1);
    bench.bundle();
    let last = bench.rows().pop().unwrap();
    assert_eq!(last.body.time_ms, bench.site.clock().now_ms());
}

/// Else no later message of headquarters would ever be the next.
#[test]
fn p13_who_has_a_replaced_key_takes_no_stream_to_its_end() {
    let (bench, began, first) = replaced_long_ago();
    let stolen = forged(&bench, &first, began, |stream| {
        (stream.epoch, stream.sequence, stream.previous) = (u64::MAX, 1, [0; 32]);
        (stream.sent_at, stream.site_heads) = (began, Vec::new());
    });
    assert_eq!(import(&bench.site, &stolen).unwrap_err().reason, "OUT_OF_ORDER");
    import(&bench.site, &bench.granted(&long(&bench, "po-2"))).unwrap();
    let session = Session { plugin: None, ..bench.hq.session_of::<Office>("admin", "zoe") };
    let site = bench.site.uri();
    let last = bench.hq.custody().open_stream(session, &site, Some(u64::MAX));
    assert_eq!(block_on(last).unwrap_err().reason, Reason::InvalidArgument);
}

#[test]
fn while_the_clock_is_suspect_no_message_is_passed_over() {
    let bench = Bench::new();
    let first = bench.granted(&long(&bench, "po-1"));
    bench.world.pass_ms(TRANSIT_MS + 1);
    bench.bundle();
    let now = bench.site.clock().now_ms();
    bench.site.clock().set_wall_ms(now - 10 * DAY_MS);
    for _ in 0..2 {
        assert_eq!(import(&bench.site, &first).unwrap_err().reason, "CLOCK_SUSPECT");
    }
    bench.site.clock().set_wall_ms(now + 1_000);
    assert_eq!(import(&bench.site, &first).unwrap_err().reason, "EXPIRED");
}

#[test]
fn p13_a_key_that_people_replaced_never_signs_again_however_new_it_is() {
    let disk = Disk::empty();
    let bench = Bench::on(disk.create());
    let before = disk.copy();
    bench.world.pass_ms(LATER_MS);
    rotate::<Line>(&bench.site, "/plugin/");
    announce(&bench.site, &bench.hq);
    let stolen = disk.copy();
    bench.world.pass_ms(LATER_MS);
    // The site is brought back with the key of before, and people take that.
    let Bench { world, hq, site } = bench;
    let site = site.stop().start_on(before.open()).unwrap();
    let bench = Bench { world, hq, site };
    announce(&bench.site, &bench.hq);
    bench.world.pass_ms(1);
    Office::acknowledge(&bench.hq, &bench.bundle()).unwrap();
    let Bench { world, hq, site } = bench;
    let thief = site.stop().start_on(stolen.open()).unwrap();
    let bench = Bench { world, hq, site: thief };
    let refused = Office::acknowledge(&bench.hq, &bench.bundle()).unwrap_err();
    assert_eq!(refused.reason, "KEY_RETIRED");
    // What the site makes later is good.
    let Bench { world, hq, site } = bench;
    let site = site.stop().start_on(before.open()).unwrap();
    let bench = Bench { world, hq, site };
    bench.world.pass_ms(LATER_MS);
    rotate::<Line>(&bench.site, "/plugin/");
    Office::acknowledge(&bench.hq, &bench.bundle()).unwrap();
}

#[test]
fn p13_while_the_clock_is_suspect_no_key_is_replaced() {
    let bench = Bench::new();
    bench.entitlement(10);
    bench.world.pass_ms(DAY_MS);
    bench.bundle();
    let now = bench.site.clock().now_ms();
    let keys = present(&bench.site, "");
    bench.site.clock().set_wall_ms(now - DAY_MS);
    let refused = try_rotate::<Line>(&bench.site, &keys).unwrap_err();
    assert_eq!(refused.reason, Reason::ClockSuspect);
    assert_eq!(present(&bench.site, ""), keys);
    bench.site.clock().set_wall_ms(now + 1_000);
    assert_eq!(try_rotate::<Line>(&bench.site, &keys).unwrap().len(), 2);
}
