//! A site takes a key file: recorded with the grant, then chunk by chunk, in use when it is whole.
//!
//! Each key is sealed under a secret of the entitlement's own, which is kept as the secret of
//! derived keys is: it works through units of the allotment alone, and with it all keys that are
//! left are destroyed.

use mintmark_crypto::aead::{AeadAlgorithm, AeadKey};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{Secret, framed};
use mintmark_exchange::grant::Grant;
use mintmark_exchange::pool::{
    CHUNK_INFO, CHUNK_KEYS, KeyFileHead, SealedKeys, chunk_aad, sealed_digest,
};
use mintmark_exchange::row::Event;
use mintmark_model::policy::Content;
use mintmark_model::{Reason, Refusal};

use super::{IMPORT, PoolProgress, algorithm_of, damaged, unit_key_place};
use crate::call::Call;
use crate::custody::Custody;
use crate::disk::key::KeyRecord;
use crate::disk::pool::{ImportRecord, keys_of_chunk};
use crate::host::untrusted;
use crate::permit::{Derive, LoadedKey};
use crate::rotation::ForHost;
use crate::types::Session;
use crate::units::OpenUnit;
use crate::{keys, tables};

impl Custody {
    /// Shows the head of a key file: gives the entitlement that it is for, and how far its import
    /// is.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE` for what is no head that a grant here names; `NOT_FOUND` where the
    /// entitlement is to be imported first.
    pub async fn begin_keys(
        &self,
        session: Session,
        head: &[u8],
    ) -> Result<(String, PoolProgress), Refusal> {
        let mut call = self.begin(session, None).await?;
        let begun = call.begin_keys(head).await?;
        self.finish(call).await?;
        Ok(begun)
    }

    /// Takes a chunk of a key file. One that is here already changes nothing.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a file whose head was not shown; `OUT_OF_ORDER`, naming the chunk that is
    /// expected; `UNTRUSTED_MESSAGE` for other bytes than headquarters wrote; `KEY_RETIRED` where
    /// they are sealed to a key that opens no more; `CLOSED` once the keys are destroyed. The
    /// import stays where it was.
    pub async fn import_keys(
        &self,
        session: Session,
        entitlement: &str,
        chunk: u32,
        bytes: &[u8],
    ) -> Result<PoolProgress, Refusal> {
        let mut call = self.begin(session, None).await?;
        let progress = call.import_keys(entitlement, chunk, bytes).await?;
        self.finish(call).await?;
        Ok(progress)
    }
}

impl Call {
    /// Records that the keys of a grant are to come.
    pub(crate) fn expect_keys(&mut self, grant: &Grant, head: [u8; 32]) -> Result<(), Refusal> {
        let record = ImportRecord {
            plugin: self.plugin_name()?,
            algorithm: grant.product.algorithm.clone(),
            keys: grant.terms.total,
            core: grant.core_digest(),
            head,
            chunks: Vec::new(),
            done: 0,
        };
        self.view.write(import_place(&grant.entitlement), record);
        Ok(())
    }

    /// Refuses to draw a unit before all keys are here.
    pub(crate) async fn check_keys_are_here(&mut self, entitlement: &str) -> Result<(), Refusal> {
        let import = self.import_record(entitlement).await?;
        if import.is_whole() {
            return Ok(());
        }
        let detail = "The entitlement's keys are not all here; import its key file.";
        let refusal = Refusal::new(Reason::WrongState, detail);
        Err(refusal.with("keys", import.arrived().to_string()))
    }

    /// The key that was given for a unit.
    pub(crate) async fn given_key(
        &mut self,
        unit: &OpenUnit,
        algorithm: SignatureAlgorithm,
    ) -> Result<SigningKey, Refusal> {
        let entitlement = &unit.grant.entitlement;
        let set = self.load_key(&keys::set_name(entitlement)).await?;
        let permit = self.permit::<Derive>(&set, Content::None, Some(entitlement.as_str()))?;
        let secret = permit.secret(&self.host.vault)?;
        let place = unit_key_place(entitlement, unit.number);
        let sealed: Option<Vec<u8>> = self.view.peek(&place).await?;
        let sealed = sealed.ok_or_else(|| {
            let detail = "No key was given for the unit.";
            Refusal::new(Reason::WrongState, detail)
        })?;
        let opened = cipher(&secret).open(&associated(entitlement, unit.number), &sealed);
        let scalar = opened.map_err(|_| damaged())?;
        SigningKey::from_scalar(algorithm, scalar.expose()).map_err(|_| damaged())
    }

