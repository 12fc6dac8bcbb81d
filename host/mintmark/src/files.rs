//! Files that people carry: read with a bound, written whole or not at all, never outside of the
//! folder that was named.
//!
//! A folder is opened as a capability. A name in it may come from a host or from a device, so a
//! name with a separator, `..` or a link that leads out is refused.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};

use crate::error::Error;

/// The largest file that is read: what a host stages at most.
const BYTES_MAX: u64 = 512 << 20;

/// An opened folder.
pub(crate) struct Folder {
    dir: Dir,
    path: PathBuf,
}

/// Who may read a file.
#[derive(Clone, Copy)]
enum Readers {
    /// Whom the process's mask allows.
    Usual,
    /// The owner alone.
    Owner,
}

impl Folder {
    /// Opens a folder that is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let dir = Dir::open_ambient_dir(path, ambient_authority());
        Ok(Self { dir: dir.map_err(Error::file("open", path))?, path: path.to_owned() })
    }

    /// Opens a folder, and makes it where it is not there.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        Dir::create_ambient_dir_all(path, ambient_authority())
            .map_err(Error::file("make", path))?;
        Self::open(path)
    }

    /// The folder and the name of a file.
    pub(crate) fn split(path: &Path) -> Result<(Self, String), Error> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Name(path.display().to_string()))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        // A path without a folder stays one for people.
        let here = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        Ok((Self { path: parent.to_owned(), ..Self::open(here)? }, name.to_owned()))
    }

    /// The opened directory, for those who keep their own files in it.
    pub(crate) fn into_dir(self) -> Dir {
        self.dir
    }

    /// The path of a file in the folder, for people.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> Result<bool, Error> {
        match self.dir.symlink_metadata(plain(name)?) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::file("read", &self.path(name))(error)),
        }
    }

    /// Reads a file.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(name);
        let failed = || Error::file("read", &path);
        let file = self.dir.open(plain(name)?).map_err(failed())?;
        let mut content = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut content).map_err(failed())?;
        if content.len() as u64 > BYTES_MAX {
            return Err(Error::TooLarge { path, bytes_max: BYTES_MAX });
        }
        Ok(content)
    }

    /// Writes a file; one of that name is replaced.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        self.put(name, content, Readers::Usual)
    }

    /// Writes a file that its owner alone may read. One that is there is never replaced: it may be
    /// the only copy of a key.
    pub(crate) fn write_secret(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        if self.has(name)? {
            return Err(Error::Exists(self.path(name)));
        }
        self.put(name, content, Readers::Owner)
    }

    /// Begins a file that is written piece by piece, readable by its owner alone. One that is
    /// there is never replaced.
    pub(crate) fn draft_of(self, name: &str) -> Result<Draft, Error> {
        let path = self.path(name);
        if self.has(name)? {
            return Err(Error::Exists(path));
        }
        let draft = draft_name(name);
        let file = self.open_draft(&draft, Readers::Owner).map_err(Error::file("write", &path))?;
        Ok(Draft { file: Some(file), dir: self.dir, draft, name: name.to_owned(), path })
    }

    /// Under another name first, so that a file is whole or not there.
    fn put(&self, name: &str, content: &[u8], readers: Readers) -> Result<PathBuf, Error> {
        let path = self.path(name);
        let name = plain(name)?;
        let draft = draft_name(name);
        let written = self.draft(&draft, content, readers).and_then(|()| {
            self.dir.rename(&draft, &self.dir, name)?;
            self.dir.open(".")?.sync_all()
        });
        if let Err(why) = written {
            // What remains of the draft is of no use; the failure that matters is the first one.
            let _ = self.dir.remove_file(&draft);
            return Err(Error::file("write", &path)(why));
        }
        Ok(path)
    }

    fn draft(&self, name: &str, content: &[u8], readers: Readers) -> std::io::Result<()> {
        let mut file = self.open_draft(name, readers)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn open_draft(&self, name: &str, readers: Readers) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt as _;
            options.mode(match readers {
                Readers::Usual => 0o644,
                Readers::Owner => 0o600,
            });
        }
        self.dir.open_with(name, &options)
    }
}

