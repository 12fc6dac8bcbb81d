//! What the fuzz targets share: the properties that every decoder has, and stand-ins for what a
//! decoder asks of others.

pub mod acts;
pub mod audit;
pub mod calls;

// The runtime's own files, without the engine that the rest of the runtime is about: compiling
// that for a fuzzer takes longer than fuzzing.
#[path = "../../../host/runtime/src/component/mod.rs"]
pub mod component;
#[allow(dead_code, reason = "a part of another crate")]
#[path = "../../../host/runtime/src/config.rs"]
pub mod config;
#[allow(dead_code, reason = "a part of another crate")]
#[path = "../../../host/runtime/src/error.rs"]
pub mod error;
#[path = "../../../host/runtime/src/escape.rs"]
mod escape;
#[allow(dead_code, reason = "a part of another crate")]
#[path = "../../../host/runtime/src/manifest.rs"]
pub mod manifest;

/// Where the runtime's files look for it.
pub use config::COMPONENT_BYTES_MAX;

// Stands for the engine: what reads components names its errors, and never meets one.
extern crate self as wasmtime;

/// Stands for the engine's error.
#[derive(Debug, thiserror::Error)]
#[error("there is no engine here")]
pub struct Error;

use std::fmt::Debug;

use mintmark_crypto::Secret;
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_exchange::canonical;
use serde::{Serialize, de::DeserializeOwned};

/// Decodes strictly. What is taken is the only encoding of the value.
///
/// # Panics
/// Where it is not, which is what the fuzzer looks for.
pub fn strictly<T>(bytes: &[u8], bytes_max: usize) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let value: T = canonical::decode(bytes, bytes_max).ok()?;
    let encoded = canonical::encode(&value);
    assert_eq!(encoded, bytes, "two encodings of {value:?}");
    assert_eq!(canonical::decode(&encoded, bytes_max).as_ref(), Ok(&value));
    Some(value)
}

/// The secret of the platform whose backups are read.
pub fn backup_secret() -> Secret<32> {
    Secret::from_bytes(&[7; 32])
}

/// The key with which a platform's secret is recovered.
///
/// # Panics
/// Never: it is a key.
pub fn recovery_key() -> RecipientKey {
    RecipientKey::from_bytes(Suite::P256Sha256Aes256Gcm, &[7; 32]).expect("a scalar")
}

/// Cuts bytes into parts, each after its length of two bytes: how a target that wants several files
/// gets them from one.
pub fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(part);
        bytes = after;
    }
    parts
}

/// The counterpart of [`parts`].
///
/// # Panics
/// For a part of 64 KiB or more.
pub fn join<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        let length = u16::try_from(part.len()).expect("a part is short");
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}
