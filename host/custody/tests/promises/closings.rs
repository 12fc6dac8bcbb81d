//! The end of an allotment: closed by its site, or by itself; stated, compared, credited back.

use futures_executor::block_on;
use mintmark_exchange::canonical;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::proposal::ClosingMessageBody;
use mintmark_exchange::row::Event;
use mintmark_model::Reason;
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::sdk::{Plugin, Status, transfers};
use mintmark_sdk_testing::{Device, Office, TestHost};

use crate::bench::{Bench, Line, draw, finish, import_receipt};
use crate::directives::under_way;

const DAY_MS: u64 = 86_400_000;

/// Closes at the site; gives the statement's bytes and the file.
fn close(site: &TestHost, entitlement: &str) -> Result<(Vec<u8>, Vec<u8>), Status> {
    let (order, file) = site.run::<Line, _>("admin", "ada", || {
        let order = transfers::export_closing(entitlement)?;
        let body = ClosingMessageBody { version: 1, order: order.clone() };
        let hq = "headquarters/berlin";
        let mut writer = messages::seal(Purpose::Closing, hq, Office::NAME, &[])?;
        writer.append(&body.encode())?;
        Ok((order, writer.finish()?.file))
    })?;
    Ok((order, site.fetch(&file).unwrap()))
}

fn statement(order: &[u8]) -> ClosingStatement {
    canonical::decode(&SignedOrder::decode(order).unwrap().body, 1 << 20).unwrap()
}

fn report(bench: &Bench) {
    import_receipt(&bench.site, &bench.receipt()).unwrap();
}

fn events(bench: &Bench, wanted: impl Fn(&Event) -> bool) -> usize {
    bench.rows().iter().filter(|row| wanted(&row.body.event)).count()
}

#[test]
fn a13_the_final_report_balances_and_unused_units_are_credited_back() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    for number in 0..3 {
        bench.provision(&entitlement, &format!("SN:{number}"), &Device::new()).unwrap();
    }
    block_on(async {
        let mut call = bench.call().await;
        let unit = draw(&mut call, &entitlement, "SN:0").await.unwrap();
        call.confirm(&unit, None).await.unwrap();
        finish(call).await.unwrap();
    });
    let early = close(&bench.site, &entitlement).unwrap_err();
    assert_eq!(early.reason, "WRONG_STATE", "rows about it have no receipt");
    report(&bench);
    let (order, file) = close(&bench.site, &entitlement).unwrap();
    let said = statement(&order);
    assert_eq!(said.counters.values(), [10, 0, 0, 2, 1, 0, 0, 0, 0, 7]);
    assert_eq!(said.in_doubt, [1, 2]);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.unused, counters.destroyed), (0, 7));
    let (again, _) = close(&bench.site, &entitlement).unwrap();
    assert_eq!(again, order, "the statement is the same for ever");
    let taken = Office::take_closing(&bench.hq, &file).unwrap();
    assert_eq!(taken, said);
    assert_eq!(Office::take_closing(&bench.hq, &file).unwrap_err().reason, "REPLAYED");
    let refused = bench.provision(&entitlement, "SN:9", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::Closed);
}

#[test]
fn a_closed_allotment_stays_closed_and_its_keys_are_gone() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.product.origin = KeyOrigin::Derived;
    order.product.delivery = Delivery::SealedToDevice;
    let entitlement = bench.entitlement_of(&order);
    report(&bench);
    close(&bench.site, &entitlement).unwrap();
    let bench = bench.restarted();
    let refused = bench.provision(&entitlement, "SN:1", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::Closed);
    assert_eq!(events(&bench, |event| matches!(event, Event::Closed { destroyed: 10, .. })), 1);
    assert_eq!(events(&bench, |event| matches!(event, Event::KeyDestroyed { .. })), 1);
    let gone = |event: &Event| matches!(event, Event::KeySetDestroyed { size: 10, .. });
    assert_eq!(events(&bench, gone), 1);
    block_on(async {
        let mut call = bench.call().await;
        let key = call.open_key(&format!("{entitlement}.batch")).await.unwrap();
        let attributes = call.key_attributes(&key).await.unwrap();
        assert_eq!(attributes.state, mintmark_model::KeyState::Destroyed);
    });
}

