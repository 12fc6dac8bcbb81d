//! A backup, read with the secret under which it was made.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_fuzz::backup_secret;
use mintmark_store::{BackupReader, Key};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut backup) = BackupReader::open(bytes, &backup_secret()) else { return };
    assert!(backup.position().commit == backup.header().commit);
    // Reads every record, to the end of the file or of what is authentic.
    let _ = backup.find(&Key::new(0, b"nothing"));
});
