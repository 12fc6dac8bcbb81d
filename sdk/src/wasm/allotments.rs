//! Allotments and units.

use super::{Host, digest};
use crate::{
    allotments::{
        self, AllotmentState, AllotmentStatus, Artefact, Counters, DeviceProof, Failure, Fields,
        RevocationFile, SealedKey, UnitState, UnitStatus,
    },
    backend,
    bindings::mintmark::host::allotments as wit,
    certificates::Csr,
    error::Error,
};

/// An allotment of the host.
pub(crate) struct Allotment(wit::Allotment);

/// A unit of the host.
pub(crate) struct Unit(wit::Unit);

impl backend::Allotments for Host {
    fn open(&self, name: &str) -> Result<allotments::Allotment, Error> {
        Ok(allotments::Allotment::new(Allotment(wit::open(name)?)))
    }

    fn names(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        Ok(wit::names(after, limit)?)
    }
}

impl backend::AllotmentHandle for Allotment {
    fn status(&self) -> Result<AllotmentStatus, Error> {
        Ok(self.0.status()?.into())
    }

    fn draw(&self, subject: &str, serial: Option<&str>) -> Result<allotments::Unit, Error> {
        Ok(allotments::Unit::new(Unit(self.0.draw(subject, serial)?)))
    }

    fn find(&self, subject: &str) -> Result<allotments::Unit, Error> {
        Ok(allotments::Unit::new(Unit(self.0.find(subject)?)))
    }

    fn scan(&self, start: u64, limit: u32) -> Result<Vec<UnitStatus>, Error> {
        Ok(self.0.scan(start, limit)?.into_iter().map(Into::into).collect())
    }

    fn revocation_list(&self) -> Result<RevocationFile, Error> {
        let wit::RevocationFile { file, digest: hash, number, revoked } =
            self.0.revocation_list()?;
        Ok(RevocationFile { file, digest: digest(hash), number, revoked })
    }
}

impl backend::UnitHandle for Unit {
    fn status(&self) -> Result<UnitStatus, Error> {
        Ok(self.0.status()?.into())
    }

    fn chain(&self) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.0.chain()?)
    }

    fn artefact(&self) -> Result<Option<Artefact>, Error> {
        Ok(self.0.artefact()?.map(Into::into))
    }

    fn certify_csr(&self, request: &Csr, fields: &Fields) -> Result<Artefact, Error> {
        Ok(self.0.certify_csr(&request.handle.0, fields)?.into())
    }

    fn seal_to_device(&self, request: &Csr, fields: &Fields) -> Result<Artefact, Error> {
        Ok(self.0.seal_to_device(&request.handle.0, fields)?.into())
    }

    fn seal_to_station(&self, fields: &Fields) -> Result<Artefact, Error> {
        Ok(self.0.seal_to_station(fields)?.into())
    }

    fn confirm(&self, proof: Option<&DeviceProof>) -> Result<UnitStatus, Error> {
        let proof = proof.map(|proof| wit::DeviceProof { signature: proof.signature.clone() });
        Ok(self.0.confirm(proof.as_ref())?.into())
    }

    fn fail(&self, kind: Failure, detail: &str) -> Result<UnitStatus, Error> {
        let kind = match kind {
            Failure::Transient => wit::Failure::Transient,
            Failure::Permanent => wit::Failure::Permanent,
            Failure::KeyLost => wit::Failure::KeyLost,
        };
        Ok(self.0.fail(kind, detail)?.into())
    }

    fn scrap(&self, reason: &str) -> Result<UnitStatus, Error> {
        Ok(self.0.scrap(reason)?.into())
    }

    fn give_back(&self, reason: &str) -> Result<UnitStatus, Error> {
        Ok(self.0.give_back(reason)?.into())
    }

    fn hand_over(&self, station: &str) -> Result<UnitStatus, Error> {
        Ok(self.0.hand_over(station)?.into())
    }

    fn recertify(&self, ordinal: u16, fields: &Fields) -> Result<Artefact, Error> {
        Ok(self.0.recertify(ordinal, fields)?.into())
    }
}

impl From<wit::AllotmentStatus> for AllotmentStatus {
    fn from(status: wit::AllotmentStatus) -> Self {
        let state = match status.state {
            wit::AllotmentState::Active => AllotmentState::Active,
            wit::AllotmentState::Paused => AllotmentState::Paused,
            wit::AllotmentState::Exhausted => AllotmentState::Exhausted,
            wit::AllotmentState::Revoked => AllotmentState::Revoked,
            wit::AllotmentState::Closed => AllotmentState::Closed,
        };
        Self {
            grant: status.grant,
            state,
            counters: status.counters.into(),
            since_receipt: status.since_receipt,
            receipt_due: status.receipt_due,
            not_after: status.not_after,
            limit: status.limit,
        }
    }
}

impl From<wit::Counters> for Counters {
    fn from(counters: wit::Counters) -> Self {
        let wit::Counters {
            credited,
            unused,
            reserved,
            issued,
            confirmed,
            failed,
            scrapped,
            returned,
            lost,
            destroyed,
        } = counters;
        Self {
            credited,
            unused,
            reserved,
            issued,
            confirmed,
            failed,
            scrapped,
            returned,
            lost,
            destroyed,
        }
    }
}

impl From<wit::UnitStatus> for UnitStatus {
    fn from(status: wit::UnitStatus) -> Self {
        let state = match status.state {
            wit::UnitState::Reserved => UnitState::Reserved,
            wit::UnitState::Issued => UnitState::Issued,
            wit::UnitState::Confirmed => UnitState::Confirmed,
            wit::UnitState::Failed => UnitState::Failed,
            wit::UnitState::Scrapped => UnitState::Scrapped,
            wit::UnitState::Returned => UnitState::Returned,
            wit::UnitState::Lost => UnitState::Lost,
        };
        Self {
            number: status.number,
            subject: status.subject,
            serial: status.serial,
            state,
            attempts: status.attempts,
            key_hash: status.key_hash.map(digest),
            certificate_hash: status.certificate_hash.map(digest),
            certificates: status.certificates,
            station: status.station,
            reserved_at: status.reserved_at,
            changed_at: status.changed_at,
        }
    }
}

impl From<wit::Artefact> for Artefact {
    fn from(artefact: wit::Artefact) -> Self {
        let wit::Artefact { public_key, certificate, sealed_key, confirm_nonce } = artefact;
        let sealed_key = sealed_key.map(|sealed| {
            let wit::SealedKey { suite, encapsulated_key, ciphertext } = sealed;
            SealedKey { suite, encapsulated_key, ciphertext }
        });
        Self { public_key, certificate, sealed_key, confirm_nonce }
    }
}
