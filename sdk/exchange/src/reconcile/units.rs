//! Rows about units: every change is legal, within the grant, and no device is there twice.

use crate::{
    canonical::{SPIFFE_BYTES_MAX, is_subject},
    certificate::CertificateSerial,
    grant::{Grant, Terms},
    reconcile::{
        FindingKind, Index, Orders, Unavailable, UnitRecord, UnitRef,
        ledger::{Application, World},
        report::Place,
        state::{EntitlementState, NodeLedger},
    },
    row::{Row, UnitEvent},
    unit::{UnitChange, UnitState},
};

/// A unit's row with all that it is judged by.
pub(super) struct Case<'a> {
    pub(super) place: Place<'a>,
    pub(super) row: &'a Row,
    pub(super) event: &'a UnitEvent,
    pub(super) grant: &'a Grant,
    pub(super) unit: UnitRef,
    /// The state before; `None` for a unit that is drawn by this row.
    pub(super) from: Option<UnitState>,
}

impl Application {
    /// Applies a row about a unit.
    pub(super) fn unit(
        &mut self,
        place: Place<'_>,
        row: &Row,
        event: &UnitEvent,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        let Some(grant) = self.grant_of(place, event, world) else {
            return Ok(());
        };
        let unit = UnitRef { entitlement: event.entitlement.clone(), unit: event.unit };
        let before = world.register.unit(&unit)?;
        let incarnation = self.state.nodes.get(place.node).map_or(0, |node| node.incarnation);
        let ledger = (place.node, incarnation);
        if before.as_ref().is_some_and(|before| is_known(before, ledger, row)) {
            // An ingest that was given up had come further than this.
            self.adopt(place, row);
            return Ok(());
        }
        let from = before.as_ref().map(|before| before.state);
        let Some(to) = UnitState::after(from, event.change) else {
            // A restored host draws nothing of what it may have forgotten, and certifies nothing.
            let releases = matches!(
                event.change,
                UnitChange::Reserved | UnitChange::Issued | UnitChange::Recertified
            );
            let set_back = |before: &UnitRecord| self.is_set_back(place.node, before);
            if let Some(before) = before.filter(|before| !releases && set_back(before)) {
                let case = Case { place, row, event, grant, unit, from };
                self.judge_plugin(&case);
                self.judge_written_off(&case);
                self.judge_identity(&case, &before);
                self.judge_set_back(place, row, event, before.state);
                return Ok(());
            }
            let text = format!("unit {} can't change like this: {:?}", event.unit, event.change);
            self.findings.breach(FindingKind::Transition, place, text);
            self.adopt(place, row);
            return Ok(());
        };
        let set_back = before.as_ref().is_some_and(|before| self.is_set_back(place.node, before));
        let case = Case { place, row, event, grant, unit, from };
        self.judge_plugin(&case);
        self.judge_written_off(&case);
        let mut record = match before {
            Some(before) => before,
            None => self.draw(&case, world)?,
        };
        self.judge_identity(&case, &record);
        self.judge_station(&case, &mut record);
        self.judge_change(&case, &mut record, world)?;
        record.update(&case, incarnation, to);
        match set_back && from != Some(to) {
            true => self.move_from_backup(place, row, to),
            false => self.move_unit(&case, to),
        }
        world.register.put_unit(&case.unit, &record)
    }

    /// True if what headquarters knows of a unit came after the backup of which the site was
    /// restored: the site has it as it was before.
    fn is_set_back(&self, node: &str, before: &UnitRecord) -> bool {
        self.is_forgotten(node, before.changed)
    }

    /// True for a row of an earlier ledger that a restore has forgotten.
    pub(super) fn is_forgotten(&self, node: &str, row: (u64, u64)) -> bool {
        self.state.nodes.get(node).is_some_and(|node| node.is_forgotten(row))
    }

