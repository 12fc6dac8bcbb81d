//! An honest ledger, tampered with at every row and in every way that whoever carries a bundle,
//! runs the plugin or copies the host could: it is never clean, and the row is named.

use proptest::prelude::*;

use crate::{
    canonical::encode,
    grant::Grant,
    reconcile::{FindingKind, Outcome, Severity, Verdict, tests::site::*},
    row::{Event, PluginRef, ROW_DELAY_MS_MAX, Row, RowBody},
    unit::{UnitChange, UnitState},
};

/// What can be done to a bundle on its way: the checkpoint is the host's, and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    Dropped,
    SwappedWithNext,
    Repeated,
    /// One bit of one byte.
    Edited,
    /// The row of another ledger with the same number.
    Replaced,
    /// The bundle ends before the row.
    CutOff,
    /// The row is of another site.
    OfAnotherSite,
}

const CARRIED: [Carried; 7] = [
    Carried::Dropped,
    Carried::SwappedWithNext,
    Carried::Repeated,
    Carried::Edited,
    Carried::Replaced,
    Carried::CutOff,
    Carried::OfAnotherSite,
];

/// A site that has done a bit of everything, and the same site a millisecond later.
fn sites() -> (Grant, Site, Site, Site) {
    let grant = grant(1, SHENZHEN);
    let make = |cluster: &str, later_ms: u64| {
        let mut site = Site::new(cluster);
        site.now_ms += later_ms;
        site.import(&grant);
        site.produce(&grant, 4);
        site.start();
        site.call(vec![(Event::Note { text: "a note".to_owned() }, None)]);
        let scrap = site.change(&grant, 1, "1-1", UnitChange::Scrapped, confirmed());
        site.call(vec![(scrap, Some(&grant.entitlement))]);
        site.produce(&grant, 3);
        site
    };
    let (honest, other) = (make(SHENZHEN, 0), make(SHENZHEN, 1));
    let foreign = make(HANOI, 0);
    (grant, honest, other, foreign)
}

fn confirmed() -> Option<UnitState> {
    Some(UnitState::Confirmed)
}

fn judged(grant: &Grant, body: &[u8]) -> Outcome {
    Headquarters::with(std::slice::from_ref(grant)).reconcile(SHENZHEN, body)
}

/// The bundle with the row at `place` (from 0) tampered with; `None` where that can't be done.
fn carried(site: &Site, others: (&Site, &Site), how: Carried, place: usize) -> Option<Vec<u8>> {
    let mut rows = site.rows.clone();
    match how {
        Carried::Dropped => drop(rows.remove(place)),
        Carried::SwappedWithNext => {
            (place + 1 < rows.len()).then_some(())?;
            rows.swap(place, place + 1);
        }
        Carried::Repeated => rows.insert(place, rows[place].clone()),
        Carried::Edited => {
            let middle = rows[place].len() / 2;
            rows[place][middle] ^= 1;
        }
        Carried::Replaced => {
            let other = &others.0.rows[place];
            (*other != rows[place]).then_some(())?;
            rows[place].clone_from(other);
        }
        Carried::CutOff => rows.truncate(place),
        Carried::OfAnotherSite => rows[place].clone_from(&others.1.rows[place]),
    }
    Some(body(SHENZHEN, &[(site.checkpoint(0), rows)]))
}

#[test]
fn r14_no_row_can_be_tampered_with_on_the_way_unseen() {
    let (grant, honest, other, foreign) = sites();
    let clean = judged(&grant, &honest.bundle(0));
    assert_eq!(clean.report.verdict, Verdict::Clean, "{:?}", clean.report.findings);
    let mut judgements = 0;
    for how in CARRIED {
        for place in 0..honest.rows.len() {
            let Some(tampered) = carried(&honest, (&other, &foreign), how, place) else {
                continue;
            };
            judgements += 1;
            let outcome = judged(&grant, &tampered);
            let case = format!("{how:?} at row {}: {:?}", place + 1, outcome.report.findings);
            assert_eq!(outcome.report.verdict, Verdict::Breach, "{case}");
            assert!(!outcome.advanced, "{case}");
            let row = outcome.report.findings[0].row.expect(&case);
            // A repeated row is out of place behind itself; else it is the row, or the one before
            // it whose successor does not fit.
            assert!((place as u64..=place as u64 + 1).contains(&row), "{case}");
        }
    }
    assert!(judgements > 6 * honest.rows.len());
}

