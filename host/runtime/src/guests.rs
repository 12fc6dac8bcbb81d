//! Hostile guests, written by hand in the text format, and what must happen to them.
//!
//! A component here is the least that has the contract's export: one core module, its functions lifted.

use wasmtime::component::Component;

use crate::bindings::AllPre;
use crate::bindings::exports::mintmark::plugin::service::Status;
use crate::config::{Limits, RuntimeConfig};
use crate::engine::Machine;
use crate::guest::{Guest, Ran};
use crate::state::State;

/// A manifest that fits what [`Text`] describes.
pub(crate) const MANIFEST: &str = "name = 'p'\nversion = '1.0.0'\nsecurity_version = 1\n\
                                   contract = '0.1.0'\n[services.'a.S']\nOne = ['admin']";

/// The parts of a guest.
pub(crate) struct Text<'a> {
    /// Imports of the component.
    pub(crate) imports: &'a str,
    /// What the inner component is given of them, and how it lowers them to core functions.
    pub(crate) given: &'a str,
    pub(crate) lowered: &'a str,
    /// What the core module is instantiated with, and its imports.
    pub(crate) with: &'a str,
    /// Fields of the core module.
    pub(crate) fields: &'a str,
    /// The body of the core function `call`; 512 is a result that says `ok` without bytes.
    pub(crate) call: &'a str,
    /// The body of `realloc`, which takes over from a bump allocator.
    pub(crate) realloc: &'a str,
    /// Memory in pages.
    pub(crate) pages: u32,
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            given: "",
            lowered: "",
            with: "",
            fields: "",
            call: "i32.const 512",
            realloc: "",
            pages: 1,
        }
    }
}

