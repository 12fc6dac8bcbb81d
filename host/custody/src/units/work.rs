//! What one call does to one unit, until it is committed, dropped or handed to a rerun.

use std::collections::BTreeMap;
use std::sync::Arc;

use mintmark_crypto::digest::sha256;
use mintmark_exchange::certificate::CertificateSerial;
use mintmark_exchange::grant::Grant;
use mintmark_exchange::product::KeyOrigin;
use mintmark_exchange::row::{Event, UnitEvent};
use mintmark_exchange::unit::UnitChange;
use mintmark_model::escrow::{Held, Moment};
use mintmark_model::{Counters, UnitState};
use mintmark_store::{Key, Transaction, Version};

use crate::call::Call;
use crate::counting::Counting;
use crate::disk;
use crate::disk::allotment::{SubjectRecord, UnitRecord, UnitRef};
use crate::disk::time::WindowsRecord;
use crate::escrows::{Reservation, SharedEscrow, windows_place};
use crate::pending::PendingRow;
use crate::pools::unit_key_place;
use crate::tables;

/// Which part of a call is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Everything.
    All,
    /// Only what limited keys released: the call failed.
    Released,
}

/// One unit in one call.
pub(crate) struct UnitWork {
    pub(crate) grant: Arc<Grant>,
    pub(crate) number: u64,
    pub(crate) escrow: SharedEscrow,
    /// Set for a unit that this call drew.
    pub(crate) reservation: Option<Reservation>,
    /// When it was drawn, or else first used in this call: the time of its rows.
    pub(crate) decided: Moment,
    /// How many units the subject has, this one included.
    pub(crate) units_of_subject: u32,
    /// The unit as it is committed.
    pub(crate) before: Option<UnitRecord>,
    pub(crate) now: UnitRecord,
    /// The unit as it was when this call first released something of it.
    pub(crate) released: Option<UnitRecord>,
    /// What must still be so at the commit.
    pub(crate) reads: Vec<(Key, Version)>,
    /// The hash of the device's key, if this call pinned it.
    pub(crate) pinned: Option<[u8; 32]>,
    /// Several people approved that it is scrapped beyond the allowance.
    pub(crate) approved: bool,
}

/// What a rerun goes on with.
pub(crate) struct Carried(pub(crate) UnitWork);

impl UnitWork {
    /// Where the unit is.
    pub(crate) fn place(&self) -> (String, u64) {
        (self.grant.entitlement.clone(), self.number)
    }

    /// Whether something was released.
    pub(crate) fn is_released(&self) -> bool {
        self.released.is_some()
    }

    /// Whether a commit would write it.
    pub(crate) fn is_changed(&self) -> bool {
        self.before.as_ref() != Some(&self.now)
    }

    /// Forgets what came after the release.
    pub(crate) fn back_to_release(&mut self) {
        if let Some(released) = &self.released {
            self.now = released.clone();
        }
    }

    /// The unit as it will be committed.
    fn outcome(&self, which: Which) -> Option<&UnitRecord> {
        match which {
            Which::All => self.is_changed().then_some(&self.now),
            Which::Released => self.released.as_ref(),
        }
    }

    /// Adds the unit's records to a transaction.
    pub(crate) fn write_into(&self, which: Which, transaction: &mut Transaction) {
        let Some(record) = self.outcome(which) else { return };
        transaction.reads.extend(self.reads.iter().cloned());
        let mut write = |key, value| transaction.writes.push((key, Some(value)));
        write(tables::unit(&self.grant.entitlement, self.number), disk::write(record));
        let own = UnitRef { entitlement: self.grant.entitlement.clone(), unit: self.number };
        if self.reservation.is_some() {
            let subject = SubjectRecord {
                entitlement: self.grant.entitlement.clone(),
                unit: self.number,
                units: self.units_of_subject,
            };
            let place = tables::pair(tables::SUBJECTS, &self.grant.product.id, &record.subject);
            write(place, disk::write(subject));
            let place = tables::pair(tables::SERIALS, &self.grant.product.id, &record.serial);
            write(place, disk::write(&own));
        }
        if let Some(hash) = self.pinned {
            write(Key::new(tables::DEVICE_KEYS, hash), disk::write(&own));
        }
        let given = self.grant.product.origin == KeyOrigin::Pool;
        if given && record.state() != UnitState::Reserved {
            // The unit's key is sealed to its device, or no device will ever have it.
            let place = unit_key_place(&self.grant.entitlement, self.number);
            transaction.writes.push((place, None));
        }
    }

    /// What the rate windows held before it was drawn, where this call drew it and it is committed.
    fn held(&self, which: Which) -> Option<&Held> {
        self.outcome(which)?;
        self.reservation.as_ref()?.held()
    }

    /// Adds the unit's move to the counters.
    pub(crate) fn count_into(&self, which: Which, counting: &mut Counting) {
        const UNUSED: usize = 1;
        let Some(record) = self.outcome(which) else { return };
        let from = match (&self.reservation, &self.before) {
            (None, Some(before)) => Counters::position(before.state()),
            _ => UNUSED,
        };
        let to = Counters::position(record.state());
        let terms = &self.grant.terms;
        counting.shift(&self.grant.entitlement, from, to, terms);
        let scrapped = Counters::position(UnitState::Scrapped);
        if to == scrapped && from != scrapped && !self.approved {
            counting.scrap_within(&self.grant.entitlement, terms.scrap_allowance);
        }
    }

