//! Single devices are proved to whoever has the root certificate, and nothing else.

use futures_executor::block_on;
use mintmark_crypto::sign;
use mintmark_exchange::canonical::sha256;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::inclusion::{InclusionProof, ProofError, Proven};
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::receipt::ReceiptBody;
use mintmark_exchange::row::Event;
use mintmark_exchange::{Signer, Verify};
use mintmark_model::Reason;
use mintmark_pki::TrustRoot;
use mintmark_pki::chain::Usage;
use mintmark_sdk_testing::{Device, Office};

use crate::bench::{Bench, finish, import_receipt, issue};
use crate::bundles::export_up_to;

/// An auditor: knows the root certificate.
struct Auditor(TrustRoot);

impl Auditor {
    fn of(bench: &Bench) -> Self {
        Self(TrustRoot::new(&bench.site.custody().trust_root()).unwrap())
    }

    fn verify(&self, file: &[u8]) -> Result<Proven, ProofError> {
        InclusionProof::decode(file)?.verify(self)
    }
}

impl Verify for Auditor {
    fn verify_signature(&self, public_key_info: &[u8], message: &[u8], signature: &[u8]) -> bool {
        sign::verify(public_key_info, message, signature).is_ok()
    }

    fn verify_order(&self, label: &str, order: &SignedOrder, at_ms: u64) -> Option<Signer> {
        let chain = self.0.verify(&order.chain, at_ms, Usage::Any).ok()?;
        let message = order.signed_bytes(label);
        sign::verify(chain.public_key_info(), &message, &order.signature).ok()?;
        let leaf = format!("{}/{}", chain.kind().name(), chain.name());
        Some(Signer { cluster: chain.id().cluster().to_string(), leaf })
    }
}

fn prove(bench: &Bench, entitlement: &str, subject: &str) -> Result<Vec<u8>, Reason> {
    let proof = block_on(bench.site.custody().prove(entitlement, subject));
    proof.map_err(|refusal| refusal.reason)
}

#[test]
fn a_device_is_proved_to_whoever_has_the_root() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let auditor = Auditor::of(&bench);
    let make = |bench: &Bench, number: u64| {
        let subject = format!("SN:{number}");
        let artefact = bench.provision(&entitlement, &subject, &Device::new()).unwrap();
        sha256(&artefact.certificate.unwrap())
    };
    let certificate = make(&bench, 0);
    assert_eq!(prove(&bench, &entitlement, "SN:0"), Err(Reason::WrongState), "no bundle yet");
    assert_eq!(prove(&bench, &entitlement, "SN:9"), Err(Reason::NotFound));
    assert_eq!(prove(&bench, "ent-0000000000000000", "SN:0"), Err(Reason::NotFound));
    assert_eq!(prove(&bench, &entitlement, ""), Err(Reason::NotFound));

    // In a bundle that nobody has answered, the site alone vouches for it.
    let unanswered = bench.bundle();
    let early = prove(&bench, &entitlement, "SN:0").unwrap();
    let proven = auditor.verify(&early).unwrap();
    assert_eq!((proven.unit.certificate_hash, &proven.receipted), (Some(certificate), &None));
    drop(unanswered);

    let second = make(&bench, 1);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let third = make(&bench, 2);
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let bench = bench.restarted();
    for (number, certificate) in [(0, certificate), (1, second), (2, third)] {
        let file = prove(&bench, &entitlement, &format!("SN:{number}")).unwrap();
        assert!(file.len() < 16 << 10, "{} bytes", file.len());
        let proven = auditor.verify(&file).unwrap();
        assert_eq!((&proven.site, proven.unit.unit), (&bench.site.uri(), number));
        assert_eq!(proven.unit.certificate_hash, Some(certificate));
        assert_eq!(proven.receipted.unwrap().headquarters, bench.hq.uri());
        let row = &bench.rows()[proven.row as usize - 1];
        assert!(matches!(&row.body.event, Event::Unit(unit) if **unit == proven.unit));
    }
    assert_eq!(auditor.verify(&early).unwrap(), proven, "an earlier proof holds as it did");
}

