//! Headquarters' stream to a site: numbered without gaps, each message naming the one before.
//!
//! Every message carries the last head of the site's own ledger that headquarters holds. A host
//! whose ledger does not contain that head is a copy of the one that reported, and takes nothing:
//! so one receipt cannot feed a clone.

use mintmark_exchange::message::TrustedMeasurement;
use mintmark_exchange::message::{HeadRef, Header, PluginCertificates, Purpose, Stream};
use mintmark_model::{Reason, Refusal};
use mintmark_store::{Key, Range};

use crate::call::Call;
use crate::disk::{self, peer::*, plugin::IdentityRecord};
use crate::host::untrusted;
use crate::tables;
use crate::types::{Digest, PeerIdentity};

/// A stream begins anew in an epoch that is at most so many ahead: there is always a later one. A
/// restore on other hardware takes it 2^24 ahead.
pub(super) const EPOCHS_AHEAD_MAX: u64 = 1 << 32;

impl Call {
    /// The place of the next message to `site`; none where a site sends.
    pub(crate) async fn next_in_stream(&mut self, site: &str) -> Result<Option<Stream>, Refusal> {
        if !self.host.identity.is_headquarters() {
            return Ok(None);
        }
        let known: Option<StreamRecord> = self.read(&stream_place(site)).await?;
        let last = match known {
            Some(record) => {
                self.refuse_stale(&record)?;
                record
            }
            None => StreamRecord { epoch: self.first_epoch(), ..StreamRecord::default() },
        };
        let identity = &self.host.identity;
        let head = self.view.position().head(&identity.node).map(|head| HeadRef {
            node: head.node.clone(),
            incarnation: identity.incarnation,
            sequence: head.sequence,
            hash: head.hash,
        });
        let (certificates, trust) = self.own_plugins().await?;
        let site_heads = self.held(site).await?.into_iter().map(head_ref).collect();
        Ok(Some(Stream {
            epoch: last.epoch,
            sequence: last.sequence + 1,
            previous: last.digest,
            sent_at: self.now_ms(),
            certificates,
            trust,
            crls: Vec::new(),
            head,
            site_heads,
        }))
    }

    /// Whether a message is the next one of its sender's stream, and meant for this very ledger.
    pub(crate) async fn check_stream(
        &mut self,
        sender: &PeerIdentity,
        header: &Header,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let stream = match (&header.host.stream, header.purpose) {
            (None, purpose) if !is_headquarters(purpose) => return Ok(()),
            (Some(stream), purpose) if is_headquarters(purpose) => stream,
            _ => return Err(untrusted()),
        };
        // A host writes both from one reading of its clock. Who has a key that was replaced can
        // date a message back; the site must not hear another time from it.
        if stream.sent_at != header.made_at {
            tracing::warn!("a message is dated twice");
            return Err(untrusted());
        }
        let last = self.stream_record(&sender.cluster).await?;
        let expected = last.sequence + 1;
        let follows = stream.epoch == last.epoch
            && stream.sequence == expected
            && stream.previous == last.digest;
        // Headquarters begins again: it was restored, or this site was.
        let ahead = stream.epoch.saturating_sub(last.epoch);
        let begins = (1..=EPOCHS_AHEAD_MAX).contains(&ahead)
            && stream.sequence == 1
            && stream.previous == [0; 32];
        if !follows && !begins {
            tracing::warn!(digest = %hex::encode(digest), "a message is out of order");
            let detail = format!("Message {} came where {expected} is expected.", stream.sequence);
            return Err(Refusal::new(Reason::OutOfOrder, detail)
                .with("expected", expected.to_string())
                .with("sequence", stream.sequence.to_string()));
        }
        for held in &stream.site_heads {
            self.check_own_head(held).await?;
        }
        Ok(())
    }

    /// Moves the stream on, and learns what headquarters says about itself.
    pub(crate) async fn take_from_stream(
        &mut self,
        sender: &PeerIdentity,
        stream: &Stream,
        digest: Digest,
    ) -> Result<StreamRecord, Refusal> {
        let mut record = self.stream_record(&sender.cluster).await?;
        record.epoch = stream.epoch;
        record.sequence = stream.sequence;
        record.digest = digest;
        record.head = stream.head.as_ref().map(held_record);
        self.view.write(stream_place(&sender.cluster), record.clone());
        self.learn_peer(&sender.cluster, stream).await?;
        Ok(record)
    }