#[test]
fn every_bit_of_a_row_is_vouched_for() {
    let (grant, honest, ..) = sites();
    for place in [0, 2, honest.rows.len() - 1] {
        for bit in 0..honest.rows[place].len() * 8 {
            let mut rows = honest.rows.clone();
            rows[place][bit / 8] ^= 1 << (bit % 8);
            let tampered = body(SHENZHEN, &[(honest.checkpoint(0), rows)]);
            let outcome = judged(&grant, &tampered);
            assert_eq!(outcome.report.verdict, Verdict::Breach, "bit {bit} of row {}", place + 1);
            assert!(!outcome.advanced);
        }
    }
}

/// What a host that lies could sign: the chain and the checkpoint are right, the row is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// The row never was.
    LeftOut,
    /// Another program did it.
    OtherPlugin,
    /// No program did it.
    NoPlugin,
    /// Another station did it.
    OtherStation,
    /// Much later, and the clock went back.
    Later,
    /// Long after the window.
    AfterTheWindow,
    /// Before the host made the last start.
    OtherBoot,
    /// A unit more is unused.
    OneUnusedMore,
    /// A unit was lost instead of made.
    OneLost,
    /// No counters.
    NoCounters,
    /// Another subject.
    OtherSubject,
    /// Another unit.
    OtherUnit,
    /// A unit beyond the total.
    BeyondTheTotal,
    /// Another key.
    OtherKey,
    /// Another certificate.
    OtherCertificate,
    /// Another serial number of the certificate.
    OtherSerial,
    /// A device's serial number that is none.
    NoSerial,
    /// Another proof of the device.
    OtherProof,
    /// Another entitlement.
    OtherEntitlement,
    /// Something else happened to the unit.
    Change(UnitChange),
}

const LIES: [Lie; 28] = [
    Lie::LeftOut,
    Lie::OtherPlugin,
    Lie::NoPlugin,
    Lie::OtherStation,
    Lie::Later,
    Lie::AfterTheWindow,
    Lie::OtherBoot,
    Lie::OneUnusedMore,
    Lie::OneLost,
    Lie::NoCounters,
    Lie::OtherSubject,
    Lie::OtherUnit,
    Lie::BeyondTheTotal,
    Lie::OtherKey,
    Lie::OtherCertificate,
    Lie::OtherSerial,
    Lie::NoSerial,
    Lie::OtherProof,
    Lie::OtherEntitlement,
    Lie::Change(UnitChange::Reserved),
    Lie::Change(UnitChange::Issued),
    Lie::Change(UnitChange::Confirmed),
    Lie::Change(UnitChange::Failed),
    Lie::Change(UnitChange::Scrapped),
    Lie::Change(UnitChange::Returned),
    Lie::Change(UnitChange::Lost),
    Lie::Change(UnitChange::AttemptFailed),
    Lie::Change(UnitChange::KeyLost),
];

