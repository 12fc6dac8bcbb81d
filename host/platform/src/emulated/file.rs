//! The platform's files in their directory, opened as a capability.

use std::{
    fs::{File, TryLockError},
    io::{ErrorKind, Read, Write},
};

use cap_std::fs::{Dir, OpenOptions};
use mintmark_crypto::Secret;

use crate::{Error, Part};

pub(super) fn check_absent(dir: &Dir, name: &str) -> Result<(), Error> {
    match dir.symlink_metadata(name) {
        Ok(_) => Err(Error::Exists),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(_) => Err(Error::Unavailable),
    }
}

/// Writes a new file, readable by its owner alone.
pub(super) fn create(dir: &Dir, name: &str, content: &[u8]) -> Result<(), Error> {
    write_new(dir, name, content, OpenOptions::new().create_new(true))
}

/// Writes a file that may be there already.
pub(super) fn replace(dir: &Dir, name: &str, content: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    write_new(dir, name, content, options.create(true).truncate(true))
}

fn write_new(
    dir: &Dir,
    name: &str,
    content: &[u8],
    options: &mut OpenOptions,
) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let file = dir.open_with(name, options.write(true));
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::Exists,
        _ => Error::of_disk(&error),
    })?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| Error::of_disk(&error))
}

/// Makes the names of new files durable.
pub(super) fn sync_dir(dir: &Dir) -> Result<(), Error> {
    dir.open(".").and_then(|listing| listing.sync_all()).map_err(|error| Error::of_disk(&error))
}

/// Opens the file of `part` to read and write.
pub(super) fn open(dir: &Dir, name: &str, part: Part) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    let file = dir.open_with(name, options.read(true).write(true));
    Ok(file.map_err(|error| open_error(&error, part))?.into_std())
}

/// Takes the file for this process until it is closed.
pub(super) fn lock(file: &File) -> Result<(), Error> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::Locked,
        TryLockError::Error(_) => Error::Unavailable,
    })
}

/// Reads the secret, which must be 32 bytes that nobody but the owner can read.
pub(super) fn read_secret(dir: &Dir, name: &str) -> Result<Secret<32>, Error> {
    let opened = dir.open(name);
    let mut file = opened.map_err(|error| open_error(&error, Part::Secret))?;
    let metadata = file.metadata().map_err(|_| Error::Unavailable)?;
    #[cfg(unix)]
    {
        use cap_std::fs::MetadataExt;
        if metadata.mode() & 0o077 != 0 {
            return Err(Error::Exposed);
        }
    }
    if metadata.len() != 32 {
        return Err(Error::Corrupt(Part::Secret));
    }
    let mut read = Ok(());
    let secret = Secret::filled_by(|bytes| read = file.read_exact(bytes));
    read.map_err(|_| Error::Unavailable)?;
    Ok(secret)
}

fn open_error(error: &std::io::Error, part: Part) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Missing(part),
        _ => Error::of_disk(error),
    }
}
