//! How a host function ends that does not answer: with a refusal for the guest, or with a trap.

use mintmark_model::{Reason, Refusal};
use wasmtime::component::ResourceTableError;

/// What a host function ends with when it does not answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The guest learns why not.
    Refused(Refusal),
    /// The guest is stopped.
    Trap(wasmtime::Error),
}

/// Why the host stopped a guest; travels inside the trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    /// A concurrent call was faster; the same request runs again.
    #[error("another call was faster")]
    Rerun,
    /// The guest went on after a budget had run out.
    #[error("a budget of the call ran out")]
    Budget,
}

impl Failure {
    /// A budget of the call ran out, said to the guest.
    pub(crate) fn budget(what: &str) -> Self {
        let detail = format!("The call asked the host for more {what} than it may.");
        Self::Refused(Refusal::new(Reason::BudgetExceeded, detail))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Trap(wasmtime::Error::new(stop))
    }
}

/// A handle that is not in the table is not the guest's: wasmtime checks handles before the table
/// is asked, so this stops a guest that has found a way around. A full table is a budget.
impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        match error {
            ResourceTableError::Full => Self::budget("handles"),
            other => Self::Trap(wasmtime::Error::new(other)),
        }
    }
}

/// For the functions that have no error to answer with.
impl From<Failure> for wasmtime::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Trap(error) => error,
            Failure::Refused(refusal) if refusal.reason == Reason::BudgetExceeded => {
                Self::new(Stop::Budget)
            }
            Failure::Refused(refusal) => Self::new(refusal),
        }
    }
}
