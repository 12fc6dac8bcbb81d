//! Rows that say whatever they like, in a ledger that is whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::opened::OpenedHead;
use mintmark_fuzz::audit::{chained, reconcile};

fuzz_target!(|bytes: &[u8]| {
    let Ok((head, body)) = OpenedHead::split(bytes) else { return };
    let Some(body) = chained(&head, body) else { return };
    reconcile(&head, &body, body.len());
});
