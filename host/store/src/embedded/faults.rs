//! Power cuts and failing disks, simulated beneath the engine: a disk that forgets what was not
//! synced, tears what was being written, and fails at its n-th operation, once or for good.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use futures_executor::block_on;
use mintmark_crypto::Secret;
use redb::StorageBackend;

use super::Embedded;
use crate::{Add, Damage, Error, Identity, Key, NewRow, Store, Transaction};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
struct State {
    /// What a reader sees.
    current: Vec<u8>,
    /// What a power cut surely leaves.
    durable: Vec<u8>,
    /// What it may leave, in part and in any order.
    unsynced: Vec<Change>,
    /// The operations that write or sync before the failing one.
    budget: u64,
    fails_for_good: bool,
    failures: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(len) => content.resize(*len, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
        }
    }

    /// What is left of it after a power cut: all, nothing, or for a write its first sectors.
    fn survivor(&self, random: &mut Random) -> Option<Self> {
        match (random.below(3), self) {
            (0, _) => None,
            (1, Self::Write { offset, data }) => {
                let sectors = random.below(1 + data.len() / SECTOR_BYTES);
                let data = data[..sectors * SECTOR_BYTES].to_vec();
                Some(Self::Write { offset: *offset, data })
            }
            _ => Some(self.clone()),
        }
    }
}

/// A seeded xorshift, so that a failing run is replayed by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

impl Disk {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            current: Vec::new(),
            durable: Vec::new(),
            unsynced: Vec::new(),
            budget: u64::MAX,
            fails_for_good: false,
            failures: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn fail_after(&self, operations: u64, for_good: bool) {
        let mut state = self.state();
        state.budget = operations;
        state.fails_for_good = for_good;
    }

    /// The disk after a power cut, working again.
    fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = Random(seed | 1);
        let state = self.state();
        let mut content = state.durable.clone();
        let mut survivors: Vec<Change> =
            state.unsynced.iter().filter_map(|change| change.survivor(&mut random)).collect();
        // A disk may reorder what was not synced, except that a file can't be written before it
        // has its length.
        for index in (1..survivors.len()).rev() {
            let other = random.below(index + 1);
            let is_write = |change: &Change| matches!(change, Change::Write { .. });
            if survivors[other..=index].iter().all(is_write) {
                survivors.swap(index, other);
            }
        }
        for change in survivors {
            change.apply(&mut content);
        }
        let disk = Self::new();
        disk.state().current.clone_from(&content);
        disk.state().durable = content;
        disk
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        if self.budget == 0 {
            self.failures += 1;
            if !self.fails_for_good {
                self.budget = u64::MAX;
            }
            return Err(io::Error::other("the disk fails, as the test wants"));
        }
        self.budget -= 1;
        Ok(())
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.spend()?;
        change.apply(&mut self.current);
        self.unsynced.push(change);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.state();
        let content = state.current.get(offset..offset + out.len());
        out.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.state().change(Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        state.durable = state.current.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.state()
            .change(Change::Write { offset: usize::try_from(offset).unwrap(), data: data.to_vec() })
    }
}

fn identity() -> Identity {
    Identity::new([1; 16], "node")
}

fn secret() -> Secret<32> {
    Secret::from_bytes(&[2; 32])
}

fn create(disk: &Disk) -> Result<Embedded, Error> {
    Embedded::create_in(disk.clone(), &identity(), &secret())
}

fn open(disk: &Disk) -> Result<Embedded, Error> {
    Embedded::open_in(disk.clone(), &identity(), &secret(), u64::MAX)
}

/// One unit: a record, a counter and a row, together.
fn issue(store: &Embedded, unit: u64) -> Result<(), Error> {
    let transaction = Transaction {
        writes: vec![(Key::new(1, unit.to_be_bytes()), Some(vec![0x5a; 300].into()))],
        adds: vec![Add { key: Key::new(2, "issued"), delta: 1, min: 0, max: 1_000 }],
        rows: vec![NewRow { body: b"issued".to_vec(), counters: vec![0] }],
        ..Transaction::default()
    };
    block_on(store.commit(vec![transaction])).map(|_| ())
}

/// Issues until the disk fails; how many were acknowledged.
fn issue_until_failure(store: &Embedded, units: u64) -> u64 {
    (0..units).find(|&unit| issue(store, unit).is_err()).unwrap_or(units)
}

