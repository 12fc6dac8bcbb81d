//! Claims: one call at a time decides about one subject, one serial number, one device key.
//!
//! Without them two calls for the same device could both sign before one of them loses at commit. A
//! claim is taken before the decision and held until the call's commit is durable, so whoever gets
//! it next sees what was decided.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mintmark_store::Key;
use tokio::sync::OwnedMutexGuard;

/// All claims of this node.
#[derive(Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>>);

/// A claim that is held; dropping it lets the next one in.
pub(crate) struct Claim {
    claims: Claims,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    /// Takes the claim if nobody holds it.
    pub(crate) fn try_take(&self, key: &Key) -> Option<Claim> {
        let guard = self.lock_of(key).try_lock_owned().ok()?;
        Some(self.claim(key, guard))
    }

    /// Takes the claim when its holder lets go.
    pub(crate) async fn take(&self, key: &Key) -> Claim {
        let guard = self.lock_of(key).lock_owned().await;
        self.claim(key, guard)
    }

    fn claim(&self, key: &Key, guard: OwnedMutexGuard<()>) -> Claim {
        Claim { claims: self.clone(), key: key.clone(), guard: Some(guard) }
    }

    fn lock_of(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(key.clone()).or_default())
    }
}

impl Claim {
    /// What is claimed.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut locks = self.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // The map is the only owner: whoever holds or waits owns the lock too.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_nothing_is_left_behind() {
        let claims = Claims::default();
        let key = Key::new(1, b"subject".to_vec());
        let held = claims.try_take(&key).unwrap();
        assert!(claims.try_take(&key).is_none());
        drop(held);
        assert!(claims.try_take(&key).is_some());
        assert!(claims.0.lock().unwrap().is_empty());
    }
}
