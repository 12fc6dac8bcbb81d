//! Absurd terms are refused by name, and packages belong to one grant.

use proptest::prelude::*;

use super::*;
use crate::{
    product::{Delivery, Field, KeyOrigin, Template},
    serial::{CheckDigit, SerialRule},
};

fn grant() -> Grant {
    Grant {
        version: VERSION,
        entitlement: "ent-0123456789abcdef".to_owned(),
        number: 7,
        order: "PO-7".to_owned(),
        exporter: "spiffe://acme/headquarters/berlin".to_owned(),
        recipient: "spiffe://acme/site/shenzhen".to_owned(),
        issued_at: 1,
        product: Product {
            id: "t2".to_owned(),
            name: "Thermostat 2".to_owned(),
            origin: KeyOrigin::DeviceBorn,
            algorithm: "ecdsa-p256".to_owned(),
            delivery: Delivery::None,
            template: Some(Template {
                organization: "Acme".to_owned(),
                model: "T2".to_owned(),
                fields: vec![Field { name: "line".to_owned(), max_bytes: 8 }],
            }),
            serial: SerialRule::Assigned {
                prefix: "T2-".to_owned(),
                digits: 6,
                start: 1,
                check: CheckDigit::None,
            },
            subjects: None,
        },
        terms: Terms {
            total: 1_000,
            not_before: 10,
            not_after: 20,
            rates: vec![Rate { units: 400, per_seconds: 10 }],
            max_in_doubt: 100,
            max_attempts_per_subject: 5,
            max_units_per_subject: 1,
            scrap_allowance: 10,
            audit_return: AuditReturn { units: 500, seconds: 86_400 },
            confirm_proof: ConfirmProof::Required,
            grace_seconds: 0,
            lease_size: 1_000,
            max_pause_seconds: 0,
            certificates_per_unit: 1,
        },
        product_ca: Some(vec![1]),
        batch_ca: Some(vec![2]),
        packages: Vec::new(),
        accepted_plugins: AcceptedPlugins {
            measurements: vec![[3; 32]],
            publishers: vec![Publisher { key_hash: [4; 32], security_version_min: 2 }],
        },
    }
}

fn refused(edit: impl FnOnce(&mut Grant)) -> TermsError {
    let mut grant = grant();
    edit(&mut grant);
    grant.check().unwrap_err()
}

#[test]
fn p15_absurd_terms_are_refused_by_name() {
    use TermsError::{Reversed, TooLarge, Zero};
    assert_eq!(grant().check(), Ok(()));
    assert_eq!(refused(|g| g.terms.total = 0), Zero("terms.total"));
    assert_eq!(refused(|g| g.terms.total = u64::MAX), TooLarge("terms.total"));
    assert_eq!(refused(|g| g.terms.not_after = 10), Reversed("terms.not_after"));
    assert_eq!(refused(|g| g.terms.not_after = u64::MAX), TooLarge("terms.not_after"));
    assert_eq!(refused(|g| g.terms.rates[0].units = 0), Zero("terms.rates.units"));
    assert_eq!(refused(|g| g.terms.rates[0].per_seconds = 0), Zero("terms.rates.per_seconds"));
    let rates = |g: &mut Grant| g.terms.rates = vec![g.terms.rates[0]; 9];
    assert_eq!(refused(rates), TooLarge("terms.rates"));
    assert_eq!(refused(|g| g.terms.max_in_doubt = 0), Zero("terms.max_in_doubt"));
    let audit = |g: &mut Grant| g.terms.audit_return.units = 0;
    assert_eq!(refused(audit), Zero("terms.audit_return.units"));
    let audit = |g: &mut Grant| g.terms.audit_return.seconds = 0;
    assert_eq!(refused(audit), Zero("terms.audit_return.seconds"));
    assert_eq!(refused(|g| g.terms.grace_seconds = u64::MAX), TooLarge("terms.grace_seconds"));
    let none = |g: &mut Grant| g.terms.certificates_per_unit = 0;
    assert_eq!(refused(none), Zero("terms.certificates_per_unit"));
}

#[test]
fn i8_products_that_contradict_themselves_are_refused() {
    use TermsError::{Malformed, Mismatch, Missing};
    assert_eq!(refused(|g| g.product.origin = KeyOrigin::Derived), Mismatch("product.delivery"));
    let station = |g: &mut Grant| g.product.delivery = Delivery::SealedToStation;
    assert_eq!(refused(station), Mismatch("product.delivery"));
    assert_eq!(refused(|g| g.product.template = None), Missing("product.template"));
    let unknown = |g: &mut Grant| g.product.algorithm = "rsa-1024".to_owned();
    assert_eq!(refused(unknown), Malformed("product.algorithm"));
    assert_eq!(refused(|g| g.product.id = "T2".to_owned()), Malformed("product.id"));
    let turned = |g: &mut Grant| g.product.name = "a\u{202e}b".to_owned();
    assert_eq!(refused(turned), Malformed("product.name"));
    let unsorted = |g: &mut Grant| g.product.subjects = Some(vec!["b".into(), "a".into()]);
    assert_eq!(refused(unsorted), Malformed("product.subjects"));
    assert_eq!(refused(|g| g.product.subjects = Some(Vec::new())), Missing("product.subjects"));
    assert_eq!(refused(|g| g.batch_ca = None), Missing("batch_ca"));
    let nobody = |g: &mut Grant| g.accepted_plugins = AcceptedPlugins::default();
    assert_eq!(refused(nobody), Missing("accepted_plugins"));
    let full = |g: &mut Grant| g.terms.total = 1_000_000;
    assert_eq!(refused(full), Mismatch("product.serial"));
    assert_eq!(refused(|g| g.entitlement = "ent-1".to_owned()), Malformed("entitlement"));
}

