//! The host counts: whatever a guest does with its units, each is in exactly one place, and what a
//! limited key made is stored before anybody can have it.

use mintmark_crypto::digest::sha256;
use mintmark_exchange::row::Event;
use mintmark_exchange::unit::UnitChange;
use mintmark_guest_hostile::proto::{Identity, OverdrawRequest, ProvisionRequest};
use mintmark_model::{Counters, Reason, UnitState};
use mintmark_pki::device::{DeviceSerial, verify_device};
use mintmark_pki::request;
use mintmark_runtime::Refused;
use prost::Message;

use super::headquarters::{Entitlement, new_key, wall_ms};
use super::log;
use super::node::{Node, PATIENT_MS, host_reason};

/// Time enough to certify, also on a slow machine, before a loop is ended.
const LOOP_MS: u64 = 4_000;
const TOTAL: u64 = 10;

fn asking(entitlement: &Entitlement, subject: &str) -> ProvisionRequest {
    ProvisionRequest {
        entitlement: entitlement.id(),
        subject: subject.to_owned(),
        csr: request::csr(&new_key(), subject).unwrap(),
    }
}

/// The reason that the guest passes on.
async fn passed_on(site: &Node, method: &str, request: &impl Message) -> String {
    match site.raw(method, request).await.unwrap_err() {
        Refused::Plugin(status) => status.reason,
        Refused::Host(refusal) => panic!("{refusal:?}"),
    }
}

/// The certificate is the one that the unit's record, its serial number and its issuer say.
async fn check_identity(
    site: &Node,
    entitlement: &Entitlement,
    subject: &str,
    identity: &Identity,
) {
    let unit = site.unit(&entitlement.id(), subject).await.unwrap();
    assert_eq!(unit.state, UnitState::Issued);
    assert_eq!(unit.certificate_hash, Some(sha256(&identity.certificate)));
    assert_eq!((unit.number, &unit.serial), (identity.unit, &identity.serial));
    let batch_ca = entitlement.grant.batch_ca.as_ref().unwrap();
    let chain = [&identity.certificate, batch_ca];
    let device = verify_device(&chain, &entitlement.product_ca, wall_ms()).unwrap();
    let number = entitlement.grant.number;
    let serial = DeviceSerial { entitlement_number: number, unit: unit.number, ordinal: 0 };
    assert_eq!(device.serial(), serial);
    assert_eq!(device.device_serial(), unit.serial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w14_trap_after_certify_spends_the_unit() {
    let site = Node::start(LOOP_MS).await;
    let entitlement = site.entitled(TOTAL).await;
    let methods = ["CertifyThenFail", "CertifyThenTrap", "CertifyThenLoop"];
    for (issued, method) in (1..).zip(methods) {
        let request = asking(&entitlement, method);
        let refused = site.raw(method, &request).await.unwrap_err();
        assert_eq!(host_reason(&refused), Reason::PluginFault, "{method}");
        let counters = site.counters(&entitlement.id()).await;
        let expected =
            Counters { credited: TOTAL, unused: TOTAL - issued, issued, ..Counters::default() };
        assert_eq!(counters, expected, "{method}");

        // An honest retry gets what was stored, and costs nothing.
        let identity: Identity = site.call("Provision", &request).await.unwrap();
        check_identity(&site, &entitlement, method, &identity).await;
        let again: Identity = site.call("Provision", &request).await.unwrap();
        assert_eq!(identity, again);
        assert_eq!(site.counters(&entitlement.id()).await, expected);
        let other = asking(&entitlement, method);
        assert_eq!(passed_on(&site, "Provision", &other).await, "KEY_MISMATCH");

        // Not a word of it reached the caller or the log.
        let certificate = hex::encode(&identity.certificate);
        let (said, logged) = (format!("{refused:?}"), log::text());
        for part in [&certificate[..64], &certificate[64..128], &certificate[256..320]] {
            assert!(!said.contains(part) && !logged.contains(part), "{method}");
        }
    }
    assert!(log::text().contains("lines were withheld"), "the guest tried");
    site.canary().await;
}

#[tokio::test]
async fn w14_trap_after_draw_leaves_nothing_but_an_outcome_row() {
    let site = Node::start(PATIENT_MS).await;
    let entitlement = site.entitled(TOTAL).await;
    let before = site.rows().await.len();
    let request = asking(&entitlement, "d1");
    assert_eq!(site.refusal("DrawThenTrap", &request).await, Reason::PluginFault);
    assert_eq!(site.counters(&entitlement.id()).await, Counters::credited(TOTAL));
    assert_eq!(site.unit(&entitlement.id(), "d1").await, None);
    assert_eq!(site.records().await, 0);
    let rows = site.rows().await;
    let [row] = &rows[before..] else { panic!("{} rows", rows.len() - before) };
    let Event::Outcome { reason, count, .. } = &row.body.event else { panic!("{row:?}") };
    assert_eq!((reason.as_str(), *count), ("PLUGIN_FAULT", 1));

    // The number is free again.
    let identity: Identity = site.call("Provision", &request).await.unwrap();
    assert_eq!(identity.unit, 0);
    check_identity(&site, &entitlement, "d1", &identity).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w25_a_guest_that_draws_at_random_and_lies_is_counted_right() {
    let site = Node::start(PATIENT_MS).await;
    let entitlement = site.entitled(TOTAL).await;
    let request = OverdrawRequest { entitlement: entitlement.id(), wanted: 40 };
    let overdraw = || site.raw("Overdraw", &request);
    // Some of them are overtaken by others, which is an answer too.
    let _ = tokio::join!(overdraw(), overdraw(), overdraw());
    overdraw().await.unwrap();

    let counters = site.counters(&entitlement.id()).await;
    let expected = Counters { credited: TOTAL, reserved: TOTAL, ..Counters::default() };
    assert_eq!(counters, expected);
    let mut subjects = Vec::new();
    for row in site.rows().await {
        if let Event::Unit(unit) = row.body.event {
            assert_eq!(unit.change, UnitChange::Reserved);
            subjects.push((unit.unit, unit.subject));
        }
    }
    subjects.sort();
    let numbers: Vec<u64> = subjects.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..TOTAL).collect::<Vec<_>>(), "each number once");
    let one_too_many = asking(&entitlement, "d1");
    assert_eq!(passed_on(&site, "Provision", &one_too_many).await, "QUOTA_EXHAUSTED");
}
