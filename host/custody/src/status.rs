//! What an admin sees of a host: its state, its peers, its outbox.

use mintmark_model::Refusal;
use mintmark_store::Range;

use crate::custody::Custody;
use crate::disk::{self, peer::*};
use crate::messages::outbox::place_of;
use crate::plugins::InstalledPlugin;
use crate::room::StorageStatus;
use crate::rotation::HostKey;
use crate::tables;
use crate::types::{Digest, LedgerPosition, Session};

/// The state of a host.
#[derive(Debug, Clone)]
pub struct HostStatus {
    /// The cluster's SPIFFE URI.
    pub cluster: String,
    /// `production` or `trial`, as the root certificate says.
    pub kind: &'static str,
    /// What vouches for the platform.
    pub hardware_model: &'static str,
    /// The node's name.
    pub node: String,
    /// Which ledger of the node.
    pub incarnation: u64,
    /// Starts of this store.
    pub boot: u64,
    /// The last commit.
    pub commit: u64,
    /// Commits that shared a sync, since the start.
    pub batches: u64,
    /// Ends of the chains.
    pub heads: Vec<LedgerPosition>,
    /// Site time in milliseconds.
    pub site_time_ms: u64,
    /// Whether the clock can not be relied on.
    pub clock_suspect: bool,
    /// Whether nothing can be written any more.
    pub read_only: bool,
    /// The store's epoch: raised by each restore.
    pub epoch: u64,
    /// Why nothing can be written, with what to do; `None` where it can.
    pub problem: Option<Refusal>,
    /// How much room there is.
    pub storage: StorageStatus,
    /// Versions of plugins.
    pub plugins: Vec<InstalledPlugin>,
    /// Known clusters.
    pub peers: Vec<PeerStatus>,
    /// The keys to which others seal.
    pub keys: Vec<HostKey>,
}

/// What is known of another cluster.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Its SPIFFE URI.
    pub cluster: String,
    /// What its platform says of itself; empty where that is not known.
    pub hardware_model: String,
    /// The fingerprint of its identity; none for a cluster that was learned from its messages.
    pub fingerprint: Option<Digest>,
    /// Its plugins that are trusted.
    pub trusted: Vec<(String, Digest)>,
    /// The last message that was sent to it, or taken from it.
    pub sequence: u64,
}

/// A message that was sent to a site.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// The site's SPIFFE URI.
    pub site: String,
    /// The epoch of the stream.
    pub epoch: u64,
    /// Its place in it.
    pub sequence: u64,
    /// What it is for.
    pub purpose: String,
    /// Id of the staged file.
    pub file: String,
    /// The message's digest.
    pub digest: Digest,
    /// Site time at its making, in milliseconds.
    pub made_at: u64,
}

impl Custody {
    /// The state of the host.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn status(&self) -> Result<HostStatus, Refusal> {
        let view = self.view().await?;
        let host = &self.host;
        let now = host.clock.now();
        let position = view.position();
        let heads = position.heads.iter().map(|head| LedgerPosition {
            node: head.node.clone(),
            sequence: head.sequence,
            hash: head.hash,
        });
        Ok(HostStatus {
            cluster: host.identity.uri(),
            kind: host.identity.root.kind().name(),
            hardware_model: host.platform.hardware_model(),
            node: host.identity.node.clone(),
            incarnation: host.identity.incarnation,
            boot: host.boot,
            commit: position.commit,
            batches: host.committer.batches(),
            heads: heads.collect(),
            site_time_ms: now.site_ms,
            clock_suspect: now.suspect,
            read_only: self.is_read_only(),
            epoch: host.epoch,
            problem: self.is_read_only().then(|| host.cannot_write()),
            storage: self.storage(),
            plugins: self.plugins().await?,
            peers: self.peers().await?,
            keys: self.host_keys().await?,
        })
    }

    /// The clusters that are known.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn peers(&self) -> Result<Vec<PeerStatus>, Refusal> {
        let view = self.view().await?;
        let found = view.peek_range(&Range::all(tables::PEERS, Vec::new())).await?;
        let mut peers = Vec::with_capacity(found.len());
        for (key, value) in found {
            let record: PeerRecord = disk::read(&value)?;
            let place = mintmark_store::Key::new(tables::STREAMS, key.key.clone());
            let stream: Option<StreamRecord> = view.peek(&place).await?;
            peers.push(PeerStatus {
                cluster: String::from_utf8_lossy(&key.key).into_owned(),
                hardware_model: record.hardware_model,
                fingerprint: record.fingerprint,
                trusted: record.trusted,
                sequence: stream.unwrap_or_default().sequence,
            });
        }
        Ok(peers)
    }

    /// Messages that were sent to sites and are not acknowledged yet, oldest first.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn outbox(
        &self,
        _session: Session,
        site: Option<&str>,
    ) -> Result<Vec<OutboxEntry>, Refusal> {
        let view = self.view().await?;
        let found = view.peek_range(&Range::all(tables::OUTBOX, Vec::new())).await?;
        let mut entries = Vec::with_capacity(found.len());
        for (key, value) in found {
            let Some((name, place)) = place_of(&key) else { continue };
            if site.is_some_and(|site| name != site && !name.ends_with(&format!("/{site}"))) {
                continue;
            }
            let record: OutboxRecord = disk::read(&value)?;
            entries.push(OutboxEntry {
                site: name,
                epoch: place.epoch,
                sequence: place.sequence,
                purpose: record.purpose,
                file: record.file,
                digest: record.digest,
                made_at: record.made_at,
            });
        }
        Ok(entries)
    }
}
