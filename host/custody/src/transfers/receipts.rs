//! Receipts: headquarters acknowledges rows, and the site may go on.

use mintmark_exchange::canonical;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::message::HeadRef;
use mintmark_exchange::order::{CHECKPOINT, RECEIPT, SignedOrder};
use mintmark_exchange::receipt::{Holding, ReceiptBody, Stretch};
use mintmark_exchange::reconcile::Verdict;
use mintmark_exchange::row::Event;
use mintmark_model::escrow::Lease;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::ClusterRole;

use crate::call::Call;
use crate::disk::allotment::AllotmentRecord;
use crate::disk::peer::{ExportRecord, ExportedCounters, HeldRecord};
use crate::host::untrusted;
use crate::messages::stream::held_record;
use crate::restoring::forgot_place;
use crate::types::{Digest, ImportedReceipt, VerifiedCheckpoint, Witness};
use crate::{tables, units};

impl Call {
    /// Signs a receipt over checkpoints that a site's hosts signed.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for another verdict than clean, or checkpoints of several clusters;
    /// `UNTRUSTED_MESSAGE`.
    pub async fn export_receipt(
        &mut self,
        bundle: &Digest,
        checkpoints: &[Vec<u8>],
        verdict: &str,
    ) -> Result<Vec<u8>, Refusal> {
        self.check_claim("receipt")?;
        if !self.host.identity.is_headquarters() {
            return Err(Refusal::denied("Only headquarters gives receipts."));
        }
        let verdict = match verdict {
            "clean" => Verdict::Clean,
            "clean-with-notes" => Verdict::CleanWithNotes,
            _ => return Err(Refusal::invalid("Only clean bundles get receipts.")),
        };
        let mut verified = Vec::with_capacity(checkpoints.len());
        for checkpoint in checkpoints {
            verified.push(self.checkpoint(checkpoint)?);
        }
        let newest = verified.iter().max_by_key(|one| (one.incarnation, one.to.sequence));
        let (Some(newest), true) = (newest, same_cluster(&verified)) else {
            return Err(Refusal::invalid("A receipt is for the checkpoints of one site."));
        };
        let site = newest.cluster.clone();
        let body = ReceiptBody {
            version: 1,
            exporter: self.host.identity.uri(),
            recipient: site.clone(),
            bundle: *bundle,
            stretches: verified.iter().map(Stretch::of).collect(),
            verdict,
            report: *bundle,
            made_at: self.now_ms(),
            exported_at: newest.as_of,
            holds: newest.counters.iter().map(holding).collect(),
        };
        for checkpoint in &verified {
            self.note_reported(&site, checkpoint).await?;
            self.hold(&site, checkpoint).await?;
        }
        // What a site says of another headquarters' stream is nothing to this one.
        if [self.host.identity.uri().as_str(), ""].contains(&newest.headquarters.as_str()) {
            self.note_taken(&site, newest).await?;
            let first = verified.iter().map(|one| one.incarnation).min();
            self.acknowledged(&site, newest, first.unwrap_or(newest.incarnation)).await?;
        }
        let order = self.host.identity.sign_order(RECEIPT, canonical::encode(&body));
        self.taint();
        self.record(Event::ReceiptExported {
            receipt: order.digest(RECEIPT),
            recipient: site,
            bundle: *bundle,
            verdict,
        });
        Ok(order.encode())
    }

    /// Renews the audit-return lease of the allotments that the receipt's exporter granted.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE`, `WRONG_SITE`; `OUT_OF_ORDER` for a head that this ledger does not have.
    pub async fn import_receipt(&mut self, order: &[u8]) -> Result<ImportedReceipt, Refusal> {
        self.check_claim("import")?;
        let order = SignedOrder::decode(order).map_err(|_| untrusted())?;
        let body: ReceiptBody = order.open().map_err(|_| untrusted())?;
        let chain = self.host.identity.verify_order(RECEIPT, &order, body.made_at)?;
        let cluster = chain.id().cluster();
        if cluster.role() != ClusterRole::Headquarters || cluster.to_string() != body.exporter {
            return Err(untrusted());
        }
        if body.recipient != self.host.identity.uri() {
            let detail = "The receipt is for another site.";
            return Err(Refusal::new(Reason::WrongSite, detail));
        }
        let clean = matches!(body.verdict, Verdict::Clean | Verdict::CleanWithNotes);
        if body.version != 1 || !clean {
            return Err(untrusted());
        }
        // From here on the act is done whole, or the call is not committed.
        let renewed = self.renew_all(&body, &order).await;
        let entitlements = self.whole(renewed)?;
        self.remember_again(&body).await?;
        self.record(Event::ReceiptImported {
            receipt: order.digest(RECEIPT),
            exporter: body.exporter,
            bundle: body.bundle,
            verdict: body.verdict,
            heads: body.stretches.into_iter().map(|stretch| stretch.to).collect(),
        });
        Ok(ImportedReceipt { body: order.body, entitlements })
    }

    /// Headquarters has seen this ledger: what it grants from now on is new here, also where the
    /// platform had forgotten what was imported before a restore.
    async fn remember_again(&mut self, body: &ReceiptBody) -> Result<(), Refusal> {
        let own = self.host.identity.incarnation;
        let forgot: Option<u64> = self.read(&forgot_place()).await?;
        if forgot == Some(u64::MAX) && body.stretches.iter().any(|one| one.to.incarnation == own) {
            self.view.write(forgot_place(), body.made_at);
        }
        Ok(())
    }

