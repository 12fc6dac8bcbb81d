//! Every tampering gives the right verdict and names the row; nothing of it enters the register.

use crate::{
    canonical::sha256,
    grant::Grant,
    message::HeadRef,
    reconcile::{
        FeedError, FindingKind, MemoryRegister, Outcome, Reconciler, SiteState, Verdict, World,
        tests::site::*,
    },
    row::{Event, ROW_DELAY_MS_MAX, Row, RowBody},
    unit::{UnitChange, UnitState},
};

/// A site with a start, an import and ten devices: rows 1, 2, and 3 to 32.
fn produced() -> (Grant, Site) {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 10);
    assert_eq!(site.rows.len(), 32);
    (grant, site)
}

fn reconcile(grant: &Grant, body: &[u8]) -> (Outcome, Headquarters) {
    let mut hq = Headquarters::with(std::slice::from_ref(grant));
    let outcome = hq.reconcile(SHENZHEN, body);
    (outcome, hq)
}

/// The verdict is breach, by this kind of finding at this row, and nothing was taken.
fn assert_refused(grant: &Grant, body: &[u8], kind: FindingKind, row: u64) {
    let (outcome, hq) = reconcile(grant, body);
    assert_eq!(outcome.report.verdict, Verdict::Breach);
    let first = &outcome.report.findings[0];
    assert_eq!((first.kind, first.row), (kind, Some(row)), "{first:?}");
    assert!(!outcome.advanced);
    assert_eq!(outcome.state, SiteState::default());
    assert_eq!(hq.register, MemoryRegister::new());
}

/// The ledger is whole and was taken, but a rule was broken at this row.
fn assert_breach(grant: &Grant, site: &Site, kind: FindingKind, row: u64) {
    let (outcome, _) = reconcile(grant, &site.bundle(0));
    assert_eq!(outcome.report.verdict, Verdict::Breach, "{:?}", outcome.report.findings);
    let found: Vec<_> = outcome.report.findings.iter().map(|f| (f.kind, f.row)).collect();
    assert_eq!(found, [(kind, Some(row))], "{:?}", outcome.report.findings);
    assert!(outcome.advanced);
}

#[test]
fn r14_a_dropped_row_is_a_breach_and_named() {
    let (grant, site) = produced();
    for dropped in [1, 2, 17, 31, 32] {
        let mut rows = site.rows.clone();
        rows.remove(dropped - 1);
        let body = body(SHENZHEN, &[(site.checkpoint(0), rows)]);
        assert_refused(&grant, &body, FindingKind::Gap, dropped as u64);
    }
}

#[test]
fn swapped_and_repeated_rows_are_a_breach_and_named() {
    let (grant, site) = produced();
    let mut rows = site.rows.clone();
    rows.swap(9, 10);
    let swapped = body(SHENZHEN, &[(site.checkpoint(0), rows)]);
    assert_refused(&grant, &swapped, FindingKind::Gap, 10);
    let mut rows = site.rows.clone();
    rows.insert(10, site.rows[9].clone());
    let repeated = body(SHENZHEN, &[(site.checkpoint(0), rows)]);
    assert_refused(&grant, &repeated, FindingKind::BrokenChain, 10);
}

#[test]
fn s11_an_edited_row_is_a_breach_and_named() {
    let (grant, site) = produced();
    for edited in [1_usize, 16, 32] {
        let mut rows = site.rows.clone();
        // The last byte belongs to the set hash: the row still reads as one.
        *rows[edited - 1].last_mut().unwrap() ^= 1;
        let body = body(SHENZHEN, &[(site.checkpoint(0), rows)]);
        assert_refused(&grant, &body, FindingKind::BrokenChain, edited as u64);
    }
}

#[test]
fn a_rewritten_chain_does_not_fit_the_signed_checkpoint() {
    let (grant, honest) = produced();
    let mut rewritten = Site::new(SHENZHEN);
    rewritten.import(&grant);
    rewritten.produce(&grant, 9);
    rewritten.now_ms += 2_501;
    let unit = rewritten.provision(&grant, "1-9");
    rewritten.confirm(&grant, unit, "1-9");
    let body = body(SHENZHEN, &[(honest.checkpoint(0), rewritten.rows)]);
    assert_refused(&grant, &body, FindingKind::BrokenChain, 32);
}

