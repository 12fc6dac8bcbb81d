//! Opening a message: verify, then decrypt, then let the plugin parse.
//!
//! The bytes are whatever somebody put into a file. Up to and with the decryption there is one
//! answer to whatever is wrong; what exactly it was goes to the host's log.

use mintmark_crypto::digest::sha256;
use mintmark_crypto::hpke::{Receiver, RecipientKey};
use mintmark_exchange::message::{
    HEAD_BYTES_MAX, HeadError, Header, MessageHead, Purpose, Stream, TAG_BYTES,
};
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::chain::{Usage, VerifiedChain};
use mintmark_pki::{Certificate, LeafKind, LeafUsage};
use mintmark_store::Key;

use super::stream::stream_place;
use super::{parse_purpose, sender_role};
use crate::call::{Arrival, Call};
use crate::clock::kept::heard_place;
use crate::disk::{self, host::FileRecord, peer::MessageRecord};
use crate::host::untrusted;
use crate::rotation::Holder;
use crate::tables;
use crate::types::{Digest, PeerIdentity};
use crate::users::SKEW_MS;

/// An authentic message, opened.
pub struct OpenedMessage {
    purpose: Purpose,
    sender: PeerIdentity,
    header: Vec<u8>,
    made_at: u64,
    digest: Digest,
    body: Vec<u8>,
}

impl OpenedMessage {
    /// Who sent it.
    #[must_use]
    pub fn sender(&self) -> &PeerIdentity {
        &self.sender
    }

    /// What the sending plugin said in clear.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Site time of the sender, in milliseconds.
    #[must_use]
    pub fn made_at(&self) -> u64 {
        self.made_at
    }

    /// The digest by which the message is known.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Length of the body in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.body.len() as u64
    }

    /// Bytes of the body from `offset`; fewer at its end, none past it.
    #[must_use]
    pub fn read(&self, offset: u64, limit: u32) -> Vec<u8> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.body.len());
        let to = from.saturating_add(limit as usize).min(self.body.len());
        self.body[from..to].to_vec()
    }
}

impl Call {
    /// Verifies and decrypts a staged message.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for the file; `REPLAYED` for a message that was accepted before;
    /// `UNTRUSTED_MESSAGE`; `WRONG_SITE`, `WRONG_PLUGIN`, `KEY_RETIRED`, `UNSUPPORTED_VERSION`,
    /// `OUT_OF_ORDER`, `EXPIRED` for an authentic message that can not be taken.
    pub async fn open_message(
        &mut self,
        purpose: &str,
        file: &str,
    ) -> Result<OpenedMessage, Refusal> {
        let parsed = parse_purpose(purpose)?;
        if !self.plugin()?.receives.iter().any(|claimed| claimed == purpose) {
            return Err(Refusal::denied("The plugin may not receive messages for this purpose."));
        }
        self.destroy_retired().await?;
        let record = self.staged_record(file).await?;
        let prefix = self.staged_range(file, &record, 0, HEAD_BYTES_MAX).await?;
        let (head, length) = MessageHead::parse(&prefix).map_err(|error| refuse_head(&error))?;
        let again = self.refuse_replay(&head.digest()).await?;
        let chain = self.verify_head(&head, parsed)?;
        let sender = self.trusted_sender(&chain, parsed).await?;
        self.refuse_replaced_key(&chain, head.header()).await?;
        let key = match self.recipient_key(head.header()).await {
            Err(refusal) if refusal.reason != Reason::KeyRetired => return Err(refusal),
            key => key,
        };
        if self.began.suspect && (key.is_err() || self.is_over_age(head.header())) {
            // It would be passed over, and may be good.
            let detail = "The message seems to have travelled too long, but the clock can not be \
                          relied on: set it right, then open the message again.";
            return Err(Refusal::new(Reason::ClockSuspect, detail));
        }
        if !again {
            self.check_stream(&sender, head.header(), &head.digest()).await?;
        }
        // What is not opened any more is passed over, or a stream would stand still at it.
        let key = match self.is_over_age(head.header()) {
            true => key.and(Err(over_age())),
            false => key,
        };
        let body = match &key {
            Ok(key) => self.read_body((file, &record), &head, length as u64, key).await?,
            Err(_) => Vec::new(),
        };
        let opened = OpenedMessage {
            purpose: parsed,
            sender,
            header: head.header().plugin.clone(),
            made_at: head.header().made_at,
            digest: head.digest(),
            body,
        };
        if let Some(stream) = &head.header().host.stream {
            if !again {
                self.arrive(&opened, stream).await?;
            }
            self.accept(&opened, Some(stream.sequence)).await?;
        }
        key.map(|_| opened)
    }

