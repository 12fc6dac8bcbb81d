//! A store and a platform on a real disk, which can be copied, set back, lost and restored.

use std::path::Path;
use std::sync::Arc;

use cap_std::{ambient_authority, fs::Dir};
use futures_executor::block_on;
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_custody::restoring::{Ceremony, archive_names};
use mintmark_custody::{OpenError, verify};
use mintmark_platform::Platform;
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_sdk_testing::{Hardware, NODE, TestClock};
use mintmark_store::{BackupReader, Embedded, Identity, Store};
use tempfile::TempDir;

const FILE: &str = "store";
const STORE_ID: [u8; 16] = [7; 16];

/// A data directory and a platform's directory.
pub(crate) struct Disk {
    data: TempDir,
    platform: TempDir,
}

impl Disk {
    pub(crate) fn empty() -> Self {
        Self { data: tempfile::tempdir().unwrap(), platform: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn create(&self) -> Hardware {
        let platform = EmulatedPlatform::create(&open(&self.platform)).unwrap();
        let sealing = platform.sealing_secret().unwrap();
        let identity = Identity::new(STORE_ID, NODE);
        let store = Embedded::create(&open(&self.data), FILE, &identity, &sealing).unwrap();
        Hardware { store: Arc::new(store), store_id: STORE_ID, platform: Arc::new(platform) }
    }

    pub(crate) fn open(&self) -> Hardware {
        let platform = EmulatedPlatform::open(&open(&self.platform)).unwrap();
        let sealing = platform.sealing_secret().unwrap();
        let identity = Identity::new(STORE_ID, NODE);
        let store = Embedded::open(&open(&self.data), FILE, &identity, &sealing).unwrap();
        Hardware { store: Arc::new(store), store_id: STORE_ID, platform: Arc::new(platform) }
    }

    /// Only the platform's secret comes to other hardware.
    pub(crate) fn recovered(&self) -> Self {
        let other = Self::empty();
        let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
        let platform = EmulatedPlatform::open(&open(&self.platform)).unwrap();
        let escrow = platform.escrow(key.public_key_info()).unwrap();
        EmulatedPlatform::recover(&open(&other.platform), &escrow, &key).unwrap();
        other
    }

    /// Makes a store of a backup, in place of the one that is there; `approve` signs the request.
    /// What was there is gone only if it succeeds.
    pub(crate) fn restore(
        &self,
        backup: &[u8],
        clock: &TestClock,
        approve: impl FnOnce(&Ceremony) -> (Vec<u8>, Vec<Vec<u8>>),
    ) -> Result<(), OpenError> {
        const DRAFT: &str = "draft";
        let data = open(&self.data);
        let _ = data.remove_file(DRAFT);
        let platform = EmulatedPlatform::open(&open(&self.platform)).unwrap();
        let sealing = platform.sealing_secret().unwrap();
        let read = || BackupReader::open(backup, &sealing).unwrap();
        let names = archive_names(&mut read()).unwrap();
        let identity = Identity::new(STORE_ID, NODE);
        let (store, verified) =
            Embedded::restore(&data, DRAFT, &identity, &sealing, read(), names).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        block_on(async {
            let time = Box::new(clock.clone());
            let ceremony =
                Ceremony::prepare(Arc::clone(&store), STORE_ID, &platform, time, &verified).await?;
            let (request, statements) = approve(&ceremony);
            let restored = ceremony.carry_out(&request, &statements).await?;
            data.rename(DRAFT, &data, FILE).unwrap();
            restored.anchor(&platform).await?;
            verify(&*store, &sealing, Some(&platform)).await.unwrap();
            Ok(())
        })
    }

    /// A copy of both directories.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::empty();
        copy_files(self.data.path(), copy.data.path());
        copy_files(self.platform.path(), copy.platform.path());
        copy
    }

    /// Puts the data of `older` back, without its platform.
    pub(crate) fn set_back(&self, older: &Self) {
        copy_files(older.data.path(), self.data.path());
    }
}

fn open(directory: &TempDir) -> Dir {
    Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap()
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
