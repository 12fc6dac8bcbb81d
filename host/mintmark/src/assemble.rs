//! What is wired to what: a node is a store, a platform, custody, the plugins' runtime, a server.
//!
//! The only place that chooses implementations: the embedded store, the emulated platform, the
//! operating system's clocks.

use std::sync::Arc;

use cap_std::fs::Dir;
use mintmark_crypto::random;
use mintmark_custody::{Custody, DiskSpace, Parts, SystemTimeSource, TimeSource};
use mintmark_platform::Platform;
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_rpc::Server;
use mintmark_runtime::Runtime;
use mintmark_store::{Embedded, Identity, Store};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::error::Error;
use crate::files::Folder;
use crate::space::Directories;

/// The store's file.
pub(crate) const STORE: &str = "store.redb";
/// The platform's file that is held open.
const ANCHOR: &str = "anchor";
/// The file of the store's id.
pub(crate) const STORE_ID: &str = "store-id";
/// The folder of compiled plugins: remade when it is lost.
const CACHE: &str = "compiled";

/// What a node keeps, opened. One process has it at a time.
pub(crate) struct Keep {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// Its id.
    pub(crate) store_id: [u8; 16],
    /// The platform.
    pub(crate) platform: Arc<dyn Platform>,
    /// Where both are.
    space: Box<dyn DiskSpace>,
}

impl Keep {
    /// Opens what [`Self::prepare`] made.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        let platform = EmulatedPlatform::open(&dir(config.platform_dir())?)?;
        // Under the platform's lock: the reserve may be another process's.
        let space = Box::new(space(config)?);
        let data = Folder::open(config.data_dir())?;
        let store_id = read_id(&data)?;
        let identity = Identity::new(store_id, config.node());
        let store =
            Embedded::open(&data.into_dir(), STORE, &identity, &platform.sealing_secret()?)?;
        Ok(Self { store: Arc::new(store), store_id, platform: Arc::new(platform), space })
    }

    /// Makes store and platform, or what an earlier try has left to make.
    pub(crate) fn prepare(config: &Config) -> Result<Self, Error> {
        let folder = Folder::create(config.platform_dir())?.into_dir();
        match EmulatedPlatform::create(&folder) {
            Ok(_) | Err(mintmark_platform::Error::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        let platform = EmulatedPlatform::open(&folder)?;
        let data = Folder::create(config.data_dir())?;
        if !data.has(STORE_ID)? {
            data.write(STORE_ID, hex::encode(random::array::<16>()).as_bytes())?;
        }
        let store_id = read_id(&data)?;
        let identity = Identity::new(store_id, config.node());
        let secret = platform.sealing_secret()?;
        let exists = data.has(STORE)?;
        let data = data.into_dir();
        let store = if exists {
            Embedded::open(&data, STORE, &identity, &secret)?
        } else {
            Embedded::create(&data, STORE, &identity, &secret)?
        };
        let space = Box::new(space(config)?);
        Ok(Self { store: Arc::new(store), store_id, platform: Arc::new(platform), space })
    }

    /// What custody runs on.
    pub(crate) fn parts(self, config: &Config) -> Parts {
        self.parts_at(config, Box::new(SystemTimeSource::default()))
    }

    fn parts_at(self, config: &Config, time: Box<dyn TimeSource>) -> Parts {
        Parts {
            store: self.store,
            store_id: self.store_id,
            platform: self.platform,
            time,
            space: self.space,
            settings: config.settings(),
        }
    }
}

/// A node that is about to serve.
pub(crate) struct Node {
    /// The only door to its keys.
    pub(crate) custody: Custody,
    /// Its listener.
    pub(crate) server: Server,
}

impl Node {
    /// Opens the node, loads its plugins, and binds its listener.
    pub(crate) async fn start(config: &Config) -> Result<Self, Error> {
        Self::open(config, Keep::open(config)?.parts(config)).await
    }

    /// The same with another clock than the machine's: for the demo alone, which may not set that.
    pub(crate) async fn start_at_danger(
        config: &Config,
        time: Box<dyn TimeSource>,
    ) -> Result<Self, Error> {
        Self::open(config, Keep::open(config)?.parts_at(config, time)).await
    }

    async fn open(config: &Config, parts: Parts) -> Result<Self, Error> {
        let custody = Custody::open(parts).await?;
        let cache = Folder::create(&config.data_dir().join(CACHE))?.into_dir();
        let runtime = Runtime::new(custody.clone(), config.runtime(), Some(cache));
        let runtime = runtime.map_err(Error::Runtime)?;
        runtime.load().await?;
        let listener = TcpListener::bind(config.listen()).await;
        let listener = listener.map_err(|why| {
            let next = "Choose another `listen` in the configuration.";
            Error::misfit(format!("cannot listen on {}: {why}", config.listen()), next)
        })?;
        let server = Server::bind(listener, custody.clone(), runtime).await?;
        Ok(Self { custody, server })
    }
}

fn space(config: &Config) -> Result<Directories, Error> {
    let (data, platform) = (Folder::open(config.data_dir())?, Folder::open(config.platform_dir())?);
    Directories::open((data, STORE), (platform, ANCHOR))
}

fn dir(path: &std::path::Path) -> Result<Dir, Error> {
    Ok(Folder::open(path)?.into_dir())
}

pub(crate) fn read_id(data: &Folder) -> Result<[u8; 16], Error> {
    let text = data.read(STORE_ID)?;
    let mut id = [0; 16];
    hex::decode_to_slice(text.trim_ascii(), &mut id).map_err(|_| {
        let next = "Restore the file from a backup; it says which store this is.";
        Error::misfit(format!("{} is damaged", data.path(STORE_ID).display()), next)
    })?;
    Ok(id)
}
