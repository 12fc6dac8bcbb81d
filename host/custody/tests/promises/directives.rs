//! Directives: headquarters' later orders, acted on by the site's host alone.

use futures_executor::block_on;
use futures_util::future::join;
use mintmark_custody::{Call, CommitFailure};
use mintmark_exchange::SignedOrder;
use mintmark_exchange::directive::{Change, Directive};
use mintmark_exchange::proposal::DirectiveMessageBody;
use mintmark_exchange::row::Event;
use mintmark_model::Reason;
use mintmark_pki::device::verify_device;
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::sdk::transfers::{self, AppliedDirective};
use mintmark_sdk_testing::sdk::{Plugin, Status};
use mintmark_sdk_testing::{Device, Office, TestHost};

use crate::bench::{Bench, Line, draw, finish, issue};

const DAY_MS: u64 = 86_400_000;

pub(crate) fn order(bench: &Bench, entitlement: &str, change: Change) -> Vec<u8> {
    Office::change(&bench.hq, &bench.site.uri(), Line::NAME, entitlement, &change).unwrap()
}

/// The order inside a directive's file; the message is taken off the stream, the order is not acted
/// on.
pub(crate) fn carried(site: &TestHost, file: &[u8]) -> Vec<u8> {
    let file = site.stage(file);
    let order = site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Directive, &file)?;
        Ok(DirectiveMessageBody::decode(&message.read_all(1 << 22)?).unwrap().order)
    });
    order.unwrap()
}

pub(crate) fn act(site: &TestHost, order: &[u8]) -> Result<AppliedDirective, Status> {
    site.run::<Line, _>("operator", "mei", || Ok(transfers::import_directive(order)?))
}

pub(crate) fn import_directive(site: &TestHost, file: &[u8]) -> Result<AppliedDirective, Status> {
    let file = site.stage(file);
    site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Directive, &file)?;
        let body = DirectiveMessageBody::decode(&message.read_all(1 << 22)?).unwrap();
        Ok(transfers::import_directive(&body.order)?)
    })
}

fn refused(bench: &Bench, entitlement: &str, subject: &str) -> Reason {
    bench.provision(entitlement, subject, &Device::new()).unwrap_err().reason
}

#[test]
fn r16_a_revocation_stops_on_contact_and_for_ever() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    bench.provision(&entitlement, "SN:1", &device).unwrap();
    let file = order(&bench, &entitlement, Change::Revoke);
    // Until it arrives the site goes on.
    bench.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    assert_eq!(import_directive(&bench.site, &file).unwrap().applied, 0);
    assert_eq!(refused(&bench, &entitlement, "SN:3"), Reason::Revoked);
    let again = bench.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(again.reason, Reason::Revoked, "nothing is released again");
    let bench = bench.restarted();
    assert_eq!(refused(&bench, &entitlement, "SN:4"), Reason::Revoked);
    let again = import_directive(&bench.site, &file).unwrap_err();
    assert_eq!(again.reason, "REPLAYED");
    let rows = bench.rows();
    let acted = rows.iter().filter(|row| {
        matches!(&row.body.event, Event::DirectiveImported { change: Change::Revoke, .. })
    });
    assert_eq!(acted.count(), 1);
}

/// A call that has drawn a unit for `SN:1` and is not committed.
pub(crate) fn under_way(bench: &Bench, entitlement: &str) -> Call {
    block_on(async {
        let mut call = bench.call().await;
        draw(&mut call, entitlement, "SN:1").await.unwrap();
        call
    })
}

/// The rerun of a draw that knew nothing of a revocation.
async fn overtaken(bench: &Bench, call: Call) -> Call {
    let Err(CommitFailure::Conflict(carry)) = call.commit().await else {
        panic!("the draw knew nothing of the revocation");
    };
    bench.call_as("line-4", Some(carry)).await
}

#[test]
fn r16_a_draw_under_way_is_not_committed_after_a_revocation() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let file = order(&bench, &entitlement, Change::Revoke);
    let call = under_way(&bench, &entitlement);
    import_directive(&bench.site, &file).unwrap();
    block_on(async {
        let mut rerun = overtaken(&bench, call).await;
        let refusal = draw(&mut rerun, &entitlement, "SN:1").await.err().unwrap();
        assert_eq!(refusal.reason, Reason::Revoked);
        rerun.abort(refusal.reason).await;
    });
    assert_eq!(bench.counters(&entitlement).unused, 10);
}

