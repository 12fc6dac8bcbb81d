//! Keys and key sets of plugins: made, opened by name, used under their policy.

use mintmark_crypto::aead::{AeadAlgorithm, AeadKey};
use mintmark_crypto::digest::sha256;
use mintmark_crypto::sign::{self, SignatureAlgorithm, SigningKey};
use mintmark_crypto::{Secret, SecretBytes, framed, hkdf, mac};
use mintmark_exchange::row::Event;
use mintmark_model::policy::{Content, ContentRule, ExportRule, KeyGrant, KeyPolicy, Recipients};
use mintmark_model::{Algorithm, KeyState, Name, Operation, Operations, Reason, Refusal};
use mintmark_store::Key;

use crate::call::Call;
use crate::disk::key::{KeyKind, KeyRecord, PolicyRecord, state_number};
use crate::permit::{Decrypt, Derive, Encrypt, LoadedKey, Mac, Sign, Verify, VerifyMac};
use crate::tables;
use crate::types::{KeyAttributes, KeyRequest, KeySetAttributes, SlotKind};
use crate::vault::Binding;

/// A key of the calling plugin. It has no material; every use of it asks the policy.
#[derive(Clone, Debug)]
pub struct OpenKey {
    pub(crate) name: String,
}

/// A key set of the calling plugin.
#[derive(Clone, Debug)]
pub struct OpenKeySet {
    pub(crate) name: String,
}

/// A key that is about to be stored.
pub(crate) struct NewKey {
    pub(crate) name: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) policy: KeyPolicy,
    pub(crate) kind: KeyKind,
    pub(crate) material: Material,
}

/// Key material in the clear, between its making and its sealing.
pub(crate) enum Material {
    /// A private key.
    Signing(SigningKey),
    /// A symmetric secret.
    Secret(SecretBytes),
}

impl Call {
    /// Opens a key of the calling plugin.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, also for what the plugin may not see.
    pub async fn open_key(&mut self, name: &str) -> Result<OpenKey, Refusal> {
        let key = self.load_key(name).await?;
        if matches!(key.record.kind, KeyKind::KeySet { .. }) {
            return Err(Refusal::not_found("key"));
        }
        Ok(OpenKey { name: name.to_owned() })
    }

    /// Makes a key.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` without a slot that fits; `INVALID_ARGUMENT`; `WRONG_STATE` for a name
    /// that is taken.
    pub async fn generate_key(
        &mut self,
        name: &str,
        algorithm: &str,
        request: KeyRequest,
    ) -> Result<OpenKey, Refusal> {
        self.check_storage()?;
        let algorithm = parse_algorithm(algorithm)?;
        let policy = self.policy_for(SlotKind::Key, name, algorithm, request)?;
        let material = match signature_algorithm(algorithm) {
            Some(algorithm) => Material::Signing(SigningKey::generate(algorithm)),
            None => Material::Secret(random_secret(algorithm)),
        };
        let kind = KeyKind::Plain;
        let new = NewKey { name: name.to_owned(), algorithm, policy, kind, material };
        self.store_key(new).await?;
        Ok(OpenKey { name: name.to_owned() })
    }

