//! Reads a component without running or compiling any of it.
//!
//! A component is attacker-controlled until it is signed, and its size and shape decide how long a compiler works on it.
//! So sizes, counts and nesting are checked first, on the binary; then the two custom sections, then the imports.

mod descriptors;
mod imports;
mod scan;

use mintmark_custody::{Digest, sha256};

pub use descriptors::{Method, Service};

use crate::config::COMPONENT_BYTES_MAX;
use crate::error::Error;
use crate::manifest::Manifest;

/// What a component says about itself.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// SHA-256 of the whole file.
    pub measurement: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// An encoded `google.protobuf.FileDescriptorSet`.
    pub descriptors: Vec<u8>,
    /// The services of the descriptors, with the roles of the manifest.
    pub services: Vec<Service>,
    /// Every import, in order.
    pub imports: Vec<String>,
    /// The file's size in bytes.
    pub size: usize,
}

/// Reads a component.
///
/// # Errors
///
/// The first thing that is wrong, missing or not allowed, by name.
pub fn inspect(bytes: &[u8]) -> Result<Inspected, Error> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(Error::Precompiled);
    }
    let found = scan::scan(bytes)?;
    let manifest = std::str::from_utf8(found.manifest)
        .map_err(|_| Error::manifest("it is not UTF-8"))
        .and_then(Manifest::parse)?;
    imports::check(&found.imports, &manifest)?;
    let services = descriptors::read(found.descriptors, &manifest)?;
    Ok(Inspected {
        measurement: sha256(bytes),
        manifest,
        descriptors: found.descriptors.to_vec(),
        services,
        imports: found.imports,
        size: bytes.len(),
    })
}