#[test]
fn r16_a_rerun_that_asks_for_its_unit_by_another_way_gets_nothing_after_a_revocation() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let file = order(&bench, &entitlement, Change::Revoke);
    let call = under_way(&bench, &entitlement);
    import_directive(&bench.site, &file).unwrap();
    block_on(async {
        let mut rerun = overtaken(&bench, call).await;
        let allotment = rerun.open_allotment(&entitlement).await.unwrap();
        let refusal = rerun.find_unit(&allotment, "SN:1").await.err().unwrap();
        assert_eq!(refusal.reason, Reason::Revoked);
        rerun.abort(refusal.reason).await;
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.unused, counters.reserved), (10, 0));
}

#[test]
fn what_a_key_was_used_for_before_a_revocation_is_counted_and_does_not_leave() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let device = Device::new();
    let file = order(&bench, &entitlement, Change::Revoke);
    let call = block_on(async {
        let mut call = bench.call().await;
        issue(&mut call, &entitlement, "SN:1", &device).await.unwrap();
        call
    });
    import_directive(&bench.site, &file).unwrap();
    block_on(async {
        let Err(CommitFailure::Conflict(carry)) = call.commit().await else {
            panic!("the call knew nothing of the revocation");
        };
        let mut rerun = bench.call_as("line-4", Some(carry)).await;
        let refusal = issue(&mut rerun, &entitlement, "SN:1", &device).await.err().unwrap();
        assert_eq!(refusal.reason, Reason::Revoked);
        assert!(rerun.abort(refusal.reason).await.tainted);
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.issued, counters.unused), (1, 9));
    let retry = bench.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(retry.reason, Reason::Revoked);
}

#[test]
fn a_reduction_takes_what_is_unused_and_says_how_much_that_was() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let first = order(&bench, &entitlement, Change::Reduce { units: 4 });
    assert_eq!(import_directive(&bench.site, &first).unwrap().applied, 4);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.unused), (6, 5));
    let second = order(&bench, &entitlement, Change::Reduce { units: 100 });
    assert_eq!(import_directive(&bench.site, &second).unwrap().applied, 5);
    assert_eq!(bench.counters(&entitlement).credited, 1);
    assert_eq!(refused(&bench, &entitlement, "SN:2"), Reason::QuotaExhausted);
    let bench = bench.restarted();
    assert_eq!(refused(&bench, &entitlement, "SN:2"), Reason::QuotaExhausted);
}

#[test]
fn a_reduction_leaves_the_units_of_draws_under_way() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(3);
    let file = order(&bench, &entitlement, Change::Reduce { units: 3 });
    let call = under_way(&bench, &entitlement);
    assert_eq!(import_directive(&bench.site, &file).unwrap().applied, 2);
    block_on(async {
        let Err(CommitFailure::Conflict(carry)) = call.commit().await else {
            panic!("the draw knew nothing of the directive");
        };
        let mut rerun = bench.call_as("line-4", Some(carry)).await;
        draw(&mut rerun, &entitlement, "SN:1").await.unwrap();
        finish(rerun).await.unwrap();
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.unused, counters.reserved), (1, 0, 1));
}

#[test]
fn a_shorter_window_ends_earlier_and_never_later() {
    let bench = Bench::new();
    let mut order_of = bench.order("po-1", 10);
    order_of.terms.max_pause_seconds = 86_400;
    let entitlement = bench.entitlement_of(&order_of);
    let now_ms = bench.site.clock().now_ms();
    let file = order(&bench, &entitlement, Change::Shorten { not_after: now_ms + DAY_MS });
    let later = Change::Shorten { not_after: now_ms + 2 * DAY_MS };
    let refused_at_hq =
        Office::change(&bench.hq, &bench.site.uri(), Line::NAME, &entitlement, &later);
    assert_eq!(refused_at_hq.unwrap_err().reason, "TERMS_INVALID");
    import_directive(&bench.site, &file).unwrap();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    bench.world.pass_ms(DAY_MS + 1);
    assert_eq!(refused(&bench, &entitlement, "SN:2"), Reason::Expired);
}

