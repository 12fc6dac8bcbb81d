//! A site whose clients call at once.

use std::collections::BTreeMap;
use std::sync::Barrier;

use mintmark_plugin_device_key::proto::{self as line, FailureKind, UnitState};
use mintmark_plugin_entitlement::proto::Verdict;
use mintmark_sdk_testing::sdk::Status;
use mintmark_sdk_testing::{Chance, DiskFault, Machine, TestHost};
use prost::Message;

use super::Tally;
use super::order::{Answered, Round};
use super::reference::{Ask, Reference, STATIONS};
use crate::beginning::Beginning;
use crate::courier::{Headquarters, Post};
use crate::site::is_unavailable;

/// Proof of a device that nobody has: its identity is not known.
const NOBODY: usize = usize::MAX;

/// A site, and what its units may be: more than one thing only where an answer was lost.
pub(crate) struct Line<'a> {
    beginning: &'a Beginning,
    number: usize,
    uri: &'a str,
    entitlement: String,
    machine: Machine,
    running: Option<TestHost>,
    may_be: Vec<Reference>,
    /// Identities that were answered, by device.
    identities: BTreeMap<usize, line::DeviceIdentity>,
    /// How much of headquarters' stream it has taken.
    applied: u64,
    asked: Vec<Ask>,
    answered: Vec<Answered>,
    called_ms: u64,
}

impl<'a> Line<'a> {
    pub(crate) fn new(beginning: &'a Beginning, number: usize) -> Self {
        let asleep = &beginning.sites[number];
        let (machine, stopped) = asleep.wake();
        let host = stopped.start_on(machine.open().unwrap()).unwrap();
        let mut reference = Reference::default();
        reference.start(host.clock().now_ms());
        Self {
            beginning,
            number,
            uri: &asleep.uri,
            entitlement: asleep.orders[&1].clone(),
            machine,
            running: Some(host),
            may_be: vec![reference],
            identities: BTreeMap::new(),
            applied: 1,
            asked: Vec::new(),
            answered: Vec::new(),
            called_ms: 0,
        }
    }

    pub(crate) fn host(&self) -> &TestHost {
        self.running.as_ref().unwrap()
    }

    /// The machine is about to fail.
    pub(crate) fn arm(&self, kind: usize, after: u64) {
        match kind {
            0 => self.machine.disk.fail(Some(DiskFault::Once(after))),
            1 => self.machine.disk.fail(Some(DiskFault::ForGood(after))),
            _ => self.machine.platform.fail_after(after % 4),
        }
    }

    fn is_broken(&self) -> bool {
        self.machine.disk.fired() + self.machine.platform.fired() > 0
    }

