//! A signed order and the body in it, whichever it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::approval::ApprovalStatement;
use mintmark_exchange::charter::Charter;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::Directive;
use mintmark_exchange::grant::Grant;
use mintmark_exchange::order::{CHARTER, SignedOrder, digest};
use mintmark_exchange::receipt::ReceiptBody;

fuzz_target!(|bytes: &[u8]| {
    let Ok(order) = SignedOrder::decode(bytes) else { return };
    assert_eq!(order.encode(), bytes);
    assert_eq!(order.digest(CHARTER), digest(CHARTER, &order.body));
    let _ = order.open::<Grant>().map(|grant| grant.check());
    let _ = order.open::<Charter>().map(|charter| charter.is_sound());
    let _ = order.open::<ReceiptBody>();
    let _ = order.open::<Directive>();
    let _ = order.open::<Checkpoint>();
    let _ = order.open::<ApprovalStatement>();
    let _ = order.open::<ClosingStatement>().map(|statement| statement.check());
});