    /// The chunks of a message whose head was believed, decrypted. Nothing of a file that is longer
    /// or shorter than its head says is read.
    async fn read_body(
        &mut self,
        (file, record): (&str, &FileRecord),
        head: &MessageHead,
        from: u64,
        key: &RecipientKey,
    ) -> Result<Vec<u8>, Refusal> {
        let chunk_bytes = head.chunk_bytes();
        if record.length != from.saturating_add(chunk_bytes) {
            tracing::warn!("a message has other chunks than its head says");
            return Err(untrusted());
        }
        let limit = usize::try_from(chunk_bytes).unwrap_or(usize::MAX);
        let sealed = self.staged_range(file, record, from, limit).await?;
        decrypt_body(head, &sealed, key)
    }

    /// Takes a message off headquarters' stream, whatever the call makes of it.
    async fn arrive(&mut self, opened: &OpenedMessage, stream: &Stream) -> Result<(), Refusal> {
        let places = [
            stream_place(&opened.sender.cluster),
            Key::new(tables::MESSAGES, opened.digest),
            heard_place(),
        ];
        let mut reads = Vec::with_capacity(places.len());
        for place in &places {
            reads.push((place.clone(), self.view.peek_versioned(place).await?.1));
        }
        let before = self.stream_record(&opened.sender.cluster).await?.epoch;
        let moved = self.take_from_stream(&opened.sender, stream, opened.digest).await?;
        let heard_ms = self.hear(stream.sent_at).await?;
        let message = MessageRecord { open_again: true, ..self.message_record(opened) };
        let mut events = vec![opened_event(opened, Some(stream.sequence))];
        if moved.epoch != before {
            let peer = opened.sender.cluster.clone();
            let begun = Event::StreamOpened { peer, epoch: moved.epoch };
            self.record(begun.clone());
            events.push(begun);
        }
        let [at_stream, at_message, heard] = places;
        self.arrival = Some(Arrival {
            reads,
            writes: vec![
                (at_stream, disk::write(moved)),
                (at_message, disk::write(message)),
                (heard, disk::write(heard_ms)),
            ],
            events,
            sent_at: stream.sent_at,
        });
        Ok(())
    }

    fn message_record(&self, opened: &OpenedMessage) -> MessageRecord {
        MessageRecord {
            purpose: opened.purpose.name().to_owned(),
            accepted_at: self.now_ms(),
            row: self.position_hint(),
            open_again: false,
        }
    }

    /// Says that a message is done with: its bytes answer `REPLAYED` from now on.
    ///
    /// # Errors
    ///
    /// `REPLAYED` where another call was done with it first.
    pub async fn accept_message(&mut self, message: &OpenedMessage) -> Result<(), Refusal> {
        // What headquarters sends was accepted when it was opened.
        if sender_role(message.purpose) == Some(mintmark_pki::ClusterRole::Headquarters) {
            return Ok(());
        }
        self.refuse_replay(&message.digest).await?;
        self.accept(message, None).await
    }

    async fn accept(
        &mut self,
        message: &OpenedMessage,
        sequence: Option<u64>,
    ) -> Result<(), Refusal> {
        let record = self.message_record(message);
        self.view.write(Key::new(tables::MESSAGES, message.digest), record);
        self.record(opened_event(message, sequence));
        Ok(())
    }

