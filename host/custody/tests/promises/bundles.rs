//! Bundles in several files, receipts that count from their heads, and what headquarters keeps.

use futures_executor::block_on;
use mintmark_custody::Call;
use mintmark_exchange::bundle::{BundleHead, VERSION, push_frame};
use mintmark_exchange::canonical::encode;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::grant::AuditReturn;
use mintmark_exchange::merkle::Tree;
use mintmark_exchange::order::SignedOrder;
use mintmark_model::Reason;
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::sdk::{Plugin, ledger};
use mintmark_sdk_testing::{Device, Office};

use crate::bench::{Bench, Line, draw, finish, import, import_receipt};

const LIMIT_BYTES: u64 = 64 << 10;

/// A bundle's checkpoint, its file, and whether rows are left.
pub(crate) fn export(bench: &Bench, after: Option<u64>) -> (Checkpoint, Vec<u8>, bool) {
    export_up_to(bench, after, LIMIT_BYTES)
}

/// A bundle of at most so many bytes, and of one transaction at least.
pub(crate) fn export_up_to(
    bench: &Bench,
    after: Option<u64>,
    limit_bytes: u64,
) -> (Checkpoint, Vec<u8>, bool) {
    let made = bench.site.run::<Line, _>("auditor", "eve", || {
        let signed = ledger::checkpoints(after, limit_bytes)?;
        let decoded: Vec<_> =
            signed.orders.iter().map(|order| SignedOrder::decode(order).unwrap()).collect();
        let checkpoint: Checkpoint = decoded[0].open().unwrap();
        let head = BundleHead { version: VERSION, checkpoints: decoded };
        let mut frames = Vec::new();
        push_frame(&mut frames, &encode(&head)).unwrap();
        let hq = "headquarters/berlin";
        let mut writer = messages::seal(Purpose::Bundle, hq, Office::NAME, &[])?;
        writer.append(&frames)?;
        Ok((checkpoint, writer.finish()?.file, signed.more))
    });
    let (checkpoint, file, more) = made.unwrap();
    (checkpoint, bench.site.fetch(&file).unwrap(), more)
}

/// Rows that say nothing and are many.
pub(crate) fn chat(bench: &Bench, calls: usize) {
    for _ in 0..calls {
        block_on(async {
            let mut call: Call = bench.call().await;
            for _ in 0..16 {
                call.note(&"x".repeat(1_000)).await.unwrap();
            }
            finish(call).await.unwrap();
        });
    }
}

#[test]
fn a_site_that_let_much_pile_up_reports_in_several_bundles_oldest_first() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(100);
    let mut made = 0;
    for _ in 0..5 {
        for _ in 0..3 {
            bench.provision(&entitlement, &format!("SN:{made}"), &Device::new()).unwrap();
            made += 1;
        }
        chat(&bench, 2);
    }
    let rows = bench.rows();
    let mut bundles = 0;
    let mut last = 0;
    loop {
        let (checkpoint, file, more) = export(&bench, None);
        let (again, _, _) = export(&bench, None);
        assert!(again.to.sequence >= checkpoint.to.sequence, "an equal or longer range");
        assert_eq!(checkpoint.from.sequence, last);
        // Its counters are those of its own last row, not of now.
        let drawn = rows.iter().filter(|row| row.sequence <= checkpoint.to.sequence);
        let drawn = drawn.filter_map(|row| row.counters.as_ref()).next_back();
        assert!(drawn.is_none_or(|counters| *counters == checkpoint.counters[0].counters));
        let mut tree = Tree::new();
        let covered = bench.rows();
        let covered = covered
            .iter()
            .filter(|row| (last + 1..=checkpoint.to.sequence).contains(&row.sequence));
        covered.for_each(|row| tree.push(&row.hash));
        assert_eq!(checkpoint.merkle_root, tree.root());
        let receipt = Office::acknowledge(&bench.hq, &file).unwrap();
        import_receipt(&bench.site, &receipt).unwrap();
        last = checkpoint.to.sequence;
        bundles += 1;
        if !more {
            break;
        }
    }
    assert!(bundles >= 3, "{bundles} bundles for {} rows", rows.len());
    let (checkpoint, _, more) = export(&bench, None);
    assert!(!more);
    assert_eq!(checkpoint.counters[0].counters.issued, made);
}

