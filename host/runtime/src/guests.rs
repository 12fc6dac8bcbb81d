//! Hostile guests and what must happen to them, without custody: what they could do to the host
//! they do before they ask it anything.

#[path = "../tests/guests/mod.rs"]
mod text;

use wasmtime::component::Component;

use crate::bindings::AllPre;
use crate::bindings::exports::mintmark::plugin::service::Status;
use crate::config::{Limits, RuntimeConfig};
use crate::engine::Machine;
use crate::guest::{Guest, Ran};
use crate::state::State;

pub(crate) use text::{Guest as Text, LOGGING, MANIFEST, PLAIN, descriptors};

/// An engine with short deadlines.
struct Arena {
    machine: Machine,
    limits: Limits,
}

impl Arena {
    fn new() -> Self {
        let config = RuntimeConfig { instances_max: 4, ..RuntimeConfig::default() };
        let limits = Limits { deadline_ms: 60, memory_bytes: 4 << 20, ..Limits::default() };
        Self { machine: Machine::start(&config).unwrap(), limits }
    }

    fn load(&self, text: &text::Guest<'_>) -> AllPre<State> {
        let component = Component::from_binary(&self.machine.engine, &text.binary()).unwrap();
        AllPre::new(self.machine.linker.instantiate_pre(&component).unwrap()).unwrap()
    }

    fn guest(&self) -> Guest {
        Guest::new(&self.machine, self.limits)
    }

    async fn run(&self, text: &text::Guest<'_>) -> Ran<Result<Vec<u8>, Status>> {
        let plugin = self.load(text);
        call(&mut self.guest(), &plugin).await
    }

    async fn exceeds(&self, text: &text::Guest<'_>, budget: &str) {
        let ran = self.run(text).await;
        assert!(matches!(ran, Ran::Exceeded(what) if what == budget), "{ran:?}");
    }

    async fn traps(&self, text: &text::Guest<'_>) {
        let ran = self.run(text).await;
        assert!(matches!(ran, Ran::Trapped(_)), "{}: {ran:?}", text.call);
    }

    async fn answers(&self, text: &text::Guest<'_>) {
        let ran = self.run(text).await;
        assert!(matches!(ran, Ran::Returned(Ok(_))), "{}: {ran:?}", text.call);
    }
}

async fn call(guest: &mut Guest, plugin: &AllPre<State>) -> Ran<Result<Vec<u8>, Status>> {
    guest.call(plugin, None, ("a.S", "One"), b"hello").await
}

const FOREVER: &str = "(loop $again (br $again))";
const FOREVER_THEN_ANSWER: &str = "(loop $again (br $again)) (i32.const 512)";

#[tokio::test]
async fn a_plain_guest_describes_itself_and_answers() {
    let arena = Arena::new();
    let plugin = arena.load(&PLAIN);
    let mut guest = arena.guest();
    let Ran::Returned(description) = guest.describe(&plugin).await else { panic!("described") };
    assert_eq!((description.name.as_str(), description.version.as_str()), ("p", "1.0.0"));
    assert_eq!(description.services, ["a.S"]);
    let ran = call(&mut guest, &plugin).await;
    assert!(matches!(ran, Ran::Returned(Ok(answer)) if answer.is_empty()));
    assert!(guest.is_clean());
}

#[tokio::test]
async fn w1_w2_a_loop_ends_at_the_deadline_wherever_it_is() {
    let arena = Arena::new();
    arena.exceeds(&text::Guest { call: FOREVER_THEN_ANSWER, ..PLAIN }, "time").await;
    let start = format!("(start $loops) (func $loops {FOREVER})");
    arena.exceeds(&text::Guest { fields: &start, ..PLAIN }, "time").await;
    arena.exceeds(&text::Guest { realloc: FOREVER, ..PLAIN }, "time").await;
    arena.exceeds(&text::Guest { after: FOREVER, ..PLAIN }, "time").await;
    let plugin = arena.load(&text::Guest { describe: FOREVER, ..PLAIN });
    let described = arena.guest().describe(&plugin).await;
    assert!(matches!(described, Ran::Exceeded("time")));
}

