//! Pools: keys that somebody gave, such as a licensing authority; sealed on arrival, each handed
//! out once.
//!
//! No plugin ever touches them (promise I4). At headquarters an admin loads a file of them, chunk
//! by chunk; each chunk is durable by itself, so a load that broke off goes on where it stood, and
//! the pool is there at once when it is whole. A grant takes keys off the pool in the transaction
//! that exports them. They travel in a key file beside the grant, sealed to the site's host, which
//! takes it chunk by chunk in the same way. There, unit n uses key n, and drops it as it is used.

mod exporting;
mod importing;
mod loading;

use mintmark_crypto::sign::SignatureAlgorithm;
use mintmark_crypto::{SecretBytes, random};
use mintmark_exchange::row::Event;
use mintmark_model::policy::ExportRule;
use mintmark_model::{Counters, Reason, Refusal, UnitState};
use mintmark_store::{Key, Range};

pub use loading::PoolLoad;

use crate::call::Call;
use crate::custody::Custody;
use crate::disk::granted::GrantedRecord;
use crate::disk::key::KeyRecord;
use crate::disk::peer::StreamRecord;
use crate::disk::pool::{ImportRecord, LoadRecord, PoolRecord};
use crate::transfers::number_place;
use crate::types::Session;
use crate::vault::Binding;
use crate::view::View;
use crate::{disk, escrows, tables};

/// How far a load or an import of a key file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolProgress {
    /// The number of the next chunk.
    pub chunk: u32,
    /// How many keys are here.
    pub keys: u64,
    /// Whether all are here.
    pub whole: bool,
}

/// A pool, or at a site the keys of an entitlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatus {
    /// The pool's name, or the entitlement's id.
    pub name: String,
    /// Whether it can be used.
    pub state: PoolState,
    /// The plugin that uses it.
    pub plugin: String,
    /// The algorithm of the keys.
    pub algorithm: String,
    /// How many keys were announced.
    pub keys: u64,
    /// How many of them came.
    pub arrived: u64,
    /// How many were not handed out yet.
    pub left: u64,
}

/// Whether a pool can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolState {
    /// Keys are missing; load or import the file again to go on.
    Loading,
    /// In use.
    Ready,
    /// The store was restored: keys that are left may have been handed out, so none is.
    Suspect,
}

impl PoolState {
    /// The state in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Suspect => "suspect",
        }
    }
}

/// Chunks of a pool that are read at once.
const PAGE: usize = 16;
/// How far numbers jump with each epoch of the store: more than any backup can be behind.
const NUMBERS_LOST: u32 = 1 << 20;
/// So many epochs are counted; other hardware is further away, by chance.
const EPOCHS_COUNTED: u32 = 1 << 8;
/// Among so many numbers a store on other hardware chooses where it goes on.
const NUMBERS_ELSEWHERE: u32 = 1 << 29;

impl Custody {
    /// The pools of headquarters, or the key files of a site, by name.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the store fails.
    pub async fn pools(&self, session: Session) -> Result<Vec<PoolStatus>, Refusal> {
        let call = self.begin(session, None).await?;
        let mut pools = Vec::new();
        for (key, value) in call.view.peek_range(&Range::all(tables::POOLS, Vec::new())).await? {
            pools.push(ready(key_name(&key.key), disk::read(&value)?));
        }
        let loads = Range::all(tables::JOBS, tables::prefix(LOAD, b""));
        for (key, value) in call.view.peek_range(&loads).await? {
            pools.push(loading(key_name(&key.key[LOAD.len() + 1..]), disk::read(&value)?));
        }
        let imports = Range::all(tables::JOBS, tables::prefix(IMPORT, b""));
        for (key, value) in call.view.peek_range(&imports).await? {
            let name = key_name(&key.key[IMPORT.len() + 1..]);
            let counters = escrows::counters(&call.view, &name).await?;
            pools.push(imported(name, &disk::read(&value)?, counters));
        }
        pools.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(pools)
    }

    /// Destroys what is left of a pool, or forgets a load that is not whole. The keys of a pool are
    /// remembered for ever by their hashes, those of a forgotten load may be given again.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn destroy_pool(&self, session: Session, name: &str) -> Result<u64, Refusal> {
        let mut call = self.begin(session, None).await?;
        let destroyed = call.destroy_pool(name).await?;
        self.finish(call).await?;
        Ok(destroyed)
    }
}

