//! What needs an explanation in the ledger: with it the ledger is clean, and without it not.

use crate::{
    checkpoint::Position,
    grant::Grant,
    message::HeadRef,
    reconcile::{
        FindingKind, LostHead, NOTES_MAX, Outcome, Report, Severity, Verdict, tests::site::*,
    },
    row::{Event, Row, Started},
    unit::{UnitChange, UnitState},
};

const ISSUED: Option<UnitState> = Some(UnitState::Issued);
const CONFIRMED: Option<UnitState> = Some(UnitState::Confirmed);

/// A site with a start, an import and a device that is issued: rows 1 to 4.
fn issued() -> (Grant, Site) {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.provision(&grant, "a");
    (grant, site)
}

fn judged(grant: &Grant, site: &Site) -> Outcome {
    Headquarters::with(std::slice::from_ref(grant)).reconcile(SHENZHEN, &site.bundle(0))
}

fn found(outcome: &Outcome) -> Vec<(FindingKind, Severity, Option<u64>)> {
    outcome.report.findings.iter().map(|f| (f.kind, f.severity, f.row)).collect()
}

fn hand_over(site: &mut Site, grant: &Grant, unit: u64, station: &str) {
    let station = format!("{SHENZHEN}/station/{station}");
    let event = Event::HandedOver { entitlement: grant.entitlement.clone(), unit, station };
    site.call(vec![(event, None)]);
}

#[test]
fn another_station_goes_on_with_a_unit_only_after_a_hand_over() {
    for handed_over in [true, false] {
        let (grant, mut site) = issued();
        if handed_over {
            hand_over(&mut site, &grant, 0, "t2");
        }
        "t2".clone_into(&mut site.station);
        let event = site.change(&grant, 0, "a", UnitChange::Released, ISSUED);
        site.call(vec![(event, Some(&grant.entitlement))]);
        site.confirm(&grant, 0, "a");
        let row = site.rows.len() as u64;
        let breach = |row| (FindingKind::Station, Severity::Breach, Some(row));
        let expected = if handed_over { vec![] } else { vec![breach(row - 1), breach(row)] };
        assert_eq!(found(&judged(&grant, &site)), expected);
        // Who had it before has it no more.
        "t1".clone_into(&mut site.station);
        let from = Some(UnitState::Confirmed);
        let event = site.change(&grant, 0, "a", UnitChange::Released, from);
        site.call(vec![(event, Some(&grant.entitlement))]);
        assert_eq!(found(&judged(&grant, &site)).len(), if handed_over { 1 } else { 2 });
    }
}

#[test]
fn a_unit_that_is_not_there_cannot_be_handed_over() {
    let (grant, mut site) = issued();
    hand_over(&mut site, &grant, 7, "t2");
    let expected = [(FindingKind::Station, Severity::Breach, Some(5))];
    assert_eq!(found(&judged(&grant, &site)), expected);
}

#[test]
fn an_operator_may_end_a_unit_of_any_station() {
    let (grant, mut site) = issued();
    let event = site.change(&grant, 0, "a", UnitChange::Failed, ISSUED);
    "ada".clone_into(&mut site.station);
    "operator".clone_into(&mut site.role);
    site.call(vec![(event, Some(&grant.entitlement))]);
    assert_eq!(found(&judged(&grant, &site)), []);
}

/// Else a device that was made could be called lost.
#[test]
fn units_are_written_off_by_a_restore_alone() {
    for restored in [true, false] {
        let (grant, mut site) = issued();
        if restored {
            let backup = HeadRef { node: "n1".to_owned(), ..HeadRef::default() };
            site.call(vec![(Event::Restored { epoch: 2, backup }, None)]);
        }
        let event = site.change(&grant, 0, "a", UnitChange::Lost, ISSUED);
        site.call(vec![(event, Some(&grant.entitlement))]);
        let counters = site.counters.get_mut(&grant.entitlement).unwrap();
        let units = std::mem::take(&mut counters.unused);
        counters.lost += units;
        let event = Event::UnusedLost { entitlement: grant.entitlement.clone(), units };
        site.call(vec![(event, Some(&grant.entitlement))]);
        let breach = |row| (FindingKind::Restore, Severity::Breach, Some(row));
        let expected = if restored { vec![] } else { vec![breach(5), breach(6)] };
        let outcome = judged(&grant, &site);
        assert_eq!(found(&outcome), expected);
        let counters = outcome.report.entitlements[0].counters;
        assert_eq!((counters.lost, counters.credited), (100, 100));
    }
}