#[test]
fn a_checkpoint_with_another_merkle_root_is_a_breach() {
    let (grant, site) = produced();
    let mut checkpoint = site.checkpoint(0);
    checkpoint.merkle_root = [1; 32];
    let body = body(SHENZHEN, &[(checkpoint, site.rows.clone())]);
    assert_refused(&grant, &body, FindingKind::Checkpoint, 32);
}

#[test]
fn a_bundle_that_is_cut_off_or_goes_on_is_a_breach() {
    let (grant, site) = produced();
    let whole = site.bundle(0);
    for length in [0, 3, 100, whole.len() - 5, whole.len() - 4, whole.len() - 1] {
        let (outcome, hq) = reconcile(&grant, &whole[..length]);
        assert_eq!(outcome.report.verdict, Verdict::Breach, "{length} bytes");
        assert_eq!(hq.register, MemoryRegister::new());
    }
    let longer = [whole.as_slice(), &[0, 0, 0, 1, 7]].concat();
    assert_eq!(reconcile(&grant, &longer).0.report.verdict, Verdict::Breach);
}

#[test]
fn a_missing_earlier_bundle_is_a_hold_that_the_bundle_resolves() {
    let (grant, mut site) = produced();
    let first = site.bundle(0);
    site.produce(&grant, 3);
    let second = site.bundle(32);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let outcome = hq.reconcile(SHENZHEN, &second);
    assert_eq!(outcome.report.verdict, Verdict::Hold);
    let finding = &outcome.report.findings[0];
    assert_eq!((finding.kind, finding.row), (FindingKind::MissingBundle, Some(1)));
    assert!(!outcome.advanced);
    assert_eq!(hq.reconcile(SHENZHEN, &first).report.verdict, Verdict::Clean);
    assert_eq!(hq.reconcile(SHENZHEN, &second).report.verdict, Verdict::Clean);
}

#[test]
fn a_bundle_that_leaves_out_a_node_is_not_clean() {
    let (grant, site) = produced();
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    hq.reconcile(SHENZHEN, &site.bundle(0));
    let nothing = hq.reconcile(SHENZHEN, &body(SHENZHEN, &[]));
    assert_eq!(nothing.report.verdict, Verdict::Breach);
    assert!(!nothing.advanced);
    let mut second = Site::new(SHENZHEN);
    second.node = "n2".to_owned();
    second.rows.clear();
    second.start();
    let outcome = hq.reconcile(SHENZHEN, &second.bundle(0));
    assert_eq!(outcome.report.verdict, Verdict::Hold);
    let finding = &outcome.report.findings[0];
    assert_eq!((finding.kind, finding.node.as_str()), (FindingKind::MissingBundle, "n1"));
}

#[test]
fn r8_two_ledgers_of_one_node_are_a_fork() {
    let (grant, site) = produced();
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    hq.reconcile(SHENZHEN, &site.bundle(0));
    let mut copy = Site::new(SHENZHEN);
    copy.import(&grant);
    copy.now_ms += 1;
    copy.produce(&grant, 12);
    // The first row that differs; from the head on, that one.
    for (from, row) in [(0, 3), (32, 32)] {
        let outcome = hq.reconcile(SHENZHEN, &copy.bundle(from));
        let finding = &outcome.report.findings[0];
        assert_eq!((finding.kind, finding.row), (FindingKind::Fork, Some(row)));
        assert!(!outcome.advanced);
    }
}

#[test]
fn rows_of_another_site_are_a_breach() {
    let grant = grant(1, HANOI);
    let mut hanoi = Site::new(HANOI);
    hanoi.import(&grant);
    hanoi.produce(&grant, 2);
    // Signed by its own custody, shown as Shenzhen's.
    let (outcome, _) = reconcile(&grant, &hanoi.bundle(0));
    assert_eq!(outcome.report.findings[0].kind, FindingKind::Signature);
    // Signed by Shenzhen, which says that they are its own.
    let mut checkpoint = hanoi.checkpoint(0);
    SHENZHEN.clone_into(&mut checkpoint.cluster);
    let relabelled = body(SHENZHEN, &[(checkpoint, hanoi.rows)]);
    assert_refused(&grant, &relabelled, FindingKind::OtherSite, 1);
    // Shenzhen uses Hanoi's entitlement.
    let mut shenzhen = Site::new(SHENZHEN);
    shenzhen.import(&grant);
    let (outcome, _) = reconcile(&grant, &shenzhen.bundle(0));
    let first = &outcome.report.findings[0];
    assert_eq!((first.kind, first.row), (FindingKind::OtherSite, Some(2)));
}

