//! Rotation: other keys for a plugin's name, or another one for the host's own HPKE key.
//!
//! A signing key that is replaced is destroyed at once, in the transaction that replaces it. An
//! HPKE key only opens from then on, for as long as a message may travel; then it is destroyed,
//! and what is sealed to it is refused as `KEY_RETIRED`.
//!
//! An admin names the keys that are to be replaced by their digests, not by whose they are: so the
//! same request again changes nothing, and of two at once one is done.
//!
//! The key by which the host signs orders stays for ever; its certificate is renewed in time.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use mintmark_crypto::SecretBytes;
use mintmark_crypto::digest::sha256;
use mintmark_crypto::hpke::{Receiver, RecipientKey, Suite};
use mintmark_exchange::row::Event;
use mintmark_model::escrow::Moment;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::{Certificate, LeafKind, LeafUsage, issue};
use mintmark_store::{Key, Range};

use crate::call::{Call, Carry, CommitFailure};
use crate::custody::{Custody, host_place};
use crate::disk::host::{HostRecord, InstalledRecord};
use crate::disk::{self, plugin::*};
use crate::genesis::{HOST_DAYS, OpenError};
use crate::host::{Identity, untrusted};
use crate::messages::host_binding;
use crate::plugins::{Code, encryption_binding};
use crate::tables;
use crate::types::{Digest, Session};
use crate::users::leaf_validity;
use crate::vault::Binding;
use crate::view::View;

/// A key to which others seal: a plugin's, or the host's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// SPIFFE URI in its certificate.
    pub name: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: Digest,
    /// End of its certificate, in milliseconds; none for a key that was retired.
    pub not_after_ms: Option<u64>,
    /// Since when it only opens, and until when, in milliseconds of site time.
    pub retired: Option<(u64, u64)>,
}

/// Something that is sealed to the host's own key.
pub(crate) struct ForHost<'a> {
    pub(crate) info: &'a [u8],
    pub(crate) encapsulated: &'a [u8],
    pub(crate) aad: &'a [u8],
    pub(crate) ciphertext: &'a [u8],
}

/// Whose an HPKE key is: the end of the path in its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    kind: LeafKind,
    name: String,
}

/// The key that others seal to now.
struct Present {
    holder: Holder,
    key: Digest,
    not_after_ms: u64,
}

/// A key that was retired, as it is kept.
pub(crate) struct Retired {
    pub(crate) holder: Holder,
    key: Digest,
    pub(crate) record: RetiredRecord,
}

/// So many retired keys of one holder may open at a time.
const RETIRED_MAX: usize = 16;

impl Custody {
    /// The keys to which others seal: those of now, and the retired ones that still open.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn host_keys(&self) -> Result<Vec<HostKey>, Refusal> {
        let view = self.view().await?;
        let identity = &self.host.identity;
        let now = self.host.clock.now().site_ms;
        let present = present(&view, &identity.node).await?;
        let mut keys: Vec<HostKey> = present.iter().map(|one| one.shown(&identity.uri())).collect();
        let retired = retired(&view, Vec::new()).await?;
        let open = retired.iter().filter(|one| one.opens_at(now));
        keys.extend(open.map(|one| one.shown(&identity.uri())));
        keys.sort_by(|one, other| (&one.name, one.retired).cmp(&(&other.name, other.retired)));
        Ok(keys)
    }

    /// Replaces keys of the host's, each named by the digest of its public key; gives them as they
    /// are now, retired. A plugin's signing key is replaced with its HPKE key.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a key that is none of the host's; `INVALID_ARGUMENT` for none at all;
    /// `WRONG_STATE` where too many of the same holder still open; `CLOCK_SUSPECT`.
    pub async fn rotate_keys(
        &self,
        session: Session,
        keys: &[Digest],
    ) -> Result<Vec<HostKey>, Refusal> {
        let mut call = self.begin(session, None).await?;
        let rotated = call.rotate_keys(keys).await;
        self.conclude(call, rotated).await
    }
}

impl Call {
    async fn rotate_keys(&mut self, keys: &[Digest]) -> Result<Vec<HostKey>, Refusal> {
        if keys.is_empty() {
            return Err(Refusal::invalid("Name the keys to replace, by their digests."));
        }
        self.check_storage()?;
        self.destroy_retired().await?;
        self.claim(&host_place()).await?;
        let uri = self.host.identity.uri();
        let present = present(&self.view, &self.host.identity.node).await?;
        let retired = retired(&self.view, Vec::new()).await?;
        let mut rotated = Vec::with_capacity(keys.len());
        for key in BTreeSet::from_iter(keys) {
            if let Some(before) = retired.iter().find(|one| one.key == *key) {
                rotated.push(before.shown(&uri));
                continue;
            }
            let known = present.iter().find(|one| one.key == *key);
            let known = known.ok_or_else(|| Refusal::not_found("key of this host"))?;
            self.refuse_too_many(&known.holder, &retired)?;
            rotated.push(self.rotate(known).await?.shown(&uri));
        }
        Ok(rotated)
    }

