//! What headquarters' host knows about the entitlements that it granted, and how a site stands.

use std::collections::BTreeSet;

use mintmark_crypto::digest::sha256;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::grant::Grant;
use mintmark_exchange::standing::{Granted, Reported, Standing, standing};
use mintmark_exchange::unit::Counters;
use mintmark_model::Refusal;
use mintmark_store::Range;

use crate::call::Call;
use crate::disk;
use crate::disk::granted::{GrantedRecord, ReportedRecord};
use crate::disk::peer::StreamRecord;
use crate::tables;

impl GrantedRecord {
    /// What is remembered of a grant.
    pub(super) fn of(grant: &Grant, batch_key: Option<Vec<u8>>) -> Self {
        let terms = &grant.terms;
        Self {
            number: grant.number,
            product: grant.product.id.clone(),
            limit: terms.total,
            not_before: terms.not_before,
            not_after: terms.not_after,
            audit_units: terms.audit_return.units,
            audit_seconds: terms.audit_return.seconds,
            issued_at: grant.issued_at,
            batch_key,
            product_ca: grant.product_ca.as_deref().map(sha256),
            directives: 0,
            revoked: false,
            message: None,
            taken_by: None,
            unused: false,
            forgotten_by: None,
            reported: None,
            closed: None,
        }
    }

    /// Whether nothing of it can be due: it was sent in an epoch of the stream that the site has
    /// left, and the site left without it, could not use it, or has lost it in a restore. A ledger
    /// that a restore replaced may have used what it took, and can not say so any more.
    pub(super) fn never_due(&self, stream: &StreamRecord) -> bool {
        let left = self.issued_at < stream.opened_at && stream.site_epoch >= stream.epoch;
        left && match self.reported {
            None => match self.taken_by {
                None => self.message.is_some(),
                Some(ledger) => self.unused && ledger == stream.site_incarnation,
            },
            Some(seen) => self.forgotten_by.is_some_and(|ledger| ledger > seen.incarnation),
        }
    }

    /// How the site stands with it.
    pub(super) fn standing(&self, now_ms: u64) -> Standing {
        let granted = Granted {
            limit: self.limit,
            audit_units: self.audit_units,
            audit_seconds: self.audit_seconds,
            issued_at_ms: self.issued_at,
            not_before_ms: self.not_before,
            closed: self.closed.is_some(),
        };
        let reported = self.reported.map(|seen| Reported {
            counters: Counters::from_values(seen.counters),
            limit: seen.limit,
            ended: seen.ended,
            as_of_ms: seen.as_of,
        });
        standing(&granted, reported.as_ref(), now_ms)
    }
}

impl Call {
    /// Remembers what a site's host said about the entitlements, unless it is known as of a later
    /// row. A range that is shown again renews nothing, whenever it was signed.
    pub(super) async fn note_reported(
        &mut self,
        site: &str,
        checkpoint: &Checkpoint,
    ) -> Result<(), Refusal> {
        for said in &checkpoint.counters {
            let place = tables::pair(tables::GRANTED, site, &said.entitlement);
            let Some(mut record) = self.read::<GrantedRecord>(&place).await? else { continue };
            let (row, known) = ((checkpoint.incarnation, checkpoint.to.sequence), record.reported);
            if known.is_some_and(|known| (known.incarnation, known.sequence) > row) {
                continue;
            }
            let same = known.filter(|known| (known.incarnation, known.sequence) == row);
            // A site whose clock is ahead gains nothing by it.
            let as_of = checkpoint.as_of.min(self.now_ms());
            record.reported = Some(ReportedRecord {
                counters: said.counters.values(),
                limit: said.limit,
                ended: said.ended,
                incarnation: checkpoint.incarnation,
                sequence: checkpoint.to.sequence,
                as_of: same.map_or(as_of, |same| same.as_of.max(as_of)),
            });
            self.view.write(place, record);
        }
        Ok(())
    }

    /// Remembers which messages with a grant a site's newest checkpoint has taken, and what its
    /// ledger does not have although an older one had it.
    pub(super) async fn note_taken(
        &mut self,
        site: &str,
        newest: &Checkpoint,
    ) -> Result<(), Refusal> {
        let named: BTreeSet<_> = newest.counters.iter().map(|said| &*said.entitlement).collect();
        let prefix = tables::prefix(site, b"");
        for (key, value) in self.view.scan(Range::all(tables::GRANTED, prefix.clone())).await? {
            let record: GrantedRecord = disk::read(&value)?;
            let taken = record.message.is_some_and(|(epoch, sequence)| {
                epoch == newest.applied_epoch && sequence <= newest.applied_sequence
            });
            let taken_by = record.taken_by.or(Some(newest.incarnation).filter(|_| taken));
            let entitlement = String::from_utf8_lossy(&key.key[prefix.len()..]);
            let older = record.reported.is_some_and(|seen| seen.incarnation < newest.incarnation);
            let unnamed = !named.contains(&*entitlement);
            let whole = newest.as_of == newest.made_at && taken_by == Some(newest.incarnation);
            let unused = record.unused || (whole && unnamed && record.reported.is_none());
            let forgotten_by = Some(newest.incarnation).filter(|_| older && unnamed);
            let forgotten_by = forgotten_by.max(record.forgotten_by);
            let known = (record.taken_by, record.unused, record.forgotten_by);
            if (taken_by, unused, forgotten_by) != known {
                self.view.write(key, GrantedRecord { taken_by, unused, forgotten_by, ..record });
            }
        }
        Ok(())
    }
}
