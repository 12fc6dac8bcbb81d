//! What a unit releases: a certificate, a sealed key, or both; once, and the same bytes ever after.

use std::sync::Arc;

use mintmark_crypto::digest::sha256;
use mintmark_crypto::hpke::{Sender, Suite};
use mintmark_crypto::random;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::grant::Grant;
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::unit::UnitChange;
use mintmark_model::escrow::{End, window_allows};
use mintmark_model::policy::Content;
use mintmark_model::{Reason, Refusal, Role, UnitState};
use mintmark_pki::device::{DeviceProfile, device_certificate};
use mintmark_pki::{Certificate, VerifiedCsr};
use mintmark_store::Key;

use super::OpenUnit;
use super::derived::derived_key;
use super::work::keeps_identity;
use crate::call::Call;
use crate::disk::allotment::{ArtefactRecord, KeptRecord, SealedKeyRecord};
use crate::disk::host::UserRecord;
use crate::permit::{Certify, Derive};
use crate::transfers::batch_ca_of;
use crate::types::{Artefact, SealedKey};
use crate::{escrows, keys, tables};

/// The HPKE `info` under which a device key is sealed to a device or a station.
const DELIVERY_INFO: &[u8] = b"mintmark device key delivery v1";

/// To whom a unit's identity goes.
struct Target {
    delivery: Delivery,
    /// For a key that the device made: the key itself; else the key to which the device key is
    /// sealed.
    public_key: Vec<u8>,
}

impl Call {
    /// Issues the certificate for the key of a checked CSR.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE`, `DUPLICATE_KEY`, `KEY_MISMATCH`, `PERMISSION_DENIED`, `CSR_INVALID`, and
    /// those of the allotment's life.
    pub async fn certify_csr(
        &mut self,
        unit: &OpenUnit,
        csr: &VerifiedCsr,
        fields: &[(String, String)],
    ) -> Result<Artefact, Refusal> {
        let public_key = csr.public_key_info().to_vec();
        self.issue(unit, Target { delivery: Delivery::None, public_key }, fields).await
    }

    /// Makes, derives or takes the unit's key, and seals it to the key of a checked CSR.
    ///
    /// # Errors
    ///
    /// As [`Call::certify_csr`].
    pub async fn seal_to_device(
        &mut self,
        unit: &OpenUnit,
        csr: &VerifiedCsr,
        fields: &[(String, String)],
    ) -> Result<Artefact, Refusal> {
        let public_key = csr.public_key_info().to_vec();
        self.issue(unit, Target { delivery: Delivery::SealedToDevice, public_key }, fields).await
    }

    /// Makes, derives or takes the unit's key, and seals it to the encryption certificate of the
    /// calling station.
    ///
    /// # Errors
    ///
    /// As [`Call::certify_csr`].
    pub async fn seal_to_station(
        &mut self,
        unit: &OpenUnit,
        fields: &[(String, String)],
    ) -> Result<Artefact, Refusal> {
        let public_key = self.station_key().await?;
        self.issue(unit, Target { delivery: Delivery::SealedToStation, public_key }, fields).await
    }

    /// What the unit released, if it did; releasing it again is a row.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` for another station than the unit's; those of the allotment's life.
    pub async fn unit_artefact(&mut self, unit: &OpenUnit) -> Result<Option<Artefact>, Refusal> {
        if self.work(unit).await?.now.artefact.is_none() {
            return Ok(None);
        }
        self.release_again(unit).await.map(Some)
    }

