//! What is written into the store: the disk forms of custody's records.
//!
//! They are apart from the domain's types, so that neither changes with the other. Each begins with
//! a version; a record of another version is refused, never guessed at. Values are sealed by the
//! store as a whole; private keys are sealed once more by [`crate::vault`], under their policy.

use mintmark_crypto::SecretBytes;
use mintmark_exchange::canonical;
use mintmark_model::{Reason, Refusal};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) mod allotment;
pub(crate) mod approval;
pub(crate) mod granted;
pub(crate) mod host;
pub(crate) mod key;
pub(crate) mod peer;
pub(crate) mod plugin;
pub(crate) mod pool;
pub(crate) mod time;

/// The most bytes of a record; the store's own limit is above it.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// A record as bytes.
pub(crate) fn encode<T: Serialize>(record: &T) -> SecretBytes {
    SecretBytes::new(canonical::encode(record))
}

/// A record from bytes.
///
/// # Errors
///
/// `UNAVAILABLE` for bytes that are no record of this version: the store is newer, or damaged.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(bytes: &SecretBytes) -> Result<T, Refusal> {
    canonical::decode(bytes.expose(), RECORD_BYTES_MAX).map_err(|_| {
        let detail = "A record of the store cannot be read; run `mintmark verify`.";
        Refusal::new(Reason::Unavailable, detail)
    })
}

/// A record behind its version.
#[derive(Serialize, Deserialize)]
pub(crate) struct Versioned<T> {
    version: u8,
    record: T,
}

/// The present version of all records.
const VERSION: u8 = 1;

/// A record with its version, as bytes.
pub(crate) fn write<T: Serialize>(record: T) -> SecretBytes {
    encode(&Versioned { version: VERSION, record })
}

/// A record of the present version.
///
/// # Errors
///
/// As [`decode`], also for another version.
pub(crate) fn read<T: Serialize + DeserializeOwned>(bytes: &SecretBytes) -> Result<T, Refusal> {
    let versioned: Versioned<T> = decode(bytes)?;
    if versioned.version != VERSION {
        let detail = "A record of the store has a version that this program does not know.";
        return Err(Refusal::new(Reason::UnsupportedVersion, detail));
    }
    Ok(versioned.record)
}
