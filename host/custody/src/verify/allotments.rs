//! Allotments, their counters, their units, and what makes these unique.

use std::collections::BTreeMap;

use mintmark_crypto::digest::sha256;
use mintmark_exchange::certificate::CertificateSerial;
use mintmark_exchange::grant::Grant;
use mintmark_model::{Counters, UnitState};
use mintmark_pki::Certificate;
use mintmark_store::Key;

use super::{Check, Pages, VerifyError, parts, read, text, units_of, wrong};
use crate::disk::allotment::*;
use crate::escrows::{self, unit_number};
use crate::tables;
use crate::transfers::remembered;
use crate::units::grant_of;

/// An allotment that is right by itself.
pub(super) struct Allotment {
    pub(super) grant: Grant,
    pub(super) counters: Counters,
}

/// Allotments by entitlement.
pub(super) type Allotments = BTreeMap<String, Allotment>;

impl Check<'_> {
    /// Every allotment with its counters and units.
    pub(super) async fn allotments(&self) -> Result<Allotments, VerifyError> {
        let mut allotments = Allotments::new();
        let mut pages = Pages::of(tables::ALLOTMENTS, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let (plugin, entitlement) = parts(&key);
                let name = format!("the allotment of {}", text(entitlement));
                let record: AllotmentRecord = read(&value, &name)?;
                let grant = grant_of(&record).map_err(|_| wrong(&name, "its grant is none"))?;
                if grant.entitlement.as_bytes() != entitlement || record.plugin != plugin {
                    return Err(wrong(name, "it is kept under another name than its own"));
                }
                if self.platform.is_some_and(|it| !it.remembers(&remembered(&grant.entitlement))) {
                    return Err(wrong(name, "the platform does not remember its import"));
                }
                let counters = self.counters(&grant, &record, &name).await?;
                let twice = allotments
                    .insert(grant.entitlement.clone(), Allotment { grant, counters })
                    .is_some();
                if twice {
                    return Err(wrong(name, "two plugins have it"));
                }
            }
        }
        Ok(allotments)
    }

    /// The counters of an allotment, counted anew.
    async fn counters(
        &self,
        grant: &Grant,
        record: &AllotmentRecord,
        name: &str,
    ) -> Result<Counters, VerifyError> {
        let said = escrows::counters(&self.view, &grant.entitlement).await;
        let said = said.map_err(|_| wrong(format!("a counter of {name}"), "it is none"))?;
        if !said.add_up() {
            return Err(wrong(name, "credited is not the sum of the other counters"));
        }
        let found = self.count_units(grant, said.credited.max(grant.terms.total)).await?;
        for state in UnitState::ALL {
            let position = Counters::position(*state);
            let (said, found) = (said.in_row_order()[position], found[position]);
            // Units that a restore wrote off before they were drawn have no record.
            let more = *state == UnitState::Lost && record.written_off && said > found;
            if said != found && !more {
                let what = format!("{said} units are {}, and {found} records say so", state.name());
                return Err(wrong(name, what));
            }
        }
        if said.destroyed > 0 && escrows::end(record).is_none() {
            return Err(wrong(name, "units are destroyed, and it has not ended"));
        }
        Ok(said)
    }

    /// How many units are in each state, in row order; each is checked by itself.
    async fn count_units(&self, grant: &Grant, limit: u64) -> Result<[u64; 10], VerifyError> {
        let mut found = [0; 10];
        let mut pages = units_of(&grant.entitlement);
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let number = unit_number(&key.key);
                let name = format!("unit {number} of {}", grant.entitlement);
                let unit: UnitRecord = read(&value, &name)?;
                let state = UnitState::ALL.get(usize::from(unit.state));
                let state = state.ok_or_else(|| wrong(&name, "its state is none"))?;
                if number >= limit {
                    return Err(wrong(name, "it is beyond all units that were credited"));
                }
                check_artefact(grant, number, &unit, *state, &name)?;
                self.check_indices(grant, number, &unit, &name).await?;
                found[Counters::position(*state)] += 1;
            }
        }
        Ok(found)
    }

    /// Subject, serial number and key of a unit lead to it.
    async fn check_indices(
        &self,
        grant: &Grant,
        number: u64,
        unit: &UnitRecord,
        name: &str,
    ) -> Result<(), VerifyError> {
        let product = &grant.product.id;
        let place = tables::pair(tables::SUBJECTS, product, &unit.subject);
        let subject: Option<SubjectRecord> =
            self.find(&place, format!("the subject of {name}")).await?;
        // What a unit left may have gone on to another, which is looked at by itself. Numbers do
        // not tell which is newer: one that was drawn in vain is drawn again.
        let left = unit.state() == UnitState::Returned || unit.key_lost;
        let leads = |subject: &SubjectRecord| {
            subject.entitlement == grant.entitlement && subject.unit == number
        };
        if !subject.as_ref().is_some_and(|subject| left || leads(subject)) {
            return Err(wrong(name, "its subject does not lead to it"));
        }
        let own = UnitRef { entitlement: grant.entitlement.clone(), unit: number };
        let place = tables::pair(tables::SERIALS, product, &unit.serial);
        let serial: Option<UnitRef> =
            self.find(&place, format!("the serial number of {name}")).await?;
        if serial.as_ref() != Some(&own) && !(left && serial.is_some()) {
            return Err(wrong(name, "its serial number does not lead to it"));
        }
        let Some(artefact) = &unit.artefact else { return Ok(()) };
        let place = Key::new(tables::DEVICE_KEYS, artefact.key_hash);
        let key: Option<UnitRef> = self.find(&place, format!("the key of {name}")).await?;
        if key.as_ref() != Some(&own) {
            return Err(wrong(name, "its device's key does not lead to it"));
        }
        Ok(())
    }

    /// Whatever makes units unique leads to a unit that has it.
    pub(super) async fn indices(&self, allotments: &Allotments) -> Result<(), VerifyError> {
        let mut pages = Pages::of(tables::SUBJECTS, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let (product, subject) = parts(&key);
                let name = format!("the subject {} of {product}", text(subject));
                let record: SubjectRecord = read(&value, &name)?;
                let own = UnitRef { entitlement: record.entitlement, unit: record.unit };
                let unit = self.unit_of(allotments, &own, Some(&product), &name).await?;
                if unit.subject.as_bytes() != subject {
                    return Err(wrong(name, "it leads to a unit of another subject"));
                }
            }
        }
        let mut pages = Pages::of(tables::SERIALS, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let (product, serial) = parts(&key);
                let name = format!("the serial number {} of {product}", text(serial));
                let own: UnitRef = read(&value, &name)?;
                let unit = self.unit_of(allotments, &own, Some(&product), &name).await?;
                if unit.serial.as_bytes() != serial {
                    return Err(wrong(name, "it leads to a unit with another serial number"));
                }
            }
        }
        let mut pages = Pages::of(tables::DEVICE_KEYS, Vec::new());
        while let Some(page) = pages.next(&self.view).await? {
            for (key, value) in page {
                let name = format!("the device key {}", hex::encode(&key.key));
                let own: UnitRef = read(&value, &name)?;
                let unit = self.unit_of(allotments, &own, None, &name).await?;
                let has = |artefact: &ArtefactRecord| artefact.key_hash == key.key[..];
                if !unit.artefact.as_ref().is_some_and(has) {
                    return Err(wrong(name, "it leads to a unit with another key"));
                }
            }
        }
        Ok(())
    }

    async fn unit_of(
        &self,
        allotments: &Allotments,
        own: &UnitRef,
        product: Option<&str>,
        name: &str,
    ) -> Result<UnitRecord, VerifyError> {
        let allotment = allotments.get(&own.entitlement);
        let allotment =
            allotment.ok_or_else(|| wrong(name, "it leads to an entitlement that is not there"))?;
        if product.is_some_and(|product| product != allotment.grant.product.id) {
            return Err(wrong(name, "it leads to a unit of another product"));
        }
        let found = self.find(&tables::unit(&own.entitlement, own.unit), name).await?;
        found.ok_or_else(|| wrong(name, "it leads to a unit that is not there"))
    }
}