#[test]
fn r17_an_order_that_was_kept_back_is_not_acted_on_after_a_newer_one() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let older = order(&bench, &entitlement, Change::Reduce { units: 1 });
    let newer = order(&bench, &entitlement, Change::Reduce { units: 2 });
    let early = import_directive(&bench.site, &newer).unwrap_err();
    assert_eq!(early.reason, "OUT_OF_ORDER", "the stream has no gaps");
    // The site's plugin drops the message and keeps the order.
    let kept = carried(&bench.site, &older);
    assert_eq!(import_directive(&bench.site, &newer).unwrap().applied, 2);
    assert_eq!(act(&bench.site, &kept).unwrap_err().reason, "OUT_OF_ORDER");
    assert_eq!(bench.counters(&entitlement).credited, 8);
}

#[test]
fn r1_a_directive_is_acted_on_once_however_the_plugin_shows_it() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let file = order(&bench, &entitlement, Change::Reduce { units: 1 });
    let kept = carried(&bench.site, &file);
    assert_eq!(act(&bench.site, &kept).unwrap().applied, 1);
    assert_eq!(act(&bench.site, &kept).unwrap_err().reason, "REPLAYED");
    assert_eq!(bench.counters(&entitlement).credited, 9);
}

#[test]
fn a_directive_for_another_site_or_entitlement_or_of_nobody_changes_nothing() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let file = order(&bench, &entitlement, Change::Revoke);
    let kept = carried(&bench.site, &file);
    for place in (0..kept.len()).step_by(17) {
        let mut forged = kept.clone();
        forged[place] ^= 1;
        let refused = act(&bench.site, &forged).unwrap_err();
        assert_eq!(refused.reason, "UNTRUSTED_MESSAGE", "byte {place}");
    }
    let mut other = bench.world.site("penang");
    other.install::<Line>();
    bench.world.introduce(&bench.hq, &other);
    assert_eq!(act(&other, &kept).unwrap_err().reason, "WRONG_SITE");
    // Headquarters orders nothing about what it did not grant.
    let change = Change::Revoke;
    let unknown = "ent-0123456789abcdef";
    let refused = Office::change(&bench.hq, &bench.site.uri(), Line::NAME, unknown, &change);
    assert_eq!(refused.unwrap_err().reason, "NOT_FOUND");
    // A second headquarters of the organisation can not either.
    let mut oslo = bench.world.headquarters("oslo");
    oslo.install::<Office>();
    bench.world.introduce(&oslo, &bench.site);
    let refused = Office::change(&oslo, &bench.site.uri(), Line::NAME, &entitlement, &change);
    assert_eq!(refused.unwrap_err().reason, "NOT_FOUND");
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    act(&bench.site, &kept).unwrap();
    assert_eq!(self::refused(&bench, &entitlement, "SN:99"), Reason::Revoked);
}

#[test]
fn after_a_revocation_headquarters_orders_nothing_more() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    order(&bench, &entitlement, Change::Revoke);
    for change in [Change::Extend { units: 1, not_after: None }, Change::Reduce { units: 1 }] {
        let refused =
            Office::change(&bench.hq, &bench.site.uri(), Line::NAME, &entitlement, &change);
        assert_eq!(refused.unwrap_err().reason, "WRONG_STATE");
    }
    // The revocation itself may have been lost; it is ordered again under its next number.
    order(&bench, &entitlement, Change::Revoke);
}

#[test]
fn i1_reductions_and_testers_at_once_never_make_one_too_many() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(8);
    let files: Vec<_> =
        (0..3).map(|_| order(&bench, &entitlement, Change::Reduce { units: 1 })).collect();
    std::thread::scope(|scope| {
        for line in 0..4 {
            let (bench, entitlement) = (&bench, &entitlement);
            scope.spawn(move || {
                for device in 0..6 {
                    let subject = format!("SN:{line}-{device}");
                    // Conflicts and refusals are both fine: what counts is the sum.
                    let _ = bench.provision(entitlement, &subject, &Device::new());
                }
            });
        }
        for file in &files {
            while let Err(refused) = import_directive(&bench.site, file) {
                assert!(["CONFLICT", "REPLAYED"].contains(&&*refused.reason), "{refused:?}");
                if refused.reason == "REPLAYED" {
                    break;
                }
            }
        }
    });
    let counters = bench.counters(&entitlement);
    assert_eq!(counters.credited + 3, 8 + (3 - taken(&bench)), "{counters:?}");
    assert!(counters.issued <= counters.credited);
}

