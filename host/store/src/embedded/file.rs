//! The store's file in its directory, opened as a capability.

use std::io::ErrorKind;

use cap_std::fs::{Dir, OpenOptions};
use redb::backends::FileBackend;

use super::guard::engine_error;
use crate::{Damage, Error};

/// A new file, readable by its owner alone.
pub(super) fn create(dir: &Dir, file_name: &str) -> Result<FileBackend, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let file = dir.open_with(file_name, &options).map_err(file_error)?;
    FileBackend::new(file.into_std()).map_err(engine_error)
}

/// An existing file; one without content is refused here, before the engine could take it for new.
pub(super) fn open(dir: &Dir, file_name: &str) -> Result<FileBackend, Error> {
    let options = OpenOptions::new().read(true).write(true).clone();
    let file = dir.open_with(file_name, &options).map_err(file_error)?;
    let metadata = file.metadata().map_err(file_error)?;
    if metadata.is_file() && metadata.len() == 0 {
        return Err(Damage::EmptyFile.into());
    }
    FileBackend::new(file.into_std()).map_err(engine_error)
}

/// Makes the new file's name durable.
pub(super) fn sync_dir(dir: &Dir) -> Result<(), Error> {
    let listing = dir.open(".").map_err(file_error)?;
    listing.sync_all().map_err(file_error)
}

fn file_error(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Missing,
        ErrorKind::AlreadyExists => Error::Exists,
        kind => Error::of_disk(kind),
    }
}
