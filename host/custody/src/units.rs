//! Allotments and units: drawing, finding, listing.

use std::sync::Arc;

use mintmark_exchange::canonical::is_subject;
use mintmark_exchange::grant::Grant;
use mintmark_exchange::order::SignedOrder;
use mintmark_model::{Reason, Refusal, Role, UnitState};
use mintmark_store::{Key, Range};

use crate::call::Call;
use crate::disk::{self, allotment::*, host::UserRecord};
use crate::escrows;
use crate::tables;
use crate::types::{AllotmentState, AllotmentStatus, UnitStatus};
use work::{Carried, UnitWork};

mod derived;
mod drawing;
mod ending;
mod handing;
mod issuing;
mod recertifying;
mod revoking;
pub(crate) mod work;

/// An allotment that the calling plugin may use.
#[derive(Clone)]
pub struct OpenAllotment {
    pub(crate) grant: Arc<Grant>,
}

/// A unit of such an allotment.
#[derive(Clone)]
pub struct OpenUnit {
    pub(crate) grant: Arc<Grant>,
    pub(crate) number: u64,
}

/// What a subject has spent.
#[derive(Clone, Copy, Default)]
struct Spent {
    units: u32,
    attempts: u32,
    /// The last of them that was released.
    last: Option<u64>,
}

impl Call {
    /// Opens an allotment that was imported for the calling plugin.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, also for a station that is bound to others; `WRONG_PLUGIN` for code that the
    /// grant does not accept.
    pub async fn open_allotment(&mut self, name: &str) -> Result<OpenAllotment, Refusal> {
        let plugin = self.plugin_name()?;
        let key = tables::pair(tables::ALLOTMENTS, &plugin, name);
        self.close_if_due(&key).await?;
        let record: Option<AllotmentRecord> = self.read(&key).await?;
        let record = record.ok_or_else(|| Refusal::not_found("entitlement"))?;
        if !self.station_may_use(name).await? {
            return Err(Refusal::not_found("entitlement"));
        }
        let grant = Arc::new(grant_of(&record)?);
        if !grant.accepted_plugins.accept(&self.plugin()?.measurement, &[], 0) {
            let detail = "The grant does not accept this version of the plugin.";
            return Err(Refusal::new(Reason::WrongPlugin, detail));
        }
        Ok(OpenAllotment { grant })
    }

