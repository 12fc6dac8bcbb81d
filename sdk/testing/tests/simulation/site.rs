//! A site in a life: what is asked of it, and what may be answered.

use std::collections::BTreeMap;

use mintmark_plugin_device_key::proto::{self as line, FailureKind, UnitState};
use mintmark_sdk_testing::sdk::Status;
use mintmark_sdk_testing::{Chance, DiskFault, Machine, Stopped, TestHost};
use prost::Message;

use crate::beginning::{ATTEMPTS, Beginning};
use crate::life::Told;
use crate::model::{Allotment, Model, Unit};
use crate::wrong;

/// Subjects of a site: few, so that clients come back with the same ones.
const SUBJECTS: usize = 9;

/// A site that runs on a machine that fails.
pub(crate) struct Site<'a> {
    pub(crate) beginning: &'a Beginning,
    number: usize,
    pub(crate) uri: &'a str,
    /// Entitlements by their place in headquarters' stream.
    pub(crate) orders: &'a BTreeMap<u64, String>,
    pub(crate) machine: Machine,
    /// `None` while it is started.
    pub(crate) running: Option<TestHost>,
    pub(crate) model: Model,
    /// Calls whose answer was that nobody knows.
    pub(crate) pending: Vec<Pending>,
    /// What was exported, by digest: the units that had been drawn.
    pub(crate) exported: BTreeMap<Vec<u8>, BTreeMap<String, u64>>,
    /// The newest bundle.
    pub(crate) bundle: Option<Vec<u8>>,
    /// The disk as it was at an earlier moment, and how many answers there had been.
    pub(crate) older: (Vec<u8>, u64),
    /// Answers that promise something.
    pub(crate) answers: u64,
    /// Failures of the machine before the host was up.
    pub(crate) fired_before: u64,
    /// The disk was told to be full.
    pub(crate) armed_full: bool,
    pub(crate) story: Vec<String>,
}

/// What a call that is in doubt may have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// A unit may be there, or have gone on, in one of these states.
    Unit { entitlement: String, subject: String, device: usize, states: Vec<UnitState> },
    /// An attempt may have been counted.
    Attempt { entitlement: String, subject: String },
    /// A message of headquarters may have been taken.
    Message,
}

/// How a call ended.
pub(crate) enum Settled<T> {
    Done(T),
    Refused,
    InDoubt,
}

/// A unit that is asked about.
struct Asked {
    entitlement: String,
    subject: String,
    unit: Option<Unit>,
}

impl<'a> Site<'a> {
    pub(crate) fn new(beginning: &'a Beginning, number: usize) -> Self {
        let asleep = &beginning.sites[number];
        let (machine, stopped) = asleep.wake();
        let mut site = Self {
            beginning,
            number,
            uri: &asleep.uri,
            older: (machine.disk.durable(), 0),
            machine,
            running: None,
            model: Model::new(&asleep.orders[&1]),
            orders: &asleep.orders,
            armed_full: false,
            pending: Vec::new(),
            exported: BTreeMap::new(),
            bundle: None,
            answers: 0,
            fired_before: 0,
            story: Vec::new(),
        };
        let host = stopped.start_on(site.machine.open().unwrap()).unwrap();
        site.running = Some(host);
        site
    }

    pub(crate) fn host(&self) -> &TestHost {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn stop(&mut self) -> Stopped {
        self.running.take().unwrap().stop()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.host().clock().now_ms()
    }

    /// Whether the machine has failed since the host is up: nothing may be released any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.machine.disk.fired() + self.machine.platform.fired() > self.fired_before
    }

    /// From now on the machine is about to fail.
    pub(crate) fn arm(&mut self, chance: &mut Chance, told: &mut Told) {
        let after = chance.below(14) as u64;
        let length = self.machine.disk.durable().len() as u64;
        match chance.below(5) {
            0 | 1 => self.machine.disk.fail(Some(DiskFault::Once(after))),
            2 => self.machine.disk.fail(Some(DiskFault::ForGood(after))),
            3 => {
                self.armed_full = true;
                self.machine.disk.fail(Some(DiskFault::Full(length.saturating_sub(after << 12))));
            }
            _ => self.machine.platform.fail_after(after % 4),
        }
        told.armed += 1;
        self.tell("the machine is about to fail");
    }

