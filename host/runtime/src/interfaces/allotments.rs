//! `allotments`: bounded rights to provision devices, and their units.

use wasmtime::component::Resource;

use mintmark_custody as custody;
use mintmark_custody::{OpenAllotment, OpenUnit, VerifiedCsr};
use mintmark_model::{Counters, UnitState};

use crate::bindings::mintmark::host::allotments as wit;
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

/// The most entries of a page.
const PAGE_MAX: u32 = 1_000;

/// What a unit counts as in the bytes of a call.
const UNIT_COST_BYTES: usize = 256;

/// The longest proof of a device.
const PROOF_BYTES_MAX: usize = 1 << 10;

impl wit::Host for State {
    async fn open(&mut self, name: String) -> Result<Resource<OpenAllotment>, Failure> {
        bounds::name("name", &name)?;
        let (call, table) = self.enter(name.len())?;
        Ok(table.push(call.open_allotment(&name).await?)?)
    }

    async fn names(&mut self, after: Option<String>, limit: u32) -> Result<Vec<String>, Failure> {
        bounds::text("after", after.as_deref().unwrap_or_default())?;
        bounds::limit("limit", limit, 1, PAGE_MAX)?;
        let (call, _) = self.enter(0)?;
        let names = call.allotment_names(after.as_deref(), limit).await?;
        self.answer(names.iter().map(String::len).sum())?;
        Ok(names)
    }
}

impl wit::HostAllotment for State {
    async fn status(
        &mut self,
        allotment: Resource<OpenAllotment>,
    ) -> Result<wit::AllotmentStatus, Failure> {
        let (call, table) = self.enter(0)?;
        let status = call.allotment_status(table.get(&allotment)?).await?;
        self.answer(status.grant.len())?;
        Ok(allotment_status(status))
    }

    async fn draw(
        &mut self,
        allotment: Resource<OpenAllotment>,
        subject: String,
        serial: Option<String>,
    ) -> Result<Resource<OpenUnit>, Failure> {
        bounds::text("subject", &subject)?;
        bounds::text("serial", serial.as_deref().unwrap_or_default())?;
        let (call, table) = self.enter(subject.len())?;
        let unit = call.draw(table.get(&allotment)?, &subject, serial.as_deref()).await?;
        Ok(table.push(unit)?)
    }

    async fn find(
        &mut self,
        allotment: Resource<OpenAllotment>,
        subject: String,
    ) -> Result<Resource<OpenUnit>, Failure> {
        bounds::text("subject", &subject)?;
        let (call, table) = self.enter(subject.len())?;
        let unit = call.find_unit(table.get(&allotment)?, &subject).await?;
        Ok(table.push(unit)?)
    }

    async fn scan(
        &mut self,
        allotment: Resource<OpenAllotment>,
        start: u64,
        limit: u32,
    ) -> Result<Vec<wit::UnitStatus>, Failure> {
        bounds::limit("limit", limit, 1, PAGE_MAX)?;
        let (call, table) = self.enter(0)?;
        let units = call.scan_units(table.get(&allotment)?, start, limit).await?;
        self.answer(units.len() * UNIT_COST_BYTES)?;
        Ok(units.into_iter().map(unit_status).collect())
    }

    async fn revocation_list(
        &mut self,
        allotment: Resource<OpenAllotment>,
    ) -> Result<wit::RevocationFile, Failure> {
        let (call, table) = self.enter(0)?;
        let made = call.revocation_list(table.get(&allotment)?).await?;
        let custody::RevocationFile { file, digest, number, revoked } = made;
        Ok(wit::RevocationFile { file, digest: digest.into(), number, revoked })
    }

    async fn drop(&mut self, allotment: Resource<OpenAllotment>) -> wasmtime::Result<()> {
        self.enter_table()?.delete(allotment)?;
        Ok(())
    }
}

impl wit::HostUnit for State {
    async fn status(&mut self, unit: Resource<OpenUnit>) -> Result<wit::UnitStatus, Failure> {
        let (call, table) = self.enter(0)?;
        Ok(unit_status(call.unit_status(table.get(&unit)?).await?))
    }

    async fn chain(&mut self, unit: Resource<OpenUnit>) -> Result<Vec<Vec<u8>>, Failure> {
        let (call, table) = self.enter(0)?;
        let chain = call.unit_chain(table.get(&unit)?).await?;
        self.answer(chain.iter().map(Vec::len).sum())?;
        Ok(chain)
    }

    async fn artefact(
        &mut self,
        unit: Resource<OpenUnit>,
    ) -> Result<Option<wit::Artefact>, Failure> {
        let (call, table) = self.enter(0)?;
        Ok(call.unit_artefact(table.get(&unit)?).await?.map(artefact))
    }

    async fn certify_csr(
        &mut self,
        unit: Resource<OpenUnit>,
        request: Resource<VerifiedCsr>,
        fields: Vec<(String, String)>,
    ) -> Result<wit::Artefact, Failure> {
        bounds::pairs("fields", &fields)?;
        let (call, table) = self.enter(0)?;
        let (unit, request) = (table.get(&unit)?, table.get(&request)?);
        Ok(artefact(call.certify_csr(unit, request, &fields).await?))
    }

    async fn seal_to_device(
        &mut self,
        unit: Resource<OpenUnit>,
        request: Resource<VerifiedCsr>,
        fields: Vec<(String, String)>,
    ) -> Result<wit::Artefact, Failure> {
        bounds::pairs("fields", &fields)?;
        let (call, table) = self.enter(0)?;
        let (unit, request) = (table.get(&unit)?, table.get(&request)?);
        Ok(artefact(call.seal_to_device(unit, request, &fields).await?))
    }