/// The site as a restore by ceremony begins it anew, with the counters of the backup.
fn restored(backup: &Site) -> Site {
    restored_as(backup, 2)
}

fn restored_as(backup: &Site, incarnation: u64) -> Site {
    let Position { sequence, hash } = backup.head();
    let head = HeadRef { node: backup.node.clone(), incarnation: 1, sequence, hash };
    let mut site = backup.clone();
    site.rows.clear();
    (site.incarnation, site.boot) = (incarnation, backup.boot + 1);
    let started = Started { replaces: Some(head.clone()), ..site.started() };
    site.call(vec![(Event::Started(started), None)]);
    site.call(vec![(Event::Restored { epoch: 2, backup: head }, None)]);
    site
}

/// Headquarters knows what came after the backup, and the site does not.
#[test]
fn r5_what_ended_after_the_backup_may_end_again_and_be_given_again() {
    let cases = [
        (UnitChange::Scrapped, true),
        (UnitChange::Released, true),
        (UnitChange::Scrapped, false),
        (UnitChange::Released, false),
    ];
    for (change, reported) in cases {
        let (grant, mut site) = issued();
        site.confirm(&grant, 0, "a");
        let mut back = restored(&site);
        if reported {
            let event = site.change(&grant, 0, "a", UnitChange::Scrapped, CONFIRMED);
            site.call(vec![(event, Some(&grant.entitlement))]);
        }
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);
        let event = back.change(&grant, 0, "a", change, CONFIRMED);
        back.call(vec![(event, Some(&grant.entitlement))]);
        let report = hq.reconcile(SHENZHEN, &back.bundle(0)).report;
        let notes = report.findings.iter().filter(|one| one.kind == FindingKind::Restore);
        assert_eq!(notes.count(), 1 + usize::from(reported), "{change:?}: {:?}", report.findings);
        assert_eq!(report.verdict, Verdict::CleanWithNotes, "{change:?}: {:?}", report.findings);
    }
}

/// Whatever the site forgot is told, and an honest site is not a breach for ever.
#[test]
fn r5_what_a_restored_site_has_forgotten_is_noted() {
    let mut grants = [grant(1, SHENZHEN), grant(2, SHENZHEN), grant(3, SHENZHEN)];
    grants[0].terms.scrap_allowance = 2;
    let mut site = Site::new(SHENZHEN);
    site.import(&grants[0]);
    site.produce(&grants[0], 5);
    let mut backup = site.clone();
    let first = &grants[0];
    // After the backup: a hand-over, two devices scrapped, another device, another entitlement.
    hand_over(&mut site, first, 0, "t2");
    for unit in [1, 2] {
        let subject = format!("1-{unit}");
        let event = site.change(first, unit, &subject, UnitChange::Scrapped, CONFIRMED);
        site.call(vec![(event, Some(&first.entitlement))]);
    }
    site.import(&grants[1]);
    site.now_ms += 60_000;
    site.provision(first, "forgotten");
    let mut hq = Headquarters::with(&grants);
    let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);

    backup.now_ms = site.now_ms + 60_000;
    let mut back = restored(&backup);
    let event = back.change(first, 0, "1-0", UnitChange::Released, CONFIRMED);
    back.call(vec![(event, Some(&first.entitlement))]);
    for unit in [3, 4] {
        let subject = format!("1-{unit}");
        let event = back.change(first, unit, &subject, UnitChange::Scrapped, CONFIRMED);
        back.call(vec![(event, Some(&first.entitlement))]);
    }
    back.import(&grants[2]);
    back.provision(&grants[2], "forgotten");
    let report = hq.reconcile(SHENZHEN, &back.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::CleanWithNotes, "{:?}", report.findings);
    assert!(report.findings.iter().all(|one| one.kind == FindingKind::Restore));
    // By ceremony; another station; subject and key of the device that was forgotten.
    assert_eq!(report.findings.len(), 4, "{:?}", report.findings);

    // Beyond what the terms allow it is a breach as ever.
    let event = back.change(first, 0, "1-0", UnitChange::Scrapped, CONFIRMED);
    let held = back.head().sequence;
    back.call(vec![(event, Some(&first.entitlement))]);
    let report = hq.reconcile(SHENZHEN, &back.bundle(held)).report;
    assert_eq!(found_kinds(&report), [FindingKind::Scrap]);
}