impl Call {
    async fn destroy_pool(&mut self, name: &str) -> Result<u64, Refusal> {
        let job = tables::pair(tables::JOBS, LOAD, name);
        let (destroyed, load) = if let Some(load) = self.read::<LoadRecord>(&job).await? {
            self.view.delete(job);
            (load.arrived(), load.load)
        } else {
            let place = pool_place(name);
            let pool: Option<PoolRecord> = self.read(&place).await?;
            let pool = pool.ok_or_else(|| Refusal::not_found("pool"))?;
            let was = (pool.left, pool.load);
            self.view.write(place, PoolRecord { left: 0, ..pool });
            was
        };
        let chunks = Range::all(tables::POOL_KEYS, chunk_prefix(&load)).limit(PAGE);
        let mut range = chunks.clone();
        loop {
            let page = self.view.peek_range(&range).await?;
            let Some((last, _)) = page.last() else { break };
            range = chunks.clone().after(last.key.clone());
            page.into_iter().for_each(|(key, _)| self.view.delete(key));
        }
        self.record(Event::KeySetDestroyed { key_set: name.to_owned(), size: destroyed });
        Ok(destroyed)
    }

    /// Writes off what this headquarters may have exported after the backup from which its store
    /// came: for a ceremony that serves the store again.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the store fails.
    pub async fn write_off_exports(&mut self) -> Result<(), Refusal> {
        write_off_exports(&mut self.view, 1).await
    }

    fn only_headquarters(&self) -> Result<(), Refusal> {
        if self.host.identity.is_headquarters() {
            return Ok(());
        }
        Err(Refusal::denied("Pools are loaded at headquarters; a site imports key files."))
    }
}

/// What a restored headquarters must not do a second time. What the backup still has may have left
/// since: nothing more is taken off its pools, no key that was made for a grant goes into one, and
/// entitlement numbers go on where no earlier one can be: `epochs` is how many epochs the store is
/// ahead of its backup, so that the same backup never gives the same numbers again.
///
/// # Errors
///
/// `UNAVAILABLE` where the store fails.
pub(crate) async fn write_off_exports(view: &mut View, epochs: u64) -> Result<(), Refusal> {
    let lost = numbers_lost(epochs);
    for (key, value) in view.scan(Range::all(tables::POOLS, Vec::new())).await? {
        let pool: PoolRecord = disk::read(&value)?;
        view.write(key, PoolRecord { suspect: true, ..pool });
    }
    for (key, value) in view.scan(Range::all(tables::KEYS, Vec::new())).await? {
        let record: KeyRecord = disk::read(&value)?;
        let policy = record.policy.policy();
        let exportable = policy.is_none_or(|policy| policy.export != ExportRule::Never);
        if exportable && !record.exported {
            view.write(key, KeyRecord { exported: true, ..record });
        }
    }
    for (key, value) in view.scan(Range::all(tables::GRANTED, Vec::new())).await? {
        let granted: GrantedRecord = disk::read(&value)?;
        let directives = granted.directives.saturating_add(lost);
        view.write(key, GrantedRecord { directives, ..granted });
    }
    for (key, value) in view.scan(Range::all(tables::JOBS, tables::prefix(LOAD, b""))).await? {
        let load: LoadRecord = disk::read(&value)?;
        view.write(pool_place(&key_name(&key.key[LOAD.len() + 1..])), suspect(load));
        view.delete(key);
    }
    // Sites that were known and had no message yet may have had one since.
    for (key, _) in view.scan(Range::all(tables::PEERS, Vec::new())).await? {
        let stream = Key::new(tables::STREAMS, key.key);
        if view.read::<StreamRecord>(&stream).await?.is_none() {
            view.write(stream, StreamRecord::default());
        }
    }
    let last: u32 = view.read(&number_place()).await?.unwrap_or(0);
    view.write(number_place(), last.saturating_add(lost));
    Ok(())
}

/// How far numbers jump in a store that is so many epochs ahead of its backup.
fn numbers_lost(epochs: u64) -> u32 {
    match u32::try_from(epochs) {
        Ok(epochs) if epochs <= EPOCHS_COUNTED => NUMBERS_LOST * epochs,
        _ => NUMBERS_LOST + u32::from_be_bytes(random::array()) % NUMBERS_ELSEWHERE,
    }
}

/// A load that was under way may have been finished since, and its keys handed out.
fn suspect(load: LoadRecord) -> PoolRecord {
    let left = load.arrived();
    let LoadRecord { load, plugin, algorithm, keys, digest, begun_at, .. } = load;
    let loaded_at = begun_at;
    PoolRecord { load, plugin, algorithm, keys, left, digest, loaded_at, suspect: true }
}

/// What kinds of jobs there are, as their places begin.
const LOAD: &str = "load";
const EXPORT: &str = "export";
const IMPORT: &str = "import";
/// What the places of chunks that were ever taken begin with.
const TAKEN: &str = "taken";