/// The row with the lie in it; `None` where it would be the truth. The second one is the counters.
fn told(lie: Lie, mut row: Row) -> Option<(RowBody, Vec<u64>)> {
    let honest = row.clone();
    let mut counters = row.counters.map_or(Vec::new(), |counters| counters.values().to_vec());
    let body = &mut row.body;
    match lie {
        Lie::LeftOut => return None,
        Lie::OtherPlugin => {
            body.plugin = Some(PluginRef { name: "device-key".to_owned(), measurement: [8; 32] });
        }
        Lie::NoPlugin => body.plugin = None,
        Lie::OtherStation => body.principal = format!("{SHENZHEN}/station/t2"),
        Lie::Later => body.time_ms += ROW_DELAY_MS_MAX + 60_000,
        Lie::AfterTheWindow => body.time_ms += 100 * 86_400_000,
        Lie::OtherBoot => body.boot += 1,
        Lie::OneUnusedMore => (counters[0], counters[1]) = (counters[0] + 1, counters[1] + 1),
        Lie::OneLost => (counters[1], counters[8]) = (counters[1] - 1, counters[8] + 1),
        Lie::NoCounters => counters.clear(),
        _ => {
            let Event::Unit(unit) = &mut body.event else { return None };
            let issued = unit.key_hash.is_some();
            match lie {
                Lie::OtherSubject => unit.subject.push('x'),
                Lie::OtherUnit => unit.unit += 1,
                Lie::BeyondTheTotal => unit.unit += 1_000,
                Lie::OtherKey => unit.key_hash = issued.then_some([1; 32]),
                Lie::OtherCertificate => unit.certificate_hash = issued.then_some([1; 32]),
                Lie::OtherSerial => *unit.certificate_serial.as_mut()?.last_mut()? ^= 1,
                Lie::NoSerial => unit.serial = Some("x".to_owned()),
                Lie::OtherProof => unit.proof.as_mut()?.nonce[0] ^= 1,
                Lie::OtherEntitlement => unit.entitlement = format!("ent-{:016x}", 2),
                Lie::Change(change) => {
                    unit.change = change;
                    unit.proof = unit.proof.take().filter(|_| change == UnitChange::Confirmed);
                }
                _ => unreachable!("the lies about rows of any kind are above"),
            }
        }
    }
    (row.body != honest.body || honest.counters.map(|c| c.values().to_vec()) != some(&counters))
        .then_some((row.body, counters))
}

fn some(counters: &[u64]) -> Option<Vec<u64>> {
    (!counters.is_empty()).then(|| counters.to_vec())
}

/// True for a row without which the others say the same: notes, and the first half of a
/// provisioning, which may be one row or two.
fn is_redundant(event: &Event) -> bool {
    match event {
        Event::Note { .. } => true,
        Event::Unit(unit) => unit.change == UnitChange::Reserved,
        _ => false,
    }
}

/// The honest ledger, told anew with a lie at one row; all that follows is chained to it.
fn retold(honest: &Site, lie: Lie, place: usize) -> Option<Site> {
    let mut site = honest.clone();
    site.rows.clear();
    for (at, encoded) in honest.rows.iter().enumerate() {
        let row = Row::decode(encoded).unwrap();
        if at != place {
            let counters = row.counters.map_or(Vec::new(), |c| c.values().to_vec());
            site.push(&row.body, &counters);
        } else if lie != Lie::LeftOut {
            let about_unit = matches!(row.body.event, Event::Unit(_));
            // A row at the end may be late: nothing after it says otherwise.
            let last = at + 1 == honest.rows.len();
            let late = matches!(lie, Lie::Later | Lie::AfterTheWindow);
            (about_unit && !(last && late)).then_some(())?;
            let (body, counters) = told(lie, row)?;
            site.push(&body, &counters);
        } else if is_redundant(&row.body.event) {
            return None;
        }
    }
    Some(site)
}

#[test]
fn no_lie_about_a_unit_fits_the_rows_around_it() {
    let (grant, honest, ..) = sites();
    let mut judgements = 0;
    for lie in LIES {
        for place in 0..honest.rows.len() {
            let Some(site) = retold(&honest, lie, place) else { continue };
            judgements += 1;
            let outcome = judged(&grant, &site.bundle(0));
            let found = &outcome.report.findings;
            assert!(outcome.report.verdict >= Verdict::Hold, "{lie:?} at row {}", place + 1);
            let rows: Vec<_> = found.iter().filter_map(|finding| finding.row).collect();
            assert!(!rows.is_empty() && rows.len() == found.len(), "{lie:?}: {found:?}");
        }
    }
    assert!(judgements > 400, "{judgements}");
}