#[test]
fn one_device_at_two_sites_is_a_breach_and_named() {
    let grants = [grant(1, SHENZHEN), grant(2, HANOI)];
    let mut hq = Headquarters::with(&grants);
    let mut shenzhen = Site::new(SHENZHEN);
    shenzhen.import(&grants[0]);
    shenzhen.provision(&grants[0], "same");
    assert_eq!(hq.reconcile(SHENZHEN, &shenzhen.bundle(0)).report.verdict, Verdict::Clean);
    let mut hanoi = Site::new(HANOI);
    hanoi.import(&grants[1]);
    hanoi.provision(&grants[1], "same");
    let report = hq.reconcile(HANOI, &hanoi.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::Breach);
    // Subject and public key are those of the other device; the serials have their own ranges.
    let found: Vec<_> = report.findings.iter().map(|f| (f.kind, f.row)).collect();
    assert_eq!(found, [(FindingKind::Duplicate, Some(3)), (FindingKind::Duplicate, Some(4))]);
}

#[test]
fn one_unit_too_many_in_an_interval_is_a_breach_and_named() {
    let (grant, mut site) = produced();
    site.now_ms += 2_400;
    // Rows 33 and 34: the fifth within ten seconds.
    site.provision(&grant, "too-fast");
    assert_breach(&grant, &site, FindingKind::Rate, 33);
}

#[test]
fn an_unknown_measurement_is_a_breach_and_named() {
    let (grant, mut site) = produced();
    site.plugin = [8; 32];
    let event = site.change(&grant, 9, "1-9", UnitChange::Scrapped, Some(UnitState::Confirmed));
    site.call(vec![(event, Some(&grant.entitlement))]);
    assert_breach(&grant, &site, FindingKind::Measurement, 33);
}

#[test]
fn counters_that_do_not_add_up_or_follow_are_a_breach_and_named() {
    let (grant, honest) = produced();
    let mut site = honest.clone();
    site.counters.get_mut(&grant.entitlement).unwrap().lost += 1;
    site.produce(&grant, 1);
    // Both rows of the provisioning and that of the confirmation.
    let (outcome, _) = reconcile(&grant, &site.bundle(0));
    assert_eq!(outcome.report.findings[0].kind, FindingKind::Equation);
    assert_eq!(outcome.report.findings[0].row, Some(33));

    // A unit that vanished: the sum holds, but no row says so.
    let mut site = honest.clone();
    let counters = site.counters.get_mut(&grant.entitlement).unwrap();
    (counters.unused, counters.returned) = (counters.unused - 1, counters.returned + 1);
    site.produce(&grant, 1);
    assert_breach(&grant, &site, FindingKind::Equation, 33);

    // Only the checkpoint says so.
    let mut site = honest;
    let counters = site.counters.get_mut(&grant.entitlement).unwrap();
    (counters.unused, counters.lost) = (counters.unused - 1, counters.lost + 1);
    assert_breach(&grant, &site, FindingKind::Equation, 32);
}

#[test]
fn a_row_without_its_counters_is_a_breach() {
    let (grant, mut site) = produced();
    site.now_ms += 2_500;
    let event = site.change(&grant, 10, "x", UnitChange::Reserved, None);
    site.call(vec![(event, None)]);
    assert_breach(&grant, &site, FindingKind::Equation, 33);
}

