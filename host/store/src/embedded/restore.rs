//! A store made of a backup: the same records, versions and rows, sealed anew in a new file.

use std::io::Read;

use cap_std::fs::Dir;
use mintmark_crypto::Secret;
use redb::{Builder, StorageBackend};

use super::{
    CACHE_BYTES, Embedded, begin_write, check_node,
    codec::{Header, Standing},
    file,
    guard::{engine_error, guarded},
    space::Tables,
};
use crate::{
    BackupReader, Error, Head, Identity, Position, Verified, backup::Entry, decide::Space,
    sealing::Sealing, walk::Walk,
};

/// So many bytes share a write transaction.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

impl Embedded {
    /// Makes a store in a new file of everything in a backup, and checks all of it on the way: set
    /// hash, chains and heads are recomputed. Refuses if there is any file of that name.
    ///
    /// Each chain is kept under the name that `archive` gives it, so that the node can begin a new
    /// one under its own. The file is no store, and opens as none, before all of the backup is in
    /// it and was found right.
    ///
    /// # Errors
    ///
    /// What is damaged in the backup; nothing is to be used then.
    pub fn restore(
        dir: &Dir,
        file_name: &str,
        identity: &Identity,
        secret: &Secret<32>,
        backup: BackupReader<impl Read>,
        archive: impl Fn(&str) -> String,
    ) -> Result<(Self, Verified), Error> {
        if backup.header().store_id != identity.store_id {
            return Err(Error::WrongIdentity);
        }
        check_node(identity)?;
        let backend = file::create(dir, file_name)?;
        let restored = Self::restore_in(backend, identity, secret, backup, archive)?;
        file::sync_dir(dir)?;
        Ok(restored)
    }

    fn restore_in(
        backend: impl StorageBackend,
        identity: &Identity,
        secret: &Secret<32>,
        mut backup: BackupReader<impl Read>,
        archive: impl Fn(&str) -> String,
    ) -> Result<(Self, Verified), Error> {
        let sealing = Sealing::new(secret, &identity.store_id);
        guarded(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE_BYTES);
            let database = builder.create_with_backend(backend).map_err(engine_error)?;
            let expected = backup.position().clone();
            let mut walk = Walk::new(&sealing.set, &expected);
            let mut more = true;
            while more {
                let write = begin_write(&database)?;
                let mut tables = Tables::open(&write, &sealing)?;
                more = copy_batch(&mut backup, &mut tables, &mut walk, &archive)?;
                drop(tables);
                write.commit().map_err(engine_error)?;
            }
            let verified = walk.finish()?;
            let write = begin_write(&database)?;
            let mut tables = Tables::open(&write, &sealing)?;
            tables.put_header(&Header::new(identity.store_id).encode(&sealing))?;
            let position = archived(&expected, &archive);
            let previous = position.mark();
            tables.put_standing(&Standing { position, previous })?;
            drop(tables);
            write.commit().map_err(engine_error)?;
            Ok((
                Self::assemble(database, Sealing::new(secret, &identity.store_id), identity),
                verified,
            ))
        })
    }
}

/// Copies entries until they are many, or all; false after the last one.
fn copy_batch(
    backup: &mut BackupReader<impl Read>,
    tables: &mut Tables<'_>,
    walk: &mut Walk<'_>,
    archive: &impl Fn(&str) -> String,
) -> Result<bool, Error> {
    let mut bytes = 0;
    while bytes < BATCH_BYTES {
        match backup.next_entry()? {
            None => return Ok(false),
            Some(Entry::Record { key, version, value }) => {
                walk.record(&key, version, value.expose());
                bytes += key.key.len() + value.len();
                tables.put(&key, version, value)?;
            }
            Some(Entry::Row { node, sequence, encoded }) => {
                walk.row(&node, sequence, &encoded)?;
                bytes += encoded.len();
                tables.append(&archive(&node), sequence, encoded)?;
            }
        }
    }
    Ok(true)
}

/// The same position with the chains under their new names.
fn archived(position: &Position, archive: &impl Fn(&str) -> String) -> Position {
    let heads = position.heads.iter();
    let mut heads: Vec<Head> =
        heads.map(|head| Head { node: archive(&head.node), ..head.clone() }).collect();
    heads.sort_by(|one, other| one.node.cmp(&other.node));
    Position { heads, ..position.clone() }
}
