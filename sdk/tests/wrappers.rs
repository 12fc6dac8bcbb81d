//! The wrappers over a backend in memory: what authors use is what the backend is asked.

mod memory;

use std::{
    io::{Read as _, Write as _},
    rc::Rc,
};

use memory::{Memory, SUBJECT};
use mintmark_sdk::{
    Error, Status,
    allotments::{Allotment, Failure, UnitState},
    backend, caller,
    certificates::Csr,
    clock,
    keys::{Algorithm, Key, KeyPolicy, Operations},
    messages::{self, Purpose, RANGE_BYTES_MAX},
    records::{self, Entry, Table},
};
use serde::{Deserialize, Serialize};

fn install() -> (Rc<Memory>, backend::Installed) {
    let memory = Rc::new(Memory::default());
    let installed = backend::install(memory.clone());
    (memory, installed)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    count: u64,
}

const ROWS: Table<Row> = Table::new("row");
const LONGER_NAME: Table<Row> = Table::new("rows");

#[test]
fn a_table_gives_back_what_was_put() {
    let _host = install();
    assert_eq!(ROWS.get("a"), Ok(None));
    ROWS.put("a", &Row { count: 1 }).unwrap();
    ROWS.put_many([("b", &Row { count: 2 }), ("c", &Row { count: 3 })]).unwrap();
    assert_eq!(ROWS.get("a"), Ok(Some(Row { count: 1 })));
    let rows = ROWS.get_many(&["c", "x", "a"]).unwrap();
    assert_eq!(rows, [Some(Row { count: 3 }), None, Some(Row { count: 1 })]);
    ROWS.delete_many(&["a", "x"]).unwrap();
    assert!(!ROWS.contains("a").unwrap());
    assert!(ROWS.contains("b").unwrap());
}

#[test]
fn a_table_is_scanned_in_pages_and_alone() {
    let _host = install();
    LONGER_NAME.put("s", &Row { count: 9 }).unwrap();
    for key in ["a", "b", "b1", "c"] {
        ROWS.put(key, &Row { count: 0 }).unwrap();
    }
    let keys = |page: Vec<(Vec<u8>, Row)>| -> Vec<String> {
        page.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    };
    assert_eq!(keys(ROWS.scan(None, 3).unwrap()), ["a", "b", "b1"]);
    assert_eq!(keys(ROWS.scan(Some(b"b1"), 3).unwrap()), ["c"]);
    assert_eq!(keys(ROWS.scan(Some(b"c"), 3).unwrap()), [""; 0]);
    assert_eq!(keys(ROWS.scan_prefix(b"b", Some(b"b"), 3).unwrap()), ["b1"]);
}

#[test]
fn a_batch_of_any_size_is_put_and_read() {
    let (memory, _installed) = install();
    let keys: Vec<[u8; 4]> = (0..10_000_u32).map(u32::to_be_bytes).collect();
    let row = Row { count: 5 };
    ROWS.put_many(keys.iter().map(|key| (key, &row))).unwrap();
    assert_eq!(memory.records.borrow().len(), keys.len());
    assert!(ROWS.get_many(&keys).unwrap().iter().all(Option::is_some));
    ROWS.delete_many(&keys).unwrap();
    assert!(memory.records.borrow().is_empty());
}

#[test]
fn a_record_that_is_no_row_is_malformed() {
    let _host = install();
    for value in [&[][..], &[0x80], &[1, 0]] {
        records::put(&b"row\0a"[..], value).unwrap();
        assert_eq!(ROWS.get("a"), Err(Error::Malformed("a stored row")));
    }
    let status = Status::from(ROWS.get("a").unwrap_err());
    assert_eq!(status.reason, "PLUGIN_FAULT");
}