#[test]
fn a_unit_that_is_drawn_twice_or_becomes_another_device_is_a_breach() {
    let (grant, honest) = produced();
    let mut site = honest.clone();
    let event = Event::Unit(Box::new(unit_event(&grant, 3, "y", UnitChange::Issued)));
    site.call(vec![(event, Some(&grant.entitlement))]);
    assert_breach(&grant, &site, FindingKind::Transition, 33);

    let mut site = honest;
    let from = Some(UnitState::Confirmed);
    let event = site.change(&grant, 3, "y", UnitChange::Scrapped, from);
    site.call(vec![(event, Some(&grant.entitlement))]);
    assert_breach(&grant, &site, FindingKind::Transition, 33);
}

/// A provisioning whose issuing row was changed.
fn issued(edit: impl FnOnce(&mut crate::row::UnitEvent)) -> (Grant, Site) {
    let (grant, mut site) = produced();
    site.now_ms += 2_500;
    let Event::Unit(mut unit) = site.change(&grant, 10, "x", UnitChange::Issued, None) else {
        unreachable!()
    };
    edit(&mut unit);
    site.call(vec![(Event::Unit(unit), Some(&grant.entitlement))]);
    (grant, site)
}

#[test]
fn a_certificate_that_is_not_the_unit_s_is_a_breach() {
    let serial = |number, unit, ordinal| {
        let serial = crate::certificate::CertificateSerial { number, unit, ordinal };
        Some(serial.to_bytes().to_vec())
    };
    let wrong = [serial(2, 10, 0), serial(1, 9, 0), serial(1, 10, 1), Some(vec![1]), None];
    for wrong in wrong {
        let (grant, site) = issued(|unit| unit.certificate_serial = wrong);
        assert_breach(&grant, &site, FindingKind::Certificate, 33);
    }
    let (grant, site) = issued(|unit| unit.key_hash = None);
    assert_breach(&grant, &site, FindingKind::Certificate, 33);
}

#[test]
fn keys_serials_and_subjects_against_the_grant_are_a_breach() {
    let (grant, site) = issued(|unit| unit.key_hash = Some(sha256(b"key of 1-3")));
    assert_breach(&grant, &site, FindingKind::Duplicate, 33);
    let (grant, site) = issued(|unit| unit.serial = Some("T1-0000118".to_owned()));
    assert_breach(&grant, &site, FindingKind::Serial, 33);
    let (grant, site) = issued(|unit| unit.serial = None);
    assert_breach(&grant, &site, FindingKind::Serial, 33);
    let (grant, site) = issued(|unit| unit.subject = "1-3".to_owned());
    assert_breach(&grant, &site, FindingKind::Duplicate, 33);
    let (mut grant, site) = issued(|_| {});
    let listed = (0..10).map(|unit| format!("1-{unit}")).collect();
    grant.product.subjects = Some(listed);
    let mut relisted = Site::new(SHENZHEN);
    relisted.import(&grant);
    relisted.produce(&grant, 10);
    relisted.now_ms = site.now_ms;
    let event = relisted.change(&grant, 10, "x", UnitChange::Issued, None);
    relisted.call(vec![(event, Some(&grant.entitlement))]);
    assert_breach(&grant, &relisted, FindingKind::Subject, 33);
}

#[test]
fn units_beyond_the_total_are_a_breach() {
    let mut grant = grant(1, SHENZHEN);
    (grant.terms.total, grant.terms.rates) = (3, Vec::new());
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 3);
    site.counters.get_mut(&grant.entitlement).unwrap().unused = 1;
    site.provision(&grant, "one-too-many");
    let (outcome, _) = reconcile(&grant, &site.bundle(0));
    assert_eq!(outcome.report.verdict, Verdict::Breach);
    assert_eq!(outcome.report.findings[0].kind, FindingKind::Total);
    assert_eq!(outcome.report.findings[0].row, Some(12));
}

#[test]
fn a_grant_that_was_changed_or_imported_twice_is_a_breach() {
    let grant = grant(1, SHENZHEN);
    let mut wider = grant.clone();
    wider.terms.total = 200;
    let mut site = Site::new(SHENZHEN);
    site.import(&wider);
    let (outcome, _) = reconcile(&grant, &site.bundle(0));
    let first = &outcome.report.findings[0];
    assert_eq!((first.kind, first.row), (FindingKind::Grant, Some(2)));
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.import(&grant);
    assert_breach(&grant, &site, FindingKind::Grant, 3);
}

