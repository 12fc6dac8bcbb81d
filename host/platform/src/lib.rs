//! The trusted platform: sealing secret, measurement and monotonic anchor, behind one trait.
//!
//! A host has one platform. It gives the secret under which the store is sealed, measures code,
//! and remembers, outside the store, where the store stood. A TPM, an enclave or a confidential
//! virtual machine would each be an implementation of [`Platform`]; the one that exists is
//! [`emulated`], which says of itself that it is software.
//!
//! # The anchor
//!
//! The order of every commit is: store durable → anchor durable → release. So what was released is
//! always anchored, and at start [`anchor::compare`] tells a store that is one batch ahead (a
//! crash between the two syncs, which is caught up) from one that was set back or exchanged.

pub mod anchor;
pub mod emulated;
mod error;

use mintmark_crypto::{Secret, digest};

pub use crate::anchor::{Anchor, Mark, Standing};
pub use crate::error::{Error, Part};

/// What a host asks of the machine that it runs on.
pub trait Platform: Send + Sync {
    /// The secret from which everything at rest is sealed; the same at each start.
    fn sealing_secret(&self) -> Result<Secret<32>, Error>;

    /// The name of what vouches for this platform, for every statement that a host makes.
    fn hardware_model(&self) -> &'static str;

    /// The measurement of code: SHA-256 of its bytes.
    fn measure(&self, code: &[u8]) -> [u8; 32] {
        digest::sha256(code)
    }

    /// Where the store last stood; `None` on a platform that has never anchored one.
    fn anchor(&self) -> Result<Option<Anchor>, Error>;

    /// Makes `anchor` durable. It never goes back: the epoch may rise, and within an epoch the
    /// commit number of the same store.
    fn advance(&self, anchor: &Anchor) -> Result<(), Error>;

    /// Makes `digests` durable, for good: what was imported once, ended once. Known ones cost
    /// nothing, so a host that catches up after a crash may name all that its store knows.
    ///
    /// Comes before the [`advance`](Platform::advance) of the same batch, which then covers it.
    fn remember(&self, digests: &[[u8; 32]]) -> Result<(), Error>;

    /// Whether `digest` was ever remembered.
    fn remembers(&self, digest: &[u8; 32]) -> bool;
}
