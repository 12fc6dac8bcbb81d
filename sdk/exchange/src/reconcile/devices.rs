//! No device is there twice, and each is the one that it was issued as.

use crate::{
    certificate::CertificateSerial,
    grant::ConfirmProof,
    proof::confirm_bytes,
    reconcile::{
        FindingKind, Holder, Index, Unavailable, UnitRecord, UnitRef,
        ledger::{Application, World},
        units::Case,
    },
    unit::{UnitChange, UnitState},
};

impl Application {
    /// Makes the unit the holder of an index, unless that is another living device's.
    pub(super) fn claim(
        &mut self,
        case: &Case<'_>,
        index: &Index<'_>,
        what: &str,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        let Some(holder) = world.register.holder(index)? else {
            return world.register.hold(index, &Holder { unit: case.unit.clone(), units: 1 });
        };
        if holder.unit == case.unit {
            return Ok(());
        }
        let other = world.register.unit(&holder.unit)?;
        let UnitRef { entitlement, unit } = &holder.unit;
        let text = format!("the {what} is that of unit {unit} of {entitlement}");
        let units = match other {
            Some(other) if let Some(units) = units_after(case, index, &holder, &other) => units,
            // The restored store has forgotten the device, which has two identities now.
            Some(other)
                if other.site == self.site
                    && self.is_forgotten(case.place.node, other.drawn)
                    && !matches!(index, Index::Certificate(_)) =>
            {
                let text = format!("{text}, which the restored site has forgotten");
                self.findings.note(FindingKind::Restore, case.place, text);
                holder.units
            }
            _ => {
                self.findings.breach(FindingKind::Duplicate, case.place, text);
                return Ok(());
            }
        };
        world.register.hold(index, &Holder { unit: case.unit.clone(), units })
    }

    /// A unit keeps its subject, serial, key and certificate.
    pub(super) fn judge_identity(&mut self, case: &Case<'_>, record: &UnitRecord) {
        let event = case.event;
        let (hash, serial) = match event.change {
            // This row brings a certificate of its own, which is judged apart.
            UnitChange::Recertified => (None, None),
            _ => (event.certificate_hash.as_ref(), event.certificate_serial.as_ref()),
        };
        let kept = event.subject == record.subject
            && keeps(record.serial.as_ref(), event.serial.as_ref())
            && keeps(record.key_hash.as_ref(), event.key_hash.as_ref())
            && keeps(record.certificate_hash.as_ref(), hash)
            && keeps(record.certificate_serial.as_ref(), serial);
        if !kept {
            let text = format!("unit {} became another device", event.unit);
            self.findings.breach(FindingKind::Transition, case.place, text);
        }
    }

    /// An issued unit has a key of its own, and certificates whose serial numbers are the unit's,
    /// each with the next ordinal.
    pub(super) fn judge_certificate(
        &mut self,
        case: &Case<'_>,
        record: &mut UnitRecord,
        world: &mut World<'_>,
    ) -> Result<(), Unavailable> {
        let event = case.event;
        match &event.key_hash {
            Some(key_hash) => self.claim(case, &Index::PublicKey(key_hash), "public key", world)?,
            None => {
                let text = "issued without a key";
                self.findings.breach(FindingKind::Certificate, case.place, text);
            }
        }
        let certified = case.grant.product.template.is_some();
        if certified != event.certificate_hash.is_some() {
            let text = "issued without a certificate, or with one that the grant has not";
            self.findings.breach(FindingKind::Certificate, case.place, text);
        }
        let Some(bytes) = event.certificate_serial.as_deref().filter(|_| certified) else {
            if certified {
                let text = "the certificate's serial number is missing";
                self.findings.breach(FindingKind::Certificate, case.place, text);
            }
            return Ok(());
        };
        let own = CertificateSerial::parse(bytes).is_some_and(|serial| {
            serial.number == case.grant.number
                && serial.unit == event.unit
                && serial.ordinal == record.certificates
                && serial.ordinal < case.grant.terms.certificates_per_unit
        });
        record.certificates = record.certificates.saturating_add(1);
        if !own {
            let text = "the certificate's serial number is not the unit's";
            self.findings.breach(FindingKind::Certificate, case.place, text);
            return Ok(());
        }
        self.claim(case, &Index::Certificate(bytes), "certificate's serial number", world)
    }

    /// True if the device has proved that it holds the key that it was issued with.
    pub(super) fn judge_proof(
        &mut self,
        case: &Case<'_>,
        record: &UnitRecord,
        world: &World<'_>,
    ) -> bool {
        let Some(proof) = &case.event.proof else {
            if case.grant.terms.confirm_proof == ConfirmProof::Required {
                let text = "confirmed without the proof that the grant requires";
                self.findings.breach(FindingKind::Proof, case.place, text);
            }
            return false;
        };
        let identity_hash = record.certificate_hash.or(record.key_hash).unwrap_or_default();
        let bytes =
            confirm_bytes(&case.unit.entitlement, case.unit.unit, &identity_hash, &proof.nonce);
        let holds = record.key_hash == Some(proof.key_hash())
            && world.verify.verify_signature(&proof.public_key, &bytes, &proof.signature);
        if !holds {
            let text = "the device's proof does not hold";
            self.findings.breach(FindingKind::Proof, case.place, text);
        }
        holds
    }
}

/// How many units have an index once it goes on from its holder to the unit of this row; `None`
/// where it stays the holder's.
fn units_after(
    case: &Case<'_>,
    index: &Index<'_>,
    holder: &Holder,
    held: &UnitRecord,
) -> Option<u32> {
    let same = held.subject == case.event.subject
        && holder.unit.entitlement == case.unit.entitlement
        && !matches!(index, Index::PublicKey(_) | Index::Certificate(_));
    match held.state {
        // Nothing was released for it, nor for a unit before it.
        UnitState::Returned if same || holder.units == 1 => Some(holder.units),
        // A device that lost its key may have one more unit of its entitlement.
        UnitState::Failed if same && held.key_lost => {
            (holder.units < case.grant.terms.max_units_per_subject).then_some(holder.units + 1)
        }
        _ => None,
    }
}

/// What is set stays; a row need not repeat it.
fn keeps<T: PartialEq>(before: Option<&T>, now: Option<&T>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before == now,
        _ => true,
    }
}
