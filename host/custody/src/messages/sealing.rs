//! Writing a message: the body is sealed to the recipient's plugin, the whole signed as this one.

use mintmark_crypto::digest::sha256;
use mintmark_crypto::hpke::{Sender, Suite as HpkeSuite};
use mintmark_crypto::random;
use mintmark_exchange::message::{
    self, CHUNK_BYTES_MAX, ChunkRef, Header, HostHeader, PLUGIN_HEADER_BYTES_MAX, Purpose, Suite,
    Tail,
};
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};

use super::{PluginKeys, parse_purpose, sender_role};
use crate::call::Call;
use crate::peers::first_key;
use crate::types::{Digest, SealedFile};

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A message that is being written. Nothing leaves before it is finished.
pub struct MessageWriter {
    purpose: Purpose,
    cluster: String,
    plugin: String,
    header: Vec<u8>,
    body: Vec<u8>,
}

/// A sealed message with the digest by which it is known.
struct Assembled {
    content: Vec<u8>,
    digest: Digest,
}

impl Call {
    /// Begins a message to a peer's plugin.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` for a purpose that the manifest does not claim, or that this side does
    /// not send; `NOT_FOUND` for the peer; `EXPIRED` for its certificate.
    pub async fn seal_message(
        &mut self,
        purpose: &str,
        cluster: &str,
        plugin: &str,
        header: &[u8],
    ) -> Result<MessageWriter, Refusal> {
        let parsed = parse_purpose(purpose)?;
        let claimed = self.plugin()?.sends.iter().any(|claimed| claimed == purpose);
        if !claimed || sender_role(parsed) != Some(self.host.identity.cluster.role()) {
            return Err(Refusal::denied("The plugin may not send messages for this purpose."));
        }
        if header.len() > PLUGIN_HEADER_BYTES_MAX {
            return Err(Refusal::invalid("A header is at most 64 KiB."));
        }
        let (cluster, _, peer) = self.peer_plugin(cluster, plugin).await?;
        first_key(&peer.encryption, self.now_ms())?;
        Ok(MessageWriter {
            purpose: parsed,
            cluster,
            plugin: peer.name,
            header: header.to_vec(),
            body: Vec::new(),
        })
    }

    /// Appends to a message's body.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` beyond 64 MiB.
    pub fn write_message(
        &mut self,
        writer: &mut MessageWriter,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        if writer.body.len() + bytes.len() > BODY_BYTES_MAX {
            return Err(Refusal::invalid("A body is at most 64 MiB."));
        }
        writer.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Seals, signs and stages a message.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for an empty body; what the store says.
    pub async fn finish_message(&mut self, writer: MessageWriter) -> Result<SealedFile, Refusal> {
        if writer.body.is_empty() {
            return Err(Refusal::invalid("A message has a body."));
        }
        let (_, _, peer) = self.peer_plugin(&writer.cluster, &writer.plugin).await?;
        let recipient = first_key(&peer.encryption, self.now_ms())?;
        let keys = self.plugin_keys().await?;
        let stream = self.next_in_stream(&writer.cluster).await?;
        let place = stream.as_ref().map(|stream| (stream.epoch, stream.sequence));
        let sequence = place.map(|(_, sequence)| sequence);
        let header = Header {
            purpose: writer.purpose,
            message_id: random::array(),
            made_at: self.now_ms(),
            host: HostHeader { stream },
            plugin: writer.header,
            sender_chain: self.host.identity.chain_of(&keys.record.signing_certificate),
            recipient: sha256(&recipient),
            suite: suite_of(&recipient)?,
        };
        let assembled = assemble(&header, &recipient, &writer.body, &keys)?;
        let file = self.stage(&assembled.content).await?;
        let digest = assembled.digest;
        self.sent_in_stream(&writer.cluster, place, writer.purpose, &file, &digest).await?;
        self.record(Event::MessageSealed {
            purpose: writer.purpose,
            peer: writer.cluster,
            digest,
            sequence,
        });
        Ok(SealedFile { file, digest, sequence })
    }
}

fn suite_of(recipient: &[u8]) -> Result<Suite, Refusal> {
    match HpkeSuite::for_public_key(recipient) {
        Ok(HpkeSuite::X25519Sha256Aes256Gcm) => Ok(Suite::X25519),
        Ok(HpkeSuite::P256Sha256Aes256Gcm) => Ok(Suite::P256),
        Err(_) => Err(Refusal::not_found("encryption key of that peer")),
    }
}

fn assemble(
    header: &Header,
    recipient: &[u8],
    body: &[u8],
    keys: &PluginKeys,
) -> Result<Assembled, Refusal> {
    let too_large = |_| Refusal::new(Reason::InvalidArgument, "The message's header is too large.");
    let preamble = message::preamble(header).map_err(too_large)?;
    let info = message::hpke_info(&sha256(&preamble));
    let sender = Sender::new(recipient, &info);
    let (encapsulated_key, mut sender) =
        sender.map_err(|_| Refusal::not_found("encryption key of that peer"))?;
    let chunks: Vec<Vec<u8>> =
        body.chunks(CHUNK_BYTES_MAX).map(|chunk| sender.seal(&preamble, chunk)).collect();
    let refs = chunks.iter().map(|chunk| ChunkRef {
        digest: sha256(chunk),
        length: u32::try_from(chunk.len()).expect("a chunk is about 1 MiB"),
    });
    let tail = Tail { encapsulated_key, chunks: refs.collect() };
    let signature = keys.signing.sign(&message::signed_bytes(&preamble, &tail));
    let mut content = message::assemble(&preamble, &tail, &signature).map_err(too_large)?;
    let (head, _) = message::MessageHead::parse(&content)
        .map_err(|_| Refusal::new(Reason::InvalidArgument, "The message's header is malformed."))?;
    for chunk in &chunks {
        content.extend_from_slice(chunk);
    }
    Ok(Assembled { content, digest: head.digest() })
}
