//! CAs for devices, and certificate requests.

use super::{Host, digest, keys::Key};
use crate::{
    Digest, backend,
    bindings::mintmark::host::certificates as wit,
    certificates,
    error::Error,
    keys::{self, Algorithm, Recipients},
};

/// A checked certificate request of the host.
pub(crate) struct Csr(pub(super) wit::Csr);

impl backend::Certificates for Host {
    fn read_csr(&self, request: &[u8]) -> Result<certificates::Csr, Error> {
        Ok(certificates::Csr::new(Csr(wit::read_csr(request)?)))
    }

    fn create_product_ca(
        &self,
        name: &str,
        organization: &str,
        product: &str,
    ) -> Result<keys::Key, Error> {
        let key = wit::create_product_ca(name, organization, product)?;
        Ok(keys::Key::new(Key(key)))
    }

    fn create_batch_key(&self, name: &str, recipients: &Recipients) -> Result<keys::Key, Error> {
        let key = wit::create_batch_key(name, &recipients.into())?;
        Ok(keys::Key::new(Key(key)))
    }

    fn chain(&self, ca: &keys::Key) -> Result<Vec<Vec<u8>>, Error> {
        Ok(wit::chain(&ca.handle.0)?)
    }

    fn allotment_chain(&self, allotment: &str) -> Result<Vec<Vec<u8>>, Error> {
        Ok(wit::allotment_chain(allotment)?)
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Error> {
        Ok(wit::verify_signature(public_key, message, signature)?)
    }
}

impl backend::CsrHandle for Csr {
    fn public_key(&self) -> Vec<u8> {
        self.0.public_key()
    }

    fn key_hash(&self) -> Digest {
        digest(self.0.key_hash())
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::named(self.0.algorithm())
    }

    fn subject_serial(&self) -> Option<String> {
        self.0.subject_serial()
    }
}
