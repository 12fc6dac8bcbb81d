//! How a unit ends: confirmed, failed, scrapped, or given back.
//!
//! Each of these is taken at any time: also when the entitlement has expired, was closed or
//! revoked, and when the clock cannot be relied on. Nothing is released by it.

use mintmark_crypto::digest::sha256;
use mintmark_exchange::approval::Act;
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::proof::{DeviceProof, confirm_bytes};
use mintmark_exchange::row::Event;
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Counters, Reason, Refusal, Role, UnitState};
use mintmark_pki::RevocationReason;

use super::{OpenUnit, issuing::attempts_exhausted, status, work::UnitWork};
use crate::call::Call;
use crate::disk::allotment::{ArtefactRecord, KeptRecord};
use crate::pending::PendingRow;
use crate::tables;
use crate::types::{Failure, UnitStatus};

/// The longest reason or detail in bytes.
const DETAIL_BYTES_MAX: usize = 256;

impl Call {
    /// issued → confirmed. Confirming twice changes nothing.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE`; `PROOF_INVALID`, also for a missing proof where the terms require one.
    pub async fn confirm(
        &mut self,
        unit: &OpenUnit,
        proof: Option<&[u8]>,
    ) -> Result<UnitStatus, Refusal> {
        let wanted = unit.grant.terms.confirm_proof;
        let now = self.now_ms();
        self.check_own_unit(unit).await?;
        let work = self.work(unit).await?;
        if work.now.state() == UnitState::Confirmed {
            // Said already; a repetition needs no proof.
            return Ok(status(unit.number, &work.now));
        }
        let artefact = work.now.artefact.as_ref().filter(|_| work.now.state() == UnitState::Issued);
        let kept = artefact.and_then(|artefact| Some((artefact, artefact.kept.as_ref()?)));
        let Some((artefact, kept)) = kept else { return Err(wrong_state(work, "confirmed")) };
        let proof = match (wanted, proof) {
            (ConfirmProof::None, _) | (ConfirmProof::Optional, None) => None,
            (ConfirmProof::Required, None) => {
                let detail = "The terms require the device's proof.";
                return Err(Refusal::new(Reason::ProofInvalid, detail));
            }
            (_, Some(signature)) => Some(check_proof(unit, artefact, kept, signature)?),
        };
        self.end(unit, UnitState::Confirmed, UnitChange::Confirmed, "", now, proof).await
    }

    /// Counts an attempt; a permanent failure spends the unit, and only a lost key gives the device
    /// another one, where the terms allow it. A failure that is final and was said already changes
    /// nothing.
    ///
    /// Only what is reported is an attempt: a refused or faulted call has released nothing, and
    /// anybody could use up a device's attempts with calls that are refused. Those are counted in
    /// the rows about outcomes.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE`; `ATTEMPTS_EXHAUSTED`; `PERMISSION_DENIED` for a lost key that a station
    /// reports, or who had the unit, and for any other failure that another station reports.
    pub async fn fail(
        &mut self,
        unit: &OpenUnit,
        failure: Failure,
        detail: &str,
    ) -> Result<UnitStatus, Refusal> {
        check_detail(detail)?;
        match failure {
            Failure::Transient | Failure::Permanent => self.check_own_unit(unit).await?,
            Failure::KeyLost => self.check_second(unit).await?,
        }
        let most = unit.grant.terms.max_attempts_per_subject;
        let now = self.now_ms();
        let work = self.work(unit).await?;
        if failure != Failure::Transient {
            let lost = failure == Failure::KeyLost;
            if work.now.state() == UnitState::Failed && (work.now.key_lost || !lost) {
                return Ok(status(unit.number, &work.now));
            }
            let (change, reason) = match lost {
                true => (UnitChange::KeyLost, RevocationReason::KeyCompromise),
                false => (UnitChange::Failed, RevocationReason::CessationOfOperation),
            };
            let failed = self.end(unit, UnitState::Failed, change, detail, now, None).await?;
            self.work(unit).await?.now.key_lost = lost;
            let revoked = self.revoke(unit, reason).await;
            return self.whole(revoked).map(|()| failed);
        }
        if work.now.state() != UnitState::Issued {
            return Err(wrong_state(work, "tried again"));
        }
        if work.now.attempts >= most {
            return Err(attempts_exhausted(most));
        }
        work.now.attempts += 1;
        work.now.changed_at = now;
        let row = work.row(UnitChange::AttemptFailed, &escaped(detail));
        let answer = status(unit.number, &work.now);
        self.rows.push(row);
        Ok(answer)
    }

    /// issued, confirmed or failed → scrapped.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE`; `APPROVAL_REQUIRED` beyond the allowance of the terms.
    pub async fn scrap(&mut self, unit: &OpenUnit, reason: &str) -> Result<UnitStatus, Refusal> {
        check_detail(reason)?;
        if reason.is_empty() {
            return Err(Refusal::invalid("Scrapping needs a reason."));
        }
        if !self.session.principal.role.is_person() {
            return Err(Refusal::denied("Only a person can scrap a device."));
        }
        let now = self.now_ms();
        let work = self.work(unit).await?;
        if work.now.state() == UnitState::Scrapped {
            return Ok(status(unit.number, &work.now));
        }
        if !work.now.state().may_become(UnitState::Scrapped) {
            return Err(wrong_state(work, "scrapped"));
        }
        if self.scrapped(&unit.grant.entitlement).await? >= unit.grant.terms.scrap_allowance {
            let act = Act::Scrap {
                entitlement: unit.grant.entitlement.clone(),
                unit: unit.number,
                subject: self.work(unit).await?.now.subject.clone(),
            };
            self.require_approvals(&act).await?;
            self.work(unit).await?.approved = true;
        }
        let scrapped = UnitState::Scrapped;
        let change = UnitChange::Scrapped;
        let status = self.end(unit, scrapped, change, reason, now, None).await?;
        let revoked = self.revoke(unit, RevocationReason::CessationOfOperation).await;
        self.whole(revoked).map(|()| status)
    }

