//! A backup: one consistent state of a store as a stream of sealed chunks, whatever engine kept it.
//!
//! ```text
//! header: magic 8 ‖ format u32 ‖ store id 16 ‖ backup id 16 ‖ commit u64 ‖ HMAC-SHA-256 32
//! chunk:  last u8 ‖ length u32 ‖ sealed entries
//! entry:  0 ‖ length u32 ‖ standing                                     (the first one)
//!         1 ‖ table u8 ‖ key length u32 ‖ key ‖ version u64 ‖ value length u32 ‖ value
//!         2 ‖ node length u8 ‖ node ‖ sequence u64 ‖ length u32 ‖ encoded row
//! ```
//!
//! A chunk is sealed for its backup, its number and whether it is the last, so chunks can be
//! neither dropped, repeated nor moved, and a backup that ends early is no backup. Only the secret
//! under which the store was sealed opens it.

mod reader;
mod writer;

use mintmark_crypto::aead::{AeadAlgorithm, AeadKey};
use mintmark_crypto::{Secret, hkdf, mac};

pub use self::reader::BackupReader;
pub(crate) use self::reader::Entry;
pub use self::writer::BackupWriter;

const MAGIC: &[u8; 8] = b"MMBACKUP";
/// The newest format that this program reads, and the one that it writes.
const FORMAT: u32 = 1;
/// Without its code.
const HEADER_LEN: usize = 52;
const CODE_LEN: usize = 32;

/// A chunk is closed when its entries have so many bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The most that a chunk may have, sealed: the longest value, and what stands around it.
const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + crate::VALUE_BYTES_MAX + 4096;

const STANDING: u8 = 0;
const RECORD: u8 = 1;
const ROW: u8 = 2;

const HEADER_LABEL: &str = "mintmark/store/backup-header/v1";
const CHUNK_LABEL: &str = "mintmark/store/backup-chunk/v1";

/// What a backup says of itself in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupHeader {
    /// Which store it is of.
    pub store_id: [u8; 16],
    /// Its own random id.
    pub backup_id: [u8; 16],
    /// The number of the last transaction in it.
    pub commit: u64,
}

impl BackupHeader {
    fn encode(&self, secret: &Secret<32>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + CODE_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&self.store_id);
        bytes.extend_from_slice(&self.backup_id);
        bytes.extend_from_slice(&self.commit.to_be_bytes());
        let code = mac::hmac_sha256(self.key(secret, HEADER_LABEL).expose(), &bytes);
        bytes.extend_from_slice(&code);
        bytes
    }

    fn key(&self, secret: &Secret<32>, label: &str) -> Secret<32> {
        hkdf::derive(secret, label, &[self.store_id, self.backup_id].concat())
    }

    fn chunk_key(&self, secret: &Secret<32>) -> AeadKey {
        AeadKey::new(AeadAlgorithm::Aes256Gcm, &self.key(secret, CHUNK_LABEL))
    }
}

/// What a chunk is sealed for, besides its backup, to which its key belongs.
fn chunk_context(number: u64, last: bool) -> [u8; 9] {
    let mut context = [0; 9];
    context[..8].copy_from_slice(&number.to_be_bytes());
    context[8] = u8::from(last);
    context
}
