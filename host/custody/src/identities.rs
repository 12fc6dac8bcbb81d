//! Identity bundles: what one cluster tells another before they can exchange anything. Signed by
//! the host, not sealed.

use mintmark_crypto::digest::sha256;
use mintmark_crypto::random;
use mintmark_exchange::approval::Act;
use mintmark_exchange::canonical;
use mintmark_exchange::identity::{self, BodyVersion, IdentityBody, PluginIdentity};
use mintmark_exchange::message::{
    self, CHUNK_BYTES_MAX, ChunkRef, HEAD_BYTES_MAX, HeadRef, Header, HostHeader, MessageHead,
    PluginCertificates, Purpose, Suite, Tail,
};
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::chain::{Usage, VerifiedChain};
use mintmark_pki::{LeafKind, LeafUsage};
use mintmark_store::Range;

use crate::call::Call;
use crate::custody::{Custody, host_place};
use crate::disk::{self, host::HostRecord, peer::*, plugin::IdentityRecord};
use crate::host::untrusted;
use crate::rotation::installed;
use crate::tables;
use crate::types::{Digest, Session};

/// The longest file that can be an identity bundle.
const IDENTITY_FILE_BYTES_MAX: u64 = (HEAD_BYTES_MAX + identity::BYTES_MAX) as u64;

/// What an identity bundle said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedIdentity {
    /// The cluster's SPIFFE URI.
    pub cluster: String,
    /// The number to compare by phone.
    pub fingerprint: Digest,
    /// What its platform says of itself.
    pub hardware_model: String,
    /// Its plugins with their measurements.
    pub plugins: Vec<(String, Digest)>,
    /// Whether the import changed anything.
    pub changed: bool,
}

impl Custody {
    /// Writes this cluster's identity bundle; gives the id of the staged file and the bundle's
    /// fingerprint.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn export_identity(&self, session: Session) -> Result<(String, Digest), Refusal> {
        let mut call = self.begin(session, None).await?;
        let body = call.identity_body().await?;
        let fingerprint = body.fingerprint();
        let content = call.sign_identity(&body)?;
        let file = call.stage(&content).await?;
        self.finish(call).await?;
        Ok((file, fingerprint))
    }

    /// Takes another cluster's identity bundle, and trusts the measurements in it.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE`; `APPROVAL_REQUIRED` where a key that is known would be replaced.
    pub async fn import_identity(
        &self,
        session: Session,
        file: &str,
    ) -> Result<ImportedIdentity, Refusal> {
        let mut call = self.begin(session, None).await?;
        let imported = call.import_identity(file).await;
        self.conclude(call, imported).await
    }
}

impl Call {
    async fn identity_body(&mut self) -> Result<IdentityBody, Refusal> {
        // What is said of keys must hold when it is said: a rotation may be under way.
        let found = self.view.scan(Range::all(tables::IDENTITIES, Vec::new())).await?;
        self.read::<HostRecord>(&host_place()).await?;
        let transfer = installed(&self.view).await?.transfer_certificate;
        let own = &self.host.identity;
        let mut plugins = Vec::with_capacity(found.len());
        for (key, value) in &found {
            let record: IdentityRecord = disk::read(value)?;
            plugins.push(PluginIdentity {
                name: String::from_utf8_lossy(&key.key).trim_end_matches('\0').to_owned(),
                measurement: record.measurement,
                signing: own.chain_of(&record.signing_certificate),
                encryption: own.chain_of(&record.encryption_certificate),
            });
        }
        let first = self.view.rows(&own.node, 0, 1).await?;
        let first_heads = first.iter().map(|row| HeadRef {
            node: own.node.clone(),
            incarnation: own.incarnation,
            sequence: row.sequence,
            hash: row.hash,
        });
        let versions = [
            Purpose::Entitlement,
            Purpose::Bundle,
            Purpose::Receipt,
            Purpose::Directive,
            Purpose::Closing,
        ];
        Ok(IdentityBody {
            version: identity::VERSION,
            cluster: own.uri(),
            hardware_model: self.host.platform.hardware_model().to_owned(),
            plugins,
            transfer: own.chain_of(&transfer),
            custody: vec![own.chain_of(&own.custody_certificate)],
            nodes: Vec::new(),
            body_versions: versions.map(|purpose| BodyVersion { purpose, version: 1 }).to_vec(),
            first_heads: first_heads.collect(),
            made_at: self.began.site_ms,
        })
    }