    /// reserved → returned: nothing was released, and the device may have another unit. Giving it
    /// back twice changes nothing.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE`; `PERMISSION_DENIED` for a program.
    pub async fn give_back(
        &mut self,
        unit: &OpenUnit,
        reason: &str,
    ) -> Result<UnitStatus, Refusal> {
        check_detail(reason)?;
        self.check_operator("give a unit back")?;
        let now = self.now_ms();
        let work = self.work(unit).await?;
        if work.now.state() == UnitState::Returned {
            return Ok(status(unit.number, &work.now));
        }
        self.end(unit, UnitState::Returned, UnitChange::Returned, reason, now, None).await
    }

    /// How many devices of an entitlement are scrapped, this call's included. What others scrap at
    /// the same time is bounded at the commit.
    async fn scrapped(&self, entitlement: &str) -> Result<u64, Refusal> {
        let place = tables::counter(entitlement, Counters::position(UnitState::Scrapped));
        let here = self
            .units
            .values()
            .filter(|work| work.grant.entitlement == entitlement && work.is_scrapped_here());
        Ok(self.view.counter(&place).await?.saturating_add(here.count() as u64))
    }

    /// Some acts are a person's, who runs the line.
    pub(super) fn check_operator(&self, act: &str) -> Result<(), Refusal> {
        match self.session.principal.role {
            Role::Admin | Role::Operator => Ok(()),
            _ => Err(Refusal::denied(format!("Only an operator or an admin can {act}."))),
        }
    }

    /// Two must say that a device lost its key: whoever provisioned it is not believed alone, or
    /// it could make a second device of it. The second is a person: one tester program could spend
    /// and revoke the devices of all others.
    async fn check_second(&mut self, unit: &OpenUnit) -> Result<(), Refusal> {
        if !self.session.principal.role.is_person() {
            return Err(Refusal::denied("Only a person can say that a device lost its key."));
        }
        let caller = self.session.principal.to_string();
        let now = &self.work(unit).await?.now;
        if now.station != caller && !now.earlier_stations.contains(&caller) {
            return Ok(());
        }
        let detail = "Somebody else than who had the unit must say that its key is lost.";
        Err(Refusal::denied(detail))
    }

    async fn end(
        &mut self,
        unit: &OpenUnit,
        next: UnitState,
        change: UnitChange,
        detail: &str,
        now: u64,
        proof: Option<DeviceProof>,
    ) -> Result<UnitStatus, Refusal> {
        let work = self.work(unit).await?;
        if !work.now.move_to(next, now) {
            return Err(wrong_state(work, next.name()));
        }
        // From here on only certificates and hashes are kept. The certificate of a device that made
        // its key and works is released again, with the nonce that was part of the answer.
        if let Some(artefact) = &mut work.now.artefact
            && (artefact.recipient.is_some() || next != UnitState::Confirmed)
        {
            artefact.kept = None;
        }
        let mut row = work.row(change, &escaped(detail));
        add_proof(&mut row, proof);
        let answer = status(unit.number, &work.now);
        self.rows.push(row);
        Ok(answer)
    }
}

/// Checks the device's signature against the key that the unit is pinned to.
fn check_proof(
    unit: &OpenUnit,
    artefact: &ArtefactRecord,
    kept: &KeptRecord,
    signature: &[u8],
) -> Result<DeviceProof, Refusal> {
    let identity = artefact.first_certificate().map_or(artefact.key_hash, sha256);
    let message = confirm_bytes(&unit.grant.entitlement, unit.number, &identity, &kept.nonce);
    mintmark_crypto::sign::verify(&kept.public_key, &message, signature).map_err(|_| {
        Refusal::new(Reason::ProofInvalid, "The device's proof does not hold under its key.")
    })?;
    Ok(DeviceProof {
        public_key: kept.public_key.clone(),
        nonce: kept.nonce,
        signature: signature.to_vec(),
    })
}

fn add_proof(row: &mut PendingRow, proof: Option<DeviceProof>) {
    if let Event::Unit(event) = &mut row.event {
        event.proof = proof;
    }
}

fn wrong_state(work: &UnitWork, wanted: &str) -> Refusal {
    let state = work.now.state().name();
    Refusal::new(Reason::WrongState, format!("The unit is {state}; it can not be {wanted}."))
}

fn check_detail(detail: &str) -> Result<(), Refusal> {
    if detail.len() <= DETAIL_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::invalid("A reason is at most 256 bytes."))
}

/// The caller's words without control characters, as long as a row takes.
fn escaped(detail: &str) -> String {
    let mut text: String = detail.chars().flat_map(char::escape_default).collect();
    text.truncate(DETAIL_BYTES_MAX);
    text
}
