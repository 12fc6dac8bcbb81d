//! What crosses the gap: messages, peers, transfers.

use std::cell::RefCell;

use mintmark_custody::{MessageWriter, OpenKeySet, OpenedMessage, PeerIdentity};
use mintmark_sdk::backend::{Messages, OpenedHandle, Peers, Transfers, WriterHandle};
use mintmark_sdk::key_sets::KeySet;
use mintmark_sdk::keys::Key;
use mintmark_sdk::messages::{Opened, Purpose, Sealed, Writer};
use mintmark_sdk::peers::Identity;
use mintmark_sdk::transfers::{
    AdoptedOrder, AppliedDirective, Exported, Imported, Proposal, Receipt,
};
use mintmark_sdk::{Digest, Error, Timestamp};

use super::allotments::key_of;
use super::{Held, HostBackend, foreign};

/// A message that is written, until custody takes it.
type Pending = RefCell<Option<MessageWriter>>;

impl Messages for HostBackend {
    fn seal(
        &self,
        purpose: Purpose,
        cluster: &str,
        plugin: &str,
        header: &[u8],
    ) -> Result<Writer, Error> {
        let writer = self
            .ask(async |call| call.seal_message(purpose.name(), cluster, plugin, header).await)?;
        Ok(Writer::from_handle(self.held(RefCell::new(Some(writer)))))
    }

    fn open(&self, purpose: Purpose, file: &str) -> Result<Opened, Error> {
        let opened = self.ask(async |call| call.open_message(purpose.name(), file).await)?;
        Ok(Opened::from_handle(self.held(opened)))
    }
}

impl OpenedHandle for Held<OpenedMessage> {
    fn sender(&self) -> Identity {
        identity(self.open.sender().clone())
    }

    fn header(&self) -> Vec<u8> {
        self.open.header().to_vec()
    }

    fn made_at(&self) -> Timestamp {
        self.open.made_at()
    }

    fn digest(&self) -> Digest {
        self.open.digest()
    }

    fn length(&self) -> u64 {
        self.open.length()
    }

    fn read(&self, offset: u64, limit: u32) -> Result<Vec<u8>, Error> {
        Ok(self.open.read(offset, limit))
    }

    fn accept(&self) -> Result<(), Error> {
        self.host.ask(async |call| call.accept_message(&self.open).await)
    }
}

impl WriterHandle for Held<Pending> {
    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut pending = self.open.borrow_mut();
        let writer = pending.as_mut().ok_or_else(foreign)?;
        self.host.ask(async |call| call.write_message(writer, bytes))
    }

    fn finish(&self) -> Result<Sealed, Error> {
        let writer = self.open.borrow_mut().take().ok_or_else(foreign)?;
        let sealed = self.host.ask(async |call| call.finish_message(writer).await)?;
        Ok(Sealed { file: sealed.file, digest: sealed.digest, sequence: sealed.sequence })
    }
}

impl Peers for HostBackend {
    fn get(&self, cluster: &str, plugin: &str) -> Result<Identity, Error> {
        self.ask(async |call| call.peer(cluster, plugin).await).map(identity)
    }

    fn clusters(&self) -> Result<Vec<String>, Error> {
        self.ask(async |call| call.peer_clusters().await)
    }
}

impl Transfers for HostBackend {
    fn export_grant(&self, proposal: &Proposal<'_>) -> Result<Exported, Error> {
        let product_ca = proposal.product_ca.map(key_of).transpose()?;
        let batch_key = proposal.batch_key.map(key_of).transpose()?;
        let set = proposal.key_set.map(set_of).transpose()?;
        let (cluster, plugin) = (proposal.cluster, proposal.plugin);
        let exported = self.ask(async |call| {
            let terms = proposal.proposal;
            call.export_grant(cluster, plugin, terms, product_ca, batch_key, set).await
        })?;
        Ok(Exported {
            entitlement: exported.entitlement,
            number: exported.number,
            grant: exported.grant,
            order: exported.order,
        })
    }

    fn import_grant(&self, order: &[u8]) -> Result<Imported, Error> {
        let imported = self.ask(async |call| call.import_grant(order).await)?;
        Ok(Imported {
            entitlement: imported.entitlement,
            number: imported.number,
            grant: imported.grant,
        })
    }

    fn export_receipt(
        &self,
        bundle: &Digest,
        checkpoints: &[Vec<u8>],
        verdict: &str,
    ) -> Result<Vec<u8>, Error> {
        self.ask(async |call| call.export_receipt(bundle, checkpoints, verdict).await)
    }

    fn import_receipt(&self, order: &[u8]) -> Result<Receipt, Error> {
        let receipt = self.ask(async |call| call.import_receipt(order).await)?;
        Ok(Receipt { body: receipt.body, entitlements: receipt.entitlements })
    }

    fn export_directive(
        &self,
        site: &str,
        entitlement: &str,
        change: &[u8],
        product_ca: Option<&Key>,
    ) -> Result<Vec<u8>, Error> {
        let product_ca = product_ca.map(key_of).transpose()?;
        self.ask(async |call| call.export_directive(site, entitlement, change, product_ca).await)
    }

    fn adopt_order(&self, order: &[u8]) -> Result<AdoptedOrder, Error> {
        Ok(match self.ask(async |call| call.adopt_order(order).await)? {
            mintmark_custody::AdoptedOrder::Grant => AdoptedOrder::Grant,
            mintmark_custody::AdoptedOrder::Directive => AdoptedOrder::Directive,
        })
    }

    fn import_directive(&self, order: &[u8]) -> Result<AppliedDirective, Error> {
        let applied = self.ask(async |call| call.import_directive(order).await)?;
        Ok(AppliedDirective { body: applied.body, applied: applied.applied })
    }

    fn export_closing(&self, entitlement: &str) -> Result<Vec<u8>, Error> {
        self.ask(async |call| call.export_closing(entitlement).await)
    }

    fn import_closing(&self, order: &[u8]) -> Result<Vec<u8>, Error> {
        self.ask(async |call| call.import_closing(order).await)
    }
}

fn set_of(set: &KeySet) -> Result<&OpenKeySet, Error> {
    set.backing::<Held<OpenKeySet>>().map(|held| &held.open).ok_or_else(foreign)
}

fn identity(peer: PeerIdentity) -> Identity {
    Identity {
        cluster: peer.cluster,
        plugin: peer.plugin,
        measurement: peer.measurement,
        hardware_model: peer.hardware_model,
    }
}