    fn sign_identity(&self, body: &IdentityBody) -> Result<Vec<u8>, Refusal> {
        let own = &self.host.identity;
        let too_large = |_| Refusal::invalid("The identity is too large; deactivate some plugins.");
        let header = Header {
            purpose: Purpose::Identity,
            message_id: random::array(),
            made_at: self.began.site_ms,
            host: HostHeader::default(),
            plugin: Vec::new(),
            sender_chain: own.chain_of(&own.custody_certificate),
            recipient: [0; 32],
            suite: Suite::Unsealed,
        };
        let preamble = message::preamble(&header).map_err(too_large)?;
        let encoded = canonical::encode(body);
        let chunks = encoded.chunks(CHUNK_BYTES_MAX).map(|chunk| ChunkRef {
            digest: sha256(chunk),
            length: u32::try_from(chunk.len()).expect("a chunk is at most 1 MiB"),
        });
        let tail = Tail { encapsulated_key: Vec::new(), chunks: chunks.collect() };
        let signature = own.custody_key.sign(&message::signed_bytes(&preamble, &tail));
        let mut content = message::assemble(&preamble, &tail, &signature).map_err(too_large)?;
        content.extend_from_slice(&encoded);
        Ok(content)
    }

    async fn import_identity(&mut self, file: &str) -> Result<ImportedIdentity, Refusal> {
        let content = self.staged(file, IDENTITY_FILE_BYTES_MAX).await?;
        self.take_identity(&content).await
    }

    async fn take_identity(&mut self, content: &[u8]) -> Result<ImportedIdentity, Refusal> {
        let body = self.verify_identity(content)?;
        let plugins = self.verify_plugins(&body)?;
        let transfer = (LeafKind::Transfer, LeafUsage::Encryption);
        self.verify_leaf((&body.cluster, body.made_at), &body.transfer, transfer)?;
        let fingerprint = body.fingerprint();
        let known = self.peer_record(&body.cluster).await?;
        let record = PeerRecord {
            hardware_model: body.hardware_model.clone(),
            trusted: plugins.iter().map(|one| (one.name.clone(), one.measurement)).collect(),
            plugins,
            transfer: body.transfer.clone(),
            fingerprint: Some(fingerprint),
            made_at: body.made_at,
        };
        let replacement = check_replacement(known.as_ref(), &record)?;
        if replacement == Replacement::Key {
            let cluster = body.cluster.clone();
            self.require_approvals(&Act::ReplaceIdentity { cluster, fingerprint }).await?;
        }
        let changed = replacement != Replacement::Nothing;
        let answer = ImportedIdentity {
            cluster: body.cluster.clone(),
            fingerprint,
            hardware_model: body.hardware_model,
            plugins: record.trusted.clone(),
            changed,
        };
        if changed {
            self.write_peer(&body.cluster, record);
            self.record(Event::PeerImported { cluster: body.cluster, fingerprint });
        }
        Ok(answer)
    }

    fn verify_identity(&self, content: &[u8]) -> Result<IdentityBody, Refusal> {
        let (head, length) = MessageHead::parse(content).map_err(|error| {
            tracing::warn!(%error, "the head of an identity can not be read");
            untrusted()
        })?;
        let header = head.header();
        if self.now_ms().abs_diff(header.made_at) > self.host.settings.max_transit_seconds * 1_000 {
            return Err(untrusted());
        }
        let root = &self.host.identity.root;
        let chain = root.verify(&header.sender_chain, header.made_at, Usage::Any);
        let chain = chain.map_err(|error| {
            tracing::warn!(%error, "the chain of an identity does not hold");
            untrusted()
        })?;
        let key = chain.public_key_info();
        let signed = mintmark_crypto::sign::verify(key, &head.signed_bytes(), head.signature());
        let right = chain.kind() == LeafKind::Custody && header.purpose == Purpose::Identity;
        let encoded = &content[length..];
        if !right || signed.is_err() || !chunks_fit(head.tail(), encoded) {
            return Err(untrusted());
        }
        let body: IdentityBody =
            canonical::decode(encoded, identity::BYTES_MAX).map_err(|_| untrusted())?;
        let other = body.cluster != self.host.identity.uri();
        let own_words = chain.id().cluster().to_string() == body.cluster;
        if body.version != identity::VERSION {
            let detail = "The identity has a version that this host does not know.";
            return Err(Refusal::new(Reason::UnsupportedVersion, detail));
        }
        if other && own_words { Ok(body) } else { Err(untrusted()) }
    }

