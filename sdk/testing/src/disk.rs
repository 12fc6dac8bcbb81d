//! A disk that keeps what disks keep, and no more.
//!
//! What was not synced may be lost in a power cut, in part and in any order, and a write may be
//! torn between two sectors. Beyond that a disk fails as it is told to: at its n-th operation, once
//! or for good; when it is full; by writing to another place; or by saying that something is
//! durable that is not.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mintmark_store::Medium;

use crate::chance::Chance;

/// What a disk writes whole, or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk in memory that fails on demand. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// After so many operations that write or sync, one fails; those after it work.
    Once(u64),
    /// After so many operations that write or sync, all fail.
    ForGood(u64),
    /// There is room for so many bytes and no more.
    Full(u64),
    /// After so many operations that write or sync, one write lands elsewhere, and nobody is told.
    Astray {
        /// How many come before it.
        after: u64,
        /// How many sectors further it lands, from the beginning again after the end.
        sectors: u64,
    },
}

#[derive(Debug)]
struct State {
    /// What a reader sees.
    current: Vec<u8>,
    /// What a power cut surely leaves.
    durable: Vec<u8>,
    /// What it may leave, in part and in any order.
    unsynced: Vec<Change>,
    fault: Option<DiskFault>,
    operations: u64,
    fired: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => content.resize(*length, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
        }
    }

    /// What is left of it after a power cut: all, nothing, or for a write some of its sectors.
    fn survivor(&self, chance: &mut Chance) -> Option<Self> {
        match (chance.below(3), self) {
            (0, _) => None,
            (1, Self::Write { offset, data }) => {
                let sectors = chance.below(1 + data.len() / SECTOR_BYTES);
                let cut = sectors * SECTOR_BYTES;
                // A disk may write the end of a range first.
                if chance.one_in(2) {
                    return Some(Self::Write { offset: *offset, data: data[..cut].to_vec() });
                }
                Some(Self::Write { offset: offset + cut, data: data[cut..].to_vec() })
            }
            _ => Some(self.clone()),
        }
    }
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk that works.
    pub fn new() -> Self {
        Self::with(Vec::new())
    }

    /// A disk that works, with this content.
    pub fn with(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            current: content.clone(),
            durable: content,
            unsynced: Vec::new(),
            fault: None,
            operations: 0,
            fired: 0,
        })))
    }

    /// From now on it fails like this; `None` for not at all.
    pub fn fail(&self, fault: Option<DiskFault>) {
        let mut state = self.state();
        state.operations = 0;
        state.fault = fault;
    }

    /// How many operations have failed.
    pub fn fired(&self) -> u64 {
        self.state().fired
    }

    /// What is surely durable.
    pub fn durable(&self) -> Vec<u8> {
        self.state().durable.clone()
    }

    /// How many changes a power cut may lose.
    pub fn unsynced(&self) -> usize {
        self.state().unsynced.len()
    }

    /// The disk after a power cut, working again.
    pub fn after_power_cut(&self, chance: &mut Chance) -> Self {
        let state = self.state();
        let mut content = state.durable.clone();
        let mut survivors: Vec<Change> =
            state.unsynced.iter().filter_map(|change| change.survivor(chance)).collect();
        // What was not synced may land in any order, except that a file is not written before it
        // has its length.
        for index in (1..survivors.len()).rev() {
            let other = chance.below(index + 1);
            let is_write = |change: &Change| matches!(change, Change::Write { .. });
            if survivors[other..=index].iter().all(is_write) {
                survivors.swap(index, other);
            }
        }
        for change in survivors {
            change.apply(&mut content);
        }
        Self::with(content)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation that writes or syncs; fails it where it is to fail.
    fn spend(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fault {
            Some(DiskFault::Once(after)) if self.operations > after => self.fault = None,
            Some(DiskFault::ForGood(after)) if self.operations > after => {}
            _ => return Ok(()),
        }
        self.fired += 1;
        Err(io::Error::other("the simulated disk fails, as it was told"))
    }

    /// Where a write lands.
    fn landing(&mut self, offset: usize, length: usize) -> usize {
        let Some(DiskFault::Astray { after, sectors }) = self.fault else { return offset };
        let places = self.current.len().saturating_sub(length) / SECTOR_BYTES + 1;
        let shift = usize::try_from(sectors).map_or(0, |sectors| sectors % places);
        if self.operations < after || shift == 0 {
            return offset;
        }
        (self.fault, self.fired) = (None, self.fired + 1);
        (offset / SECTOR_BYTES + shift) % places * SECTOR_BYTES
    }

    fn change(&mut self, change: Change, end: u64) -> io::Result<()> {
        self.spend()?;
        if let Some(DiskFault::Full(room)) = self.fault
            && end > room
        {
            self.fired += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut self.current);
        self.unsynced.push(change);
        Ok(())
    }
}

impl Medium for SimulatedDisk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.state().current.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let bytes = usize::try_from(length).map_err(|_| io::ErrorKind::StorageFull)?;
        self.state().change(Change::Length(bytes), length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let begin = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let content = begin.checked_add(out.len()).and_then(|end| state.current.get(begin..end));
        out.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
        let mut state = self.state();
        let offset = state.landing(offset, data.len());
        state.change(Change::Write { offset, data: data.to_vec() }, end)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        for change in std::mem::take(&mut state.unsynced) {
            change.apply(&mut state.durable);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_nothing_else_surely_does() {
        let mut lost = 0;
        for seed in 0..64 {
            let disk = SimulatedDisk::new();
            disk.set_length(2_048).unwrap();
            disk.write(0, &[1; 1_024]).unwrap();
            disk.sync().unwrap();
            disk.write(1_024, &[2; 1_024]).unwrap();
            assert_eq!(disk.unsynced(), 1);
            let content = disk.after_power_cut(&mut Chance::new(seed)).durable();
            assert_eq!(content[..1_024], [1; 1_024]);
            for sector in content[1_024..].chunks(SECTOR_BYTES) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
            }
            lost += u32::from(content[1_024..] != [2; 1_024]);
        }
        assert!(lost > 10 && lost < 64, "the power cut did lose something: {lost}");
    }

    #[test]
    fn a_disk_fails_once_for_good_or_when_it_is_full() {
        let disk = SimulatedDisk::new();
        disk.fail(Some(DiskFault::Once(1)));
        let tries: Vec<_> = (0..4).map(|_| disk.write(0, b"x").is_ok()).collect();
        assert_eq!(tries, [true, false, true, true]);
        disk.fail(Some(DiskFault::ForGood(1)));
        let tries: Vec<_> = (0..4).map(|_| disk.sync().is_ok()).collect();
        assert_eq!(tries, [true, false, false, false]);
        disk.fail(Some(DiskFault::Full(600)));
        assert!(disk.write(0, &[1; 600]).is_ok());
        let full = disk.write(500, &[1; 101]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.fired(), 5);
    }
    #[test]
    fn a_write_that_goes_astray_changes_another_place_and_says_nothing() {
        let disk = SimulatedDisk::new();
        disk.set_length(2_048).unwrap();
        disk.fail(Some(DiskFault::Astray { after: 1, sectors: 2 }));
        for offset in [0, 1_024, 1_536] {
            disk.write(offset, &[1; SECTOR_BYTES]).unwrap();
        }
        disk.sync().unwrap();
        let sectors: Vec<_> = disk.durable().chunks(SECTOR_BYTES).map(|it| it[0]).collect();
        assert_eq!((disk.fired(), sectors), (1, vec![1, 0, 0, 1]), "the second one");
    }
}
