//! What one client after the other would be answered: the rules of a line, as the design has them.
//!
//! It knows nothing of numbers, bytes and locks. Calls that overlap are right if there is an order
//! in which this would have answered the same.

use mintmark_plugin_device_key::proto::{FailureKind, UnitState};

use crate::beginning::{
    ATTEMPTS, AUDIT_UNITS, MAX_IN_DOUBT, RATE_MS, RATE_UNITS, SCRAP_ALLOWANCE, TOTAL,
    UNITS_PER_SUBJECT,
};

/// Stations of a line.
pub(crate) const STATIONS: [&str; 2] = ["line-4", "line-5"];

/// What a client asks for. Subjects, devices and stations are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Provision {
        subject: usize,
        device: usize,
        station: usize,
    },
    Reserve {
        subject: usize,
        station: usize,
    },
    /// With the proof of this device, if it has an identity.
    Confirm {
        subject: usize,
        device: usize,
        station: usize,
    },
    Fail {
        subject: usize,
        kind: FailureKind,
        station: usize,
    },
    Scrap {
        subject: usize,
    },
    Return {
        subject: usize,
    },
    HandOver {
        subject: usize,
        station: usize,
    },
}

/// A unit, as a list of units shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit {
    pub(crate) subject: usize,
    pub(crate) state: i32,
    pub(crate) attempts: u32,
    pub(crate) station: usize,
    device: Option<usize>,
    key_lost: bool,
    /// Units of the subject that were released, this one included.
    spent: u32,
}

/// What is answered: where the unit is then; or one of these refusals.
pub(crate) type Answer = Result<(UnitState, u32), Vec<&'static str>>;

/// A line of one entitlement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    /// In the order in which they were drawn.
    units: Vec<Unit>,
    drawn_ms: Vec<u64>,
    pub(crate) receipted: usize,
    /// Until when a start may slow draws down.
    slow_until_ms: u64,
}

impl Ask {
    /// Whether it may draw a unit.
    pub(crate) fn draws(&self) -> bool {
        matches!(self, Self::Provision { .. } | Self::Reserve { .. })
    }

    /// Whether it may scrap one.
    pub(crate) fn scraps(&self) -> bool {
        matches!(self, Self::Scrap { .. })
    }
}

impl Unit {
    pub(crate) fn state(&self) -> UnitState {
        UnitState::try_from(self.state).unwrap()
    }

    /// What a list shows of it.
    pub(crate) fn shown(&self) -> (usize, i32, u32, usize) {
        (self.subject, self.state, self.attempts, self.station)
    }
}

impl Reference {
    /// What a list of all units shows, in no order.
    pub(crate) fn shown(&self) -> Vec<(usize, i32, u32, usize)> {
        let mut shown: Vec<_> = self.units.iter().map(Unit::shown).collect();
        shown.sort_unstable();
        shown
    }

    /// How many units were drawn.
    pub(crate) fn drawn(&self) -> usize {
        self.units.len()
    }

    /// How many units are in a state.
    pub(crate) fn count(&self, state: UnitState) -> usize {
        self.units.iter().filter(|unit| unit.state() == state).count()
    }

    /// The host started: what its windows held counts from now on.
    pub(crate) fn start(&mut self, now_ms: u64) {
        for at in self.drawn_ms.iter_mut().filter(|at| **at + RATE_MS > now_ms) {
            *at = now_ms;
        }
        self.slow_until_ms = now_ms + RATE_MS;
    }