    /// What is known about a key.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn key_attributes(&mut self, key: &OpenKey) -> Result<KeyAttributes, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        let policy = loaded.record.policy.policy().ok_or_else(unknown)?;
        let algorithm = loaded.record.algorithm().ok_or_else(unknown)?;
        let recipients = match policy.export {
            ExportRule::Never => None,
            ExportRule::SealedTo(recipients) => Some(recipients),
        };
        let content_prefix = match policy.content {
            ContentRule::Prefix(prefix) => Some(prefix),
            ContentRule::Message | ContentRule::Certificate => None,
        };
        Ok(KeyAttributes {
            name: loaded.name,
            algorithm,
            request: KeyRequest {
                operations: policy.operations,
                recipients,
                activation: policy.activation,
                deactivation: policy.deactivation,
                content_prefix,
            },
            state: loaded.record.state(),
            allotment: policy.allotment,
        })
    }

    /// The SubjectPublicKeyInfo of an asymmetric key.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a symmetric key.
    pub async fn public_key(&mut self, key: &OpenKey) -> Result<Vec<u8>, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        loaded
            .record
            .public_key
            .ok_or_else(|| Refusal::invalid("A symmetric key has no public key."))
    }

    /// Signs `message`.
    ///
    /// # Errors
    ///
    /// What the policy says.
    pub async fn sign(&mut self, key: &OpenKey, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        let permit = self.permit::<Sign>(&loaded, Content::Message(message), None)?;
        let signature = permit.signing_key(&self.host.vault)?.sign(message);
        self.key_used(&loaded, Operation::Sign, message);
        Ok(signature)
    }

    /// Whether `signature` over `message` is right.
    ///
    /// # Errors
    ///
    /// What the policy says.
    pub async fn verify(
        &mut self,
        key: &OpenKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        let _permit = self.permit::<Verify>(&loaded, Content::None, None)?;
        let public_key = loaded.record.public_key.as_deref().unwrap_or_default();
        Ok(sign::verify(public_key, message, signature).is_ok())
    }

    /// Encrypts; the nonce comes first in the answer.
    ///
    /// # Errors
    ///
    /// What the policy says.
    pub async fn encrypt(
        &mut self,
        key: &OpenKey,
        plaintext: &[u8],
        associated: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        let permit = self.permit::<Encrypt>(&loaded, Content::None, None)?;
        let cipher = aead(&loaded, permit.secret(&self.host.vault)?)?;
        let sealed = cipher.seal(associated, plaintext);
        self.key_used(&loaded, Operation::Encrypt, &sealed);
        Ok(sealed)
    }

    /// Decrypts what [`Call::encrypt`] gave.
    ///
    /// # Errors
    ///
    /// What the policy says; `INVALID_ARGUMENT` for what does not open.
    pub async fn decrypt(
        &mut self,
        key: &OpenKey,
        ciphertext: &[u8],
        associated: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        let permit = self.permit::<Decrypt>(&loaded, Content::None, None)?;
        let cipher = aead(&loaded, permit.secret(&self.host.vault)?)?;
        let opened = cipher.open(associated, ciphertext);
        let opened = opened.map_err(|_| Refusal::invalid("The ciphertext does not open."))?;
        self.key_used(&loaded, Operation::Decrypt, ciphertext);
        Ok(opened.expose().to_vec())
    }

    /// The authentication code of `message`.
    ///
    /// # Errors
    ///
    /// What the policy says.
    pub async fn mac(&mut self, key: &OpenKey, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        let permit = self.permit::<Mac>(&loaded, Content::None, None)?;
        let secret = permit.material(&self.host.vault)?;
        let tag = match loaded.record.algorithm() {
            Some(Algorithm::HmacSha256) => mac::hmac_sha256(secret.expose(), message).to_vec(),
            Some(Algorithm::HmacSha384) => mac::hmac_sha384(secret.expose(), message).to_vec(),
            _ => return Err(Refusal::invalid("The key makes no codes.")),
        };
        self.key_used(&loaded, Operation::Mac, message);
        Ok(tag)
    }

    /// Whether `tag` is the code of `message`.
    ///
    /// # Errors
    ///
    /// What the policy says.
    pub async fn verify_mac(
        &mut self,
        key: &OpenKey,
        message: &[u8],
        tag: &[u8],
    ) -> Result<bool, Refusal> {
        let loaded = self.load_key(&key.name).await?;
        let permit = self.permit::<VerifyMac>(&loaded, Content::None, None)?;
        let secret = permit.material(&self.host.vault)?;
        match loaded.record.algorithm() {
            Some(Algorithm::HmacSha256) => {
                Ok(mac::verify_sha256(secret.expose(), message, tag).is_ok())
            }
            Some(Algorithm::HmacSha384) => {
                Ok(mac::verify_sha384(secret.expose(), message, tag).is_ok())
            }
            _ => Err(Refusal::invalid("The key checks no codes.")),
        }
    }

    /// Makes the key `name` from this one. The same name, algorithm and context give the same key.
    ///
    /// # Errors
    ///
    /// What the policy says, and as [`Call::generate_key`].
    pub async fn derive_key(
        &mut self,
        key: &OpenKey,
        name: &str,
        algorithm: &str,
        context: &[u8],
        request: KeyRequest,
    ) -> Result<OpenKey, Refusal> {
        self.check_storage()?;
        let algorithm = parse_algorithm(algorithm)?;
        let loaded = self.load_key(&key.name).await?;
        let permit = self.permit::<Derive>(&loaded, Content::None, None)?;
        let parent = permit.secret(&self.host.vault)?;
        let policy = self.policy_for(SlotKind::Key, name, algorithm, request)?;
        let fields = [name.as_bytes(), algorithm.name().as_bytes(), context];
        let info = framed("mintmark derived key v1", &fields);
        let material = match signature_algorithm(algorithm) {
            Some(algorithm) => {
                Material::Signing(mintmark_crypto::device_key(algorithm, &parent, &info))
            }
            None => {
                let length = secret_length(algorithm);
                let secret = hkdf::expand(&parent, &[&info], length);
                Material::Secret(secret.map_err(|_| unknown())?)
            }
        };
        let kind = KeyKind::Plain;
        let new = NewKey { name: name.to_owned(), algorithm, policy, kind, material };
        self.store_key(new).await?;
        Ok(OpenKey { name: name.to_owned() })
    }

    /// Destroys a key, for ever.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` for a key that an allotment holds; `WRONG_STATE` for one that is
    /// destroyed.
    pub async fn destroy_key(&mut self, key: &OpenKey) -> Result<(), Refusal> {
        self.destroy(&key.name).await
    }

    /// Opens a key set of the calling plugin.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn open_key_set(&mut self, name: &str) -> Result<OpenKeySet, Refusal> {
        let key = self.load_key(name).await?;
        match key.record.kind {
            KeyKind::KeySet { .. } => Ok(OpenKeySet { name: name.to_owned() }),
            _ => Err(Refusal::not_found("key set")),
        }
    }

    /// Makes a derived set of `size` keys.
    ///
    /// # Errors
    ///
    /// As [`Call::generate_key`].
    pub async fn generate_key_set(
        &mut self,
        name: &str,
        algorithm: &str,
        size: u64,
        recipients: Recipients,
    ) -> Result<OpenKeySet, Refusal> {
        self.check_storage()?;
        let keys = parse_algorithm(algorithm)?;
        if !keys.signs() || !(1..=mintmark_exchange::grant::TOTAL_MAX).contains(&size) {
            return Err(Refusal::invalid("A key set is of 1 to 2^40 signature keys."));
        }
        self.check_slot(SlotKind::KeySet, name, keys, Operations::of(&[Operation::Derive]), true)?;
        let policy = self.exportable(ContentRule::Message, Operation::Derive, recipients)?;
        let new = NewKey {
            name: name.to_owned(),
            algorithm: Algorithm::HkdfSha256,
            policy,
            kind: KeyKind::KeySet { size, algorithm: keys.name().to_owned() },
            material: Material::Secret(random_secret(Algorithm::HkdfSha256)),
        };
        self.store_key(new).await?;
        let key_set = name.to_owned();
        self.record(Event::KeySetMade { key_set, algorithm: algorithm.to_owned(), size });
        Ok(OpenKeySet { name: name.to_owned() })
    }

    /// What is known about a key set.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn key_set_attributes(
        &mut self,
        set: &OpenKeySet,
    ) -> Result<KeySetAttributes, Refusal> {
        let loaded = self.load_key(&set.name).await?;
        let KeyKind::KeySet { size, algorithm } = loaded.record.kind else {
            return Err(Refusal::not_found("key set"));
        };
        let algorithm = Algorithm::from_name(&algorithm).ok_or_else(unknown)?;
        Ok(KeySetAttributes { name: loaded.name, algorithm, size })
    }

    /// Destroys a key set, for ever.
    ///
    /// # Errors
    ///
    /// As [`Call::destroy_key`].
    pub async fn destroy_key_set(&mut self, set: &OpenKeySet) -> Result<(), Refusal> {
        self.destroy(&set.name).await
    }

    /// The only lookup of a key: the calling plugin's, by name, still sealed.
    pub(crate) async fn load_key(&mut self, name: &str) -> Result<LoadedKey, Refusal> {
        let plugin = self.plugin_name()?;
        let place = place(&plugin, name);
        let record: Option<KeyRecord> = self.read(&place).await?;
        let record = record.ok_or_else(|| Refusal::not_found("key"))?;
        Ok(LoadedKey { plugin, name: name.to_owned(), record })
    }

    /// Seals a new key and writes it.
    pub(crate) async fn store_key(&mut self, new: NewKey) -> Result<(), Refusal> {
        let plugin = self.plugin_name()?;
        Name::parse(&new.name).ok_or_else(|| {
            Refusal::invalid("A name is 1 to 64 characters of a-z, 0-9, - and dot.")
        })?;
        let place = place(&plugin, &new.name);
        if self.view.get(&place).await?.is_some() {
            let detail = "There is a key with this name already.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let policy = PolicyRecord::from(&new.policy);
        let (material, public_key) = match &new.material {
            Material::Signing(key) => (&key.to_pkcs8(), Some(key.public_key_info().to_vec())),
            Material::Secret(secret) => (secret, None),
        };
        let binding = Binding {
            owner: &plugin,
            name: &new.name,
            algorithm: new.algorithm.name(),
            policy: Some(&policy),
        };
        let sealed = self.host.vault.seal(&binding, material.expose());
        let key_hash = public_key.as_deref().map(sha256);
        self.record(Event::KeyMade {
            key: new.name.clone(),
            algorithm: new.algorithm.name().to_owned(),
            key_hash,
        });
        self.view.write(
            place,
            KeyRecord {
                algorithm: new.algorithm.name().to_owned(),
                policy,
                state: state_number(KeyState::Active),
                kind: new.kind,
                public_key,
                sealed,
                exported: false,
            },
        );
        Ok(())
    }

    /// Writes a key's record back.
    pub(crate) fn update_key(&mut self, key: LoadedKey) {
        self.view.write(place(&key.plugin, &key.name), key.record);
    }

    /// The policy of a key that may be exported to `recipients`, for one operation there.
    pub(crate) fn exportable(
        &self,
        content: ContentRule,
        operation: Operation,
        recipients: Recipients,
    ) -> Result<KeyPolicy, Refusal> {
        let operations = Operations::of(&[operation, Operation::Export]);
        if !Operations::of(&[operation]).contains(recipients.operations) {
            let detail = "The recipients may do no more with the key than it is for.";
            return Err(Refusal::invalid(detail));
        }
        Ok(KeyPolicy {
            operations,
            grants: vec![self.grant_to_itself(Operations::of(&[Operation::Export]))?],
            activation: None,
            deactivation: None,
            content,
            export: ExportRule::SealedTo(recipients),
            allotment: None,
        })
    }

    /// A grant for the calling plugin, by name: its keys survive upgrades.
    pub(crate) fn grant_to_itself(&self, operations: Operations) -> Result<KeyGrant, Refusal> {
        let plugin = self.plugin_name()?;
        Ok(KeyGrant { plugin, measurements: Vec::new(), roles: Vec::new(), operations })
    }

    /// Whether the manifest claims such a key.
    pub(crate) fn check_slot(
        &self,
        kind: SlotKind,
        name: &str,
        algorithm: Algorithm,
        operations: Operations,
        export: bool,
    ) -> Result<(), Refusal> {
        let fits = self.plugin()?.slots.iter().any(|slot| {
            slot.kind == kind
                && name.starts_with(&slot.prefix)
                && slot.algorithms.contains(&algorithm)
                && slot.operations.contains(operations)
                && (slot.export || !export)
        });
        if fits {
            return Ok(());
        }
        Err(Refusal::denied("The plugin's manifest has no slot for such a key."))
    }

    fn policy_for(
        &self,
        kind: SlotKind,
        name: &str,
        algorithm: Algorithm,
        request: KeyRequest,
    ) -> Result<KeyPolicy, Refusal> {
        let operations = request.operations;
        let exports = request.recipients.is_some();
        self.check_slot(kind, name, algorithm, operations, exports)?;
        let possible = Operations::possible(algorithm).contains(operations);
        let certifies = operations.has(Operation::Certify);
        if !possible || operations.is_empty() || operations.excludes_itself() || certifies {
            let detail = "One key can not have these operations.";
            return Err(Refusal::invalid(detail));
        }
        if request.content_prefix.as_ref().is_some_and(|prefix| prefix.len() > 64) {
            return Err(Refusal::invalid("A content prefix is at most 64 bytes."));
        }
        Ok(KeyPolicy {
            operations,
            grants: vec![self.grant_to_itself(operations)?],
            activation: request.activation,
            deactivation: request.deactivation,
            content: request.content_prefix.map_or(ContentRule::Message, ContentRule::Prefix),
            export: request.recipients.map_or(ExportRule::Never, ExportRule::SealedTo),
            allotment: None,
        })
    }

    async fn destroy(&mut self, name: &str) -> Result<(), Refusal> {
        let mut loaded = self.load_key(name).await?;
        let policy = loaded.record.policy.policy().ok_or_else(unknown)?;
        if policy.allotment.is_some() {
            let detail = "An allotment holds the key; closing the allotment destroys it.";
            return Err(Refusal::denied(detail));
        }
        if !loaded.record.state().may_become(KeyState::Destroyed) {
            return Err(Refusal::new(Reason::WrongState, "The key is destroyed already."));
        }
        loaded.record.state = state_number(KeyState::Destroyed);
        loaded.record.sealed.clear();
        let key_hash = loaded.record.public_key.as_deref().map(sha256);
        self.record(Event::KeyDestroyed { key: name.to_owned(), key_hash });
        self.update_key(loaded);
        Ok(())
    }

    /// Puts a use on record. What the plugin gets by it must not leave before the record is
    /// durable; an export gives it nothing yet.
    pub(crate) fn key_used(&mut self, key: &LoadedKey, operation: Operation, content: &[u8]) {
        if operation != Operation::Export {
            self.taint();
        }
        self.record(Event::KeyUsed {
            key: key.name.clone(),
            operation: operation.name().to_owned(),
            content: sha256(content),
        });
    }
}