#[test]
fn more_without_a_receipt_than_allowed_is_a_breach() {
    let (grant, mut site) = produced();
    site.produce(&grant, 11);
    let (outcome, _) = reconcile(&grant, &site.bundle(0));
    let kinds: Vec<_> = outcome.report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::AuditReturn]);
}

#[test]
fn a_reservation_outside_of_the_window_is_a_breach() {
    let (grant, mut site) = produced();
    site.now_ms = grant.terms.not_after + 1;
    site.provision(&grant, "late");
    assert_breach(&grant, &site, FindingKind::Window, 33);
}

#[test]
fn a_wrong_or_missing_proof_is_a_breach() {
    let edits: [fn(&mut crate::row::UnitEvent); 4] = [
        |unit| unit.proof = None,
        |unit| unit.proof.as_mut().unwrap().nonce[0] ^= 1,
        |unit| unit.proof.as_mut().unwrap().signature[0] ^= 1,
        // A proof by another key, over the right bytes.
        |unit| {
            let other = unit_event(&grant(1, SHENZHEN), 10, "z", UnitChange::Confirmed);
            unit.proof = other.proof;
        },
    ];
    for edit in edits {
        let (grant, mut site) = issued(|_| {});
        let from = Some(UnitState::Issued);
        let event = site.change(&grant, 10, "x", UnitChange::Confirmed, from);
        let Event::Unit(mut unit) = event else { unreachable!() };
        edit(&mut unit);
        site.call(vec![(Event::Unit(unit), Some(&grant.entitlement))]);
        assert_breach(&grant, &site, FindingKind::Proof, 34);
    }
}

#[test]
fn scrap_beyond_the_allowance_needs_approval() {
    for (approved, verdict) in [(false, Verdict::Breach), (true, Verdict::Clean)] {
        let (grant, mut site) = produced();
        for unit in 0..3 {
            let subject = format!("1-{unit}");
            let from = Some(UnitState::Confirmed);
            let scrap = site.change(&grant, unit, &subject, UnitChange::Scrapped, from);
            let mut rows = vec![(scrap, Some(grant.entitlement.as_str()))];
            if approved && unit == 2 {
                let act = "scrap".to_owned();
                let approvers = vec!["ada".to_owned(), "ben".to_owned()];
                let event = Event::Approved { act, request_digest: [0; 32], approvers };
                rows.insert(0, (event, None));
            }
            site.call(rows);
        }
        let (outcome, _) = reconcile(&grant, &site.bundle(0));
        assert_eq!(outcome.report.verdict, verdict, "{:?}", outcome.report.findings);
    }
}

#[test]
fn r10_a_clock_that_steps_back_is_a_hold() {
    let earlier = |by_ms: u64| {
        let (grant, mut site) = produced();
        let note = |text: &str| vec![(Event::Note { text: text.to_owned() }, None)];
        site.now_ms += by_ms;
        site.call(note("later"));
        site.now_ms -= by_ms;
        site.call(note("earlier"));
        reconcile(&grant, &site.bundle(0)).0
    };
    assert_eq!(earlier(ROW_DELAY_MS_MAX).report.verdict, Verdict::Clean);
    let outcome = earlier(ROW_DELAY_MS_MAX + 1);
    assert_eq!(outcome.report.verdict, Verdict::Hold);
    assert_eq!(outcome.report.findings[0].kind, FindingKind::Clock);
    assert_eq!(outcome.report.findings[0].row, Some(34));
}

