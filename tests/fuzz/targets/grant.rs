//! Grants with their key packages, and what custody asks a grant that it has verified.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::grant::{Grant, GrantPackage};

fuzz_target!(|bytes: &[u8]| {
    let Ok(package) = GrantPackage::decode(bytes) else { return };
    assert_eq!(package.encode(), bytes);
    let Ok(grant) = package.grant.open::<Grant>() else { return };
    let _ = (package.matches(&grant), grant.core_digest(), grant.digest());
    if grant.check().is_err() {
        return;
    }
    let (terms, product) = (&grant.terms, &grant.product);
    assert!(terms.total > 0 && terms.not_before < terms.not_after);
    for unit in [0, terms.total / 2, terms.total - 1] {
        let serial = product.serial.make(unit);
        assert!(product.serial.is_given() || serial.is_some(), "unit {unit} has a serial");
        if let Some(serial) = serial {
            assert!(product.serial.accepts_for(unit, &serial));
            assert!(unit == 0 || !product.serial.accepts_for(unit - 1, &serial));
        }
    }
});
