;; The least that a plugin can be: one core module with the contract's export. Words in capitals
;; between two `%` are replaced. 512 is the address of an answer, `ok` and empty at first; what
;; `realloc` gives begins at 1024.
(component
    %IMPORTS%
    (core module $memory (memory (export "memory") %PAGES%))
    (core instance $memory (instantiate $memory))
    (core module $allocator
        (import "memory" "memory" (memory %PAGES%))
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            %REALLOC%
            (global.get $next)
            (global.set $next (i32.and
                (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7))
                (i32.const -8)))))
    (core instance $allocator (instantiate $allocator
        (with "memory" (instance $memory))))
    %LOWERED%
    (core module $main
        (@custom "mintmark:manifest" "%MANIFEST%")
        (@custom "mintmark:descriptors" "%DESCRIPTORS%")
        (import "memory" "memory" (memory %PAGES%))
        %FIELDS%
        (data (i32.const 16) "p1.0.0a.S")
        (data (i32.const 64) "\10\00\00\00\01\00\00\00\11\00\00\00\05\00\00\00")
        (data (i32.const 80) "\20\00\00\00\01\00\00\00")
        (data (i32.const 32) "\16\00\00\00\03\00\00\00")
        (func (export "describe") (result i32) %DESCRIBE% (i32.const 64))
        (func $call (export "call") (param i32 i32 i32 i32 i32 i32) (result i32) %CALL%)
        (func (export "after-call") (param i32) %AFTER%))
    (core instance $main (instantiate $main
        (with "memory" (instance $memory)) %WITH%))

    (type $description' (record
        (field "name" string) (field "version" string) (field "services" (list string))))
    (export $description "description" (type $description'))
    (type $code' (enum "cancelled" "unknown" "invalid-argument" "deadline-exceeded" "not-found"
        "already-exists" "permission-denied" "resource-exhausted" "failed-precondition" "aborted"
        "out-of-range" "unimplemented" "internal" "unavailable" "data-loss" "unauthenticated"))
    (export $code "code" (type $code'))
    (type $status' (record
        (field "code" $code) (field "reason" string) (field "message" string)
        (field "retry-after-ms" (option u64)) (field "metadata" (list (tuple string string)))))
    (export $status "status" (type $status'))
    (func $describe (result $description)
        (canon lift (core func $main "describe") (memory (core memory $memory "memory"))))
    (func $call
        (param "service" string) (param "method" string) (param "message" (list u8))
        (result (result (list u8) (error $status)))
        (canon lift (core func $main "call")
            (memory (core memory $memory "memory"))
            (realloc (core func $allocator "realloc"))
            (post-return (core func $main "after-call"))))
    (instance $service
        (export "description" (type $description))
        (export "code" (type $code))
        (export "status" (type $status))
        (export "describe" (func $describe))
        (export "call" (func $call)))
    (export "mintmark:plugin/service@0.1.0" (instance $service)))
