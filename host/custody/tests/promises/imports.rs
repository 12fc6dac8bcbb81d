//! What a failed import leaves behind: nothing that could be drawn, and nothing that stands in the
//! way.

use futures_executor::block_on;
use mintmark_custody::{Call, CommitFailure};
use mintmark_exchange::proposal::EntitlementBody;
use mintmark_model::Reason;

use crate::bench::{Bench, finish, import};

/// Opens a staged entitlement and takes its grant, in a call that is still open.
async fn take(bench: &Bench, file: &str) -> (Call, String) {
    let mut call = bench.call().await;
    let opened = call.open_message("entitlement", file).await.unwrap();
    let body = EntitlementBody::decode(&opened.read(0, 1 << 20)).unwrap();
    let imported = call.import_grant(&body.order).await.unwrap();
    (call, imported.entitlement)
}

#[test]
fn i1_an_import_that_fails_credits_nothing_however_often() {
    let bench = Bench::new();
    let file = bench.site.stage(&bench.granted(&bench.order("po-1", 10)));
    let entitlement = block_on(async {
        let mut entitlement = String::new();
        for reason in [Reason::PluginFault, Reason::BudgetExceeded, Reason::Unavailable] {
            let (call, name) = take(&bench, &file).await;
            assert!(!call.abort(reason).await.tainted);
            entitlement = name;
        }
        let (call, _) = take(&bench, &file).await;
        finish(call).await.unwrap();
        entitlement
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.unused), (10, 10));
}

#[test]
fn a_message_that_the_site_can_not_use_does_not_stop_the_stream() {
    let bench = Bench::new();
    let first = bench.site.stage(&bench.granted(&bench.order("po-1", 10)));
    let second = bench.granted(&bench.order("po-2", 10));
    block_on(async {
        let mut call = bench.call().await;
        call.open_message("entitlement", &first).await.unwrap();
        call.abort(Reason::WrongPlugin).await;
    });
    // The next one is in order, and the first may be tried again.
    import(&bench.site, &second).unwrap();
    let entitlement = block_on(async {
        let (call, entitlement) = take(&bench, &first).await;
        finish(call).await.unwrap();
        let mut call = bench.call().await;
        let again = call.open_message("entitlement", &first).await.err().unwrap();
        assert_eq!(again.reason, Reason::Replayed);
        entitlement
    });
    assert_eq!(bench.counters(&entitlement).unused, 10);
}

#[test]
fn a_refused_import_can_not_be_committed_by_a_plugin_that_ignores_the_refusal() {
    let bench = Bench::new();
    let file = bench.site.stage(&bench.granted(&bench.order("po-1", 10)));
    let entitlement = block_on(async {
        let mut call = bench.call().await;
        call.open_message("entitlement", &file).await.unwrap();
        call.import_grant(b"no order").await.unwrap_err();
        let Err(CommitFailure::Refused(refusal)) = call.commit().await else {
            panic!("the call was committed");
        };
        assert_eq!(refusal.reason, Reason::UntrustedMessage);
        let (call, entitlement) = take(&bench, &file).await;
        finish(call).await.unwrap();
        entitlement
    });
    assert_eq!(bench.counters(&entitlement).unused, 10);
}
