//! The escrow of a platform's secret, read with the recovery key of the seed.

#![no_main]

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use libfuzzer_sys::fuzz_target;
use mintmark_fuzz::recovery_key;
use mintmark_platform::emulated::EmulatedPlatform;
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("there is a place for a folder");
}

fuzz_target!(|bytes: &[u8]| FOLDER.with(|folder| {
    let dir = Dir::open_ambient_dir(folder.path(), ambient_authority()).expect("it is there");
    if EmulatedPlatform::recover(&dir, bytes, &recovery_key()).is_ok() {
        for entry in dir.entries().expect("it can be listed").flatten() {
            entry.remove_file().expect("the platform is closed");
        }
    }
}));