    /// What has failed is on record.
    pub(crate) fn count_faults(&mut self, told: &mut Told) {
        let fired = self.machine.disk.fired();
        if std::mem::take(&mut self.armed_full) {
            told.faults_full += fired;
        } else {
            told.faults_disk += fired;
        }
        told.faults_platform += self.machine.platform.fired();
    }

    pub(crate) fn tell(&mut self, what: impl Into<String>) {
        self.story.push(what.into());
    }

    /// Compares an answer with what may be answered: one of these reasons; success where there are
    /// none but with a question mark; and where the machine has failed, that nobody knows.
    pub(crate) fn settle<T>(
        &mut self,
        what: String,
        was_broken: bool,
        answer: Result<T, Status>,
        legal: &[&str],
    ) -> Settled<T> {
        let short = answer.as_ref().map(|_| ()).map_err(|status| status.reason.clone());
        self.tell(format!("{what}: {short:?}, expected {legal:?}"));
        match answer {
            Ok(_) if was_broken => wrong(&self.story, "released by a host that can not write"),
            Ok(answer) if legal.iter().all(|reason| reason.starts_with('?')) => {
                self.answers += 1;
                Settled::Done(answer)
            }
            Ok(_) => wrong(&self.story, "given against a limit"),
            Err(status) if is_among(&status, legal) => Settled::Refused,
            Err(status) if is_unavailable(&status) && self.is_broken() => Settled::InDoubt,
            // Draws in doubt count against every limit.
            Err(_) if was_broken => Settled::Refused,
            Err(status) => wrong(&self.story, status),
        }
    }

    /// One call of one client.
    pub(crate) fn ask(&mut self, chance: &mut Chance, told: &mut Told) {
        let asked = self.any_unit(chance);
        let Some(asked) = asked else { return };
        match chance.below(12) {
            0..=5 => self.provision(chance, told, asked),
            6 => self.reserve(asked),
            7 | 8 => self.confirm(chance, asked),
            9 | 10 => self.fail(chance, asked),
            _ => self.scrap(asked),
        }
    }

    fn any_unit(&self, chance: &mut Chance) -> Option<Asked> {
        let entitlements: Vec<_> = self.model.entitlements.keys().cloned().collect();
        let entitlement = chance.one_of(&entitlements)?.clone();
        let subject = format!("SN:{}", chance.below(SUBJECTS));
        let unit = self.model.entitlements[&entitlement].units.get(&subject).cloned();
        Some(Asked { entitlement, subject, unit })
    }

    /// Every identity that was answered is answered again, byte for byte.
    pub(crate) fn ask_again(&mut self, told: &mut Told) {
        for (entitlement, allotment) in self.model.entitlements.clone() {
            for (subject, unit) in allotment.units {
                if matches!(unit.state, UnitState::Issued | UnitState::Confirmed) {
                    told.retries += 1;
                    let (entitlement, device) = (entitlement.clone(), unit.device);
                    let asked = Asked { entitlement, subject, unit: Some(unit) };
                    self.release(asked, device, "line-4", &[]);
                }
            }
        }
    }

    fn allotment(&mut self, entitlement: &str) -> &mut Allotment {
        self.model.entitlements.get_mut(entitlement).unwrap()
    }

    /// Whether the subject has a unit of another entitlement.
    fn is_elsewhere(&self, asked: &Asked) -> bool {
        let others = self.model.entitlements.iter().filter(|(id, _)| **id != asked.entitlement);
        others.into_iter().any(|(_, allotment)| allotment.units.contains_key(&asked.subject))
    }

    /// Whether a device's key is on a unit other than the subject's.
    fn is_used(&self, device: usize, asked: &Asked) -> bool {
        let units = self.model.entitlements.values().flat_map(|allotment| &allotment.units);
        units.into_iter().any(|(subject, unit)| {
            *subject != asked.subject && unit.device == device && unit.state != UnitState::Reserved
        })
    }

