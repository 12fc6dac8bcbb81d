//! Allotments, units, and certificates.

use mintmark_custody as custody;
use mintmark_custody::{OpenAllotment, OpenKey, OpenUnit, VerifiedCsr};
use mintmark_model as model;
use mintmark_sdk::allotments::{
    Allotment, AllotmentState, AllotmentStatus, Artefact, Counters, DeviceProof, Failure, Fields,
    RevocationFile, SealedKey, Unit, UnitState, UnitStatus,
};
use mintmark_sdk::backend::{AllotmentHandle, Allotments, Certificates, CsrHandle, UnitHandle};
use mintmark_sdk::certificates::Csr;
use mintmark_sdk::keys::{Algorithm, Key, Recipients};
use mintmark_sdk::{Digest, Error};

use super::keys::recipients;
use super::{Held, HostBackend, foreign};

impl Allotments for HostBackend {
    fn open(&self, name: &str) -> Result<Allotment, Error> {
        let allotment = self.ask(async |call| call.open_allotment(name).await)?;
        Ok(Allotment::from_handle(self.held(allotment)))
    }

    fn names(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        self.ask(async |call| call.allotment_names(after, limit).await)
    }
}

impl AllotmentHandle for Held<OpenAllotment> {
    fn status(&self) -> Result<AllotmentStatus, Error> {
        let status = self.host.ask(async |call| call.allotment_status(&self.open).await)?;
        Ok(AllotmentStatus {
            grant: status.grant,
            state: allotment_state(status.state),
            counters: counters(status.counters),
            since_receipt: status.since_receipt,
            receipt_due: status.receipt_due,
            not_after: status.not_after,
            limit: status.limit,
        })
    }

    fn draw(&self, subject: &str, serial: Option<&str>) -> Result<Unit, Error> {
        let unit = self.host.ask(async |call| call.draw(&self.open, subject, serial).await)?;
        Ok(Unit::from_handle(self.host.held(unit)))
    }

    fn find(&self, subject: &str) -> Result<Unit, Error> {
        let unit = self.host.ask(async |call| call.find_unit(&self.open, subject).await)?;
        Ok(Unit::from_handle(self.host.held(unit)))
    }

    fn scan(&self, start: u64, limit: u32) -> Result<Vec<UnitStatus>, Error> {
        let units = self.host.ask(async |call| call.scan_units(&self.open, start, limit).await)?;
        Ok(units.into_iter().map(unit_status).collect())
    }

    fn revocation_list(&self) -> Result<RevocationFile, Error> {
        let made = self.host.ask(async |call| call.revocation_list(&self.open).await)?;
        let custody::RevocationFile { file, digest, number, revoked } = made;
        Ok(RevocationFile { file, digest, number, revoked })
    }
}

impl UnitHandle for Held<OpenUnit> {
    fn status(&self) -> Result<UnitStatus, Error> {
        self.host.ask(async |call| call.unit_status(&self.open).await).map(unit_status)
    }

    fn chain(&self) -> Result<Vec<Vec<u8>>, Error> {
        self.host.ask(async |call| call.unit_chain(&self.open).await)
    }

    fn artefact(&self) -> Result<Option<Artefact>, Error> {
        let found = self.host.ask(async |call| call.unit_artefact(&self.open).await)?;
        Ok(found.map(artefact))
    }

    fn certify_csr(&self, request: &Csr, fields: &Fields) -> Result<Artefact, Error> {
        let csr = csr_of(request)?;
        let ask = self.host.ask(async |call| call.certify_csr(&self.open, csr, fields).await);
        ask.map(artefact)
    }

    fn seal_to_device(&self, request: &Csr, fields: &Fields) -> Result<Artefact, Error> {
        let csr = csr_of(request)?;
        let ask = self.host.ask(async |call| call.seal_to_device(&self.open, csr, fields).await);
        ask.map(artefact)
    }

    fn seal_to_station(&self, fields: &Fields) -> Result<Artefact, Error> {
        let ask = self.host.ask(async |call| call.seal_to_station(&self.open, fields).await);
        ask.map(artefact)
    }

    fn confirm(&self, proof: Option<&DeviceProof>) -> Result<UnitStatus, Error> {
        let proof = proof.map(|proof| proof.signature.as_slice());
        self.host.ask(async |call| call.confirm(&self.open, proof).await).map(unit_status)
    }

    fn fail(&self, kind: Failure, detail: &str) -> Result<UnitStatus, Error> {
        let kind = match kind {
            Failure::Transient => custody::Failure::Transient,
            Failure::Permanent => custody::Failure::Permanent,
            Failure::KeyLost => custody::Failure::KeyLost,
        };
        self.host.ask(async |call| call.fail(&self.open, kind, detail).await).map(unit_status)
    }

