//! `transfers`: what one host orders another to do, carried by plugins as opaque bytes.

use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use mintmark_custody::{AdoptedOrder, OpenKey, OpenKeySet};

use crate::bindings::mintmark::host::transfers as wit;
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

/// The most checkpoints of one receipt: one for each node of a cluster.
const CHECKPOINTS_MAX: usize = 256;

impl wit::Host for State {
    async fn export_grant(
        &mut self,
        cluster: String,
        plugin: String,
        proposal: Vec<u8>,
        product_ca: Option<Resource<OpenKey>>,
        batch_key: Option<Resource<OpenKey>>,
        key_set: Option<Resource<OpenKeySet>>,
    ) -> Result<wit::Exported, Failure> {
        bounds::text("cluster", &cluster)?;
        bounds::text("plugin", &plugin)?;
        bounds::bytes("proposal", &proposal)?;
        let (call, table) = self.enter(proposal.len())?;
        let product_ca = behind(table, product_ca.as_ref())?;
        let batch_key = behind(table, batch_key.as_ref())?;
        let key_set = behind(table, key_set.as_ref())?;
        let exported =
            call.export_grant(&cluster, &plugin, &proposal, product_ca, batch_key, key_set).await?;
        self.answer(exported.grant.len() + exported.order.len())?;
        Ok(wit::Exported {
            entitlement: exported.entitlement,
            number: exported.number,
            grant: exported.grant,
            order: exported.order,
        })
    }

    async fn import_grant(&mut self, order: Vec<u8>) -> Result<wit::Imported, Failure> {
        bounds::bytes("order", &order)?;
        let (call, _) = self.enter(order.len())?;
        let imported = call.import_grant(&order).await?;
        self.answer(imported.grant.len())?;
        Ok(wit::Imported {
            entitlement: imported.entitlement,
            number: imported.number,
            grant: imported.grant,
        })
    }

    async fn export_receipt(
        &mut self,
        bundle: Vec<u8>,
        checkpoints: Vec<Vec<u8>>,
        verdict: String,
    ) -> Result<Vec<u8>, Failure> {
        let bundle = bounds::digest("bundle", &bundle)?;
        bounds::entries("checkpoints", checkpoints.len(), CHECKPOINTS_MAX)?;
        for checkpoint in &checkpoints {
            bounds::bytes("checkpoint", checkpoint)?;
        }
        bounds::text("verdict", &verdict)?;
        let (call, _) = self.enter(checkpoints.iter().map(Vec::len).sum())?;
        let receipt = call.export_receipt(&bundle, &checkpoints, &verdict).await?;
        self.answer(receipt.len())?;
        Ok(receipt)
    }

    async fn import_receipt(&mut self, order: Vec<u8>) -> Result<wit::Receipt, Failure> {
        bounds::bytes("order", &order)?;
        let (call, _) = self.enter(order.len())?;
        let receipt = call.import_receipt(&order).await?;
        self.answer(receipt.body.len())?;
        Ok(wit::Receipt { body: receipt.body, entitlements: receipt.entitlements })
    }

    async fn export_directive(
        &mut self,
        site: String,
        entitlement: String,
        change: Vec<u8>,
        product_ca: Option<Resource<OpenKey>>,
    ) -> Result<Vec<u8>, Failure> {
        bounds::text("site", &site)?;
        bounds::name("entitlement", &entitlement)?;
        bounds::bytes_up_to("change", &change, bounds::TEXT_BYTES_MAX)?;
        let (call, table) = self.enter(change.len())?;
        let product_ca = behind(table, product_ca.as_ref())?;
        let order = call.export_directive(&site, &entitlement, &change, product_ca).await?;
        self.answer(order.len())?;
        Ok(order)
    }

    async fn adopt_order(&mut self, order: Vec<u8>) -> Result<wit::AdoptedOrder, Failure> {
        bounds::bytes("order", &order)?;
        let (call, _) = self.enter(order.len())?;
        Ok(match call.adopt_order(&order).await? {
            AdoptedOrder::Grant => wit::AdoptedOrder::Grant,
            AdoptedOrder::Directive => wit::AdoptedOrder::Directive,
        })
    }

    async fn import_directive(&mut self, order: Vec<u8>) -> Result<wit::AppliedDirective, Failure> {
        bounds::bytes("order", &order)?;
        let (call, _) = self.enter(order.len())?;
        let applied = call.import_directive(&order).await?;
        self.answer(applied.body.len())?;
        Ok(wit::AppliedDirective { body: applied.body, applied: applied.applied })
    }

    async fn export_closing(&mut self, entitlement: String) -> Result<Vec<u8>, Failure> {
        bounds::name("entitlement", &entitlement)?;
        let (call, _) = self.enter(entitlement.len())?;
        let statement = call.export_closing(&entitlement).await?;
        self.answer(statement.len())?;
        Ok(statement)
    }

    async fn import_closing(&mut self, order: Vec<u8>) -> Result<Vec<u8>, Failure> {
        bounds::bytes("order", &order)?;
        let (call, _) = self.enter(order.len())?;
        let body = call.import_closing(&order).await?;
        self.answer(body.len())?;
        Ok(body)
    }
}

fn behind<'a, T: 'static>(
    table: &'a ResourceTable,
    handle: Option<&Resource<T>>,
) -> Result<Option<&'a T>, ResourceTableError> {
    handle.map(|handle| table.get(handle)).transpose()
}
