//! An opened bundle, as an auditor gets it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::opened::OpenedHead;

fuzz_target!(|bytes: &[u8]| {
    let Ok((head, body)) = OpenedHead::split(bytes) else { return };
    let encoded = head.encode().expect("what was short enough to be read can be written");
    assert_eq!([&encoded, body].concat(), bytes);
});