    /// A restored site does to a unit what can't be done to it any more, as far as headquarters
    /// knows, which has rows that came after the backup, and keeps what they say. People approved
    /// the restore, and should know of it.
    fn judge_set_back(&mut self, place: Place<'_>, row: &Row, event: &UnitEvent, known: UnitState) {
        let (unit, change) = (event.unit, event.change);
        let to = match change {
            UnitChange::Lost => Some(UnitState::Lost),
            UnitChange::Confirmed => Some(UnitState::Confirmed),
            UnitChange::Failed | UnitChange::KeyLost => Some(UnitState::Failed),
            UnitChange::Scrapped => Some(UnitState::Scrapped),
            _ => None,
        };
        if to == Some(UnitState::Lost) || to == Some(known) {
            let text = format!("unit {unit} had come to its end before the restore: {known:?}");
            self.findings.note(FindingKind::Restore, place, text);
        } else {
            let text = format!("unit {unit} was {known:?} before the restore, and now {change:?}");
            self.findings.note(FindingKind::Restore, place, text);
        }
        match to {
            Some(to) => self.move_from_backup(place, row, to),
            None => self.adopt(place, row),
        }
    }

    /// Moves a unit from wherever the backup had it, as the row's counters say.
    fn move_from_backup(&mut self, place: Place<'_>, row: &Row, to: UnitState) {
        use UnitState::{Confirmed, Failed, Issued, Reserved};
        let state = self.state.entitlements.get(place.entitlement.unwrap_or_default());
        let ledger = state.and_then(|state| state.ledgers.get(place.node));
        let Some(ledger) = ledger.filter(|ledger| !ledger.adopt) else {
            return self.adopt(place, row);
        };
        let moved = |from| {
            let mut counters = ledger.counters;
            (counters.move_unit(Some(from), to) && Some(counters) == row.counters)
                .then_some(counters)
        };
        match [Reserved, Issued, Confirmed, Failed].into_iter().find_map(moved) {
            Some(counters) => self.change(place, row, |implied| {
                *implied = counters;
                Some(())
            }),
            None => {
                let text = "the restored counters don't follow from the row";
                self.findings.hold(FindingKind::Restore, place, text);
                self.adopt(place, row);
            }
        }
    }

