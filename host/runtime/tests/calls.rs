//! Calls from end to end: a real component, real custody, what is durable afterwards.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod guests;
mod site;

use std::sync::atomic::Ordering;

use bytes::Bytes;

use mintmark_model::Reason;
use mintmark_runtime::{Code, Error, LimitsAsked, Refused, Runtime, RuntimeConfig};

use guests::counter::{COUNTER, MANIFEST};
use guests::{Guest, LOGGING, descriptors};
use site::Site;

const ONE: &str = "/a.S/One";
const MANY: &str = "/a.S/Many";

struct Bench {
    site: Site,
    runtime: Runtime,
}

impl Bench {
    /// A site whose active plugin is the counter.
    async fn new() -> Self {
        let bench = Self::empty().await;
        bench.activate(&component(&COUNTER)).await.unwrap();
        bench
    }

    async fn empty() -> Self {
        let site = Site::new().await;
        let runtime = start(&site, RuntimeConfig::default());
        Self { site, runtime }
    }

    async fn activate(&self, component: &[u8]) -> Result<(), Error> {
        let session = self.site.session("install", component);
        let measurement = self.runtime.install(session, component).await?.measurement;
        let session = self.site.session("activate", &measurement);
        self.runtime.activate(session, &measurement).await
    }

    /// So many calls at once as open the breaker where each is a fault; all are too slow.
    async fn all_too_slow(&self, message: &'static str) {
        let calls: Vec<_> = (0..32)
            .map(|_| {
                let (runtime, route) = (self.runtime.clone(), self.runtime.route(ONE).unwrap());
                let session = self.site.session(ONE, message.as_bytes());
                tokio::spawn(async move { runtime.call(&route, session, message.into()).await })
            })
            .collect();
        for call in calls {
            let refused = call.await.unwrap().unwrap_err();
            assert_eq!(reason(&refused), Reason::BudgetExceeded);
        }
    }

    async fn call(&self, message: &'static str) -> Result<u32, Refused> {
        let route = self.runtime.route(ONE).unwrap();
        let session = self.site.session(ONE, message.as_bytes());
        self.runtime.call(&route, session, message.into()).await.map(|answer| count(&answer))
    }
}

fn start(site: &Site, config: RuntimeConfig) -> Runtime {
    let cache = site.cache.try_clone().unwrap();
    Runtime::new(site.custody.clone(), config, Some(cache)).unwrap()
}

fn component(guest: &Guest<'_>) -> Vec<u8> {
    Guest { descriptors: &descriptors(true), ..*guest }.binary()
}

fn count(answer: &Bytes) -> u32 {
    u32::from_le_bytes(answer[..].try_into().unwrap())
}

fn reason(refused: &Refused) -> Reason {
    match refused {
        Refused::Host(refusal) => refusal.reason,
        Refused::Plugin(status) => panic!("the plugin's own words: {status:?}"),
    }
}

#[tokio::test]
async fn what_an_answered_call_wrote_is_there_for_the_next_one() {
    let bench = Bench::new().await;
    assert_eq!(bench.call("a").await, Ok(1));
    assert_eq!(bench.call("a").await, Ok(2));
}

#[tokio::test]
async fn a_refusal_of_the_plugin_travels_escaped_and_its_writes_are_dropped() {
    let bench = Bench::new().await;
    let Err(Refused::Plugin(status)) = bench.call("e").await else { panic!("refused") };
    assert_eq!((status.code, status.reason.as_str()), (Code::NotFound, "NO_SUCH_LOT"));
    assert_eq!(status.message, "not\\u{a}here");
    assert_eq!(bench.call("a").await, Ok(1));
}

#[tokio::test]
async fn w14_a_trap_and_a_loop_are_the_hosts_words_and_leave_nothing() {
    let bench = Bench::new().await;
    assert_eq!(reason(&bench.call("t").await.unwrap_err()), Reason::PluginFault);
    assert_eq!(reason(&bench.call("l").await.unwrap_err()), Reason::BudgetExceeded);
    assert_eq!(bench.call("a").await, Ok(1));
}

