//! An admin of headquarters loads given keys: recorded first, then chunk by chunk.

use std::collections::BTreeMap;

use mintmark_crypto::digest::sha256;
use mintmark_crypto::framed;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{SecretBytes, random};
use mintmark_exchange::canonical::is_name;
use mintmark_exchange::pool::{CHUNK_KEYS, LOAD_KEYS_MAX, given_digest};
use mintmark_exchange::row::Event;
use mintmark_model::{Name, Reason, Refusal};

use super::{LOAD, PoolProgress, algorithm_of, chunk_binding, chunk_name, chunk_place};
use super::{given_place, joined, pool_place, taken_place};
use crate::call::Call;
use crate::custody::Custody;
use crate::disk::pool::{GivenRef, LoadRecord, PoolRecord, keys_of_chunk};
use crate::tables;
use crate::types::{Digest, Session};

/// What is announced before the first key comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLoad {
    /// The pool's name.
    pub name: String,
    /// The plugin that may grant from it.
    pub plugin: String,
    /// The algorithm of the keys.
    pub algorithm: String,
    /// How many there are.
    pub keys: u64,
    /// [`mintmark_exchange::pool::load_digest`] of all of them.
    pub digest: Digest,
}

impl Custody {
    /// Begins to load a pool, or says how far the same load is.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE` for a name that has other keys; `INVALID_ARGUMENT`; `PERMISSION_DENIED` at a
    /// site.
    pub async fn begin_load(
        &self,
        session: Session,
        load: &PoolLoad,
    ) -> Result<PoolProgress, Refusal> {
        let mut call = self.begin(session, None).await?;
        let progress = call.begin_load(load).await?;
        self.finish(call).await?;
        Ok(progress)
    }

    /// Takes a chunk of keys, each PKCS #8. A chunk that is here already changes nothing. The last
    /// one makes the pool.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a load that was not begun; `OUT_OF_ORDER`, naming the chunk that is
    /// expected; `INVALID_ARGUMENT` for other keys than were announced, or what is no key;
    /// `DUPLICATE_KEY`, naming both, also for keys that were loaded after the backup from which the
    /// store was restored. The load stays where it was.
    pub async fn load_chunk(
        &self,
        session: Session,
        name: &str,
        chunk: u32,
        keys: &[SecretBytes],
    ) -> Result<PoolProgress, Refusal> {
        let mut call = self.begin(session, None).await?;
        let progress = call.load_chunk(name, chunk, keys).await?;
        self.finish(call).await?;
        Ok(progress)
    }
}

impl Call {
    async fn begin_load(&mut self, load: &PoolLoad) -> Result<PoolProgress, Refusal> {
        self.only_headquarters()?;
        check_load(load)?;
        let taken = || {
            let detail = "The name belongs to other keys; choose another, or destroy that pool.";
            Refusal::new(Reason::WrongState, detail)
        };
        if let Some(pool) = self.read::<PoolRecord>(&pool_place(&load.name)).await? {
            let same = pool.digest == load.digest && pool.algorithm == load.algorithm;
            return if same { Ok(whole(&pool)) } else { Err(taken()) };
        }
        let place = tables::pair(tables::JOBS, LOAD, &load.name);
        if let Some(known) = self.read::<LoadRecord>(&place).await? {
            let same = known.digest == load.digest
                && known.keys == load.keys
                && known.algorithm == load.algorithm
                && known.plugin == load.plugin;
            return if same { Ok(progress(&known)) } else { Err(taken()) };
        }
        let record = LoadRecord {
            load: random::array(),
            plugin: load.plugin.clone(),
            algorithm: load.algorithm.clone(),
            keys: load.keys,
            digest: load.digest,
            chunks: Vec::new(),
            begun_at: self.now_ms(),
        };
        let begun = progress(&record);
        self.view.write(place, record);
        Ok(begun)
    }

    async fn load_chunk(
        &mut self,
        name: &str,
        chunk: u32,
        keys: &[SecretBytes],
    ) -> Result<PoolProgress, Refusal> {
        let job = tables::pair(tables::JOBS, LOAD, name);
        let Some(mut load) = self.read::<LoadRecord>(&job).await? else {
            // Where only the answer to the last chunk was lost.
            let pool: Option<PoolRecord> = self.read(&pool_place(name)).await?;
            return pool.map(|pool| whole(&pool)).ok_or_else(|| Refusal::not_found("load"));
        };
        let digest = given_digest(keys.iter().map(SecretBytes::expose));
        if let Some(known) = load.chunks.get(chunk as usize) {
            return if *known == digest { Ok(progress(&load)) } else { Err(another(chunk)) };
        }
        if chunk != load.position() {
            let detail = format!("Chunk {chunk} came where {} is expected.", load.position());
            let refusal = Refusal::new(Reason::OutOfOrder, detail);
            return Err(refusal.with("expected", load.position().to_string()));
        }
        if keys.len() != keys_of_chunk(load.keys, chunk) {
            return Err(another(chunk));
        }
        let first = u64::from(chunk) * CHUNK_KEYS as u64;
        load.chunks.push(digest);
        if load.arrived() == load.keys && !load.is_whole() {
            let detail = "The keys are not those that were announced; destroy the load, and begin \
                          anew.";
            return Err(Refusal::invalid(detail));
        }
        let algorithm = algorithm_of(&load.algorithm)?;
        let scalars = self.new_keys(name, &load, algorithm, first, keys).await?;
        let binding = chunk_name(&load.load, first);
        let sealed = self.host.vault.seal(&chunk_binding(&binding, algorithm), scalars.expose());
        self.view.write(chunk_place(&load.load, first), sealed);
        let count = keys.len() as u64;
        self.record(Event::PoolLoaded { pool: name.to_owned(), chunk, keys: count, digest });
        let reached = progress(&load);
        if reached.whole {
            self.view.delete(job);
            self.make_pool(name, load);
        } else {
            self.view.write(job, load);
        }
        Ok(reached)
    }