    async fn seal_to_station(
        &mut self,
        unit: Resource<OpenUnit>,
        fields: Vec<(String, String)>,
    ) -> Result<wit::Artefact, Failure> {
        bounds::pairs("fields", &fields)?;
        let (call, table) = self.enter(0)?;
        Ok(artefact(call.seal_to_station(table.get(&unit)?, &fields).await?))
    }

    async fn confirm(
        &mut self,
        unit: Resource<OpenUnit>,
        proof: Option<wit::DeviceProof>,
    ) -> Result<wit::UnitStatus, Failure> {
        let proof = proof.map(|proof| proof.signature);
        bounds::bytes_up_to("proof", proof.as_deref().unwrap_or_default(), PROOF_BYTES_MAX)?;
        let (call, table) = self.enter(0)?;
        Ok(unit_status(call.confirm(table.get(&unit)?, proof.as_deref()).await?))
    }

    async fn fail(
        &mut self,
        unit: Resource<OpenUnit>,
        kind: wit::Failure,
        detail: String,
    ) -> Result<wit::UnitStatus, Failure> {
        bounds::text("detail", &detail)?;
        let kind = match kind {
            wit::Failure::Transient => custody::Failure::Transient,
            wit::Failure::Permanent => custody::Failure::Permanent,
            wit::Failure::KeyLost => custody::Failure::KeyLost,
        };
        let (call, table) = self.enter(detail.len())?;
        Ok(unit_status(call.fail(table.get(&unit)?, kind, &detail).await?))
    }

    async fn scrap(
        &mut self,
        unit: Resource<OpenUnit>,
        reason: String,
    ) -> Result<wit::UnitStatus, Failure> {
        bounds::text("reason", &reason)?;
        let (call, table) = self.enter(reason.len())?;
        Ok(unit_status(call.scrap(table.get(&unit)?, &reason).await?))
    }

    async fn give_back(
        &mut self,
        unit: Resource<OpenUnit>,
        reason: String,
    ) -> Result<wit::UnitStatus, Failure> {
        bounds::text("reason", &reason)?;
        let (call, table) = self.enter(reason.len())?;
        Ok(unit_status(call.give_back(table.get(&unit)?, &reason).await?))
    }

    async fn hand_over(
        &mut self,
        unit: Resource<OpenUnit>,
        station: String,
    ) -> Result<wit::UnitStatus, Failure> {
        bounds::name("station", &station)?;
        let (call, table) = self.enter(station.len())?;
        Ok(unit_status(call.hand_over(table.get(&unit)?, &station).await?))
    }

    async fn recertify(
        &mut self,
        unit: Resource<OpenUnit>,
        ordinal: u16,
        fields: Vec<(String, String)>,
    ) -> Result<wit::Artefact, Failure> {
        bounds::pairs("fields", &fields)?;
        let (call, table) = self.enter(0)?;
        Ok(artefact(call.recertify(table.get(&unit)?, ordinal, &fields).await?))
    }

    async fn drop(&mut self, unit: Resource<OpenUnit>) -> wasmtime::Result<()> {
        self.enter_table()?.delete(unit)?;
        Ok(())
    }
}

fn allotment_status(status: custody::AllotmentStatus) -> wit::AllotmentStatus {
    wit::AllotmentStatus {
        grant: status.grant,
        state: match status.state {
            custody::AllotmentState::Active => wit::AllotmentState::Active,
            custody::AllotmentState::Paused => wit::AllotmentState::Paused,
            custody::AllotmentState::Exhausted => wit::AllotmentState::Exhausted,
            custody::AllotmentState::Revoked => wit::AllotmentState::Revoked,
            custody::AllotmentState::Closed => wit::AllotmentState::Closed,
        },
        counters: counters(status.counters),
        since_receipt: status.since_receipt,
        receipt_due: status.receipt_due,
        not_after: status.not_after,
        limit: status.limit,
    }
}

const fn counters(counters: Counters) -> wit::Counters {
    wit::Counters {
        credited: counters.credited,
        unused: counters.unused,
        reserved: counters.reserved,
        issued: counters.issued,
        confirmed: counters.confirmed,
        failed: counters.failed,
        scrapped: counters.scrapped,
        returned: counters.returned,
        lost: counters.lost,
        destroyed: counters.destroyed,
    }
}

fn unit_status(status: custody::UnitStatus) -> wit::UnitStatus {
    wit::UnitStatus {
        number: status.number,
        subject: status.subject,
        serial: status.serial,
        state: unit_state(status.state),
        attempts: status.attempts,
        key_hash: status.key_hash.map(Vec::from),
        certificate_hash: status.certificate_hash.map(Vec::from),
        certificates: status.certificates,
        station: status.station,
        reserved_at: status.reserved_at,
        changed_at: status.changed_at,
    }
}

const fn unit_state(state: UnitState) -> wit::UnitState {
    match state {
        UnitState::Reserved => wit::UnitState::Reserved,
        UnitState::Issued => wit::UnitState::Issued,
        UnitState::Confirmed => wit::UnitState::Confirmed,
        UnitState::Failed => wit::UnitState::Failed,
        UnitState::Scrapped => wit::UnitState::Scrapped,
        UnitState::Returned => wit::UnitState::Returned,
        UnitState::Lost => wit::UnitState::Lost,
    }
}

fn artefact(artefact: custody::Artefact) -> wit::Artefact {
    wit::Artefact {
        public_key: artefact.public_key,
        certificate: artefact.certificate,
        sealed_key: artefact.sealed_key.map(|sealed| wit::SealedKey {
            suite: sealed.suite,
            encapsulated_key: sealed.encapsulated_key,
            ciphertext: sealed.ciphertext,
        }),
        confirm_nonce: artefact.confirm_nonce.to_vec(),
    }
}
