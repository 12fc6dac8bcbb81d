//! A platform that remembers as long as the test holds it: no directory, no sync.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mintmark_crypto::Secret;
use mintmark_platform::{Anchor, Error, Platform};

/// The rules of the emulated platform, in memory.
pub(crate) struct MemoryPlatform {
    secret: Secret<32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    anchor: Option<Anchor>,
    remembered: HashSet<[u8; 32]>,
}

impl MemoryPlatform {
    pub(crate) fn new() -> Self {
        Self { secret: Secret::random(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform for MemoryPlatform {
    fn sealing_secret(&self) -> Result<Secret<32>, Error> {
        Ok(Secret::from_bytes(self.secret.expose()))
    }

    fn hardware_model(&self) -> &'static str {
        "software-emulated"
    }

    fn anchor(&self) -> Result<Option<Anchor>, Error> {
        Ok(self.state().anchor)
    }

    fn advance(&self, anchor: &Anchor) -> Result<(), Error> {
        let mut state = self.state();
        if state.anchor.is_some_and(|old| !old.may_become(anchor)) {
            return Err(Error::Backwards);
        }
        state.anchor = Some(*anchor);
        Ok(())
    }

    fn remember(&self, digests: &[[u8; 32]]) -> Result<(), Error> {
        self.state().remembered.extend(digests);
        Ok(())
    }

    fn remembers(&self, digest: &[u8; 32]) -> bool {
        self.state().remembered.contains(digest)
    }
}