    /// Whether this node's own ledger has the row that headquarters holds.
    pub(crate) async fn check_own_head(&mut self, held: &HeadRef) -> Result<(), Refusal> {
        if held.node != self.host.identity.node || held.sequence == 0 {
            return Ok(());
        }
        // Also of a ledger that a restore has replaced: a row that this store has lost, or a
        // ledger that it never had, is another copy's.
        let chain = self.host.identity.chain_of_ledger(&held.node, held.incarnation);
        let rows = self.view.rows(&chain, held.sequence - 1, 1).await?;
        if rows.first().is_some_and(|row| row.hash == held.hash) {
            return Ok(());
        }
        let detail = "Headquarters holds rows that this ledger does not have: this is a copy.";
        Err(Refusal::new(Reason::OutOfOrder, detail).with("row", held.sequence.to_string()))
    }

    /// The state of the stream between this cluster and another.
    pub(crate) async fn stream_record(&mut self, cluster: &str) -> Result<StreamRecord, Refusal> {
        Ok(self.read(&stream_place(cluster)).await?.unwrap_or_default())
    }

    /// Writes the state of a stream.
    pub(crate) fn write_stream(&mut self, cluster: &str, record: StreamRecord) {
        self.view.write(stream_place(cluster), record);
    }

    /// The heads that headquarters holds of a cluster's nodes.
    pub(crate) async fn held(&mut self, cluster: &str) -> Result<Vec<HeldRecord>, Refusal> {
        let range = Range::all(tables::HELD, tables::prefix(cluster, b""));
        let found = self.view.scan(range).await?;
        found.iter().map(|(_, value)| disk::read(value)).collect()
    }

    async fn own_plugins(
        &mut self,
    ) -> Result<(Vec<PluginCertificates>, Vec<TrustedMeasurement>), Refusal> {
        let found = self.view.peek_range(&Range::all(tables::IDENTITIES, Vec::new())).await?;
        let mut certificates = Vec::new();
        let mut trust = Vec::new();
        for (key, value) in &found {
            let record: IdentityRecord = disk::read(value)?;
            let plugin = String::from_utf8_lossy(&key.key).trim_end_matches('\0').to_owned();
            let measurement = record.measurement;
            trust.push(TrustedMeasurement { plugin: plugin.clone(), measurement });
            certificates.push(PluginCertificates {
                plugin,
                signing: self.host.identity.chain_of(&record.signing_certificate),
                encryption: self.host.identity.chain_of(&record.encryption_certificate),
            });
        }
        Ok((certificates, trust))
    }

    /// What headquarters says of its plugins is believed as far as its certificates go, and unless
    /// it has said newer things already.
    async fn learn_peer(&mut self, cluster: &str, stream: &Stream) -> Result<(), Refusal> {
        let mut record = self.peer_record(cluster).await?.unwrap_or(PeerRecord {
            hardware_model: String::new(),
            plugins: Vec::new(),
            transfer: Vec::new(),
            fingerprint: None,
            made_at: 0,
            trusted: Vec::new(),
        });
        let mut plugins = Vec::new();
        for plugin in &stream.certificates {
            plugins.push(self.verify_plugin((cluster, stream.sent_at), plugin.clone())?);
        }
        if stream.sent_at < record.made_at {
            return Ok(());
        }
        record.made_at = stream.sent_at;
        let trusted = stream.trust.iter().map(|one| (one.plugin.clone(), one.measurement));
        record.plugins = plugins;
        record.trusted = trusted.collect();
        self.write_peer(cluster, record);
        Ok(())
    }
}

/// Whether headquarters sends messages of a purpose.
fn is_headquarters(purpose: Purpose) -> bool {
    super::sender_role(purpose) == Some(mintmark_pki::ClusterRole::Headquarters)
}

pub(crate) fn stream_place(cluster: &str) -> Key {
    Key::new(tables::STREAMS, cluster.as_bytes())
}

pub(crate) fn head_ref(held: HeldRecord) -> HeadRef {
    let HeldRecord { node, incarnation, sequence, hash } = held;
    HeadRef { node, incarnation, sequence, hash }
}

pub(crate) fn held_record(head: &HeadRef) -> HeldRecord {
    HeldRecord {
        node: head.node.clone(),
        incarnation: head.incarnation,
        sequence: head.sequence,
        hash: head.hash,
    }
}
