//! What headquarters keeps of a site has its bounds, whatever the site writes.

use crate::{
    canonical::{Digest, encode, sha256},
    checkpoint::Position,
    grant::Grant,
    message::HeadRef,
    reconcile::{
        FindingKind, Outcome, Register, UnitRef, Verdict,
        state::{LEDGERS_MAX, NODES_MAX, PLUGINS_MAX, PUBLISHERS_MAX},
        tests::site::*,
    },
    row::{Event, PluginActivation, Started},
    unit::UnitChange,
};

const MIB: usize = 1 << 20;

/// Of a row's 64 KiB.
fn long() -> String {
    "x".repeat(60_000)
}

fn imported() -> (Grant, Site, Headquarters) {
    let grant = grant(1, SHENZHEN);
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    let hq = Headquarters::with(std::slice::from_ref(&grant));
    (grant, site, hq)
}

fn install(site: &mut Site, number: usize, name: String, publishers: usize) {
    let publishers: Vec<Digest> = (0..publishers).map(|one| sha256(&one.to_be_bytes())).collect();
    let measurement = sha256(&number.to_be_bytes());
    let version = name.clone();
    let installed =
        PluginActivation { name, version, security_version: 1, measurement, publishers };
    site.call(vec![(Event::PluginInstalled(installed), None)]);
}

fn kinds(outcome: &Outcome) -> Vec<FindingKind> {
    outcome.report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn p3_plugins_without_end_do_not_swell_what_is_kept() {
    let (_, mut site, mut hq) = imported();
    for number in 0..PLUGINS_MAX {
        let name = if number < 50 { "x".repeat(30_000) } else { String::new() };
        install(&mut site, number, name, PUBLISHERS_MAX);
    }
    // The same ones again are no more.
    install(&mut site, 7, String::new(), PUBLISHERS_MAX);
    let outcome = hq.reconcile(SHENZHEN, &site.bundle(0));
    assert_eq!(outcome.report.verdict, Verdict::Clean, "{:?}", outcome.report.findings);
    assert!(encode(&outcome.state).len() < MIB);
    let held = site.head().sequence;
    for number in 0..1_000 {
        install(&mut site, PLUGINS_MAX + number, String::new(), PUBLISHERS_MAX);
    }
    install(&mut site, 1, String::new(), 1_800);
    let outcome = hq.reconcile(SHENZHEN, &site.bundle(held));
    assert!(kinds(&outcome).iter().all(|kind| *kind == FindingKind::Measurement));
    assert_eq!(outcome.report.verdict, Verdict::Breach);
    assert!(encode(&outcome.state).len() < MIB);
}

#[test]
fn p3_a_plugin_with_more_publishers_than_can_be_is_a_breach() {
    let (_, mut site, mut hq) = imported();
    install(&mut site, 1, String::new(), PUBLISHERS_MAX + 1);
    let outcome = hq.reconcile(SHENZHEN, &site.bundle(0));
    assert_eq!(kinds(&outcome), [FindingKind::Measurement]);
}

#[test]
fn p3_nodes_without_end_do_not_swell_what_is_kept() {
    for (nodes, verdict) in [(NODES_MAX, Verdict::Clean), (NODES_MAX + 1, Verdict::Breach)] {
        let parts: Vec<_> = (0..nodes)
            .map(|number| {
                let mut site = Site::new(SHENZHEN);
                site.node = format!("n{number}");
                site.rows.clear();
                site.start();
                (site.checkpoint(0), site.rows)
            })
            .collect();
        let outcome = Headquarters::default().reconcile(SHENZHEN, &body(SHENZHEN, &parts));
        assert_eq!(outcome.report.verdict, verdict, "{:?}", outcome.report.findings);
    }
}

#[test]
fn p3_restores_without_end_do_not_swell_what_is_kept() {
    let (_, mut site, mut hq) = imported();
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);
    for incarnation in 2..=LEDGERS_MAX as u64 + 1 {
        let Position { sequence, hash } = site.head();
        let head =
            HeadRef { node: site.node.clone(), incarnation: incarnation - 1, sequence, hash };
        site.rows.clear();
        (site.incarnation, site.boot) = (incarnation, site.boot + 1);
        let started = Started { replaces: Some(head.clone()), ..site.started() };
        site.call(vec![(Event::Started(started), None)]);
        site.call(vec![(Event::Restored { epoch: incarnation, backup: head }, None)]);
        let outcome = hq.reconcile(SHENZHEN, &site.bundle(0));
        let one_too_many = incarnation > LEDGERS_MAX as u64;
        let verdict = if one_too_many { Verdict::Breach } else { Verdict::CleanWithNotes };
        assert_eq!(outcome.report.verdict, verdict, "{:?}", outcome.report.findings);
    }
    assert!(encode(&hq.states[SHENZHEN]).len() < MIB / 32);
}