    /// Every client calls, all at the same moment.
    pub(crate) fn call_at_once(&mut self, asks: &[Ask]) {
        self.asked = asks.iter().map(|ask| self.with_known_proof(*ask)).collect();
        self.called_ms = self.host().clock().now_ms();
        let start = Barrier::new(self.asked.len());
        let this = &*self;
        let told: Vec<_> = std::thread::scope(|scope| {
            let client = |ask| {
                start.wait();
                this.call(ask)
            };
            let clients: Vec<_> =
                this.asked.iter().map(|ask| scope.spawn(move || client(ask))).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        self.answered.clear();
        for (ask, (answered, identity)) in self.asked.iter().zip(told) {
            if let (Ask::Provision { device, .. }, Some(identity)) = (ask, identity) {
                let known = self.identities.entry(*device).or_insert_with(|| identity.clone());
                assert_eq!(*known, identity, "another identity than before");
            }
            self.answered.push(answered);
        }
    }

    /// A client can prove only what it was given.
    fn with_known_proof(&self, ask: Ask) -> Ask {
        match ask {
            Ask::Confirm { subject, device, station } if !self.identities.contains_key(&device) => {
                Ask::Confirm { subject, device: NOBODY, station }
            }
            ask => ask,
        }
    }

    /// Devices of two sites are never the same.
    fn device(&self, device: usize) -> &mintmark_sdk_testing::Device {
        self.beginning.device(device * 2 + self.number)
    }

    fn call(&self, ask: &Ask) -> (Answered, Option<line::DeviceIdentity>) {
        let entitlement = self.entitlement.clone();
        let name = |subject: usize| format!("SN:{subject}");
        let station = |station: usize| ("station", STATIONS[station]);
        match *ask {
            Ask::Provision { subject, device, station: by } => {
                let csr = self.device(device).csr();
                let (serial, fields) = (None, Default::default());
                let subject = name(subject);
                let request = line::ProvisionRequest { entitlement, subject, serial, csr, fields };
                match self.ask::<line::DeviceIdentity>(station(by), "Provision", &request) {
                    Ok(identity) => (Answered::Done(None), Some(identity)),
                    Err(status) => (refused(status), None),
                }
            }
            Ask::Reserve { subject, station: by } => {
                let request =
                    line::ReserveRequest { entitlement, subject: name(subject), serial: None };
                let answer = self.ask::<line::ReserveResponse>(station(by), "Reserve", &request);
                (answer.map_or_else(refused, |_| Answered::Done(None)), None)
            }
            Ask::Confirm { subject, device, station: by } => {
                let proof = match self.identities.get(&device) {
                    Some(identity) => self.device(device).sign(&identity.confirm_message),
                    None => self.device(0).sign(b"of nothing that was given"),
                };
                let request = line::ConfirmRequest { entitlement, subject: name(subject), proof };
                (self.change(station(by), "Confirm", &request), None)
            }
            Ask::Fail { subject, kind, station: by } => {
                let by = match kind {
                    FailureKind::KeyLost => ("operator", "mei"),
                    _ => station(by),
                };
                let (kind, detail) = (kind.into(), "no answer".to_owned());
                let request =
                    line::FailRequest { entitlement, subject: name(subject), kind, detail };
                (self.change(by, "Fail", &request), None)
            }
            Ask::Scrap { subject } => {
                let (subject, reason) = (name(subject), "dropped".to_owned());
                let request = line::ScrapRequest { entitlement, subject, reason };
                (self.change(("operator", "mei"), "Scrap", &request), None)
            }
            Ask::Return { subject } => {
                let (subject, reason) = (name(subject), "bent".to_owned());
                let request = line::ReturnRequest { entitlement, subject, reason };
                (self.change(("operator", "mei"), "Return", &request), None)
            }
            Ask::HandOver { subject, station } => {
                let (subject, station) = (name(subject), STATIONS[station].to_owned());
                let request = line::HandOverRequest { entitlement, subject, station };
                (self.change(("operator", "mei"), "HandOver", &request), None)
            }
        }
    }

    fn ask<T: Message + Default>(
        &self,
        (role, name): (&str, &str),
        method: &str,
        request: &impl Message,
    ) -> Result<T, Status> {
        self.host().call(role, name, method, request)
    }

    fn change(&self, who: (&str, &str), method: &str, request: &impl Message) -> Answered {
        match self.ask::<line::UnitStatus>(who, method, request) {
            Ok(status) => Answered::Done(Some((status.state(), status.attempts))),
            Err(status) => refused(status),
        }
    }

    /// What the clients were answered, and what is there, has an explanation.
    pub(crate) fn look(&mut self, chance: &mut Chance, tally: &mut Tally) {
        let broken = self.is_broken();
        if broken {
            tally.faults += 1;
            self.start(chance);
        } else {
            self.machine.disk.fail(None);
            self.machine.platform.fail_after(u64::MAX);
        }
        let count = |wanted: fn(&Answered) -> bool| {
            self.answered.iter().filter(|answered| wanted(answered)).count() as u64
        };
        tally.calls += self.answered.len() as u64;
        tally.done += count(|answered| matches!(answered, Answered::Done(_)));
        tally.in_doubt += count(|answered| *answered == Answered::InDoubt);
        if !broken && self.answered.contains(&Answered::InDoubt) {
            panic!("a host on a machine that works can write: {:?}", self.answered);
        }
        self.explain();
        if broken {
            self.started();
        }
    }

    fn explain(&mut self) {
        let shown = self.shown();
        let (asked, answered) = (&self.asked[..], &self.answered[..]);
        let round = Round { asked, answered, shown: &shown, now_ms: self.called_ms };
        let mut may_be = Vec::new();
        for before in &self.may_be {
            for after in round.explain(before) {
                if !may_be.contains(&after) {
                    may_be.push(after);
                }
            }
        }
        assert!(
            !may_be.is_empty(),
            "no order explains {:?}\nof {:?}\nbefore {:?}\nafter {shown:?}",
            self.answered,
            self.asked,
            self.may_be
        );
        self.may_be = may_be;
        self.asked.clear();
        self.answered.clear();
        self.check_counters();
    }

    /// Every unit, as a list shows it.
    fn shown(&self) -> Vec<(usize, i32, u32, usize)> {
        let entitlement = self.entitlement.clone();
        let request = line::ListUnitsRequest { entitlement, ..Default::default() };
        let listed: line::ListUnitsResponse =
            self.ask(("auditor", "eve"), "ListUnits", &request).unwrap();
        let station = |uri: &str| {
            let name = uri.rsplit('/').next();
            STATIONS.iter().position(|station| Some(*station) == name).unwrap()
        };
        let show = |unit: line::UnitStatus| {
            let subject = unit.subject.strip_prefix("SN:").unwrap().parse().unwrap();
            (subject, unit.state, unit.attempts, station(&unit.station))
        };
        let mut shown: Vec<_> = listed.units.into_iter().map(show).collect();
        shown.sort_unstable();
        shown
    }

    /// I1: the equation, with each unit counted where it is.
    fn check_counters(&self) {
        let counters = crate::trial::status(self.host(), &self.entitlement).counters.unwrap();
        let reference = &self.may_be[0];
        let places = [
            (counters.reserved, UnitState::Reserved),
            (counters.issued, UnitState::Issued),
            (counters.confirmed, UnitState::Confirmed),
            (counters.failed, UnitState::Failed),
            (counters.scrapped, UnitState::Scrapped),
            (counters.returned, UnitState::Returned),
        ];
        for (count, state) in places {
            assert_eq!(count, reference.count(state) as u64, "{state:?}: {counters:?}");
        }
        let drawn: u64 = places.iter().map(|(count, _)| count).sum();
        assert_eq!(counters.credited, counters.unused + drawn, "{counters:?}");
    }

    /// Cuts the power and starts.
    pub(crate) fn cut(&mut self, chance: &mut Chance) {
        self.start(chance);
        self.explain();
        self.started();
    }

    fn start(&mut self, chance: &mut Chance) {
        // Before the host ends: what it would tidy up is not done.
        self.machine = self.machine.after_power_cut(chance);
        let stopped = self.running.take().unwrap().stop();
        let host = stopped.start_on(self.machine.open().unwrap()).unwrap();
        futures_executor::block_on(host.hardware().store.verify()).unwrap();
        self.running = Some(host);
    }

    fn started(&mut self) {
        let now_ms = self.host().clock().now_ms();
        self.may_be.iter_mut().for_each(|reference| reference.start(now_ms));
    }

    /// Carries everything over and back: headquarters must find nothing wrong.
    pub(crate) fn report(&mut self, hq: &mut Headquarters, tally: &mut Tally) {
        tally.reports += 1;
        let drawn = self.may_be[0].drawn();
        let request = line::ExportBundleRequest::default();
        let exported: line::ExportBundleResponse =
            self.ask(("auditor", "eve"), "ExportBundle", &request).unwrap();
        let bundle = self.host().fetch(&exported.file_id).unwrap();
        match hq.ingest(&bundle) {
            Ok(Some(step)) => {
                let verdict = step.verdict();
                let clean = matches!(verdict, Verdict::Clean | Verdict::CleanWithNotes);
                assert!(clean, "{verdict:?}: {:?}", hq.findings(step.report));
            }
            other => panic!("headquarters is sound: {other:?}"),
        }
        for Post { sequence, purpose, file } in hq.outbox(self.uri) {
            if sequence <= self.applied {
                continue;
            }
            let file_id = self.host().stage(&hq.host().fetch(&file).unwrap());
            let operator = ("operator", "mei");
            if purpose == "entitlement" {
                let request = line::ImportRequest { file_id };
                let _: line::ImportResponse = self.ask(operator, "Import", &request).unwrap();
            } else {
                let request = line::ImportReceiptRequest { file_id };
                let _: line::ImportReceiptResponse =
                    self.ask(operator, "ImportReceipt", &request).unwrap();
            }
            self.applied = sequence;
        }
        self.may_be.iter_mut().for_each(|reference| reference.receipted = drawn);
        let known = hq.devices_of(self.uri);
        let own = known.iter().find(|summary| summary.entitlement == self.entitlement).unwrap();
        assert_eq!(own.reported, drawn as u64, "headquarters has every unit");
    }
}

fn refused(status: Status) -> Answered {
    if is_unavailable(&status) {
        return Answered::InDoubt;
    }
    Answered::Refused(status.reason)
}
