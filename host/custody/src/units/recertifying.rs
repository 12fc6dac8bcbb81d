//! Further certificates for a unit's one key.

use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, Refusal};

use super::OpenUnit;
use super::issuing::{answer, check_fields};
use super::work::keeps_identity;
use crate::call::Call;
use crate::types::Artefact;

impl Call {
    /// Issues the unit's certificate with this ordinal, for the key that the unit has. One that
    /// was issued already is released again, byte for byte, whatever `fields` say now.
    ///
    /// The first one, with the ordinal 0, comes with the unit's identity. At most as many as the
    /// terms say are issued, one after the other.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for the ordinal 0, one beyond the terms, and fields that the template
    /// does not leave open; `WRONG_STATE` for a unit without an identity that works, a grant
    /// without a template, and an ordinal that is not the next one; those of the allotment's life.
    pub async fn recertify(
        &mut self,
        unit: &OpenUnit,
        ordinal: u16,
        fields: &[(String, String)],
    ) -> Result<Artefact, Refusal> {
        let most = unit.grant.terms.certificates_per_unit;
        if !(1..most).contains(&ordinal) {
            let detail = format!("The terms allow certificates 0 to {}.", most.saturating_sub(1));
            return Err(Refusal::invalid(detail));
        }
        self.check_station(unit).await?;
        let work = self.work(unit).await?;
        let state = work.now.state();
        let artefact = work.now.artefact.as_ref().filter(|_| keeps_identity(state));
        let known = artefact.map_or(0, |artefact| artefact.certificates.len());
        if usize::from(ordinal) < known {
            return self.release_stored(unit, ordinal).await;
        }
        let kept = artefact.and_then(|artefact| artefact.kept.as_ref());
        let Some(kept) = kept.filter(|_| usize::from(ordinal) == known) else {
            let detail = format!(
                "The unit is {} and has {known} certificates; ask for the next one of a unit \
                 whose identity works.",
                state.name()
            );
            return Err(Refusal::new(Reason::WrongState, detail));
        };
        let public_key = kept.public_key.clone();
        self.check_storage()?;
        self.check_life(&unit.grant).await?;
        self.check_attempts(unit).await?;
        if self.allotment_record(&unit.grant).await?.written_off {
            let detail = "A restore wrote the entitlement off: the certificate may exist already.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        check_fields(&unit.grant, fields)?;
        let certificate = self.certify(unit, &public_key, fields, ordinal).await?;
        let now = self.now_ms();
        let work = self.work(unit).await?;
        let artefact = work.now.artefact.as_mut();
        let artefact = artefact.ok_or_else(|| Refusal::not_found("identity"))?;
        artefact.certificates.extend(certificate.clone());
        let answer = answer(artefact, ordinal).ok_or_else(|| Refusal::not_found("identity"))?;
        work.now.changed_at = now;
        // Where the call fails, the certificate is kept, and nothing else that it did to the unit.
        let before = work.released.take().or_else(|| work.before.clone());
        let mut released = before.unwrap_or_else(|| work.now.clone());
        if let Some(artefact) = &mut released.artefact {
            artefact.certificates.extend(certificate);
        }
        released.changed_at = now;
        work.released = Some(released);
        let row = work.row_of(UnitChange::Recertified, "", ordinal);
        self.rows.push(row);
        Ok(answer)
    }
}
