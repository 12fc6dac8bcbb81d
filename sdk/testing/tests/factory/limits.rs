//! The limits of a grant, each with the reason that the tester reads.

use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::Device;

use crate::gap::{DAY_MS, Gap};

#[test]
fn i1_the_unit_after_the_last_is_refused() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| terms.total = 3);
    for number in 0..3 {
        gap.make(&entitlement, &format!("SN:{number}"));
    }
    let refused = gap.provision(&entitlement, "SN:9", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "QUOTA_EXHAUSTED");
    assert_eq!(refused.retry_after_ms, None);
    // Failing or scrapping does not bring a unit back.
    gap.scrap(&entitlement, "SN:0").unwrap();
    let refused = gap.provision(&entitlement, "SN:9", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "QUOTA_EXHAUSTED");
}

#[test]
fn a_full_rate_window_says_when_to_come_again() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| {
        terms.rates = vec![office::Rate { units: 2, per_seconds: 10 }];
    });
    // The window was full when the escrow was opened, unless nothing was ever drawn.
    gap.make(&entitlement, "SN:1");
    gap.world.pass_ms(4_000);
    gap.make(&entitlement, "SN:2");
    let refused = gap.provision(&entitlement, "SN:3", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "RATE_LIMITED");
    let wait_ms = refused.retry_after_ms.unwrap();
    assert!((5_999..=6_001).contains(&wait_ms), "{wait_ms}");
    gap.world.pass_ms(wait_ms - 1);
    assert!(gap.provision(&entitlement, "SN:3", &Device::new()).is_err());
    gap.world.pass_ms(1);
    gap.make(&entitlement, "SN:3");
}

#[test]
fn a_restart_only_slows() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| {
        terms.rates = vec![office::Rate { units: 2, per_seconds: 10 }];
    });
    gap.make(&entitlement, "SN:1");
    gap.make(&entitlement, "SN:2");
    let Gap { world, hq, site } = gap;
    let gap = Gap { world, hq, site: site.restart().unwrap() };
    let refused = gap.provision(&entitlement, "SN:3", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "RATE_LIMITED");
    gap.world.pass_ms(10_000);
    gap.make(&entitlement, "SN:3");
}

#[test]
fn too_many_in_doubt_must_be_settled_first() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| terms.max_in_doubt = Some(2));
    let device = Device::new();
    let identity = gap.provision(&entitlement, "SN:1", &device).unwrap();
    gap.provision(&entitlement, "SN:2", &Device::new()).unwrap();
    let refused = gap.provision(&entitlement, "SN:3", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "IN_DOUBT_EXHAUSTED");
    gap.confirm(&entitlement, "SN:1", device.sign(&identity.confirm_message)).unwrap();
    gap.provision(&entitlement, "SN:3", &Device::new()).unwrap();
}

#[test]
fn without_a_receipt_reservations_stop_and_with_one_they_go_on() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| {
        terms.audit_return = Some(office::AuditReturn { units: 2, seconds: 86_400 });
    });
    gap.make(&entitlement, "SN:1");
    gap.make(&entitlement, "SN:2");
    let refused = gap.provision(&entitlement, "SN:3", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "RECEIPT_OVERDUE");
    assert_eq!(gap.status(&entitlement).since_receipt, 2);
    let (_, taken) = gap.report();
    assert_eq!(taken.entitlements, std::slice::from_ref(&entitlement));
    assert_eq!(gap.status(&entitlement).since_receipt, 0);
    gap.make(&entitlement, "SN:3");
    gap.world.pass_ms(DAY_MS);
    let refused = gap.provision(&entitlement, "SN:4", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "RECEIPT_OVERDUE", "time runs out too");
    gap.report();
    gap.make(&entitlement, "SN:4");
}

#[test]
fn the_window_has_a_begin_an_end_and_a_grace() {
    let gap = Gap::new();
    let now_ms = gap.site.clock().now_ms();
    let entitlement = gap.granted_with(|terms| {
        terms.not_before_ms = now_ms + 1_000;
        terms.not_after_ms = now_ms + DAY_MS;
        terms.grace_seconds = Some(60);
        terms.max_pause_seconds = Some(3_600);
    });
    let device = Device::new();
    let early = gap.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(early.reason, "NOT_YET_VALID");
    gap.world.pass_ms(1_000);
    let identity = gap.provision(&entitlement, "SN:1", &device).unwrap();
    gap.world.pass_ms(DAY_MS);
    let late = gap.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(late.reason, "EXPIRED");
    assert_eq!(gap.provision(&entitlement, "SN:1", &device).unwrap(), identity, "in its grace");
    gap.world.pass_ms(60_001);
    let over = gap.provision(&entitlement, "SN:1", &device).unwrap_err();
    assert_eq!(over.reason, "EXPIRED");
    // What happened on the line is always taken.
    gap.confirm(&entitlement, "SN:1", device.sign(&identity.confirm_message)).unwrap();
}

#[test]
fn r10_a_clock_that_jumped_stops_what_depends_on_time() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let device = Device::new();
    let identity = gap.provision(&entitlement, "SN:1", &device).unwrap();
    gap.site.clock().set_wall_ms(gap.site.clock().now_ms() - DAY_MS);
    let refused = gap.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "CLOCK_SUSPECT");
    gap.confirm(&entitlement, "SN:1", device.sign(&identity.confirm_message)).unwrap();
}

#[test]
fn subjects_and_serials_follow_the_product() {
    let gap = Gap::new();
    let mut order = gap.order("PO-1");
    let product = order.product.as_mut().unwrap();
    product.subjects = vec!["SN:1".to_owned(), "SN:2".to_owned()];
    product.serial = Some(office::product::Serial::Given(office::GivenSerial {
        prefix: "T".to_owned(),
        digits: 3,
        from: 100,
        to: 199,
        check: office::CheckDigit::None.into(),
    }));
    order.terms.as_mut().unwrap().total = 2;
    let entitlement = gap.grant(&order);
    let provision = |subject: &str, serial: Option<&str>| {
        let csr = Device::new().csr();
        let mut request = crate::gap::request(&entitlement, subject, csr);
        request.serial = serial.map(str::to_owned);
        gap.provision_as("line-4", request).map(|identity| identity.serial)
    };
    assert_eq!(provision("SN:9", Some("T100")).unwrap_err().reason, "SUBJECT_NOT_LISTED");
    assert_eq!(provision("SN:1", Some("T200")).unwrap_err().reason, "SERIAL_OUT_OF_RANGE");
    assert_eq!(provision("SN:1", None).unwrap_err().reason, "SERIAL_OUT_OF_RANGE");
    assert_eq!(provision("SN:1", Some("T150")).unwrap(), "T150");
    assert_eq!(provision("SN:2", Some("T150")).unwrap_err().reason, "DUPLICATE_SUBJECT");
    assert_eq!(gap.counters(&entitlement).unused, 1);
}