#[test]
fn r11_what_is_said_about_the_clock_needs_approvals_but_once_in_a_start() {
    let acknowledged = || {
        let (mark_before_ms, mark_after_ms) = (START_MS, START_MS + 1);
        (Event::ClockAcknowledged { mark_before_ms, mark_after_ms }, None)
    };
    let lowered = || {
        let (mark_before_ms, mark_after_ms) = (START_MS, START_MS - 1);
        (Event::ClockAcknowledged { mark_before_ms, mark_after_ms }, None)
    };
    let approved = || {
        let (act, approvers) = ("lower-clock".to_owned(), vec!["anna".to_owned()]);
        (Event::Approved { act, request_digest: [5; 32], approvers }, None)
    };
    let cases = [
        (vec![vec![acknowledged()]], Verdict::CleanWithNotes),
        (vec![vec![acknowledged()], vec![acknowledged()]], Verdict::Breach),
        (vec![vec![acknowledged()], vec![approved(), acknowledged()]], Verdict::CleanWithNotes),
        (vec![vec![lowered()]], Verdict::Breach),
        (vec![vec![approved(), lowered()]], Verdict::CleanWithNotes),
        // Approvals of another call are another call's.
        (vec![vec![approved()], vec![lowered()]], Verdict::Breach),
    ];
    for (calls, verdict) in cases {
        let (grant, mut site) = produced();
        for call in calls {
            site.call(call);
        }
        let (outcome, _) = reconcile(&grant, &site.bundle(0));
        assert_eq!(outcome.report.verdict, verdict, "{:?}", outcome.report.findings);
        assert!(outcome.report.findings.iter().all(|found| found.kind == FindingKind::Clock));
    }
    let (grant, mut site) = produced();
    site.call(vec![acknowledged()]);
    site.start();
    site.call(vec![acknowledged()]);
    let (outcome, _) = reconcile(&grant, &site.bundle(0));
    assert_eq!(outcome.report.verdict, Verdict::CleanWithNotes);
}

#[test]
fn r13_a_restart_gives_no_unit_more() {
    // Four in any ten seconds; the site starts again after the fourth, on another day.
    for (wait_ms, verdict) in [(9_999, Verdict::Breach), (10_000, Verdict::Clean)] {
        let grant = grant(1, SHENZHEN);
        let mut site = Site::new(SHENZHEN);
        site.import(&grant);
        for number in 0..4 {
            site.provision(&grant, &format!("first-{number}"));
        }
        site.now_ms += 86_000_000;
        site.start();
        site.now_ms += wait_ms;
        site.provision(&grant, "second");
        let (outcome, _) = reconcile(&grant, &site.bundle(0));
        assert_eq!(outcome.report.verdict, verdict, "{:?}", outcome.report.findings);
        let rate = outcome.report.findings.iter().all(|found| found.kind == FindingKind::Rate);
        assert!(rate, "{:?}", outcome.report.findings);
    }
}

#[test]
fn an_unexplained_restore_is_a_hold() {
    let (grant, site) = produced();
    let replaces =
        |sequence| HeadRef { node: "n1".to_owned(), incarnation: 1, sequence, hash: [6; 32] };
    let cases = [
        (None, Verdict::Hold),
        (Some(replaces(40)), Verdict::Hold),
        (Some(replaces(32)), Verdict::Breach),
    ];
    for (replaces, verdict) in cases {
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        hq.reconcile(SHENZHEN, &site.bundle(0));
        let mut restored = site.clone();
        restored.rows.clear();
        restored.incarnation = 2;
        let started = crate::row::Started { replaces, ..restored.started() };
        restored.call(vec![(Event::Started(started), None)]);
        let outcome = hq.reconcile(SHENZHEN, &restored.bundle(0));
        assert_eq!(outcome.report.verdict, verdict, "{:?}", outcome.report.findings);
    }
}

#[test]
fn a_bundle_that_changes_between_its_readings_is_not_taken() {
    let (grant, site) = produced();
    let mut other = site.clone();
    other.rows.truncate(31);
    let mut body_read = Row::decode(&site.rows[31]).unwrap().body;
    body_read.principal.push('x');
    let entitled = site.counters[&grant.entitlement].values();
    other.push(&RowBody { ..body_read }, &entitled);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let (first, second) = (site.bundle(0), other.bundle(0));
    let mut reconciler = Reconciler::new(SHENZHEN, sha256(&first), START_MS, SiteState::default());
    let mut world = World { orders: &hq.orders, register: &mut hq.register, verify: &Hashes };
    reconciler.feed(&first, &mut world).unwrap();
    reconciler.feed(&[], &mut world).unwrap();
    assert!(reconciler.is_whole());
    assert_eq!(reconciler.feed(&second, &mut world), Err(FeedError::Changed));
    assert!(reconciler.finish().is_none());
}
