//! Serial numbers that orders assign: no two devices of a product get one, whatever the order.
//!
//! A number is granted once, also where its entitlement was closed: nobody here knows which of its
//! numbers are on devices before all is reported.

use std::ops::Range;

use mintmark_exchange::product::Product;
use mintmark_sdk::records::Table;
use mintmark_sdk::{Error, Status};
use serde::{Deserialize, Serialize};

use crate::catalog::{self, Entitlement};

/// Serial numbers of one length, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    first: String,
    entitlement: String,
}

/// By product, zero byte, length of the serial numbers, and the last one of a range. The ranges of
/// a product don't meet, so of those that end at a number or after it, the first begins first.
const TAKEN: Table<Taken> = Table::new("serials");

/// Refuses units whose serial numbers were granted before.
pub(crate) fn check(product: &Product, units: Range<u64>) -> Result<(), Status> {
    let Some((first, last)) = assigned(product, units) else { return Ok(()) };
    let found = ending_from(product, &first)?.map(|(_, taken)| taken);
    let Some(taken) = found.filter(|taken| taken.first <= last) else { return Ok(()) };
    let message = format!(
        "the serial numbers: some were granted with {}; an order begins after those of all others, \
         and an extension needs its next ones: make a new order instead",
        taken.entitlement
    );
    Err(Status::invalid("TERMS_INVALID", message).with_fact("entitlement", taken.entitlement))
}

/// Remembers whose serial numbers these are. Those of an order that was forgotten and adopted can
/// meet those of a later one: then both are one range, of the later entitlement.
pub(crate) fn add(product: &Product, units: Range<u64>, entitlement: &str) -> Result<(), Error> {
    let Some((mut first, mut last)) = assigned(product, units) else { return Ok(()) };
    while let Some((key, taken)) = ending_from(product, &first)? {
        if taken.first > last {
            break;
        }
        TAKEN.delete(&key)?;
        let ends = String::from_utf8_lossy(&key[key.len() - last.len()..]).into_owned();
        (first, last) = (first.min(taken.first), last.max(ends));
    }
    let entitlement = entitlement.to_owned();
    TAKEN.put(key(product, &last), &Taken { first, entitlement })
}

/// The first range that ends at `serial` or after it, with its key.
fn ending_from(product: &Product, serial: &str) -> Result<Option<(Vec<u8>, Taken)>, Error> {
    let at = key(product, serial);
    if let Some(taken) = TAKEN.get(&at)? {
        return Ok(Some((at, taken)));
    }
    let page = TAKEN.scan_prefix(&prefix(product, serial.len()), Some(&at), 1)?;
    Ok(page.into_iter().next())
}

/// Remembers those of what was added to an entitlement that had `before` units.
pub(crate) fn add_extension(entitlement: &Entitlement, before: u64) -> Result<(), Error> {
    if entitlement.total == before {
        return Ok(());
    }
    let product = catalog::grant(&entitlement.id)?.product;
    add(&product, before..entitlement.total, &entitlement.id)
}

/// The first and the last serial number; none where devices bring theirs.
fn assigned(product: &Product, units: Range<u64>) -> Option<(String, String)> {
    let last = units.end.checked_sub(1).filter(|last| *last >= units.start)?;
    Some((product.serial.make(units.start)?, product.serial.make(last)?))
}

fn key(product: &Product, last: &str) -> Vec<u8> {
    [prefix(product, last.len()).as_slice(), last.as_bytes()].concat()
}

/// Of one length, serial numbers are in the order of their bytes.
fn prefix(product: &Product, length: usize) -> Vec<u8> {
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    [product.id.as_bytes(), &[0, length]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::installed;
    use mintmark_exchange::product::{Delivery, KeyOrigin};
    use mintmark_exchange::serial::{CheckDigit, SerialRule};

    fn product(id: &str, prefix: &str, digits: u8, start: u64) -> Product {
        let prefix = prefix.to_owned();
        Product {
            id: id.to_owned(),
            name: id.to_owned(),
            origin: KeyOrigin::DeviceBorn,
            algorithm: "ecdsa-p256".to_owned(),
            delivery: Delivery::None,
            template: None,
            serial: SerialRule::Assigned { prefix, digits, start, check: CheckDigit::Luhn },
            subjects: None,
        }
    }

    #[test]
    fn a_number_is_granted_once_and_its_neighbours_are_free() {
        let _records = installed();
        let at = |start| product("t2", "T", 4, start);
        add(&at(100), 0..50, "ent-1").unwrap();
        add(&at(300), 0..50, "ent-2").unwrap();
        // Each is the first number and the number of units.
        for (start, units) in
            [(100, 1), (99, 2), (149, 1), (149, 100), (1, 999), (120, 5), (349, 9)]
        {
            let refused = check(&at(start), 0..units).unwrap_err();
            assert_eq!(refused.reason, "TERMS_INVALID", "{start} {units}");
        }
        for (start, units) in [(1, 99), (150, 150), (350, 9), (200, 0)] {
            assert_eq!(check(&at(start), 0..units), Ok(()), "{start} {units}");
        }
        // An extension goes on where the order ended.
        assert_eq!(check(&at(100), 50..200), Ok(()));
        assert!(check(&at(100), 50..201).is_err());
    }

    #[test]
    fn an_adopted_order_that_meets_a_later_one_hides_none_of_its_numbers() {
        let _records = installed();
        let at = |start| product("t2", "T", 4, start);
        add(&at(500), 0..50, "ent-2").unwrap();
        add(&at(700), 0..50, "ent-3").unwrap();
        // It was forgotten, and holds the first two.
        add(&at(1), 0..720, "ent-1").unwrap();
        add(&at(100), 0..650, "ent-4").unwrap();
        for start in [1, 100, 400, 499, 510, 560, 749] {
            assert!(check(&at(start), 0..1).is_err(), "{start}");
        }
        for start in [0, 750] {
            assert_eq!(check(&at(start), 0..1), Ok(()), "{start}");
        }
    }

    #[test]
    fn other_products_and_other_lengths_do_not_meet_and_another_prefix_may() {
        let _records = installed();
        add(&product("t2", "T", 4, 100), 0..50, "ent-1").unwrap();
        for free in [product("t3", "T", 4, 100), product("t2", "T", 5, 100)] {
            assert_eq!(check(&free, 0..50), Ok(()));
        }
        // T0 and three digits are the same numbers as T and four.
        assert!(check(&product("t2", "T0", 3, 120), 0..1).is_err());
    }
}
