//! Entitlements on their way: created once, taken once, by whom they are for.

use mintmark_plugin_device_key::DeviceKeyPlugin;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::{Device, World};

use crate::gap::{DAY_MS, Gap, import_at, new_site};

#[test]
fn an_order_number_is_one_entitlement() {
    let gap = Gap::new();
    let order = gap.order("PO-1");
    let first = gap.create(&order).unwrap();
    assert_eq!(gap.create(&order).unwrap(), first);
    let mut other = order.clone();
    other.terms.as_mut().unwrap().total += 1;
    let refused = gap.create(&other).unwrap_err();
    assert_eq!(refused.reason, "WRONG_STATE");
    let second = gap.create(&gap.order("PO-2")).unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(second.product_ca, first.product_ca, "a product has one CA");
}

#[test]
fn an_order_for_a_site_that_is_not_known_or_without_terms_is_refused() {
    let gap = Gap::new();
    let mut order = gap.order("PO-1");
    order.site = "spiffe://acme/site/nowhere".to_owned();
    assert_eq!(gap.create(&order).unwrap_err().reason, "NOT_FOUND");
    let mut order = gap.order("PO-1");
    order.terms.as_mut().unwrap().audit_return = None;
    assert_eq!(gap.create(&order).unwrap_err().reason, "TERMS_INVALID");
    let mut order = gap.order("PO-1");
    order.terms.as_mut().unwrap().total = 1_000_001;
    let serial = &mut order.product.as_mut().unwrap().serial;
    let Some(office::product::Serial::Assigned(serial)) = serial else { panic!("assigned") };
    serial.digits = 9;
    assert_eq!(gap.create(&order).unwrap_err().reason, "APPROVAL_REQUIRED");
    let answer = gap.hq.call::<office::CreateResponse>("operator", "o", "Create", &order);
    assert_eq!(answer.unwrap_err().reason, "PERMISSION_DENIED");
}

#[test]
fn r1_the_same_file_again_changes_nothing_and_says_so() {
    let gap = Gap::new();
    let created = gap.create(&gap.order("PO-1")).unwrap();
    let file = gap.hq.fetch(&created.file_id).unwrap();
    let first = gap.import(&file).unwrap();
    assert_eq!((first.entitlement.as_str(), first.number), (created.entitlement.as_str(), 1));
    let again = gap.import(&file).unwrap_err();
    assert_eq!(again.reason, "REPLAYED");
    assert!(again.metadata.iter().any(|(name, _)| name == "row"), "{again:?}");
    assert_eq!(gap.counters(&first.entitlement).credited, 10);
}

#[test]
fn p12_a_file_for_another_site_is_refused() {
    let gap = Gap::new();
    let other = new_site(&gap.world, &gap.hq, "penang");
    let created = gap.create(&gap.order("PO-1")).unwrap();
    let file = gap.hq.fetch(&created.file_id).unwrap();
    assert_eq!(import_at(&other, &file).unwrap_err().reason, "WRONG_SITE");
    gap.import(&file).unwrap();
}

#[test]
fn a_file_of_another_organisation_is_not_authentic() {
    let gap = Gap::new();
    let stranger = Gap::new();
    let created = stranger.create(&stranger.order("PO-1")).unwrap();
    let file = stranger.hq.fetch(&created.file_id).unwrap();
    assert_eq!(gap.import(&file).unwrap_err().reason, "UNTRUSTED_MESSAGE");
}

#[test]
fn a_file_whose_signer_had_expired_is_not_authentic() {
    let world = World::new();
    let mut hq = world.headquarters("berlin");
    hq.install::<EntitlementPlugin>();
    // A plugin's certificates hold for 365 days; the site's are a year younger than headquarters'.
    world.pass_ms(360 * DAY_MS);
    let site = new_site(&world, &hq, "shenzhen");
    let gap = Gap { world, hq, site };
    let create = |number: &str| {
        let mut order = gap.order(number);
        // No report is due before all of this is over.
        let audit_return = order.terms.as_mut().unwrap().audit_return.as_mut().unwrap();
        audit_return.seconds = 30 * 86_400;
        gap.hq.fetch(&gap.create(&order).unwrap().file_id).unwrap()
    };
    gap.import(&create("PO-1")).unwrap();
    let in_time = create("PO-2");
    gap.world.pass_ms(10 * DAY_MS);
    let expired = create("PO-3");
    // What was made in time stays authentic.
    gap.import(&in_time).unwrap();
    let refused = gap.import(&expired).unwrap_err();
    assert_eq!(refused.reason, "UNTRUSTED_MESSAGE");
}

#[test]
fn a_later_file_waits_for_the_earlier_one() {
    let gap = Gap::new();
    let first = gap.create(&gap.order("PO-1")).unwrap();
    let second = gap.create(&gap.order("PO-2")).unwrap();
    let early = gap.import(&gap.hq.fetch(&second.file_id).unwrap()).unwrap_err();
    assert_eq!(early.reason, "OUT_OF_ORDER");
    assert!(early.metadata.contains(&("expected".to_owned(), "1".to_owned())), "{early:?}");
    gap.import(&gap.hq.fetch(&first.file_id).unwrap()).unwrap();
    gap.import(&gap.hq.fetch(&second.file_id).unwrap()).unwrap();
}

#[test]
fn p5_a_changed_file_is_refused_whatever_was_changed() {
    let gap = Gap::new();
    let created = gap.create(&gap.order("PO-1")).unwrap();
    let file = gap.hq.fetch(&created.file_id).unwrap();
    for place in (0..file.len()).step_by(97) {
        let mut changed = file.clone();
        changed[place] ^= 1;
        let refused = gap.import(&changed).unwrap_err();
        assert_eq!(refused.reason, "UNTRUSTED_MESSAGE", "byte {place}");
    }
    gap.import(&file).unwrap();
}

#[test]
fn code_that_the_grant_does_not_accept_gets_nothing() {
    let mut gap = Gap::new();
    let entitlement = gap.granted();
    gap.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    gap.site.install_build::<DeviceKeyPlugin>("patched");
    let refused = gap.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "WRONG_PLUGIN");
}

#[test]
fn headquarters_new_code_is_trusted_when_its_identity_was_carried_over() {
    let mut gap = Gap::new();
    gap.granted();
    gap.hq.install_build::<EntitlementPlugin>("next");
    let created = gap.create(&gap.order("PO-2")).unwrap();
    let file = gap.hq.fetch(&created.file_id).unwrap();
    assert_eq!(gap.import(&file).unwrap_err().reason, "WRONG_PLUGIN");
    gap.site.import_identity(&gap.hq.export_identity()).unwrap();
    gap.import(&file).unwrap();
}

#[test]
fn orders_at_once_get_numbers_of_their_own() {
    let gap = Gap::new();
    let create = |order: &office::CreateRequest| loop {
        match gap.create(order) {
            Ok(created) => return (created.number, created.sequence),
            Err(status) => assert_eq!(status.reason, "CONFLICT", "{status:?}"),
        }
    };
    let orders: Vec<_> = (0..6).map(|number| gap.order(&format!("PO-{number}"))).collect();
    let mut numbers: Vec<_> = std::thread::scope(|scope| {
        let create = &create;
        let calls: Vec<_> = orders.iter().map(|order| scope.spawn(move || create(order))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=6).map(|number| (number, u64::from(number))).collect::<Vec<_>>());
}