/// A restore explains what came after the backup, and nothing else.
#[test]
fn r5_a_restore_is_no_excuse() {
    type Lie = fn(&Grant, &mut Site);
    let lies: [(Lie, FindingKind); 6] = [
        // The unit goes to another device; also one that was drawn after the backup.
        (|grant, site| tell(grant, site, "x", UnitChange::Issued, 0), FindingKind::Transition),
        (|grant, site| tell(grant, site, "x", UnitChange::Issued, 2), FindingKind::Transition),
        (|grant, site| tell(grant, site, "2", UnitChange::Recertified, 2), FindingKind::Transition),
        // Another key is given than the unit's.
        (|grant, site| tell(grant, site, "x", UnitChange::Released, 2), FindingKind::Transition),
        // What ended before the backup has not been forgotten.
        (|grant, site| tell(grant, site, "1", UnitChange::Scrapped, 1), FindingKind::Transition),
        // Nor a device that was made before it.
        (|grant, site| tell(grant, site, "0", UnitChange::Issued, 9), FindingKind::Duplicate),
    ];
    for (number, (lie, kind)) in lies.into_iter().enumerate() {
        let grant = grant(1, SHENZHEN);
        let mut site = Site::new(SHENZHEN);
        site.import(&grant);
        for subject in ["0", "1"] {
            let unit = site.provision(&grant, subject);
            site.confirm(&grant, unit, subject);
        }
        let event = site.change(&grant, 1, "1", UnitChange::Scrapped, CONFIRMED);
        site.call(vec![(event, Some(&grant.entitlement))]);
        let mut back = restored(&site);
        site.provision(&grant, "2");
        site.confirm(&grant, 2, "2");
        let event = site.change(&grant, 2, "2", UnitChange::Scrapped, CONFIRMED);
        site.call(vec![(event, Some(&grant.entitlement))]);
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);
        back.now_ms = site.now_ms + 60_000;
        lie(&grant, &mut back);
        let report = hq.reconcile(SHENZHEN, &back.bundle(0)).report;
        assert_eq!(report.verdict, Verdict::Breach, "lie {number}: {:?}", report.findings);
        assert!(found_kinds(&report).contains(&kind), "lie {number}: {:?}", report.findings);
    }
}

/// A row about a unit, whatever the unit was.
fn tell(grant: &Grant, site: &mut Site, subject: &str, change: UnitChange, unit: u64) {
    let event = Event::Unit(Box::new(unit_event(grant, unit, subject, change)));
    site.call(vec![(event, Some(&grant.entitlement))]);
}

/// A second restore from the same backup names a ledger that the first one has replaced.
#[test]
fn r5_a_backup_can_be_restored_twice() {
    let (grant, mut site) = issued();
    site.now_ms += 7_200_000;
    site.confirm(&grant, 0, "a");
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    hq.reconcile(SHENZHEN, &site.bundle(0));
    // The machine's clock was set back, or has not been told how long it was off.
    site.now_ms -= 3_600_000;
    let first = restored(&site);
    let report = hq.reconcile(SHENZHEN, &first.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::CleanWithNotes, "{:?}", report.findings);
    let second = restored_as(&site, 3);
    let report = hq.reconcile(SHENZHEN, &second.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::CleanWithNotes, "{:?}", report.findings);
}