/// A file that is being written, under another name until it is whole.
pub(crate) struct Draft {
    /// `None` once it is closed.
    file: Option<File>,
    dir: Dir,
    draft: String,
    name: String,
    path: PathBuf,
}

impl Draft {
    /// Writes what comes next.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).map_err(Error::file("write", &self.path))
    }

    /// The file is whole: from now on it is there.
    pub(crate) fn finish(mut self) -> Result<PathBuf, Error> {
        let Some(file) = self.file.take() else { return Ok(self.path.clone()) };
        let finished = file.sync_all().and_then(|()| {
            // Another process may have written one meanwhile; that one stays.
            self.dir.hard_link(&self.draft, &self.dir, &self.name)?;
            self.dir.open(".")?.sync_all()
        });
        finished.map_err(Error::file("write", &self.path))?;
        Ok(self.path.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.file = None;
        // Either the file has its own name by now, or it is of no use.
        let _ = self.dir.remove_file(&self.draft);
    }
}

fn draft_name(name: &str) -> String {
    format!(".{name}.{}", hex::encode(mintmark_crypto::random::array::<8>()))
}

/// Reads a file that the command line names.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let (folder, name) = Folder::split(path)?;
    folder.read(&name)
}

/// Opens a file that the command line names, to be read piece by piece.
pub(crate) fn open(path: &Path) -> Result<std::fs::File, Error> {
    let (folder, name) = Folder::split(path)?;
    let file = folder.dir.open(plain(&name)?).map_err(Error::file("open", path))?;
    Ok(file.into_std())
}

/// Writes a file that the command line names.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<PathBuf, Error> {
    let (folder, name) = Folder::split(path)?;
    folder.write(&name, content)
}

/// A file name for any text, one to one: whatever could mean something to a file system is spelled
/// in hexadecimal.
pub(crate) fn name_for(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let allowed = byte.is_ascii_alphanumeric()
            || byte == b'-'
            || byte == b'_'
            || (byte == b'.' && at > 0);
        if allowed {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

/// The name itself, where it names a file in the folder and nothing else.
fn plain(name: &str) -> Result<&str, Error> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(name),
        _ => Err(Error::Name(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_and_replaced() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("a/b")).unwrap();
        folder.write("order.bin", b"one").unwrap();
        folder.write("order.bin", b"two").unwrap();
        assert_eq!(folder.read("order.bin").unwrap(), b"two");
        assert_eq!(std::fs::read_dir(place.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("inside")).unwrap();
        for name in ["", ".", "..", "../out", "a/b", "/tmp/out", "a/", "./a", "..\u{0}"] {
            assert!(folder.write(name, b"x").is_err(), "{name:?}");
            assert!(folder.write_secret(name, b"x").is_err(), "{name:?}");
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_out_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("outside"), b"outside").unwrap();
        let folder = Folder::create(&place.path().join("inside")).unwrap();
        std::os::unix::fs::symlink("../outside", place.path().join("inside/link")).unwrap();
        assert!(folder.read("link").is_err());
        folder.write("link", b"inside").unwrap();
        assert_eq!(std::fs::read(place.path().join("outside")).unwrap(), b"outside");
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_its_owners_alone_and_is_never_replaced() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let path = folder.write_secret("key.pem", b"secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(folder.write_secret("key.pem", b"other"), Err(Error::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
    }

    #[test]
    fn every_text_has_a_file_name_of_its_own() {
        assert_eq!(name_for("T2-000017"), "T2-000017");
        assert_eq!(name_for("../a b%"), "%2e.%2fa%20b%25");
        assert_eq!(name_for("a.b"), "a.b");
        assert!(plain(&name_for("..")).is_ok());
    }
}
