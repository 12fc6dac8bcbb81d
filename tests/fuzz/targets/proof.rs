//! A proof of one device, from whoever hands it over. Signatures are believed, so that everything
//! behind them is reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::inclusion::InclusionProof;
use mintmark_exchange::receipt::ReceiptBody;
use mintmark_exchange::{SignedOrder, Signer, Verify, order};

/// Everybody is who the order says.
struct Credulous;

impl Verify for Credulous {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        true
    }

    fn verify_order(&self, label: &str, order: &SignedOrder, _: u64) -> Option<Signer> {
        let cluster = match label {
            order::CHECKPOINT => order.open::<Checkpoint>().ok()?.cluster,
            _ => order.open::<ReceiptBody>().ok()?.exporter,
        };
        Some(Signer { cluster, leaf: "custody/n1".to_owned() })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(proof) = InclusionProof::decode(bytes) else { return };
    assert_eq!(proof.encode(), bytes, "two encodings of a proof");
    if let Ok(proven) = proof.verify(&Credulous) {
        assert!(proven.row > 0 && proven.receipted.is_some() == proof.receipt.is_some());
    }
});
