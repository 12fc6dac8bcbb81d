//! `messages`: sealed messages, named by the id of their staged file.

use wasmtime::component::Resource;

use mintmark_custody::{MessageWriter, OpenedMessage};
use mintmark_model::Refusal;

use super::peers::identity;
use crate::bindings::mintmark::host::messages as wit;
use crate::bindings::mintmark::host::peers::Identity;
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

/// The longest header.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// A message that is written, until it is finished: the guest keeps the handle, custody takes what
/// is behind it.
#[allow(unreachable_pub, reason = "the generated bindings re-export it within themselves")]
pub struct Writer(Option<MessageWriter>);

impl wit::Host for State {
    async fn seal(
        &mut self,
        purpose: String,
        cluster: String,
        plugin: String,
        header: Vec<u8>,
    ) -> Result<Resource<Writer>, Failure> {
        bounds::text("purpose", &purpose)?;
        bounds::text("cluster", &cluster)?;
        bounds::text("plugin", &plugin)?;
        bounds::bytes_up_to("header", &header, HEADER_BYTES_MAX)?;
        let (call, table) = self.enter(header.len())?;
        let writer = call.seal_message(&purpose, &cluster, &plugin, &header).await?;
        Ok(table.push(Writer(Some(writer)))?)
    }

    async fn open(
        &mut self,
        purpose: String,
        file: String,
    ) -> Result<Resource<OpenedMessage>, Failure> {
        bounds::text("purpose", &purpose)?;
        bounds::text("file", &file)?;
        let (call, _) = self.enter(0)?;
        let opened = call.open_message(&purpose, &file).await?;
        Ok(self.keep(opened.length())?.push(opened)?)
    }
}

impl wit::HostOpened for State {
    async fn sender(&mut self, message: Resource<OpenedMessage>) -> wasmtime::Result<Identity> {
        let table = self.enter_table()?;
        Ok(identity(table.get(&message)?.sender()))
    }

    async fn header(&mut self, message: Resource<OpenedMessage>) -> wasmtime::Result<Vec<u8>> {
        let table = self.enter_table()?;
        let header = table.get(&message)?.header().to_vec();
        self.answer(header.len())?;
        Ok(header)
    }

    async fn made_at(&mut self, message: Resource<OpenedMessage>) -> wasmtime::Result<u64> {
        let table = self.enter_table()?;
        Ok(table.get(&message)?.made_at())
    }

    async fn digest(&mut self, message: Resource<OpenedMessage>) -> wasmtime::Result<Vec<u8>> {
        let table = self.enter_table()?;
        Ok(table.get(&message)?.digest().to_vec())
    }

    async fn length(&mut self, message: Resource<OpenedMessage>) -> wasmtime::Result<u64> {
        let table = self.enter_table()?;
        Ok(table.get(&message)?.length())
    }

    async fn read(
        &mut self,
        message: Resource<OpenedMessage>,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, Failure> {
        bounds::limit("limit", limit, 0, bounds::BYTES_MAX as u32)?;
        let table = self.enter_table()?;
        let bytes = table.get(&message)?.read(offset, limit);
        self.answer(bytes.len())?;
        Ok(bytes)
    }

    async fn accept(&mut self, message: Resource<OpenedMessage>) -> Result<(), Failure> {
        let (call, table) = self.enter(0)?;
        Ok(call.accept_message(table.get(&message)?).await?)
    }

    async fn drop(&mut self, message: Resource<OpenedMessage>) -> wasmtime::Result<()> {
        self.enter_table()?.delete(message)?;
        Ok(())
    }
}

impl wit::HostWriter for State {
    async fn write(&mut self, writer: Resource<Writer>, bytes: Vec<u8>) -> Result<(), Failure> {
        bounds::bytes("bytes", &bytes)?;
        let (call, table) = self.enter(bytes.len())?;
        let writer = table.get_mut(&writer)?.0.as_mut().ok_or_else(finished)?;
        Ok(call.write_message(writer, &bytes)?)
    }

    async fn finish(&mut self, writer: Resource<Writer>) -> Result<wit::Sealed, Failure> {
        let (call, table) = self.enter(0)?;
        let writer = table.get_mut(&writer)?.0.take().ok_or_else(finished)?;
        let sealed = call.finish_message(writer).await?;
        Ok(wit::Sealed {
            file: sealed.file,
            digest: sealed.digest.to_vec(),
            sequence: sealed.sequence,
        })
    }

    async fn drop(&mut self, writer: Resource<Writer>) -> wasmtime::Result<()> {
        self.enter_table()?.delete(writer)?;
        Ok(())
    }
}

fn finished() -> Refusal {
    Refusal::invalid("The message is finished.")
}