    /// The names of the calling plugin's allotments after `after`, in order.
    ///
    /// # Errors
    ///
    /// Only where the store fails.
    pub async fn allotment_names(
        &mut self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, Refusal> {
        let plugin = self.plugin_name()?;
        let range = Range::all(tables::ALLOTMENTS, tables::prefix(&plugin, b""));
        let range = range.limit(limit.clamp(1, 1_000) as usize);
        let range = match after {
            Some(after) => range.after(tables::prefix(&plugin, after.as_bytes())),
            None => range,
        };
        let skipped = plugin.len() + 1;
        let found = self.view.peek_range(&range).await?;
        let name = |key: &Key| String::from_utf8_lossy(&key.key[skipped..]).into_owned();
        Ok(found.iter().map(|(key, _)| name(key)).collect())
    }

    /// State and counters of an allotment, as committed when the call began.
    ///
    /// # Errors
    ///
    /// Only where the store fails.
    pub async fn allotment_status(
        &mut self,
        allotment: &OpenAllotment,
    ) -> Result<AllotmentStatus, Refusal> {
        let record = self.allotment_record(&allotment.grant).await?;
        let counters = escrows::counters(&self.view, &allotment.grant.entitlement).await?;
        let terms = &allotment.grant.terms;
        let state = match escrows::end(&record) {
            Some(_) if record.is_closed() => AllotmentState::Closed,
            Some(mintmark_model::escrow::End::Revoked) => AllotmentState::Revoked,
            Some(mintmark_model::escrow::End::Closed) => AllotmentState::Closed,
            None if !(terms.not_before..=terms.not_after).contains(&self.now_ms()) => {
                AllotmentState::Paused
            }
            None if counters.unused == 0 => AllotmentState::Exhausted,
            None => AllotmentState::Active,
        };
        Ok(AllotmentStatus {
            grant: record.grant,
            state,
            counters,
            since_receipt: counters.drawn().saturating_sub(record.receipted_drawn),
            receipt_due: record.receipt_due,
            not_after: terms.not_after,
            limit: terms.total,
        })
    }

    /// Reserves a unit for `subject`, or opens the one that it has.
    ///
    /// # Errors
    ///
    /// The first limit that does not allow it; `DUPLICATE_SUBJECT`, `SUBJECT_NOT_LISTED`,
    /// `SERIAL_OUT_OF_RANGE`.
    pub async fn draw(
        &mut self,
        allotment: &OpenAllotment,
        subject: &str,
        serial: Option<&str>,
    ) -> Result<OpenUnit, Refusal> {
        let grant = &allotment.grant;
        check_subject(grant, subject, serial)?;
        let place = tables::pair(tables::SUBJECTS, &grant.product.id, subject);
        self.claim(&place).await?;
        if self.is_carried(grant, subject) {
            // What the first run drew is not reserved for an allotment that ended since.
            self.check_life(grant).await?;
        }
        if let Some(unit) = self.drawn_here(grant, subject) {
            return Ok(unit);
        }
        if self.drawn_of(&grant.product.id).any(|work| work.now.subject == subject) {
            return Err(subject_elsewhere());
        }
        let (bytes, version) = self.view.peek_versioned(&place).await?;
        let known: Option<SubjectRecord> = bytes.as_ref().map(disk::read).transpose()?;
        if let Some(known) = &known
            && let Some(unit) = self.unit_of(grant, known, serial).await?
        {
            self.found_drawn = true;
            return Ok(unit);
        }
        let spent = self.spent_on(known.as_ref()).await?;
        if spent.attempts >= grant.terms.max_attempts_per_subject {
            return Err(issuing::attempts_exhausted(spent.attempts));
        }
        self.reserve(grant, subject, serial, (place, version), spent).await
    }

    /// Opens the unit that `subject` has in the allotment.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn find_unit(
        &mut self,
        allotment: &OpenAllotment,
        subject: &str,
    ) -> Result<OpenUnit, Refusal> {
        let grant = &allotment.grant;
        if self.is_carried(grant, subject) {
            self.check_life(grant).await?;
        }
        if let Some(unit) = self.drawn_here(grant, subject) {
            return Ok(unit);
        }
        let place = tables::pair(tables::SUBJECTS, &grant.product.id, subject);
        let known: Option<SubjectRecord> = self.view.peek(&place).await?;
        match known {
            Some(known) if known.entitlement == grant.entitlement => {
                Ok(OpenUnit { grant: Arc::clone(grant), number: known.unit })
            }
            _ => Err(Refusal::not_found("device in this entitlement")),
        }
    }

    /// Units by number from `start`, as committed when the call began.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a limit outside 1 to 1,000.
    pub async fn scan_units(
        &mut self,
        allotment: &OpenAllotment,
        start: u64,
        limit: u32,
    ) -> Result<Vec<UnitStatus>, Refusal> {
        if !(1..=1_000).contains(&limit) {
            return Err(Refusal::invalid("The limit must be from 1 to 1,000."));
        }
        let entitlement = &allotment.grant.entitlement;
        let range = Range::all(tables::UNITS, tables::prefix(entitlement, b""));
        let range = range.limit(limit as usize);
        let range = match start.checked_sub(1) {
            Some(before) => range.after(tables::unit(entitlement, before).key),
            None => range,
        };
        let found = self.view.peek_range(&range).await?;
        found
            .iter()
            .map(|(key, value)| Ok(status(escrows::unit_number(&key.key), &disk::read(value)?)))
            .collect()
    }

