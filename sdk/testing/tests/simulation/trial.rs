//! Power cuts, starts, and what must hold after each; and disks that lie.

use std::collections::{BTreeMap, BTreeSet};

use mintmark_exchange::canonical::sha256;
use mintmark_exchange::row::{Event, Row};
use mintmark_exchange::unit::UnitChange;
use mintmark_plugin_device_key::proto::{self as line, UnitState};
use mintmark_sdk_testing::{
    Chance, Device, DiskFault, Machine, NODE, SimulatedDisk, Stopped, TestHost,
};
use mintmark_store::Verified;

use crate::life::Told;
use crate::model::Unit;
use crate::site::{Pending, Site};
use crate::wrong;

/// How often a start may be cut short.
const STARTS_MAX: usize = 20;

impl Site<'_> {
    /// Cuts the power, starts, and looks at everything.
    pub(crate) fn cut(&mut self, chance: &mut Chance, told: &mut Told) {
        told.cuts += 1;
        self.count_faults(told);
        // Before the host ends: what it would tidy up is not done.
        let after = self.machine.after_power_cut(chance);
        let stopped = self.stop();
        if chance.one_in(4) {
            self.lose_writes(&after, &stopped, told);
        }
        if chance.one_in(4) {
            damage(&after, &stopped, chance, told);
        }
        if chance.one_in(8) {
            self.write_astray(&after, &stopped, chance, told);
        }
        self.machine = after;
        self.start(stopped, chance, told);
        self.look(told);
        if chance.one_in(3) {
            self.older = (self.machine.disk.durable(), self.answers);
        }
    }

    /// Ends the host as an operator does, and starts it.
    pub(crate) fn restart(&mut self, chance: &mut Chance, told: &mut Told) {
        let stopped = self.stop();
        self.count_faults(told);
        self.machine = self.machine.after_power_cut(chance);
        self.start(stopped, chance, told);
        self.look(told);
    }

    /// Starts, with power cuts on the way: recovery can be cut short like anything else.
    fn start(&mut self, stopped: Stopped, chance: &mut Chance, told: &mut Told) {
        for _ in 0..STARTS_MAX {
            if chance.one_in(3) {
                self.machine.disk.fail(Some(DiskFault::ForGood(chance.below(12) as u64)));
            }
            let opened = self.machine.open().ok();
            let started = opened.and_then(|hardware| stopped.fork().start_on(hardware).ok());
            let fired = self.machine.disk.fired();
            match started {
                Some(host) if fired == 0 => {
                    if !serves(&host) {
                        wrong(&self.story, "a host on a machine that works serves");
                    }
                    self.machine.disk.fail(None);
                    self.fired_before = 0;
                    self.running = Some(host);
                    self.tell("started");
                    return;
                }
                None if fired == 0 => wrong(&self.story, "a host on a machine that works starts"),
                _ => {
                    told.faults_starting += 1;
                    self.tell("cut while it started");
                    self.machine = self.machine.after_power_cut(chance);
                }
            }
        }
        self.machine.disk.fail(None);
        let hardware = self.machine.open().unwrap();
        self.running = Some(stopped.start_on(hardware).unwrap());
    }

    /// S7: a disk that said of the newest writes that they were durable, and forgot them.
    fn lose_writes(&self, after: &Machine, stopped: &Stopped, told: &mut Told) {
        let (older, answers) = &self.older;
        if *answers == self.answers {
            return;
        }
        let lied = after.with_disk(SimulatedDisk::with(older.clone()));
        let host = lied.open().map(|hardware| stopped.fork().start_on(hardware));
        match host {
            Ok(Ok(host)) if serves(&host) => {
                wrong(&self.story, "what was answered is lost, and nobody says so")
            }
            _ => told.lost_named += 1,
        }
    }

    /// S6: a disk that wrote something to another place while the host served. That is named at the
    /// next start, or what was answered is there.
    fn write_astray(
        &self,
        after: &Machine,
        stopped: &Stopped,
        chance: &mut Chance,
        told: &mut Told,
    ) {
        let machine = after.copy();
        let Some(entitlement) = self.model.entitlements.keys().next() else { return };
        let Ok(Ok(host)) = machine.open().map(|hardware| stopped.fork().start_on(hardware)) else {
            wrong(&self.story, "a host on a machine that works starts");
        };
        let (after, sectors) = (chance.below(14) as u64, 1 + chance.below(1 << 16) as u64);
        machine.disk.fail(Some(DiskFault::Astray { after, sectors }));
        let request = line::ProvisionRequest {
            entitlement: entitlement.clone(),
            subject: "SN:astray".to_owned(),
            csr: Device::new().csr(),
            ..line::ProvisionRequest::default()
        };
        let provision = |host: &TestHost| -> Result<line::DeviceIdentity, _> {
            host.call("station", "line-4", "Provision", &request)
        };
        let answered = provision(&host).ok();
        let fired = machine.disk.fired();
        told.astray += fired;
        // Before the host ends: what it would tidy up is not done.
        let machine = machine.after_power_cut(chance);
        drop(host.stop());
        let started = open_whole(&machine, stopped).filter(|(_, host)| serves(host));
        match (started, answered) {
            (None, _) if fired == 0 => wrong(&self.story, "nothing went astray"),
            (None, _) => told.astray_named += 1,
            (Some((_, host)), Some(identity)) if provision(&host).as_ref() != Ok(&identity) => {
                wrong(&self.story, "what was answered is lost, and nobody says so")
            }
            _ => {}
        }
    }

    /// Everything that must hold after a start.
    fn look(&mut self, told: &mut Told) {
        let host = self.running.take().unwrap();
        if let Err(error) = futures_executor::block_on(host.hardware().store.verify()) {
            wrong(&self.story, error);
        }
        let now_ms = host.clock().now_ms();
        for allotment in self.model.entitlements.values_mut() {
            allotment.start(now_ms);
        }
        for entitlement in self.model.entitlements.keys().cloned().collect::<Vec<_>>() {
            self.recount(&host, &entitlement, told);
            self.receipts(&host, &entitlement);
        }
        self.pending.retain(|pending| *pending == Pending::Message);
        self.rows(&host);
        self.running = Some(host);
    }

    /// What `mintmark verify` looks at: records that agree with each other and with the rows.
    pub(crate) fn verify(&self) {
        let hardware = self.host().hardware();
        let sealing = hardware.platform.sealing_secret().unwrap();
        let verified =
            mintmark_custody::verify(&*hardware.store, &sealing, Some(&*hardware.platform));
        if let Err(error) = futures_executor::block_on(verified) {
            wrong(&self.story, error);
        }
    }

    /// I1: the equation, and each unit where the model has it.
    fn recount(&mut self, host: &TestHost, entitlement: &str, told: &mut Told) {
        let actual = units(host, entitlement);
        let now_ms = host.clock().now_ms();
        for status in &actual {
            self.compare(entitlement, status, now_ms, told);
        }
        let allotment = &self.model.entitlements[entitlement];
        let known: BTreeSet<_> = allotment.units.keys().collect();
        let there: BTreeSet<_> = actual.iter().map(|status| &status.subject).collect();
        if known != there {
            wrong(&self.story, format!("{entitlement} has {there:?}, and promised {known:?}"));
        }
        let counters = status(host, entitlement).counters.unwrap();
        let places = [
            (counters.reserved, UnitState::Reserved),
            (counters.issued, UnitState::Issued),
            (counters.confirmed, UnitState::Confirmed),
            (counters.failed, UnitState::Failed),
            (counters.scrapped, UnitState::Scrapped),
        ];
        let sum: u64 = places.iter().map(|(count, _)| count).sum();
        let rest = [counters.returned, counters.lost, counters.destroyed];
        let holds = counters.credited == sum + counters.unused && rest == [0; 3];
        if !holds || places.iter().any(|(count, state)| *count != allotment.count(*state)) {
            wrong(&self.story, format!("{counters:?} of {:?}", allotment.units));
        }
    }

    /// A unit is as the model has it, or as a call in doubt may have left it.
    fn compare(&mut self, entitlement: &str, status: &line::UnitStatus, now: u64, told: &mut Told) {
        let Some(allotment) = self.model.entitlements.get_mut(entitlement) else { return };
        let (subject, state) = (&status.subject, status.state());
        let mine = |pending: &&Pending| match pending {
            Pending::Unit { entitlement: id, subject: name, states, .. } => {
                id == entitlement && name == subject && states.contains(&state)
            }
            _ => false,
        };
        let doubt = self.pending.iter().find(mine);
        told.in_doubt_durable += u64::from(doubt.is_some());
        let attempt =
            Pending::Attempt { entitlement: entitlement.to_owned(), subject: subject.clone() };
        match (allotment.units.get_mut(subject), doubt) {
            (Some(unit), doubt) => {
                let counted =
                    self.pending.contains(&attempt) && status.attempts == unit.attempts + 1;
                let same = unit.state == state && unit.number == status.unit;
                if !same && (doubt.is_none() || unit.number != status.unit) {
                    wrong(&self.story, format!("{status:?} is not {unit:?}"));
                }
                if unit.attempts != status.attempts && !counted {
                    wrong(&self.story, format!("{status:?} is not {unit:?}"));
                }
                if let Some(Pending::Unit { device, .. }) = doubt
                    && unit.state == UnitState::Reserved
                    && state == UnitState::Issued
                {
                    unit.device = *device;
                }
                (unit.state, unit.attempts) = (state, status.attempts);
            }
            (None, Some(Pending::Unit { device, .. })) => {
                let (number, device) = (status.unit, *device);
                let unit = Unit { number, state, attempts: 0, device, identity: None };
                allotment.give(subject, unit, now);
            }
            (None, _) => wrong(&self.story, format!("{status:?} was never asked for")),
        }
    }

    /// What was receipted is what was exported.
    fn receipts(&mut self, host: &TestHost, entitlement: &str) {
        let since = status(host, entitlement).since_receipt;
        let allotment = self.model.entitlements.get_mut(entitlement).unwrap();
        let receipted = (allotment.units.len() as u64).saturating_sub(since);
        let of_bundles = |drawn: &BTreeMap<String, u64>| drawn.get(entitlement) == Some(&receipted);
        let taken = self.pending.contains(&Pending::Message)
            && self.exported.values().any(of_bundles)
            && receipted >= allotment.receipted;
        if receipted != allotment.receipted && !taken {
            let promised = allotment.receipted;
            wrong(&self.story, format!("{receipted} are receipted, and were {promised}"));
        }
        allotment.receipt(receipted);
    }

    /// I2: whatever was answered is on the record, and no unit twice.
    fn rows(&self, host: &TestHost) {
        let mut issued: BTreeMap<(String, u64), [u8; 32]> = BTreeMap::new();
        let mut reserved: BTreeSet<(String, u64)> = BTreeSet::new();
        for row in rows(host) {
            let Event::Unit(event) = row.body.event else { continue };
            let unit = (event.entitlement.clone(), event.unit);
            match event.change {
                UnitChange::Reserved if !reserved.insert(unit.clone()) => {
                    wrong(&self.story, format!("{unit:?} was reserved twice"))
                }
                UnitChange::Issued => {
                    let hash = event.certificate_hash.unwrap();
                    if issued.insert(unit.clone(), hash).is_some() {
                        wrong(&self.story, format!("{unit:?} was issued twice"));
                    }
                }
                _ => {}
            }
        }
        for (entitlement, allotment) in &self.model.entitlements {
            for unit in allotment.units.values() {
                let Some(identity) = &unit.identity else { continue };
                let row = issued.get(&(entitlement.clone(), unit.number));
                if row != Some(&sha256(&identity.certificate)) {
                    wrong(&self.story, format!("{unit:?} was released and is on no record"));
                }
            }
        }
    }
}