#[test]
fn a_bundle_does_not_end_inside_of_a_transaction() {
    let bench = Bench::new();
    bench.entitlement(10);
    chat(&bench, 8);
    let (checkpoint, _, more) = export(&bench, None);
    assert!(more);
    let rows = bench.rows();
    let at = usize::try_from(checkpoint.to.sequence).unwrap();
    assert_ne!(rows[at - 1].body.request, rows[at].body.request);
}

#[test]
fn r15_a_headquarters_that_lost_a_bundle_gets_its_rows_again() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    let (first, file, _) = export(&bench, None);
    import_receipt(&bench.site, &Office::acknowledge(&bench.hq, &file).unwrap()).unwrap();
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let (second, file, _) = export(&bench, None);
    import_receipt(&bench.site, &Office::acknowledge(&bench.hq, &file).unwrap()).unwrap();
    let (again, _, _) = export(&bench, Some(first.to.sequence));
    assert_eq!((again.from, again.counters[0].limit), (first.to, 10));
    assert!(again.to.sequence >= second.to.sequence);
    let (all, _, _) = export(&bench, Some(0));
    assert_eq!(all.from.sequence, 0);
    let beyond = bench
        .site
        .run::<Line, _>("auditor", "eve", || Ok(ledger::checkpoints(Some(u64::MAX), LIMIT_BYTES)?));
    assert_eq!(beyond.unwrap_err().reason, "INVALID_ARGUMENT");
}

#[test]
fn audit_return_counts_from_the_receipts_heads_to_the_very_unit() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 20);
    order.terms.audit_return = AuditReturn { units: 3, seconds: 86_400 };
    let entitlement = bench.entitlement_of(&order);
    let reserve = |subject: &str| {
        block_on(async {
            let mut call = bench.call().await;
            match draw(&mut call, &entitlement, subject).await {
                Ok(_) => finish(call).await,
                Err(refusal) => {
                    call.abort(refusal.reason).await;
                    Err(refusal)
                }
            }
        })
    };
    reserve("SN:1").unwrap();
    let (_, file, _) = export(&bench, None);
    // Two more between the export and its receipt: they are not in it.
    reserve("SN:2").unwrap();
    reserve("SN:3").unwrap();
    assert_eq!(reserve("SN:4").unwrap_err().reason, Reason::ReceiptOverdue);
    import_receipt(&bench.site, &Office::acknowledge(&bench.hq, &file).unwrap()).unwrap();
    reserve("SN:4").unwrap();
    assert_eq!(reserve("SN:5").unwrap_err().reason, Reason::ReceiptOverdue);
    let bench = bench.restarted();
    let refused = block_on(async {
        let mut call = bench.call().await;
        draw(&mut call, &entitlement, "SN:5").await.err().unwrap()
    });
    assert_eq!(refused.reason, Reason::ReceiptOverdue, "also after a start");
}

#[test]
fn a_lost_file_is_in_the_outbox_until_a_bundle_says_that_it_was_applied() {
    let bench = Bench::new();
    let site = bench.site.uri();
    let listed = || {
        let session = bench.hq.session_of::<Office>("admin", "ada");
        block_on(bench.hq.custody().outbox(session, Some(&site))).unwrap()
    };
    bench.granted(&bench.order("po-1", 10));
    let kept = listed();
    assert_eq!((kept.len(), kept[0].sequence, &*kept[0].purpose), (1, 1, "entitlement"));
    // The file was lost on its way: the same bytes again.
    let file = bench.hq.fetch(&kept[0].file).unwrap();
    import(&bench.site, &file).unwrap();
    let receipt = bench.receipt();
    let left = listed();
    assert_eq!((left.len(), &*left[0].purpose), (1, "receipt"), "the grant is acknowledged");
    assert_eq!(bench.hq.fetch(&kept[0].file).unwrap_err().reason, "NOT_FOUND");
    import_receipt(&bench.site, &receipt).unwrap();
}