fn pool_place(name: &str) -> Key {
    Key::new(tables::POOLS, name.as_bytes())
}

/// Where a given key is remembered by the hash of its public key.
fn given_place(hash: &[u8; 32]) -> Key {
    tables::pair(tables::POOL_KEYS, "given", hash)
}

/// Where a chunk that was ever taken is remembered by the digest of its keys.
fn taken_place(id: &[u8; 32]) -> Key {
    tables::pair(tables::POOL_KEYS, TAKEN, id)
}

/// The digests of all chunks that were ever taken.
pub(crate) async fn taken_digests(view: &View) -> Result<Vec<[u8; 32]>, Refusal> {
    let prefix = tables::prefix(TAKEN, b"");
    let found = view.peek_range(&Range::all(tables::POOL_KEYS, prefix.clone())).await?;
    let id = |(key, _): &(Key, _)| key.key[prefix.len()..].try_into().ok();
    found.iter().map(|one| id(one).ok_or_else(damaged)).collect()
}

/// What the places of a load's chunks begin with.
fn chunk_prefix(load: &[u8; 16]) -> Vec<u8> {
    tables::prefix(&hex::encode(load), b"")
}

/// Where the chunk that begins with key `first` is.
fn chunk_place(load: &[u8; 16], first: u64) -> Key {
    tables::pair(tables::POOL_KEYS, &hex::encode(load), first.to_be_bytes())
}

/// Where the key of a unit is, at a site.
pub(crate) fn unit_key_place(entitlement: &str, unit: u64) -> Key {
    tables::pair(tables::POOL_KEYS, entitlement, unit.to_be_bytes())
}

/// What a sealed chunk is bound to: its load and its first key.
fn chunk_binding<'a>(name: &'a str, algorithm: SignatureAlgorithm) -> Binding<'a> {
    Binding { owner: "pool", name, algorithm: algorithm.name(), policy: None }
}

fn chunk_name(load: &[u8; 16], first: u64) -> String {
    format!("{}.{first}", hex::encode(load))
}

fn algorithm_of(name: &str) -> Result<SignatureAlgorithm, Refusal> {
    SignatureAlgorithm::from_name(name)
        .ok_or_else(|| Refusal::invalid("Keys of a pool are ecdsa-p256, ecdsa-p384 or ed25519."))
}

/// Scalars one after the other; none of the buffers on the way is left behind.
fn joined(scalars: &[SecretBytes]) -> SecretBytes {
    let mut bytes = Vec::with_capacity(scalars.iter().map(SecretBytes::len).sum());
    scalars.iter().for_each(|scalar| bytes.extend_from_slice(scalar.expose()));
    SecretBytes::new(bytes)
}

fn damaged() -> Refusal {
    let detail = "Keys of a pool cannot be read; run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}

fn key_name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ready(name: String, pool: PoolRecord) -> PoolStatus {
    PoolStatus {
        name,
        state: if pool.suspect { PoolState::Suspect } else { PoolState::Ready },
        plugin: pool.plugin,
        algorithm: pool.algorithm,
        keys: pool.keys,
        arrived: pool.keys,
        left: pool.left,
    }
}

fn loading(name: String, load: LoadRecord) -> PoolStatus {
    let arrived = load.arrived();
    PoolStatus {
        name,
        state: PoolState::Loading,
        plugin: load.plugin,
        algorithm: load.algorithm,
        keys: load.keys,
        arrived,
        left: arrived,
    }
}

/// At a site, keys are left of units that were not issued.
fn imported(name: String, import: &ImportRecord, counters: Counters) -> PoolStatus {
    let whole = import.is_whole();
    let reserved = counters.in_row_order()[Counters::position(UnitState::Reserved)];
    PoolStatus {
        name,
        state: if whole { PoolState::Ready } else { PoolState::Loading },
        plugin: import.plugin.clone(),
        algorithm: import.algorithm.clone(),
        keys: import.keys,
        arrived: import.arrived(),
        left: if whole { counters.unused + reserved } else { import.arrived() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_jump_by_epochs_and_other_hardware_leaves_room_for_many_restores() {
        assert_eq!([1, 2, 256].map(numbers_lost), [1 << 20, 1 << 21, 1 << 28]);
        let far = [257, 1 << 24, 1 << 40].map(numbers_lost);
        let room = NUMBERS_LOST..NUMBERS_LOST + NUMBERS_ELSEWHERE;
        assert!(far.iter().all(|lost| room.contains(lost)), "{far:?}");
        assert!(far[0] != far[1] || far[1] != far[2], "chosen by chance: {far:?}");
    }
}