    fn verify_plugins(&self, body: &IdentityBody) -> Result<Vec<PeerPlugin>, Refusal> {
        let mut plugins = Vec::with_capacity(body.plugins.len());
        for plugin in &body.plugins {
            let PluginIdentity { name, measurement, signing, encryption } = plugin.clone();
            let said = PluginCertificates { plugin: name, signing, encryption };
            let verified = self.verify_plugin((&body.cluster, body.made_at), said)?;
            if verified.measurement != measurement {
                return Err(untrusted());
            }
            plugins.push(verified);
        }
        Ok(plugins)
    }

    /// What a cluster said of a plugin at some time, as far as the certificates say the same.
    pub(crate) fn verify_plugin(
        &self,
        said: (&str, u64),
        plugin: PluginCertificates,
    ) -> Result<PeerPlugin, Refusal> {
        let PluginCertificates { plugin: name, signing, encryption } = plugin;
        let leaf = |usage| (LeafKind::Plugin, usage);
        let signer = self.verify_leaf(said, &signing, leaf(LeafUsage::Signing))?;
        let opener = self.verify_leaf(said, &encryption, leaf(LeafUsage::Encryption))?;
        let named = signer.name() == name && opener.name() == name;
        let measured = opener.measurement().filter(|one| signer.measurement() == Some(*one));
        let measurement = measured.filter(|_| named).ok_or_else(untrusted)?;
        Ok(PeerPlugin { name, measurement, signing, encryption })
    }

    fn verify_leaf(
        &self,
        (cluster, at_ms): (&str, u64),
        chain: &[Vec<u8>],
        (kind, usage): (LeafKind, LeafUsage),
    ) -> Result<VerifiedChain, Refusal> {
        let root = &self.host.identity.root;
        let chain = root.verify(chain, at_ms, Usage::Any).map_err(|_| untrusted())?;
        let of_cluster = chain.id().cluster().to_string() == cluster;
        let right = of_cluster && chain.kind() == kind && chain.usage() == usage;
        if right { Ok(chain) } else { Err(untrusted()) }
    }
}

/// Whether the chunks are those of the tail, in clear.
fn chunks_fit(tail: &Tail, encoded: &[u8]) -> bool {
    let mut rest = encoded;
    for chunk in &tail.chunks {
        let Some((bytes, after)) = rest.split_at_checked(chunk.length as usize) else {
            return false;
        };
        if sha256(bytes) != chunk.digest {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// What an import changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replacement {
    Nothing,
    /// Certificates, measurements, plugins that were not known.
    Words,
    /// A key that is known: only with approvals.
    Key,
}

fn check_replacement(known: Option<&PeerRecord>, new: &PeerRecord) -> Result<Replacement, Refusal> {
    let Some(known) = known else { return Ok(Replacement::Words) };
    if known.fingerprint == new.fingerprint {
        return Ok(Replacement::Nothing);
    }
    if new.made_at < known.made_at {
        let detail = "The cluster has said newer things of itself; export its identity again.";
        return Err(Refusal::new(Reason::OutOfOrder, detail));
    }
    let same = |one: &[Vec<u8>], other: &[Vec<u8>]| first_key(one) == first_key(other);
    let transfer = known.transfer.is_empty() || same(&known.transfer, &new.transfer);
    let plugins = new.plugins.iter().all(|plugin| {
        let before = known.plugins.iter().find(|before| before.name == plugin.name);
        before.is_none_or(|before| {
            same(&before.encryption, &plugin.encryption) && same(&before.signing, &plugin.signing)
        })
    });
    Ok(if transfer && plugins { Replacement::Words } else { Replacement::Key })
}

fn first_key(chain: &[Vec<u8>]) -> Option<Vec<u8>> {
    let first = mintmark_pki::Certificate::parse(chain.first()?).ok()?;
    Some(first.public_key_info().to_vec())
}