fn taken(bench: &Bench) -> u64 {
    let applied = bench.rows().into_iter().filter_map(|row| match row.body.event {
        Event::DirectiveImported { applied, .. } => Some(applied),
        _ => None,
    });
    applied.sum()
}

#[test]
fn two_calls_at_once_act_on_a_directive_once() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let file = order(&bench, &entitlement, Change::Reduce { units: 2 });
    let kept = carried(&bench.site, &file);
    let act = || async {
        let session = bench.site.session_of::<Line>("operator", "mei");
        let mut call = bench.site.custody().begin(session, None).await.unwrap();
        match call.import_directive(&kept).await {
            Ok(_) => finish(call).await,
            Err(refusal) => {
                call.abort(refusal.reason).await;
                Err(refusal)
            }
        }
    };
    let (one, other) = block_on(join(act(), act()));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(bench.counters(&entitlement).credited, 8);
}

/// Headquarters extends, with the approvals that it takes.
pub(crate) fn extend(
    bench: &Bench,
    entitlement: &str,
    units: u64,
    not_after: Option<u64>,
) -> Vec<u8> {
    let change = Change::Extend { units, not_after };
    let ordered = || Office::change(&bench.hq, &bench.site.uri(), Line::NAME, entitlement, &change);
    let refused = ordered().unwrap_err();
    assert_eq!(refused.reason, "APPROVAL_REQUIRED");
    bench.hq.approve(&refused);
    let file = ordered().unwrap();
    assert_eq!(ordered().unwrap_err().reason, "APPROVAL_REQUIRED", "approvals are used up");
    file
}

/// The certificate of a device verifies under the chain of its unit, and is the unit's.
fn verified(bench: &Bench, entitlement: &str, subject: &str, certificate: Vec<u8>) -> u64 {
    let chain = block_on(async {
        let mut call = bench.call().await;
        let unit = draw(&mut call, entitlement, subject).await.unwrap();
        call.unit_chain(&unit).await.unwrap()
    });
    let [batch, product] = &chain[..] else { panic!("batch CA and product CA") };
    let now_ms = bench.site.clock().now_ms();
    let device = verify_device(&[certificate, batch.clone()], product, now_ms).unwrap();
    device.serial().unit
}

#[test]
fn an_extension_adds_units_with_certificates_that_verify_and_old_ones_keep_theirs() {
    let bench = Bench::new();
    let mut granted = bench.order("po-1", 2);
    granted.terms.audit_return.units = 10;
    granted.terms.max_in_doubt = 10;
    let entitlement = bench.entitlement_of(&granted);
    let device = Device::new();
    let first = bench.provision(&entitlement, "SN:0", &device).unwrap();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    assert_eq!(refused(&bench, &entitlement, "SN:2"), Reason::QuotaExhausted);
    for (units, made) in [(1, 2..3), (2, 3..5)] {
        let file = extend(&bench, &entitlement, units, None);
        assert_eq!(import_directive(&bench.site, &file).unwrap().applied, units);
        for number in made {
            let subject = format!("SN:{number}");
            let artefact = bench.provision(&entitlement, &subject, &Device::new()).unwrap();
            let certificate = artefact.certificate.unwrap();
            assert_eq!(verified(&bench, &entitlement, &subject, certificate), number);
        }
        assert_eq!(refused(&bench, &entitlement, "SN:9"), Reason::QuotaExhausted);
    }
    let again = bench.provision(&entitlement, "SN:0", &device).unwrap();
    assert_eq!(again, first, "a retry gets the same bytes");
    assert_eq!(verified(&bench, &entitlement, "SN:0", again.certificate.unwrap()), 0);
    let bench = bench.restarted();
    assert_eq!(refused(&bench, &entitlement, "SN:9"), Reason::QuotaExhausted);
    assert_eq!(bench.counters(&entitlement).credited, 5);
}

#[test]
fn what_was_taken_back_and_added_never_makes_a_number_twice() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(3);
    bench.provision(&entitlement, "SN:0", &Device::new()).unwrap();
    let file = order(&bench, &entitlement, Change::Reduce { units: 2 });
    import_directive(&bench.site, &file).unwrap();
    let file = extend(&bench, &entitlement, 2, None);
    import_directive(&bench.site, &file).unwrap();
    for subject in ["SN:1", "SN:2"] {
        bench.provision(&entitlement, subject, &Device::new()).unwrap();
    }
    assert_eq!(refused(&bench, &entitlement, "SN:3"), Reason::QuotaExhausted);
    let units: Vec<_> = bench.unit_rows().into_iter().map(|row| row.unit).collect();
    assert_eq!(units, [0, 1, 2]);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.issued), (3, 3));
}

