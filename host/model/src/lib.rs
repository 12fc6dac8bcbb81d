//! The domain, pure: identities, states, limits, policy decisions.
//!
//! Nothing here reads a clock, a disk or a network, and nothing here is encoded: time is an
//! argument, wire and disk forms live elsewhere. What the host decides about keys is decided in
//! [`policy`]; what it decides about units in [`escrow`]; and every refusal that either can give is
//! a [`Refusal`].

pub mod algorithm;
pub mod clock;
pub mod escrow;
pub mod key;
pub mod name;
pub mod policy;
pub mod principal;
pub mod rate;
pub mod reason;
pub mod unit;

pub use algorithm::Algorithm;
pub use escrow::{Escrow, Limits};
pub use key::{KeyState, Operation, Operations};
pub use name::Name;
pub use principal::{Principal, Role};
pub use reason::{Reason, ReasonClass, Refusal};
pub use unit::{Counters, UnitState};
