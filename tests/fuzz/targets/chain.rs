//! A root and a chain below it, or a product CA and a device's chain.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_fuzz::parts;
use mintmark_pki::{TrustRoot, Usage, verify_device};

/// 2026-02-01T00:00:00Z: when the chains of the seeds are valid.
const AT_MS: u64 = 1_769_904_000_000;

fuzz_target!(|bytes: &[u8]| {
    let parts = parts(bytes);
    let Some((anchor, chain)) = parts.split_first() else { return };
    if let Ok(root) = TrustRoot::new(anchor) {
        for usage in [Usage::Any, Usage::ClientAuth, Usage::ServerAuth] {
            if let Ok(verified) = root.verify(chain, AT_MS, usage) {
                assert_eq!(verified.certificate().der(), chain[0]);
                assert_eq!(verified.id().cluster().organization(), root.organization());
            }
        }
        for der in chain {
            let _ = root.verify_cluster(der, AT_MS);
        }
    }
    if let Ok(device) = verify_device(chain, anchor, AT_MS) {
        assert!(device.batch().contains(device.serial()));
    }
});