    async fn renew_all(
        &mut self,
        body: &ReceiptBody,
        order: &SignedOrder,
    ) -> Result<Vec<String>, Refusal> {
        let mut entitlements = Vec::new();
        for stretch in &body.stretches {
            self.check_own_head(&stretch.to).await?;
            entitlements.extend(self.renew(body, stretch, order).await?);
        }
        Ok(entitlements)
    }

    /// Checks a signed checkpoint of any cluster under our root.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE`.
    pub async fn verify_checkpoint(
        &mut self,
        checkpoint: &[u8],
    ) -> Result<VerifiedCheckpoint, Refusal> {
        let order = SignedOrder::decode(checkpoint).map_err(|_| untrusted())?;
        let body = self.checkpoint(checkpoint)?;
        let seen = body.hq_head.as_ref();
        let seen = seen.filter(|_| body.headquarters == self.host.identity.uri());
        let witness = match seen {
            Some(head) => self.witness(head).await?,
            None => Witness::Held,
        };
        let restored = self.host.is_restored();
        Ok(VerifiedCheckpoint { cluster: body.cluster, body: order.body, witness, restored })
    }

    /// What became of a row of this ledger that a site has seen.
    async fn witness(&mut self, head: &HeadRef) -> Result<Witness, Refusal> {
        match self.check_own_head(head).await {
            Ok(()) => Ok(Witness::Held),
            Err(refusal) if refusal.reason == Reason::OutOfOrder => {
                // Each restore begins a later ledger, so an earlier one can have been cut by it.
                let replaced = head.incarnation < self.host.identity.incarnation;
                let by_restore = self.host.is_restored() && replaced;
                Ok(if by_restore { Witness::Forgotten } else { Witness::Lost })
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn checkpoint(&self, checkpoint: &[u8]) -> Result<Checkpoint, Refusal> {
        let order = SignedOrder::decode(checkpoint).map_err(|_| untrusted())?;
        let body: Checkpoint = order.open().map_err(|_| untrusted())?;
        let chain = self.host.identity.verify_order(CHECKPOINT, &order, body.made_at)?;
        let signer = chain.id().cluster().to_string();
        let sound = signer == body.cluster && body.version == 1 && body.as_of <= body.made_at;
        if sound { Ok(body) } else { Err(untrusted()) }
    }

    /// Headquarters holds the rows up to a checkpoint from now on.
    async fn hold(&mut self, site: &str, checkpoint: &Checkpoint) -> Result<(), Refusal> {
        let place = tables::pair(tables::HELD, site, checkpoint.node.as_bytes());
        let held: Option<HeldRecord> = self.read(&place).await?;
        let newer = held.is_none_or(|held| {
            (held.incarnation, held.sequence) < (checkpoint.incarnation, checkpoint.to.sequence)
        });
        if newer {
            self.view.write(place, held_record(&Stretch::of(checkpoint).to));
        }
        Ok(())
    }

    /// Renews the leases that the export of `stretch` is the base of.
    async fn renew(
        &mut self,
        body: &ReceiptBody,
        stretch: &Stretch,
        order: &SignedOrder,
    ) -> Result<Vec<String>, Refusal> {
        let head = &stretch.to;
        let chain = self.host.identity.chain_of_ledger(&head.node, head.incarnation);
        let place = tables::export(&chain, stretch.from, head.sequence);
        let export: Option<ExportRecord> = self.read(&place).await?;
        let mut export = export.filter(|export| export.hash == head.hash).ok_or_else(|| {
            let detail = "The receipt is for a bundle that this host did not export.";
            Refusal::new(Reason::OutOfOrder, detail)
        })?;
        // Whoever asks for the proof of a device gets the receipt with it.
        export.receipt = Some(order.encode());
        self.view.write(place, export.clone());
        let own = tables::pair(tables::HELD, &self.host.identity.uri(), head.node.as_bytes());
        let held: Option<HeldRecord> = self.read(&own).await?;
        let present = (head.incarnation, head.sequence);
        if held.is_none_or(|held| (held.incarnation, held.sequence) < present) {
            self.view.write(own, held_record(head));
        }
        let mut renewed = Vec::new();
        for (place, _) in self.all_allotments().await? {
            // What this call itself did counts: a directive may have changed the allotment in it.
            let Some(mut record) = self.read::<AllotmentRecord>(&place).await? else { continue };
            let grant = units::grant_of(&record)?;
            if grant.exporter != body.exporter {
                continue;
            }
            let said = export.counters.iter().find(|one| one.entitlement == grant.entitlement);
            let lease = Lease {
                receipted_drawn: said.map_or(0, ExportedCounters::drawn),
                due: export
                    .as_of
                    .saturating_add(grant.terms.audit_return.seconds.saturating_mul(1_000)),
            };
            apply(&mut record, lease);
            self.view.write(place, record);
            self.renewals.push((grant.entitlement.clone(), lease));
            renewed.push(grant.entitlement);
        }
        Ok(renewed)
    }
}

fn apply(record: &mut AllotmentRecord, lease: Lease) {
    record.receipted_drawn = record.receipted_drawn.max(lease.receipted_drawn);
    record.receipt_due = record.receipt_due.max(lease.due);
}

fn same_cluster(checkpoints: &[Checkpoint]) -> bool {
    checkpoints.windows(2).all(|pair| pair[0].cluster == pair[1].cluster)
}

fn holding(counters: &mintmark_exchange::checkpoint::EntitlementCounters) -> Holding {
    Holding { entitlement: counters.entitlement.clone(), devices: counters.counters.devices() }
}
