//! A grant is credited once, and a failed import leaves nothing behind that could be drawn, and
//! nothing that stands in the way.

use futures_executor::block_on;
use futures_util::future::join;
use mintmark_custody::{Call, CommitFailure};
use mintmark_exchange::proposal::EntitlementBody;
use mintmark_exchange::row::Event;
use mintmark_model::Reason;

use crate::bench::{Bench, finish, import};
use crate::orders::{bare, granted};

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

/// How many grants the site's rows have.
fn imports(bench: &Bench) -> usize {
    let is_import = |event: &Event| matches!(event, Event::GrantImported { .. });
    bench.rows().iter().filter(|row| is_import(&row.body.event)).count()
}

#[test]
fn r1_of_two_calls_that_took_a_grant_one_credits_it() {
    let bench = Bench::new();
    let file = bench.granted(&bench.order("po-1", 10));
    let staged = bench.site.stage(&file);
    let entitlement = block_on(async {
        let (first, entitlement) = take(&bench, &staged).await;
        let (second, _) = take(&bench, &staged).await;
        finish(first).await.unwrap();
        let Err(CommitFailure::Conflict(carry)) = second.commit().await else {
            panic!("the second knew nothing of the first");
        };
        let mut rerun = bench.call_as("line-4", Some(carry)).await;
        let refusal = rerun.open_message("entitlement", &staged).await.err().unwrap();
        assert_eq!(refusal.reason, Reason::Replayed);
        rerun.abort(refusal.reason).await;
        entitlement
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.unused, imports(&bench)), (10, 10, 1));
}

/// Without the message, which alone would be a replay, and without keys, which are made once.
#[test]
fn r1_of_two_calls_that_show_an_order_at_once_one_credits_it() {
    let bench = Bench::new();
    let order = granted(&bench.site, &bench.granted(&bare(&bench)));
    let show = || async {
        let mut call = bench.call().await;
        let imported = call.import_grant(&order).await;
        (call, imported)
    };
    let entitlement = block_on(async {
        let ((first, imported), (second, same)) = join(show(), show()).await;
        let entitlement = imported.unwrap().entitlement;
        assert_eq!(same.unwrap().entitlement, entitlement);
        let (first, second) = join(finish(first), second.commit()).await;
        first.unwrap();
        assert!(matches!(second, Err(CommitFailure::Conflict(_))), "both credited it");
        let (call, again) = show().await;
        assert_eq!(again.unwrap_err().reason, Reason::Replayed);
        call.abort(Reason::Replayed).await;
        entitlement
    });
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.unused, imports(&bench)), (10, 10, 1));
}

#[test]
fn r1_of_many_imports_of_a_file_at_once_one_credits_it() {
    let bench = Bench::new();
    let file = bench.granted(&bench.order("po-1", 10));
    let answers = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8).map(|_| scope.spawn(|| import(&bench.site, &file))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    for refused in refused.into_iter().map(Result::unwrap_err) {
        assert!(["CONFLICT", "REPLAYED"].contains(&&*refused.reason), "{refused:?}");
    }
    assert_eq!((done.len(), imports(&bench)), (1, 1));
    let entitlement = done.into_iter().next().unwrap().unwrap();
    let counters = bench.counters(&entitlement);
    assert_eq!((counters.credited, counters.unused), (10, 10));
}
