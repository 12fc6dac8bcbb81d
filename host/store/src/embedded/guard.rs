//! The engine's failures, as the store's.

use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
};

use redb::Error as EngineError;

use crate::{Damage, Error};

/// Runs `act`; a panic in it is damage to the file.
///
/// The engine's documentation says that reading an altered file may panic. Nothing that `act`
/// touches is used after a panic, except a database whose open transactions were dropped, which
/// the engine supports.
pub(super) fn guarded<T>(act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(Err(Damage::File.into()))
}

/// The engine's error without its text, which may hold foreign bytes.
pub(super) fn engine_error(error: impl Into<EngineError>) -> Error {
    match error.into() {
        EngineError::DatabaseAlreadyOpen => Error::Locked,
        EngineError::Corrupted(text) if text.starts_with("File truncated") => {
            Damage::Truncated.into()
        }
        EngineError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Damage::Truncated.into()
        }
        EngineError::Io(error) if error.kind() != ErrorKind::InvalidData => {
            Error::of_disk(error.kind())
        }
        EngineError::Backend(_)
        | EngineError::Unsupported
        | EngineError::PreviousIo
        | EngineError::DatabaseClosed
        | EngineError::LockPoisoned(_) => Error::Unavailable,
        _ => Damage::File.into(),
    }
}