#[tokio::test]
async fn w1_the_thread_serves_others_meanwhile() {
    let arena = Arena::new();
    let looping = arena.load(&text::Guest { call: FOREVER_THEN_ANSWER, ..PLAIN });
    let plain = arena.load(&PLAIN);
    let mut slow = arena.guest();
    let canary = async {
        let mut answered = 0;
        for _ in 0..3 {
            let ran = call(&mut arena.guest(), &plain).await;
            answered += i32::from(matches!(ran, Ran::Returned(Ok(_))));
            tokio::task::yield_now().await;
        }
        answered
    };
    // One thread for both: the canary gets its turns because the loop yields.
    let (slow, answered) = tokio::join!(call(&mut slow, &looping), canary);
    assert!(matches!(slow, Ran::Exceeded("time")) && answered == 3);
}

#[tokio::test]
async fn w3_deep_recursion_ends_in_a_trap() {
    let recursion = "(call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3)
        (local.get 4) (local.get 5)) (drop) (i32.const 512)";
    Arena::new().exceeds(&text::Guest { call: recursion, ..PLAIN }, "stack").await;
}

#[tokio::test]
async fn w5_memory_grows_to_the_limit_and_no_further() {
    let arena = Arena::new();
    let grow = |pages: u32, fails: bool| {
        let expected = if fails { "i32.eq" } else { "i32.ne" };
        format!(
            "(if ({expected} (memory.grow (i32.const {pages})) (i32.const -1))
                (then) (else (unreachable))) (i32.const 512)"
        )
    };
    // 4 MiB are 64 pages, and one is there.
    arena.answers(&text::Guest { call: &grow(63, false), ..PLAIN }).await;
    arena.answers(&text::Guest { call: &grow(64, true), ..PLAIN }).await;
    arena.answers(&text::Guest { call: &grow(65_535, true), ..PLAIN }).await;
    let ran = arena.run(&text::Guest { pages: 65, ..PLAIN }).await;
    assert!(!matches!(ran, Ran::Returned(_)), "the limit holds at instantiation too");
}

#[tokio::test]
async fn w6_tables_do_not_grow_beyond_their_limit() {
    let grow = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1))
        (then) (else (unreachable))) (i32.const 512)";
    let guest = text::Guest { fields: "(table $t 1 funcref)", call: grow, ..PLAIN };
    Arena::new().answers(&guest).await;
}

#[tokio::test]
async fn w7_w9_absurd_pointers_and_lengths_trap() {
    let arena = Arena::new();
    let refusal = "(i32.store8 (i32.const 512) (i32.const 1))";
    for call in [
        // The answer is outside memory, misaligned, or has an unknown case.
        "(i32.const 65532)".to_owned(),
        "(i32.const -8)".to_owned(),
        "(i32.const 513)".to_owned(),
        "(i32.store8 (i32.const 512) (i32.const 7)) (i32.const 512)".to_owned(),
        // An answer of 2 GiB.
        "(i32.store (i32.const 524) (i32.const 0x7fffffff)) (i32.const 512)".to_owned(),
        // A status with an unknown code, and one whose text is no UTF-8.
        format!("{refusal} (i32.store8 (i32.const 520) (i32.const 99)) (i32.const 512)"),
        format!(
            "{refusal} (i32.store (i32.const 524) (i32.const 600))
            (i32.store (i32.const 528) (i32.const 1)) (i32.store8 (i32.const 600) (i32.const 255))
            (i32.const 512)"
        ),
    ] {
        arena.traps(&text::Guest { call: &call, ..PLAIN }).await;
    }
    arena.traps(&text::Guest { realloc: "(return (i32.const -4))", ..PLAIN }).await;
    let call = "(call $log (i32.const 1) (i32.const 0) (i32.const 0x7fffffff)) (i32.const 512)";
    arena.traps(&text::Guest { call, ..LOGGING }).await;
}

#[tokio::test]
async fn w7_what_a_guest_hands_over_at_once_is_bounded() {
    let mut arena = Arena::new();
    arena.limits.memory_bytes = 16 << 20;
    let call = "(call $log (i32.const 1) (i32.const 0) (i32.const 0x800000)) (i32.const 512)";
    arena.traps(&text::Guest { call, pages: 129, ..LOGGING }).await;
    let call = "(call $log (i32.const 1) (i32.const 0) (i32.const 0x100000)) (i32.const 512)";
    arena.answers(&text::Guest { call, pages: 129, ..LOGGING }).await;
}

