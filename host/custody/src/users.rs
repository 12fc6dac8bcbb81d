//! People and stations: who calls, and how they get their certificates.

use mintmark_crypto::digest::sha256;
use mintmark_exchange::row::Event;
use mintmark_model::{Principal, Reason, Refusal, Role};
use mintmark_pki::chain::Usage;
use mintmark_pki::{LeafKind, LeafUsage, Validity, VerifiedCsr, issue};

use crate::call::Call;
use crate::custody::Custody;
use crate::disk::host::UserRecord;
use crate::tables;
use crate::types::{Digest, Session};

/// How long certificates of people, stations and nodes are valid, in days.
pub(crate) const LEAF_DAYS: u32 = 90;

/// A client whose certificate chain was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Who it is.
    pub principal: Principal,
    /// SHA-256 of its certificate.
    pub certificate: Digest,
}

/// What a person or station gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedUser {
    /// The certificate for TLS, and the cluster CA's.
    pub chain: Vec<Vec<u8>>,
    /// The certificate to which device keys are sealed.
    pub sealing_certificate: Option<Vec<u8>>,
}

impl Custody {
    /// Who presents this chain, leaf first. Only people and stations of this very cluster call
    /// here.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED`.
    pub fn authenticate(&self, chain: &[Vec<u8>]) -> Result<Authenticated, Refusal> {
        let refused = || Refusal::denied("The certificate is not one of this cluster's.");
        let identity = &self.host.identity;
        let now = self.host.clock.now().site_ms;
        let verified = identity.root.verify(chain, now, Usage::ClientAuth).map_err(|error| {
            tracing::warn!(%error, "a client's chain does not hold");
            refused()
        })?;
        let cluster = verified.id().cluster();
        if *cluster != identity.cluster {
            tracing::warn!(%cluster, "a client of another cluster");
            return Err(refused());
        }
        let role = Role::from_name(verified.kind().name()).ok_or_else(refused)?;
        let principal = Principal {
            organization: cluster.organization().to_owned(),
            cluster: format!("{}/{}", cluster.role().name(), cluster.name()),
            role,
            name: verified.name().to_owned(),
        };
        if self.is_revoked(&principal) {
            tracing::warn!(%principal, "a client whose certificate was revoked");
            return Err(refused());
        }
        Ok(Authenticated { principal, certificate: verified.digest() })
    }

    /// Issues the certificate of a person or a station.
    ///
    /// # Errors
    ///
    /// `CSR_INVALID`; `INVALID_ARGUMENT` for a role or name that is none; `WRONG_STATE` for a name
    /// that has another key; `APPROVAL_REQUIRED` for a new admin, auditor or publisher, where
    /// several people decide.
    pub async fn issue_user(
        &self,
        session: Session,
        role: &str,
        name: &str,
        csr: &[u8],
        sealing_csr: Option<&[u8]>,
        entitlements: &[String],
    ) -> Result<IssuedUser, Refusal> {
        let mut call = self.begin(session, None).await?;
        let issued = call.issue_user(role, name, csr, sealing_csr, entitlements).await;
        self.conclude(call, issued).await
    }
}

