//! The formats that cross the gap, and the checks on them.
//!
//! Headquarters and site share nothing but files. This crate says what those files hold, byte for
//! byte, and what must be true of them: it is used by the host, by plugins and by the offline
//! verifier alike, so that a verdict rests on no single program. It is pure: no I/O, no clock, no
//! randomness, no signature algorithm. Signatures come in through [`verify::Verify`].
//!
//! `FORMAT.md` beside this crate has the byte tables.

pub mod approval;
pub mod bundle;
pub mod canonical;
pub mod certificate;
pub mod charter;
pub mod checkpoint;
pub mod closing;
pub mod directive;
pub mod grant;
pub mod held;
pub mod identity;
pub mod inclusion;
pub mod merkle;
pub mod message;
pub mod opened;
pub mod order;
pub mod pool;
pub mod product;
pub mod proof;
pub mod proposal;
pub mod receipt;
pub mod reconcile;
pub mod row;
pub mod serial;
pub mod standing;
pub mod unit;
pub mod verify;

pub use canonical::{DecodeError, Digest, framed, sha256};
pub use order::SignedOrder;
pub use verify::{Signer, Verify};
