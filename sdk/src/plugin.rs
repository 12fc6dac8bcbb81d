//! What a plugin is: a name, the services that it answers, and one function that answers them.

use crate::status::Status;

/// A plugin. It keeps nothing in memory: an instance may be replaced between any two calls, so
/// there is no `self`.
///
/// [`register!`](crate::register) makes a component of it.
pub trait Plugin {
    /// As in the manifest, `plugin.toml`.
    const NAME: &'static str;
    /// As in the manifest.
    const VERSION: &'static str;
    /// Full names of the protobuf services.
    const SERVICES: &'static [&'static str];

    /// Handles one request: a protobuf message in, a protobuf message out. All that it did is
    /// committed when it answers `Ok`, before the answer leaves.
    ///
    /// # Errors
    /// What the caller is to read; everything that the call did is dropped, except what a limited
    /// key released.
    fn dispatch(service: &str, method: &str, message: &[u8]) -> Result<Vec<u8>, Status>;
}

/// What travels with a plugin's code. [`register!`](crate::register) writes it; test hosts read it.
pub trait Package: Plugin {
    /// The text of `plugin.toml`.
    const MANIFEST: &'static str;
    /// The services' `google.protobuf.FileDescriptorSet`, encoded.
    const DESCRIPTORS: &'static [u8];
}

/// The custom section that holds [`Package::MANIFEST`]. The linker leaves it in the component's
/// first core module, one level down: the component itself has no such section.
pub const MANIFEST_SECTION: &str = "mintmark:manifest";

/// The custom section that holds [`Package::DESCRIPTORS`], beside [`MANIFEST_SECTION`].
pub const DESCRIPTORS_SECTION: &str = "mintmark:descriptors";

/// Registers a [`Plugin`]: once in a crate, at its root.
///
/// In a component build it exports the plugin and puts `plugin.toml`, which lies beside
/// `Cargo.toml`, and the descriptors that `mintmark_sdk_build::compile` wrote into custom sections.
/// In every build it makes them a [`Package`](crate::Package).
#[macro_export]
macro_rules! register {
    ($plugin:ident) => {
        impl $crate::Package for $plugin {
            const MANIFEST: &'static str = ::core::include_str!(::core::concat!(
                ::core::env!("CARGO_MANIFEST_DIR"),
                "/plugin.toml"
            ));
            const DESCRIPTORS: &'static [u8] = ::core::include_bytes!(::core::concat!(
                ::core::env!("OUT_DIR"),
                "/descriptors.bin"
            ));
        }

        $crate::__export!($plugin);
    };
}

/// Includes what `mintmark_sdk_build::compile` made of a proto package: its messages, and the
/// traits and modules of its services.
///
/// ```text
/// mod proto {
///     mintmark_sdk::include_proto!("acme.lots.v1");
/// }
/// ```
#[macro_export]
macro_rules! include_proto {
    ($package:literal) => {
        ::core::include!(::core::concat!(::core::env!("OUT_DIR"), "/", $package, ".rs"));
    };
}

/// Natively there is nothing to export: a native library with a component's symbols does not link.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ident) => {};
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ident) => {
        #[allow(unsafe_code, reason = "the section and the exported symbols have fixed names")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "mintmark:manifest")]
            static MANIFEST: [u8; <$plugin as $crate::Package>::MANIFEST.len()] =
                $crate::__bytes(<$plugin as $crate::Package>::MANIFEST.as_bytes());
            #[used]
            #[unsafe(link_section = "mintmark:descriptors")]
            static DESCRIPTORS: [u8; <$plugin as $crate::Package>::DESCRIPTORS.len()] =
                $crate::__bytes(<$plugin as $crate::Package>::DESCRIPTORS);

            type Component = $crate::wasm::Component<$plugin>;
    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}

/// A section's content is an array in place, not a reference to bytes elsewhere.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub const fn __bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    match bytes.first_chunk() {
        Some(chunk) if bytes.len() == N => *chunk,
        _ => panic!("the array is as long as the bytes"),
    }
}
