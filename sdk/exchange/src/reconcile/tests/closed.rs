//! What a site has stated to be destroyed is made nowhere any more, in whatever order its bundles
//! and the statement come; and no honest site is accused for the order.

use crate::{
    checkpoint::Position,
    closing::{self, ClosingStatement},
    grant::Grant,
    message::HeadRef,
    reconcile::{Closing, FindingKind, Verdict, tests::site::*},
    row::{Event, Started},
    unit::Counters,
};

/// A site that has drawn six units of a hundred, and the headquarters that has taken its bundle.
fn reported() -> (Grant, Site, Headquarters) {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 6);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    assert_eq!(found(&mut hq, &site), (Verdict::Clean, vec![]));
    (grant, site, hq)
}

/// What the site's host states now: of a hundred units the unused ones are destroyed.
fn statement(grant: &Grant, site: &Site) -> ClosingStatement {
    let counters = site.counters[&grant.entitlement];
    let destroyed = counters.unused + counters.destroyed;
    let statement = ClosingStatement {
        version: closing::VERSION,
        site: SHENZHEN.to_owned(),
        exporter: HQ.to_owned(),
        entitlement: grant.entitlement.clone(),
        number: grant.number,
        counters: Counters { unused: 0, destroyed, ..counters },
        limit: grant.terms.total,
        in_doubt: Vec::new(),
        after: site.head(),
        made_at: site.now_ms,
    };
    assert_eq!(statement.check(), Ok(()));
    statement
}

fn take(hq: &mut Headquarters, statement: &ClosingStatement) {
    hq.orders.closings.insert(statement.entitlement.clone(), Closing::of(statement));
}

/// Writes the row that closes the allotment.
fn close(grant: &Grant, site: &mut Site) {
    let counters = site.counters.get_mut(&grant.entitlement).unwrap();
    let destroyed = std::mem::take(&mut counters.unused);
    counters.destroyed += destroyed;
    let event = Event::Closed { entitlement: grant.entitlement.clone(), destroyed };
    site.call(vec![(event, Some(&grant.entitlement))]);
}

fn found(hq: &mut Headquarters, site: &Site) -> (Verdict, Vec<(FindingKind, Option<u64>)>) {
    let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
    let findings = report.findings.iter().map(|found| (found.kind, found.row));
    (report.verdict, findings.collect())
}

/// A backup of the site as of its head, restored: the first two rows of the next ledger.
fn restore(site: &mut Site) {
    let Position { sequence, hash } = site.head();
    let head = HeadRef { node: site.node.clone(), incarnation: site.incarnation, sequence, hash };
    site.rows.clear();
    (site.incarnation, site.boot) = (site.incarnation + 1, site.boot + 1);
    let started = Started { replaces: Some(head.clone()), ..site.started() };
    site.call(vec![(Event::Started(started), None)]);
    site.call(vec![(Event::Restored { epoch: 2, backup: head }, None)]);
}

#[test]
fn a_unit_that_is_drawn_after_the_closing_statement_is_a_breach_and_named() {
    let (grant, mut site, mut hq) = reported();
    take(&mut hq, &statement(&grant, &site));
    let row = site.head().sequence + 1;
    site.produce(&grant, 1);
    assert_eq!(found(&mut hq, &site), (Verdict::Breach, vec![(FindingKind::Total, Some(row))]));
}

/// Headquarters took the bundle just before the statement, or has forgotten that it did not.
#[test]
fn a_unit_that_was_reported_before_the_closing_statement_came_is_a_breach_as_well() {
    let (grant, mut site, mut hq) = reported();
    let statement = statement(&grant, &site);
    site.produce(&grant, 1);
    assert_eq!(found(&mut hq, &site), (Verdict::Clean, vec![]));
    take(&mut hq, &statement);
    assert_eq!(found(&mut hq, &site), (Verdict::Breach, vec![(FindingKind::Total, None)]));
}

#[test]
fn an_honest_closing_is_clean_whichever_comes_first() {
    let (grant, mut site, mut hq) = reported();
    let (before, stated) = (site.clone(), statement(&grant, &site));
    close(&grant, &mut site);
    assert_eq!(found(&mut hq, &site), (Verdict::Clean, vec![]), "the row first");
    take(&mut hq, &stated);
    assert_eq!(found(&mut hq, &site), (Verdict::Clean, vec![]));

    let (_, _, mut hq) = reported();
    take(&mut hq, &stated);
    assert_eq!(found(&mut hq, &before), (Verdict::Clean, vec![]), "a bundle of before");
    assert_eq!(found(&mut hq, &site), (Verdict::Clean, vec![]), "then the row");

    // A headquarters that was restored has forgotten the bundles, and then the statement as well.
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    hq.orders.restored = true;
    take(&mut hq, &stated);
    assert_eq!(found(&mut hq, &site), (Verdict::Clean, vec![]));
    hq.orders.closings.clear();
    assert_eq!(found(&mut hq, &site), (Verdict::Clean, vec![]));
    let row = site.head().sequence + 1;
    let counters = site.counters.get_mut(&grant.entitlement).unwrap();
    (counters.unused, counters.destroyed) = (94, 0);
    site.produce(&grant, 1);
    let (verdict, findings) = found(&mut hq, &site);
    assert_eq!((verdict, findings[0]), (Verdict::Breach, (FindingKind::Window, Some(row))));
}

#[test]
fn a_row_that_destroys_other_units_than_the_closing_statement_is_a_breach_and_named() {
    let (grant, mut site, mut hq) = reported();
    let mut stated = statement(&grant, &site);
    stated.counters.destroyed -= 1;
    stated.counters.scrapped += 1;
    take(&mut hq, &stated);
    close(&grant, &mut site);
    let row = site.head().sequence;
    assert_eq!(found(&mut hq, &site), (Verdict::Breach, vec![(FindingKind::Total, Some(row))]));
}

#[test]
fn a_site_that_was_restored_from_before_its_closing_writes_off_and_draws_nothing() {
    let (grant, mut site, mut hq) = reported();
    take(&mut hq, &statement(&grant, &site));
    let mut closed = site.clone();
    close(&grant, &mut closed);
    assert_eq!(found(&mut hq, &closed), (Verdict::Clean, vec![]));
    restore(&mut site);
    let mut greedy = site.clone();
    let counters = site.counters.get_mut(&grant.entitlement).unwrap();
    let units = std::mem::take(&mut counters.unused);
    counters.lost += units;
    let lost = Event::UnusedLost { entitlement: grant.entitlement.clone(), units };
    site.call(vec![(lost, Some(&grant.entitlement))]);
    close(&grant, &mut site);
    let mut other = Headquarters { states: hq.states.clone(), ..Headquarters::default() };
    (other.orders, other.register) = (hq.orders.clone(), hq.register.clone());
    let (verdict, findings) = found(&mut other, &site);
    assert_eq!(verdict, Verdict::CleanWithNotes, "{findings:?}");

    greedy.now_ms += 10_000;
    let row = greedy.head().sequence + 1;
    greedy.produce(&grant, 1);
    let (verdict, findings) = found(&mut hq, &greedy);
    assert_eq!(verdict, Verdict::Breach);
    assert!(findings.contains(&(FindingKind::Total, Some(row))), "{findings:?}");
}
