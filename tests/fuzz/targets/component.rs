//! A plugin's component, before anything of it is compiled.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_fuzz::COMPONENT_BYTES_MAX;
use mintmark_fuzz::component::inspect;

fuzz_target!(|bytes: &[u8]| {
    let Ok(found) = inspect(bytes) else { return };
    assert!(found.size == bytes.len() && found.size <= COMPONENT_BYTES_MAX);
    assert!(!found.services.is_empty() || found.manifest.services.is_empty());
});
