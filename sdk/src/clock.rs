//! Site time: one reading for the whole call, never before that of an earlier committed call.

use crate::{
    Timestamp,
    backend::{self, Clock as _},
};

/// Whether site time can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It can.
    Steady,
    /// The wall clock jumped; the host refuses what depends on time until somebody settles it.
    Suspect,
}

/// The site time of this call.
pub fn now() -> Timestamp {
    backend::clock().now()
}

/// Whether it can be relied on.
pub fn state() -> ClockState {
    backend::clock().state()
}
