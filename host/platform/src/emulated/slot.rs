//! The anchor's file: two slots, the older of which is written, so that one is always whole.
//!
//! ```text
//! slot 0 at byte 0, slot 1 at byte 4096; each, with integers big-endian:
//! magic 8 ‖ generation u64 ‖ anchored u8 ‖ store id 16 ‖ epoch u64 ‖ commit u64 ‖ heads digest 32
//! ‖ set hash 32 ‖ remembered u64 ‖ HMAC-SHA-256 over all before it 32
//! ```
//!
//! The valid slot with the higher generation counts. A write that is torn by a power cut leaves
//! the other slot, which is the anchor of the batch before, of which nothing later was released.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
};

use mintmark_crypto::{Secret, mac};

use crate::{Anchor, Error, Part};

const MAGIC: &[u8; 8] = b"MMANCH01";
const SLOT_LEN: usize = 153;
const CODE_AT: usize = SLOT_LEN - 32;
/// A slot has a block of its own, so that a torn write can't reach the other one.
const BLOCK_BYTES: usize = 4096;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    generation: u64,
    /// `None` before the first anchor.
    pub(super) anchor: Option<Anchor>,
    /// How many digests of the memory the anchor covers.
    pub(super) remembered: u64,
}

/// The content of a fresh anchor file.
pub(super) fn fresh(key: &Secret<32>) -> Vec<u8> {
    let never_anchored = Slot { generation: 0, anchor: None, remembered: 0 };
    let mut content = never_anchored.encode(key);
    content.resize(BLOCK_BYTES, 0);
    content.extend_from_slice(&never_anchored.encode(key));
    content
}

/// The open anchor file.
pub(super) struct Slots {
    file: File,
    key: Secret<32>,
    newest: Slot,
    newest_index: u64,
}

impl Slots {
    pub(super) fn read(mut file: File, key: Secret<32>) -> Result<Self, Error> {
        let first = Slot::decode(&read_slot(&mut file, 0)?, &key);
        let second = Slot::decode(&read_slot(&mut file, 1)?, &key);
        let (newest, newest_index) = match (first, second) {
            (Some(first), Some(second)) if second.generation > first.generation => (second, 1),
            (Some(first), _) => (first, 0),
            (None, Some(second)) => (second, 1),
            (None, None) => return Err(Error::Corrupt(Part::Anchor)),
        };
        Ok(Self { file, key, newest, newest_index })
    }

    pub(super) fn newest(&self) -> &Slot {
        &self.newest
    }

    /// Makes `anchor` durable.
    pub(super) fn write(&mut self, anchor: Anchor, remembered: u64) -> Result<(), Error> {
        let was_never_anchored = self.newest.anchor.is_none();
        self.write_older(anchor, remembered)?;
        if was_never_anchored {
            // Otherwise damage to one slot could make an anchored platform one that never was.
            self.write_older(anchor, remembered)?;
        }
        Ok(())
    }

    fn write_older(&mut self, anchor: Anchor, remembered: u64) -> Result<(), Error> {
        let next =
            Slot { generation: self.newest.generation + 1, anchor: Some(anchor), remembered };
        let older = 1 - self.newest_index;
        self.file
            .seek(SeekFrom::Start(older * BLOCK_BYTES as u64))
            .and_then(|_| self.file.write_all(&next.encode(&self.key)))
            .and_then(|()| self.file.sync_data())
            .map_err(|error| Error::of_disk(&error))?;
        self.newest = next;
        self.newest_index = older;
        Ok(())
    }
}

impl Slot {
    fn encode(&self, key: &Secret<32>) -> Vec<u8> {
        let nothing = Anchor {
            store_id: [0; 16],
            epoch: 0,
            commit: 0,
            heads_digest: [0; 32],
            set_hash: [0; 32],
        };
        let anchor = self.anchor.unwrap_or(nothing);
        let mut slot = Vec::with_capacity(SLOT_LEN);
        slot.extend_from_slice(MAGIC);
        slot.extend_from_slice(&self.generation.to_be_bytes());
        slot.push(u8::from(self.anchor.is_some()));
        slot.extend_from_slice(&anchor.store_id);
        slot.extend_from_slice(&anchor.epoch.to_be_bytes());
        slot.extend_from_slice(&anchor.commit.to_be_bytes());
        slot.extend_from_slice(&anchor.heads_digest);
        slot.extend_from_slice(&anchor.set_hash);
        slot.extend_from_slice(&self.remembered.to_be_bytes());
        let code = mac::hmac_sha256(key.expose(), &slot);
        slot.extend_from_slice(&code);
        slot
    }

    /// `None` unless the slot is exactly one that was written under this key.
    fn decode(bytes: &[u8], key: &Secret<32>) -> Option<Self> {
        let (signed, code) = bytes.split_at_checked(CODE_AT)?;
        mac::verify_sha256(key.expose(), signed, code).ok()?;
        let mut rest = signed.strip_prefix(MAGIC)?;
        let generation = u64::from_be_bytes(take(&mut rest)?);
        let [anchored] = take(&mut rest)?;
        let anchor = Anchor {
            store_id: take(&mut rest)?,
            epoch: u64::from_be_bytes(take(&mut rest)?),
            commit: u64::from_be_bytes(take(&mut rest)?),
            heads_digest: take(&mut rest)?,
            set_hash: take(&mut rest)?,
        };
        Some(Self {
            generation,
            anchor: (anchored == 1).then_some(anchor),
            remembered: u64::from_be_bytes(take(&mut rest)?),
        })
    }
}

/// The bytes of a slot; fewer where the file ends early.
fn read_slot(file: &mut File, index: u64) -> Result<Vec<u8>, Error> {
    let mut slot = vec![0; SLOT_LEN];
    let read = file
        .seek(SeekFrom::Start(index * BLOCK_BYTES as u64))
        .and_then(|_| file.read_exact(&mut slot));
    match read {
        Ok(()) => Ok(slot),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Err(_) => Err(Error::Unavailable),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}
