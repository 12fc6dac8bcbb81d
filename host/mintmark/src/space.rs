//! The file systems of a node: what is free on them, whether its files are in place, its reserve.

use cap_std::fs::Dir;
use mintmark_custody::DiskSpace;

use crate::error::Error;
use crate::files::Folder;

/// The file that takes the reserve's bytes, in the data directory. It holds nothing.
const RESERVE: &str = "reserve";

/// The directories in which a node writes while it serves.
pub(crate) struct Directories {
    data: Watched,
    platform: Watched,
}

/// A directory and the file in it that is held open.
struct Watched {
    dir: Dir,
    file: &'static str,
    opened: Option<FileId>,
}

/// What a file system knows a file by.
type FileId = (u64, u64);

impl Directories {
    /// The store's directory and file, and the platform's. A reserve that an earlier start has left
    /// is given back: opening the store may need the room.
    pub(crate) fn open(
        (data, store): (Folder, &'static str),
        (platform, anchor): (Folder, &'static str),
    ) -> Result<Self, Error> {
        let this = Self {
            data: Watched::of(data.into_dir(), store),
            platform: Watched::of(platform.into_dir(), anchor),
        };
        this.set_reserve(0);
        Ok(this)
    }
}

impl DiskSpace for Directories {
    fn free_bytes(&self) -> Option<u64> {
        Some(free_bytes(&self.data.dir)?.min(free_bytes(&self.platform.dir)?))
    }

    fn is_in_place(&self) -> bool {
        self.data.is_in_place() && self.platform.is_in_place()
    }

    fn set_reserve(&self, bytes: u64) -> bool {
        let dir = &self.data.dir;
        // One that is not there, or cannot be removed, takes no more room than before.
        let _ = dir.remove_file(RESERVE);
        if bytes == 0 {
            return false;
        }
        let taken = take(dir, bytes);
        if let Err(why) = &taken {
            tracing::warn!(%why, "the file system gives no reserve");
            let _ = dir.remove_file(RESERVE);
        }
        taken.is_ok()
    }
}

impl Watched {
    fn of(dir: Dir, file: &'static str) -> Self {
        let opened = id_of(&dir, file).ok();
        Self { dir, file, opened }
    }

    /// A directory that does not answer says nothing: the open file is written all the same.
    fn is_in_place(&self) -> bool {
        match id_of(&self.dir, self.file) {
            Ok(found) => self.opened.is_none_or(|opened| opened == found),
            Err(why) => why.kind() != std::io::ErrorKind::NotFound,
        }
    }
}

#[cfg(unix)]
fn id_of(dir: &Dir, file: &str) -> std::io::Result<FileId> {
    use cap_std::fs::MetadataExt as _;

    let metadata = dir.symlink_metadata(file)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn id_of(dir: &Dir, file: &str) -> std::io::Result<FileId> {
    dir.symlink_metadata(file).map(|_| (0, 0))
}

/// What is free for who is not the superuser.
#[cfg(unix)]
fn free_bytes(dir: &Dir) -> Option<u64> {
    let told = rustix::fs::fstatvfs(dir).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Dir) -> Option<u64> {
    None
}

/// Blocks, not only a length: they are really taken.
#[cfg(unix)]
fn take(dir: &Dir, bytes: u64) -> std::io::Result<()> {
    use cap_std::fs::{OpenOptions, OpenOptionsExt as _};
    use rustix::fs::{FallocateFlags, fallocate};

    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = dir.open_with(RESERVE, &options)?;
    Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
}

#[cfg(not(unix))]
fn take(_: &Dir, _: u64) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(place: &std::path::Path) -> Directories {
        for (folder, file) in [("data", "store"), ("platform", "anchor")] {
            let folder = place.join(folder);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(file), b"x").unwrap();
        }
        let folder = |name| Folder::open(&place.join(name)).unwrap();
        Directories::open((folder("data"), "store"), (folder("platform"), "anchor")).unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn the_reserve_takes_blocks_and_gives_them_back() {
        use std::os::unix::fs::MetadataExt as _;

        let place = tempfile::tempdir().unwrap();
        let directories = directories(place.path());
        assert!(directories.free_bytes().is_some_and(|free| free > 0));
        assert!(directories.set_reserve(1 << 20), "the file system of the tests gives blocks");
        let reserve = place.path().join("data").join(RESERVE);
        assert_eq!(std::fs::metadata(&reserve).unwrap().blocks() * 512, 1 << 20);
        assert!(!directories.set_reserve(0));
        assert!(!reserve.exists());
    }

    #[test]
    fn s10_a_file_that_was_taken_away_or_exchanged_is_missed() {
        let place = tempfile::tempdir().unwrap();
        let directories = directories(place.path());
        assert!(directories.is_in_place());
        for file in ["data/store", "platform/anchor"] {
            let (file, aside) = (place.path().join(file), place.path().join("aside"));
            std::fs::rename(&file, &aside).unwrap();
            assert!(!directories.is_in_place());
            std::fs::write(&file, b"x").unwrap();
            assert_eq!(directories.is_in_place(), cfg!(not(unix)), "another file");
            std::fs::rename(&aside, &file).unwrap();
            assert!(directories.is_in_place(), "it was put back");
        }
    }
}