    /// Why nothing more may be drawn once `others` are drawn as well.
    pub(crate) fn limits(&self, others: usize, now_ms: u64) -> Vec<&'static str> {
        let drawn = self.drawn() + others;
        let doubt = self.count(UnitState::Reserved) + self.count(UnitState::Issued) + others;
        let held = self.drawn_ms.iter().filter(|at| **at + RATE_MS > now_ms).count() + others;
        let reached = [
            (drawn as u64 >= TOTAL, "QUOTA_EXHAUSTED"),
            ((drawn - self.receipted) as u64 >= AUDIT_UNITS, "RECEIPT_OVERDUE"),
            (doubt as u64 >= MAX_IN_DOUBT, "IN_DOUBT_EXHAUSTED"),
            (held >= RATE_UNITS, "RATE_LIMITED"),
        ];
        reached.into_iter().filter_map(|(reached, reason)| reached.then_some(reason)).collect()
    }

    /// Refusals that are right although the reference would not refuse: a draw or scrap that came
    /// to nothing held a place for a moment, and a start slows.
    pub(crate) fn stricter(&self, ask: &Ask, all: &[Ask], now_ms: u64) -> Vec<&'static str> {
        let mut reasons = vec!["CONFLICT"];
        if ask.draws() {
            let others = all.iter().filter(|ask| ask.draws()).count() - 1;
            reasons.extend(self.limits(others, now_ms));
            if now_ms < self.slow_until_ms {
                reasons.push("RATE_LIMITED");
            }
        }
        let scraps = all.iter().filter(|ask| ask.scraps()).count();
        if ask.scraps() && (self.count(UnitState::Scrapped) + scraps) as u64 > SCRAP_ALLOWANCE {
            reasons.push("APPROVAL_REQUIRED");
        }
        reasons
    }

    /// Answers.
    pub(crate) fn ask(&mut self, ask: &Ask, now_ms: u64) -> Answer {
        match *ask {
            Ask::Provision { subject, device, station } => {
                self.provision(subject, device, station, now_ms)
            }
            Ask::Reserve { subject, station } => {
                let place = self.draw(subject, station, now_ms)?;
                Ok(self.tell(place))
            }
            Ask::Confirm { subject, device, station } => {
                let place = self.own(subject, station)?;
                let unit = &mut self.units[place];
                match unit.state() {
                    UnitState::Confirmed => {}
                    UnitState::Issued if unit.device == Some(device) => {
                        unit.state = UnitState::Confirmed.into();
                    }
                    UnitState::Issued => return Err(vec!["PROOF_INVALID"]),
                    _ => return Err(vec!["WRONG_STATE"]),
                }
                Ok(self.tell(place))
            }
            Ask::Fail { subject, kind, station } => self.fail(subject, kind, station),
            Ask::Scrap { subject } => self.scrap(subject),
            Ask::Return { subject } => {
                let place = self.newest(subject)?;
                let unit = &mut self.units[place];
                match unit.state() {
                    UnitState::Reserved => unit.state = UnitState::Returned.into(),
                    UnitState::Returned => {}
                    _ => return Err(vec!["WRONG_STATE"]),
                }
                Ok(self.tell(place))
            }
            Ask::HandOver { subject, station } => {
                use UnitState::{Confirmed, Issued, Reserved};
                let place = self.newest(subject)?;
                let unit = &mut self.units[place];
                let lives = matches!(unit.state(), Reserved | Issued | Confirmed);
                if unit.station != station && !lives {
                    return Err(vec!["WRONG_STATE"]);
                }
                unit.station = station;
                Ok(self.tell(place))
            }
        }
    }

    fn tell(&self, place: usize) -> (UnitState, u32) {
        (self.units[place].state(), self.units[place].attempts)
    }

    fn newest(&self, subject: usize) -> Result<usize, Vec<&'static str>> {
        let place = self.units.iter().rposition(|unit| unit.subject == subject);
        place.ok_or_else(|| vec!["NOT_FOUND"])
    }

    /// The subject's unit, if it is the station's.
    fn own(&self, subject: usize, station: usize) -> Result<usize, Vec<&'static str>> {
        let place = self.newest(subject)?;
        match self.units[place].station == station {
            true => Ok(place),
            false => Err(vec!["PERMISSION_DENIED"]),
        }
    }

    /// The unit that the subject has, or one more.
    fn draw(
        &mut self,
        subject: usize,
        station: usize,
        now_ms: u64,
    ) -> Result<usize, Vec<&'static str>> {
        let (mut attempts, mut spent) = (0, 0);
        if let Ok(place) = self.newest(subject) {
            let unit = self.units[place];
            let lost = unit.state() == UnitState::Failed && unit.key_lost;
            let returned = unit.state() == UnitState::Returned;
            let further = returned || lost && unit.spent < UNITS_PER_SUBJECT;
            if !further {
                return Ok(place);
            }
            (attempts, spent) = (unit.attempts, unit.spent - u32::from(returned));
        }
        let mut reasons = self.limits(0, now_ms);
        if attempts >= ATTEMPTS {
            reasons.push("ATTEMPTS_EXHAUSTED");
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let state = UnitState::Reserved.into();
        let (device, key_lost, spent) = (None, false, spent + 1);
        self.units.push(Unit { subject, state, attempts, station, device, key_lost, spent });
        self.drawn_ms.push(now_ms);
        Ok(self.units.len() - 1)
    }

    fn provision(&mut self, subject: usize, device: usize, station: usize, now_ms: u64) -> Answer {
        use UnitState::{Confirmed, Issued, Reserved};
        let before = self.clone();
        let place = self.draw(subject, station, now_ms)?;
        let unit = self.units[place];
        let mut reasons = Vec::new();
        if unit.station != station {
            reasons.push("PERMISSION_DENIED");
        }
        if unit.device.is_some_and(|own| own != device) {
            reasons.push("KEY_MISMATCH");
        }
        if !matches!(unit.state(), Reserved | Issued | Confirmed) {
            reasons.push("WRONG_STATE");
        }
        if unit.attempts >= ATTEMPTS && unit.state() != Confirmed {
            reasons.push("ATTEMPTS_EXHAUSTED");
        }
        let mut others = self.units.iter().enumerate().filter(|(other, _)| *other != place);
        if unit.device.is_none() && others.any(|(_, other)| other.device == Some(device)) {
            reasons.push("DUPLICATE_KEY");
        }
        if !reasons.is_empty() {
            *self = before;
            return Err(reasons);
        }
        let unit = &mut self.units[place];
        unit.device = Some(device);
        if unit.state() == Reserved {
            unit.state = Issued.into();
        }
        Ok(self.tell(place))
    }

    fn fail(&mut self, subject: usize, kind: FailureKind, station: usize) -> Answer {
        use UnitState::{Failed, Issued};
        let lost = kind == FailureKind::KeyLost;
        // An operator says it, who never had the unit.
        let place = if lost { self.newest(subject) } else { self.own(subject, station) }?;
        let unit = &mut self.units[place];
        match (kind, unit.state()) {
            (FailureKind::Transient, Issued) if unit.attempts >= ATTEMPTS => {
                return Err(vec!["ATTEMPTS_EXHAUSTED"]);
            }
            (FailureKind::Transient, Issued) => unit.attempts += 1,
            (FailureKind::Permanent | FailureKind::KeyLost, Issued) => {
                (unit.state, unit.key_lost) = (Failed.into(), lost);
            }
            (FailureKind::Permanent, Failed) => {}
            (FailureKind::KeyLost, Failed) if unit.key_lost => {}
            _ => return Err(vec!["WRONG_STATE"]),
        }
        Ok(self.tell(place))
    }

    fn scrap(&mut self, subject: usize) -> Answer {
        use UnitState::{Confirmed, Failed, Issued, Scrapped};
        let scrapped = self.count(Scrapped) as u64;
        let place = self.newest(subject)?;
        let unit = &mut self.units[place];
        match unit.state() {
            Scrapped => {}
            Issued | Confirmed | Failed if scrapped >= SCRAP_ALLOWANCE => {
                return Err(vec!["APPROVAL_REQUIRED"]);
            }
            Issued | Confirmed | Failed => unit.state = Scrapped.into(),
            _ => return Err(vec!["WRONG_STATE"]),
        }
        Ok(self.tell(place))
    }
}