/// What two restores have forgotten between them, and a hand-over that came after.
#[test]
fn r5_a_site_may_be_restored_again_and_again() {
    let mut grants = [grant(1, SHENZHEN), grant(2, SHENZHEN), grant(3, SHENZHEN)];
    grants[0].terms.scrap_allowance = 2;
    let [first, second, third] = &grants;
    let mut site = Site::new(SHENZHEN);
    site.import(first);
    site.produce(first, 3);
    let mut backup = site.clone();
    let scrap = |site: &mut Site, unit: u64| {
        let event = site.change(first, unit, &format!("1-{unit}"), UnitChange::Scrapped, CONFIRMED);
        site.call(vec![(event, Some(&first.entitlement))]);
    };
    scrap(&mut site, 0);
    site.now_ms += 60_000;
    site.provision(first, "forgotten");
    let mut hq = Headquarters::with(&grants);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);

    backup.now_ms = site.now_ms + 60_000;
    let mut back = restored(&backup);
    back.import(second);
    let report = hq.reconcile(SHENZHEN, &back.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::CleanWithNotes, "{:?}", report.findings);

    // The second backup is one of the restored ledger.
    let Position { sequence, hash } = back.head();
    let head = HeadRef { node: "n1".to_owned(), incarnation: 2, sequence, hash };
    let mut last = restored_as(&back, 3);
    last.rows.clear();
    let started = Started { replaces: Some(head.clone()), ..last.started() };
    last.call(vec![(Event::Started(started), None)]);
    last.call(vec![(Event::Restored { epoch: 3, backup: head }, None)]);
    hand_over(&mut last, first, 0, "t2");
    scrap(&mut last, 0);
    last.import(third);
    last.provision(third, "forgotten");
    let report = hq.reconcile(SHENZHEN, &last.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::CleanWithNotes, "{:?}", report.findings);
    // By ceremony; the unit that was scrapped; subject and key of the device.
    assert_eq!(report.findings.len(), 4, "{:?}", report.findings);
}

fn found_kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|one| one.kind).collect()
}

#[test]
fn a_batch_revokes_certificates_of_failed_devices_alone_and_for_ever() {
    type Lists = &'static [(u64, u64)];
    let crl = |number, revoked| Event::CrlIssued {
        entitlement: grant(1, SHENZHEN).entitlement,
        number,
        revoked,
        digest: [5; 32],
    };
    // (number, revoked) of each list, and which of them is wrong; one device failed.
    let cases: [(Lists, Option<u64>); 6] = [
        (&[(1, 1), (2, 1)], None),
        (&[(1, 0), (5, 1)], None),
        (&[(1, 2)], Some(6)),
        (&[(1, 1), (1, 1)], Some(7)),
        (&[(2, 1), (1, 1)], Some(7)),
        (&[(1, 1), (2, 0)], Some(7)),
    ];
    for (lists, wrong) in cases {
        let (grant, mut site) = issued();
        let event = site.change(&grant, 0, "a", UnitChange::Failed, ISSUED);
        site.call(vec![(event, Some(&grant.entitlement))]);
        for (number, revoked) in lists {
            site.call(vec![(crl(*number, *revoked), None)]);
        }
        let breach = |row| (FindingKind::RevocationList, Severity::Breach, Some(row));
        let expected: Vec<_> = wrong.into_iter().map(breach).collect();
        assert_eq!(found(&judged(&grant, &site)), expected, "{lists:?}");
    }
}

/// Approvals of scrap let scrap exceed the allowance; no others do, nor those of one call before.
#[test]
fn approvals_count_for_their_own_act_call_and_people() {
    let people = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = [
        ("scrap", people(&["ada", "ben"]), true, None),
        ("order", people(&["ada", "ben"]), true, Some(14)),
        ("scrap", people(&["ada", "ben"]), false, Some(14)),
        ("scrap", people(&["ada", "ada"]), true, Some(13)),
        ("scrap", people(&[]), true, Some(13)),
    ];
    for (act, approvers, same_call, wrong) in cases {
        let (grant, mut site) = issued();
        site.produce(&grant, 2);
        let mut scrap = |unit, subject: &str, from, before: Option<Event>| {
            let event = site.change(&grant, unit, subject, UnitChange::Scrapped, from);
            let mut rows: Vec<_> = before.into_iter().map(|event| (event, None)).collect();
            if !same_call && !rows.is_empty() {
                site.call(std::mem::take(&mut rows));
            }
            rows.push((event, Some(grant.entitlement.as_str())));
            site.call(rows);
        };
        let confirmed = Some(UnitState::Confirmed);
        scrap(1, "1-1", confirmed, None);
        scrap(0, "a", ISSUED, None);
        let act = act.to_owned();
        let event = Event::Approved { act, request_digest: [0; 32], approvers };
        scrap(2, "1-2", confirmed, Some(event));
        let first = found(&judged(&grant, &site)).first().copied();
        let expected = wrong.map(|row| (FindingKind::Scrap, Severity::Breach, Some(row)));
        assert_eq!(first, expected);
    }
}

