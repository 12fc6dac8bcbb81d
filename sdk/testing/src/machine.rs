//! A machine whose disk and platform fail on demand, and which outlives power cuts.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mintmark_crypto::{Secret, random};
use mintmark_platform::{Anchor, Error, Platform};
use mintmark_store::{Embedded, Identity};

use crate::chance::Chance;
use crate::disk::SimulatedDisk;
use crate::hardware::{Hardware, NODE};

/// A simulated disk, and a platform that remembers outside of it. The store on it is the engine
/// that serves in production.
pub struct Machine {
    /// Where the store is.
    pub disk: SimulatedDisk,
    /// Where the anchor is.
    pub platform: Arc<SimulatedPlatform>,
    store_id: [u8; 16],
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine that works, without a store.
    pub fn new() -> Self {
        let (disk, platform) = (SimulatedDisk::new(), SimulatedPlatform::new());
        Self { disk, platform: Arc::new(platform), store_id: random::array() }
    }

    /// A new store on the machine.
    ///
    /// # Errors
    /// Those of the store.
    pub fn create(&self) -> Result<Hardware, mintmark_store::Error> {
        let store = Embedded::create_on(self.disk.clone(), &self.identity(), &self.sealing())?;
        Ok(self.hardware(store))
    }

    /// The machine's store, as a start finds it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(&self) -> Result<Hardware, mintmark_store::Error> {
        let store = Embedded::open_on(self.disk.clone(), &self.identity(), &self.sealing())?;
        Ok(self.hardware(store))
    }

    /// The machine after a power cut, working again.
    #[must_use]
    pub fn after_power_cut(&self, chance: &mut Chance) -> Self {
        let disk = self.disk.after_power_cut(chance);
        let platform = Arc::new(self.platform.after_power_cut(chance));
        Self { disk, platform, store_id: self.store_id }
    }

    /// The same machine with another disk put in.
    #[must_use]
    pub fn with_disk(&self, disk: SimulatedDisk) -> Self {
        Self { disk, platform: Arc::new(self.platform.copy()), store_id: self.store_id }
    }

    /// The machine once more, as its durable state is. Both would be it: a clone.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.with_disk(SimulatedDisk::with(self.disk.durable()))
    }

    fn hardware(&self, store: Embedded) -> Hardware {
        let platform: Arc<dyn Platform> = Arc::<SimulatedPlatform>::clone(&self.platform);
        Hardware { store: Arc::new(store), store_id: self.store_id, platform }
    }

    fn identity(&self) -> Identity {
        Identity::new(self.store_id, NODE)
    }

    fn sealing(&self) -> Secret<32> {
        Secret::from_bytes(self.platform.secret.expose())
    }
}

/// The rules of the emulated platform, on a medium that fails on demand.
pub struct SimulatedPlatform {
    secret: Secret<32>,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    anchor: Option<Anchor>,
    remembered: HashSet<[u8; 32]>,
    /// What a write that failed may have left.
    torn: Option<(Anchor, HashSet<[u8; 32]>)>,
    /// Writes before the failing one.
    budget: Option<u64>,
    /// After a failed write nobody knows what is there: nothing more is written.
    failed: bool,
    fired: u64,
}

impl SimulatedPlatform {
    fn new() -> Self {
        Self { secret: Secret::random(), state: Mutex::default() }
    }

    /// After so many writes one fails, and with it all that follow.
    pub fn fail_after(&self, writes: u64) {
        self.state().budget = Some(writes);
    }

    /// How many writes have failed.
    pub fn fired(&self) -> u64 {
        self.state().fired
    }

    fn after_power_cut(&self, chance: &mut Chance) -> Self {
        let mut state = self.state().clone();
        if let Some((anchor, remembered)) = state.torn.take()
            && chance.one_in(2)
        {
            (state.anchor, state.remembered) = (Some(anchor), remembered);
        }
        self.with(State { budget: None, failed: false, fired: 0, ..state })
    }

    fn copy(&self) -> Self {
        let state = self.state().clone();
        self.with(State { torn: None, budget: None, failed: false, fired: 0, ..state })
    }

    fn with(&self, state: State) -> Self {
        Self { secret: Secret::from_bytes(self.secret.expose()), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn spend(&mut self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Unavailable);
        }
        match self.budget {
            Some(0) => {
                self.failed = true;
                self.fired += 1;
                Err(Error::Unavailable)
            }
            Some(left) => {
                self.budget = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Platform for SimulatedPlatform {
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
        let spent = state.spend();
        if spent.is_err() && state.torn.is_none() {
            state.torn = Some((*anchor, state.remembered.clone()));
        }
        spent?;
        state.anchor = Some(*anchor);
        Ok(())
    }

    fn remember(&self, digests: &[[u8; 32]]) -> Result<(), Error> {
        let mut state = self.state();
        state.spend()?;
        state.remembered.extend(digests);
        Ok(())
    }

    fn remembers(&self, digest: &[u8; 32]) -> bool {
        self.state().remembered.contains(digest)
    }
}
