//! Reconciling what a fuzzer made, as headquarters would: with every signature believed, so that
//! everything behind the signatures is reached.

use mintmark_exchange::bundle::{BundleHead, FrameReader, push_frame};
use mintmark_exchange::canonical::{decode, encode};
use mintmark_exchange::checkpoint::{Checkpoint, Position};
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::merkle::Tree;
use mintmark_exchange::opened::OpenedHead;
use mintmark_exchange::reconcile::{
    Closing, MemoryRegister, Orders, Outcome, Reconciler, SiteState, Verdict, World,
};
use mintmark_exchange::row::{Row, encode_envelope};
use mintmark_exchange::{SignedOrder, Signer, Verify};

/// Believes every signature, as one of the site's custody.
struct Everybody {
    site: String,
}

impl Verify for Everybody {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        true
    }

    fn verify_order(&self, _: &str, _: &SignedOrder, _: u64) -> Option<Signer> {
        Some(Signer { cluster: self.site.clone(), leaf: "custody/n1".to_owned() })
    }
}

/// Reconciles a body under the grants of `head`, fed in ranges of `step` bytes.
///
/// # Panics
/// Where the reconciler does not end, or does not read back from its own encoding.
pub fn reconcile(head: &OpenedHead, body: &[u8], step: usize) -> Outcome {
    let mut orders = Orders::default();
    for order in &head.grants {
        let Ok(grant) = order.open::<mintmark_exchange::grant::Grant>() else { continue };
        // Headquarters' own host signed it, after this very check.
        if grant.check().is_ok() {
            orders.grants.insert(grant.entitlement.clone(), grant);
        }
    }
    for order in &head.closings {
        let Ok(statement) = order.open::<ClosingStatement>() else { continue };
        orders.closings.insert(statement.entitlement.clone(), Closing::of(&statement));
    }
    let verify = Everybody { site: head.site.clone() };
    let mut register = MemoryRegister::default();
    let held = SiteState::default();
    let mut reconciler = Reconciler::new(&head.site, head.bundle, head.made_at, held);
    while let Some(offset) = reconciler.wanted() {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(body.len());
        let end = begin.saturating_add(step.max(1)).min(body.len());
        let mut world = World { orders: &orders, register: &mut register, verify: &verify };
        reconciler.feed(&body[begin..end], &mut world).expect("memory is there, unchanged");
        let encoded = encode(&reconciler);
        reconciler = decode(&encoded, usize::MAX).expect("a reconciler reads back");
    }
    let outcome = reconciler.finish().expect("nothing more is wanted");
    judge(&outcome);
    outcome
}

/// What every outcome keeps, whatever the rows said.
fn judge(outcome: &Outcome) {
    let report = &outcome.report;
    if report.verdict == Verdict::Breach {
        assert!(!report.findings.is_empty(), "a breach has a reason");
        return;
    }
    assert!(outcome.advanced, "a ledger that is not whole is a breach");
    for entitlement in &report.entitlements {
        assert!(
            entitlement.counters.hold_the_equation(),
            "{:?} keeps the equation",
            entitlement.counters
        );
        assert!(entitlement.devices <= entitlement.counters.credited, "{entitlement:?}");
    }
}

/// The rows of an opened bundle, chained anew under a checkpoint that fits them: what a site's
/// host would have signed, had it written these very rows.
pub fn chained(head: &OpenedHead, body: &[u8]) -> Option<Vec<u8>> {
    let mut frames = FrameReader::new();
    let mut rest = body;
    let first = frames.next_frame(&mut rest).ok()??;
    let bundle: BundleHead = decode(&first, 1 << 20).ok()?;
    let mut checkpoint: Checkpoint = bundle.checkpoints.first()?.open().ok()?;
    checkpoint.cluster.clone_from(&head.site);
    checkpoint.from = Position::default();
    let (mut rows, mut last, mut tree) = (Vec::new(), Position::default(), Tree::new());
    while let Ok(Some(frame)) = frames.next_frame(&mut rest) {
        let Ok(row) = Row::decode(&frame) else { continue };
        let counters = row.counters.map(|counters| counters.values()).unwrap_or_default();
        let counters = if row.counters.is_some() { &counters[..] } else { &[] };
        let sequence = last.sequence + 1;
        let body = row.body.encode();
        let encoded = encode_envelope(sequence, &last.hash, &body, counters, &row.set_hash).ok()?;
        let (_, _, hash) = Row::link(&encoded)?;
        last = Position { sequence, hash };
        tree.push(&hash);
        rows.push(encoded);
    }
    (checkpoint.to, checkpoint.rows, checkpoint.merkle_root) = (last, last.sequence, tree.root());
    let order = SignedOrder {
        body: encode(&checkpoint),
        chain: bundle.checkpoints.first()?.chain.clone(),
        signature: bundle.checkpoints.first()?.signature.clone(),
    };
    let bundle = BundleHead { version: bundle.version, checkpoints: vec![order] };
    let mut chained = Vec::new();
    push_frame(&mut chained, &encode(&bundle)).ok()?;
    for row in &rows {
        push_frame(&mut chained, row).ok()?;
    }
    push_frame(&mut chained, &[]).ok()?;
    Some(chained)
}
