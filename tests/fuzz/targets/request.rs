//! A certificate request, as devices, stations and clusters send them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_pki::VerifiedCsr;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = VerifiedCsr::check(bytes) else { return };
    // The key is whole inside of it, so what is certified is what was proved.
    let key = request.public_key_info();
    assert!(bytes.windows(key.len()).any(|window| window == key));
});