/// S6: a bit that flipped, or a sector that was written somewhere else. It is named, or it has
/// touched nothing.
fn damage(after: &Machine, stopped: &Stopped, chance: &mut Chance, told: &mut Told) {
    let mut content = after.disk.durable();
    let flips = chance.one_in(2);
    if flips {
        let place = chance.below(content.len());
        content[place] ^= 1 << chance.below(8);
    } else {
        let sectors = content.len() / 512;
        let (from, to) = (chance.below(sectors) * 512, chance.below(sectors) * 512);
        content.copy_within(from..from + 512, to);
    }
    let seen = |machine: &Machine| {
        open_whole(machine, stopped).map(|(verified, host)| (verified, rows(&host).len()))
    };
    let whole = seen(&after.copy());
    match seen(&after.with_disk(SimulatedDisk::with(content))) {
        None if flips => told.flips_named += 1,
        None => told.copies_named += 1,
        damaged => assert_eq!(damaged, whole, "damage that nobody names changes nothing"),
    }
}

/// A host whose store is right in every record.
fn open_whole(machine: &Machine, stopped: &Stopped) -> Option<(Verified, TestHost)> {
    let hardware = machine.open().ok()?;
    let verified = futures_executor::block_on(hardware.store.verify()).ok()?;
    Some((verified, stopped.fork().start_on(hardware).ok()?))
}

/// Whether a host gives anything out.
fn serves(host: &TestHost) -> bool {
    !futures_executor::block_on(host.custody().status()).unwrap().read_only
}

pub(crate) fn status(host: &TestHost, entitlement: &str) -> line::EntitlementStatus {
    let request = line::StatusRequest { entitlement: entitlement.to_owned() };
    host.call("auditor", "eve", "Status", &request).unwrap()
}

fn units(host: &TestHost, entitlement: &str) -> Vec<line::UnitStatus> {
    let request =
        line::ListUnitsRequest { entitlement: entitlement.to_owned(), ..Default::default() };
    let listed: line::ListUnitsResponse =
        host.call("auditor", "eve", "ListUnits", &request).unwrap();
    listed.units
}

fn rows(host: &TestHost) -> Vec<Row> {
    let snapshot = futures_executor::block_on(host.hardware().store.snapshot()).unwrap();
    let rows = futures_executor::block_on(snapshot.rows(NODE, 0, usize::MAX)).unwrap();
    rows.iter().map(|row| Row::decode(&row.encoded).unwrap()).collect()
}
