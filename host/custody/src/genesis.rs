//! How a node begins: a store with a key and a request, then the root's answer.
//!
//! Both steps are offline. The cluster CA's key is made here and never leaves; the root signs its
//! request, and a charter that says who may approve and which plugins of headquarters are trusted.

use std::sync::Arc;

use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_crypto::random;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::charter::Charter;
use mintmark_exchange::order::{CHARTER, SignedOrder};
use mintmark_model::Refusal;
use mintmark_pki::chain::TrustRoot;
use mintmark_pki::{ClusterPath, LeafKind, LeafUsage, VerifiedCsr, issue};
use mintmark_platform::Platform;
use mintmark_platform::anchor::Anchor;
use mintmark_store::{CommitError, Range, Store, Transaction};
use thiserror::Error;

use crate::custody::{Custody, FIRST_EPOCH, Parts, absent, host_place, mark_of};
use crate::disk::{self, host::*};
use crate::messages::host_binding;
use crate::suspicion::Suspicion;
use crate::tables;
use crate::users::{IssuedUser, leaf_validity};
use crate::vault::Vault;
use crate::view::View;

/// Why a node can not be opened or made.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store refused.
    #[error("the store can not be opened: {0}")]
    Store(#[source] mintmark_store::Error),
    /// The platform refused.
    #[error("the platform can not be opened: {0}")]
    Platform(#[source] mintmark_platform::Error),
    /// What a record said.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// Something could not be written.
    #[error("the start could not be recorded: {0}")]
    Commit(#[source] CommitError),
    /// The first step was not done.
    #[error("the store is not initialised; run `mintmark init`")]
    NotInitialised,
    /// The second step was not done.
    #[error("the cluster's certificate is not installed; run `mintmark init --certificate`")]
    NotInstalled,
    /// The second step was done already.
    #[error("the cluster's certificate is installed already")]
    Installed,
    /// The store does not fit its anchor, and what was asked for writes.
    #[error("ROLLBACK_SUSPECTED: {0}")]
    Suspected(Suspicion),
    /// Something in the store is not what it must be.
    #[error("the store is damaged: {0}; run `mintmark verify`")]
    Damaged(&'static str),
    /// A certificate, charter or name does not fit.
    #[error("{0}")]
    Misfit(&'static str),
}

/// The root's answer to a cluster's request.
pub struct RootAnswer {
    /// The root certificate.
    pub root: Vec<u8>,
    /// The cluster CA's certificate.
    pub certificate: Vec<u8>,
    /// The signed charter, encoded.
    pub charter: Vec<u8>,
}

/// How long the host's own certificates are valid, in days.
pub(crate) const HOST_DAYS: u32 = 365;

/// The first step: makes the cluster CA's key in an empty store; gives its certificate request.
///
/// # Errors
///
/// Where the store is not empty, or fails.
pub async fn prepare(
    store: &Arc<dyn Store>,
    store_id: &[u8; 16],
    platform: &dyn Platform,
    cluster: &ClusterPath,
    node: &str,
) -> Result<Vec<u8>, OpenError> {
    let vault = Vault::new(&platform.sealing_secret().map_err(OpenError::Platform)?);
    let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
    let misfit = |_| OpenError::Misfit("a request with this name can not be made");
    let request = issue::cluster_csr(&key, cluster).map_err(misfit)?;
    cluster.leaf(LeafKind::Node, node).map_err(|_| OpenError::Misfit("the node's name"))?;
    let record = HostRecord {
        cluster: cluster.to_string(),
        node: node.to_owned(),
        incarnation: u64::from_be_bytes(random::array()) >> 1,
        epoch: FIRST_EPOCH,
        cluster_key: vault.seal(&host_binding("cluster"), key.to_pkcs8().expose()),
        request: request.clone(),
        installed: None,
    };
    write_record(store, store_id, platform, record, true).await?;
    Ok(request)
}

/// The request of a node that was prepared.
///
/// # Errors
///
/// Where it was not.
pub async fn request(store: &dyn Store) -> Result<(String, Vec<u8>), OpenError> {
    let record = read_record(store).await?;
    Ok((record.cluster, record.request))
}

/// The second step: installs the root's answer, opens the node, and issues the first admin's
/// certificate.
///
/// # Errors
///
/// Where certificate or charter are not the root's answer to this node's request.
pub async fn install(
    parts: Parts,
    answer: RootAnswer,
    admin: (&str, &[u8]),
) -> Result<(Custody, IssuedUser), OpenError> {
    let mut record = read_record(&*parts.store).await?;
    let (name, csr) = admin;
    VerifiedCsr::check(csr).map_err(|_| OpenError::Misfit("the admin's request is malformed"))?;
    // A crash may have come between the installation and the first admin; then the latter is due.
    if record.installed.is_some() && has_users(&*parts.store).await? {
        return Err(OpenError::Installed);
    }
    if record.installed.is_none() {
        let vault = Vault::new(&parts.platform.sealing_secret().map_err(OpenError::Platform)?);
        let now = parts.time.wall_ms();
        record.installed = Some(check_answer(&record, &vault, answer, now)?);
        write_record(&parts.store, &parts.store_id, &*parts.platform, record, false).await?;
    }
    let custody = Custody::open(parts).await?;
    if let Some(suspicion) = custody.suspicion() {
        return Err(OpenError::Suspected(suspicion));
    }
    let session = custody.own_session("init");
    let issued = custody.issue_user(session, "admin", name, csr, None, &[]).await;
    Ok((custody, issued.map_err(OpenError::Refused)?))
}

fn check_answer(
    record: &HostRecord,
    vault: &Vault,
    answer: RootAnswer,
    now: u64,
) -> Result<InstalledRecord, OpenError> {
    let root = TrustRoot::new(&answer.root)
        .map_err(|_| OpenError::Misfit("the root certificate is not one"))?;
    let verified = root
        .verify_cluster(&answer.certificate, now)
        .map_err(|_| OpenError::Misfit("the certificate does not come from this root"))?;
    if verified.path().to_string() != record.cluster {
        return Err(OpenError::Misfit("the certificate is for another cluster"));
    }
    let key = vault.open(&host_binding("cluster"), &record.cluster_key);
    let key = key.map_err(OpenError::Refused)?;
    let key = SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256, key.expose())
        .map_err(|_| OpenError::Damaged("the cluster's key"))?;
    if verified.certificate().public_key_info() != key.public_key_info() {
        return Err(OpenError::Misfit("the certificate is for another request"));
    }
    check_charter(&root, &answer, &record.cluster)?;
    own_certificates(record, vault, &key, verified.path(), answer, now)
}

fn check_charter(root: &TrustRoot, answer: &RootAnswer, cluster: &str) -> Result<(), OpenError> {
    let misfit = OpenError::Misfit;
    let order =
        SignedOrder::decode(&answer.charter).map_err(|_| misfit("the charter is malformed"))?;
    let key = root.certificate().public_key_info();
    mintmark_crypto::sign::verify(key, &order.signed_bytes(CHARTER), &order.signature)
        .map_err(|_| misfit("the charter is not signed by this root"))?;
    let charter: Charter = order.open().map_err(|_| misfit("the charter is malformed"))?;
    if !charter.is_sound() || charter.cluster != cluster {
        return Err(misfit("the charter is for another cluster, or contradicts itself"));
    }
    Ok(())
}

/// The keys and certificates by which the host itself signs and opens.
fn own_certificates(
    record: &HostRecord,
    vault: &Vault,
    cluster_key: &SigningKey,
    cluster: &ClusterPath,
    answer: RootAnswer,
    now: u64,
) -> Result<InstalledRecord, OpenError> {
    let validity =
        leaf_validity(&answer.certificate, now, HOST_DAYS).map_err(OpenError::Refused)?;
    let issue = |kind, key: &[u8], usage| {
        let id =
            cluster.leaf(kind, &record.node).map_err(|_| OpenError::Misfit("the node's name"))?;
        issue::leaf(cluster_key, &answer.certificate, &id, key, usage, None, validity)
            .map_err(|_| OpenError::Misfit("the host's certificates can not be issued"))
    };
    let custody = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
    let transfer = RecipientKey::generate(Suite::X25519Sha256Aes256Gcm);
    let custody_certificate =
        issue(LeafKind::Custody, custody.public_key_info(), LeafUsage::Signing)?;
    let transfer_certificate =
        issue(LeafKind::Transfer, transfer.public_key_info(), LeafUsage::Encryption)?;
    Ok(InstalledRecord {
        custody_key: vault.seal(&host_binding("custody"), custody.to_pkcs8().expose()),
        custody_certificate,
        transfer_key: vault.seal(&host_binding("transfer"), transfer.to_bytes().expose()),
        transfer_certificate,
        root: answer.root,
        cluster_certificate: answer.certificate,
        charter: answer.charter,
    })
}

async fn has_users(store: &dyn Store) -> Result<bool, OpenError> {
    let view = View::new(store).await.map_err(OpenError::Refused)?;
    let range = Range::all(tables::USERS, Vec::new()).limit(1);
    let found = view.peek_range(&range).await.map_err(OpenError::Refused)?;
    Ok(!found.is_empty())
}

async fn read_record(store: &dyn Store) -> Result<HostRecord, OpenError> {
    let view = View::new(store).await.map_err(OpenError::Refused)?;
    let record: Option<HostRecord> = view.peek(&host_place()).await.map_err(OpenError::Refused)?;
    record.ok_or(OpenError::NotInitialised)
}

/// Writes the host's record without a committer: nothing runs yet. Anchored as every commit.
async fn write_record(
    store: &Arc<dyn Store>,
    store_id: &[u8; 16],
    platform: &dyn Platform,
    record: HostRecord,
    fresh: bool,
) -> Result<(), OpenError> {
    let mut transaction = Transaction::default();
    if fresh {
        transaction.reads.push(absent(host_place()));
    }
    let epoch = record.epoch;
    transaction.writes.push((host_place(), Some(disk::write(record))));
    let outcomes = store.commit(vec![transaction]).await.map_err(OpenError::Store)?;
    if !matches!(outcomes.first(), Some(mintmark_store::Outcome::Committed { .. })) {
        return Err(OpenError::Installed);
    }
    let snapshot = store.snapshot().await.map_err(OpenError::Store)?;
    let anchor = Anchor::new(*store_id, epoch, mark_of(&snapshot.position().mark()));
    platform.advance(&anchor).map_err(OpenError::Platform)
}
