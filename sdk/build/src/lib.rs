//! Turns a plugin's proto service into a Rust trait with dispatch; for build scripts.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), mintmark_sdk_build::Error> {
//!     mintmark_sdk_build::compile(&["proto/acme/lots/v1/lots.proto"], &["proto"])
//! }
//! ```
//!
//! The plugin depends on `prost` 0.14 and `mintmark-sdk`. What is written to `OUT_DIR`, without any
//! other program:
//!
//! - `<package>.rs` with the messages, as prost makes them (a map is a `BTreeMap`), and for each
//!   `service Lots` a trait `LotsService` with one method per rpc, and a module `lots` with
//!   `SERVICE_NAME`, `DESCRIPTORS` and `dispatch`. An rpc that takes or gives a stream has the
//!   signature of any other: a stream of requests is a sequence of calls.
//!   `mintmark_sdk::include_proto!("<package>")` includes it.
//! - `descriptors.bin`, the encoded `google.protobuf.FileDescriptorSet`, which
//!   `mintmark_sdk::register!` puts into the component.
//!
//! `dispatch` is strict: a request with a field or an enum value that the proto file does not have
//! is refused with `INVALID_ARGUMENT`, because an older plugin that skips what a newer client asks
//! for could do more than the client allowed. So is a request in which a singular field comes
//! twice: two readers could take different ones.

mod service;
mod shape;

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
};

use prost::Message;
use prost_types::FileDescriptorSet;

/// The name of the file with the descriptors in `OUT_DIR`.
const DESCRIPTORS_FILE: &str = "descriptors.bin";

/// Compiles `protos`, whose imports are searched in `includes`, into `OUT_DIR`. Once in a build
/// script, with all the proto files of the plugin.
///
/// # Errors
/// What is wrong in which proto file; or that it is no build script that calls.
pub fn compile(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    let out_dir = env::var_os("OUT_DIR").ok_or(Error::NoOutDir)?;
    for path in protos.iter().map(AsRef::as_ref).chain(includes.iter().map(AsRef::as_ref)) {
        say_to_cargo(&format!("cargo::rerun-if-changed={}", path.display()));
    }
    compile_into(&PathBuf::from(out_dir), protos, includes)
}

/// As [`compile`], into a directory of the caller's choice and without a word to cargo.
///
/// # Errors
/// As [`compile`].
pub fn compile_into(
    out_dir: &Path,
    protos: &[impl AsRef<Path>],
    includes: &[impl AsRef<Path>],
) -> Result<(), Error> {
    let mut descriptors = protox::compile(protos, includes).map_err(Error::Proto)?;
    let generator = service::Generator::new(&descriptors, DESCRIPTORS_FILE);
    prost_build::Config::new()
        .out_dir(out_dir)
        // A hash map has another order in every instance; an answer has the same bytes at a retry.
        .btree_map(["."])
        .service_generator(Box::new(generator))
        .compile_fds(descriptors.clone())
        .map_err(Error::Write)?;
    without_comments(&mut descriptors);
    let path = out_dir.join(DESCRIPTORS_FILE);
    fs::write(path, descriptors.encode_to_vec()).map_err(Error::Write)
}

/// Clients that ask the host's reflection need types, not comments; the component stays small.
fn without_comments(descriptors: &mut FileDescriptorSet) {
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
}

#[expect(clippy::print_stdout, reason = "cargo reads a build script's standard output")]
fn say_to_cargo(line: &str) {
    println!("{line}");
}

/// Why nothing was compiled.
#[non_exhaustive]
pub enum Error {
    /// `OUT_DIR` is not set: it is no build script that calls.
    NoOutDir,
    /// A proto file cannot be read or is not right.
    Proto(protox::Error),
    /// The result cannot be written.
    Write(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOutDir => {
                formatter.write_str("OUT_DIR is not set: call it from a build script")
            }
            // Its Debug says file and line; its Display does not.
            Self::Proto(error) => write!(formatter, "{error:?}"),
            Self::Write(error) => {
                write!(formatter, "the generated code cannot be written: {error}")
            }
        }
    }
}

/// As `Display`: cargo shows what a failed build script's `main` returned in this form.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Error {}
