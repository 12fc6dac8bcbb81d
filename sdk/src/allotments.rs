//! Bounded rights to provision devices, and their units.
//!
//! The host keeps the limits: one subject has one unit, a unit has one key, and a unit that has
//! released something is spent. What a plugin forgets to check here cannot make a device too many.

mod values;

pub use values::{
    AllotmentState, AllotmentStatus, Artefact, Counters, DeviceProof, Failure, RevocationFile,
    SealedKey, UnitState, UnitStatus,
};

use crate::{
    backend::{self, AllotmentHandle as _, Allotments as _, UnitHandle as _, held},
    certificates::Csr,
    error::Error,
};

/// Values for the fields that the grant's template leaves open, by name.
pub type Fields = [(String, String)];

/// A bounded right to provision devices.
pub struct Allotment {
    pub(crate) handle: held::Allotment,
}

backend::handle!(Allotment, AllotmentHandle);

impl Allotment {
    /// Opens an allotment that was imported for this plugin.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for a station that is bound to other entitlements; `WRONG_PLUGIN`
    /// for a measurement that the grant does not accept.
    pub fn open(name: &str) -> Result<Self, Error> {
        backend::allotments().open(name)
    }

    /// What is known about the allotment.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a store that cannot answer.
    pub fn status(&self) -> Result<AllotmentStatus, Error> {
        self.handle().status()
    }

    /// Reserves a unit for `subject`, or opens the one that it has. `serial` is there exactly where
    /// the product's rule says that it is given.
    ///
    /// # Errors
    /// `QUOTA_EXHAUSTED`, `RATE_LIMITED`, `RECEIPT_OVERDUE`, `IN_DOUBT_EXHAUSTED`; `NOT_YET_VALID`,
    /// `EXPIRED`, `CLOCK_SUSPECT`, `REVOKED`, `CLOSED`, `PERMISSION_DENIED`; `DUPLICATE_SUBJECT`;
    /// `SUBJECT_NOT_LISTED`, `SERIAL_OUT_OF_RANGE`.
    pub fn draw(&self, subject: &str, serial: Option<&str>) -> Result<Unit, Error> {
        self.handle().draw(subject, serial)
    }

    /// Opens the unit that `subject` has.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(&self, subject: &str) -> Result<Unit, Error> {
        self.handle().find(subject)
    }

    /// Units by number from `start`; `limit` is from 1 to 1,000.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a `limit` outside its bounds.
    pub fn scan(&self, start: u64, limit: u32) -> Result<Vec<UnitStatus>, Error> {
        self.handle().scan(start, limit)
    }

    /// Signs the list of this allotment's certificates that count no more, with the next number,
    /// and stages it.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for a program; [`Error::NotFound`] where the grant has no certificates;
    /// `BUDGET_EXCEEDED` for a list that is too long.
    pub fn revocation_list(&self) -> Result<RevocationFile, Error> {
        self.handle().revocation_list()
    }
}

/// The names of the allotments of this plugin, in order, greater than `after`; `limit` is from 1 to
/// 1,000.
///
/// # Errors
/// `INVALID_ARGUMENT` for a `limit` outside its bounds.
pub fn names(after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
    backend::allotments().names(after, limit)
}

/// One device's share of the allotment.
pub struct Unit {
    pub(crate) handle: held::Unit,
}

backend::handle!(Unit, UnitHandle);

impl Unit {
    /// What is known about the unit.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a store that cannot answer.
    pub fn status(&self) -> Result<UnitStatus, Error> {
        self.handle().status()
    }

    /// The chain of the unit's certificate, batch CA first, product CA last: the same for ever.
    /// Empty where the grant asks for no certificates.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a store that cannot answer.
    pub fn chain(&self) -> Result<Vec<Vec<u8>>, Error> {
        self.handle().chain()
    }

    /// What the unit released, if it did; releasing it again is a row in the ledger.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for another station than the unit's.
    pub fn artefact(&self) -> Result<Option<Artefact>, Error> {
        self.handle().artefact()
    }

