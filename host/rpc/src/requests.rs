//! How many bytes of requests to plugins the host holds at once.
//!
//! Calls are counted by [`front`](crate::front); but a call can carry a byte or four mebibytes, so
//! what lies in memory is counted too, from the moment a message is there until it is answered.

use std::sync::Arc;

use mintmark_model::{Principal, Reason, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    caller::{Tally, Token},
    limits,
};

/// When to come back.
const RETRY_MS: u64 = 250;

/// All requests to plugins of this node; cheap to clone.
#[derive(Clone)]
pub(crate) struct Requests {
    bytes: Arc<Semaphore>,
    bytes_by_principal: Tally<Principal>,
}

/// The room that one message takes, until it is dropped.
pub(crate) struct Room {
    _bytes: (OwnedSemaphorePermit, Token<Principal>),
}

impl Requests {
    /// Nothing is held.
    pub(crate) fn new() -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(limits::REQUEST_BYTES_MAX)),
            bytes_by_principal: Tally::new(limits::REQUEST_BYTES_PER_PRINCIPAL_MAX),
        }
    }

    /// Room for a message of `principal`, which may take a moment to come free.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE`: the principal's own share is taken, or everybody's.
    pub(crate) async fn room(
        &self,
        principal: &Principal,
        message: &[u8],
    ) -> Result<Room, Refusal> {
        // A message without bytes is held too.
        let weight = message.len().max(1);
        let own = self.bytes_by_principal.take_many(principal, weight).ok_or_else(full)?;
        let weight = u32::try_from(weight).map_err(|_| full())?;
        let all = Arc::clone(&self.bytes).acquire_many_owned(weight);
        match tokio::time::timeout(limits::REQUEST_WAIT_MAX, all).await {
            Ok(Ok(all)) => Ok(Room { _bytes: (all, own) }),
            Ok(Err(_)) | Err(_) => Err(full()),
        }
    }
}

fn full() -> Refusal {
    let detail = "The host holds as many bytes of requests as it may.";
    Refusal::new(Reason::Unavailable, detail).retry_after(RETRY_MS)
}

#[cfg(test)]
mod tests {
    use mintmark_model::Role;

    use super::*;

    fn station(name: &str) -> Principal {
        Principal {
            organization: "acme".to_owned(),
            cluster: "site/shenzhen".to_owned(),
            role: Role::Station,
            name: name.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn g2_requests_together_take_no_more_than_their_room() {
        let (requests, message) = (Requests::new(), vec![0; limits::MESSAGE_BYTES_MAX]);
        let mut held = Vec::new();
        let stations = limits::REQUEST_BYTES_MAX / limits::REQUEST_BYTES_PER_PRINCIPAL_MAX;
        for number in 0..stations {
            let greedy = station(&number.to_string());
            while let Ok(room) = requests.room(&greedy, &message).await {
                held.push(room);
            }
        }
        assert_eq!(held.len() * message.len(), limits::REQUEST_BYTES_MAX);
        let late = station("late");
        let refused = requests.room(&late, b"x").await.err().unwrap();
        assert_eq!(refused.reason, Reason::Unavailable);
        assert_eq!(refused.retry_after_ms, Some(RETRY_MS));
        held.pop();
        assert!(requests.room(&late, &message).await.is_ok());
    }
}