#[test]
fn a_paused_allotment_can_be_extended_and_a_closed_one_can_not() {
    let bench = Bench::new();
    let mut granted = bench.order("po-1", 3);
    granted.terms.not_after = granted.terms.not_before + DAY_MS;
    granted.terms.max_pause_seconds = 86_400;
    let entitlement = bench.entitlement_of(&granted);
    bench.world.pass_ms(DAY_MS + 1);
    assert_eq!(refused(&bench, &entitlement, "SN:1"), Reason::Expired);
    let until = bench.site.clock().now_ms() + DAY_MS;
    let file = extend(&bench, &entitlement, 0, Some(until));
    assert_eq!(import_directive(&bench.site, &file).unwrap().applied, 0);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    // The window passes again, and this time the pause as well.
    let late = extend(&bench, &entitlement, 1, Some(until + DAY_MS));
    bench.world.pass_ms(2 * DAY_MS + 1);
    assert_eq!(import_directive(&bench.site, &late).unwrap_err().reason, "CLOSED");
    assert_eq!(refused(&bench, &entitlement, "SN:2"), Reason::Closed);
    assert_eq!(bench.counters(&entitlement).destroyed, 2);
}

#[test]
fn a_revoked_allotment_is_not_extended() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(3);
    let longer = extend(&bench, &entitlement, 1, None);
    let revoke = order(&bench, &entitlement, Change::Revoke);
    // The site's plugin drops the extension, and tries it once the revocation has come.
    let kept = carried(&bench.site, &longer);
    import_directive(&bench.site, &revoke).unwrap();
    assert_eq!(act(&bench.site, &kept).unwrap_err().reason, "OUT_OF_ORDER");
    assert_eq!(refused(&bench, &entitlement, "SN:1"), Reason::Revoked);
}

#[test]
fn an_extended_allotment_has_a_revocation_list_of_each_of_its_batch_cas() {
    let bench = Bench::new();
    let mut granted = bench.order("po-1", 1);
    granted.terms.audit_return.units = 10;
    granted.terms.max_in_doubt = 10;
    let entitlement = bench.entitlement_of(&granted);
    bench.provision(&entitlement, "SN:0", &Device::new()).unwrap();
    let file = extend(&bench, &entitlement, 1, None);
    import_directive(&bench.site, &file).unwrap();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    for subject in ["SN:0", "SN:1"] {
        let unit = (entitlement.as_str(), subject);
        let failed = bench.with_unit(("station", "line-4"), unit, async |call, unit| {
            call.fail(unit, mintmark_custody::Failure::Permanent, "no radio").await
        });
        failed.unwrap();
    }
    let unit = (entitlement.as_str(), "SN:0");
    let made = bench.with_unit(("operator", "mei"), unit, async |call, _| {
        let allotment = call.open_allotment(&entitlement).await?;
        call.revocation_list(&allotment).await
    });
    let made = made.unwrap();
    assert_eq!(made.revoked, 2);
    let lists = bench.site.fetch(&made.file).unwrap();
    // Each issuer's name states its total.
    for total in ["of 1 units", "of 2 units"] {
        let named = lists.windows(total.len()).filter(|text| *text == total.as_bytes()).count();
        assert_eq!(named, 1, "{total}");
    }
}

#[test]
fn i5_an_order_that_was_refused_half_way_can_not_be_committed() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let swallowed = bench.hq.run::<Office, _>("admin", "ada", || {
        // The units are credited before it is found that people must agree.
        let extend = Change::Extend { units: 5, not_after: None };
        let site = bench.site.uri();
        assert!(transfers::export_directive(&site, &entitlement, &extend, None).is_err());
        Ok(())
    });
    assert_eq!(swallowed.unwrap_err().reason, "APPROVAL_REQUIRED");
    // The next order is the first one.
    let file = order(&bench, &entitlement, Change::Reduce { units: 1 });
    let first = SignedOrder::decode(&carried(&bench.site, &file)).unwrap();
    assert_eq!(first.open::<Directive>().unwrap().number, 1);
}
