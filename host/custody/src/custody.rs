//! One running node: opened from its store and its platform, asked for calls.

use std::sync::Arc;

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{SecretBytes, random};
use mintmark_exchange::canonical;
use mintmark_exchange::charter::Charter;
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::row::{Event, RowBody, Started};
use mintmark_model::{Reason, Refusal};
use mintmark_pki::chain::TrustRoot;
use mintmark_pki::{ClusterPath, LeafKind, LeafUsage, SpiffeId, issue};
use mintmark_platform::anchor::Anchor;
use mintmark_platform::{Mark, Platform};
use mintmark_store::{
    AfterCommit, CommitError, Committer, Key, NewRow, NotAnchored, Poison, Position, Store,
    Transaction, Version,
};

use crate::call::{Call, Carry, CommitFailure};
use crate::claims::Claims;
use crate::clock::kept::{kept, mark_place};
use crate::clock::{SiteClock, TimeSource};
use crate::disk::{self, host::HostRecord, time::MarkRecord};
use crate::dismissals::{Dismissals, dismissed};
use crate::escrows::Escrows;
use crate::genesis::OpenError;
use crate::host::{Host, Identity, Settings};
use crate::messages::host_binding;
use crate::outcomes::Outcomes;
use crate::room::{DiskSpace, Room};
use crate::rotation::renew_custody;
use crate::suspicion::{self, Suspicion};
use crate::tables;
use crate::types::Session;
use crate::users::{LEAF_DAYS, leaf_validity};
use crate::vault::Vault;
use crate::view::View;

/// A running node. Clones share it.
#[derive(Clone)]
pub struct Custody {
    pub(crate) host: Arc<Host>,
}

/// What a node runs on. Only the composition root chooses them.
pub struct Parts {
    /// The opened store.
    pub store: Arc<dyn Store>,
    /// The store's id, as it was created.
    pub store_id: [u8; 16],
    /// The platform.
    pub platform: Arc<dyn Platform>,
    /// Where time comes from.
    pub time: Box<dyn TimeSource>,
    /// Where it is written.
    pub space: Box<dyn DiskSpace>,
    /// What an admin set.
    pub settings: Settings,
}

/// What the node's TLS listener presents.
pub struct TlsIdentity {
    /// The node's certificate and the cluster CA's.
    pub chain: Vec<Vec<u8>>,
    /// The node's private key, PKCS#8.
    pub private_key: SecretBytes,
    /// The DNS name in the certificate.
    pub server_name: String,
}

impl Custody {
    /// Opens a node: compares the store with its anchor, unseals the host's keys, and records the
    /// start.
    ///
    /// A store that does not fit its anchor opens read-only: it answers, and nothing is written or
    /// released. [`Self::suspicion`] says why.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; nothing was changed then, and nothing serves.
    pub async fn open(parts: Parts) -> Result<Self, OpenError> {
        let Parts { store, store_id, platform, time, space, settings } = parts;
        let snapshot = store.snapshot().await.map_err(OpenError::Store)?;
        let view = View::new(&*store).await.map_err(OpenError::Refused)?;
        let record: Option<HostRecord> =
            view.peek(&host_place()).await.map_err(OpenError::Refused)?;
        let mut record = record.ok_or(OpenError::NotInitialised)?;
        let epoch = record.epoch;
        let suspicion =
            suspicion::catch_up(&*platform, &store_id, epoch, &*snapshot, &view).await?;
        let vault = Vault::new(&platform.sealing_secret().map_err(OpenError::Platform)?);
        let mut identity = identity_of(&record, &vault)?;
        let kept = kept(&*snapshot, &view, &identity.node).await?;
        let transit_ms_max = settings.max_transit_seconds.saturating_mul(1_000);
        let clock = SiteClock::start(time, kept, transit_ms_max);
        let renewed = match suspicion {
            None => renew_custody(&mut record, &mut identity, clock.started())?,
            Some(_) => None,
        };
        let boot = next_boot(&view).await.map_err(OpenError::Refused)?;
        let dismissals = Dismissals::load(&view).await.map_err(OpenError::Refused)?;
        let hook = AnchorHook { platform: Arc::clone(&platform), store_id, epoch };
        let committer = match suspicion {
            None => Committer::start(Arc::clone(&store), Box::new(hook)),
            Some(_) => Committer::closed(),
        };
        let host = Host {
            committer,
            suspicion,
            store,
            store_id,
            platform,
            clock,
            vault,
            identity,
            boot,
            epoch,
            escrows: Escrows::default(),
            claims: Claims::default(),
            outcomes: Outcomes::default(),
            dismissals,
            room: Room::new(space, settings.free_bytes_min),
            settings,
        };
        let custody = Self { host: Arc::new(host) };
        let head = snapshot.position().head(&custody.host.identity.node);
        if suspicion.is_none() {
            custody.host.check_storage_to_start().map_err(OpenError::Refused)?;
            let renewed = renewed.map(|event| (record, event));
            custody.record_start(head.map_or(0, |head| head.sequence), renewed).await?;
            custody.end_what_is_due().await.map_err(OpenError::Refused)?;
        }
        Ok(custody)
    }