    /// The grant under which a row acts, if the site may act under it at all.
    fn grant_of<'w>(
        &mut self,
        place: Place<'_>,
        event: &UnitEvent,
        world: &World<'w>,
    ) -> Option<&'w Grant> {
        let Some(grant) = world.orders.grants.get(&event.entitlement) else {
            let text = "a unit of what headquarters did not grant";
            self.findings.breach(FindingKind::Grant, place, text);
            return None;
        };
        if grant.recipient != self.site {
            let text = "a unit of another site's entitlement";
            self.findings.breach(FindingKind::OtherSite, place, text);
            return None;
        }
        let Some(state) = self.state.entitlements.get(&event.entitlement) else {
            let text = "a unit of an entitlement that was never imported";
            self.findings.breach(FindingKind::Grant, place, text);
            return None;
        };
        if event.unit >= state.unit_limit {
            let text = format!("unit {} of {}", event.unit, state.unit_limit);
            self.findings.breach(FindingKind::Total, place, text);
            self.adopt_ledger(place);
            return None;
        }
        let malformed = match event {
            _ if !is_subject(&event.subject) => Some((FindingKind::Subject, "the subject")),
            UnitEvent { serial: Some(serial), .. } if !is_subject(serial) => {
                Some((FindingKind::Serial, "the serial number"))
            }
            UnitEvent { certificate_serial: Some(serial), .. }
                if serial.len() > CertificateSerial::LENGTH =>
            {
                Some((FindingKind::Certificate, "the certificate's serial number"))
            }
            _ => None,
        };
        // What goes into the register has its bounds.
        if let Some((kind, what)) = malformed {
            self.findings.breach(kind, place, format!("{what} is malformed"));
            self.adopt_ledger(place);
            return None;
        }
        Some(grant)
    }

    /// The code that acted is one that the grant accepts.
    fn judge_plugin(&mut self, case: &Case<'_>) {
        // What a restore writes off is the host's own act.
        if case.event.change == UnitChange::Lost {
            return;
        }
        let accepted = case.row.body.plugin.as_ref().is_some_and(|plugin| {
            let version = self.state.plugins.get(&plugin.measurement);
            let publishers = version.map_or(&[][..], |version| &version.publishers);
            let security_version = version.map_or(0, |version| version.security_version);
            let accepted = &case.grant.accepted_plugins;
            accepted.accept(&plugin.measurement, publishers, security_version)
        });
        if !accepted {
            let text = "the plugin is not one that the grant accepts";
            self.findings.breach(FindingKind::Measurement, case.place, text);
        }
    }

    /// Only a restore writes units off: else a device that was made could be called lost.
    fn judge_written_off(&mut self, case: &Case<'_>) {
        let restored = self.state.nodes.get(case.place.node).is_some_and(|node| node.restored);
        if case.event.change == UnitChange::Lost && !restored {
            let text = "a unit is written off without a restore";
            self.findings.breach(FindingKind::Restore, case.place, text);
        }
    }

    /// A unit is worked on by the station that drew it, or to which an operator handed it over.
    /// People may end it; that its key is lost only a person says who never had it.
    fn judge_station(&mut self, case: &Case<'_>, record: &mut UnitRecord) {
        let event = case.event;
        let principal = &case.row.body.principal;
        let own = *principal == record.station;
        if event.change == UnitChange::KeyLost {
            let text = match (own, is_station(principal)) {
                (true, _) => "the unit's own station says that its key is lost",
                (false, true) => "a station says that another station's device lost its key",
                (false, false) => return,
            };
            // What a restore forgot excuses neither.
            return self.findings.breach(FindingKind::Station, case.place, text);
        }
        let text = match event.change {
            UnitChange::Lost => return,
            UnitChange::Issued | UnitChange::Released if !own => {
                "another station than the unit's, without a hand-over"
            }
            _ if is_station(principal) && !own => {
                "another station than the unit's, without a hand-over"
            }
            _ => return,
        };
        if !own && self.is_forgotten(case.place.node, (record.incarnation, record.row)) {
            // The restore has forgotten that the unit was handed over.
            record.station = station_of(principal);
            let text = "the station that had the unit at the backup";
            return self.findings.note(FindingKind::Restore, case.place, text);
        }
        self.findings.breach(FindingKind::Station, case.place, text);
    }

    /// An operator gives a unit to another station.
    pub(super) fn handed_over(
        &mut self,
        place: Place<'_>,
        row: &Row,
        unit: u64,
        station: &str,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        let entitlement = place.entitlement.unwrap_or_default().to_owned();
        let unit = UnitRef { entitlement, unit };
        let record = world.register.unit(&unit)?.filter(|record| record.site == self.site);
        let Some(mut record) = record.filter(|_| station.len() <= SPIFFE_BYTES_MAX) else {
            let text = "a unit that was never drawn is handed over, or to nobody";
            self.findings.breach(FindingKind::Station, place, text);
            return Ok(());
        };
        station.clone_into(&mut record.station);
        place.node.clone_into(&mut record.node);
        record.incarnation = self.state.nodes.get(place.node).map_or(0, |node| node.incarnation);
        record.row = row.sequence;
        world.register.put_unit(&unit, &record)
    }

    /// A batch revokes certificates of failed devices alone, and takes no revocation back.
    pub(super) fn crl_issued(
        &mut self,
        place: Place<'_>,
        number: u64,
        revoked: u64,
        orders: &Orders,
    ) {
        let grant = orders.grants.get(place.entitlement.unwrap_or_default());
        let certificates = grant.map_or(0, |grant| grant.terms.certificates_per_unit);
        let state = self.state.entitlements.get_mut(place.entitlement.unwrap_or_default());
        let Some(state) = state else {
            let text = "revoked certificates of what was never imported";
            return self.findings.breach(FindingKind::RevocationList, place, text);
        };
        let counters = state.counters();
        let failed = counters.failed.saturating_add(counters.scrapped);
        let failed = failed.saturating_mul(certificates.into());
        let (last, listed) = state.crl;
        if number <= last || revoked < listed || revoked > failed {
            let text = format!("list {number} of {revoked} certificates, after {last} of {listed}");
            self.findings.breach(FindingKind::RevocationList, place, text);
        }
        state.crl = (number.max(last), revoked);
    }

    /// Draws a unit: every limit holds, and subject and serial are nobody else's.
    fn draw(&mut self, case: &Case<'_>, world: &mut World<'_>) -> Result<UnitRecord, Unavailable> {
        let (event, product) = (case.event, &case.grant.product);
        self.judge_draw_time(case);
        self.judge_closed_draw(case.place, world.orders);
        if !product.lists(&event.subject) {
            let text = format!("subject {} is not on the grant's list", event.subject);
            self.findings.breach(FindingKind::Subject, case.place, text);
        }
        let sound = event
            .serial
            .as_ref()
            .is_some_and(|serial| product.serial.accepts_for(event.unit, serial));
        if !sound {
            let text = "the serial number is missing or against the rule";
            self.findings.breach(FindingKind::Serial, case.place, text);
        }
        let index = Index::Subject { product: &product.id, subject: &event.subject };
        self.claim(case, &index, "subject", world)?;
        if let Some(serial) = event.serial.as_ref().filter(|_| sound) {
            let index = Index::Serial { product: &product.id, serial };
            self.claim(case, &index, "serial number", world)?;
        }
        Ok(UnitRecord::drawn(case, &self.site))
    }

    fn judge_draw_time(&mut self, case: &Case<'_>) {
        let body = &case.row.body;
        let node = self.state.nodes.entry(case.place.node.to_owned()).or_default();
        let at = node.served.at(body.monotonic_ms);
        let state = self.state.entitlements.entry(case.event.entitlement.clone()).or_default();
        let before = state.was_decided_before(body.time_ms);
        let late = body.time_ms > state.not_after && !before;
        if body.time_ms < case.grant.terms.not_before || late {
            let text = "reserved outside of the window";
            self.findings.breach(FindingKind::Window, case.place, text);
        }
        if (state.revoked || state.closed) && !before {
            let text = "reserved after the entitlement had ended";
            self.findings.breach(FindingKind::Window, case.place, text);
        }
        if body.clock_suspect {
            let text = "reserved while the clock was suspect";
            self.findings.hold(FindingKind::Window, case.place, text);
        }
        state.reserved_in_bundle += 1;
        self.histogram.count(body.time_ms, |minute| minute.reserved += 1);
        let ledger = state.ledgers.entry(case.place.node.to_owned()).or_default();
        for exceeded in ledger.count_draw(&case.grant.terms, at) {
            self.findings.breach(FindingKind::Rate, case.place, exceeded);
        }
    }

    fn judge_change(
        &mut self,
        case: &Case<'_>,
        record: &mut UnitRecord,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        let time_ms = case.row.body.time_ms;
        match case.event.change {
            UnitChange::Reserved | UnitChange::Returned | UnitChange::Lost => {}
            UnitChange::Issued => {
                self.judge_release(case);
                self.judge_certificate(case, record, world)?;
            }
            UnitChange::Recertified => {
                self.judge_release(case);
                if case.event.key_hash != record.key_hash {
                    let text = "a further certificate for another key than the unit's";
                    self.findings.breach(FindingKind::Certificate, case.place, text);
                }
                self.judge_certificate(case, record, world)?;
            }
            UnitChange::Released => {
                self.judge_release(case);
                self.histogram.count(time_ms, |minute| minute.retries += 1);
                self.entitlement(case).retries += 1;
            }
            UnitChange::Confirmed => {
                record.proved = self.judge_proof(case, record, world);
                self.histogram.count(time_ms, |minute| minute.confirmed += 1);
            }
            UnitChange::AttemptFailed => {
                record.attempts = record.attempts.saturating_add(1);
                self.entitlement(case).attempts_failed += 1;
                if record.attempts > case.grant.terms.max_attempts_per_subject {
                    let text = format!("attempt {} of the subject", record.attempts);
                    self.findings.breach(FindingKind::Limit, case.place, text);
                }
            }
            UnitChange::Failed | UnitChange::KeyLost => {
                record.key_lost = case.event.change == UnitChange::KeyLost;
                self.histogram.count(time_ms, |minute| minute.rejected += 1);
            }
            UnitChange::Scrapped => {
                self.histogram.count(time_ms, |minute| minute.rejected += 1);
                self.judge_scrap(case);
            }
        }
        Ok(())
    }

    /// An identity is released within the window and its grace time, and never after revocation.
    fn judge_release(&mut self, case: &Case<'_>) {
        let state = self.entitlement(case);
        let grace_ms = case.grant.terms.grace_seconds.saturating_mul(1000);
        let time_ms = case.row.body.time_ms;
        let late = time_ms > state.not_after.saturating_add(grace_ms);
        if (late || state.revoked) && !state.was_decided_before(time_ms) {
            let text = "released after the entitlement had ended";
            self.findings.breach(FindingKind::Window, case.place, text);
        }
    }

    /// Scrap beyond the allowance needs approvals in the same call.
    fn judge_scrap(&mut self, case: &Case<'_>) {
        let node = self.state.nodes.entry(case.place.node.to_owned()).or_default();
        let approved = node.is_approved(case.row, "scrap");
        let state = self.entitlement(case);
        state.scrapped += 1;
        if let Some(counters) = case.row.counters.filter(|_| state.set_back) {
            // The site counts from its backup on.
            state.scrapped = counters.scrapped;
        }
        if state.scrapped > case.grant.terms.scrap_allowance && !approved {
            let text = "more scrap than allowed, without approval";
            self.findings.breach(FindingKind::Scrap, case.place, text);
        }
    }

    fn move_unit(&mut self, case: &Case<'_>, to: UnitState) {
        if case.from == Some(to) {
            // A repeated release changes no counter; where the row has them, they still agree.
            if case.row.counters.is_some() {
                self.change(case.place, case.row, |_| Some(()));
            }
            return;
        }
        self.change(case.place, case.row, |counters| {
            counters.move_unit(case.from, to).then_some(())
        });
        let max = case.grant.terms.max_in_doubt;
        let counters = self.entitlement(case).counters();
        if case.from.is_none() && counters.in_doubt() > max {
            let text = format!("{} units in doubt of {max}", counters.in_doubt());
            self.findings.breach(FindingKind::Limit, case.place, text);
        }
    }

    fn entitlement(&mut self, case: &Case<'_>) -> &mut EntitlementState {
        self.state.entitlements.entry(case.event.entitlement.clone()).or_default()
    }

    fn adopt_ledger(&mut self, place: Place<'_>) {
        let state = self.state.entitlements.get_mut(place.entitlement.unwrap_or_default());
        if let Some(ledger) = state.and_then(|state| state.ledgers.get_mut(place.node)) {
            ledger.adopt = true;
        }
    }
}