/// Walks the store and answers how many units it has, in all three places.
fn issued(store: &Embedded) -> u64 {
    let verified = block_on(store.verify()).unwrap();
    assert_eq!(verified.position.commit, verified.rows);
    let counter = u64::from(verified.rows > 0);
    assert_eq!(verified.records, verified.rows + counter);
    verified.rows
}

#[test]
fn s2_a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let mut cut_short = 0;
    for operations in 0..120 {
        for seed in 1..4 {
            let disk = Disk::new();
            let store = create(&disk).unwrap();
            disk.fail_after(operations, true);
            let acknowledged = issue_until_failure(&store, 8);
            drop(store);
            cut_short += u64::from(disk.state().failures > 0);

            let run = format!("operations {operations}, seed {seed}");
            let disk = disk.after_power_cut(seed * 1_000_003 + operations);
            let store = open(&disk).unwrap_or_else(|error| panic!("{run}: {error}"));
            let survived = issued(&store);
            let in_doubt = acknowledged..=acknowledged + 1;
            assert!(in_doubt.contains(&survived), "{run}: {survived}");
            issue(&store, 100).unwrap();
        }
    }
    assert!(cut_short > 50, "the fault did fire: {cut_short}");
}

#[test]
fn s3_a_power_cut_during_recovery_loses_nothing_either() {
    for operations in 0..40 {
        let disk = Disk::new();
        let store = create(&disk).unwrap();
        disk.fail_after(20 + operations, true);
        let acknowledged = issue_until_failure(&store, 8);
        drop(store);
        let disk = disk.after_power_cut(operations);
        for recovery in 0..6 {
            disk.fail_after(recovery, true);
            drop(open(&disk));
            let run = format!("operations {operations}, recovery {recovery}");
            let again = disk.after_power_cut(operations * 7 + recovery);
            let store = open(&again).unwrap_or_else(|error| panic!("{run}: {error}"));
            let in_doubt = acknowledged..=acknowledged + 1;
            assert!(in_doubt.contains(&issued(&store)), "{run}");
        }
    }
}

#[test]
fn s5_after_one_failed_operation_the_store_does_not_write_until_it_is_opened_again() {
    for operations in 0..12 {
        let disk = Disk::new();
        let store = create(&disk).unwrap();
        issue(&store, 0).unwrap();
        disk.fail_after(operations, false);
        let acknowledged = 1 + issue_until_failure_from(&store, 1, 30);
        assert_eq!(disk.state().failures, 1, "the fault did fire");
        // The disk works again, but nobody knows what is on it.
        assert_eq!(issue(&store, 100), Err(Error::Unavailable));
        drop(store);
        let store = open(&disk.after_power_cut(operations)).unwrap();
        let in_doubt = acknowledged..=acknowledged + 1;
        assert!(in_doubt.contains(&issued(&store)), "operations {operations}");
    }
}

fn issue_until_failure_from(store: &Embedded, first: u64, units: u64) -> u64 {
    (first..first + units)
        .position(|unit| issue(store, unit).is_err())
        .map_or(units, |done| done as u64)
}

#[test]
fn a_creation_that_was_cut_short_is_not_taken_for_a_store_with_content() {
    let mut refused = 0;
    for operations in 0..40 {
        let disk = Disk::new();
        disk.fail_after(operations, true);
        let created = create(&disk).is_ok();
        match open(&disk.after_power_cut(operations + 1)) {
            Ok(store) => assert_eq!(issued(&store), 0),
            Err(Error::Corrupt { what }) => {
                assert!(!created, "a store that was created opens");
                assert_ne!(what, Damage::SetHash);
                refused += 1;
            }
            Err(other) => panic!("operations {operations}: {other}"),
        }
    }
    assert!(refused > 0, "the fault did fire");
}

#[test]
fn s6_a_large_file_whose_pages_are_not_checked_at_open_gives_no_wrong_answer() {
    let disk = Disk::new();
    let store = create(&disk).unwrap();
    assert_eq!(issue_until_failure(&store, 40), 40);
    drop(store);
    let whole = disk.state().current.clone();
    let mut detected = 0;
    for at in (0..whole.len()).step_by(293) {
        let flipped = Disk::new();
        flipped.state().current.clone_from(&whole);
        flipped.state().current[at] ^= 0x04;
        let opened = Embedded::open_in(flipped, &identity(), &secret(), 0);
        match opened.and_then(|store| block_on(store.verify())) {
            Ok(verified) => assert_eq!(verified.rows, 40, "byte {at}"),
            Err(Error::Corrupt { .. } | Error::WrongSecret | Error::WrongIdentity) => detected += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(detected > 10, "the flips did reach something: {detected}");
}
