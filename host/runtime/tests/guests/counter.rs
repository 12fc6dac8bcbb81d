//! A guest that counts in its records, and then answers, refuses, traps or loops as the message's
//! first letter says.

use super::{Guest, PLAIN};

/// The manifest of the counter: one method for one message, one for a stream, and a short deadline.
pub(crate) const MANIFEST: &str = "name = 'p'\nversion = '1.0.0'\nsecurity_version = 1\n\
    contract = '0.1.0'\n[limits]\ndeadline_ms = 150\n\
    [services.'a.S']\nOne = ['admin']\nMany = ['admin']\n";

/// `a` answers the new count as four bytes, `e` refuses, `t` traps, `l` loops.
pub(crate) const COUNTER: Guest<'static> = Guest {
    imports: IMPORTS,
    lowered: r#"
        (core func $get (canon lower (func $records "get")
            (memory (core memory $memory "memory"))
            (realloc (core func $allocator "realloc"))))
        (core func $put (canon lower (func $records "put")
            (memory (core memory $memory "memory"))
            (realloc (core func $allocator "realloc"))))"#,
    with: r#"(with "host" (instance (export "get" (func $get)) (export "put" (func $put))))"#,
    fields: FIELDS,
    call: CALL,
    manifest: MANIFEST,
    ..PLAIN
};

const IMPORTS: &str = r#"
    (import "mintmark:host/types@0.1.0" (instance $types
        (type $reason' (record (field "code" string) (field "detail" string)
            (field "metadata" (list (tuple string string)))))
        (export "reason" (type $reason (eq $reason')))
        (type $limit' (record (field "code" string) (field "detail" string)
            (field "retry-after-ms" (option u64))))
        (export "limit" (type $limit (eq $limit')))
        (type $error' (variant (case "denied" $reason) (case "not-found")
            (case "invalid" $reason) (case "conflict" $reason) (case "exhausted" $limit)
            (case "unavailable" string)))
        (export "error" (type (eq $error')))))
    (alias export $types "error" (type $error))
    (import "mintmark:host/records@0.1.0" (instance $records
        (alias outer 1 $error (type $error'))
        (export "error" (type $error (eq $error')))
        (type $entry' (record (field "key" (list u8)) (field "value" (list u8))))
        (export "entry" (type $entry (eq $entry')))
        (export "get" (func (param "keys" (list (list u8)))
            (result (result (list (option (list u8))) (error $error)))))
        (export "put" (func (param "entries" (list $entry))
            (result (result (error $error)))))))"#;

/// The key is at 700, lists with it at 704 and 720, the count at 736, what `get` and `put` answer
/// at 760 and 840.
const FIELDS: &str = r#"
    (import "host" "get" (func $get (param i32 i32 i32)))
    (import "host" "put" (func $put (param i32 i32 i32)))
    (data (i32.const 700) "k")
    (data (i32.const 704) "\bc\02\00\00\01\00\00\00")
    (data (i32.const 720) "\bc\02\00\00\01\00\00\00\e0\02\00\00\04\00\00\00")
    (data (i32.const 900) "NO_SUCH_LOTnot\0ahere")
    (func $count
        (call $get (i32.const 704) (i32.const 1) (i32.const 760))
        (if (i32.load8_u (i32.const 760)) (then (unreachable)))
        (if (i32.load8_u (i32.load (i32.const 768))) (then
            (i32.store (i32.const 736)
                (i32.load (i32.load offset=4 (i32.load (i32.const 768)))))))
        (i32.store (i32.const 736) (i32.add (i32.load (i32.const 736)) (i32.const 1)))
        (call $put (i32.const 720) (i32.const 1) (i32.const 840))
        (if (i32.load8_u (i32.const 840)) (then (unreachable))))"#;

/// A refusal has its code (`not-found`) at 520, reason and message behind it.
const CALL: &str = r#"
    (call $count)
    (i32.store (i32.const 520) (i32.const 736))
    (i32.store (i32.const 524) (i32.const 4))
    (if (i32.eq (i32.load8_u (local.get 4)) (i32.const 116)) (then (unreachable)))
    (if (i32.eq (i32.load8_u (local.get 4)) (i32.const 108)) (then (loop $again (br $again))))
    (if (i32.eq (i32.load8_u (local.get 4)) (i32.const 101)) (then
        (i32.store8 (i32.const 512) (i32.const 1))
        (i32.store8 (i32.const 520) (i32.const 4))
        (i32.store (i32.const 524) (i32.const 900))
        (i32.store (i32.const 528) (i32.const 11))
        (i32.store (i32.const 532) (i32.const 911))
        (i32.store (i32.const 536) (i32.const 8))))
    (i32.const 512)"#;