#[tokio::test]
async fn w10_w11_handles_are_bounded_and_can_not_be_forged() {
    let arena = Arena::new();
    let taking = text::Guest {
        imports: r#"(import "wasi:io/streams@0.2.6" (instance $streams
                (export "output-stream" (type (sub resource)))))
            (alias export $streams "output-stream" (type $stream))
            (import "wasi:cli/stdout@0.2.6" (instance $stdout
                (alias outer 1 $stream (type $stream'))
                (export "output-stream" (type $stream (eq $stream')))
                (export "get-stdout" (func (result (own $stream))))))"#,
        lowered: r#"(core func $take (canon lower (func $stdout "get-stdout")))
            (core func $drop (canon resource.drop $stream))"#,
        with: r#"(with "host" (instance
            (export "take" (func $take)) (export "drop" (func $drop))))"#,
        fields: r#"(import "host" "take" (func $take (result i32)))
            (import "host" "drop" (func $drop (param i32)))"#,
        ..PLAIN
    };
    arena
        .answers(&text::Guest { call: "(call $drop (call $take)) (i32.const 512)", ..taking })
        .await;
    for call in [
        "(loop $again (drop (call $take)) (br $again)) (i32.const 512)",
        "(call $drop (i32.const 7)) (i32.const 512)",
        "(call $drop (call $take)) (call $drop (i32.const 1)) (i32.const 512)",
    ] {
        arena.traps(&text::Guest { call, ..taking }).await;
    }

    let kept = arena.load(&text::Guest { call: "(drop (call $take)) (i32.const 512)", ..taking });
    let mut guest = arena.guest();
    assert!(matches!(call(&mut guest, &kept).await, Ran::Returned(Ok(_))));
    assert!(!guest.is_clean(), "a handle that is left could name another call's object");
}

#[tokio::test]
async fn w13_host_calls_run_out() {
    let arena = Arena::new();
    let call = "(loop $again (call $log (i32.const 1) (i32.const 0) (i32.const 0)) (br $again))
        (i32.const 512)";
    arena.exceeds(&text::Guest { call, ..LOGGING }, "host calls").await;
}

#[tokio::test]
async fn w22_a_fresh_instance_sees_nothing_of_the_one_before() {
    let arena = Arena::new();
    let mark = "(if (i32.load (i32.const 40000)) (then (unreachable)))
        (i32.store (i32.const 40000) (i32.const 42)) (i32.const 512)";
    let plugin = arena.load(&text::Guest { call: mark, ..PLAIN });
    for _ in 0..20 {
        let ran = call(&mut arena.guest(), &plugin).await;
        assert!(matches!(ran, Ran::Returned(Ok(_))), "{ran:?}");
    }
    let mut reused = arena.guest();
    let (first, second) = (call(&mut reused, &plugin).await, call(&mut reused, &plugin).await);
    assert!(matches!((first, second), (Ran::Returned(_), Ran::Trapped(_))), "positive control");
}

#[tokio::test]
async fn a_guest_that_asks_the_host_while_it_describes_itself_is_stopped() {
    let arena = Arena::new();
    let asking = text::Guest {
        imports: r#"(import "mintmark:host/caller@0.1.0" (instance $caller
            (export "time-left-ms" (func (result u64)))))"#,
        lowered: r#"(core func $time (canon lower (func $caller "time-left-ms")))"#,
        with: r#"(with "host" (instance (export "time" (func $time))))"#,
        fields: r#"(import "host" "time" (func $time (result i64)))"#,
        describe: "(drop (call $time))",
        ..PLAIN
    };
    let described = arena.guest().describe(&arena.load(&asking)).await;
    assert!(matches!(described, Ran::Trapped(_)), "{described:?}");
}

#[test]
fn w29_proposals_that_are_off_are_refused() {
    let machine = Arena::new().machine;
    for fields in [
        "(memory i64 1)",
        "(memory 1 1 shared)",
        "(memory 1) (memory 1)",
        "(tag (param i32))",
        "(type (struct (field i32)))",
        "(type $f (func (result i32))) (func $t (type $f) (return_call $t))",
        "(func (param v128) (result v128)
            (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))",
    ] {
        let text = format!("(component (core module {fields}))");
        let compiled = Component::from_binary(&machine.engine, &wat::parse_str(text).unwrap());
        assert!(compiled.is_err(), "{fields}");
    }
    let text = "(component (core module (memory 1)))";
    assert!(Component::from_binary(&machine.engine, &wat::parse_str(text).unwrap()).is_ok());
}
