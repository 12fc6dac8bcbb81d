//! A checkpoint is as old as its bundle, and its certificate is judged as of then.

use crate::{
    canonical::sha256,
    checkpoint::{Checkpoint, Position},
    merkle::Tree,
    order::SignedOrder,
    reconcile::{FindingKind, MemoryRegister, Orders, Reconciler, Report, World, tests::site::*},
    row::ROW_DELAY_MS_MAX,
    verify::{Signer, Verify},
};

const YEAR_MS: u64 = 365 * 86_400_000;

/// Believes a certificate that is valid until then.
struct Until(u64);

impl Verify for Until {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        Hashes.verify_signature(key, message, signature)
    }

    fn verify_order(&self, label: &str, order: &SignedOrder, at_ms: u64) -> Option<Signer> {
        Hashes.verify_order(label, order, at_ms).filter(|_| at_ms <= self.0)
    }
}

/// A site without an order, and the report on its rows in a bundle made at `made_at`.
fn judged(checkpoint: Checkpoint, site: &Site, made_at: u64, verify: &dyn Verify) -> Report {
    let bundle = body(SHENZHEN, &[(checkpoint, site.rows.clone())]);
    let mut reconciler =
        Reconciler::new(SHENZHEN, sha256(&bundle), made_at, crate::reconcile::SiteState::default());
    let (orders, mut register) = (Orders::default(), MemoryRegister::new());
    while let Some(offset) = reconciler.wanted() {
        let rest = &bundle[usize::try_from(offset).unwrap().min(bundle.len())..];
        let mut world = World { orders: &orders, register: &mut register, verify };
        reconciler.feed(rest, &mut world).unwrap();
    }
    reconciler.finish().unwrap().report
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn p13_a_checkpoint_dated_back_to_when_its_certificate_was_valid_is_a_breach() {
    let site = Site::new(SHENZHEN);
    let made_at = site.now_ms;
    let dated = |ms| Checkpoint { made_at: ms, as_of: ms, ..site.checkpoint(0) };
    let expired = Until(made_at - YEAR_MS);
    let report = judged(dated(made_at - 2 * YEAR_MS), &site, made_at, &expired);
    assert_eq!(kinds(&report), [FindingKind::Malformed]);
    // Judged by its own time, not by what the bundle says.
    let report = judged(dated(made_at), &site, made_at, &expired);
    assert_eq!(kinds(&report), [FindingKind::Signature]);
    let valid = Until(made_at - ROW_DELAY_MS_MAX);
    let report = judged(dated(made_at - ROW_DELAY_MS_MAX), &site, made_at, &valid);
    assert_eq!(kinds(&report), []);
    let report = judged(dated(made_at - ROW_DELAY_MS_MAX - 1), &site, made_at, &valid);
    assert_eq!(kinds(&report), [FindingKind::Malformed]);
}

#[test]
fn p3_a_checkpoint_of_the_last_row_that_a_number_can_have_is_a_breach() {
    let site = Site::new(SHENZHEN);
    let last = Position { sequence: u64::MAX, hash: [1; 32] };
    let merkle_root = Tree::new().root();
    let empty = Checkpoint { from: last, to: last, rows: 0, merkle_root, ..site.checkpoint(0) };
    let report = judged(empty, &site, site.now_ms, &Hashes);
    assert_eq!(kinds(&report), [FindingKind::Malformed]);
}
