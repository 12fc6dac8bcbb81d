//! The check of a whole store: silent about what is right, and naming what is not.
//!
//! Damage is done through the store's own door, so that its set hash and its chains hold: what is
//! left to see is that the records do not agree.

use std::sync::Arc;

use futures_executor::block_on;
use mintmark_crypto::SecretBytes;
use mintmark_custody::{Failure, VerifyError, verify};
use mintmark_exchange::grant::ConfirmProof;
use mintmark_sdk_testing::{Device, Hardware};
use mintmark_store::{Add, Key, NewRow, Range, Store, Transaction};

use crate::bench::{Bench, draw, finish};

/// Tables, as they are on disk.
const KEYS: u8 = 2;
const ALLOTMENTS: u8 = 4;
const COUNTERS: u8 = 5;
const UNITS: u8 = 6;
const SUBJECTS: u8 = 7;
const SERIALS: u8 = 8;
const DEVICE_KEYS: u8 = 9;
const COMPONENTS: u8 = 11;
const FILES: u8 = 13;
const FILE_PARTS: u8 = 14;

/// A site with units in several states.
fn site() -> (Hardware, String) {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 20);
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    for subject in ["SN:0", "SN:1", "SN:2", "SN:3"] {
        bench.provision(&entitlement, subject, &Device::new()).unwrap();
    }
    block_on(async {
        let mut call = bench.call().await;
        let unit = draw(&mut call, &entitlement, "SN:1").await.unwrap();
        call.confirm(&unit, None).await.unwrap();
        let unit = draw(&mut call, &entitlement, "SN:2").await.unwrap();
        call.fail(&unit, Failure::Transient, "again").await.unwrap();
        let unit = draw(&mut call, &entitlement, "SN:3").await.unwrap();
        call.fail(&unit, Failure::Permanent, "dead").await.unwrap();
        draw(&mut call, &entitlement, "SN:4").await.unwrap();
        finish(call).await.unwrap();
    });
    (bench.site.hardware().clone(), entitlement)
}

fn check(hardware: &Hardware) -> Result<(u64, u64), VerifyError> {
    let sealing = hardware.platform.sealing_secret().unwrap();
    let verified = block_on(verify(&*hardware.store, &sealing, Some(&*hardware.platform)))?;
    Ok((verified.allotments, verified.units))
}

