//! A platform in software: three files in a directory that is not the data directory.
//!
//! It has the interfaces and the rules of a real one and none of its protection: whoever can write
//! its directory can exchange the secret or put an old anchor back together with an old store.
//! What it does hold against is accident, and everybody who can reach the data directory alone.
//!
//! | file | content |
//! |---|---|
//! | `secret` | 32 random bytes, readable by the owner alone |
//! | `anchor` | two slots, written in turn (layout in `slot.rs`) |
//! | `memory` | digests, appended only (layout in `memory.rs`) |

mod escrow;
mod file;
mod memory;
mod slot;

use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use mintmark_crypto::hpke::RecipientKey;
use mintmark_crypto::{Secret, hkdf};

use self::{memory::Memory, slot::Slots};
use crate::{Anchor, Error, Part, Platform};

const SECRET_FILE: &str = "secret";
const ANCHOR_FILE: &str = "anchor";
const MEMORY_FILE: &str = "memory";

const SEALING_LABEL: &str = "mintmark/platform/sealing/v1";
const ANCHOR_LABEL: &str = "mintmark/platform/anchor/v1";
const MEMORY_LABEL: &str = "mintmark/platform/memory/v1";

/// The platform that a directory emulates. One process has it open at a time.
pub struct EmulatedPlatform {
    secret: Secret<32>,
    state: Mutex<State>,
}

struct State {
    slots: Slots,
    memory: Memory,
    /// Set by the first failed write: a sync that succeeds later would prove nothing.
    failed: bool,
}

impl EmulatedPlatform {
    /// Makes a new platform with a secret of its own; refuses if there is one.
    pub fn create(dir: &Dir) -> Result<Self, Error> {
        Self::create_with(dir, &Secret::random())
    }

    /// Makes a platform on other hardware with the secret of one that is lost; refuses if there is
    /// one. It has anchored nothing and remembers nothing: only a restore makes a store of it.
    pub fn recover(dir: &Dir, escrow: &[u8], key: &RecipientKey) -> Result<Self, Error> {
        Self::create_with(dir, &escrow::open(escrow, key)?)
    }

    /// The platform's secret, sealed to a recovery key that is kept offline
    /// (SubjectPublicKeyInfo in DER).
    pub fn escrow(&self, recovery_key: &[u8]) -> Result<Vec<u8>, Error> {
        escrow::seal(&self.secret, recovery_key)
    }

    /// The sealing secret of the platform in a directory that another process may have open.
    pub fn sealing_secret_in(dir: &Dir) -> Result<Secret<32>, Error> {
        Ok(key(&file::read_secret(dir, SECRET_FILE)?, SEALING_LABEL))
    }

    fn create_with(dir: &Dir, secret: &Secret<32>) -> Result<Self, Error> {
        file::check_absent(dir, SECRET_FILE)?;
        // The secret comes last: without it, whatever an interrupted creation has left is nothing,
        // and is written over.
        file::replace(dir, ANCHOR_FILE, &slot::fresh(&key(secret, ANCHOR_LABEL)))?;
        file::replace(dir, MEMORY_FILE, &[])?;
        file::create(dir, SECRET_FILE, secret.expose())?;
        file::sync_dir(dir)?;
        Self::open(dir)
    }

    /// Opens the platform that `create` made; what is missing or altered is refused by name.
    pub fn open(dir: &Dir) -> Result<Self, Error> {
        let secret = file::read_secret(dir, SECRET_FILE)?;
        // The anchor's file carries the lock, and is never replaced while a platform is there.
        let anchor = file::open(dir, ANCHOR_FILE, Part::Anchor)?;
        file::lock(&anchor)?;
        let slots = Slots::read(anchor, key(&secret, ANCHOR_LABEL))?;
        let memory_file = file::open(dir, MEMORY_FILE, Part::Memory)?;
        let covered = slots.newest().remembered;
        let memory = Memory::read(memory_file, key(&secret, MEMORY_LABEL), covered)?;
        Ok(Self { secret, state: Mutex::new(State { slots, memory, failed: false }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the files would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Does `write` unless an earlier one failed.
    fn write(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Unavailable);
        }
        let result = write(self);
        // An anchor that may not go back was not written, and all is as it was.
        self.failed = result.is_err_and(|error| error != Error::Backwards);
        result
    }
}

impl Platform for EmulatedPlatform {
    fn sealing_secret(&self) -> Result<Secret<32>, Error> {
        Ok(key(&self.secret, SEALING_LABEL))
    }

    fn hardware_model(&self) -> &'static str {
        "software-emulated"
    }

    fn anchor(&self) -> Result<Option<Anchor>, Error> {
        Ok(self.state().slots.newest().anchor)
    }

    fn advance(&self, anchor: &Anchor) -> Result<(), Error> {
        self.state().write(|state| {
            let newest = state.slots.newest();
            if newest.anchor.is_some_and(|old| !old.may_become(anchor)) {
                return Err(Error::Backwards);
            }
            let remembered = state.memory.count();
            if newest.anchor == Some(*anchor) && newest.remembered == remembered {
                return Ok(());
            }
            state.slots.write(*anchor, remembered)
        })
    }

    fn remember(&self, digests: &[[u8; 32]]) -> Result<(), Error> {
        self.state().write(|state| state.memory.append(digests))
    }

    fn remembers(&self, digest: &[u8; 32]) -> bool {
        self.state().memory.contains(digest)
    }
}

fn key(secret: &Secret<32>, label: &str) -> Secret<32> {
    hkdf::derive(secret, label, &[])
}
