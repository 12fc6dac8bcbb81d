//! Which device certificates count no more, and the list that says so.

use mintmark_crypto::digest::sha256;
use mintmark_exchange::row::Event;
use mintmark_model::policy::Content;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::{DeviceSerial, RevocationReason, Revoked, revocation_list};
use mintmark_store::{Key, Range};

use super::{OpenAllotment, OpenUnit};
use crate::call::Call;
use crate::disk::{self, allotment::RevocationRecord};
use crate::permit::Certify;
use crate::transfers::batch_ca_of;
use crate::types::RevocationFile;
use crate::{keys, tables};

/// The most certificates of a list: some megabytes.
const REVOKED_MAX: usize = 100_000;

impl Call {
    /// The unit's certificates count no more; one that is revoked already stays as it is.
    pub(super) async fn revoke(
        &mut self,
        unit: &OpenUnit,
        reason: RevocationReason,
    ) -> Result<(), Refusal> {
        let at = self.now_ms();
        let work = self.work(unit).await?;
        let artefact = work.now.artefact.as_ref();
        let certificates = artefact.map_or(0, |artefact| artefact.certificates.len());
        let ordinals = 0..u16::try_from(certificates).unwrap_or(u16::MAX);
        let serials: Vec<_> = ordinals.map(|ordinal| work.certificate_serial(ordinal)).collect();
        for serial in serials {
            let place = tables::pair(tables::REVOCATIONS, &unit.grant.entitlement, serial);
            if self.read::<RevocationRecord>(&place).await?.is_none() {
                self.view.write(place, RevocationRecord { at, reason: reason as u8 });
            }
        }
        Ok(())
    }

    /// Signs the list of the allotment's certificates that count no more, with the next number,
    /// and stages it. It has what was committed when the call began. An allotment that was
    /// extended has several batch CAs with one key; the file has a list of each, one after the
    /// other. Closing destroys the key, so the last list is made before.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` for a program; `NOT_FOUND` where the grant has no certificates;
    /// `WRONG_STATE` once the key is destroyed, and once a restore wrote the allotment off;
    /// `BUDGET_EXCEEDED` for a list that is too long.
    pub async fn revocation_list(
        &mut self,
        allotment: &OpenAllotment,
    ) -> Result<RevocationFile, Refusal> {
        if !self.session.principal.role.is_person() {
            return Err(Refusal::denied("Only a person can have a revocation list made."));
        }
        let grant = &allotment.grant;
        let entitlement = grant.entitlement.as_str();
        let record = self.allotment_record(grant).await?;
        if record.written_off {
            // A list that lacks what an earlier one names would take its revocation back.
            let detail = "A restore may have forgotten certificates that were revoked after the \
                          backup; the newest list that was made before it stands.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let issuers: Vec<Vec<u8>> = grant
            .batch_ca
            .iter()
            .cloned()
            .chain(record.orders.batch_cas.iter().map(|(_, certificate)| certificate.clone()))
            .collect();
        if issuers.is_empty() {
            return Err(Refusal::not_found("batch CA"));
        }
        let key = self.load_key(&keys::batch_name(entitlement)).await?;
        let permit = self.permit::<Certify>(&key, Content::RevocationList, Some(entitlement))?;
        let signer = permit.signing_key(&self.host.vault)?;
        let revoked = self.revoked(entitlement).await?;
        let place = Key::new(tables::NUMBERS, [b"crl ", entitlement.as_bytes()].concat());
        let number = self.read::<u64>(&place).await?.unwrap_or_default() + 1;
        self.view.write(place, number);
        let mut lists = Vec::new();
        for issuer in &issuers {
            let is_own = |one: &&Revoked| {
                let unit = DeviceSerial::from_bytes(&one.serial_number).map(|serial| serial.unit);
                unit.and_then(|unit| batch_ca_of(&record, grant, unit)).as_ref() == Some(issuer)
            };
            let own: Vec<_> = revoked.iter().filter(is_own).copied().collect();
            let list = revocation_list(&signer, issuer, number, self.now_ms(), &own);
            lists.extend(list.map_err(|error| {
                tracing::warn!(%error, "a revocation list could not be made");
                unreadable()
            })?);
        }
        // Without its row the lists do not leave.
        self.taint();
        let (file, digest) = (self.stage(&lists).await?, sha256(&lists));
        let count = revoked.len() as u64;
        let entitlement = entitlement.to_owned();
        self.record(Event::CrlIssued { entitlement, number, revoked: count, digest });
        Ok(RevocationFile { file, digest, number, revoked: count })
    }

    /// In the order of the serial numbers.
    async fn revoked(&self, entitlement: &str) -> Result<Vec<Revoked>, Refusal> {
        let prefix = tables::prefix(entitlement, b"");
        let skipped = prefix.len();
        let range = Range::all(tables::REVOCATIONS, prefix).limit(REVOKED_MAX + 1);
        let found = self.view.peek_range(&range).await?;
        if found.len() > REVOKED_MAX {
            let detail = "The list is too long; revoke the batch CA instead.";
            return Err(Refusal::new(Reason::BudgetExceeded, detail));
        }
        let entry = |(key, value): &(Key, mintmark_crypto::SecretBytes)| {
            let record: RevocationRecord = disk::read(value)?;
            let serial = key.key.get(skipped..).and_then(DeviceSerial::from_bytes);
            Ok(Revoked {
                serial_number: serial.ok_or_else(unreadable)?.to_bytes(),
                at_ms: record.at,
                reason: RevocationReason::from_number(record.reason).ok_or_else(unreadable)?,
            })
        };
        found.iter().map(entry).collect()
    }
}

fn unreadable() -> Refusal {
    let detail = "The entitlement's revocations cannot be read; run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}
