//! The two official plugins as built components, so that one binary carries all that it needs.
//!
//! The build script compiles `plugins/entitlement` and `plugins/device-key` for WebAssembly with
//! the profile `plugin`, in a target directory of its own. A component's measurement is the SHA-256
//! of the bytes here.
//!
//! Packagers who build the components elsewhere name a directory with `entitlement.wasm`,
//! `device-key.wasm` and `device-key-tampering.wasm` in `MINTMARK_PLUGINS_DIR`; then nothing is
//! built.

/// The entitlement plugin of headquarters.
pub const ENTITLEMENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/entitlement.wasm"));

/// The device-key plugin of a factory site.
pub const DEVICE_KEY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/device-key.wasm"));

/// Components that misbehave on purpose. They are for the demo and for tests; no host installs them
/// by itself.
pub mod danger {
    /// The device-key plugin under the same name, except that its bundles lack one row in the
    /// middle.
    pub const DEVICE_KEY_TAMPERING: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/device-key-tampering.wasm"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The preamble of a component: magic, version 13, layer 1 (component model binary format).
    const COMPONENT_PREAMBLE: [u8; 8] = [0x00, b'a', b's', b'm', 0x0d, 0x00, 0x01, 0x00];

    #[test]
    fn all_three_are_components_and_differ() {
        for component in [ENTITLEMENT, DEVICE_KEY, danger::DEVICE_KEY_TAMPERING] {
            assert!(component.starts_with(&COMPONENT_PREAMBLE));
        }
        assert_ne!(ENTITLEMENT, DEVICE_KEY);
        assert_ne!(DEVICE_KEY, danger::DEVICE_KEY_TAMPERING);
    }

    #[test]
    fn each_carries_its_manifest_and_its_descriptors() {
        for (component, service) in [
            (ENTITLEMENT, "mintmark.entitlement.v1"),
            (DEVICE_KEY, "mintmark.devicekey.v1"),
            (danger::DEVICE_KEY_TAMPERING, "mintmark.devicekey.v1"),
        ] {
            assert!(contains(component, b"mintmark:manifest"));
            assert!(contains(component, b"mintmark:descriptors"));
            assert!(contains(component, service.as_bytes()));
        }
    }

    /// A path of the building machine would make measurements differ between machines.
    #[test]
    fn none_names_the_directory_that_it_was_built_in() {
        let here = env!("CARGO_MANIFEST_DIR").as_bytes();
        let root = &here[..here.len() - "/plugins/bundled".len()];
        for component in [ENTITLEMENT, DEVICE_KEY, danger::DEVICE_KEY_TAMPERING] {
            assert!(!contains(component, root));
        }
    }

    fn contains(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }
}