    /// The number of the last ledger row before this call's own, so that a replay can be told where
    /// to look.
    fn position_hint(&self) -> String {
        let head = self.view.position().head(&self.host.identity.node);
        head.map_or(0, |head| head.sequence).saturating_add(1).to_string()
    }

    /// Refuses a message that was taken before; true for one that a call took and could not use.
    async fn refuse_replay(&mut self, digest: &Digest) -> Result<bool, Refusal> {
        let known: Option<MessageRecord> = self.read(&Key::new(tables::MESSAGES, *digest)).await?;
        let known = match known {
            None => return Ok(false),
            Some(known) if known.open_again => return Ok(true),
            Some(known) => known,
        };
        let detail = "The message was taken before; nothing changed.";
        Err(Refusal::new(Reason::Replayed, detail)
            .with("digest", hex::encode(digest))
            .with("purpose", known.purpose)
            .with("accepted-at", known.accepted_at.to_string())
            .with("row", known.row))
    }

    fn transit_ms(&self) -> u64 {
        self.host.settings.max_transit_seconds.saturating_mul(1_000)
    }

    /// Whether a message travelled longer than a transit may take.
    fn is_over_age(&self, header: &Header) -> bool {
        self.now_ms().saturating_sub(header.made_at) > self.transit_ms()
    }

    /// Chain, age, role and signature. A message of the stream that is too old is looked at
    /// nevertheless: if it is the next one, it is passed over.
    fn verify_head(&self, head: &MessageHead, purpose: Purpose) -> Result<VerifiedChain, Refusal> {
        let header = head.header();
        let ahead = header.made_at.saturating_sub(self.now_ms()) > self.transit_ms();
        if ahead || (header.host.stream.is_none() && self.is_over_age(header)) {
            tracing::warn!(ahead, "a message is older, or newer, than a transit may take");
            return Err(untrusted());
        }
        let root = &self.host.identity.root;
        let chain = root.verify(&header.sender_chain, header.made_at, Usage::Any);
        let chain = chain.map_err(|error| {
            tracing::warn!(%error, "the chain of a message does not hold");
            untrusted()
        })?;
        let plugin = chain.kind() == LeafKind::Plugin && chain.usage() == LeafUsage::Signing;
        let role = Some(chain.id().cluster().role()) == sender_role(purpose);
        let key = chain.public_key_info();
        let signed = mintmark_crypto::sign::verify(key, &head.signed_bytes(), head.signature());
        if !plugin || !role || header.purpose != purpose || signed.is_err() {
            tracing::warn!(plugin, role, "a message is not what it should be");
            return Err(untrusted());
        }
        Ok(chain)
    }

    /// The sender, if this host trusts its measurement.
    async fn trusted_sender(
        &mut self,
        chain: &VerifiedChain,
        purpose: Purpose,
    ) -> Result<PeerIdentity, Refusal> {
        let cluster = chain.id().cluster().to_string();
        let plugin = chain.name().to_owned();
        let measurement = chain.measurement().ok_or_else(untrusted)?;
        let peer = self.peer_record(&cluster).await?;
        let charter = &self.host.identity.charter;
        let from_site = sender_role(purpose) == Some(mintmark_pki::ClusterRole::Site);
        let by_charter = !from_site
            && (charter.trusted_plugins.iter())
                .any(|trusted| trusted.plugin == plugin && trusted.measurement == measurement);
        let by_peer = peer.as_ref().is_some_and(|peer| {
            peer.trusted.iter().any(|(name, trusted)| *name == plugin && *trusted == measurement)
        });
        if !by_charter && !by_peer {
            let detail = "The sending plugin's code is not trusted; import its cluster's identity.";
            return Err(Refusal::new(Reason::WrongPlugin, detail));
        }
        let hardware_model = peer.map(|peer| peer.hardware_model).unwrap_or_default();
        Ok(PeerIdentity { cluster, plugin, measurement, hardware_model })
    }

