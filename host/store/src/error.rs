//! What can go wrong with a store, by culprit, without a path, a secret or foreign text.

use std::io::ErrorKind;

use thiserror::Error;

/// Why the store did not do what it was asked.
///
/// None of these is healed by itself: a store that is damaged or not ours is refused by name and
/// is never replaced by an empty one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// There is no store file.
    #[error("there is no store")]
    Missing,
    /// A store file is already there; a new one is never written over it.
    #[error("a store is already there")]
    Exists,
    /// Another process, or another opener in this one, has the store open.
    #[error("the store is in use")]
    Locked,
    /// The store was written by a newer program.
    #[error("the store has format {found}, newer than {known}")]
    NewerFormat {
        /// The version that the file states.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// The file is a store, but another one than was asked for, or the node's name is unusable.
    #[error("this is another store")]
    WrongIdentity,
    /// The sealing secret does not fit the store's header, or the header was edited.
    #[error("the sealing secret does not fit this store")]
    WrongSecret,
    /// Something stored is not what was written.
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// The first thing that was found to be wrong.
        what: Damage,
    },
    /// The disk, or the quota on it, has no room.
    #[error("the disk is full")]
    Full,
    /// The disk or its directory takes no writes.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk refused, or an earlier failure ended writing until the store is opened again.
    #[error("the store is unavailable")]
    Unavailable,
}

impl Error {
    /// What a failure of the disk means.
    pub(crate) fn of_disk(kind: ErrorKind) -> Self {
        match kind {
            // The last one is what a limit on the length of a file says.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full
            }
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Unavailable,
        }
    }
}

/// What is damaged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// The file has no content at all.
    #[error("the file is empty")]
    EmptyFile,
    /// The file is shorter than it says.
    #[error("the file is truncated")]
    Truncated,
    /// The file's own structure is broken.
    #[error("the file's structure is broken")]
    File,
    /// The header that says which store this is.
    #[error("the header is not readable")]
    Header,
    /// The record of commit number, heads and set hash.
    #[error("the position is not authentic")]
    Position,
    /// A record that does not open under its key and version.
    #[error("a record of table {table} is not authentic")]
    Record {
        /// The table of the record.
        table: u8,
    },
    /// A ledger row that does not open, or says another sequence than its place.
    #[error("ledger row {sequence} is not authentic")]
    Row {
        /// The sequence of the row.
        sequence: u64,
    },
    /// A ledger row is missing, or does not follow from the one before it.
    #[error("the ledger chain breaks at row {sequence}")]
    Chain {
        /// The sequence of the first row that does not fit.
        sequence: u64,
    },
    /// The chain ends elsewhere than the head says.
    #[error("the ledger chain does not end at its head {sequence}")]
    Head {
        /// The sequence that the head states.
        sequence: u64,
    },
    /// A chunk of a backup that does not open in its place, or holds what is no entry.
    #[error("chunk {number} of the backup is not authentic")]
    BackupChunk {
        /// The number of the chunk, from 0.
        number: u64,
    },
    /// A backup that ends before its last chunk, or goes on after it.
    #[error("the backup does not end with its last chunk")]
    BackupEnd,
    /// The live records are not those that were committed: one was removed, added or set back.
    #[error("the records are not those that were committed")]
    SetHash,
}

impl From<Damage> for Error {
    fn from(what: Damage) -> Self {
        Self::Corrupt { what }
    }
}