    async fn issue(
        &mut self,
        unit: &OpenUnit,
        target: Target,
        fields: &[(String, String)],
    ) -> Result<Artefact, Refusal> {
        if unit.grant.product.delivery != target.delivery {
            let detail = "The grant does not let the device's key come this way.";
            return Err(Refusal::denied(detail));
        }
        let work = self.work(unit).await?;
        if let Some(artefact) = &work.now.artefact {
            if !artefact.is_for(&target) {
                let detail = "The unit belongs to another key.";
                return Err(Refusal::new(Reason::KeyMismatch, detail));
            }
            return self.release_again(unit).await;
        }
        if work.now.state() != UnitState::Reserved {
            let detail = format!("The unit is {}; it can not be issued.", work.now.state().name());
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        self.check_storage()?;
        self.check_station(unit).await?;
        self.check_life(&unit.grant).await?;
        self.check_attempts(unit).await?;
        check_fields(&unit.grant, fields)?;
        check_algorithm(&unit.grant, &target)?;
        let artefact = self.make(unit, &target, fields).await?;
        let answer = answer(&artefact, 0).ok_or_else(|| Refusal::not_found("identity"))?;
        let now = self.now_ms();
        let work = self.work(unit).await?;
        work.now.artefact = Some(artefact);
        assert!(work.now.move_to(UnitState::Issued, now), "reserved units can be issued");
        work.released = Some(work.now.clone());
        let row = work.row(UnitChange::Issued, "");
        let place = unit.place();
        // Reserve and issue in one call are one row, at the time of the reservation.
        self.rows.retain(|row| row.unit.as_ref() != Some(&place));
        self.rows.push(row);
        Ok(answer)
    }

    /// The stored identity, once more.
    async fn release_again(&mut self, unit: &OpenUnit) -> Result<Artefact, Refusal> {
        self.release_stored(unit, 0).await
    }

    /// A certificate that the unit has, once more, with what belongs to it.
    pub(super) async fn release_stored(
        &mut self,
        unit: &OpenUnit,
        ordinal: u16,
    ) -> Result<Artefact, Refusal> {
        self.check_station(unit).await?;
        self.check_grace(&unit.grant).await?;
        let work = self.work(unit).await?;
        let state = work.now.state();
        let artefact = work.now.artefact.as_ref().filter(|_| keeps_identity(state));
        let Some(answer) = artefact.and_then(|artefact| answer(artefact, ordinal)) else {
            let detail =
                format!("The unit is {}; its identity is not released again.", state.name());
            return Err(Refusal::new(Reason::WrongState, detail));
        };
        if work.released.is_some() {
            return Ok(answer);
        }
        self.check_attempts(unit).await?;
        let detail = if ordinal == 0 { String::new() } else { format!("certificate {ordinal}") };
        let row = self.work(unit).await?.row(UnitChange::Released, &detail);
        self.rows.push(row);
        // Without that row the bytes do not leave again.
        self.taint();
        Ok(answer)
    }

    /// After its window, or closed, an entitlement still gives what it gave before, for a time.
    async fn check_grace(&mut self, grant: &Grant) -> Result<(), Refusal> {
        let record = self.allotment_record(grant).await?;
        if escrows::end(&record) == Some(End::Revoked) {
            let detail = "Headquarters revoked the entitlement.";
            return Err(Refusal::new(Reason::Revoked, detail));
        }
        let terms = &grant.terms;
        let over = record.closed_at.map_or(terms.not_after, |closed| closed.min(terms.not_after));
        if self.now_ms() <= over.saturating_add(terms.grace_seconds.saturating_mul(1_000)) {
            return Ok(());
        }
        let detail = "The entitlement has ended, and its grace is over.";
        let reason = if record.closed_at.is_some() { Reason::Closed } else { Reason::Expired };
        Err(Refusal::new(reason, detail))
    }

    /// A device that has failed too often is not tried again.
    pub(super) async fn check_attempts(&mut self, unit: &OpenUnit) -> Result<(), Refusal> {
        let most = unit.grant.terms.max_attempts_per_subject;
        let work = self.work(unit).await?;
        if work.now.state() == UnitState::Confirmed || work.now.attempts < most {
            return Ok(());
        }
        Err(attempts_exhausted(most))
    }

    async fn make(
        &mut self,
        unit: &OpenUnit,
        target: &Target,
        fields: &[(String, String)],
    ) -> Result<ArtefactRecord, Refusal> {
        let (public_key, sealed_key) = match target.delivery {
            Delivery::None => (target.public_key.clone(), None),
            Delivery::SealedToDevice | Delivery::SealedToStation => {
                let key = self.device_key(unit).await?;
                (key.public_key_info().to_vec(), Some(seal(&key, &target.public_key)?))
            }
        };
        self.pin(unit, &public_key).await?;
        // The key is pinned: without its certificate nothing of this call is kept.
        let certificate = self.certify(unit, &public_key, fields, 0).await;
        let certificate = self.whole(certificate)?;
        Ok(ArtefactRecord {
            key_hash: sha256(&public_key),
            certificates: certificate.into_iter().collect(),
            recipient: sealed_key.as_ref().map(|_| sha256(&target.public_key)),
            kept: Some(KeptRecord { public_key, sealed_key, nonce: random::array() }),
        })
    }

    /// Makes sure that the key belongs to no other unit of this store, and to this one from now on.
    async fn pin(&mut self, unit: &OpenUnit, public_key: &[u8]) -> Result<(), Refusal> {
        let hash = sha256(public_key);
        let place = Key::new(tables::DEVICE_KEYS, hash);
        self.claim(&place).await?;
        let (taken, version) = self.view.peek_versioned(&place).await?;
        // What the first run of this call pinned is not committed yet.
        let here = self.works().any(|work| work.pinned == Some(hash));
        if taken.is_some() || here {
            let detail = "The key belongs to another device.";
            return Err(Refusal::new(Reason::DuplicateKey, detail));
        }
        let work = self.work(unit).await?;
        work.pinned = Some(hash);
        work.reads.push((place, version));
        Ok(())
    }

    /// The unit's own key: made here, given, or derived from the entitlement's secret.
    async fn device_key(&mut self, unit: &OpenUnit) -> Result<SigningKey, Refusal> {
        let grant = &unit.grant;
        let algorithm = algorithm_of(grant)?;
        match grant.product.origin {
            KeyOrigin::SiteBorn => return Ok(SigningKey::generate(algorithm)),
            KeyOrigin::Pool => return self.given_key(unit, algorithm).await,
            KeyOrigin::Derived => {}
            // Its delivery is none: no key of the host's goes to it.
            KeyOrigin::DeviceBorn => return Err(Refusal::not_found("key of the device")),
        }
        let set = self.load_key(&keys::set_name(&grant.entitlement)).await?;
        let through = Some(grant.entitlement.as_str());
        let permit = self.permit::<Derive>(&set, Content::None, through)?;
        let secret = permit.secret(&self.host.vault)?;
        Ok(derived_key(algorithm, &secret, grant, unit.number))
    }

    /// The device's certificate with this ordinal, where the grant has a template.
    pub(super) async fn certify(
        &mut self,
        unit: &OpenUnit,
        public_key: &[u8],
        fields: &[(String, String)],
        ordinal: u16,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let grant = Arc::clone(&unit.grant);
        let Some(template) = &grant.product.template else { return Ok(None) };
        let record = self.allotment_record(&grant).await?;
        let batch_ca = batch_ca_of(&record, &grant, unit.number);
        let batch_ca = batch_ca.ok_or_else(|| Refusal::not_found("batch CA"))?;
        let key = self.load_key(&keys::batch_name(&grant.entitlement)).await?;
        let through = Some(grant.entitlement.as_str());
        let permit = self.permit::<Certify>(&key, Content::Certificate, through)?;
        let signer = permit.signing_key(&self.host.vault)?;
        let issued_at = self.now_ms();
        let work = self.work(unit).await?;
        let field = |name: &str| {
            fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
        };
        let profile = DeviceProfile {
            serial_number: work.certificate_serial(ordinal),
            device_serial: work.now.serial.clone(),
            organization: template.organization.clone(),
            organizational_unit: field("organizational-unit"),
            model: template.model.clone(),
            common_name: field("common-name")
                .unwrap_or_else(|| format!("{} {}", template.model, work.now.serial)),
        };
        device_certificate(&signer, &batch_ca, public_key, &profile, issued_at).map(Some).map_err(
            |error| {
                tracing::warn!(%error, "a device certificate could not be made");
                Refusal::invalid("The certificate's fields do not fit the profile.")
            },
        )
    }

    /// What a tester program says of a device counts only for its own devices; people answer for
    /// what they say.
    pub(super) async fn check_own_unit(&mut self, unit: &OpenUnit) -> Result<(), Refusal> {
        match self.session.principal.role {
            Role::Station => self.check_station(unit).await,
            _ => Ok(()),
        }
    }

    /// A unit belongs to the station that reserved it.
    pub(super) async fn check_station(&mut self, unit: &OpenUnit) -> Result<(), Refusal> {
        let caller = self.session.principal.to_string();
        let work = self.work(unit).await?;
        if work.now.station == caller {
            return Ok(());
        }
        Err(Refusal::denied("The unit belongs to another station; an operator hands it over."))
    }

    pub(super) async fn check_life(&mut self, grant: &Grant) -> Result<(), Refusal> {
        let record = self.allotment_record(grant).await?;
        match escrows::end(&record) {
            Some(End::Revoked) => {
                Err(Refusal::new(Reason::Revoked, "Headquarters revoked the entitlement."))
            }
            Some(End::Closed) => Err(Refusal::new(Reason::Closed, "The entitlement is closed.")),
            None => window_allows(&escrows::limits(&grant.terms), self.began),
        }
    }

    /// The public key to which keys for the calling station are sealed.
    async fn station_key(&mut self) -> Result<Vec<u8>, Refusal> {
        let none = || Refusal::denied("The caller has no certificate to which keys are sealed.");
        if self.session.principal.role != Role::Station {
            return Err(none());
        }
        let place = tables::pair(tables::USERS, Role::Station.name(), &self.session.principal.name);
        let user: UserRecord = self.read(&place).await?.ok_or_else(none)?;
        let certificate = user.sealing_certificate.ok_or_else(none)?;
        let certificate = Certificate::parse(&certificate).map_err(|_| none())?;
        Ok(certificate.public_key_info().to_vec())
    }
}

impl ArtefactRecord {
    fn is_for(&self, target: &Target) -> bool {
        match self.recipient {
            Some(recipient) => recipient == sha256(&target.public_key),
            None => self.key_hash == sha256(&target.public_key),
        }
    }
}

/// What leaves the host, with the certificate of this ordinal; none where it is no longer kept.
pub(super) fn answer(record: &ArtefactRecord, ordinal: u16) -> Option<Artefact> {
    let kept = record.kept.as_ref()?;
    let sealed_key = kept.sealed_key.as_ref().map(|sealed| SealedKey {
        suite: sealed.suite.clone(),
        encapsulated_key: sealed.encapsulated_key.clone(),
        ciphertext: sealed.ciphertext.clone(),
    });
    Some(Artefact {
        public_key: kept.public_key.clone(),
        certificate: record.certificates.get(usize::from(ordinal)).cloned(),
        sealed_key,
        confirm_nonce: kept.nonce,
    })
}

pub(super) fn attempts_exhausted(most: u32) -> Refusal {
    let detail = format!("The device has failed {most} times; fail it for good, or scrap it.");
    Refusal::new(Reason::AttemptsExhausted, detail)
}

fn algorithm_of(grant: &Grant) -> Result<SignatureAlgorithm, Refusal> {
    SignatureAlgorithm::from_name(&grant.product.algorithm).ok_or_else(|| {
        Refusal::new(Reason::TermsInvalid, "The grant names an algorithm that is not known.")
    })
}

/// A key that the device made must have the product's algorithm; one that it shows for delivery
/// must be one to which can be sealed.
fn check_algorithm(grant: &Grant, target: &Target) -> Result<(), Refusal> {
    let fits = match target.delivery {
        Delivery::None => {
            let shown = SignatureAlgorithm::for_public_key(&target.public_key);
            shown.is_ok_and(|shown| shown.name() == grant.product.algorithm)
        }
        Delivery::SealedToDevice | Delivery::SealedToStation => {
            Suite::for_public_key(&target.public_key).is_ok()
        }
    };
    if fits {
        return Ok(());
    }
    let detail = "The key in the request has an algorithm that the product does not allow.";
    Err(Refusal::new(Reason::CsrInvalid, detail))
}

/// Only fields that the template leaves open, within their bounds.
pub(super) fn check_fields(grant: &Grant, fields: &[(String, String)]) -> Result<(), Refusal> {
    const KNOWN: [&str; 2] = ["common-name", "organizational-unit"];
    let open = grant.product.template.as_ref().map_or(&[][..], |template| &template.fields);
    for (index, (name, value)) in fields.iter().enumerate() {
        let field = open.iter().find(|field| field.name == *name);
        let fits = field.is_some_and(|field| {
            let length = 1..=(field.max_bytes.min(64) as usize);
            length.contains(&value.len()) && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        });
        let twice = fields[..index].iter().any(|(other, _)| other == name);
        if !fits || twice || !KNOWN.contains(&name.as_str()) {
            let detail = "A field is not one that the certificate's template leaves open.";
            return Err(Refusal::invalid(detail));
        }
    }
    Ok(())
}

/// Seals a device's private key; the private key is dropped with this call.
fn seal(key: &SigningKey, recipient: &[u8]) -> Result<SealedKeyRecord, Refusal> {
    let unusable = |_| Refusal::new(Reason::CsrInvalid, "Nothing can be sealed to this key.");
    let suite = Suite::for_public_key(recipient).map_err(unusable)?;
    let (encapsulated_key, mut sender) = Sender::new(recipient, DELIVERY_INFO).map_err(unusable)?;
    let ciphertext = sender.seal(key.public_key_info(), key.to_pkcs8().expose());
    Ok(SealedKeyRecord { suite: suite.name().to_owned(), encapsulated_key, ciphertext })
}