impl NodeLedger {
    /// Counts a draw under every rate; says which are exceeded.
    fn count_draw(&mut self, terms: &Terms, at: u64) -> Vec<String> {
        self.drawn = self.drawn.saturating_add(1);
        self.rates.resize_with(terms.rates.len(), Default::default);
        let mut exceeded = Vec::new();
        for (rate, meter) in terms.rates.iter().zip(&mut self.rates) {
            if meter.count(rate, at) {
                exceeded.push(format!("more than {} in {} s", rate.units, rate.per_seconds));
            }
        }
        exceeded
    }
}

impl UnitRecord {
    fn drawn(case: &Case<'_>, site: &str) -> Self {
        Self {
            site: site.to_owned(),
            product: case.grant.product.id.clone(),
            state: UnitState::Reserved,
            node: case.place.node.to_owned(),
            incarnation: 0,
            row: 0,
            drawn: (0, 0),
            changed: (0, 0),
            time_ms: 0,
            subject: case.event.subject.clone(),
            serial: case.event.serial.clone(),
            certificate_hash: None,
            key_hash: None,
            certificate_serial: None,
            certificates: 0,
            station: station_of(&case.row.body.principal),
            attempts: 0,
            key_lost: false,
            proved: false,
        }
    }

    fn update(&mut self, case: &Case<'_>, incarnation: u64, to: UnitState) {
        let event = case.event;
        if case.from != Some(to) {
            self.changed = (incarnation, case.row.sequence);
        }
        self.state = to;
        self.incarnation = incarnation;
        case.place.node.clone_into(&mut self.node);
        if case.from.is_none() {
            self.drawn = (incarnation, case.row.sequence);
        }
        self.row = case.row.sequence;
        self.time_ms = case.row.body.time_ms;
        self.key_hash = self.key_hash.or(event.key_hash);
        self.certificate_hash = self.certificate_hash.or(event.certificate_hash);
        if self.certificate_serial.is_none() {
            self.certificate_serial.clone_from(&event.certificate_serial);
        }
    }
}

/// Who has a unit; nobody where that is no name.
fn station_of(principal: &str) -> String {
    let named = principal.len() <= SPIFFE_BYTES_MAX;
    if named { principal.to_owned() } else { String::new() }
}

/// True for a tester program's SPIFFE URI: `spiffe://<organisation>/<cluster>/station/<name>`.
fn is_station(principal: &str) -> bool {
    principal.rsplit('/').nth(1) == Some("station")
}

/// True if the register already knows this row.
fn is_known(before: &UnitRecord, ledger: (&str, u64), row: &Row) -> bool {
    (before.node.as_str(), before.incarnation) == ledger && before.row >= row.sequence
}
