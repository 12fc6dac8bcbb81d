//! What was promised: the model that hosts are compared with. It knows what was answered, and
//! nothing of how hosts work.

use std::collections::BTreeMap;

use mintmark_plugin_device_key::proto::{DeviceIdentity, UnitState};

use crate::beginning::{
    ATTEMPTS, AUDIT_UNITS, MAX_IN_DOUBT, RATE_MS, RATE_UNITS, SCRAP_ALLOWANCE, TOTAL,
};

/// What a site has promised.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Entitlements that it has, by id.
    pub(crate) entitlements: BTreeMap<String, Allotment>,
    /// How much of headquarters' stream it has applied.
    pub(crate) applied: u64,
}

/// What an entitlement has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allotment {
    /// Units by subject.
    pub(crate) units: BTreeMap<String, Unit>,
    /// How many of them headquarters has acknowledged.
    pub(crate) receipted: u64,
    /// When units were reserved; a start moves what its windows held to itself.
    reserved_ms: Vec<u64>,
    /// Until when a start may slow reservations down.
    slow_until_ms: u64,
}

/// A unit, as its last answer says.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) number: u64,
    pub(crate) state: UnitState,
    pub(crate) attempts: u32,
    /// Which device it is for.
    pub(crate) device: usize,
    /// What was answered; `None` where the answer was lost.
    pub(crate) identity: Option<DeviceIdentity>,
}

impl Unit {
    /// Whether the device failed as often as it may: then it gets nothing before it is confirmed.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.attempts >= ATTEMPTS && self.state != UnitState::Confirmed
    }
}

impl Allotment {
    /// How many units are in a state.
    pub(crate) fn count(&self, state: UnitState) -> u64 {
        self.units.values().filter(|unit| unit.state == state).count() as u64
    }

    /// Why one more unit is refused now; with a question mark, why it may be. Nothing: it is given.
    pub(crate) fn limits(&self, now_ms: u64) -> Vec<&'static str> {
        let drawn = self.units.len() as u64;
        let in_doubt = self.count(UnitState::Reserved) + self.count(UnitState::Issued);
        let held = self.reserved_ms.iter().filter(|at| **at + RATE_MS > now_ms).count();
        let slowed = now_ms < self.slow_until_ms && drawn >= RATE_UNITS as u64;
        let reached = [
            (drawn >= TOTAL, "QUOTA_EXHAUSTED"),
            (drawn - self.receipted >= AUDIT_UNITS, "RECEIPT_OVERDUE"),
            (in_doubt >= MAX_IN_DOUBT, "IN_DOUBT_EXHAUSTED"),
            (held >= RATE_UNITS, "RATE_LIMITED"),
            (slowed, "?RATE_LIMITED"),
        ];
        reached.into_iter().filter_map(|(reached, reason)| reached.then_some(reason)).collect()
    }

    /// Whether one more may be scrapped without approval.
    pub(crate) fn may_scrap(&self) -> bool {
        self.count(UnitState::Scrapped) < SCRAP_ALLOWANCE
    }

    /// A unit was given.
    pub(crate) fn give(&mut self, subject: &str, unit: Unit, now_ms: u64) {
        let taken = self.units.values().any(|other| other.number == unit.number);
        assert!(!taken, "unit {} was given before", unit.number);
        assert!(unit.number < TOTAL, "unit {} is beyond the total", unit.number);
        self.units.insert(subject.to_owned(), unit);
        self.reserved_ms.push(now_ms);
        assert!(self.units.len() as u64 <= TOTAL, "one too many");
        let held = self.reserved_ms.iter().filter(|at| **at + RATE_MS > now_ms).count();
        assert!(held <= RATE_UNITS, "{held} units in {RATE_MS} ms");
    }

    /// The site started: what its windows held counts from now on.
    pub(crate) fn start(&mut self, now_ms: u64) {
        for at in &mut self.reserved_ms {
            if *at + RATE_MS > now_ms {
                *at = now_ms;
            }
        }
        self.slow_until_ms = now_ms + RATE_MS;
    }

    /// Receipted up to so many.
    pub(crate) fn receipt(&mut self, drawn: u64) {
        self.receipted = self.receipted.max(drawn);
    }
}

impl Model {
    /// A site that has taken its first entitlement.
    pub(crate) fn new(entitlement: &str) -> Self {
        let entitlements = [(entitlement.to_owned(), Allotment::default())].into();
        Self { entitlements, applied: 1 }
    }

    /// Units drawn so far, by entitlement.
    pub(crate) fn drawn(&self) -> BTreeMap<String, u64> {
        let drawn =
            |(id, allotment): (&String, &Allotment)| (id.clone(), allotment.units.len() as u64);
        self.entitlements.iter().map(drawn).collect()
    }
}