    /// Issues the certificate for the key of a checked CSR, under the grant's template. A unit that
    /// already has a certificate for this key gives the same bytes again.
    ///
    /// # Errors
    /// `WRONG_STATE`, `DUPLICATE_KEY`, `KEY_MISMATCH`; `PERMISSION_DENIED`, also unless the grant
    /// says device-born; `EXPIRED`, `CLOCK_SUSPECT`, `REVOKED`, `CLOSED`; `ATTEMPTS_EXHAUSTED`.
    pub fn certify_csr(&self, request: &Csr, fields: &Fields) -> Result<Artefact, Error> {
        self.handle().certify_csr(request, fields)
    }

    /// The unit's own key, sealed to the P-256 key of a checked CSR, with its certificate where the
    /// grant has a template. The same recipient gets the same bytes again.
    ///
    /// # Errors
    /// As [`Unit::certify_csr`]; `PERMISSION_DENIED` unless the grant says sealed to the device.
    pub fn seal_to_device(&self, request: &Csr, fields: &Fields) -> Result<Artefact, Error> {
        self.handle().seal_to_device(request, fields)
    }

    /// The unit's own key, sealed to the encryption certificate of the calling station.
    ///
    /// # Errors
    /// As [`Unit::certify_csr`]; `PERMISSION_DENIED` unless the grant says sealed to the station.
    pub fn seal_to_station(&self, fields: &Fields) -> Result<Artefact, Error> {
        self.handle().seal_to_station(fields)
    }

    /// issued → confirmed. A proof is checked against the unit's key. Confirming twice changes
    /// nothing.
    ///
    /// # Errors
    /// `WRONG_STATE`; `PROOF_INVALID`, also for a missing proof where the terms require one.
    pub fn confirm(&self, proof: Option<&DeviceProof>) -> Result<UnitStatus, Error> {
        self.handle().confirm(proof)
    }

    /// Counts an attempt; a permanent failure spends the unit, and its certificates are revoked.
    ///
    /// # Errors
    /// `WRONG_STATE`, `ATTEMPTS_EXHAUSTED`; `PERMISSION_DENIED` for a lost key that a station
    /// reports, or who had the unit, and for any other failure that another station reports.
    pub fn fail(&self, kind: Failure, detail: &str) -> Result<UnitStatus, Error> {
        self.handle().fail(kind, detail)
    }

    /// issued, confirmed or failed → scrapped. Its certificates are revoked.
    ///
    /// # Errors
    /// `WRONG_STATE`; `APPROVAL_REQUIRED` beyond the allowance of the terms.
    pub fn scrap(&self, reason: &str) -> Result<UnitStatus, Error> {
        self.handle().scrap(reason)
    }

    /// reserved → returned: nothing was released, and the subject may draw another unit.
    ///
    /// # Errors
    /// `WRONG_STATE`; `PERMISSION_DENIED` for all but admins and operators.
    pub fn give_back(&self, reason: &str) -> Result<UnitStatus, Error> {
        self.handle().give_back(reason)
    }

    /// Binds the unit to another station, which from now on gets what the unit released.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a station that there is not; `PERMISSION_DENIED`, also for a station
    /// that is bound to other entitlements; `WRONG_STATE` for a unit that has ended, and for one
    /// whose key was sealed to its station.
    pub fn hand_over(&self, station: &str) -> Result<UnitStatus, Error> {
        self.handle().hand_over(station)
    }

    /// Issues a further certificate for the unit's one key: the one with this ordinal, from 1. One
    /// that was issued already is released again, byte for byte.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an ordinal outside of the terms; `WRONG_STATE` for one that is not
    /// the next, and for a unit whose identity does not work; those of [`Unit::certify_csr`].
    pub fn recertify(&self, ordinal: u16, fields: &Fields) -> Result<Artefact, Error> {
        self.handle().recertify(ordinal, fields)
    }
}
