//! What an honest site does is clean, however the bundles are cut, repeated or read.

use crate::{
    canonical::sha256,
    checkpoint::Position,
    directive::{Change, Directive},
    message::HeadRef,
    order,
    reconcile::{FindingKind, UnitRef, Verdict, tests::site::*},
    row::{Event, PluginActivation},
    unit::{UnitChange, UnitState},
};

#[test]
fn an_honest_bundle_is_clean_and_counted() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 10);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let outcome = hq.reconcile(SHENZHEN, &site.bundle(0));
    assert_eq!(outcome.report.findings, []);
    assert_eq!(outcome.report.verdict, Verdict::Clean);
    assert!(outcome.advanced);
    assert_eq!(outcome.report.rows, site.rows.len() as u64);
    assert_eq!(outcome.report.entitlements[0].counters, site.counters[&grant.entitlement]);
    assert_eq!(outcome.report.entitlements[0].devices, 10);
    assert_eq!(outcome.report.production.iter().map(|m| m.confirmed).sum::<u64>(), 10);
    let head = site.head();
    assert_eq!(
        outcome.heads,
        [HeadRef {
            node: "n1".to_owned(),
            incarnation: 1,
            sequence: head.sequence,
            hash: head.hash
        }]
    );
    assert_eq!(hq.register.units().filter(|(_, unit)| unit.proved).count(), 10);
}

#[test]
fn steps_of_any_size_give_the_same_report() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 5);
    let body = site.bundle(0);
    let mut reports = Vec::new();
    for step in [0, 1_000, 97, 1] {
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        hq.step = step;
        reports.push(hq.reconcile(SHENZHEN, &body).report);
    }
    assert!(reports.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(reports[0].verdict, Verdict::Clean);
}

#[test]
fn a_long_bundle_is_reconciled_in_bounded_memory() {
    let mut grant = grant(1, SHENZHEN);
    grant.terms.total = 2_000;
    grant.terms.audit_return.units = 2_000;
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 2_000);
    let body = site.bundle(0);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    hq.step = 64 << 10;
    let outcome = hq.reconcile(SHENZHEN, &body);
    assert_eq!(outcome.report.verdict, Verdict::Clean, "{:?}", outcome.report.findings);
    assert_eq!(outcome.report.entitlements[0].devices, 2_000);
    assert!(hq.encoded_bytes_max < 64 << 10, "{} bytes", hq.encoded_bytes_max);
    assert!(body.len() > 16 * hq.encoded_bytes_max);
}

#[test]
fn nodes_of_a_site_are_read_one_after_the_other() {
    let grants = [grant(1, SHENZHEN), grant(2, SHENZHEN)];
    let mut first = Site::new(SHENZHEN);
    first.import(&grants[0]);
    first.produce(&grants[0], 3);
    let mut second = Site::new(SHENZHEN);
    second.node = "n2".to_owned();
    second.rows.clear();
    second.start();
    second.import(&grants[1]);
    second.produce(&grants[1], 4);
    let nodes = [&first, &second].map(|site| (site.checkpoint(0), site.rows.clone()));
    let mut hq = Headquarters::with(&grants);
    let report = hq.reconcile(SHENZHEN, &body(SHENZHEN, &nodes)).report;
    assert_eq!(report.findings, []);
    let devices: Vec<_> = report.entitlements.iter().map(|found| found.devices).collect();
    assert_eq!(devices, [3, 4]);
}

#[test]
fn r14_repeated_and_overlapping_bundles_change_nothing() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 5);
    let first = site.bundle(0);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let held = hq.reconcile(SHENZHEN, &first).report;
    let end = site.head().sequence;
    let again = hq.reconcile(SHENZHEN, &first).report;
    assert_eq!(again.verdict, Verdict::Clean, "{:?}", again.findings);
    assert_eq!(again.rows_new, 0);
    assert_eq!(again.entitlements[0].counters, held.entitlements[0].counters);

    site.produce(&grant, 5);
    let longer = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
    assert_eq!(longer.verdict, Verdict::Clean, "{:?}", longer.findings);
    assert_eq!(longer.rows_new, site.rows.len() as u64 - end);
    let old = hq.reconcile(SHENZHEN, &first).report;
    assert_eq!(old.verdict, Verdict::Clean, "{:?}", old.findings);
    assert_eq!(old.entitlements[0].counters, site.counters[&grant.entitlement]);
}

#[test]
fn bundles_follow_each_other_across_restarts() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let mut from = 0;
    for _ in 0..4 {
        site.produce(&grant, 20);
        let report = hq.reconcile(SHENZHEN, &site.bundle(from)).report;
        assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
        from = site.head().sequence;
        site.now_ms += 1_000;
        site.start();
    }
    assert_eq!(hq.states[SHENZHEN].counters(&grant.entitlement).unwrap().confirmed, 80);
}