#[test]
fn a_headquarters_that_was_set_back_hears_of_it_from_its_sites() {
    let (grant, site) = issued();
    let head = HeadRef { node: "n1".to_owned(), incarnation: 1, sequence: 900, hash: [4; 32] };
    let cases = [
        (None, Verdict::Clean),
        (Some(false), Verdict::Hold),
        // By ceremony, so that people know of it.
        (Some(true), Verdict::CleanWithNotes),
    ];
    for (by_restore, verdict) in cases {
        let mut checkpoint = site.checkpoint(0);
        checkpoint.hq_head = Some(head.clone());
        let body = body(SHENZHEN, &[(checkpoint, site.rows.clone())]);
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        let lost = by_restore.map(|by_restore| LostHead { head: head.clone(), by_restore });
        hq.orders.lost_heads.extend(lost.clone());
        let outcome = hq.reconcile(SHENZHEN, &body);
        assert_eq!(outcome.report.verdict, verdict);
        let kinds: Vec<_> = outcome.report.findings.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, if lost.is_some() { vec![FindingKind::Witness] } else { vec![] });
    }
}

#[test]
fn notes_are_shown_apart_and_no_check_reads_them() {
    let (grant, mut site) = issued();
    let without = judged(&grant, &site).report;
    let texts =
        ["<script>alert(1)</script>", "breach: unit 0 was never made", "a\u{202e}b\n\x1b[2J"];
    for text in texts {
        site.call(vec![(Event::Note { text: text.to_owned() }, None)]);
    }
    let report = judged(&grant, &site).report;
    assert_eq!((report.verdict, &report.findings), (without.verdict, &without.findings));
    assert_eq!(report.entitlements, without.entitlements);
    let said: Vec<_> = report.notes.iter().map(|note| (note.row, note.text.as_str())).collect();
    assert_eq!(said, [(5, texts[0]), (6, texts[1]), (7, "a?b??[2J")]);
    assert_eq!(report.notes[0].plugin.as_ref().unwrap().measurement, PLUGIN);

    for _ in 0..200 {
        site.call(vec![(Event::Note { text: "x".repeat(5_000) }, None)]);
    }
    let report = judged(&grant, &site).report;
    assert_eq!((report.notes.len(), report.notes_dropped), (NOTES_MAX, 203 - NOTES_MAX as u64));
    let newest = report.notes.last().unwrap();
    assert_eq!((newest.row, newest.text.len()), (site.rows.len() as u64, 1_024));
}

#[test]
fn a_clock_that_became_suspect_is_told_and_acknowledged() {
    for acknowledged in [true, false] {
        let (grant, mut site) = issued();
        site.suspect = true;
        site.call(vec![(Event::Note { text: "earlier".to_owned() }, None)]);
        if acknowledged {
            let (mark_before_ms, mark_after_ms) = (site.now_ms, site.now_ms);
            let event = Event::ClockAcknowledged { mark_before_ms, mark_after_ms };
            site.suspect = false;
            site.call(vec![(event, None)]);
        }
        let mut checkpoint = site.checkpoint(0);
        checkpoint.clock_suspect = !acknowledged;
        let body = body(SHENZHEN, &[(checkpoint, site.rows.clone())]);
        let outcome = Headquarters::with(std::slice::from_ref(&grant)).reconcile(SHENZHEN, &body);
        let last = if acknowledged { Severity::Note } else { Severity::Hold };
        let expected = [
            (FindingKind::Clock, Severity::Note, Some(5)),
            (FindingKind::Clock, last, Some(site.rows.len() as u64)),
        ];
        assert_eq!(found(&outcome), expected);
    }
}

/// Monotonic time starts anew with each start of the host; site time does not.
#[test]
fn r13_a_rate_is_counted_across_starts_and_named_where_it_is_exceeded() {
    let (grant, mut site) = issued();
    site.provision(&grant, "b");
    site.start();
    site.provision(&grant, "c");
    site.provision(&grant, "d");
    assert_eq!(found(&judged(&grant, &site)), []);
    site.provision(&grant, "e");
    let row = Row::decode(site.rows.last().unwrap()).unwrap().sequence - 1;
    let expected = [(FindingKind::Rate, Severity::Breach, Some(row))];
    assert_eq!(found(&judged(&grant, &site)), expected);
}
