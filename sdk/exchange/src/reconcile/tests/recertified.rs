//! Further certificates of a unit: for its one key, one after the other, within the terms.

use super::site::{Headquarters, SHENZHEN, Site, grant, unit_event};
use crate::{
    canonical::sha256,
    certificate::CertificateSerial,
    grant::Grant,
    reconcile::{FindingKind, Report, Verdict},
    row::{Event, UnitEvent},
    unit::{UnitChange, UnitState},
};

/// A unit that was issued, under terms that allow three certificates.
fn issued() -> (Grant, Site) {
    let mut grant = grant(1, SHENZHEN);
    grant.terms.certificates_per_unit = 3;
    let mut site = Site::new(SHENZHEN);
    site.import(&grant);
    site.provision(&grant, "a");
    (grant, site)
}

/// A row about the certificate with this ordinal.
fn further(grant: &Grant, ordinal: u16) -> UnitEvent {
    let serial = CertificateSerial { number: grant.number, unit: 0, ordinal };
    UnitEvent {
        certificate_hash: Some(sha256(&[9, ordinal.to_be_bytes()[1]])),
        certificate_serial: Some(serial.to_bytes().to_vec()),
        ..unit_event(grant, 0, "a", UnitChange::Recertified)
    }
}

fn report(grant: &Grant, mut site: Site, rows: Vec<UnitEvent>) -> Report {
    for row in rows {
        site.call(vec![(Event::Unit(Box::new(row)), Some(&grant.entitlement))]);
    }
    let mut hq = Headquarters::with(std::slice::from_ref(grant));
    hq.reconcile(SHENZHEN, &site.bundle(0)).report
}

#[test]
fn further_certificates_for_the_units_key_are_clean_also_once_it_is_confirmed() {
    let (grant, mut site) = issued();
    site.call(vec![(Event::Unit(Box::new(further(&grant, 1))), Some(&grant.entitlement))]);
    site.confirm(&grant, 0, "a");
    let rows = vec![further(&grant, 2), unit_event(&grant, 0, "a", UnitChange::Released)];
    let report = report(&grant, site, rows);
    assert_eq!(report.verdict, Verdict::Clean, "{:?}", report.findings);
}

#[test]
fn a_certificate_too_many_or_twice_or_for_another_key_is_a_breach() {
    let (grant, site) = issued();
    let beyond = vec![further(&grant, 1), further(&grant, 2), further(&grant, 3)];
    let twice = vec![further(&grant, 1), further(&grant, 1)];
    let left_out = vec![further(&grant, 2)];
    let again = vec![further(&grant, 0)];
    let other_unit = CertificateSerial { number: grant.number, unit: 1, ordinal: 1 };
    let other_unit = Some(other_unit.to_bytes().to_vec());
    let other_unit = vec![UnitEvent { certificate_serial: other_unit, ..further(&grant, 1) }];
    let no_key = vec![UnitEvent { key_hash: None, ..further(&grant, 1) }];
    for rows in [beyond, twice, left_out, again, other_unit, no_key] {
        let report = report(&grant, site.clone(), rows);
        assert_eq!(report.verdict, Verdict::Breach);
        let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
        assert!(kinds.contains(&FindingKind::Certificate), "{kinds:?}");
    }
    let other_key = UnitEvent { key_hash: Some([4; 32]), ..further(&grant, 1) };
    let report = report(&grant, site, vec![other_key]);
    assert_eq!(report.verdict, Verdict::Breach);
}

#[test]
fn a_unit_that_has_ended_gets_no_further_certificate() {
    let (grant, mut site) = issued();
    let failed = site.change(&grant, 0, "a", UnitChange::Failed, Some(UnitState::Issued));
    site.call(vec![(failed, Some(&grant.entitlement))]);
    let report = report(&grant, site, vec![further(&grant, 1)]);
    assert_eq!(report.findings[0].kind, FindingKind::Transition);
}
