//! Where the demo happens: a folder, with one folder for each cluster in it.

use std::path::{Path, PathBuf};

use mintmark_crypto::random;

use super::program::Program;
use crate::error::Error;
use crate::files::{self, Folder};

/// The folder. One that the demo made for itself is removed at the end.
pub(super) struct Stage {
    path: PathBuf,
    program: Program,
    passing: bool,
}

impl Stage {
    /// The folder `kept`, or one that passes.
    pub(super) fn new(kept: Option<PathBuf>) -> Result<Self, Error> {
        let passing = kept.is_none();
        let path = kept.unwrap_or_else(|| {
            let name = format!("mintmark-demo-{}", hex::encode(random::array::<6>()));
            std::env::temp_dir().join(name)
        });
        Folder::create(&path)?;
        let path = path.canonicalize().map_err(Error::file("open", &path))?;
        let mut entries = std::fs::read_dir(&path).map_err(Error::file("read", &path))?;
        if entries.next().is_some() {
            return Err(Error::Usage(format!("{} is not empty", path.display())));
        }
        Ok(Self { program: Program::new(&path)?, path, passing })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The program, run in the folder.
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Reads a file, by its path in the folder.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        files::read(&self.path.join(name))
    }

    /// Writes a file, by its path in the folder.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        files::write(&self.path.join(name), content).map(drop)
    }

    /// Writes the configuration of a cluster's one node, which listens at `address`.
    pub(super) fn write_config(
        &self,
        (role, name): (&str, &str),
        address: &str,
    ) -> Result<(), Error> {
        Folder::create(&self.path.join(name))?;
        let config = format!(
            "node = \"node-1\"\n\
             listen = \"{address}\"\n\
             data_dir = \"data\"\n\
             platform_dir = \"platform\"\n\
             \n\
             [cluster]\n\
             organization = \"acme\"\n\
             role = \"{role}\"\n\
             name = \"{name}\"\n\
             \n\
             [limits]\n\
             free_mib_min = 16\n"
        );
        self.write(&format!("{name}/config.toml"), config.as_bytes())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.passing {
            // What cannot be removed is left to the system's care of its temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