#[test]
fn an_allotment_that_was_paused_too_long_closes_by_itself() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.not_after = order.terms.not_before + DAY_MS;
    order.terms.max_pause_seconds = 86_400;
    let entitlement = bench.entitlement_of(&order);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    bench.world.pass_ms(DAY_MS + 1);
    let paused = bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(paused.reason, Reason::Expired);
    assert_eq!(bench.counters(&entitlement).destroyed, 0, "it can be extended");
    bench.world.pass_ms(DAY_MS);
    let closed = bench.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(closed.reason, Reason::Closed);
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.unused, counters.destroyed, counters.issued), (0, 9, 1));
    assert_eq!(events(&bench, |event| matches!(event, Event::Closed { .. })), 1);
}

#[test]
fn an_allotment_whose_time_ended_while_the_host_was_off_is_closed_at_the_start() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.not_after = order.terms.not_before + DAY_MS;
    order.terms.max_pause_seconds = 0;
    bench.entitlement_of(&order);
    bench.world.pass_ms(DAY_MS + 1);
    let bench = bench.restarted();
    assert_eq!(events(&bench, |event| matches!(event, Event::Closed { destroyed: 10, .. })), 1);
    let bench = bench.restarted();
    assert_eq!(events(&bench, |event| matches!(event, Event::Closed { .. })), 1);
}

#[test]
fn closing_waits_for_draws_under_way() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    report(&bench);
    let call = under_way(&bench, &entitlement);
    let busy = close(&bench.site, &entitlement).unwrap_err();
    assert_eq!(busy.reason, "CONFLICT");
    block_on(call.abort(Reason::PluginFault));
    close(&bench.site, &entitlement).unwrap();
    assert_eq!(bench.counters(&entitlement).destroyed, 10);
}

#[test]
fn headquarters_takes_no_statement_that_its_bundles_do_not_lead_to() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let receipt = bench.receipt();
    // The receipt is at the site; a headquarters that lost the bundle knows nothing of it.
    import_receipt(&bench.site, &receipt).unwrap();
    let (order, file) = close(&bench.site, &entitlement).unwrap();
    let mut oslo = bench.world.headquarters("oslo");
    oslo.install::<Office>();
    bench.world.introduce(&oslo, &bench.site);
    let staged = oslo.stage(&file);
    let refused = oslo.run::<Office, ()>("auditor", "auditor", || {
        messages::open(Purpose::Closing, &staged).map(drop)?;
        Ok(())
    });
    assert_eq!(refused.unwrap_err().reason, "WRONG_SITE");
    let refused = oslo.run::<Office, ()>("auditor", "auditor", || {
        transfers::import_closing(&order).map(drop)?;
        Ok(())
    });
    assert_eq!(refused.unwrap_err().reason, "WRONG_SITE");
    for place in (0..order.len()).step_by(37) {
        let mut forged = order.clone();
        forged[place] ^= 1;
        let refused = bench.hq.run::<Office, ()>("auditor", "auditor", || {
            transfers::import_closing(&forged).map(drop)?;
            Ok(())
        });
        assert_eq!(refused.unwrap_err().reason, "UNTRUSTED_MESSAGE", "byte {place}");
    }
    Office::take_closing(&bench.hq, &file).unwrap();
}

#[test]
fn a_site_that_owes_an_audit_gets_nothing_more_until_it_reports_or_all_is_over() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.world.pass_ms(7 * DAY_MS);
    bench.granted(&bench.order("po-2", 1));
    bench.world.pass_ms(1);
    let order = bench.order("po-3", 1);
    let site = bench.site.uri();
    let refused = Office::grant(&bench.hq, &site, Line::NAME, &order).unwrap_err();
    assert_eq!(refused.reason, "RECEIPT_OVERDUE");
    assert!(refused.message.contains(&entitlement), "{refused:?}");
    bench.receipt();
    Office::grant(&bench.hq, &site, Line::NAME, &order).unwrap();
}