    fn refuse_too_many(&self, holder: &Holder, retired: &[Retired]) -> Result<(), Refusal> {
        let now = self.now_ms();
        let open = retired.iter().filter(|one| one.holder == *holder && one.opens_at(now));
        let ends: Vec<u64> = open.map(|one| one.record.opens_until).collect();
        let Some(first) = ends.iter().min().filter(|_| ends.len() >= RETIRED_MAX) else {
            return Ok(());
        };
        let detail = format!(
            "{RETIRED_MAX} retired keys of {} still open; rotate again when the first is gone.",
            holder.path()
        );
        Err(Refusal::new(Reason::WrongState, detail).with("opens-until", first.to_string()))
    }

    /// New keys and certificates in the place of the present ones.
    async fn rotate(&mut self, present: &Present) -> Result<Retired, Refusal> {
        if self.began.suspect {
            let detail = "The clock is suspect, so nobody knows until when the old keys must open. \
                          Correct it, or acknowledge it with `mintmark clock`, and rotate then.";
            return Err(Refusal::new(Reason::ClockSuspect, detail));
        }
        let Present { holder, key, .. } = present;
        let sealed = match holder.kind {
            LeafKind::Plugin => self.renew_plugin(&holder.name).await?,
            _ => self.renew_transfer().await?,
        };
        let retired_at = self.now_ms();
        let transit_ms = self.host.settings.max_transit_seconds.saturating_mul(1_000);
        let opens_until = retired_at.saturating_add(transit_ms);
        let record = RetiredRecord { sealed, retired_at, opens_until };
        self.view.write(holder.place(key), record.clone());
        let name = holder.uri(&self.host.identity.uri());
        self.record(Event::KeyRetired { key: name, key_hash: *key, opens_until });
        Ok(Retired { holder: holder.clone(), key: *key, record })
    }

    /// Gives the HPKE key before, sealed.
    async fn renew_plugin(&mut self, name: &str) -> Result<Vec<u8>, Refusal> {
        let place = tables::pair(tables::IDENTITIES, name, b"");
        let record: Option<IdentityRecord> = self.read(&place).await?;
        let record = record.ok_or_else(|| Refusal::not_found("plugin"))?;
        let code = Code {
            version: record.active_version,
            measurement: record.measurement,
            security_version: record.security_version,
        };
        let renewed = self.issue_identity(name, code, None)?;
        self.view.write(place, renewed);
        let signing = Certificate::parse(&record.signing_certificate).map_err(|_| damaged())?;
        self.record(Event::KeyDestroyed {
            key: Holder::plugin(name).uri(&self.host.identity.uri()),
            key_hash: Some(sha256(signing.public_key_info())),
        });
        Ok(record.encryption_key)
    }

    /// Gives the key before, sealed.
    async fn renew_transfer(&mut self) -> Result<Vec<u8>, Refusal> {
        let record: Option<HostRecord> = self.read(&host_place()).await?;
        let mut record = record.ok_or_else(damaged)?;
        let node = record.node.clone();
        let key = RecipientKey::generate(Suite::X25519Sha256Aes256Gcm);
        let leaf = (LeafKind::Transfer, node.as_str());
        let (public, usage) = (key.public_key_info(), LeafUsage::Encryption);
        let certificate = self.issue_leaf(leaf, public, usage, None, HOST_DAYS)?;
        let installed = record.installed.as_mut().ok_or_else(damaged)?;
        installed.transfer_certificate = certificate;
        let renewed = self.host.vault.seal(&host_binding("transfer"), key.to_bytes().expose());
        let before = std::mem::replace(&mut installed.transfer_key, renewed);
        self.view.write(host_place(), record);
        Ok(before)
    }

    /// A retired key that still opens; none for one that was never this holder's.
    ///
    /// # Errors
    ///
    /// `KEY_RETIRED` once its time is over.
    pub(crate) async fn retired_key(
        &mut self,
        holder: &Holder,
        key: &Digest,
    ) -> Result<Option<RecipientKey>, Refusal> {
        let record: Option<RetiredRecord> = self.read(&holder.place(key)).await?;
        let Some(record) = record else { return Ok(None) };
        let retired = Retired { holder: holder.clone(), key: *key, record };
        if !retired.opens_at(self.now_ms()) {
            return Err(key_retired());
        }
        self.host.vault.recipient_key(&holder.binding(), &retired.record.sealed).map(Some)
    }

