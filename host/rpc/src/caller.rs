//! Who is at the other end of a connection: made once per connection, from the certificate alone.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use http::Extensions;
use mintmark_custody::Session;
use mintmark_model::{Principal, Reason, Refusal};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Status};

use crate::refusal;

/// The authenticated peer of a connection. Only the acceptor makes one; requests carry it in their
/// extensions, where no header reaches.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Inner>);

struct Inner {
    principal: Principal,
    /// The connection's place among the authenticated ones, given back when the connection is gone.
    _places: (OwnedSemaphorePermit, Token<Principal>),
}

impl Caller {
    /// The peer, and the places that its connection takes.
    pub(crate) fn new(
        principal: Principal,
        place: OwnedSemaphorePermit,
        own_place: Token<Principal>,
    ) -> Self {
        Self(Arc::new(Inner { principal, _places: (place, own_place) }))
    }

    /// Who it is.
    pub(crate) fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// The session of a request to the host's own method `path`.
    ///
    /// # Errors
    ///
    /// As for [`Caller::of`].
    pub(crate) fn session<M: Message>(
        request: &Request<M>,
        path: &'static str,
    ) -> Result<Session, Status> {
        let caller = Self::of(request.extensions())?;
        Ok(caller.session_of(path, &request.get_ref().encode_to_vec()))
    }

    /// The session of one message to the host's own method `path`.
    pub(crate) fn session_of(&self, path: &'static str, message: &[u8]) -> Session {
        Session::new(self.principal().clone(), None, path, message)
    }

    /// The caller of a request.
    ///
    /// # Errors
    ///
    /// A request without one did not come through the acceptor; it gets nowhere.
    pub(crate) fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get().ok_or_else(|| {
            let detail = "The connection has no principal.";
            refusal::status(Refusal::new(Reason::PermissionDenied, detail))
        })
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.0.principal)
    }
}

/// Counts what each of many holds, so that none holds all.
pub(crate) struct Tally<K> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    max: usize,
}

impl<K: Eq + Hash + Clone> Tally<K> {
    /// Nobody holds anything; each may hold `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { counts: Arc::default(), max }
    }

    /// One more for `key`, until the token is dropped; none where it holds `max` already.
    pub(crate) fn take(&self, key: &K) -> Option<Token<K>> {
        self.take_many(key, 1)
    }

    /// So many more for `key`, all of them or none.
    pub(crate) fn take_many(&self, key: &K, many: usize) -> Option<Token<K>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let held = counts.get(key).copied().unwrap_or(0);
        let sum = held.checked_add(many).filter(|sum| *sum <= self.max)?;
        counts.insert(key.clone(), sum);
        Some(Token { counts: Arc::clone(&self.counts), key: key.clone(), many })
    }
}

impl<K> Clone for Tally<K> {
    fn clone(&self) -> Self {
        Self { counts: Arc::clone(&self.counts), max: self.max }
    }
}

/// What somebody holds of what a [`Tally`] counts.
pub(crate) struct Token<K: Eq + Hash> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
    many: usize,
}

impl<K: Eq + Hash> Drop for Token<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= self.many;
            // A key that holds nothing is forgotten: the map is no larger than what is held.
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_more_than_the_maximum_and_nothing_is_left_behind() {
        let tally = Tally::new(2);
        let held = (tally.take(&"a").unwrap(), tally.take(&"a").unwrap());
        assert!(tally.take(&"a").is_none());
        let other = tally.take(&"b").unwrap();
        drop(held);
        assert!(tally.take(&"a").is_some());
        drop(other);
        let both = tally.take_many(&"a", 2).unwrap();
        assert!(tally.take_many(&"b", 3).is_none() && tally.take(&"a").is_none());
        drop(both);
        assert!(tally.counts.lock().unwrap().is_empty());
    }

    #[test]
    fn a_request_from_nowhere_has_no_caller() {
        let refused = Caller::of(&Extensions::new()).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    }
}
