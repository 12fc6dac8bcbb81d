//! What can go wrong with a platform, by culprit, without a path or a secret.

use std::io::ErrorKind;

use thiserror::Error;

/// Why the platform did not do what it was asked.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A part of the platform's state is not there.
    #[error("the platform's {0} is missing")]
    Missing(Part),
    /// There is a platform already; its secret is never replaced.
    #[error("a platform is already there")]
    Exists,
    /// Another process has the platform open.
    #[error("the platform is in use")]
    Locked,
    /// Others than the owner may read the secret.
    #[error("the platform's secret is readable by others than its owner")]
    Exposed,
    /// A part of the platform's state is not what was written, or belongs to another secret.
    #[error("the platform's {0} is not authentic")]
    Corrupt(Part),
    /// The escrow of a secret does not open with this key, or can't be made for it.
    #[error("the escrow of the platform's secret does not open with this key")]
    Escrow,
    /// The anchor was asked to go back, or to another history.
    #[error("the anchor does not go back")]
    Backwards,
    /// The disk, or the quota on it, has no room.
    #[error("the disk of the platform is full")]
    Full,
    /// The disk or its directory takes no writes.
    #[error("the disk of the platform is read-only")]
    ReadOnly,
    /// The disk refused, or an earlier failure ended writing until the platform is opened again.
    #[error("the platform is unavailable")]
    Unavailable,
}

impl Error {
    /// What a failure of the disk means.
    pub(crate) fn of_disk(error: &std::io::Error) -> Self {
        match error.kind() {
            // The last one is what a limit on the length of a file says.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full
            }
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Unavailable,
        }
    }
}

/// A part of a platform's state.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Part {
    /// The secret.
    #[error("secret")]
    Secret,
    /// The anchor.
    #[error("anchor")]
    Anchor,
    /// The memory of what was imported and ended.
    #[error("memory")]
    Memory,
}