    /// Opens what is sealed to the host's own key: the present one, or one that was retired and
    /// still opens. Whoever sealed it is known by then.
    pub(crate) async fn open_for_host(&self, sealed: &ForHost<'_>) -> Result<SecretBytes, Refusal> {
        let vault = &self.host.vault;
        let holder = Holder::host(&self.host.identity.node);
        let present = installed(&self.view).await?.transfer_key;
        if let Some(opened) = sealed.open(&vault.recipient_key(&holder.binding(), &present)?) {
            return Ok(opened);
        }
        let mut retired = retired(&self.view, tables::prefix(&holder.path(), b"")).await?;
        retired.sort_by_key(|one| Reverse(one.record.retired_at));
        let now = self.now_ms();
        for one in retired.iter().filter(|one| one.opens_at(now)) {
            let key = vault.recipient_key(&holder.binding(), &one.record.sealed)?;
            if let Some(opened) = sealed.open(&key) {
                return Ok(opened);
            }
        }
        match retired.iter().all(|one| one.opens_at(now)) {
            true => Err(untrusted()),
            false => Err(key_retired()),
        }
    }

    /// Destroys retired keys whose time is over, in a transaction of the host's own: whatever
    /// comes of this call. While the clock is suspect nobody knows whether it is.
    pub(crate) async fn destroy_retired(&mut self) -> Result<(), Refusal> {
        let now = self.now_ms();
        let over = |one: &Retired| !one.record.sealed.is_empty() && !one.opens_at(now);
        let retired = retired(&self.view, Vec::new()).await?;
        let writes = !self.host.committer.is_poisoned() && self.check_written().is_ok();
        let idle = self.began.suspect || !writes;
        if idle || !retired.iter().any(over) {
            return Ok(());
        }
        let host = Arc::clone(&self.host);
        let session = host.own_session("DestroyRetiredKeys");
        let mut own = Self::begin(Arc::clone(&host), session, Carry::default()).await?;
        for one in retired.iter().filter(|one| over(one)) {
            let place = one.holder.place(&one.key);
            let record: Option<RetiredRecord> = own.read(&place).await?;
            let left = record.filter(|record| !record.sealed.is_empty());
            let Some(record) = left else { continue };
            own.view.write(place, RetiredRecord { sealed: Vec::new(), ..record });
            let key = one.holder.uri(&host.identity.uri());
            own.record(Event::KeyDestroyed { key, key_hash: Some(one.key) });
        }
        match own.commit().await {
            // Another call was faster.
            Ok(()) | Err(CommitFailure::Conflict(_)) => {}
            Err(CommitFailure::Refused(refusal)) => return Err(refusal),
        }
        if self.view.refresh(&*host.store).await? { Ok(()) } else { Err(self.overtaken()) }
    }
}

impl Holder {
    /// A plugin, by its name.
    pub(crate) fn plugin(name: &str) -> Self {
        Self { kind: LeafKind::Plugin, name: name.to_owned() }
    }

    /// The host itself, by its node's name.
    fn host(node: &str) -> Self {
        Self { kind: LeafKind::Transfer, name: node.to_owned() }
    }

    fn parse(path: &str) -> Option<Self> {
        let (kind, name) = path.split_once('/')?;
        let kind = LeafKind::from_name(kind)?;
        let holds = matches!(kind, LeafKind::Plugin | LeafKind::Transfer);
        holds.then(|| Self { kind, name: name.to_owned() })
    }

    fn path(&self) -> String {
        format!("{}/{}", self.kind.name(), self.name)
    }

    fn uri(&self, cluster: &str) -> String {
        format!("{cluster}/{}", self.path())
    }

    fn place(&self, key: &Digest) -> Key {
        tables::pair(tables::RETIRED, &self.path(), key)
    }

    /// What its HPKE keys are bound to in the vault, present and retired.
    pub(crate) fn binding(&self) -> Binding<'_> {
        match self.kind {
            LeafKind::Plugin => encryption_binding(&self.name),
            _ => host_binding("transfer"),
        }
    }
}

impl Present {
    fn new(holder: Holder, certificate: &[u8]) -> Result<Self, Refusal> {
        let certificate = Certificate::parse(certificate).map_err(|_| damaged())?;
        let key = sha256(certificate.public_key_info());
        Ok(Self { holder, key, not_after_ms: certificate.validity().not_after_ms() })
    }