#[test]
fn p3_no_long_name_goes_into_state_or_register() {
    let (grant, mut site, mut hq) = imported();
    let approved =
        Event::Approved { act: long(), request_digest: [0; 32], approvers: vec!["ada".to_owned()] };
    site.call(vec![(approved, None)]);
    let unit = site.provision(&grant, "a");
    let station = long();
    let entitlement = grant.entitlement.clone();
    site.call(vec![(Event::HandedOver { entitlement, unit, station }, None)]);
    // A unit whose serial number is too long, one whose certificate's is, one of nobody's.
    let mut events = Vec::new();
    for number in 1..4 {
        let subject = format!("unit-{number}");
        let event = site.change(&grant, number, &subject, UnitChange::Reserved, None);
        let Event::Unit(mut event) = event else { panic!("a unit's row") };
        match number {
            1 => event.serial = Some(long()),
            2 => event.certificate_serial = Some(vec![1; 60_000]),
            _ => {}
        }
        events.push(Event::Unit(event));
    }
    for event in events.drain(..2) {
        site.call(vec![(event, Some(&grant.entitlement))]);
    }
    site.station = long();
    site.call(vec![(events.remove(0), Some(&grant.entitlement))]);
    let outcome = hq.reconcile(SHENZHEN, &site.bundle(0));
    for kind in [FindingKind::Station, FindingKind::Serial, FindingKind::Certificate] {
        assert!(kinds(&outcome).contains(&kind), "{kind:?}: {:?}", outcome.report.findings);
    }
    assert!(encode(&outcome.state).len() < 8_192);
    for unit in 0..4 {
        let unit = UnitRef { entitlement: grant.entitlement.clone(), unit };
        let record = hq.register.unit(&unit).unwrap();
        assert!(record.is_none_or(|record| encode(&record).len() < 1_024), "{unit:?}");
    }
}

#[test]
fn an_entitlement_that_has_ended_keeps_no_rates() {
    let (grant, mut site, mut hq) = imported();
    site.produce(&grant, 20);
    assert_eq!(hq.reconcile(SHENZHEN, &site.bundle(0)).report.verdict, Verdict::Clean);
    let before = encode(&hq.states[SHENZHEN]).len();
    let held = site.head().sequence;
    let counters = site.counters.get_mut(&grant.entitlement).unwrap();
    let destroyed = std::mem::take(&mut counters.unused);
    counters.destroyed = destroyed;
    let event = Event::Closed { entitlement: grant.entitlement.clone(), destroyed };
    site.call(vec![(event, Some(&grant.entitlement))]);
    let last = site.head().sequence;
    for from in [held, last] {
        let outcome = hq.reconcile(SHENZHEN, &site.bundle(from));
        assert_eq!(outcome.report.verdict, Verdict::Clean, "{:?}", outcome.report.findings);
    }
    assert!(encode(&hq.states[SHENZHEN]).len() < before);
}