    async fn begin_keys(&mut self, head: &[u8]) -> Result<(String, PoolProgress), Refusal> {
        let head = KeyFileHead::decode(head).map_err(|_| untrusted())?;
        let mut import = self.import_record(&head.entitlement).await?;
        let right = head.digest() == import.head
            && head.keys == import.keys
            && head.algorithm == import.algorithm;
        if !right {
            return Err(untrusted());
        }
        let progress = progress(&import);
        if import.chunks.is_empty() {
            import.chunks = head.chunks;
            self.view.write(import_place(&head.entitlement), import);
        }
        Ok((head.entitlement, progress))
    }

    async fn import_keys(
        &mut self,
        entitlement: &str,
        chunk: u32,
        bytes: &[u8],
    ) -> Result<PoolProgress, Refusal> {
        let mut import = self.import_record(entitlement).await?;
        let expected = import.chunks.get(chunk as usize);
        let expected = expected.ok_or_else(|| Refusal::not_found("chunk of that key file"))?;
        let digest = sealed_digest(bytes);
        if digest != *expected {
            return Err(untrusted().with("chunk", chunk.to_string()));
        }
        if chunk < import.done {
            return Ok(progress(&import));
        }
        if chunk > import.done {
            let detail = format!("Chunk {chunk} came where {} is expected.", import.done);
            let refusal = Refusal::new(Reason::OutOfOrder, detail);
            return Err(refusal.with("expected", import.done.to_string()));
        }
        let secret = self.import_secret(&import.plugin, entitlement).await?;
        self.take_chunk(&import, &secret, entitlement, chunk, bytes).await?;
        import.done += 1;
        let keys = keys_of_chunk(import.keys, chunk) as u64;
        self.record(Event::PoolLoaded { pool: entitlement.to_owned(), chunk, keys, digest });
        let reached = progress(&import);
        if reached.whole {
            self.record(Event::KeySetMade {
                key_set: keys::set_name(entitlement),
                algorithm: import.algorithm.clone(),
                size: import.keys,
            });
        }
        self.view.write(import_place(entitlement), import);
        Ok(reached)
    }

    /// Opens a chunk that headquarters wrote, and seals each key for its unit.
    async fn take_chunk(
        &mut self,
        import: &ImportRecord,
        secret: &Secret<32>,
        entitlement: &str,
        chunk: u32,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let sealed = SealedKeys::decode(bytes).map_err(|_| untrusted())?;
        let for_host = ForHost {
            info: CHUNK_INFO,
            encapsulated: &sealed.encapsulated,
            aad: &chunk_aad(&import.core, chunk),
            ciphertext: &sealed.ciphertext,
        };
        let opened = self.open_for_host(&for_host).await?;
        let length = algorithm_of(&import.algorithm)?.scalar_bytes();
        if opened.len() != length * keys_of_chunk(import.keys, chunk) {
            return Err(untrusted());
        }
        let first = u64::from(chunk) * CHUNK_KEYS as u64;
        let cipher = cipher(secret);
        for (unit, scalar) in (first..).zip(opened.expose().chunks_exact(length)) {
            let sealed = cipher.seal(&associated(entitlement, unit), scalar);
            self.view.write(unit_key_place(entitlement, unit), sealed);
        }
        Ok(())
    }

    async fn import_record(&mut self, entitlement: &str) -> Result<ImportRecord, Refusal> {
        let import: Option<ImportRecord> = self.read(&import_place(entitlement)).await?;
        import.ok_or_else(|| Refusal::not_found("entitlement whose keys are given"))
    }

    /// The secret under which an entitlement's keys are sealed, for the host's own act of taking
    /// them in.
    async fn import_secret(
        &mut self,
        plugin: &str,
        entitlement: &str,
    ) -> Result<Secret<32>, Refusal> {
        let name = keys::set_name(entitlement);
        let record: Option<KeyRecord> = self.read(&keys::place(plugin, &name)).await?;
        let record = record.filter(|record| !record.sealed.is_empty()).ok_or_else(|| {
            let detail = "The entitlement has ended; its keys are destroyed.";
            Refusal::new(Reason::Closed, detail)
        })?;
        let key = LoadedKey { plugin: plugin.to_owned(), name, record };
        let material = self.host.vault.open(&key.binding(), &key.record.sealed)?;
        Secret::from_slice(material.expose()).map_err(|_| damaged())
    }
}

fn import_place(entitlement: &str) -> mintmark_store::Key {
    tables::pair(tables::JOBS, IMPORT, entitlement)
}

fn progress(import: &ImportRecord) -> PoolProgress {
    PoolProgress { chunk: import.done, keys: import.arrived(), whole: import.is_whole() }
}

fn cipher(secret: &Secret<32>) -> AeadKey {
    AeadKey::new(AeadAlgorithm::Aes256Gcm, secret)
}

fn associated(entitlement: &str, unit: u64) -> Vec<u8> {
    framed("mintmark given key v1", &[entitlement.as_bytes(), &unit.to_be_bytes()])
}