    /// Begins a call; `carry` is what a first run left.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the store fails; `PERMISSION_DENIED` for somebody whose certificate was
    /// revoked, with a row.
    pub async fn begin(&self, session: Session, carry: Option<Carry>) -> Result<Call, Refusal> {
        let revoked = self.is_revoked(&session.principal);
        let host = Arc::clone(&self.host);
        let call = Call::begin(host, session, carry.unwrap_or_default()).await?;
        if revoked {
            call.abort(Reason::PermissionDenied).await;
            return Err(dismissed());
        }
        Ok(call)
    }

    /// Why the host is read-only since its start; `None` for one that fits its anchor.
    #[must_use]
    pub fn suspicion(&self) -> Option<Suspicion> {
        self.host.suspicion
    }

    /// Whether nothing can be written, and so nothing released, until the host is started again.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.host.committer.is_poisoned()
    }

    /// Site time in milliseconds.
    #[must_use]
    pub fn site_time_ms(&self) -> u64 {
        self.host.clock.now().site_ms
    }

    /// The root certificate that this host accepts.
    #[must_use]
    pub fn trust_root(&self) -> Vec<u8> {
        self.host.identity.root_certificate.clone()
    }

    /// The cluster's SPIFFE URI.
    #[must_use]
    pub fn cluster(&self) -> String {
        self.host.identity.uri()
    }

    /// A fresh TLS key with its certificate, for this start of the node.
    ///
    /// # Errors
    ///
    /// `EXPIRED` where the cluster CA's certificate has expired.
    pub fn tls_identity(&self) -> Result<TlsIdentity, Refusal> {
        let identity = &self.host.identity;
        let unusable =
            |_| Refusal::new(Reason::Unavailable, "The node's certificate can not be made.");
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let id: SpiffeId =
            identity.cluster.leaf(LeafKind::Node, &identity.node).map_err(unusable)?;
        let now = self.host.clock.now().site_ms;
        let validity = leaf_validity(&identity.cluster_certificate, now, LEAF_DAYS)?;
        let (signer, issuer) = (&identity.cluster_key, &identity.cluster_certificate);
        let public_key = key.public_key_info();
        let certificate =
            issue::leaf(signer, issuer, &id, public_key, LeafUsage::Tls, None, validity)
                .map_err(unusable)?;
        Ok(TlsIdentity {
            chain: identity.chain_of(&certificate),
            private_key: key.to_pkcs8(),
            server_name: id.dns_name(),
        })
    }

    /// A tag over `parts` by which the host knows its own compiled code again.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the platform gives no secret.
    pub fn cache_mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        self.host.tag("mintmark compiled code v1", parts)
    }

    /// Commits a call of the host's own services.
    pub(crate) async fn finish(&self, call: Call) -> Result<(), Refusal> {
        match call.commit().await {
            Ok(()) => Ok(()),
            Err(CommitFailure::Refused(refusal)) => Err(refusal),
            Err(CommitFailure::Conflict(_)) => Err(crate::call::conflict()),
        }
    }

    /// The store as of now, for answers that change nothing.
    pub(crate) async fn view(&self) -> Result<View, Refusal> {
        View::new(&*self.host.store).await
    }

    /// A session for what the host does on its own account.
    pub(crate) fn own_session(&self, method: &str) -> Session {
        self.host.own_session(method)
    }

    /// What was paused for too long while the host did not run is closed at its start, and a
    /// retired key whose time is over is destroyed.
    async fn end_what_is_due(&self) -> Result<(), Refusal> {
        let session = self.own_session("EndWhatIsDue");
        let mut call = self.begin(session, None).await?;
        call.close_all_due().await?;
        call.destroy_retired().await
    }

    async fn record_start(
        &self,
        after_row: u64,
        renewed: Option<(HostRecord, Event)>,
    ) -> Result<(), OpenError> {
        let host = &self.host;
        // The very moment from which rate windows count on.
        let moment = host.clock.started();
        let request = random::array();
        let row = |event| {
            let body = RowBody {
                version: 1,
                time_ms: moment.site_ms,
                monotonic_ms: moment.monotonic_ms,
                boot: host.boot,
                clock_suspect: moment.suspect,
                plugin: None,
                principal: host.identity.node_uri(),
                request,
                event,
            };
            NewRow { body: canonical::encode(&body), counters: Vec::new() }
        };
        let mut transaction = Transaction::default();
        transaction.rows.push(row(Event::Started(Started {
            cluster: host.identity.uri(),
            node: host.identity.node.clone(),
            incarnation: host.identity.incarnation,
            hardware_model: host.platform.hardware_model().to_owned(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            replaces: None,
        })));
        if let Some((record, event)) = renewed {
            transaction.rows.push(row(event));
            transaction.writes.push((host_place(), Some(disk::write(record))));
        }
        transaction.writes.push((boot_place(), Some(disk::write(host.boot))));
        let mark = MarkRecord { mark_ms: moment.site_ms, after_row };
        transaction.writes.push((mark_place(), Some(disk::write(mark))));
        host.committer.commit(transaction).await.map_err(|error| match error {
            CommitError::Unavailable => OpenError::Refused(host.cannot_write()),
            _ => OpenError::Commit(error),
        })?;
        Ok(())
    }
}

