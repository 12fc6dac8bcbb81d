//! A ledger goes on from an earlier one, which it names: nothing else is believed of a restore.

use crate::{
    checkpoint::{Checkpoint, Position},
    grant::Grant,
    merkle::Tree,
    message::HeadRef,
    reconcile::{FindingKind, Severity, Verdict, tests::site::*},
    row::{Event, Started},
    unit::{UnitChange, UnitState},
};

/// A site with a unit that is issued.
fn issued() -> (Grant, Site) {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.provision(&grant, "a");
    (grant, site)
}

/// The site with a new ledger, which says that it replaces `named`.
fn restored(site: &Site, incarnation: u64, named: Option<u64>) -> Site {
    let Position { sequence, hash } = site.head();
    let head = |incarnation| HeadRef { node: site.node.clone(), incarnation, sequence, hash };
    let mut site = site.clone();
    site.rows.clear();
    (site.incarnation, site.boot) = (incarnation, site.boot + 1);
    let started = Started { replaces: named.map(head), ..site.started() };
    site.call(vec![(Event::Started(started), None)]);
    site.call(vec![(Event::Restored { epoch: 2, backup: head(named.unwrap_or(1)) }, None)]);
    site
}

fn headquarters(grant: &Grant) -> Headquarters {
    Headquarters::with(std::slice::from_ref(grant))
}

#[test]
fn p3_a_ledger_that_replaces_itself_or_a_later_one_is_a_breach() {
    for named in [2, 3, u64::MAX] {
        let (grant, site) = issued();
        let mut hq = headquarters(&grant);
        assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);
        let mut back = restored(&site, 2, Some(named));
        let from = Some(UnitState::Issued);
        let event = back.change(&grant, 0, "a", UnitChange::Confirmed, from);
        back.call(vec![(event, Some(&grant.entitlement))]);
        for node_is_known in [true, false] {
            let mut hq = if node_is_known { hq.clone() } else { headquarters(&grant) };
            let outcome = hq.reconcile(SHENZHEN, &back.bundle(0));
            let found: Vec<_> =
                outcome.report.findings.iter().map(|f| (f.kind, f.severity, f.row)).collect();
            assert_eq!(found, [(FindingKind::Restore, Severity::Breach, Some(1))], "{named}");
            assert!(!outcome.advanced);
        }
    }
}

/// A checkpoint of a ledger that has no row yet.
fn empty(site: &Site, incarnation: u64) -> Checkpoint {
    let none = Position::default();
    let merkle_root = Tree::new().root();
    Checkpoint { incarnation, from: none, to: none, rows: 0, merkle_root, ..site.checkpoint(0) }
}

#[test]
fn r5_a_ledger_announced_without_a_row_still_has_to_name_the_one_before() {
    let (grant, mut site) = issued();
    let mut hq = headquarters(&grant);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);
    let announced = [(site.checkpoint(4), vec![]), (empty(&site, 2), vec![])];
    hq.reconcile(SHENZHEN, &body(SHENZHEN, &announced));
    // What was announced replaces nothing: the ledger that is there goes on.
    site.confirm(&grant, 0, "a");
    let report = hq.reconcile(SHENZHEN, &site.bundle(4)).report;
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
    for (named, verdict) in [(None, Verdict::Hold), (Some(1), Verdict::CleanWithNotes)] {
        let mut hq = hq.clone();
        let report = hq.reconcile(SHENZHEN, &restored(&site, 2, named).bundle(0)).report;
        assert_eq!(report.verdict, verdict, "{:?}", report.findings);
        assert_eq!(report.findings[0].kind, FindingKind::Restore);
    }
}
