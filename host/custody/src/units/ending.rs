//! How a unit ends: confirmed, failed, scrapped.

use mintmark_crypto::digest::sha256;
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::proof::{DeviceProof, confirm_bytes};
use mintmark_exchange::row::Event;
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Counters, Reason, Refusal, UnitState};

use super::{OpenUnit, status, work::UnitWork};
use crate::call::{Call, PendingRow};
use crate::disk::allotment::ArtefactRecord;
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
            return Ok(status(unit.number, &work.now));
        }
        let artefact = work.now.artefact.as_ref().filter(|_| work.now.state() == UnitState::Issued);
        let Some(artefact) = artefact else { return Err(wrong_state(work, "confirmed")) };
        let proof = match (wanted, proof) {
            (ConfirmProof::None, _) | (ConfirmProof::Optional, None) => None,
            (ConfirmProof::Required, None) => {
                let detail = "The terms require the device's proof.";
                return Err(Refusal::new(Reason::ProofInvalid, detail));
            }
            (_, Some(signature)) => Some(check_proof(unit, artefact, signature)?),
        };
        self.end(unit, UnitState::Confirmed, UnitChange::Confirmed, "", now, proof).await
    }

    /// Counts an attempt; a permanent failure spends the unit.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE`; `ATTEMPTS_EXHAUSTED`.
    pub async fn fail(
        &mut self,
        unit: &OpenUnit,
        failure: Failure,
        detail: &str,
    ) -> Result<UnitStatus, Refusal> {
        check_detail(detail)?;
        self.check_own_unit(unit).await?;
        let most = unit.grant.terms.max_attempts_per_subject;
        let now = self.now_ms();
        let work = self.work(unit).await?;
        if failure == Failure::Permanent {
            if work.now.state() == UnitState::Failed {
                return Ok(status(unit.number, &work.now));
            }
            return self.end(unit, UnitState::Failed, UnitChange::Failed, detail, now, None).await;
        }
        if work.now.state() != UnitState::Issued {
            return Err(wrong_state(work, "tried again"));
        }
        if work.now.attempts >= most {
            let detail =
                format!("The device has failed {most} times; fail it for good, or scrap it.");
            return Err(Refusal::new(Reason::AttemptsExhausted, detail));
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
        let place =
            tables::counter(&unit.grant.entitlement, Counters::position(UnitState::Scrapped));
        // The counter's bound holds at the commit as well, where others scrap at the same time.
        if self.view.counter(&place).await? >= unit.grant.terms.scrap_allowance {
            let detail = "The scrap allowance of the terms is used up; approvals are needed.";
            return Err(Refusal::new(Reason::ApprovalRequired, detail));
        }
        self.end(unit, UnitState::Scrapped, UnitChange::Scrapped, reason, now, None).await
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
        // From here on only certificate and hashes are kept.
        if let Some(artefact) = &mut work.now.artefact {
            artefact.key_dropped |= artefact.sealed_key.take().is_some();
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
    signature: &[u8],
) -> Result<DeviceProof, Refusal> {
    let identity = artefact.certificate.as_ref().unwrap_or(&artefact.public_key);
    let message =
        confirm_bytes(&unit.grant.entitlement, unit.number, &sha256(identity), &artefact.nonce);
    mintmark_crypto::sign::verify(&artefact.public_key, &message, signature).map_err(|_| {
        Refusal::new(Reason::ProofInvalid, "The device's proof does not hold under its key.")
    })?;
    Ok(DeviceProof {
        public_key: artefact.public_key.clone(),
        nonce: artefact.nonce,
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
