//! Provisioning: what a device gets, and what a retry gets.

use mintmark_plugin_device_key::proto::{self, FailureKind, UnitState};
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::Device;

use crate::gap::{Gap, request};

#[test]
fn a_device_gets_a_certificate_that_chains_to_the_product_ca() {
    let gap = Gap::new();
    let created = gap.create(&gap.order("PO-1")).unwrap();
    let entitlement = gap.import(&gap.hq.fetch(&created.file_id).unwrap()).unwrap().entitlement;
    let (device, identity) = gap.make(&entitlement, "SN:1");
    assert_eq!((identity.unit, identity.serial.as_str()), (0, "T2-000001"));
    assert_eq!(identity.public_key, device.public_key());
    assert_eq!(identity.chain.last(), Some(&created.product_ca));
    let chain = [vec![identity.certificate.clone()], identity.chain.clone()].concat();
    let verified =
        mintmark_pki::verify_device(&chain, &created.product_ca, gap.site.clock().now_ms())
            .unwrap();
    assert_eq!(verified.device_serial(), "T2-000001");
    let counters = gap.counters(&entitlement);
    assert_eq!((counters.confirmed, counters.unused), (1, 9));
}

#[test]
fn i3_a_retry_gets_the_same_bytes_and_costs_nothing() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let device = Device::new();
    let first = gap.provision(&entitlement, "SN:1", &device).unwrap();
    for _ in 0..3 {
        assert_eq!(gap.provision(&entitlement, "SN:1", &device).unwrap(), first);
    }
    // A fresh request for the same key is still the same device.
    let again = request(&entitlement, "SN:1", device.csr());
    assert_eq!(gap.provision_as("line-4", again).unwrap(), first);
    assert_eq!(gap.counters(&entitlement).issued, 1);
    let proof = device.sign(&first.confirm_message);
    gap.confirm(&entitlement, "SN:1", proof.clone()).unwrap();
    assert_eq!(gap.provision(&entitlement, "SN:1", &device).unwrap(), first);
    let repeated = gap.confirm(&entitlement, "SN:1", proof).unwrap();
    assert_eq!(repeated.state(), UnitState::Confirmed);
    assert_eq!(gap.counters(&entitlement).unused, 9);
}

#[test]
fn i3_a_restart_between_request_and_retry_changes_nothing() {
    let Gap { world, hq, site } = Gap::new();
    let gap = Gap { world, hq, site };
    let entitlement = gap.granted();
    let device = Device::new();
    let first = gap.provision(&entitlement, "SN:1", &device).unwrap();
    let Gap { world, hq, site } = gap;
    let gap = Gap { world, hq, site: site.restart().unwrap() };
    assert_eq!(gap.provision(&entitlement, "SN:1", &device).unwrap(), first);
    assert_eq!(gap.counters(&entitlement).issued, 1);
    let next = gap.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    assert_eq!(next.unit, 1);
}

#[test]
fn a_unit_belongs_to_one_key_and_a_key_to_one_unit() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let device = Device::new();
    gap.provision(&entitlement, "SN:1", &device).unwrap();
    let other = gap.provision(&entitlement, "SN:1", &Device::new()).unwrap_err();
    assert_eq!(other.reason, "KEY_MISMATCH");
    let shared = gap.provision(&entitlement, "SN:2", &device).unwrap_err();
    assert_eq!(shared.reason, "DUPLICATE_KEY");
    assert_eq!(gap.counters(&entitlement).unused, 9, "a refusal costs no unit");
}

#[test]
fn a_subject_has_one_unit_across_the_entitlements_of_a_product() {
    let gap = Gap::new();
    let first = gap.granted();
    let second = gap.grant(&gap.order("PO-2"));
    gap.provision(&first, "SN:1", &Device::new()).unwrap();
    let refused = gap.provision(&second, "SN:1", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "DUPLICATE_SUBJECT");
    assert_eq!(gap.counters(&second).unused, 10);
}

#[test]
fn another_station_does_not_get_the_unit() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let device = Device::new();
    gap.provision(&entitlement, "SN:1", &device).unwrap();
    let other = gap.provision_as("line-5", request(&entitlement, "SN:1", device.csr()));
    assert_eq!(other.unwrap_err().reason, "PERMISSION_DENIED");
}

#[test]
fn a_station_that_is_bound_to_others_sees_no_entitlement() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.site.enrol_station("line-9", &["ent-0000000000000000".to_owned()]);
    let refused = gap.provision_as("line-9", request(&entitlement, "SN:1", Device::new().csr()));
    assert_eq!(refused.unwrap_err().reason, "NOT_FOUND");
    let listed: proto::ListEntitlementsResponse = gap
        .site
        .call("station", "line-9", "ListEntitlements", &proto::ListEntitlementsRequest::default())
        .unwrap();
    assert!(listed.entitlements.is_empty());
}

