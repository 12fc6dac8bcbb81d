//! A bundle's body, frame by frame, through both readings of the reconciler.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::opened::OpenedHead;
use mintmark_fuzz::audit::reconcile;

fuzz_target!(|bytes: &[u8]| {
    let Ok((head, body)) = OpenedHead::split(bytes) else { return };
    let whole = reconcile(&head, body, body.len());
    assert_eq!(reconcile(&head, body, 1 + body.len() / 3), whole, "in ranges of another size");
});