#[tokio::test]
async fn w15_who_loops_is_left_alone_and_who_waits_for_others_is_not() {
    let bench = Bench::new().await;
    bench.site.stalls.store(true, Ordering::Relaxed);
    bench.all_too_slow("a").await;
    bench.site.stalls.store(false, Ordering::Relaxed);
    assert_eq!(bench.call("a").await, Ok(1));
    bench.all_too_slow("l").await;
    assert_eq!(reason(&bench.call("a").await.unwrap_err()), Reason::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_overtake_each_other_run_again_and_none_is_lost() {
    let bench = Bench::new().await;
    let calls = (0..24).map(|_| {
        let (runtime, route) = (bench.runtime.clone(), bench.runtime.route(ONE).unwrap());
        let session = bench.site.session(ONE, b"a");
        tokio::spawn(async move { runtime.call(&route, session, "a".into()).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut counted = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => counted.push(count(&answer)),
            Err(refused) => assert_eq!(reason(&refused), Reason::Conflict),
        }
    }
    // Each answer was given once, and none for a call that was refused.
    counted.sort_unstable();
    assert!(!counted.is_empty());
    assert!(counted.iter().copied().eq(1..=counted.len() as u32), "{counted:?}");
}

#[tokio::test]
async fn a_stream_goes_on_after_a_refusal_and_a_trap() {
    let bench = Bench::new().await;
    let route = bench.runtime.route(MANY).unwrap();
    assert!(route.client_streaming() && route.server_streaming());
    let mut stream = bench.runtime.open_stream(&route);
    let mut counted = Vec::new();
    for message in ["a", "a", "t", "a", "e", "a", "l", "a"] {
        let session = bench.site.session(MANY, message.as_bytes());
        let answer = stream.call(session, message.into()).await;
        assert_eq!(answer.is_ok(), message == "a", "{message}");
        counted.extend(answer.ok().map(|answer| count(&answer)));
    }
    assert_eq!(counted, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn g10_who_hangs_up_does_not_stop_what_runs() {
    let bench = Bench::new().await;
    let route = bench.runtime.route(ONE).unwrap();
    let session = bench.site.session(ONE, b"a");
    let mut call = Box::pin(bench.runtime.call(&route, session, "a".into()));
    let hung_up = tokio::select! {
        biased;
        _ = &mut call => false,
        () = std::future::ready(()) => true,
    };
    drop(call);
    assert!(hung_up, "the call had not ended");
    let mut own = 0;
    while bench.call("a").await.is_ok_and(|count| count == own + 1) {
        own += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_whose_deadline_passes_during_a_sync_has_no_answer_and_what_ran_is_kept() {
    let bench = Bench::new().await;
    let route = bench.runtime.route(ONE).unwrap();
    let session = bench.site.session(ONE, b"a");
    let gate = std::sync::Arc::clone(&bench.site.gate);
    gate.set(true);
    let waits = tokio::task::spawn_blocking(move || gate.until_a_commit_waits());
    let mut call = Box::pin(bench.runtime.call(&route, session, "a".into()));
    tokio::select! {
        biased;
        answer = &mut call => panic!("answered before the sync: {answer:?}"),
        waiting = waits => waiting.unwrap(),
    }
    drop(call);
    bench.site.gate.set(false);
    // Each count is given once: that of the call whose caller left is taken.
    let mut next = bench.call("a").await;
    while next.as_ref().is_err_and(|refused| reason(refused) == Reason::Conflict) {
        next = bench.call("a").await;
    }
    assert_eq!(next, Ok(2));
}

#[tokio::test]
async fn g10_who_hangs_up_does_not_stop_an_activation() {
    let bench = Bench::empty().await;
    let component = component(&COUNTER);
    let session = bench.site.session("install", &component);
    let measurement = bench.runtime.install(session, &component).await.unwrap().measurement;
    let session = bench.site.session("activate", &measurement);
    let mut activating = Box::pin(bench.runtime.activate(session, &measurement));
    let hung_up = tokio::select! {
        biased;
        _ = &mut activating => false,
        () = std::future::ready(()) => true,
    };
    drop(activating);
    assert!(hung_up, "the activation had not ended");
    while bench.runtime.route(ONE).is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.call("a").await, Ok(1));
}

#[tokio::test]
async fn a_request_that_is_too_large_reaches_nobody() {
    let bench = Bench::new().await;
    let route = bench.runtime.route(ONE).unwrap();
    let message = Bytes::from(vec![b'a'; mintmark_runtime::MESSAGE_BYTES_MAX + 1]);
    let refused = bench.runtime.call(&route, bench.site.session(ONE, b""), message).await;
    assert_eq!(reason(&refused.unwrap_err()), Reason::InvalidArgument);
}

#[tokio::test]
async fn a_service_has_one_plugin_and_a_plugin_is_what_it_says() {
    let bench = Bench::new().await;
    let other = MANIFEST.replace("name = 'p'", "name = 'q'");
    let other = component(&Guest { manifest: &other, ..COUNTER });
    let refused = bench.activate(&other).await.unwrap_err();
    assert!(matches!(refused, Error::Description(_)), "{refused}");
    for manifest in [
        MANIFEST.replace("1.0.0", "1.0.1"),
        MANIFEST.replace("a.S", "a.T"),
        MANIFEST.replace("Many", "Few"),
    ] {
        let component = component(&Guest { manifest: &manifest, ..COUNTER });
        assert!(bench.activate(&component).await.is_err());
    }
    assert_eq!(bench.call("a").await, Ok(1), "nothing changed");
}

#[tokio::test]
async fn another_version_takes_over_and_a_route_that_is_held_stays_with_its_own() {
    let bench = Bench::new().await;
    assert_eq!(bench.call("a").await, Ok(1));
    let old = bench.runtime.route(ONE).unwrap();
    let next = MANIFEST.replace("1.0.0", "2.0.0");
    let says_two = "(i32.store8 (i32.const 17) (i32.const 50))";
    let guest = Guest { manifest: &next, describe: says_two, ..COUNTER };
    bench.activate(&component(&guest)).await.unwrap();
    let new = bench.runtime.route(ONE).unwrap();
    assert_ne!(old.claims().measurement, new.claims().measurement);
    assert_eq!(bench.call("a").await, Ok(2), "the records stay with the plugin");
    let session = bench.site.session(ONE, b"a");
    assert!(bench.runtime.call(&old, session, "a".into()).await.is_ok());
}

#[tokio::test]
async fn a_restart_serves_what_was_active_and_names_what_does_not_load() {
    let bench = Bench::new().await;
    assert_eq!(bench.call("a").await, Ok(1));
    let (site, config) = (bench.site, RuntimeConfig::default());
    let again = start(&site, config.clone());
    assert!(again.route(ONE).is_none() && again.status().is_empty());
    again.load().await.unwrap();
    let active = again.active();
    assert_eq!(active[0].services().collect::<Vec<_>>(), ["a.S"]);
    assert_eq!(again.status()[0].fault, None);
    let bench = Bench { site, runtime: again };
    assert_eq!(bench.call("a").await, Ok(2));

    let mut starved = config;
    let nothing = LimitsAsked { memory_mib: Some(0), ..LimitsAsked::default() };
    starved.overrides.insert("p".to_owned(), nothing);
    let starved = start(&bench.site, starved);
    starved.load().await.unwrap();
    assert!(starved.route(ONE).is_none());
    assert!(starved.status()[0].fault.is_some());
}

#[tokio::test]
async fn an_import_without_its_claim_is_refused_at_install() {
    let bench = Bench::empty().await;
    let keys = r#"(import "mintmark:host/keys@0.1.0" (instance))"#;
    let imports = format!("{} {keys}", LOGGING.imports);
    let component = component(&Guest { imports: &imports, manifest: MANIFEST, ..LOGGING });
    let refused = bench.activate(&component).await.unwrap_err();
    assert!(matches!(refused, Error::ImportUnclaimed { .. }), "{refused}");
}