#[test]
fn reserve_and_issue_are_provision_in_two_steps() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let device = Device::new();
    let reserve = proto::ReserveRequest {
        entitlement: entitlement.clone(),
        subject: "SN:1".to_owned(),
        serial: None,
    };
    let reserved: proto::ReserveResponse =
        gap.site.call("station", "line-4", "Reserve", &reserve).unwrap();
    assert_eq!((reserved.unit, reserved.serial.as_str()), (0, "T2-000001"));
    assert_eq!(gap.counters(&entitlement).reserved, 1);
    let issue = proto::IssueRequest {
        entitlement: entitlement.clone(),
        subject: "SN:1".to_owned(),
        csr: device.csr(),
        fields: [("organizational-unit".to_owned(), "Line 4".to_owned())].into(),
    };
    let issued: proto::DeviceIdentity =
        gap.site.call("station", "line-4", "Issue", &issue).unwrap();
    assert_eq!(gap.provision(&entitlement, "SN:1", &device).unwrap(), issued);
    let counters = gap.counters(&entitlement);
    assert_eq!((counters.reserved, counters.issued), (0, 1));
}

#[test]
fn a_proof_of_another_device_or_none_does_not_confirm() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let device = Device::new();
    let identity = gap.provision(&entitlement, "SN:1", &device).unwrap();
    let wrong = Device::new().sign(&identity.confirm_message);
    for proof in [Vec::new(), wrong, device.sign(b"something else")] {
        let refused = gap.confirm(&entitlement, "SN:1", proof).unwrap_err();
        assert_eq!(refused.reason, "PROOF_INVALID");
    }
    assert_eq!(gap.counters(&entitlement).issued, 1);
}

#[test]
fn a_device_fails_is_scrapped_and_its_unit_never_comes_back() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let device = Device::new();
    gap.provision(&entitlement, "SN:1", &device).unwrap();
    let tried = gap.fail(&entitlement, "SN:1", FailureKind::Transient).unwrap();
    assert_eq!((tried.state(), tried.attempts), (UnitState::Issued, 1));
    let failed = gap.fail(&entitlement, "SN:1", FailureKind::Permanent).unwrap();
    assert_eq!(failed.state(), UnitState::Failed);
    let late = gap.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(late.reason, "WRONG_STATE");
    let scrapped = gap.scrap(&entitlement, "SN:1").unwrap();
    assert_eq!(scrapped.state(), UnitState::Scrapped);
    assert_eq!(gap.scrap(&entitlement, "SN:1").unwrap(), scrapped);
    let counters = gap.counters(&entitlement);
    assert_eq!((counters.unused, counters.failed, counters.scrapped), (9, 0, 1));
}

#[test]
fn scrap_is_a_persons_act_and_ends_at_the_allowance() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    for subject in ["SN:1", "SN:2", "SN:3"] {
        gap.make(&entitlement, subject);
    }
    let request = proto::ScrapRequest {
        entitlement: entitlement.clone(),
        subject: "SN:1".to_owned(),
        reason: "dropped".to_owned(),
    };
    let refused = gap.site.call::<proto::UnitStatus>("station", "line-4", "Scrap", &request);
    assert_eq!(refused.unwrap_err().reason, "PERMISSION_DENIED");
    gap.scrap(&entitlement, "SN:1").unwrap();
    gap.scrap(&entitlement, "SN:2").unwrap();
    let beyond = gap.scrap(&entitlement, "SN:3").unwrap_err();
    assert_eq!(beyond.reason, "APPROVAL_REQUIRED");
    assert_eq!(gap.counters(&entitlement).scrapped, 2);
}

#[test]
fn attempts_run_out() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| terms.max_attempts_per_subject = Some(2));
    gap.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    for _ in 0..2 {
        gap.fail(&entitlement, "SN:1", FailureKind::Transient).unwrap();
    }
    let third = gap.fail(&entitlement, "SN:1", FailureKind::Transient).unwrap_err();
    assert_eq!(third.reason, "ATTEMPTS_EXHAUSTED");
}

#[test]
fn only_a_device_that_lost_its_key_gets_another_unit_where_the_terms_say_so() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| terms.max_units_per_subject = Some(2));
    let lost = |subject: &str| {
        let request = proto::FailRequest {
            entitlement: entitlement.clone(),
            subject: subject.to_owned(),
            kind: FailureKind::KeyLost.into(),
            detail: "the flash was erased".to_owned(),
        };
        gap.site.call::<proto::UnitStatus>("operator", "mei", "Fail", &request)
    };
    gap.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    lost("SN:1").unwrap();
    let device = Device::new();
    let second = gap.provision(&entitlement, "SN:1", &device).unwrap();
    assert_eq!(second.unit, 1);
    lost("SN:1").unwrap();
    let third = gap.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(third.reason, "WRONG_STATE");
    assert_eq!(gap.counters(&entitlement).failed, 2);
    // What its own station says of a device gives it nothing.
    gap.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    gap.fail(&entitlement, "SN:2", FailureKind::Permanent).unwrap();
    assert_eq!(lost("SN:2").unwrap_err().reason, "WRONG_STATE", "it failed already");
    let second = gap.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(second.reason, "KEY_MISMATCH");
    assert_eq!(gap.counters(&entitlement).unused, 7);
}