#[test]
fn site_born_and_derived_keys_may_do_without_certificates() {
    for origin in [KeyOrigin::SiteBorn, KeyOrigin::Derived] {
        let mut grant = grant();
        grant.product.origin = origin;
        grant.product.delivery = Delivery::SealedToDevice;
        grant.product.template = None;
        (grant.product_ca, grant.batch_ca) = (None, None);
        grant.terms.certificates_per_unit = 0;
        assert_eq!(grant.check(), Ok(()));
    }
}

#[test]
fn a_pool_needs_its_key_file_and_nothing_else_has_one() {
    let file = PackageRef { kind: PackageKind::Pool, digest: [6; 32] };
    let mut grant = grant();
    grant.packages.push(file);
    assert_eq!(grant.check(), Err(TermsError::Mismatch("packages")));
    grant.product.origin = KeyOrigin::Pool;
    grant.product.delivery = Delivery::SealedToDevice;
    assert_eq!((grant.check(), grant.key_file()), (Ok(()), Some([6; 32])));
    grant.packages.clear();
    assert_eq!(grant.check(), Err(TermsError::Mismatch("packages")));
    let most = crate::pool::KEYS_MAX;
    assert_eq!(grant.product.check(most + 1), Err(TermsError::TooLarge("terms.total")));
}

#[test]
fn the_keys_of_a_pool_travel_apart_from_the_grant() {
    let sealed =
        SealedPackage { kind: PackageKind::BatchCa, encapsulated: vec![1], ciphertext: vec![2] };
    let mut grant = grant();
    grant.packages = vec![
        PackageRef { kind: PackageKind::BatchCa, digest: sealed.digest() },
        PackageRef { kind: PackageKind::Pool, digest: [6; 32] },
    ];
    let order = SignedOrder { body: encode(&grant), chain: vec![vec![1]], signature: vec![1] };
    let mut package = GrantPackage { grant: order, packages: vec![sealed.clone()] };
    assert!(package.matches(&grant));
    package.packages.push(SealedPackage { kind: PackageKind::Pool, ..sealed });
    assert!(!package.matches(&grant), "a pool is no package of the message");
}

#[test]
fn a_package_belongs_to_one_grant_and_place() {
    let package = |kind| SealedPackage { kind, encapsulated: vec![1], ciphertext: vec![2] };
    let packages = vec![package(PackageKind::BatchCa), package(PackageKind::KeySet)];
    let mut grant = grant();
    let core = grant.core_digest();
    grant.packages = packages
        .iter()
        .map(|sealed| PackageRef { kind: sealed.kind, digest: sealed.digest() })
        .collect();
    // The list of packages is not part of what they are sealed to; all else is.
    assert_eq!(grant.core_digest(), core);
    let mut wider = grant.clone();
    wider.terms.total += 1;
    assert_ne!(wider.core_digest(), core);

    let order = SignedOrder { body: encode(&grant), chain: vec![vec![1]], signature: vec![1] };
    let mut whole = GrantPackage { grant: order, packages };
    assert!(whole.matches(&grant));
    assert_eq!(GrantPackage::decode(&whole.encode()), Ok(whole.clone()));
    assert_eq!(whole.grant.open::<Grant>().as_ref(), Ok(&grant));
    assert_eq!(whole.grant.digest(crate::order::GRANT), grant.digest());
    whole.packages.swap(0, 1);
    assert!(!whole.matches(&grant));
    whole.packages.pop();
    assert!(!whole.matches(&grant));
}

#[test]
fn a_publisher_is_accepted_from_its_security_version_on() {
    let accepted = grant().accepted_plugins;
    assert!(accepted.accept(&[3; 32], &[], 0));
    assert!(accepted.accept(&[9; 32], &[[8; 32], [4; 32]], 2));
    assert!(!accepted.accept(&[9; 32], &[[4; 32]], 1));
    assert!(!accepted.accept(&[9; 32], &[[8; 32]], 5));
}

proptest! {
    #[test]
    fn grants_round_trip(
        number in any::<u32>(),
        total in any::<u64>(),
        rates in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..8),
        order in "\\PC{0,40}",
        ca in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
    ) {
        let mut grant = Grant { number, order, product_ca: ca, ..grant() };
        grant.terms.total = total;
        let rate = |(units, per_seconds)| Rate { units, per_seconds };
        grant.terms.rates = rates.into_iter().map(rate).collect();
        let bytes = encode(&grant);
        prop_assert_eq!(canonical::decode::<Grant>(&bytes, bytes.len()), Ok(grant));
    }

    #[test]
    fn p2_a_flipped_bit_gives_no_grant_or_another(bit in any::<prop::sample::Index>()) {
        let bytes = encode(&grant());
        let mut flipped = bytes.clone();
        let bit = bit.index(bytes.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = canonical::decode::<Grant>(&flipped, bytes.len());
        prop_assert_ne!(read, Ok(grant()));
    }
}