    /// The pool is there at once when all of its keys are.
    fn make_pool(&mut self, name: &str, load: LoadRecord) {
        let LoadRecord { load, plugin, algorithm, keys, digest, .. } = load;
        self.record(Event::KeySetMade {
            key_set: name.to_owned(),
            algorithm: algorithm.clone(),
            size: keys,
        });
        let loaded_at = self.now_ms();
        let (left, suspect) = (keys, false);
        let pool = PoolRecord { load, plugin, algorithm, keys, left, digest, loaded_at, suspect };
        self.view.write(pool_place(name), pool);
    }

    /// The scalars of keys that nobody gave before; they are remembered from now on.
    async fn new_keys(
        &mut self,
        pool: &str,
        load: &LoadRecord,
        algorithm: SignatureAlgorithm,
        first: u64,
        keys: &[SecretBytes],
    ) -> Result<SecretBytes, Refusal> {
        let mut scalars = Vec::with_capacity(keys.len());
        let mut here = BTreeMap::new();
        for (number, given) in (first..).zip(keys) {
            let key = SigningKey::from_pkcs8(algorithm, given.expose()).map_err(|_| {
                let detail = format!("Key {number} is no PKCS #8 key of {}.", algorithm.name());
                Refusal::invalid(detail).with("key", number.to_string())
            })?;
            let hash = sha256(key.public_key_info());
            if let Some(other) = here.insert(hash, number) {
                return Err(duplicate(number, pool, other));
            }
            let place = given_place(&hash);
            if let Some(known) = self.read::<GivenRef>(&place).await?
                && self.is_kept(&known).await?
            {
                return Err(duplicate(number, &known.pool, known.number));
            }
            self.view.write(place, GivenRef { load: load.load, pool: pool.to_owned(), number });
            scalars.push(key.to_scalar());
        }
        self.take_keys(first, &here).await?;
        Ok(joined(&scalars))
    }

    /// The platform remembers each chunk for ever, by the hashes of its public keys: a store that
    /// was restored from a backup may have forgotten it, and its keys may be at a site.
    async fn take_keys(
        &mut self,
        first: u64,
        keys: &BTreeMap<[u8; 32], u64>,
    ) -> Result<(), Refusal> {
        let hashes: Vec<_> = keys.keys().map(<[u8; 32]>::as_slice).collect();
        let id = sha256(&framed("mintmark taken keys v1", &hashes));
        let place = taken_place(&id);
        // A load that was given up may have been repeated, whole, after the backup.
        let taken: Option<u64> = self.read(&place).await?;
        if taken == Some(self.host.epoch) {
            return Ok(());
        }
        if taken.is_some() || self.host.platform.remembers(&id) {
            let detail = format!(
                "The keys from number {first} on were loaded before headquarters was restored from \
                 a backup, and may be at a site; have the authority give other keys."
            );
            let refusal = Refusal::new(Reason::DuplicateKey, detail);
            return Err(refusal.with("key", first.to_string()));
        }
        self.view.write(place, self.host.epoch);
        self.remember.push(id);
        Ok(())
    }

    /// Whether a key that was given before belongs to a pool, and not to a load that was given up.
    async fn is_kept(&mut self, known: &GivenRef) -> Result<bool, Refusal> {
        let pool: Option<PoolRecord> = self.read(&pool_place(&known.pool)).await?;
        let job = tables::pair(tables::JOBS, LOAD, &known.pool);
        let load: Option<LoadRecord> = self.read(&job).await?;
        let of_pool = pool.is_some_and(|pool| pool.load == known.load);
        Ok(of_pool || load.is_some_and(|load| load.load == known.load))
    }
}

fn check_load(load: &PoolLoad) -> Result<(), Refusal> {
    Name::parse(&load.name).ok_or_else(|| {
        Refusal::invalid("A pool's name is 1 to 64 characters of a-z, 0-9, - and dot.")
    })?;
    algorithm_of(&load.algorithm)?;
    if !(1..=LOAD_KEYS_MAX).contains(&load.keys) || !is_name(&load.plugin) {
        return Err(Refusal::invalid("A pool is of 1 to 4,194,304 keys, for a named plugin."));
    }
    Ok(())
}

fn progress(load: &LoadRecord) -> PoolProgress {
    PoolProgress { chunk: load.position(), keys: load.arrived(), whole: load.is_whole() }
}

fn whole(pool: &PoolRecord) -> PoolProgress {
    let chunks = pool.keys.div_ceil(CHUNK_KEYS as u64);
    let chunk = u32::try_from(chunks).expect("a load has at most 4,096 chunks");
    PoolProgress { chunk, keys: pool.keys, whole: true }
}

fn another(chunk: u32) -> Refusal {
    let detail = format!("Chunk {chunk} is not the one that was announced; the file changed.");
    Refusal::invalid(detail).with("chunk", chunk.to_string())
}

/// Keys are counted from 0, as they stand in the file.
fn duplicate(number: u64, pool: &str, other: u64) -> Refusal {
    let detail = format!("Key {number} is key {other} of the pool `{pool}` already.");
    Refusal::new(Reason::DuplicateKey, detail)
        .with("key", number.to_string())
        .with("pool", pool.to_owned())
        .with("other", other.to_string())
}