    /// Why nothing new may be drawn for the subject; nothing where something must.
    fn why_not_drawn(&self, asked: &Asked) -> Vec<&'static str> {
        match (&asked.unit, self.is_elsewhere(asked)) {
            (_, true) => vec!["DUPLICATE_SUBJECT"],
            (Some(_), false) => Vec::new(),
            (None, false) => self.model.entitlements[&asked.entitlement].limits(self.now_ms()),
        }
    }

    fn provision(&mut self, chance: &mut Chance, told: &mut Told, asked: Asked) {
        let retry = asked.unit.as_ref().filter(|unit| unit.state != UnitState::Reserved);
        let device = match retry {
            Some(unit) if !chance.one_in(6) => unit.device,
            _ => Beginning::any_device(self.number, chance),
        };
        let station = if chance.one_in(12) { "line-5" } else { "line-4" };
        let mut legal = self.why_not_drawn(&asked);
        if asked.unit.is_some() && station != "line-4" {
            legal.push("PERMISSION_DENIED");
        }
        if retry.is_some_and(|unit| unit.device != device) {
            legal.push("KEY_MISMATCH");
        }
        if retry.is_some_and(|unit| is_over(unit.state)) {
            legal.push("WRONG_STATE");
        }
        let is_other = retry.is_none_or(|unit| unit.device != device);
        if is_other && self.is_used(device, &asked) {
            legal.push("DUPLICATE_KEY");
        }
        // The unit is the station's that drew it.
        if asked.unit.is_none() && station != "line-4" {
            return;
        }
        told.retries += u64::from(retry.is_some() && legal.is_empty());
        self.release(asked, device, station, &legal);
    }

    /// Asks for an identity; nothing is remembered that was not answered.
    fn release(&mut self, asked: Asked, device: usize, station: &str, legal: &[&str]) {
        let Asked { entitlement, subject, unit } = asked;
        let mut legal = legal.to_vec();
        if unit.as_ref().is_some_and(Unit::is_exhausted) {
            legal.push("ATTEMPTS_EXHAUSTED");
        }
        let request = line::ProvisionRequest {
            entitlement: entitlement.clone(),
            subject: subject.clone(),
            serial: None,
            csr: self.beginning.device(device).csr(),
            fields: Default::default(),
        };
        let what = format!("provision {entitlement} {subject} device {device} as {station}");
        let was_broken = self.is_broken();
        let answer = self.host().call("station", station, "Provision", &request);
        let identity: line::DeviceIdentity = match self.settle(what, was_broken, answer, &legal) {
            Settled::Done(identity) => identity,
            Settled::Refused => return,
            Settled::InDoubt => {
                let states = vec![UnitState::Issued];
                self.pending.push(Pending::Unit { entitlement, subject, device, states });
                return;
            }
        };
        let now_ms = self.now_ms();
        let number = identity.unit;
        match unit {
            None => {
                let state = UnitState::Issued;
                let identity = Some(identity);
                let unit = Unit { number, state, attempts: 0, device, identity };
                self.allotment(&entitlement).give(&subject, unit, now_ms);
            }
            Some(before) => {
                let same = before.identity.as_ref().is_none_or(|known| *known == identity);
                if !same || before.number != number {
                    wrong(&self.story, "another identity than before");
                }
                let unit = self.allotment(&entitlement).units.get_mut(&subject).unwrap();
                if unit.state == UnitState::Reserved {
                    unit.state = UnitState::Issued;
                }
                (unit.device, unit.identity) = (device, Some(identity));
            }
        }
    }

    fn reserve(&mut self, asked: Asked) {
        let legal = self.why_not_drawn(&asked);
        // What it says about a unit that is there is no promise of this model.
        if asked.unit.is_some() {
            return;
        }
        let Asked { entitlement, subject, .. } = asked;
        let request = line::ReserveRequest {
            entitlement: entitlement.clone(),
            subject: subject.clone(),
            serial: None,
        };
        let was_broken = self.is_broken();
        let answer = self.host().call("station", "line-4", "Reserve", &request);
        let what = format!("reserve {entitlement} {subject}");
        let (state, now_ms) = (UnitState::Reserved, self.now_ms());
        match self.settle::<line::ReserveResponse>(what, was_broken, answer, &legal) {
            Settled::Done(answer) => {
                let (number, device) = (answer.unit, usize::MAX);
                let unit = Unit { number, state, attempts: 0, device, identity: None };
                self.allotment(&entitlement).give(&subject, unit, now_ms);
            }
            Settled::Refused => {}
            Settled::InDoubt => {
                let (device, states) = (usize::MAX, vec![state]);
                self.pending.push(Pending::Unit { entitlement, subject, device, states });
            }
        }
    }

    fn confirm(&mut self, chance: &mut Chance, asked: Asked) {
        let Some((unit, identity)) = asked
            .unit
            .as_ref()
            .and_then(|unit| Some((unit, unit.identity.clone()?)))
            .filter(|_| !self.is_elsewhere(&asked))
        else {
            return;
        };
        if unit.state == UnitState::Confirmed {
            // Changes nothing, so that a host that can not write may say so.
            return;
        }
        let wrong_proof = chance.one_in(4);
        let message = if wrong_proof { b"another" } else { &identity.confirm_message[..] };
        let proof = self.beginning.device(unit.device).sign(message);
        let mut legal = Vec::new();
        if is_over(unit.state) {
            legal.push("WRONG_STATE");
        } else if wrong_proof {
            legal.push("PROOF_INVALID");
        }
        let Asked { entitlement, subject, .. } = asked;
        let names = (entitlement.clone(), subject.clone());
        let request = line::ConfirmRequest { entitlement: names.0, subject: names.1, proof };
        self.change(("station", "Confirm", &request), entitlement, subject, &legal);
    }

    fn fail(&mut self, chance: &mut Chance, asked: Asked) {
        let Some(unit) = asked.unit.as_ref().filter(|_| !self.is_elsewhere(&asked)) else {
            return;
        };
        let permanent = chance.one_in(3);
        if permanent && unit.state == UnitState::Failed {
            return;
        }
        let kind = if permanent { FailureKind::Permanent } else { FailureKind::Transient };
        let mut legal = Vec::new();
        if unit.state != UnitState::Issued {
            legal.push("WRONG_STATE");
        } else if !permanent && unit.attempts >= ATTEMPTS {
            legal.push("ATTEMPTS_EXHAUSTED");
        }
        let Asked { entitlement, subject, .. } = asked;
        let request = line::FailRequest {
            entitlement: entitlement.clone(),
            subject: subject.clone(),
            kind: kind.into(),
            detail: "no answer".to_owned(),
        };
        self.change(("station", "Fail", &request), entitlement, subject, &legal);
    }

    fn scrap(&mut self, asked: Asked) {
        let Some(unit) = asked.unit.as_ref().filter(|_| !self.is_elsewhere(&asked)) else {
            return;
        };
        if unit.state == UnitState::Scrapped {
            return;
        }
        let mut legal = Vec::new();
        if unit.state == UnitState::Reserved {
            legal.push("WRONG_STATE");
        }
        if !self.model.entitlements[&asked.entitlement].may_scrap() {
            legal.push("APPROVAL_REQUIRED");
        }
        let Asked { entitlement, subject, .. } = asked;
        let request = line::ScrapRequest {
            entitlement: entitlement.clone(),
            subject: subject.clone(),
            reason: "broken".to_owned(),
        };
        self.change(("operator", "Scrap", &request), entitlement, subject, &legal);
    }

    /// A call that takes a unit on to its end.
    fn change(
        &mut self,
        (role, method, request): (&str, &str, &impl Message),
        entitlement: String,
        subject: String,
        legal: &[&str],
    ) {
        let name = if role == "station" { "line-4" } else { "mei" };
        let before = self.allotment(&entitlement).units[&subject].clone();
        let was_broken = self.is_broken();
        let answer = self.host().call(role, name, method, request);
        let what = format!("{method} {entitlement} {subject}");
        match self.settle::<line::UnitStatus>(what, was_broken, answer, legal) {
            Settled::Done(status) => {
                let unit = self.allotment(&entitlement).units.get_mut(&subject).unwrap();
                (unit.state, unit.attempts) = (status.state(), status.attempts);
            }
            Settled::Refused => {}
            Settled::InDoubt => {
                use UnitState::{Confirmed, Failed, Scrapped};
                let (device, states) = (before.device, vec![Confirmed, Failed, Scrapped]);
                let names = (entitlement.clone(), subject.clone());
                self.pending.push(Pending::Attempt { entitlement: names.0, subject: names.1 });
                self.pending.push(Pending::Unit { entitlement, subject, device, states });
            }
        }
    }
}

/// Nothing is released for such a unit any more.
fn is_over(state: UnitState) -> bool {
    matches!(state, UnitState::Failed | UnitState::Scrapped)
}

fn is_among(status: &Status, legal: &[&str]) -> bool {
    legal.iter().any(|reason| reason.trim_start_matches('?') == status.reason)
}

/// What a host says that can not write.
pub(crate) fn is_unavailable(status: &Status) -> bool {
    ["LEDGER_UNAVAILABLE", "STORAGE_FULL", "UNAVAILABLE", "PLUGIN_FAULT"]
        .contains(&status.reason.as_str())
}
