//! Sealed messages.

use super::{Host, digest};
use crate::{
    Digest, Timestamp, backend,
    bindings::mintmark::host::messages as wit,
    error::Error,
    messages::{self, Purpose, Sealed},
    peers::Identity,
};

/// A message that the host opened.
pub(crate) struct Opened(wit::Opened);

/// A message that the host writes.
pub(crate) struct Writer(wit::Writer);

impl backend::Messages for Host {
    fn seal(
        &self,
        purpose: Purpose,
        cluster: &str,
        plugin: &str,
        header: &[u8],
    ) -> Result<messages::Writer, Error> {
        let writer = wit::seal(purpose.name(), cluster, plugin, header)?;
        Ok(messages::Writer::new(Writer(writer)))
    }

    fn open(&self, purpose: Purpose, file: &str) -> Result<messages::Opened, Error> {
        Ok(messages::Opened::new(Opened(wit::open(purpose.name(), file)?)))
    }
}

impl backend::OpenedHandle for Opened {
    fn sender(&self) -> Identity {
        self.0.sender().into()
    }

    fn header(&self) -> Vec<u8> {
        self.0.header()
    }

    fn made_at(&self) -> Timestamp {
        self.0.made_at()
    }

    fn digest(&self) -> Digest {
        digest(self.0.digest())
    }

    fn length(&self) -> u64 {
        self.0.length()
    }

    fn read(&self, offset: u64, limit: u32) -> Result<Vec<u8>, Error> {
        Ok(self.0.read(offset, limit)?)
    }

    fn accept(&self) -> Result<(), Error> {
        Ok(self.0.accept()?)
    }
}

impl backend::WriterHandle for Writer {
    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.0.write(bytes)?)
    }

    fn finish(&self) -> Result<Sealed, Error> {
        let wit::Sealed { file, digest: bytes, sequence } = self.0.finish()?;
        Ok(Sealed { file, digest: digest(bytes), sequence })
    }
}
