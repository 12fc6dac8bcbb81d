//! What a host runs on: a store and a platform, in memory unless a test brings others.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mintmark_crypto::{Secret, random};
use mintmark_platform::{Anchor, Error, Platform};
use mintmark_store::{Identity, Memory, Store};

/// The name of the only node of every cluster.
pub const NODE: &str = "n1";

/// A store and a platform, which outlive a start of the host. Clones are the same ones.
///
/// A test that wants to see what a failing disk does, or one that was set back, brings its own.
#[derive(Clone)]
pub struct Hardware {
    /// The store, opened for the node [`NODE`].
    pub store: Arc<dyn Store>,
    /// The id with which it was created.
    pub store_id: [u8; 16],
    /// The platform.
    pub platform: Arc<dyn Platform>,
}

impl Hardware {
    /// An empty store and a new platform, both in memory.
    pub fn memory() -> Self {
        let store_id = random::array();
        Self {
            store: Arc::new(Memory::new(&Identity::new(store_id, NODE))),
            store_id,
            platform: Arc::new(MemoryPlatform::new()),
        }
    }
}

/// The rules of the emulated platform, without a directory and without a sync.
struct MemoryPlatform {
    secret: Secret<32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    anchor: Option<Anchor>,
    remembered: HashSet<[u8; 32]>,
}

impl MemoryPlatform {
    fn new() -> Self {
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