/// Anchors each batch before anything of it is released.
struct AnchorHook {
    platform: Arc<dyn Platform>,
    store_id: [u8; 16],
    epoch: u64,
}

impl AfterCommit for AnchorHook {
    fn advance(&mut self, position: &Position, remembered: &[[u8; 32]]) -> Result<(), NotAnchored> {
        let failed = |error| {
            tracing::error!(%error, "the anchor was not written");
            NotAnchored(match error {
                mintmark_platform::Error::Full => Poison::Full,
                mintmark_platform::Error::ReadOnly => Poison::ReadOnly,
                _ => Poison::Failed,
            })
        };
        if !remembered.is_empty() {
            self.platform.remember(remembered).map_err(failed)?;
        }
        let anchor = Anchor::new(self.store_id, self.epoch, mark_of(&position.mark()));
        self.platform.advance(&anchor).map_err(failed)
    }
}

/// The first epoch; restores raise it.
pub(crate) const FIRST_EPOCH: u64 = 1;

pub(crate) fn mark_of(mark: &mintmark_store::Mark) -> Mark {
    Mark { commit: mark.commit, heads_digest: mark.heads_digest, set_hash: mark.set_hash }
}

/// Where the host's own record is.
pub(crate) fn host_place() -> Key {
    Key::new(tables::HOST, b"host")
}

pub(crate) fn boot_place() -> Key {
    Key::new(tables::NUMBERS, b"boot")
}

pub(crate) async fn next_boot(view: &View) -> Result<u64, Refusal> {
    let last: u64 = view.peek(&boot_place()).await?.unwrap_or(0);
    Ok(last + 1)
}

fn identity_of(record: &HostRecord, vault: &Vault) -> Result<Identity, OpenError> {
    let installed = record.installed.as_ref().ok_or(OpenError::NotInstalled)?;
    let damaged = OpenError::Damaged;
    let cluster: SpiffeId = record.cluster.parse().map_err(|_| damaged("the cluster's name"))?;
    let cluster: ClusterPath = cluster.cluster().clone();
    let signing = |name, sealed: &[u8]| {
        let material = vault.open(&host_binding(name), sealed).map_err(OpenError::Refused)?;
        SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256, material.expose())
            .map_err(|_| damaged("a key of the host"))
    };
    // The key may be replaced while the host runs: it is opened at each use.
    vault
        .recipient_key(&host_binding("transfer"), &installed.transfer_key)
        .map_err(OpenError::Refused)?;
    let charter = SignedOrder::decode(&installed.charter).and_then(|order| order.open::<Charter>());
    Ok(Identity {
        cluster,
        node: record.node.clone(),
        incarnation: record.incarnation,
        root: TrustRoot::new(&installed.root).map_err(|_| damaged("the root certificate"))?,
        root_certificate: installed.root.clone(),
        cluster_key: signing("cluster", &record.cluster_key)?,
        cluster_certificate: installed.cluster_certificate.clone(),
        charter: charter.map_err(|_| damaged("the charter"))?,
        custody_key: signing("custody", &installed.custody_key)?,
        custody_certificate: installed.custody_certificate.clone(),
    })
}

/// A read that must find nothing.
pub(crate) fn absent(key: Key) -> (Key, Version) {
    (key, Version::ABSENT)
}

impl From<CommitError> for OpenError {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}