    /// A key that the sender has replaced signs nothing that was made later. Another key than the
    /// one that the sender named last is good only if its certificate is newer, and was not issued
    /// before the sender named that one: people may have taken back an older key.
    async fn refuse_replaced_key(
        &mut self,
        chain: &VerifiedChain,
        header: &Header,
    ) -> Result<(), Refusal> {
        let peer = self.peer_record(&chain.id().cluster().to_string()).await?;
        let Some(peer) = peer.filter(|peer| header.made_at >= peer.made_at) else { return Ok(()) };
        let known = peer.plugins.iter().find(|known| known.name == chain.name());
        let known = known.and_then(|known| Certificate::parse(known.signing.first()?).ok());
        let other = known.filter(|known| known.public_key_info() != chain.public_key_info());
        let replaced = other.is_some_and(|known| {
            let certificate = chain.certificate();
            issued(&known) > issued(certificate) || issued_by(certificate) < peer.made_at
        });
        if !replaced {
            return Ok(());
        }
        let detail = "The message is signed with a key that its sender had replaced by then. If \
                      the sender was restored from a backup, import its cluster's identity again.";
        Err(Refusal::new(Reason::KeyRetired, detail))
    }

    /// The plugin's key to which a message is sealed: the present one, or one that was retired and
    /// still opens.
    async fn recipient_key(&mut self, header: &Header) -> Result<RecipientKey, Refusal> {
        let keys = self.plugin_keys().await?;
        if header.recipient == sha256(keys.encryption.public_key_info()) {
            return Ok(keys.encryption);
        }
        let holder = Holder::plugin(&self.plugin_name()?);
        let retired = self.retired_key(&holder, &header.recipient).await?;
        let detail = "The message is for another cluster or plugin.";
        retired.ok_or_else(|| Refusal::new(Reason::WrongSite, detail))
    }
}

fn decrypt_body(head: &MessageHead, bytes: &[u8], key: &RecipientKey) -> Result<Vec<u8>, Refusal> {
    if head.chunk_bytes() != bytes.len() as u64 {
        tracing::warn!("a message has other chunks than its head says");
        return Err(untrusted());
    }
    let tail = head.tail();
    let receiver = Receiver::new(key, &tail.encapsulated_key, &head.hpke_info());
    let mut receiver = receiver.map_err(|_| untrusted())?;
    let mut body = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    for chunk in &tail.chunks {
        let (sealed, after) = rest.split_at(chunk.length as usize);
        rest = after;
        if sealed.len() < TAG_BYTES || sha256(sealed) != chunk.digest {
            tracing::warn!("a chunk of a message is not the one that was signed");
            return Err(untrusted());
        }
        let opened = receiver.open(head.aad(), sealed).map_err(|_| untrusted())?;
        body.extend_from_slice(opened.expose());
    }
    Ok(body)
}

/// By when a certificate was issued; its end is told apart where its issuer's own bounds the
/// beginning.
fn issued(certificate: &Certificate) -> (u64, u64) {
    let validity = certificate.validity();
    (validity.not_before_ms(), validity.not_after_ms())
}

/// When a certificate was issued, at the latest: it begins a little earlier, in whole seconds.
fn issued_by(certificate: &Certificate) -> u64 {
    certificate.validity().not_before_ms().saturating_add(SKEW_MS + 999)
}

fn over_age() -> Refusal {
    let detail = "The message travelled longer than any may. It was taken off headquarters' \
                  stream unopened, and nothing of it is done; have headquarters send anew what it \
                  was about.";
    Refusal::new(Reason::Expired, detail)
}

fn opened_event(message: &OpenedMessage, sequence: Option<u64>) -> Event {
    Event::MessageOpened {
        purpose: message.purpose,
        peer: message.sender.cluster.clone(),
        digest: message.digest,
        sequence,
    }
}

fn refuse_head(error: &HeadError) -> Refusal {
    tracing::warn!(%error, "the head of a message can not be read");
    untrusted()
}