    fn shown(&self, cluster: &str) -> HostKey {
        let (name, not_after_ms) = (self.holder.uri(cluster), Some(self.not_after_ms));
        HostKey { name, key: self.key, not_after_ms, retired: None }
    }
}

impl Retired {
    /// Gives nothing for a place that is none of a retired key's.
    pub(crate) fn at(place: &Key, record: RetiredRecord) -> Option<Self> {
        let (path, key) = place.key.split_last_chunk()?;
        let path = String::from_utf8_lossy(path.strip_suffix(&[0])?).into_owned();
        Some(Self { holder: Holder::parse(&path)?, key: *key, record })
    }

    fn opens_at(&self, now_ms: u64) -> bool {
        !self.record.sealed.is_empty() && now_ms < self.record.opens_until
    }

    fn shown(&self, cluster: &str) -> HostKey {
        let retired = Some((self.record.retired_at, self.record.opens_until));
        HostKey { name: self.holder.uri(cluster), key: self.key, not_after_ms: None, retired }
    }
}

impl ForHost<'_> {
    fn open(&self, key: &RecipientKey) -> Option<SecretBytes> {
        let mut receiver = Receiver::new(key, self.encapsulated, self.info).ok()?;
        receiver.open(self.aad, self.ciphertext).ok()
    }
}

/// At a start: another certificate for the key by which the host signs orders, where less than half
/// of its time is left. The key stays, so nobody needs to be told. Gives the row.
pub(crate) fn renew_custody(
    record: &mut HostRecord,
    identity: &mut Identity,
    now: Moment,
) -> Result<Option<Event>, OpenError> {
    let broken = |_| OpenError::Damaged("the host's certificate");
    let known = Certificate::parse(&identity.custody_certificate).map_err(broken)?;
    let end_ms = known.validity().not_after_ms();
    let half_ms = u64::from(HOST_DAYS) * 86_400_000 / 2;
    // A clock that is suspect says nothing of a certificate's time, and a certificate ends with
    // the cluster CA's: then the host starts as it is.
    let issuer = &identity.cluster_certificate;
    let longer = leaf_validity(issuer, now.site_ms, HOST_DAYS).ok();
    let longer = longer.filter(|longer| !now.suspect && longer.not_after_ms() > end_ms);
    let Some(validity) = longer.filter(|_| now.site_ms.saturating_add(half_ms) > end_ms) else {
        return Ok(None);
    };
    let id = identity.cluster.leaf(LeafKind::Custody, &identity.node).map_err(broken)?;
    let (key, usage) = (known.public_key_info(), LeafUsage::Signing);
    let renewed = issue::leaf(&identity.cluster_key, issuer, &id, key, usage, None, validity);
    let renewed = renewed.map_err(broken)?;
    let certificate_hash = sha256(&renewed);
    let installed = record.installed.as_mut().ok_or(OpenError::NotInstalled)?;
    installed.custody_certificate.clone_from(&renewed);
    identity.custody_certificate = renewed;
    Ok(Some(Event::LeafIssued { name: id.to_string(), certificate_hash }))
}

/// What the root's answer made of the host, as it is now.
pub(crate) async fn installed(view: &View) -> Result<InstalledRecord, Refusal> {
    let record: Option<HostRecord> = view.peek(&host_place()).await?;
    record.and_then(|record| record.installed).ok_or_else(damaged)
}

async fn present(view: &View, node: &str) -> Result<Vec<Present>, Refusal> {
    let mut keys = Vec::new();
    for (place, value) in view.peek_range(&Range::all(tables::IDENTITIES, Vec::new())).await? {
        let record: IdentityRecord = disk::read(&value)?;
        let name = String::from_utf8_lossy(&place.key).trim_end_matches('\0').to_owned();
        keys.push(Present::new(Holder::plugin(&name), &record.encryption_certificate)?);
    }
    let transfer = installed(view).await?.transfer_certificate;
    keys.push(Present::new(Holder::host(node), &transfer)?);
    Ok(keys)
}

async fn retired(view: &View, prefix: Vec<u8>) -> Result<Vec<Retired>, Refusal> {
    let found = view.peek_range(&Range::all(tables::RETIRED, prefix)).await?;
    let mut keys = Vec::with_capacity(found.len());
    for (place, value) in &found {
        keys.push(Retired::at(place, disk::read(value)?).ok_or_else(damaged)?);
    }
    Ok(keys)
}

fn key_retired() -> Refusal {
    let detail = "It is sealed to a key that was retired, and opens no more. Carry this cluster's \
                  identity to the sender, and have it made anew.";
    Refusal::new(Reason::KeyRetired, detail)
}

fn damaged() -> Refusal {
    let detail = "A key of the host is not as it was written; run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}