/// The name of an allotment's batch CA key at the site.
pub(crate) fn batch_name(entitlement: &str) -> String {
    format!("{entitlement}.batch")
}

/// The name of an allotment's key set at the site.
pub(crate) fn set_name(entitlement: &str) -> String {
    format!("{entitlement}.set")
}

/// Where a plugin's key is.
pub(crate) fn place(plugin: &str, name: &str) -> Key {
    tables::pair(tables::KEYS, plugin, name)
}

/// The algorithm with this name.
pub(crate) fn parse_algorithm(name: &str) -> Result<Algorithm, Refusal> {
    Algorithm::from_name(name).ok_or_else(|| Refusal::invalid("The algorithm is not known."))
}

fn signature_algorithm(algorithm: Algorithm) -> Option<SignatureAlgorithm> {
    SignatureAlgorithm::from_name(algorithm.name())
}

fn aead(key: &LoadedKey, secret: Secret<32>) -> Result<AeadKey, Refusal> {
    let algorithm = AeadAlgorithm::from_name(&key.record.algorithm);
    let algorithm = algorithm.ok_or_else(|| Refusal::invalid("The key does not encrypt."))?;
    Ok(AeadKey::new(algorithm, &secret))
}

/// How long a symmetric secret is, in bytes.
const fn secret_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HmacSha384 => 48,
        _ => 32,
    }
}

/// A new secret of the length that the algorithm asks for.
pub(crate) fn random_secret(algorithm: Algorithm) -> SecretBytes {
    let mut bytes = vec![0; secret_length(algorithm)];
    mintmark_crypto::random::fill(&mut bytes);
    SecretBytes::new(bytes)
}

fn unknown() -> Refusal {
    let detail = "The key's record says something that this program does not know.";
    Refusal::new(Reason::UnsupportedVersion, detail)
}
