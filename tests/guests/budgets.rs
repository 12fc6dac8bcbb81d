//! What a guest may use up is its own: time, memory, records, log lines, calls of the host.

use mintmark_guest_hostile::proto::{
    EchoRequest, EchoResponse, FloodRequest, FloodResponse, Nothing,
};
use mintmark_model::Reason;
use mintmark_runtime::Refused;
use prost::Message;

use super::log;
use super::node::{Node, PATIENT_MS, host_reason};

/// What the runtime's log takes of one call: 64 KiB, and as much again for the lines' prefixes.
const LOGGED_BYTES_MAX: usize = 2 * (64 << 10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_loops_end_at_the_deadline_and_others_are_served_meanwhile() {
    let site = Node::start(3_000).await;
    let spin = || async { site.refusal("Loop", &Nothing {}).await };
    let canaries = async {
        for _ in 0..8 {
            site.canary().await;
        }
    };
    let (one, two, three, ()) = tokio::join!(spin(), spin(), spin(), canaries);
    assert_eq!([one, two, three], [Reason::BudgetExceeded; 3]);
    site.canary().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_memory_ends_at_the_limit_and_hurts_one_call() {
    let site = Node::start(PATIENT_MS).await;
    let grow = || async { site.refusal("GrowMemory", &Nothing {}).await };
    let canaries = async {
        for _ in 0..4 {
            site.canary().await;
        }
    };
    let (one, two, ()) = tokio::join!(grow(), grow(), canaries);
    assert_eq!([one, two], [Reason::PluginFault; 2]);
}

#[tokio::test]
async fn w9_traps_panics_and_rubbish_hurt_their_own_call() {
    let site = Node::start(PATIENT_MS).await;
    for method in ["Trap", "Panic"] {
        let refused = site.raw(method, &Nothing {}).await.unwrap_err();
        assert_eq!(host_reason(&refused), Reason::PluginFault);
        assert!(!format!("{refused:?}").contains("on purpose"), "the panic's text stays here");
        site.canary().await;
    }
    assert!(log::text().contains("the guest panics on purpose"), "the author reads it");
    // Bytes are the guest's own affair; a client that decodes them strictly finds out.
    let rubbish = site.raw("Rubbish", &Nothing {}).await.unwrap();
    assert!(EchoResponse::decode(rubbish).is_err());
    site.canary().await;
}

#[tokio::test]
async fn w12_a_flood_of_records_is_refused_and_leaves_none() {
    let site = Node::start(PATIENT_MS).await;
    // Above the bytes of a call; the guest passes the host's refusal on.
    let refused = site.raw("RecordFlood", &FloodRequest { count: 1_000 }).await.unwrap_err();
    let Refused::Plugin(status) = &refused else { panic!("{refused:?}") };
    assert_eq!(status.reason, "BUDGET_EXCEEDED");
    assert_eq!(site.records().await, 0);
    // The positive control: a few are written.
    let _: Nothing = site.call("RecordFlood", &FloodRequest { count: 3 }).await.unwrap();
    assert_eq!(site.records().await, 3);
    site.neighbour().await;
}

#[tokio::test]
async fn w13_a_flood_of_lines_is_cut_and_escaped() {
    let site = Node::start(PATIENT_MS).await;
    let before = log::text().matches("flood ").count();
    let _: Nothing = site.call("LogFlood", &FloodRequest { count: 2_000 }).await.unwrap();
    let text = log::text();
    let flooded: Vec<&str> = text.lines().filter(|line| line.contains("flood ")).collect();
    assert!(text.matches("flood ").count() > before, "the author reads the first lines");
    assert!(flooded.iter().map(|line| line.len()).sum::<usize>() <= LOGGED_BYTES_MAX);
    assert!(flooded.iter().all(|line| !line.contains('\u{1b}') && !line.contains('\r')));
    assert!(!text.lines().any(|line| line.starts_with("{\"level\"")), "a line stays one line");
    site.canary().await;
}

#[tokio::test]
async fn w24_host_calls_run_out_also_for_a_guest_that_ignores_it() {
    let site = Node::start(PATIENT_MS).await;
    let reason = site.refusal("HostCallFlood", &FloodRequest { count: u32::MAX }).await;
    assert_eq!(reason, Reason::BudgetExceeded);
    let few = FloodRequest { count: 100 };
    let answer: FloodResponse = site.call("HostCallFlood", &few).await.unwrap();
    assert_eq!(answer.answered, 100);
    site.canary().await;
}

#[tokio::test]
async fn w15_a_crash_loop_is_left_alone_and_its_neighbour_is_served() {
    let site = Node::start(PATIENT_MS).await;
    let mut faults = 0;
    let opened = loop {
        match site.refusal("Trap", &Nothing {}).await {
            Reason::PluginFault => faults += 1,
            other => break other,
        }
        assert!(faults < 1_000, "the breaker never opens");
        site.neighbour().await;
    };
    assert_eq!(opened, Reason::Unavailable);
    assert_eq!(site.refusal("Echo", &EchoRequest::default()).await, Reason::Unavailable);
    site.neighbour().await;
}

#[tokio::test]
async fn w22_an_instance_that_failed_remembers_nothing_in_a_stream() {
    let site = Node::start(PATIENT_MS).await;
    let mut stream = site.stream("Echo");
    let mut seen = Vec::new();
    for fail in ["", "", "now", "", ""] {
        let message = EchoRequest { text: String::new(), fail: fail.to_owned() }.encode_to_vec();
        let answer = stream.call(site.session(&message), message.into()).await;
        seen.push(answer.ok().map(|bytes| EchoResponse::decode(bytes).unwrap().calls_before));
    }
    // The positive control: what commits keeps its instance within a stream.
    assert_eq!(seen, [Some(0), Some(1), None, Some(0), Some(1)]);
}