    /// Whether this call scraps the device.
    pub(crate) fn is_scrapped_here(&self) -> bool {
        let scrapped = |record: &UnitRecord| record.state() == UnitState::Scrapped;
        scrapped(&self.now) && !self.before.as_ref().is_some_and(scrapped)
    }

    /// The unit is committed.
    pub(crate) fn settle(mut self, which: Which) {
        let Some(state) = self.outcome(which).map(UnitRecord::state) else { return };
        match (self.reservation.take(), &self.before) {
            (Some(reservation), _) => reservation.settle(state),
            (None, Some(before)) => self.escrow.moved(before.state(), state),
            (None, None) => {}
        }
    }

    /// Nobody knows whether the unit is committed.
    pub(crate) fn leave_in_doubt(mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.leave_in_doubt();
        }
    }

    /// What a rerun goes on with: a unit that was drawn, or that released something.
    pub(crate) fn into_carried(mut self) -> Option<((String, String), Carried)> {
        if self.reservation.is_none() && self.released.is_none() {
            return None;
        }
        self.back_to_release();
        let key = (self.grant.entitlement.clone(), self.now.subject.clone());
        Some((key, Carried(self)))
    }

    /// The row that says what happened to the unit.
    pub(crate) fn row(&self, change: UnitChange, detail: &str) -> PendingRow {
        self.row_of(change, detail, 0)
    }

    /// The same, about the certificate with this ordinal.
    pub(crate) fn row_of(&self, change: UnitChange, detail: &str, ordinal: u16) -> PendingRow {
        let artefact = self.now.artefact.as_ref();
        let certificate =
            artefact.and_then(|artefact| artefact.certificates.get(usize::from(ordinal)));
        let event = UnitEvent {
            entitlement: self.grant.entitlement.clone(),
            unit: self.number,
            subject: self.now.subject.clone(),
            serial: Some(self.now.serial.clone()),
            change,
            detail: detail.to_owned(),
            certificate_hash: certificate.map(|der| sha256(der)),
            key_hash: artefact.map(|artefact| artefact.key_hash),
            certificate_serial: certificate.map(|_| self.certificate_serial(ordinal).to_vec()),
            proof: None,
        };
        PendingRow {
            moment: self.decided,
            event: Event::Unit(Box::new(event)),
            unit: Some(self.place()),
            allotment: Some(self.grant.entitlement.clone()),
            principal: None,
        }
    }

    /// The rows that a rerun writes for what the first run did.
    pub(crate) fn first_rows(&self) -> Vec<PendingRow> {
        let Some(released) = &self.released else {
            let drawn = self.reservation.is_some();
            return drawn.then(|| self.row(UnitChange::Reserved, "")).into_iter().collect();
        };
        let of = |record: &UnitRecord| record.artefact.as_ref().map(|one| one.certificates.len());
        let before = self.before.as_ref().and_then(of);
        let issued = before.is_none().then(|| self.row(UnitChange::Issued, ""));
        // The first certificate comes with the row about the issue.
        let further = before.unwrap_or_default().max(1)..of(released).unwrap_or_default();
        let further = further.filter_map(|ordinal| u16::try_from(ordinal).ok());
        let further = further.map(|ordinal| self.row_of(UnitChange::Recertified, "", ordinal));
        issued.into_iter().chain(further).collect()
    }

    /// The serial number of the unit's certificate with this ordinal.
    pub(crate) fn certificate_serial(&self, ordinal: u16) -> [u8; CertificateSerial::LENGTH] {
        let (number, unit) = (self.grant.number, self.number);
        CertificateSerial { number, unit, ordinal }.to_bytes()
    }
}

impl Call {
    /// Writes what rate windows held, for the next start. It goes over whatever is there: an older
    /// draw that is committed later says less, and a start then counts more.
    pub(crate) fn windows_into(&self, which: Which, transaction: &mut Transaction) {
        let incarnation = self.host.identity.incarnation;
        let drawn = self.units.values().filter_map(|work| {
            let held = work.held(which)?;
            Some((work.grant.entitlement.as_str(), WindowsRecord::new(incarnation, held)))
        });
        // One record an allotment, however many units the call drew.
        for (entitlement, windows) in drawn.collect::<BTreeMap<_, _>>() {
            transaction.writes.push((windows_place(entitlement), Some(disk::write(windows))));
        }
    }
}

impl Carried {
    /// Whether the first run released something.
    pub(crate) fn is_released(&self) -> bool {
        self.0.is_released()
    }

    /// The unit as it is committed where the rerun does not come to it, with its rows.
    pub(crate) fn into_released(self) -> Option<(UnitWork, Vec<PendingRow>)> {
        let work = self.0;
        let rows = work.first_rows();
        work.is_released().then_some((work, rows))
    }
}

/// Whether the unit's identity may be in a device that works.
pub(crate) fn keeps_identity(state: UnitState) -> bool {
    matches!(state, UnitState::Issued | UnitState::Confirmed)
}
