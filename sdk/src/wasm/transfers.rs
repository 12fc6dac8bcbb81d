//! What one host orders another to do.

use super::Host;
use crate::{
    Digest, backend,
    bindings::mintmark::host::transfers as wit,
    error::Error,
    keys::Key,
    transfers::{AdoptedOrder, AppliedDirective, Exported, Imported, Proposal, Receipt},
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

    fn export_directive(
        &self,
        site: &str,
        entitlement: &str,
        change: &[u8],
        product_ca: Option<&Key>,
    ) -> Result<Vec<u8>, Error> {
        let product_ca = product_ca.map(|key| &key.handle.0);
        Ok(wit::export_directive(site, entitlement, change, product_ca)?)
    }

    fn adopt_order(&self, order: &[u8]) -> Result<AdoptedOrder, Error> {
        Ok(match wit::adopt_order(order)? {
            wit::AdoptedOrder::Grant => AdoptedOrder::Grant,
            wit::AdoptedOrder::Directive => AdoptedOrder::Directive,
        })
    }

    fn import_directive(&self, order: &[u8]) -> Result<AppliedDirective, Error> {
        let wit::AppliedDirective { body, applied } = wit::import_directive(order)?;
        Ok(AppliedDirective { body, applied })
    }

    fn export_closing(&self, entitlement: &str) -> Result<Vec<u8>, Error> {
        Ok(wit::export_closing(entitlement)?)
    }

    fn import_closing(&self, order: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(wit::import_closing(order)?)
    }
}