#[test]
fn every_lie_is_called_by_its_name() {
    let (grant, honest, ..) = sites();
    // Row 4 issues the first unit, row 5 confirms it.
    let cases = [
        (Lie::OtherPlugin, 4, FindingKind::Measurement),
        (Lie::NoPlugin, 4, FindingKind::Measurement),
        (Lie::OtherStation, 4, FindingKind::Station),
        (Lie::OtherStation, 5, FindingKind::Station),
        (Lie::AfterTheWindow, 3, FindingKind::Window),
        (Lie::OtherBoot, 4, FindingKind::Clock),
        (Lie::OneUnusedMore, 5, FindingKind::Equation),
        (Lie::OneLost, 5, FindingKind::Equation),
        (Lie::NoCounters, 4, FindingKind::Equation),
        (Lie::OtherSubject, 4, FindingKind::Transition),
        (Lie::OtherUnit, 5, FindingKind::Transition),
        (Lie::BeyondTheTotal, 3, FindingKind::Total),
        (Lie::OtherKey, 5, FindingKind::Transition),
        (Lie::OtherCertificate, 5, FindingKind::Transition),
        (Lie::OtherSerial, 4, FindingKind::Certificate),
        (Lie::NoSerial, 3, FindingKind::Serial),
        (Lie::OtherProof, 5, FindingKind::Proof),
        (Lie::OtherEntitlement, 3, FindingKind::Grant),
        (Lie::Change(UnitChange::Reserved), 4, FindingKind::Transition),
        (Lie::Change(UnitChange::Lost), 4, FindingKind::Restore),
    ];
    for (lie, row, kind) in cases {
        let site = retold(&honest, lie, row as usize - 1).expect("the lie can be told");
        let found = judged(&grant, &site.bundle(0)).report.findings;
        let named =
            |finding: &&crate::reconcile::Finding| finding.kind == kind && finding.row == Some(row);
        assert!(found.iter().any(|finding| named(&finding)), "{lie:?}: {found:?}");
    }
}

/// Which rows an earlier, honest bundle brought: the tampered one comes after it, overlaps it or
/// leaves a hole.
fn after_a_part(grant: &Grant, honest: &Site, tampered: &[u8], held: usize) -> Outcome {
    let mut hq = Headquarters::with(std::slice::from_ref(grant));
    let mut part = honest.clone();
    part.rows.truncate(held);
    // Its counters are those of its last row that has any.
    let counters = part.rows.iter().rev().find_map(|row| Row::decode(row).unwrap().counters);
    part.counters.insert(grant.entitlement.clone(), counters.unwrap_or_default());
    if held < 2 {
        part.counters.clear();
    }
    assert_eq!(hq.reconcile(SHENZHEN, &part.bundle(0)).report.verdict, Verdict::Clean);
    hq.reconcile(SHENZHEN, tampered)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_held_already_makes_no_tampering_clean(
        how in proptest::sample::select(&CARRIED[..]),
        place in 0..25_usize,
        held in 1..26_usize,
    ) {
        let (grant, honest, other, foreign) = sites();
        let (place, held) = (place % honest.rows.len(), held % honest.rows.len() + 1);
        let mut between = Row::decode(&honest.rows[held - 1]).unwrap().body.request;
        let mut held = held;
        // A bundle never ends within a call.
        while held < honest.rows.len() {
            let next = Row::decode(&honest.rows[held]).unwrap().body.request;
            if next != between {
                break;
            }
            between = next;
            held += 1;
        }
        if let Some(tampered) = carried(&honest, (&other, &foreign), how, place) {
            let outcome = after_a_part(&grant, &honest, &tampered, held);
            prop_assert_eq!(outcome.report.verdict, Verdict::Breach);
            prop_assert!(!outcome.advanced);
        }
    }

    #[test]
    fn any_bytes_are_judged_and_never_clean(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let (grant, honest, ..) = sites();
        let outcome = judged(&grant, &bytes);
        prop_assert_eq!(outcome.report.verdict, Verdict::Breach);
        // Nor behind an honest head.
        let head = honest.bundle(0);
        let place = bytes.len() % head.len();
        let spliced = [&head[..place], &bytes[..]].concat();
        if spliced != head {
            prop_assert!(judged(&grant, &spliced).report.verdict >= Verdict::Hold);
        }
    }
}

#[test]
fn a_report_of_any_tampering_fits_its_bounds() {
    let (grant, honest, ..) = sites();
    for lie in LIES {
        for site in (0..honest.rows.len()).filter_map(|place| retold(&honest, lie, place)) {
            let report = judged(&grant, &site.bundle(0)).report;
            assert!(encode(&report).len() < 64 << 10);
            let said = report.findings.iter().all(|finding| {
                finding.text.chars().all(|c| !c.is_control()) && finding.severity >= Severity::Note
            });
            assert!(said);
        }
    }
}