/// The logging import, down to the core function `log.write`.
pub(crate) const LOGGING: Text<'static> = Text {
    imports: r#"(import "mintmark:host/log@0.1.0" (instance $log
        (type $level' (enum "debug" "info" "warning" "error"))
        (export "level" (type $level (eq $level')))
        (export "write" (func (param "level" $level) (param "line" string)))))
        (alias export $log "write" (func $write))"#,
    given: r#"(with "write" (func $write))"#,
    lowered: r#"(type $level' (enum "debug" "info" "warning" "error"))
        (import "level" (type $level (eq $level')))
        (import "write" (func $write (param "level" $level) (param "line" string)))"#,
    with: r#"(core func $log (canon lower (func $write) (memory (core memory $mem "memory"))))"#,
    fields: r#"(import "host" "log" (func $log (param i32 i32 i32)))"#,
    call: "i32.const 512",
    realloc: "",
    pages: 1,
};

impl Text<'_> {
    /// The component, in binary.
    pub(crate) fn binary(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    fn text(&self) -> String {
        let Self { imports, given, lowered, with, fields, call, realloc, pages } = self;
        let host = if with.is_empty() {
            String::new()
        } else {
            r#"(with "host" (instance (export "log" (func $log))))"#.to_owned()
        };
        let level = if imports.contains("mintmark:host/log") {
            r#"(alias export $log "level" (type $level))"#
        } else {
            ""
        };
        let given_level = if level.is_empty() { "" } else { r#"(with "level" (type $level))"# };
        let manifest = MANIFEST.replace('\n', "\\n");
        format!(
            r#"(component
            {imports} {level}
            (component $inner
                {lowered}
                (core module $memory (memory (export "memory") {pages}))
                (core instance $mem (instantiate $memory))
                {with}
                (core module $main
                    (@custom "mintmark:manifest" "{manifest}")
                    (@custom "mintmark:descriptors" "\0a\00")
                    (import "mem" "memory" (memory {pages}))
                    {fields}
                    (global $next (mut i32) (i32.const 1024))
                    (data (i32.const 16) "p1.0.0a.S")
                    (data (i32.const 32) "\16\00\00\00\03\00\00\00")
                    (data (i32.const 64) "\10\00\00\00\01\00\00\00\11\00\00\00\05\00\00\00")
                    (data (i32.const 80) "\20\00\00\00\01\00\00\00")
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                        {realloc}
                        (global.get $next)
                        (global.set $next (i32.add (global.get $next) (local.get 3))))
                    (func (export "describe") (result i32) i32.const 64)
                    (func $call (export "call") (param i32 i32 i32 i32 i32 i32) (result i32)
                        {call}))
                (core instance $i (instantiate $main
                    (with "mem" (instance $mem)) {host}))
                (type $description' (record
                    (field "name" string) (field "version" string)
                    (field "services" (list string))))
                (export $description "description" (type $description'))
                (type $code' (enum "cancelled" "unknown" "invalid-argument" "deadline-exceeded"
                    "not-found" "already-exists" "permission-denied" "resource-exhausted"
                    "failed-precondition" "aborted" "out-of-range" "unimplemented" "internal"
                    "unavailable" "data-loss" "unauthenticated"))
                (export $code "code" (type $code'))
                (type $status' (record
                    (field "code" $code) (field "reason" string) (field "message" string)
                    (field "retry-after-ms" (option u64))
                    (field "metadata" (list (tuple string string)))))
                (export $status "status" (type $status'))
                (func $describe (result $description)
                    (canon lift (core func $i "describe") (memory (core memory $mem "memory"))))
                (export "describe" (func $describe))
                (func $call
                    (param "service" string) (param "method" string) (param "message" (list u8))
                    (result (result (list u8) (error $status)))
                    (canon lift (core func $i "call") (memory (core memory $mem "memory"))
                        (realloc (core func $i "realloc"))))
                (export "call" (func $call)))
            (instance $service (instantiate $inner {given} {given_level}))
            (export "mintmark:plugin/service@0.1.0" (instance $service)))"#
        )
    }
}

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

    fn load(&self, text: &Text<'_>) -> AllPre<State> {
        let component = Component::from_binary(&self.machine.engine, &text.binary()).unwrap();
        AllPre::new(self.machine.linker.instantiate_pre(&component).unwrap()).unwrap()
    }

    fn guest(&self) -> Guest {
        Guest::new(&self.machine, self.limits)
    }

    async fn run(&self, text: &Text<'_>) -> Ran<Result<Vec<u8>, Status>> {
        let plugin = self.load(text);
        self.guest().call(&plugin, None, ("a.S", "One"), b"hello").await
    }

    async fn exceeds(&self, text: &Text<'_>, budget: &str) {
        let ran = self.run(text).await;
        assert!(matches!(ran, Ran::Exceeded(what) if what == budget), "{ran:?}");
    }

    async fn traps(&self, text: &Text<'_>) {
        let ran = self.run(text).await;
        assert!(matches!(ran, Ran::Trapped(_)), "{ran:?}");
    }

    async fn answers(&self, text: &Text<'_>) {
        let ran = self.run(text).await;
        assert!(matches!(ran, Ran::Returned(Ok(_))), "{ran:?}");
    }
}

#[tokio::test]
async fn a_plain_guest_describes_itself_and_answers() {
    let arena = Arena::new();
    let plugin = arena.load(&Text::default());
    let mut guest = arena.guest();
    let Ran::Returned(description) = guest.describe(&plugin).await else { panic!("described") };
    assert_eq!((description.name.as_str(), description.version.as_str()), ("p", "1.0.0"));
    assert_eq!(description.services, ["a.S"]);
    let ran = guest.call(&plugin, None, ("a.S", "One"), b"hello").await;
    assert!(matches!(ran, Ran::Returned(Ok(answer)) if answer.is_empty()));
    assert!(guest.is_clean());
}

#[tokio::test]
async fn w1_w2_a_loop_ends_at_the_deadline_wherever_it_is() {
    let arena = Arena::new();
    let forever = "(loop $again (br $again))";
    let call = format!("{forever} i32.const 512");
    arena.exceeds(&Text { call: &call, ..Text::default() }, "time").await;
    let start = format!("(start $loops) (func $loops {forever})");
    arena.exceeds(&Text { fields: &start, ..Text::default() }, "time").await;
    arena.exceeds(&Text { realloc: forever, ..Text::default() }, "time").await;
}

#[tokio::test]
async fn w1_the_thread_serves_others_meanwhile() {
    let arena = Arena::new();
    let looping = arena.load(&Text { call: "(loop $l (br $l)) i32.const 512", ..Text::default() });
    let plain = arena.load(&Text::default());
    let mut slow = arena.guest();
    let slow = slow.call(&looping, None, ("a.S", "One"), b"");
    let canary = async {
        let mut answered = 0;
        for _ in 0..3 {
            let ran = arena.guest().call(&plain, None, ("a.S", "One"), b"").await;
            answered += i32::from(matches!(ran, Ran::Returned(Ok(_))));
            tokio::task::yield_now().await;
        }
        answered
    };
    // One thread for both: the canary gets its turns because the loop yields.
    let (slow, answered) = tokio::join!(slow, canary);
    assert!(matches!(slow, Ran::Exceeded("time")) && answered == 3);
}

#[tokio::test]
async fn w3_deep_recursion_ends_in_a_trap() {
    let call = "(call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
        (local.get 5)) (drop) (i32.const 512)";
    Arena::new().exceeds(&Text { call, ..Text::default() }, "stack").await;
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
    arena.answers(&Text { call: &grow(63, false), ..Text::default() }).await;
    arena.answers(&Text { call: &grow(64, true), ..Text::default() }).await;
    arena.answers(&Text { call: &grow(65_535, true), ..Text::default() }).await;
    let ran = arena.run(&Text { pages: 65, ..Text::default() }).await;
    assert!(!matches!(ran, Ran::Returned(_)), "the limit holds at instantiation too");
}

#[tokio::test]
async fn w6_tables_do_not_grow_beyond_their_limit() {
    let fields = "(table $t 1 funcref)";
    let call = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1))
        (then) (else (unreachable))) (i32.const 512)";
    Arena::new().answers(&Text { fields, call, ..Text::default() }).await;
}

#[tokio::test]
async fn w7_w9_absurd_pointers_and_lengths_trap() {
    let arena = Arena::new();
    for call in [
        // The answer is outside memory, misaligned, or has an unknown case.
        "i32.const 65532",
        "i32.const -8",
        "i32.const 513",
        "(i32.store8 (i32.const 512) (i32.const 7)) (i32.const 512)",
        // An answer of 2 GiB.
        "(i32.store (i32.const 524) (i32.const 0x7fffffff)) (i32.const 512)",
        // A status with an unknown code, and one whose text is no UTF-8.
        "(i32.store8 (i32.const 512) (i32.const 1)) (i32.store8 (i32.const 520) (i32.const 99))
            (i32.const 512)",
        "(i32.store8 (i32.const 512) (i32.const 1)) (i32.store (i32.const 524) (i32.const 600))
            (i32.store (i32.const 528) (i32.const 1)) (i32.store8 (i32.const 600) (i32.const 255))
            (i32.const 512)",
    ] {
        arena.traps(&Text { call, ..Text::default() }).await;
    }
    arena.traps(&Text { realloc: "(return (i32.const -4))", ..Text::default() }).await;
    let call = "(call $log (i32.const 1) (i32.const 0) (i32.const 0x7fffffff)) (i32.const 512)";
    arena.traps(&Text { call, ..LOGGING }).await;
}

#[tokio::test]
async fn w7_what_a_guest_hands_over_at_once_is_bounded() {
    let mut arena = Arena::new();
    arena.limits.memory_bytes = 16 << 20;
    let call = "(call $log (i32.const 1) (i32.const 0) (i32.const 0x800000)) (i32.const 512)";
    arena.traps(&Text { call, pages: 129, ..LOGGING }).await;
    let call = "(call $log (i32.const 1) (i32.const 0) (i32.const 0x100000)) (i32.const 512)";
    arena.answers(&Text { call, pages: 129, ..LOGGING }).await;
}

#[tokio::test]
async fn w13_host_calls_run_out() {
    let arena = Arena::new();
    let call = "(loop $again (call $log (i32.const 1) (i32.const 0) (i32.const 0)) (br $again))
        (i32.const 512)";
    arena.exceeds(&Text { call, ..LOGGING }, "host calls").await;
}

#[tokio::test]
async fn w22_a_fresh_instance_sees_nothing_of_the_one_before() {
    let arena = Arena::new();
    let call = "(if (i32.load (i32.const 40000)) (then (unreachable)))
        (i32.store (i32.const 40000) (i32.const 42)) (i32.const 512)";
    let plugin = arena.load(&Text { call, ..Text::default() });
    for _ in 0..20 {
        let ran = arena.guest().call(&plugin, None, ("a.S", "One"), b"").await;
        assert!(matches!(ran, Ran::Returned(Ok(_))), "{ran:?}");
    }
    let mut reused = arena.guest();
    let first = reused.call(&plugin, None, ("a.S", "One"), b"").await;
    let second = reused.call(&plugin, None, ("a.S", "One"), b"").await;
    assert!(matches!((first, second), (Ran::Returned(_), Ran::Trapped(_))), "positive control");
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
