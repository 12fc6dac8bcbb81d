//! Sealed records, transactions and the hash-chained ledger, whatever engine keeps them.
//!
//! A store is an ordered space of keys and values with versions, counters that commute, and one
//! hash chain of ledger rows per node. It knows nothing of what keys, values and rows mean.
//!
//! - [`Store`] and [`Snapshot`] are what everything above is written against; [`Transaction`] is
//!   how it asks for a change: all or nothing, refused if anything it read has changed.
//! - [`Committer`] is the one way to commit while the host serves: it gathers what waits, commits
//!   it with one sync, lets a hook anchor the new position, and only then answers.
//! - [`BackupWriter`] turns a snapshot into a sealed file, [`Embedded::restore`] that into a store.
//! - [`Embedded`] keeps everything, sealed, in one file; [`Memory`] keeps nothing, for tests.
//!
//! Values come back in buffers that are zeroised. On disk, every value and row is sealed under a
//! key of its own; which bytes are where is in `FORMAT.md`.

mod backup;
mod committer;
mod decide;
mod embedded;
mod engine;
mod error;
pub mod ledger;
mod memory;
mod position;
mod sealing;
mod set_hash;
mod transaction;
mod walk;

pub use crate::backup::{BackupHeader, BackupReader, BackupWriter};
pub use crate::committer::{
    AfterCommit, BATCH_BYTES_MAX, BATCH_TRANSACTIONS_MAX, CommitError, Committed, Committer,
    NotAnchored, Poison, Unanchored,
};
pub use crate::embedded::{Embedded, Medium};
pub use crate::engine::{Later, Snapshot, Store, Verified};
pub use crate::error::{Damage, Error};
pub use crate::ledger::Row;
pub use crate::memory::Memory;
pub use crate::position::{Head, Identity, Mark, Position};
pub use crate::transaction::{
    Add, Found, KEY_BYTES_MAX, Key, LEASES, NewRow, Outcome, ROW_BODY_BYTES_MAX, Range, Sum,
    Transaction, VALUE_BYTES_MAX, Version, scan_digest,
};