    fn scrap(&self, reason: &str) -> Result<UnitStatus, Error> {
        self.host.ask(async |call| call.scrap(&self.open, reason).await).map(unit_status)
    }

    fn give_back(&self, reason: &str) -> Result<UnitStatus, Error> {
        self.host.ask(async |call| call.give_back(&self.open, reason).await).map(unit_status)
    }

    fn hand_over(&self, station: &str) -> Result<UnitStatus, Error> {
        self.host.ask(async |call| call.hand_over(&self.open, station).await).map(unit_status)
    }

    fn recertify(&self, ordinal: u16, fields: &Fields) -> Result<Artefact, Error> {
        let ask = self.host.ask(async |call| call.recertify(&self.open, ordinal, fields).await);
        ask.map(artefact)
    }
}

impl Certificates for HostBackend {
    fn read_csr(&self, request: &[u8]) -> Result<Csr, Error> {
        let csr = self.ask(async |call| call.read_csr(request))?;
        Ok(Csr::from_handle(self.held(csr)))
    }

    fn create_product_ca(
        &self,
        name: &str,
        organization: &str,
        product: &str,
    ) -> Result<Key, Error> {
        let key =
            self.ask(async |call| call.create_product_ca(name, organization, product).await)?;
        Ok(Key::from_handle(self.held(key)))
    }

    fn create_batch_key(&self, name: &str, receivers: &Recipients) -> Result<Key, Error> {
        let key =
            self.ask(async |call| call.create_batch_key(name, recipients(receivers)?).await)?;
        Ok(Key::from_handle(self.held(key)))
    }

    fn chain(&self, ca: &Key) -> Result<Vec<Vec<u8>>, Error> {
        let ca = key_of(ca)?;
        self.ask(async |call| call.ca_chain(ca).await)
    }

    fn allotment_chain(&self, allotment: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.ask(async |call| call.allotment_chain(allotment).await)
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Error> {
        self.ask(async |call| Ok(call.verify_signature(public_key, message, signature)))
    }
}

impl CsrHandle for Held<VerifiedCsr> {
    fn public_key(&self) -> Vec<u8> {
        self.open.public_key_info().to_vec()
    }

    fn key_hash(&self) -> Digest {
        self.open.key_hash()
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::named(self.open.algorithm().name())
    }

    fn subject_serial(&self) -> Option<String> {
        self.open.subject_serial().map(str::to_owned)
    }
}

/// The key behind a wrapper.
pub(super) fn key_of(key: &Key) -> Result<&OpenKey, Error> {
    key.backing::<Held<OpenKey>>().map(|held| &held.open).ok_or_else(foreign)
}

fn csr_of(csr: &Csr) -> Result<&VerifiedCsr, Error> {
    csr.backing::<Held<VerifiedCsr>>().map(|held| &held.open).ok_or_else(foreign)
}

fn allotment_state(state: custody::AllotmentState) -> AllotmentState {
    match state {
        custody::AllotmentState::Active => AllotmentState::Active,
        custody::AllotmentState::Paused => AllotmentState::Paused,
        custody::AllotmentState::Exhausted => AllotmentState::Exhausted,
        custody::AllotmentState::Revoked => AllotmentState::Revoked,
        custody::AllotmentState::Closed => AllotmentState::Closed,
    }
}

fn counters(counters: model::Counters) -> Counters {
    Counters {
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

fn unit_status(status: custody::UnitStatus) -> UnitStatus {
    UnitStatus {
        number: status.number,
        subject: status.subject,
        serial: status.serial,
        state: match status.state {
            model::UnitState::Reserved => UnitState::Reserved,
            model::UnitState::Issued => UnitState::Issued,
            model::UnitState::Confirmed => UnitState::Confirmed,
            model::UnitState::Failed => UnitState::Failed,
            model::UnitState::Scrapped => UnitState::Scrapped,
            model::UnitState::Returned => UnitState::Returned,
            model::UnitState::Lost => UnitState::Lost,
        },
        attempts: status.attempts,
        key_hash: status.key_hash,
        certificate_hash: status.certificate_hash,
        certificates: status.certificates,
        station: status.station,
        reserved_at: status.reserved_at,
        changed_at: status.changed_at,
    }
}

fn artefact(artefact: custody::Artefact) -> Artefact {
    Artefact {
        public_key: artefact.public_key,
        certificate: artefact.certificate,
        sealed_key: artefact.sealed_key.map(|sealed| SealedKey {
            suite: sealed.suite,
            encapsulated_key: sealed.encapsulated_key,
            ciphertext: sealed.ciphertext,
        }),
        confirm_nonce: artefact.confirm_nonce.to_vec(),
    }
}
