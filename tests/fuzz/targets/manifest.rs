//! A plugin's manifest: text that its author wrote.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_fuzz::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(manifest) = Manifest::parse(text) {
        let _ = manifest.claims([7; 32]);
    }
});