#[test]
fn single_records_are_batches_of_one() {
    let _host = install();
    records::put("a", "1").unwrap();
    assert_eq!(records::get("a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(records::scan(b"", None, 9).unwrap(), [Entry::new("a", "1")]);
    records::delete("a").unwrap();
    assert_eq!(records::get("a").unwrap(), None);
}

#[test]
fn a_body_is_read_through_io_read_and_in_ranges() {
    let (memory, _installed) = install();
    let body: Vec<u8> = (0..2 * RANGE_BYTES_MAX + 17).map(|at| at as u8).collect();
    *memory.body.borrow_mut() = body.clone();
    let opened = messages::open(Purpose::Bundle, "file").unwrap();
    assert_eq!(opened.read_all(body.len()).unwrap(), body);

    let mut reader = opened.body();
    let mut first = [0; 10];
    reader.read_exact(&mut first).unwrap();
    assert_eq!((&first[..], reader.position()), (&body[..10], 10));
    let mut rest = reader.next_range().unwrap().unwrap();
    while let Some(range) = reader.next_range().unwrap() {
        rest.extend(range);
    }
    assert_eq!(rest, body[10..]);
    assert_eq!(reader.position(), body.len() as u64);
    assert_eq!(reader.read(&mut first).unwrap(), 0);

    let mut later = Vec::new();
    opened.body_from(body.len() as u64 - 3).read_to_end(&mut later).unwrap();
    assert_eq!(later, body[body.len() - 3..]);
}

#[test]
fn p17_a_body_that_is_too_long_is_refused_before_it_is_read() {
    let (memory, _installed) = install();
    *memory.body.borrow_mut() = vec![0; 11];
    let opened = messages::open(Purpose::Receipt, "file").unwrap();
    let error = opened.read_all(10).unwrap_err();
    assert!(error.is("INVALID_ARGUMENT"));
    assert_eq!(memory.reads.get(), 0);
}

#[test]
fn small_writes_are_collected_and_none_is_too_large() {
    let (memory, _installed) = install();
    let mut writer = messages::seal(Purpose::Bundle, "headquarters/berlin", "audit", b"").unwrap();
    let row = [7; 100];
    for _ in 0..11_000 {
        writer.append(&row).unwrap();
    }
    writer.write_all(&vec![8; 3 * RANGE_BYTES_MAX]).unwrap();
    let sealed = writer.finish().unwrap();
    assert_eq!(sealed.file, "staged");

    let writes = memory.writes.borrow();
    let length: usize = writes.iter().sum();
    assert_eq!(length, 11_000 * 100 + 3 * RANGE_BYTES_MAX);
    assert!(writes.iter().all(|length| *length <= RANGE_BYTES_MAX));
    assert_eq!(writes.len(), length.div_ceil(RANGE_BYTES_MAX));
}

#[test]
fn a_unit_is_certified_with_the_csr_that_the_host_checked() {
    let _host = install();
    let allotment = Allotment::open("ent-1").unwrap();
    assert_eq!(allotment.find(SUBJECT).unwrap_err(), Error::NotFound);
    let unit = allotment.draw(SUBJECT, None).unwrap();
    assert_eq!(unit.status().unwrap().state, UnitState::Reserved);
    let csr = Csr::read(b"request").unwrap();
    let artefact = unit.certify_csr(&csr, &[]).unwrap();
    assert_eq!(artefact.public_key, csr.public_key());
    assert_eq!(allotment.find(SUBJECT).unwrap().status().unwrap().state, UnitState::Issued);
    assert!(unit.fail(Failure::Transient, "no power").unwrap_err().is("WRONG_STATE"));
}

#[test]
fn a_key_is_opened_where_it_exists_and_made_where_it_does_not() {
    let (memory, _installed) = install();
    let policy = KeyPolicy::new(Operations::SIGN);
    for _ in 0..2 {
        let key = Key::open_or_generate("labels", Algorithm::ED25519, &policy).unwrap();
        assert_eq!(key.attributes().unwrap().algorithm, Algorithm::ED25519);
        assert!(key.sign(b"label").unwrap().ends_with(b"label"));
    }
    assert_eq!(memory.keys.borrow().len(), 1);
}

#[test]
fn what_a_backend_leaves_out_refuses() {
    let _host = install();
    let error = mintmark_sdk::transfers::import_grant(b"order").unwrap_err();
    assert_eq!(error.code(), "UNAVAILABLE");
    assert!(error.detail().contains("import_grant"));
}

#[test]
fn the_innermost_backend_is_asked() {
    let (outer, _installed) = install();
    outer.now.set(1);
    {
        let (inner, _installed) = install();
        inner.now.set(2);
        assert_eq!(clock::now(), 2);
    }
    assert_eq!(clock::now(), 1);
    assert_eq!(caller::current().uri(), "spiffe://test/site/test/operator/test");
}
