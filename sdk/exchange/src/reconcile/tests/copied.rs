//! A copy of a site that reports is never taken for the original, however little it reports.

use crate::{
    checkpoint::Checkpoint,
    grant::Grant,
    message::HeadRef,
    order::CHECKPOINT,
    reconcile::{FindingKind, MemoryRegister, Severity, Verdict, tests::site::*},
    row::Event,
    verify::Verify,
};

/// A site with `devices` devices, and the headquarters that has its bundle.
fn reported(devices: u64) -> (Grant, Site, Headquarters) {
    let mut grant = grant(1, SHENZHEN);
    (grant.terms.total, grant.terms.audit_return.units) = (2_000, 2_000);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, devices);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);
    (grant, site, hq)
}

/// A copy that makes other devices than the original, from now on.
fn copy(site: &Site) -> Site {
    let mut copy = site.clone();
    copy.now_ms += 1;
    copy
}

/// Nothing of the bundle was taken.
fn assert_not_taken(hq: &mut Headquarters, body: &[u8], severity: Severity, row: u64) {
    let (state, register) = (hq.states[SHENZHEN].clone(), hq.register.clone());
    let outcome = hq.reconcile(SHENZHEN, body);
    let found: Vec<_> =
        outcome.report.findings.iter().map(|f| (f.kind, f.severity, f.row)).collect();
    assert_eq!(found, [(FindingKind::Fork, severity, Some(row))]);
    assert_eq!(outcome.report.verdict, severity.verdict());
    assert!(!outcome.report.is_accepted());
    assert!(!outcome.advanced);
    assert!(outcome.state.heads == state.heads && hq.register == register);
    // The proof is kept: two checkpoints of one ledger, both signed, both for that row.
    let proof = &outcome.report.equivocation;
    assert_eq!(proof.is_some(), severity == Severity::Breach);
    if let Some(proof) = proof {
        assert_eq!((proof.node.as_str(), proof.row), ("n1", row));
        let read = [&proof.held, &proof.shown].map(|order| {
            let signer = Hashes.verify_order(CHECKPOINT, order, START_MS).unwrap();
            assert_eq!(signer.cluster, SHENZHEN);
            order.open::<Checkpoint>().unwrap()
        });
        assert!(read.iter().all(|read| read.to.sequence >= row));
        assert_eq!(read[0].incarnation, read[1].incarnation);
        assert_ne!(read[0].to, read[1].to);
    }
}

#[test]
fn r8_a_copy_that_reports_less_than_the_original_is_a_fork() {
    // Copied at row 50; the original reports row 101.
    let (grant, mut site, mut hq) = reported(16);
    assert_eq!(site.rows.len(), 50);
    let mut copy = copy(&site);
    site.produce(&grant, 17);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(50)).report.verdict, Verdict::Clean);
    copy.produce(&grant, 10);
    assert_not_taken(&mut hq, &copy.bundle(50), Severity::Breach, 51);
    assert_not_taken(&mut hq, &copy.bundle(0), Severity::Breach, 51);
    assert_not_taken(&mut hq, &copy.bundle(60), Severity::Breach, 60);
    // The original goes on.
    site.produce(&grant, 1);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(101)).report.verdict, Verdict::Clean);
}

#[test]
fn r8_a_copy_that_shows_a_single_device_is_a_fork() {
    let (grant, mut site, mut hq) = reported(510);
    assert_eq!(site.rows.len(), 1_532);
    let mut copy = copy(&site);
    site.produce(&grant, 100);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(1_532)).report.verdict, Verdict::Clean);
    copy.produce(&grant, 1);
    for (from, row) in [(0, 1_533), (1_532, 1_533), (1_533, 1_533), (1_535, 1_535)] {
        assert_not_taken(&mut hq, &copy.bundle(from), Severity::Breach, row);
    }
}

#[test]
fn a_headquarters_that_lost_its_register_takes_no_old_bundle_for_granted() {
    let (grant, mut site, mut hq) = reported(16);
    let old = site.bundle(0);
    site.produce(&grant, 5);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(50)).report.verdict, Verdict::Clean);
    hq.register = MemoryRegister::new();
    assert_not_taken(&mut hq, &old, Severity::Hold, 1);
}

#[test]
fn r8_a_copy_of_a_replaced_ledger_is_a_fork() {
    let (grant, mut site, mut hq) = reported(16);
    let mut copy = copy(&site);
    let old = site.bundle(0);
    site.produce(&grant, 5);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(50)).report.verdict, Verdict::Clean);
    let (sequence, hash) = (site.head().sequence, site.head().hash);
    let last = site.bundle(50);
    let mut restored = site.clone();
    restored.rows.clear();
    (restored.incarnation, restored.boot) = (2, site.boot + 1);
    let head = HeadRef { node: "n1".to_owned(), incarnation: 1, sequence, hash };
    let started = crate::row::Started { replaces: Some(head.clone()), ..restored.started() };
    restored.call(vec![(Event::Started(started), None)]);
    restored.call(vec![(Event::Restored { epoch: 2, backup: head }, None)]);
    let report = hq.reconcile(SHENZHEN, &restored.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::CleanWithNotes, "{:?}", report.findings);

    for again in [old, last] {
        assert_eq!(hq.reconcile(SHENZHEN, &again).report.verdict, Verdict::Clean);
    }
    copy.produce(&grant, 3);
    assert_not_taken(&mut hq, &copy.bundle(50), Severity::Breach, 51);
}

#[test]
fn an_old_bundle_whose_end_is_known_is_harmless_again() {
    let (grant, mut site, mut hq) = reported(510);
    let old = site.bundle(0);
    site.produce(&grant, 100);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(1_532)).report.verdict, Verdict::Clean);
    let state = hq.states[SHENZHEN].clone();
    let report = hq.reconcile(SHENZHEN, &old).report;
    assert_eq!((report.verdict, report.rows_new), (Verdict::Clean, 0), "{:?}", report.findings);
    assert!(hq.states[SHENZHEN].heads == state.heads);
}

#[test]
fn r14_a_bundle_that_comes_after_a_longer_one_is_harmless() {
    let (grant, mut site, mut hq) = reported(510);
    site.produce(&grant, 1);
    let late = site.bundle(1_532);
    site.produce(&grant, 10);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(1_532)).report.verdict, Verdict::Clean);
    let outcome = hq.reconcile(SHENZHEN, &late);
    assert_eq!(outcome.report.verdict, Verdict::Clean, "{:?}", outcome.report.findings);
    assert_eq!((outcome.advanced, outcome.report.rows_new), (true, 0));
}

#[test]
fn p1_a_row_cannot_vouch_for_the_end_of_another_ledger() {
    let (grant, mut site, mut hq) = reported(510);
    let mut copy = copy(&site);
    copy.produce(&grant, 1);
    let (sequence, hash) = (copy.head().sequence, copy.head().hash);
    let head = HeadRef { node: "n1".to_owned(), incarnation: 1, sequence, hash };
    site.produce(&grant, 1);
    site.call(vec![(Event::BundleExported { heads: vec![head] }, None)]);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(1_532)).report.verdict, Verdict::Clean);
    assert_not_taken(&mut hq, &copy.bundle(1_532), Severity::Breach, 1_533);
}
