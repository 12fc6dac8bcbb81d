//! The embedded engine: everything in one sealed file, one process at a time.
//!
//! Beneath is redb, whose checksums find accidents; authenticity, and so all that is said about
//! attackers, comes from the sealing. A commit is two-phase and synced before it is answered.

pub(crate) mod codec;
#[cfg(test)]
mod faults;
mod file;
mod guard;
mod medium;
mod restore;
mod snapshot;
mod space;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cap_std::fs::Dir;
use mintmark_crypto::Secret;
use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend, WriteTransaction};

pub use self::medium::Medium;
use self::{
    codec::{Header, Standing},
    guard::{engine_error, guarded},
    medium::OnMedium,
    snapshot::EmbeddedSnapshot,
    space::{Tables, header_bytes},
};
use crate::{
    Damage, Error, Identity, Later, Outcome, Snapshot, Store, Transaction, Verified,
    decide::decide, sealing::Sealing,
};

/// How much of the file the engine keeps in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Up to this size, opening checks every page of the file; beyond it, `verify` does.
const CHECKED_AT_OPEN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A node's name is preceded by its length in one byte.
const NODE_BYTES_MAX: usize = 255;

/// A store in one file.
///
/// Dropping it closes the file, which can then be opened again; snapshots that are still alive
/// answer [`Error::Unavailable`] from then on.
pub struct Embedded {
    database: Database,
    sealing: Arc<Sealing>,
    node: String,
    /// Set by the first failed commit and never cleared: after a failed sync nobody knows what is
    /// on the disk, and a second sync that succeeds would prove nothing.
    failed: AtomicBool,
}

impl Embedded {
    /// Creates a store in a new file; refuses if there is any file of that name.
    pub fn create(
        dir: &Dir,
        file_name: &str,
        identity: &Identity,
        sealing: &Secret<32>,
    ) -> Result<Self, Error> {
        let backend = file::create(dir, file_name)?;
        let store = Self::create_in(backend, identity, sealing)?;
        file::sync_dir(dir)?;
        Ok(store)
    }

    /// Opens an existing store, and never makes one: a file that is missing, empty, damaged, of
    /// another store or sealed under another secret is refused by name.
    pub fn open(
        dir: &Dir,
        file_name: &str,
        identity: &Identity,
        sealing: &Secret<32>,
    ) -> Result<Self, Error> {
        let backend = file::open(dir, file_name)?;
        Self::open_in(backend, identity, sealing, CHECKED_AT_OPEN_BYTES_MAX)
    }

    /// [`create`](Self::create) on a medium of the caller's instead of in a file, for tests of what
    /// disks do.
    pub fn create_on(
        medium: impl Medium,
        identity: &Identity,
        sealing: &Secret<32>,
    ) -> Result<Self, Error> {
        Self::create_in(OnMedium(medium), identity, sealing)
    }

    /// [`open`](Self::open) on a medium of the caller's instead of in a file, for tests of what
    /// disks do.
    pub fn open_on(
        medium: impl Medium,
        identity: &Identity,
        sealing: &Secret<32>,
    ) -> Result<Self, Error> {
        Self::open_in(OnMedium(medium), identity, sealing, CHECKED_AT_OPEN_BYTES_MAX)
    }

    pub(crate) fn create_in(
        backend: impl StorageBackend,
        identity: &Identity,
        secret: &Secret<32>,
    ) -> Result<Self, Error> {
        check_node(identity)?;
        let sealing = Sealing::new(secret, &identity.store_id);
        let header = Header::new(identity.store_id).encode(&sealing);
        guarded(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE_BYTES);
            let database = builder.create_with_backend(backend).map_err(engine_error)?;
            let write = begin_write(&database)?;
            let mut tables = Tables::open(&write, &sealing)?;
            tables.put_header(&header)?;
            tables.put_standing(&Standing::fresh())?;
            drop(tables);
            write.commit().map_err(engine_error)?;
            Ok(Self::assemble(database, sealing, identity))
        })
    }

    pub(crate) fn open_in(
        backend: impl StorageBackend,
        identity: &Identity,
        secret: &Secret<32>,
        checked_bytes_max: u64,
    ) -> Result<Self, Error> {
        check_node(identity)?;
        guarded(|| {
            let file_bytes = backend.len().map_err(|_| Error::Unavailable)?;
            if file_bytes == 0 {
                // The engine would make a fresh database of it.
                return Err(Damage::EmptyFile.into());
            }
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE_BYTES);
            builder.set_check_integrity_on_open(file_bytes <= checked_bytes_max);
            let database = builder.create_with_backend(backend).map_err(engine_error)?;
            let read = database.begin_read().map_err(engine_error)?;
            let header = header_bytes(&read)?;
            let sealing = Header::check(&header, identity, secret)?;
            drop(read);
            let store = Self::assemble(database, sealing, identity);
            store.snapshot_now()?;
            Ok(store)
        })
    }

    fn assemble(database: Database, sealing: Sealing, identity: &Identity) -> Self {
        Self {
            database,
            sealing: Arc::new(sealing),
            node: identity.node.clone(),
            failed: AtomicBool::new(false),
        }
    }

    fn snapshot_now(&self) -> Result<EmbeddedSnapshot, Error> {
        let read = self.database.begin_read().map_err(engine_error)?;
        EmbeddedSnapshot::new(&read, Arc::clone(&self.sealing))
    }

    fn commit_now(&self, batch: Vec<Transaction>) -> Result<Vec<Outcome>, Error> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::Unavailable);
        }
        let result = guarded(|| {
            let write = begin_write(&self.database)?;
            let mut tables = Tables::open(&write, &self.sealing)?;
            let Standing { mut position, .. } = tables.standing()?;
            let before = position.mark();
            let set_key = &self.sealing.set;
            let outcomes = decide(&mut tables, &mut position, &self.node, set_key, batch)?;
            if position.commit == before.commit {
                drop(tables);
                write.abort().map_err(engine_error)?;
                return Ok(outcomes);
            }
            tables.put_standing(&Standing { position, previous: before })?;
            drop(tables);
            write.commit().map_err(engine_error)?;
            Ok(outcomes)
        });
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl Store for Embedded {
    fn snapshot(&self) -> Later<'_, Arc<dyn Snapshot>> {
        Box::pin(async {
            let snapshot = guarded(|| self.snapshot_now())?;
            let snapshot: Arc<dyn Snapshot> = Arc::new(snapshot);
            Ok(snapshot)
        })
    }

    fn commit(&self, batch: Vec<Transaction>) -> Later<'_, Vec<Outcome>> {
        Box::pin(async { self.commit_now(batch) })
    }

    fn verify(&self) -> Later<'_, Verified> {
        Box::pin(async { guarded(|| self.snapshot_now()?.verify()) })
    }
}

fn check_node(identity: &Identity) -> Result<(), Error> {
    match identity.node.len() {
        1..=NODE_BYTES_MAX => Ok(()),
        _ => Err(Error::WrongIdentity),
    }
}

fn begin_write(database: &Database) -> Result<WriteTransaction, Error> {
    let mut write = database.begin_write().map_err(engine_error)?;
    write.set_durability(Durability::Immediate).map_err(engine_error)?;
    // Two phases: a crash can't leave a commit of which only a part is there. Quick repair: after
    // a crash, opening does not walk the whole file, which is minutes at 10^8 units.
    write.set_two_phase_commit(true);
    write.set_quick_repair(true);
    Ok(write)
}