#[test]
fn a_key_made_at_the_site_reaches_only_the_device() {
    let gap = Gap::new();
    let mut order = gap.order("PO-1");
    let product = order.product.as_mut().unwrap();
    product.origin = office::KeyOrigin::SiteBorn.into();
    product.delivery = office::Delivery::SealedToDevice.into();
    let entitlement = gap.grant(&order);
    let device = Device::new();
    let identity = gap.provision(&entitlement, "SN:1", &device).unwrap();
    let sealed = identity.sealed_key.clone().unwrap();
    let (encapsulated, ciphertext) = (&sealed.encapsulated_key, &sealed.ciphertext);
    let pkcs8 = device.open(encapsulated, ciphertext, &identity.public_key).unwrap();
    let key = signing_key("ecdsa-p256", &pkcs8);
    assert_eq!(key.public_key_info(), identity.public_key);
    assert!(Device::new().open(encapsulated, ciphertext, &identity.public_key).is_err());
    assert_eq!(gap.provision(&entitlement, "SN:1", &device).unwrap(), identity);
    let mismatch = gap.provision(&entitlement, "SN:1", &Device::new()).unwrap_err();
    assert_eq!(mismatch.reason, "KEY_MISMATCH");
    gap.confirm(&entitlement, "SN:1", key.sign(&identity.confirm_message)).unwrap();
    let late = gap.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(late.reason, "WRONG_STATE", "the sealed key is dropped at the end");
}

#[test]
fn derived_keys_are_sealed_to_the_station_that_asks() {
    let gap = Gap::new();
    let mut order = gap.order("PO-1");
    let product = order.product.as_mut().unwrap();
    product.origin = office::KeyOrigin::Derived.into();
    product.delivery = office::Delivery::SealedToStation.into();
    product.algorithm = "ed25519".to_owned();
    let entitlement = gap.grant(&order);
    let station = gap.site.enrol_station("line-6", &[]);
    let identity = gap.provision_as("line-6", request(&entitlement, "SN:1", Vec::new())).unwrap();
    let sealed = identity.sealed_key.clone().unwrap();
    let pkcs8 =
        station.open(&sealed.encapsulated_key, &sealed.ciphertext, &identity.public_key).unwrap();
    let key = signing_key("ed25519", &pkcs8);
    assert_eq!(key.public_key_info(), identity.public_key);
    let confirm = proto::ConfirmRequest {
        entitlement: entitlement.clone(),
        subject: "SN:1".to_owned(),
        proof: key.sign(&identity.confirm_message),
    };
    let confirmed: proto::UnitStatus =
        gap.site.call("station", station.name(), "Confirm", &confirm).unwrap();
    assert_eq!(confirmed.state(), UnitState::Confirmed);
    let person = request(&entitlement, "SN:2", Vec::new());
    let without = gap.site.call::<proto::DeviceIdentity>("operator", "mei", "Provision", &person);
    assert_eq!(without.unwrap_err().reason, "PERMISSION_DENIED");
    let other = gap.provision_as("line-6", request(&entitlement, "SN:3", Vec::new())).unwrap();
    assert_ne!(other.public_key, identity.public_key);
    assert_eq!(gap.counters(&entitlement).unused, 8);
}

#[test]
fn parallel_testers_make_each_device_once() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| terms.total = 24);
    let devices: Vec<_> = (0..24).map(|number| (format!("SN:{number}"), Device::new())).collect();
    let lines = std::thread::scope(|scope| {
        let tester = || {
            let provision = |(subject, device): &(String, Device)| {
                gap.provision(&entitlement, subject, device).unwrap()
            };
            devices.iter().map(provision).collect::<Vec<_>>()
        };
        let lines: Vec<_> = (0..4).map(|_| scope.spawn(tester)).collect();
        lines.into_iter().map(|line| line.join().unwrap()).collect::<Vec<_>>()
    });
    for line in &lines[1..] {
        assert_eq!(line, &lines[0], "every tester got the same identities");
    }
    let counters = gap.counters(&entitlement);
    assert_eq!((counters.issued, counters.unused), (24, 0));
}

fn signing_key(algorithm: &str, pkcs8: &[u8]) -> mintmark_crypto::sign::SigningKey {
    let algorithm = mintmark_crypto::sign::SignatureAlgorithm::from_name(algorithm).unwrap();
    mintmark_crypto::sign::SigningKey::from_pkcs8(algorithm, pkcs8).unwrap()
}