#[test]
fn every_way_that_a_unit_can_end_is_clean() {
    let mut grant = grant(1, SHENZHEN);
    grant.terms.max_units_per_subject = 2;
    grant.terms.rates.clear();
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    let entitlement = grant.entitlement.clone();
    let mut step = |unit, subject: &str, change, from| {
        let event = site.change(&grant, unit, subject, change, from);
        site.call(vec![(event, Some(&entitlement))]);
    };
    // Given back: the subject draws again.
    step(0, "a", UnitChange::Reserved, None);
    step(0, "a", UnitChange::Returned, Some(UnitState::Reserved));
    step(1, "a", UnitChange::Issued, None);
    step(1, "a", UnitChange::Released, Some(UnitState::Issued));
    step(1, "a", UnitChange::AttemptFailed, Some(UnitState::Issued));
    step(1, "a", UnitChange::Confirmed, Some(UnitState::Issued));
    step(1, "a", UnitChange::Released, Some(UnitState::Confirmed));
    step(1, "a", UnitChange::Scrapped, Some(UnitState::Confirmed));
    // Failed for good.
    step(2, "b", UnitChange::Issued, None);
    step(2, "b", UnitChange::Failed, Some(UnitState::Issued));
    step(3, "c", UnitChange::Reserved, None);
    let closed = site.counters.get_mut(&entitlement).unwrap();
    let destroyed = std::mem::take(&mut closed.unused);
    closed.destroyed = destroyed;
    let event = Event::Closed { entitlement: entitlement.clone(), destroyed };
    site.call(vec![(event, Some(&entitlement))]);

    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
    let found = &report.entitlements[0];
    assert_eq!((found.retries, found.attempts_failed, found.closed), (2, 1, true));
    assert_eq!((found.counters.returned, found.counters.scrapped), (1, 1));
    assert_eq!((found.counters.failed, found.counters.reserved), (1, 1));
}

#[test]
fn a_device_that_lost_its_key_gets_one_more_unit_where_the_terms_allow_it() {
    use UnitChange::{Failed, KeyLost};
    let cases = [
        (1, KeyLost, ("operator", "mei"), Verdict::Breach),
        (2, KeyLost, ("operator", "mei"), Verdict::Clean),
        // No station is believed, and who failed otherwise has its key still.
        (2, KeyLost, ("station", "t1"), Verdict::Breach),
        (2, KeyLost, ("station", "t2"), Verdict::Breach),
        (2, Failed, ("station", "t1"), Verdict::Breach),
    ];
    for (allowed, change, who, verdict) in cases {
        let mut grant = grant(1, SHENZHEN);
        grant.terms.max_units_per_subject = allowed;
        let mut site = Site::new(SHENZHEN);
        site.import(&grant);
        site.provision(&grant, "a");
        let event = site.change(&grant, 0, "a", change, Some(UnitState::Issued));
        site.call_as(who, vec![(event, Some(&grant.entitlement))]);
        let from = None;
        let event = site.change(&grant, 1, "a", UnitChange::Issued, from);
        let Event::Unit(mut unit) = event else { unreachable!() };
        unit.key_hash = Some(sha256(b"a new key"));
        unit.certificate_hash = Some(sha256(b"a new certificate"));
        site.call(vec![(Event::Unit(unit), Some(&grant.entitlement))]);
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
        assert_eq!(report.verdict, verdict, "{:?}", report.findings);
    }
}

/// The device is out there with the key that it is said to have lost.
#[test]
fn a_unit_that_is_given_back_frees_no_device_that_had_one_before() {
    for (elsewhere, verdict) in [(false, Verdict::Clean), (true, Verdict::Breach)] {
        let mut grants = [grant(1, SHENZHEN), grant(2, SHENZHEN)];
        for grant in &mut grants {
            grant.terms.max_units_per_subject = 2;
        }
        let mut site = Site::new(SHENZHEN);
        for grant in &grants {
            site.import(grant);
        }
        let first = &grants[0];
        site.provision(first, "a");
        let lost = site.change(first, 0, "a", UnitChange::KeyLost, Some(UnitState::Issued));
        site.call_as(("operator", "mei"), vec![(lost, Some(&first.entitlement))]);
        for (change, from) in
            [(UnitChange::Reserved, None), (UnitChange::Returned, Some(UnitState::Reserved))]
        {
            let event = site.change(first, 1, "a", change, from);
            site.call(vec![(event, Some(&first.entitlement))]);
        }
        let (grant, unit) = if elsewhere { (&grants[1], 0) } else { (first, 2) };
        let event = site.change(grant, unit, "a", UnitChange::Reserved, None);
        site.call(vec![(event, Some(&grant.entitlement))]);
        let report = Headquarters::with(&grants).reconcile(SHENZHEN, &site.bundle(0)).report;
        assert_eq!(report.verdict, verdict, "{:?}", report.findings);
    }
}

#[test]
fn decisions_that_commit_in_another_order_are_clean() {
    let mut grant = grant(1, SHENZHEN);
    grant.terms.rates[0].units = 2;
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    // Decided at 11 s, 8 s, 21 s, 20 s: never more than two in ten seconds.
    for (subject, seconds) in [("a", 11), ("b", 8), ("c", 21), ("d", 20)] {
        site.now_ms = START_MS + seconds * 1_000;
        site.provision(&grant, subject);
    }
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
    assert_eq!(report.findings, []);
}

