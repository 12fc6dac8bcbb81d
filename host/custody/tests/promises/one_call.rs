//! What a plugin could gain by doing several acts in one call: each must see the ones before it.

use futures_executor::block_on;
use mintmark_custody::{CommitFailure, Failure};
use mintmark_exchange::directive::Change;
use mintmark_exchange::proposal::ReceiptMessageBody;
use mintmark_model::{Reason, Refusal};
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::sdk::transfers;
use mintmark_sdk_testing::{Device, Office};

use crate::bench::{Bench, Line, draw};
use crate::directives::{carried, order};
use crate::pools;

#[test]
fn r16_an_old_receipt_in_the_same_call_takes_no_revocation_back() {
    let mut bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let receipt = bench.site.stage(&bench.receipt());
    let receipt = bench.site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Receipt, &receipt)?;
        let body = ReceiptMessageBody::decode(&message.read_all(1 << 22)?).unwrap();
        transfers::import_receipt(&body.order)?;
        Ok(body.order)
    });
    let receipt = receipt.unwrap();
    let revoke = carried(&bench.site, &order(&bench, &entitlement, Change::Revoke));
    let both = bench.site.run::<Line, _>("operator", "mei", || {
        transfers::import_directive(&revoke)?;
        Ok(transfers::import_receipt(&receipt)?)
    });
    both.unwrap();
    for subject in ["SN:1", "SN:2"] {
        let refused = bench.provision(&entitlement, subject, &Device::new()).unwrap_err();
        assert_eq!(refused.reason, Reason::Revoked);
        bench = bench.restarted();
    }
}

#[test]
fn i1_two_grants_of_one_call_take_different_keys_of_a_pool() {
    let bench = Bench::new();
    let authority = pools::Authority::new(12);
    pools::load(&bench.hq, "licences", &authority).unwrap();
    let granted = bench.hq.run::<Office, _>("admin", "admin", || {
        Ok([pools::grant(&bench, 5)?, pools::grant(&bench, 7)?])
    });
    let [first, second] = granted.unwrap();
    assert_ne!(first.entitlement, second.entitlement);
    assert_eq!(pools::pools(&bench.hq)[0].left, 0);
    let files = [first, second].map(|one| pools::key_file(&bench.hq, &one.entitlement));
    assert_ne!(files[0], files[1]);
    // Nothing of the twelve is left for a third.
    let third = bench.hq.run::<Office, _>("admin", "admin", || pools::grant(&bench, 1));
    assert_eq!(third.unwrap_err().reason, "QUOTA_EXHAUSTED");
}

#[test]
fn i1_a_failure_that_is_not_committed_gives_its_device_no_second_unit() {
    let bench = Bench::new();
    let mut granted = bench.order("po-1", 10);
    granted.terms.max_units_per_subject = 2;
    let entitlement = bench.entitlement_of(&granted);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let refused: Result<(), Refusal> = block_on(async {
        let mut call = bench.call_of(("operator", "mei"), None).await;
        let unit = draw(&mut call, &entitlement, "SN:1").await?;
        call.fail(&unit, Failure::KeyLost, "no radio").await?;
        let csr = call.read_csr(&Device::new().csr())?;
        let again = draw(&mut call, &entitlement, "SN:1").await?;
        let issued = call.certify_csr(&again, &csr, &[]).await.map(drop);
        assert!(issued.is_err(), "the unit of before, which the call has failed");
        match call.commit().await {
            Ok(()) => issued,
            Err(CommitFailure::Refused(refusal)) => Err(refusal),
            Err(CommitFailure::Conflict(_)) => unreachable!("nobody else calls"),
        }
    });
    let reason = refused.unwrap_err().reason;
    assert!(matches!(reason, Reason::WrongState | Reason::KeyMismatch), "{reason}");
    assert_eq!(bench.counters(&entitlement).drawn(), 1);
}