/// What a unit released fits its state and its number.
fn check_artefact(
    grant: &Grant,
    number: u64,
    unit: &UnitRecord,
    state: UnitState,
    name: &str,
) -> Result<(), VerifyError> {
    use UnitState::{Confirmed, Failed, Issued, Lost, Reserved, Returned, Scrapped};
    let Some(artefact) = &unit.artefact else {
        return match state {
            Reserved | Returned | Lost => Ok(()),
            Issued | Confirmed | Failed | Scrapped => {
                Err(wrong(name, "it was issued, and what it released is not there"))
            }
        };
    };
    if matches!(state, Reserved | Returned) {
        return Err(wrong(name, "it was not issued, and something of it was released"));
    }
    for (ordinal, der) in artefact.certificates.iter().enumerate() {
        let certificate = Certificate::parse(der);
        let certificate = certificate.map_err(|_| wrong(name, "its certificate cannot be read"))?;
        let own = CertificateSerial::parse(certificate.serial_number()).is_some_and(|serial| {
            (serial.number, serial.unit) == (grant.number, number)
                && usize::from(serial.ordinal) == ordinal
        });
        if !own {
            return Err(wrong(name, "its certificate has the serial number of another unit"));
        }
        if sha256(certificate.public_key_info()) != artefact.key_hash {
            return Err(wrong(name, "its certificate is for another key"));
        }
    }
    let kept = artefact.kept.as_ref();
    if kept.is_some_and(|kept| sha256(&kept.public_key) != artefact.key_hash) {
        return Err(wrong(name, "its public key is another one than its hash says"));
    }
    Ok(())
}