    /// What is known about a unit, with what this call did to it.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn unit_status(&mut self, unit: &OpenUnit) -> Result<UnitStatus, Refusal> {
        if let Some(work) = self.units.get(&unit.place()) {
            return Ok(status(unit.number, &work.now));
        }
        let place = tables::unit(&unit.grant.entitlement, unit.number);
        let record: Option<UnitRecord> = self.view.peek(&place).await?;
        let record = record.ok_or_else(|| Refusal::not_found("unit"))?;
        Ok(status(unit.number, &record))
    }

    /// The unit's work in this call, claimed: from here on nobody else decides about it.
    pub(crate) async fn work(&mut self, unit: &OpenUnit) -> Result<&mut UnitWork, Refusal> {
        let place = unit.place();
        if !self.units.contains_key(&place) {
            let work = self.load(unit).await?;
            self.units.insert(place.clone(), work);
        }
        self.units.get_mut(&place).ok_or_else(|| Refusal::not_found("unit"))
    }

    async fn load(&mut self, unit: &OpenUnit) -> Result<UnitWork, Refusal> {
        let place = tables::unit(&unit.grant.entitlement, unit.number);
        let missing = || Refusal::not_found("unit");
        let record: UnitRecord = self.view.peek(&place).await?.ok_or_else(missing)?;
        let product = &unit.grant.product.id;
        self.claim(&tables::pair(tables::SUBJECTS, product, &record.subject)).await?;
        let escrow = self.escrow_of(&unit.grant).await?;
        // Only under the claim is the record the newest one.
        let (bytes, version) = self.view.peek_versioned(&place).await?;
        let record: UnitRecord = disk::read(&bytes.ok_or_else(missing)?)?;
        Ok(UnitWork {
            grant: Arc::clone(&unit.grant),
            number: unit.number,
            escrow,
            reservation: None,
            decided: self.host.clock.now(),
            units_of_subject: 0,
            before: Some(record.clone()),
            now: record,
            released: None,
            reads: vec![(place, version)],
            pinned: None,
            approved: false,
        })
    }

    /// Whether the first run drew a unit for `subject` and released nothing of it.
    fn is_carried(&self, grant: &Grant, subject: &str) -> bool {
        let key = (grant.entitlement.clone(), subject.to_owned());
        self.carried.get(&key).is_some_and(|carried| !carried.is_released())
    }

    /// The unit that this call, or its first run, drew for `subject`.
    fn drawn_here(&mut self, grant: &Arc<Grant>, subject: &str) -> Option<OpenUnit> {
        let carried = self.carried.remove(&(grant.entitlement.clone(), subject.to_owned()));
        if let Some(Carried(mut work)) = carried {
            // An extension may have come since the first run.
            work.grant = Arc::clone(grant);
            let number = work.number;
            self.rows.extend(work.first_rows());
            self.units.insert(work.place(), work);
            return Some(OpenUnit { grant: Arc::clone(grant), number });
        }
        let here = |work: &&UnitWork| {
            work.grant.entitlement == grant.entitlement
                && work.now.subject == subject
                && work.reservation.is_some()
        };
        let work = self.units.values().find(here)?;
        Some(OpenUnit { grant: Arc::clone(grant), number: work.number })
    }

    /// The units that this call works on, and those of its first run that it has not come to.
    pub(crate) fn works(&self) -> impl Iterator<Item = &UnitWork> {
        let carried = self.carried.values().map(|Carried(work)| work);
        self.units.values().chain(carried)
    }

    /// The units of a product that this call drew, and that its first run drew: no snapshot has
    /// them yet.
    fn drawn_of<'a>(&'a self, product: &'a str) -> impl Iterator<Item = &'a UnitWork> {
        self.works()
            .filter(move |work| work.reservation.is_some() && work.grant.product.id == product)
    }

    /// The unit that a subject has already; none if it may have a further one.
    async fn unit_of(
        &mut self,
        grant: &Arc<Grant>,
        known: &SubjectRecord,
        serial: Option<&str>,
    ) -> Result<Option<OpenUnit>, Refusal> {
        let missing = || Refusal::not_found("unit");
        let record = self.unit_at(&known.entitlement, known.unit).await?.ok_or_else(missing)?;
        let returned = record.state() == UnitState::Returned;
        // What was given back spent nothing: only a unit before it binds the device.
        if returned && record.follows.is_none() {
            return Ok(None);
        }
        if known.entitlement != grant.entitlement {
            return Err(subject_elsewhere());
        }
        // A device that failed for another reason has its key still.
        let lost = record.state() == UnitState::Failed && record.key_lost;
        if returned || lost && known.units < grant.terms.max_units_per_subject {
            return Ok(None);
        }
        if serial.is_some_and(|serial| serial != record.serial) {
            let detail = "The device has a unit with another serial number.";
            return Err(Refusal::new(Reason::DuplicateSubject, detail));
        }
        Ok(Some(OpenUnit { grant: Arc::clone(grant), number: known.unit }))
    }

    /// What a subject has spent before it draws a further unit.
    async fn spent_on(&self, known: Option<&SubjectRecord>) -> Result<Spent, Refusal> {
        let Some(known) = known else { return Ok(Spent::default()) };
        let missing = || Refusal::not_found("unit");
        let last = self.unit_at(&known.entitlement, known.unit).await?.ok_or_else(missing)?;
        let attempts = last.attempts;
        Ok(match last.state() {
            UnitState::Returned => {
                Spent { units: known.units.saturating_sub(1), attempts, last: last.follows }
            }
            _ => Spent { units: known.units, attempts, last: Some(known.unit) },
        })
    }

    /// The record of a unit as it is committed. What this call did to it frees neither subject nor
    /// serial number: of a call that fails only what it released is kept.
    async fn unit_at(&self, entitlement: &str, unit: u64) -> Result<Option<UnitRecord>, Refusal> {
        self.view.peek(&tables::unit(entitlement, unit)).await
    }

    /// The escrow of an allotment.
    pub(crate) async fn escrow_of(
        &mut self,
        grant: &Grant,
    ) -> Result<escrows::SharedEscrow, Refusal> {
        let record = self.allotment_record(grant).await?;
        let host = Arc::clone(&self.host);
        let (plugin, entitlement) = (&record.plugin, &grant.entitlement);
        host.escrows.of(&*host.store, plugin, entitlement, host.start()).await
    }

    /// The allotment's record; it must not change before the commit.
    pub(crate) async fn allotment_record(
        &mut self,
        grant: &Grant,
    ) -> Result<AllotmentRecord, Refusal> {
        let plugin = self.plugin_name()?;
        let key = tables::pair(tables::ALLOTMENTS, &plugin, &grant.entitlement);
        self.read(&key).await?.ok_or_else(|| Refusal::not_found("entitlement"))
    }

    /// Whether the caller, if it is a station that is bound to entitlements, is bound to this one.
    async fn station_may_use(&mut self, entitlement: &str) -> Result<bool, Refusal> {
        if self.session.principal.role != Role::Station {
            return Ok(true);
        }
        let key = tables::pair(tables::USERS, Role::Station.name(), &self.session.principal.name);
        let user: Option<UserRecord> = self.read(&key).await?;
        Ok(user.is_some_and(|user| {
            user.entitlements.is_empty() || user.entitlements.iter().any(|one| one == entitlement)
        }))
    }
}