impl Call {
    async fn issue_user(
        &mut self,
        role: &str,
        name: &str,
        csr: &[u8],
        sealing_csr: Option<&[u8]>,
        entitlements: &[String],
    ) -> Result<IssuedUser, Refusal> {
        let role = Role::from_name(role).ok_or_else(|| {
            Refusal::invalid("Roles: admin, auditor, operator, station, publisher.")
        })?;
        if role != Role::Station && (sealing_csr.is_some() || !entitlements.is_empty()) {
            let detail = "Only stations are bound to entitlements and receive keys.";
            return Err(Refusal::invalid(detail));
        }
        let kind = LeafKind::from_name(role.name()).ok_or_else(|| Refusal::invalid("No role."))?;
        let place = tables::pair(tables::USERS, role.name(), name);
        let csr = self.read_csr(csr)?;
        let known: Option<UserRecord> = self.read(&place).await?;
        match &known {
            Some(known) => check_same_key(known, &csr)?,
            None => self.require_appointment((role, name), csr.key_hash()).await?,
        }
        let key = csr.public_key_info();
        let certificate = self.issue_leaf((kind, name), key, LeafUsage::Tls, None, LEAF_DAYS)?;
        let sealing_certificate = match sealing_csr {
            Some(csr) => {
                let csr = self.read_csr(csr)?;
                let key = csr.public_key_info();
                let usage = LeafUsage::Encryption;
                Some(self.issue_leaf((kind, name), key, usage, None, LEAF_DAYS)?)
            }
            None => None,
        };
        let uri = format!("{}/{}/{name}", self.host.identity.uri(), role.name());
        self.record(Event::UserIssued { name: uri, certificate_hash: sha256(&certificate) });
        let chain = self.host.identity.chain_of(&certificate);
        self.view.write(
            place,
            UserRecord {
                certificate,
                sealing_certificate: sealing_certificate.clone(),
                entitlements: entitlements.to_vec(),
                revoked_at: None,
            },
        );
        Ok(IssuedUser { chain, sealing_certificate })
    }

    /// Issues a certificate of the cluster CA's.
    pub(crate) fn issue_leaf(
        &mut self,
        (kind, name): (LeafKind, &str),
        public_key: &[u8],
        usage: LeafUsage,
        measurement: Option<&[u8; 32]>,
        days: u32,
    ) -> Result<Vec<u8>, Refusal> {
        let identity = &self.host.identity;
        let now = self.began.site_ms;
        let malformed = || Refusal::invalid("A name is 1 to 63 characters of a-z, 0-9 and -.");
        let id = identity.cluster.leaf(kind, name).map_err(|_| malformed())?;
        let validity = leaf_validity(&identity.cluster_certificate, now, days)?;
        let (key, issuer) = (&identity.cluster_key, &identity.cluster_certificate);
        let issued = issue::leaf(key, issuer, &id, public_key, usage, measurement, validity);
        let issued = issued.map_err(|error| {
            tracing::warn!(%error, "a certificate could not be issued");
            Refusal::invalid("The key or the name does not fit a certificate of this kind.")
        })?;
        let certificate_hash = sha256(&issued);
        self.record(Event::LeafIssued { name: id.to_string(), certificate_hash });
        Ok(issued)
    }
}

/// So much before it is issued a certificate begins, for clocks that differ.
pub(crate) const SKEW_MS: u64 = 5 * 60_000;

/// A leaf's window: from a little before now, and within its issuer's.
pub(crate) fn leaf_validity(issuer: &[u8], now_ms: u64, days: u32) -> Result<Validity, Refusal> {
    let unusable =
        |_| Refusal::new(Reason::Unavailable, "The cluster CA's certificate is unusable.");
    let issuer = mintmark_pki::Certificate::parse(issuer).map_err(unusable)?.validity();
    let begin = now_ms.saturating_sub(SKEW_MS).max(issuer.not_before_ms());
    let end = now_ms.saturating_add(u64::from(days) * 86_400_000).min(issuer.not_after_ms());
    Validity::new(begin, end).map_err(|_| {
        Refusal::new(Reason::Expired, "The cluster CA's certificate has expired; make a new one.")
    })
}

/// A name keeps its key; another key is another person.
fn check_same_key(known: &UserRecord, csr: &VerifiedCsr) -> Result<(), Refusal> {
    if known.revoked_at.is_some() {
        let detail = "The name was revoked and is nobody's again; choose another name.";
        return Err(Refusal::new(Reason::WrongState, detail));
    }
    let certificate = mintmark_pki::Certificate::parse(&known.certificate);
    if certificate.is_ok_and(|known| known.public_key_info() == csr.public_key_info()) {
        return Ok(());
    }
    let detail = "The name belongs to another key; choose another name.";
    Err(Refusal::new(Reason::WrongState, detail))
}
