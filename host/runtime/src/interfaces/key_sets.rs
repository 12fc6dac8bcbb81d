//! `key-sets`: many device keys under one handle.

use wasmtime::component::Resource;

use mintmark_custody::OpenKeySet;

use super::keys::recipients;
use crate::bindings::mintmark::host::key_sets as wit;
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

impl wit::Host for State {
    async fn open(&mut self, name: String) -> Result<Resource<OpenKeySet>, Failure> {
        bounds::name("name", &name)?;
        let (call, table) = self.enter(name.len())?;
        Ok(table.push(call.open_key_set(&name).await?)?)
    }

    async fn generate(
        &mut self,
        name: String,
        algorithm: String,
        size: u64,
        receivers: wit::Recipients,
    ) -> Result<Resource<OpenKeySet>, Failure> {
        bounds::name("name", &name)?;
        bounds::text("algorithm", &algorithm)?;
        let receivers = recipients(receivers)?;
        let (call, table) = self.enter(name.len())?;
        Ok(table.push(call.generate_key_set(&name, &algorithm, size, receivers).await?)?)
    }
}

impl wit::HostKeySet for State {
    async fn attributes(&mut self, set: Resource<OpenKeySet>) -> Result<wit::Attributes, Failure> {
        let (call, table) = self.enter(0)?;
        let attributes = call.key_set_attributes(table.get(&set)?).await?;
        Ok(wit::Attributes {
            name: attributes.name,
            algorithm: attributes.algorithm.name().to_owned(),
            size: attributes.size,
        })
    }

    async fn destroy(&mut self, set: Resource<OpenKeySet>) -> Result<(), Failure> {
        let (call, table) = self.enter(0)?;
        Ok(call.destroy_key_set(table.get(&set)?).await?)
    }

    async fn drop(&mut self, set: Resource<OpenKeySet>) -> wasmtime::Result<()> {
        self.enter_table()?.delete(set)?;
        Ok(())
    }
}
