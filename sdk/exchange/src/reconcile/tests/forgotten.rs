//! What a headquarters forgot that was restored from a backup is no breach of the site's.

use crate::{
    directive::{Change, Directive},
    grant::Grant,
    message::HeadRef,
    order,
    reconcile::{FindingKind, Verdict, tests::site::*},
    row::Event,
};

fn found(hq: &mut Headquarters, site: &Site, from: u64) -> (Verdict, Vec<FindingKind>) {
    let report = hq.reconcile(SHENZHEN, &site.bundle(from)).report;
    (report.verdict, report.findings.iter().map(|finding| finding.kind).collect())
}

/// A receipt for all rows up to `covers`, imported at the site.
fn receipt(site: &mut Site, exporter: &str, covers: u64) {
    let head = site.position(covers);
    let heads = vec![HeadRef {
        node: site.node.clone(),
        incarnation: site.incarnation,
        sequence: head.sequence,
        hash: head.hash,
    }];
    let event = Event::ReceiptImported {
        receipt: [8; 32],
        exporter: exporter.to_owned(),
        bundle: [9; 32],
        verdict: Verdict::Clean,
        heads,
    };
    site.call(vec![(event, None)]);
}

fn restored(grants: &[Grant]) -> Headquarters {
    let mut hq = Headquarters::with(grants);
    hq.orders.restored = true;
    hq
}

#[test]
fn an_order_that_a_restored_headquarters_forgot_holds_the_bundle_until_it_is_adopted() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 2);
    let change = Change::Shorten { not_after: grant.terms.not_after - 1 };
    let directive = Directive {
        version: 1,
        exporter: HQ.to_owned(),
        recipient: SHENZHEN.to_owned(),
        entitlement: grant.entitlement.clone(),
        number: 1,
        change,
        batch_ca: None,
        id: [1; 16],
        made_at: START_MS,
    };
    let digest = sign_order(order::DIRECTIVE, HQ, &directive).digest(order::DIRECTIVE);
    let entitlement = grant.entitlement.clone();
    let acted = Event::DirectiveImported { directive: digest, entitlement, change, applied: 0 };
    site.call(vec![(acted, Some(&grant.entitlement))]);
    site.produce(&grant, 1);

    let mut forgetful = restored(&[]);
    let (verdict, kinds) = found(&mut forgetful, &site, 0);
    assert_eq!((verdict, kinds), (Verdict::Hold, vec![FindingKind::Grant, FindingKind::Directive]));
    assert!(forgetful.states.is_empty(), "nothing of it was applied");
    forgetful.orders.grants.insert(grant.entitlement.clone(), grant.clone());
    let (verdict, kinds) = found(&mut forgetful, &site, 0);
    assert_eq!((verdict, kinds), (Verdict::Hold, vec![FindingKind::Directive]));
    forgetful.orders.directives.insert(digest, directive);
    assert_eq!(found(&mut forgetful, &site, 0), (Verdict::Clean, vec![]));

    // One that remembers everything has not granted it.
    let (verdict, kinds) = found(&mut Headquarters::default(), &site, 0);
    assert_eq!((verdict, kinds[0]), (Verdict::Breach, FindingKind::Grant));
}

/// Twenty units may have no receipt.
fn produced(receipts: &[(u64, &str)], last: u64) -> (Grant, Site) {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    for (count, exporter) in receipts {
        site.produce(&grant, *count);
        let covers = site.head().sequence;
        receipt(&mut site, exporter, covers);
    }
    site.produce(&grant, last);
    (grant, site)
}

#[test]
fn r15_receipts_that_a_restored_headquarters_forgot_count_for_the_site() {
    let honest = produced(&[(20, HQ), (20, HQ)], 20);
    let breach = Some(FindingKind::AuditReturn);
    let cases = [
        ("honest", honest.clone(), true, None),
        ("nothing was forgotten", honest, false, breach),
        ("before the first", produced(&[(21, HQ)], 1), true, breach),
        ("between", produced(&[(1, HQ), (21, HQ)], 1), true, breach),
        ("after the last", produced(&[(1, HQ), (1, HQ)], 21), true, breach),
        ("others' receipts", produced(&[(20, SHENZHEN)], 1), true, breach),
    ];
    for (what, (grant, site), forgot, expected) in cases {
        let mut hq = restored(std::slice::from_ref(&grant));
        hq.orders.restored = forgot;
        let (_, kinds) = found(&mut hq, &site, 0);
        assert_eq!(kinds, expected.into_iter().collect::<Vec<_>>(), "{what}");
    }
}

#[test]
fn a_receipt_that_is_remembered_covers_no_more_than_its_bundle() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 10);
    let mut hq = restored(std::slice::from_ref(&grant));
    assert_eq!(found(&mut hq, &site, 0), (Verdict::Clean, vec![]));
    let covers = site.head().sequence;
    site.produce(&grant, 8);
    receipt(&mut site, HQ, covers);
    site.produce(&grant, 13);
    let (verdict, kinds) = found(&mut hq, &site, covers);
    assert_eq!((verdict, kinds), (Verdict::Breach, vec![FindingKind::AuditReturn]));
}

#[test]
fn an_older_range_again_says_nothing_of_how_far_the_site_has_reported() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 1);
    let (older, first_ms) = (site.bundle(0), site.now_ms);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let first = hq.reconcile(SHENZHEN, &older);
    assert_eq!(first.report.as_of_ms(&first.state), Some(first_ms));
    site.produce(&grant, 1);
    let mut cut = site.checkpoint(0);
    cut.as_of = first_ms + 1;
    let cut = hq.reconcile(SHENZHEN, &body(SHENZHEN, &[(cut, site.rows.clone())]));
    assert_eq!(cut.report.as_of_ms(&cut.state), Some(first_ms + 1), "rows were left");
    let again = hq.reconcile(SHENZHEN, &older);
    assert_eq!((again.report.verdict, again.report.as_of_ms(&again.state)), (Verdict::Clean, None));
}

#[test]
fn a_checkpoint_that_reports_the_future_contradicts_itself() {
    let site = Site::new(SHENZHEN);
    let mut checkpoint = site.checkpoint(0);
    checkpoint.as_of = checkpoint.made_at + 1;
    let body = body(SHENZHEN, &[(checkpoint, site.rows.clone())]);
    let report = Headquarters::default().reconcile(SHENZHEN, &body).report;
    assert_eq!(report.findings[0].kind, FindingKind::Malformed);
}