/// What the check says is wrong.
fn found(hardware: &Hardware) -> String {
    match check(hardware) {
        Err(error @ VerifyError::Wrong { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("nothing is found"),
    }
}

fn records(store: &Arc<dyn Store>, table: u8) -> Vec<(Key, Vec<u8>)> {
    let snapshot = block_on(store.snapshot()).unwrap();
    let found = block_on(snapshot.scan(&Range::all(table, []))).unwrap();
    let value = |found: mintmark_store::Found| found.value.unwrap().expose().to_vec();
    found.into_iter().map(|(key, record)| (key, value(record))).collect()
}

fn write(store: &Arc<dyn Store>, key: &Key, value: Option<&[u8]>) {
    let value = value.map(|value| SecretBytes::new(value.to_vec()));
    let transaction = Transaction { writes: vec![(key.clone(), value)], ..Transaction::default() };
    block_on(store.commit(vec![transaction])).unwrap();
}

/// Does damage, sees it named, and undoes it.
fn named(hardware: &Hardware, key: &Key, value: Option<&[u8]>, expected: &str) {
    let store = &hardware.store;
    let before = records(store, key.table).into_iter().find(|(known, _)| known == key);
    write(store, key, value);
    let text = found(hardware);
    assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    write(store, key, before.as_ref().map(|(_, value)| &value[..]));
    check(hardware).unwrap();
}

#[test]
fn a_store_that_is_right_is_found_right() {
    let (hardware, _) = site();
    assert_eq!(check(&hardware).unwrap(), (1, 5));
}

#[test]
fn s11_a_missing_record_is_named_whatever_it_is() {
    let (hardware, entitlement) = site();
    let store = &hardware.store;
    for (table, expected) in [
        (SUBJECTS, "its subject does not lead to it"),
        (SERIALS, "its serial number does not lead to it"),
        (DEVICE_KEYS, "its device's key does not lead to it"),
        (UNITS, "records say so"),
        (COMPONENTS, "its component is not the one that was installed"),
        (FILE_PARTS, "its content is not the one that was staged"),
        (FILES, "there is no such file"),
        (ALLOTMENTS, "it leads to an entitlement that is not there"),
        (1, "there is no record of it"),
    ] {
        for (key, _) in records(store, table) {
            named(&hardware, &key, None, expected);
        }
    }
    let first = Key::new(COUNTERS, [entitlement.as_bytes(), &[0, 1]].concat());
    named(&hardware, &first, None, "credited is not the sum");
}

#[test]
fn s11_a_record_in_anothers_place_is_named() {
    let (hardware, _) = site();
    let store = &hardware.store;
    for (table, expected) in [
        (UNITS, ""),
        (SUBJECTS, ""),
        (SERIALS, "does not lead to it"),
        (DEVICE_KEYS, "does not lead to it"),
        (KEYS, "it does not open under its policy"),
        (COUNTERS, ""),
    ] {
        let all = records(store, table);
        for (at, (key, value)) in all.iter().enumerate() {
            let (_, other) = &all[(at + 1) % all.len()];
            if other != value {
                named(&hardware, key, Some(other), expected);
            }
        }
    }
}

#[test]
fn s11_a_record_that_nobody_wrote_is_named() {
    let (hardware, entitlement) = site();
    let store = &hardware.store;
    for (table, expected) in [
        (SUBJECTS, "it leads to a unit of another subject"),
        (SERIALS, "it leads to a unit with another serial number"),
        (DEVICE_KEYS, "it leads to a unit with another key"),
        (FILE_PARTS, "there is no such file"),
    ] {
        let (key, value) = records(store, table).pop().unwrap();
        let mut other = key.clone();
        let place = other.key.iter().position(|byte| *byte == 0).map_or(0, |at| at - 1);
        other.key[place] ^= 1;
        if table == SUBJECTS || table == SERIALS {
            other = Key::new(table, [&key.key[..], b"0"].concat());
        }
        named(&hardware, &other, Some(&value), expected);
    }
    // A unit beyond all that were credited, and one that no row tells of.
    let (_, unit) = records(store, UNITS).pop().unwrap();
    let place = |number: u64| {
        Key::new(UNITS, [entitlement.as_bytes(), &[0], &number.to_be_bytes()].concat())
    };
    named(&hardware, &place(20), Some(&unit), "it is beyond all units that were credited");
    named(&hardware, &place(7), Some(&unit), "does not lead to it");
}

#[test]
fn s11_bytes_that_are_no_record_are_named() {
    let (hardware, _) = site();
    for table in [1, KEYS, ALLOTMENTS, UNITS, SUBJECTS, SERIALS, DEVICE_KEYS, 10, 12, FILES, 16, 19]
    {
        let (key, _) = records(&hardware.store, table).swap_remove(0);
        named(&hardware, &key, Some(b"\x01rubbish"), "it cannot be read");
    }
}

#[test]
fn i1_a_unit_that_was_set_back_by_itself_is_named() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 5);
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let hardware = bench.site.hardware().clone();
    let (key, issued) = records(&hardware.store, UNITS).swap_remove(0);
    block_on(async {
        let mut call = bench.call().await;
        let unit = draw(&mut call, &entitlement, "SN:1").await.unwrap();
        call.confirm(&unit, None).await.unwrap();
        finish(call).await.unwrap();
    });
    named(&hardware, &key, Some(&issued), "units are issued");
    // Also where the counters are made to fit: the rows know better.
    let counter =
        |position: u8| Key::new(COUNTERS, [entitlement.as_bytes(), &[0, position]].concat());
    let shift = |from, to| Transaction {
        adds: vec![
            Add { key: counter(from), delta: -1, min: 0, max: 100 },
            Add { key: counter(to), delta: 1, min: 0, max: 100 },
        ],
        ..Transaction::default()
    };
    let (_, confirmed) = records(&hardware.store, UNITS).swap_remove(0);
    block_on(hardware.store.commit(vec![shift(4, 3)])).unwrap();
    named_once(&hardware, &key, &issued, "its rows say that it is confirmed");
    write(&hardware.store, &key, Some(&confirmed));
    block_on(hardware.store.commit(vec![shift(3, 4)])).unwrap();
    check(&hardware).unwrap();
    // Units that appear out of nothing keep the equation, and are in no row.
    let grown = Transaction {
        adds: [0, 1].map(|at| Add { key: counter(at), delta: 1, min: 0, max: 100 }).into(),
        ..Transaction::default()
    };
    block_on(hardware.store.commit(vec![grown])).unwrap();
    assert!(found(&hardware).contains("its counters are not those of row"));
}

fn named_once(hardware: &Hardware, key: &Key, value: &[u8], expected: &str) {
    write(&hardware.store, key, Some(value));
    let text = found(hardware);
    assert!(text.contains(expected), "{expected:?} is not in {text:?}");
}

#[test]
fn a_row_that_is_none_of_the_hosts_is_named() {
    let (hardware, _) = site();
    let row = NewRow { body: b"nobody's words".to_vec(), counters: Vec::new() };
    let transaction = Transaction { rows: vec![row], ..Transaction::default() };
    block_on(hardware.store.commit(vec![transaction])).unwrap();
    let text = found(&hardware);
    assert!(text.starts_with("row ") && text.ends_with("it cannot be read"), "{text}");
}

#[test]
fn r1_an_import_that_the_platform_has_forgotten_is_named() {
    let (hardware, _) = site();
    let other = Hardware::memory();
    let sealing = hardware.platform.sealing_secret().unwrap();
    let checked = block_on(verify(&*hardware.store, &sealing, Some(&*other.platform)));
    let text = checked.err().unwrap().to_string();
    assert!(text.contains("the platform does not remember its import"), "{text}");
}
