//! `certificates`: CAs for devices, and certificate requests.

use wasmtime::component::Resource;

use mintmark_custody::{OpenKey, VerifiedCsr};

use super::keys::recipients;
use crate::bindings::mintmark::host::certificates as wit;
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

/// The longest certificate request.
const CSR_BYTES_MAX: usize = 16 << 10;

/// The longest message whose signature is checked.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

impl wit::Host for State {
    async fn read_csr(&mut self, request: Vec<u8>) -> Result<Resource<VerifiedCsr>, Failure> {
        bounds::bytes_up_to("request", &request, CSR_BYTES_MAX)?;
        let (call, table) = self.enter(request.len())?;
        Ok(table.push(call.read_csr(&request)?)?)
    }

    async fn create_product_ca(
        &mut self,
        name: String,
        organization: String,
        product: String,
    ) -> Result<Resource<OpenKey>, Failure> {
        bounds::name("name", &name)?;
        bounds::text("organization", &organization)?;
        bounds::text("product", &product)?;
        let (call, table) = self.enter(name.len())?;
        Ok(table.push(call.create_product_ca(&name, &organization, &product).await?)?)
    }

    async fn create_batch_key(
        &mut self,
        name: String,
        receivers: wit::Recipients,
    ) -> Result<Resource<OpenKey>, Failure> {
        bounds::name("name", &name)?;
        let receivers = recipients(receivers)?;
        let (call, table) = self.enter(name.len())?;
        Ok(table.push(call.create_batch_key(&name, receivers).await?)?)
    }

    async fn chain(&mut self, ca: Resource<OpenKey>) -> Result<Vec<Vec<u8>>, Failure> {
        let (call, table) = self.enter(0)?;
        let chain = call.ca_chain(table.get(&ca)?).await?;
        self.answer(chain.iter().map(Vec::len).sum())?;
        Ok(chain)
    }

    async fn allotment_chain(&mut self, allotment: String) -> Result<Vec<Vec<u8>>, Failure> {
        bounds::name("allotment", &allotment)?;
        let (call, _) = self.enter(allotment.len())?;
        let chain = call.allotment_chain(&allotment).await?;
        self.answer(chain.iter().map(Vec::len).sum())?;
        Ok(chain)
    }

    async fn verify_signature(
        &mut self,
        public_key: Vec<u8>,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<bool, Failure> {
        bounds::bytes_up_to("public-key", &public_key, CSR_BYTES_MAX)?;
        bounds::bytes_up_to("message", &message, MESSAGE_BYTES_MAX)?;
        bounds::bytes_up_to("signature", &signature, CSR_BYTES_MAX)?;
        let (call, _) = self.enter(message.len())?;
        Ok(call.verify_signature(&public_key, &message, &signature))
    }
}

impl wit::HostCsr for State {
    async fn public_key(&mut self, csr: Resource<VerifiedCsr>) -> wasmtime::Result<Vec<u8>> {
        let table = self.enter_table()?;
        Ok(table.get(&csr)?.public_key_info().to_vec())
    }

    async fn key_hash(&mut self, csr: Resource<VerifiedCsr>) -> wasmtime::Result<Vec<u8>> {
        let table = self.enter_table()?;
        Ok(table.get(&csr)?.key_hash().to_vec())
    }

    async fn algorithm(&mut self, csr: Resource<VerifiedCsr>) -> wasmtime::Result<String> {
        let table = self.enter_table()?;
        Ok(table.get(&csr)?.algorithm().name().to_owned())
    }

    async fn subject_serial(
        &mut self,
        csr: Resource<VerifiedCsr>,
    ) -> wasmtime::Result<Option<String>> {
        let table = self.enter_table()?;
        Ok(table.get(&csr)?.subject_serial().map(str::to_owned))
    }

    async fn drop(&mut self, csr: Resource<VerifiedCsr>) -> wasmtime::Result<()> {
        self.enter_table()?.delete(csr)?;
        Ok(())
    }
}
