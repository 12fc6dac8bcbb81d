//! What the engine writes on, where that is not a file.

use std::{fmt::Debug, io};

use redb::StorageBackend;

/// A disk that a test brings: the engine above it is the one that serves.
///
/// Nothing of the program implements it; a store in production is in a file. What a medium does
/// when it fails, or when the power is cut, is the test's to choose.
pub trait Medium: Debug + Send + Sync + 'static {
    /// How many bytes there are.
    ///
    /// # Errors
    /// Where the medium can't say.
    fn length(&self) -> io::Result<u64>;

    /// Makes it so many bytes long; new ones are zeros.
    ///
    /// # Errors
    /// Where the medium refuses, or has no room.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// Where there are not so many bytes, or they can't be read.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// Where the medium refuses, or has no room.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Answers when all that was written is durable.
    ///
    /// # Errors
    /// Where it is not.
    fn sync(&self) -> io::Result<()>;
}

/// A medium as the engine wants it.
#[derive(Debug)]
pub(super) struct OnMedium<M>(pub(super) M);

impl<M: Medium> StorageBackend for OnMedium<M> {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_length(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