#[test]
fn a_plugin_is_accepted_by_its_publisher_and_security_version() {
    for (version, verdict) in [(1, Verdict::Breach), (2, Verdict::Clean)] {
        let mut grant = grant(1, SHENZHEN);
        grant.accepted_plugins.measurements.clear();
        grant.accepted_plugins.publishers =
            vec![crate::grant::Publisher { key_hash: [5; 32], security_version_min: 2 }];
        let mut site = Site::new(SHENZHEN);
        let activated = Event::PluginActivated(PluginActivation {
            name: "device-key".to_owned(),
            version: "1.0.0".to_owned(),
            security_version: version,
            measurement: PLUGIN,
            publishers: vec![[4; 32], [5; 32]],
        });
        site.call(vec![(activated, None)]);
        site.import(&grant);
        site.produce(&grant, 2);
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
        assert_eq!(report.verdict, verdict, "{:?}", report.findings);
    }
}

#[test]
fn directives_of_headquarters_are_clean_and_others_are_a_breach() {
    let grant = grant(1, SHENZHEN);
    let directive = Directive {
        version: crate::directive::VERSION,
        exporter: HQ.to_owned(),
        recipient: SHENZHEN.to_owned(),
        entitlement: grant.entitlement.clone(),
        number: 1,
        batch_ca: None,
        change: Change::Extend { units: 7, not_after: None },
        id: [1; 16],
        made_at: START_MS,
    };
    let digest = order::digest(order::DIRECTIVE, &crate::canonical::encode(&directive));
    for ordered in [true, false] {
        let mut site = Site::new(SHENZHEN);
        site.import(&grant);
        let counters = site.counters.get_mut(&grant.entitlement).unwrap();
        counters.credited += 7;
        counters.unused += 7;
        let event = Event::DirectiveImported {
            directive: digest,
            entitlement: grant.entitlement.clone(),
            change: directive.change,
            applied: 7,
        };
        site.call(vec![(event, Some(&grant.entitlement))]);
        site.produce(&grant, 3);
        let mut hq = Headquarters::with(std::slice::from_ref(&grant));
        if ordered {
            hq.orders.directives.insert(digest, directive.clone());
        }
        let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
        let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, if ordered { vec![] } else { vec![FindingKind::Directive] });
    }
}

#[test]
fn a_restore_by_ceremony_is_clean_with_notes() {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.produce(&grant, 5);
    let mut hq = Headquarters::with(std::slice::from_ref(&grant));
    hq.reconcile(SHENZHEN, &site.bundle(0));
    // The backup was made before the last row.
    let Position { sequence, hash } = site.position(site.head().sequence - 1);
    let head = HeadRef { node: "n1".to_owned(), incarnation: 1, sequence, hash };

    let mut restored = site.clone();
    restored.rows.clear();
    (restored.incarnation, restored.boot) = (2, site.boot + 1);
    let started = crate::row::Started { replaces: Some(head.clone()), ..restored.started() };
    restored.call(vec![(Event::Started(started), None)]);
    restored.call(vec![(Event::Restored { epoch: 2, backup: head }, None)]);
    // The backup has the last unit as issued; headquarters knows that it was confirmed.
    let counters = restored.counters.get_mut(&grant.entitlement).unwrap();
    (counters.confirmed, counters.lost) = (counters.confirmed - 1, counters.lost + 1);
    let subject = format!("{}-4", grant.number);
    let event = Event::Unit(Box::new(unit_event(&grant, 4, &subject, UnitChange::Lost)));
    restored.call(vec![(event, Some(&grant.entitlement))]);
    let counters = restored.counters.get_mut(&grant.entitlement).unwrap();
    (counters.unused, counters.lost) = (counters.unused - 10, counters.lost + 10);
    let lost = Event::UnusedLost { entitlement: grant.entitlement.clone(), units: 10 };
    restored.call(vec![(lost, Some(&grant.entitlement))]);
    restored.now_ms += 10_000;
    restored.produce(&grant, 5);
    let report = hq.reconcile(SHENZHEN, &restored.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::CleanWithNotes, "{:?}", report.findings);
    let unit = UnitRef { entitlement: grant.entitlement.clone(), unit: 9 };
    assert!(hq.register.units().any(|(found, _)| *found == unit));
    let known = UnitRef { entitlement: grant.entitlement.clone(), unit: 4 };
    let (_, kept) = hq.register.units().find(|(found, _)| **found == known).unwrap();
    assert_eq!(kept.state, UnitState::Confirmed, "what headquarters knows better stays");

    // The old copy goes on: a fork.
    site.produce(&grant, 1);
    let report = hq.reconcile(SHENZHEN, &site.bundle(0)).report;
    assert_eq!(report.verdict, Verdict::Breach);
    assert_eq!(report.findings[0].kind, FindingKind::Fork);
}
