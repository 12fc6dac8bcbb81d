//! The bodies of orders and messages; the first byte says which.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::approval::{ApprovalRequest, ApprovalStatement};
use mintmark_exchange::charter::Charter;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::{CHANGE_BYTES_MAX, Change, Directive};
use mintmark_exchange::held::HeldOrders;
use mintmark_exchange::identity::{self, IdentityBody};
use mintmark_exchange::order::BODY_BYTES_MAX;
use mintmark_exchange::proposal::{
    ClosingMessageBody, DirectiveMessageBody, EntitlementBody, GrantProposal, PROPOSAL_BYTES_MAX,
    ReceiptMessageBody,
};
use mintmark_exchange::receipt::ReceiptBody;
use mintmark_fuzz::strictly;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, body)) = bytes.split_first() else { return };
    match which {
        0 => drop(strictly::<IdentityBody>(body, identity::BYTES_MAX).map(|it| it.fingerprint())),
        1 => drop(strictly::<Charter>(body, BODY_BYTES_MAX).map(|charter| charter.is_sound())),
        2 => drop(strictly::<ReceiptBody>(body, BODY_BYTES_MAX)),
        3 => drop(strictly::<Directive>(body, BODY_BYTES_MAX)),
        4 => drop(strictly::<Checkpoint>(body, BODY_BYTES_MAX)),
        5 => drop(strictly::<ApprovalStatement>(body, BODY_BYTES_MAX)),
        6 => drop(strictly::<ApprovalRequest>(body, BODY_BYTES_MAX).map(|it| it.digest())),
        7 => drop(GrantProposal::decode(body).map(|proposal| {
            assert_eq!(strictly(body, PROPOSAL_BYTES_MAX).as_ref(), Some(&proposal));
            let _ = proposal.check();
        })),
        8 => drop(EntitlementBody::decode(body).map(|it| assert_eq!(it.encode(), body))),
        10 => drop(HeldOrders::decode(body).map(|it| assert_eq!(it.encode(), body))),
        11 => drop(strictly::<ClosingStatement>(body, BODY_BYTES_MAX).map(|it| {
            if it.check().is_ok() {
                assert!(it.in_doubt.len() as u64 <= it.counters.credited, "{it:?}");
            }
        })),
        12 => drop(DirectiveMessageBody::decode(body).map(|it| assert_eq!(it.encode(), body))),
        13 => drop(ClosingMessageBody::decode(body).map(|it| assert_eq!(it.encode(), body))),
        14 => drop(strictly::<Change>(body, CHANGE_BYTES_MAX).map(|it| it.name())),
        _ => drop(ReceiptMessageBody::decode(body).map(|it| assert_eq!(it.encode(), body))),
    }
});
