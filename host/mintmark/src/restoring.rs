//! A backup on its way back: into a scratch store to rehearse it, or into the node's place.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use mintmark_custody::restoring::{Ceremony, Restored, archive_names};
use mintmark_custody::{SystemTimeSource, VerifiedStore, verify};
use mintmark_platform::Platform;
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_store::{BackupReader, Embedded, Identity, Store, Verified};

use crate::assemble::{STORE, STORE_ID, read_id};
use crate::config::Config;
use crate::error::Error;
use crate::files::Folder;

/// The restored store until it takes the place of the one before.
const RESTORED: &str = "store.restored.redb";

/// A store made of a backup, in its own file.
struct Copy {
    store: Arc<dyn Store>,
    store_id: [u8; 16],
    verified: Verified,
}

/// What a rehearsal found: everything is as it was committed.
pub(crate) struct Rehearsed {
    /// What was counted.
    pub(crate) verified: VerifiedStore,
}

/// Restores a backup into a scratch folder, checks all of it there, and removes it. The node may
/// run meanwhile: nothing of it is touched.
pub(crate) async fn rehearse(config: &Config, backup: &Path) -> Result<Rehearsed, Error> {
    let platform = Folder::open(config.platform_dir())?.into_dir();
    let secret = EmulatedPlatform::sealing_secret_in(&platform)?;
    let (beside, name) = Folder::split(backup)?;
    let scratch = Scratch::new(beside.into_dir(), &name)?;
    let copy = Copy::of(backup, config, &secret, &scratch.dir)?;
    let verified = verify(&*copy.store, &secret, None).await?;
    Ok(Rehearsed { verified })
}

/// A restore that is prepared in the node's own folder. The node does not run: its platform is
/// open here.
pub(crate) struct Prepared {
    /// What is to be approved, and what it writes off.
    pub(crate) ceremony: Ceremony,
    platform: EmulatedPlatform,
    data: Dir,
    store_id: [u8; 16],
}

impl Prepared {
    /// Makes the store beside the one that is there, and checks all of it.
    pub(crate) async fn new(config: &Config, backup: &Path) -> Result<Self, Error> {
        let platform = EmulatedPlatform::open(&Folder::open(config.platform_dir())?.into_dir())?;
        let folder = Folder::create(config.data_dir())?;
        let known = match folder.has(STORE_ID)? {
            true => Some(read_id(&folder)?),
            false => None,
        };
        let data = folder.into_dir();
        // What an earlier try has left is of no use.
        remove(&data, RESTORED).map_err(Error::file("remove", Path::new(RESTORED)))?;
        let secret = platform.sealing_secret()?;
        let copy = Copy::of(backup, config, &secret, &data)?;
        if known.is_some_and(|known| known != copy.store_id) {
            let next = "Restore it where its own node was, or name another data_dir.";
            return Err(Error::misfit("the backup is another store's", next));
        }
        // The platform may be new, and remember nothing yet.
        verify(&*copy.store, &secret, None).await?;
        let time = Box::new(SystemTimeSource::default());
        let ceremony =
            Ceremony::prepare(copy.store, copy.store_id, &platform, time, &copy.verified).await?;
        Ok(Self { ceremony, platform, data, store_id: copy.store_id })
    }

    /// Gives up; the store that was made goes.
    pub(crate) fn give_up(self) -> Result<(), Error> {
        drop(self.ceremony);
        remove(&self.data, RESTORED).map_err(Error::file("remove", Path::new(RESTORED)))
    }

    /// Carries the restore out. Where the store before is kept; none if there was none.
    pub(crate) async fn carry_out(
        self,
        request: &[u8],
        statements: &[Vec<u8>],
    ) -> Result<(Restored, Option<String>), Error> {
        let Self { ceremony, platform, data, store_id } = self;
        let carried = ceremony.carry_out(request, statements).await;
        let restored = match carried {
            Ok(restored) => restored,
            Err(error) => {
                let removed = remove(&data, RESTORED);
                removed.map_err(Error::file("remove", Path::new(RESTORED)))?;
                return Err(error.into());
            }
        };
        let replaced = put_in_place(&data, &store_id, restored.epoch());
        let replaced = replaced.map_err(Error::file("replace", Path::new(STORE)))?;
        restored.anchor(&platform).await?;
        Ok((restored, replaced))
    }
}

impl Copy {
    fn of(
        backup: &Path,
        config: &Config,
        secret: &mintmark_crypto::Secret<32>,
        dir: &Dir,
    ) -> Result<Self, Error> {
        let open = || {
            let file = File::open(backup).map_err(Error::file("open", backup))?;
            Ok::<_, Error>(BackupReader::open(BufReader::new(file), secret)?)
        };
        let names = archive_names(&mut open()?)?;
        let reader = open()?;
        let identity = Identity::new(reader.header().store_id, config.node());
        let made = Embedded::restore(dir, RESTORED, &identity, secret, reader, names);
        let (store, verified) = match made {
            Ok(made) => made,
            Err(error) => {
                // It is no store and holds nothing that the backup does not.
                let _ = remove(dir, RESTORED);
                return Err(error.into());
            }
        };
        Ok(Self { store: Arc::new(store), store_id: identity.store_id, verified })
    }
}

/// A folder of its own beside the backup, gone with the rehearsal.
struct Scratch {
    beside: Dir,
    name: String,
    dir: Dir,
}

impl Scratch {
    fn new(beside: Dir, backup: &str) -> Result<Self, Error> {
        let number = hex::encode(mintmark_crypto::random::array::<8>());
        let name = format!(".{backup}.rehearsal.{number}");
        let failed = || Error::file("make", Path::new(&name));
        beside.create_dir(&name).map_err(failed())?;
        let dir = beside.open_dir(&name).map_err(failed())?;
        Ok(Self { beside, dir, name })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.beside.remove_dir_all(&self.name) {
            tracing::warn!(%error, "the scratch folder of the rehearsal is still there");
        }
    }
}

/// The store before is kept under another name: it is evidence. Gives that name.
fn put_in_place(data: &Dir, store_id: &[u8; 16], epoch: u64) -> std::io::Result<Option<String>> {
    let mut replaced = None;
    if data.try_exists(STORE)? {
        let number = hex::encode(mintmark_crypto::random::array::<4>());
        let name = format!("store.before-epoch-{epoch}.{number}.redb");
        data.rename(STORE, data, &name)?;
        replaced = Some(name);
    }
    if !data.try_exists(STORE_ID)? {
        data.write(STORE_ID, hex::encode(store_id))?;
    }
    data.rename(RESTORED, data, STORE)?;
    data.open(".")?.sync_all()?;
    Ok(replaced)
}

fn remove(dir: &Dir, name: &str) -> std::io::Result<()> {
    match dir.remove_file(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the folder of the node is, for people.
pub(crate) fn place(config: &Config, name: &str) -> PathBuf {
    config.data_dir().join(name)
}