impl OpenAllotment {
    /// The entitlement's id.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.grant.entitlement
    }
}

impl OpenUnit {
    pub(crate) fn place(&self) -> (String, u64) {
        (self.grant.entitlement.clone(), self.number)
    }
}

/// The grant in an allotment's record, under the terms that directives have made of its own: unit
/// numbers are below `terms.total`, and the window ends at `terms.not_after`.
pub(crate) fn grant_of(record: &AllotmentRecord) -> Result<Grant, Refusal> {
    let grant = SignedOrder::decode(&record.grant).and_then(|order| order.open());
    let mut grant: Grant = grant.map_err(|_| {
        let detail = "The grant of the entitlement cannot be read; run `mintmark verify`.";
        Refusal::new(Reason::Unavailable, detail)
    })?;
    grant.terms.total = grant.terms.total.saturating_add(record.orders.extended);
    grant.terms.not_after = record.orders.not_after.unwrap_or(grant.terms.not_after);
    Ok(grant)
}

/// One device, one unit of a product.
fn subject_elsewhere() -> Refusal {
    let detail = "The device has a unit of another entitlement of this product.";
    Refusal::new(Reason::DuplicateSubject, detail)
}

fn check_subject(grant: &Grant, subject: &str, serial: Option<&str>) -> Result<(), Refusal> {
    if !is_subject(subject) {
        return Err(Refusal::invalid("A subject is 1 to 128 printable ASCII characters."));
    }
    if !grant.product.lists(subject) {
        let detail = "The product's list does not have this subject.";
        return Err(Refusal::new(Reason::SubjectNotListed, detail));
    }
    let rule = &grant.product.serial;
    let detail = match (rule.is_given(), serial) {
        (true, Some(serial)) if rule.accepts(serial) => return Ok(()),
        (false, None) => return Ok(()),
        (true, None) => "The product's rule wants the device to bring its serial number.",
        (false, Some(_)) => "The product's rule assigns serial numbers; leave it out.",
        (true, Some(_)) => "The serial number does not follow the product's rule.",
    };
    Err(Refusal::new(Reason::SerialOutOfRange, detail))
}

pub(crate) fn status(number: u64, record: &UnitRecord) -> UnitStatus {
    let artefact = record.artefact.as_ref();
    let certificate = artefact.and_then(ArtefactRecord::first_certificate);
    let certificates = artefact.map_or(0, |artefact| artefact.certificates.len());
    UnitStatus {
        number,
        subject: record.subject.clone(),
        serial: record.serial.clone(),
        state: record.state(),
        attempts: record.attempts,
        key_hash: artefact.map(|artefact| artefact.key_hash),
        certificate_hash: certificate.map(mintmark_crypto::digest::sha256),
        certificates: u16::try_from(certificates).unwrap_or(u16::MAX),
        station: record.station.clone(),
        reserved_at: record.reserved_at,
        changed_at: record.changed_at,
    }
}