/// The same rows are exported again and again, from one place and another: a receipt is for the
/// bundle that was answered.
#[test]
fn a_proof_shows_the_checkpoint_that_headquarters_answered() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    // Its row is the second of its transaction.
    block_on(async {
        let mut call = bench.call().await;
        call.note("before it").await.unwrap();
        issue(&mut call, &entitlement, "SN:0", &Device::new()).await.unwrap();
        finish(call).await.unwrap();
    });
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let auditor = Auditor::of(&bench);
    let proved = || {
        let file = prove(&bench, &entitlement, "SN:0").unwrap();
        assert!(auditor.verify(&file).unwrap().receipted.is_some());
        let InclusionProof { checkpoint, receipt, .. } = InclusionProof::decode(&file).unwrap();
        let receipt: ReceiptBody = receipt.unwrap().open().unwrap();
        (checkpoint.open::<Checkpoint>().unwrap(), receipt.bundle)
    };
    let row = auditor.verify(&prove(&bench, &entitlement, "SN:0").unwrap()).unwrap().row;
    let one_transaction = |after| export_up_to(&bench, Some(after), 1);

    let (answered, file, _) = one_transaction(row - 1);
    import_receipt(&bench.site, &Office::acknowledge(&bench.hq, &file).unwrap()).unwrap();
    let (checkpoint, bundle) = proved();
    assert_eq!(checkpoint, answered);
    // From another row on, to the same one; and the very same rows, later.
    bench.world.pass_ms(60_000);
    let (longer, _, _) = one_transaction(row - 2);
    let (again, unanswered, _) = one_transaction(row - 1);
    assert_eq!((longer.to, again.to), (answered.to, answered.to));
    assert_ne!(longer.merkle_root, answered.merkle_root);
    assert_eq!(again.merkle_root, answered.merkle_root);
    assert_ne!(again.made_at, answered.made_at);
    assert_eq!(proved(), (answered.clone(), bundle));
    // A receipt for the later one is about the same rows.
    import_receipt(&bench.site, &Office::acknowledge(&bench.hq, &unanswered).unwrap()).unwrap();
    let (checkpoint, other) = proved();
    assert_eq!(checkpoint, answered);
    assert_ne!(other, bundle);
}

#[test]
fn p2_a_proof_with_any_bit_turned_is_none() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    for number in 0..3 {
        bench.provision(&entitlement, &format!("SN:{number}"), &Device::new()).unwrap();
    }
    import_receipt(&bench.site, &bench.receipt()).unwrap();
    let auditor = Auditor::of(&bench);
    let file = prove(&bench, &entitlement, "SN:1").unwrap();
    let honest = auditor.verify(&file).unwrap();
    for place in 0..file.len() {
        let mut turned = file.clone();
        turned[place] ^= 1 << (place % 8);
        // Signatures are not unique; what they say is.
        let said = auditor.verify(&turned);
        assert!(said.is_err() || said.as_ref() == Ok(&honest), "byte {place}");
    }
    let other = Bench::new();
    assert!(Auditor::of(&other).verify(&file).is_err(), "another organisation's root");
}

/// Notes of a day are bounded, whatever restarts; the next day there are notes again.
#[test]
fn the_notes_of_a_plugin_are_bounded_by_the_day() {
    const DAY_MS: u64 = 86_400_000;
    const NOTES_OF_CALL: usize = 16;
    const NOTES_OF_DAY: usize = 10_000;
    let mut bench = Bench::new();
    // From the first minute of a day on.
    let now_ms = bench.site.clock().now_ms();
    bench.world.pass_ms(DAY_MS - now_ms % DAY_MS + 60_000);
    let note = |bench: &Bench| {
        block_on(async {
            let mut call = bench.call().await;
            for number in 0..NOTES_OF_CALL {
                if let Err(refusal) = call.note("<b>half\ta\u{202e} note</b>").await {
                    let committed = finish(call).await;
                    return committed.map(|()| (number, Some(refusal.reason))).unwrap();
                }
            }
            assert!(call.note("one more").await.is_err());
            finish(call).await.unwrap();
            (NOTES_OF_CALL, None)
        })
    };
    for number in 0..NOTES_OF_DAY / NOTES_OF_CALL {
        if number == 300 {
            bench = bench.restarted();
        }
        assert_eq!(note(&bench), (NOTES_OF_CALL, None));
    }
    bench = bench.restarted();
    assert_eq!(note(&bench), (0, Some(Reason::BudgetExceeded)));
    let rows = bench.rows();
    let notes = rows.iter().filter_map(|row| match &row.body.event {
        Event::Note { text } => Some(text),
        _ => None,
    });
    let notes: Vec<_> = notes.collect();
    assert_eq!(notes.len(), NOTES_OF_DAY);
    assert_eq!(notes[0], "<b>half\\ta\\u{202e} note</b>");
    bench.world.pass_ms(DAY_MS);
    assert_eq!(note(&bench), (NOTES_OF_CALL, None));
}
