//! The memory's file: digests that were remembered, appended and never removed.
//!
//! ```text
//! per entry: digest 32 ‖ HMAC-SHA-256 over (index u64 ‖ digest) 32
//! ```
//!
//! The anchor says how many entries it covers. Up to there every entry must be whole; what comes
//! after and is not whole is an append that a power cut has torn, of which nothing was released.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
};

use mintmark_crypto::{Secret, mac};

use crate::{Error, Part};

const ENTRY_LEN: usize = 64;

/// The open memory file and the digests in it.
pub(super) struct Memory {
    file: File,
    key: Secret<32>,
    digests: HashSet<[u8; 32]>,
    count: u64,
}

impl Memory {
    pub(super) fn read(mut file: File, key: Secret<32>, covered: u64) -> Result<Self, Error> {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|_| Error::Unavailable)?;
        let mut memory = Self { file, key, digests: HashSet::new(), count: 0 };
        for entry in content.chunks(ENTRY_LEN) {
            let Some(digest) = memory.check(entry) else {
                break;
            };
            memory.digests.insert(digest);
            memory.count += 1;
        }
        if memory.count < covered {
            return Err(Error::Corrupt(Part::Memory));
        }
        let whole_bytes = memory.count * ENTRY_LEN as u64;
        memory.file.set_len(whole_bytes).map_err(|_| Error::Unavailable)?;
        Ok(memory)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn contains(&self, digest: &[u8; 32]) -> bool {
        self.digests.contains(digest)
    }

    /// Makes those of `digests` durable that are not yet known.
    pub(super) fn append(&mut self, digests: &[[u8; 32]]) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let new: Vec<&[u8; 32]> = digests
            .iter()
            .filter(|&digest| !self.contains(digest) && seen.insert(digest))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(ENTRY_LEN * new.len());
        for (index, digest) in (self.count..).zip(&new) {
            entries.extend_from_slice(*digest);
            entries.extend_from_slice(&self.code(index, digest));
        }
        self.file
            .seek(SeekFrom::Start(self.count * ENTRY_LEN as u64))
            .and_then(|_| self.file.write_all(&entries))
            .and_then(|()| self.file.sync_data())
            .map_err(|error| Error::of_disk(&error))?;
        self.count += new.len() as u64;
        self.digests.extend(new);
        Ok(())
    }

    /// The digest of the next entry, if the entry is whole and in its place.
    fn check(&self, entry: &[u8]) -> Option<[u8; 32]> {
        let (digest, code) = entry.split_first_chunk()?;
        let message = message(self.count, digest);
        mac::verify_sha256(self.key.expose(), &message, code).ok()?;
        Some(*digest)
    }

    fn code(&self, index: u64, digest: &[u8; 32]) -> [u8; 32] {
        mac::hmac_sha256(self.key.expose(), &message(index, digest))
    }
}

fn message(index: u64, digest: &[u8; 32]) -> [u8; 40] {
    let mut message = [0; 40];
    message[..8].copy_from_slice(&index.to_be_bytes());
    message[8..].copy_from_slice(digest);
    message
}
