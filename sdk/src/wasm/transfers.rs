//! What one host orders another to do.

use super::Host;
use crate::{
    Digest, backend,
    bindings::mintmark::host::transfers as wit,
    error::Error,
    transfers::{Exported, Imported, Proposal, Receipt},
};

impl backend::Transfers for Host {
    fn export_grant(&self, proposal: &Proposal<'_>) -> Result<Exported, Error> {
        let wit::Exported { entitlement, number, grant, order } = wit::export_grant(
            proposal.cluster,
            proposal.plugin,
            proposal.proposal,
            proposal.product_ca.map(|key| &key.handle.0),
            proposal.batch_key.map(|key| &key.handle.0),
            proposal.key_set.map(|set| &set.handle.0),
        )?;
        Ok(Exported { entitlement, number, grant, order })
    }

    fn import_grant(&self, order: &[u8]) -> Result<Imported, Error> {
        let wit::Imported { entitlement, number, grant } = wit::import_grant(order)?;
        Ok(Imported { entitlement, number, grant })
    }

    fn export_receipt(
        &self,
        bundle: &Digest,
        checkpoints: &[Vec<u8>],
        verdict: &str,
    ) -> Result<Vec<u8>, Error> {
        Ok(wit::export_receipt(bundle, checkpoints, verdict)?)
    }

    fn import_receipt(&self, order: &[u8]) -> Result<Receipt, Error> {
        let wit::Receipt { body, entitlements } = wit::import_receipt(order)?;
        Ok(Receipt { body, entitlements })
    }
}
