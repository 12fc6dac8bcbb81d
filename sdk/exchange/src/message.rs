//! Sealed messages: every file that crosses the gap.
//!
//! A message is sealed, then signed; the identities of both ends are part of what the sealing
//! authenticates, so a signature can't be swapped for another's. Layout, integers big-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | `MMSG` |
//! | 2 | version, 1 |
//! | 4 | length of the header |
//! | … | header ([`Header`]): with all before it, the AAD |
//! | 4 | length of the tail |
//! | … | tail ([`Tail`]): encapsulated key, chunk hashes |
//! | 2 | length of the signature |
//! | … | signature, over the label and SHA-256 of all preceding bytes |
//! | … | the chunks, sealed in order in one HPKE context |
//!
//! Whoever opens a message must do so in this order: bounds → chain → signature → recipient →
//! each chunk's hash → HPKE → decode. This module does the bounds and gives the bytes to check.

mod head;
mod host;

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Digest, encode},
    order::Chain,
};

pub use head::{HeadError, MessageHead, assemble, hpke_info, preamble, signed_bytes};
pub use host::{HeadRef, HostHeader, PluginCertificates, Stream, TrustedMeasurement};

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// Headquarters → site: a grant and its keys.
    Entitlement,
    /// Site → headquarters: checkpoints and rows.
    Bundle,
    /// Headquarters → site: the answer to a bundle.
    Receipt,
    /// Headquarters → site: a change of an entitlement.
    Directive,
    /// Both ways: certificates. Signed by custody and not sealed.
    Identity,
    /// Site → headquarters: the end of an entitlement.
    Closing,
}

/// How a message is sealed. Fixed by the recipient's certificate: one key, one suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suite {
    /// Not sealed: [`Purpose::Identity`] alone.
    Unsealed,
    /// RFC 9180 base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    X25519,
    /// RFC 9180 base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    P256,
}

/// All that is known before the sealing. Its encoding is authenticated by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What the message is for.
    pub purpose: Purpose,
    /// Random.
    pub message_id: [u8; 16],
    /// Site time of the sender, milliseconds since the epoch.
    pub made_at: u64,
    /// Written and checked by hosts alone.
    pub host: HostHeader,
    /// What the purpose needs in clear; opaque to hosts.
    pub plugin: Vec<u8>,
    /// The sender's certificates, plugin leaf first (identity: custody leaf).
    pub sender_chain: Chain,
    /// SHA-256 of the SubjectPublicKeyInfo that it is sealed to; zeros for identity.
    pub recipient: Digest,
    /// How it is sealed.
    pub suite: Suite,
}

/// All that is known only after the sealing, but for the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// The HPKE encapsulated key; empty for identity.
    pub encapsulated_key: Vec<u8>,
    /// The sealed chunks, in order: none can be left out, added or moved.
    pub chunks: Vec<ChunkRef>,
}

/// A sealed chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// SHA-256 of the sealed bytes.
    pub digest: Digest,
    /// Their number.
    pub length: u32,
}

/// The first bytes of a message.
pub const MAGIC: [u8; 4] = *b"MMSG";
/// The only version of the message format.
pub const VERSION: u16 = 1;
/// The label of a message's signature.
pub const LABEL: &str = "mintmark sealed message v1";
/// What the HPKE `info` starts with.
pub const HPKE_LABEL: &str = "mintmark hpke v1";
/// Most bytes of a plugin's header.
pub const PLUGIN_HEADER_BYTES_MAX: usize = 64 << 10;
/// Most bytes of an encoded host header.
pub const HOST_HEADER_BYTES_MAX: usize = 256 << 10;
/// Most bytes of an encoded header: its parts, and a little for the rest.
pub const HEADER_BYTES_MAX: usize =
    PLUGIN_HEADER_BYTES_MAX + HOST_HEADER_BYTES_MAX + 4 * (4 << 10) + 256;
/// Most bytes of a chunk before it is sealed.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Bytes that sealing adds to a chunk.
pub const TAG_BYTES: usize = 16;
/// Most chunks.
pub const CHUNKS_MAX: usize = 4096;
/// Most bytes of an encapsulated key (an uncompressed P-256 point has 65).
pub const ENCAPSULATED_BYTES_MAX: usize = 133;
/// Most bytes of an encoded tail.
pub const TAIL_BYTES_MAX: usize = CHUNKS_MAX * 36 + ENCAPSULATED_BYTES_MAX + 16;
/// Most bytes of a message before its chunks.
pub const HEAD_BYTES_MAX: usize =
    HEADER_BYTES_MAX + TAIL_BYTES_MAX + crate::order::SIGNATURE_BYTES_MAX + 16;

impl Purpose {
    /// The purpose's name, as plugins and people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entitlement => "entitlement",
            Self::Bundle => "bundle",
            Self::Receipt => "receipt",
            Self::Directive => "directive",
            Self::Identity => "identity",
            Self::Closing => "closing",
        }
    }

    /// The purpose with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Entitlement,
            Self::Bundle,
            Self::Receipt,
            Self::Directive,
            Self::Identity,
            Self::Closing,
        ]
        .into_iter()
        .find(|purpose| purpose.name() == name)
    }
}

impl Header {
    /// True if every part is within its bounds and purpose, suite and recipient fit together.
    pub fn is_sound(&self) -> bool {
        let unsealed = self.suite == Suite::Unsealed;
        self.plugin.len() <= PLUGIN_HEADER_BYTES_MAX
            && crate::order::chain_is_bounded(&self.sender_chain)
            && encode(&self.host).len() <= HOST_HEADER_BYTES_MAX
            && unsealed == (self.purpose == Purpose::Identity)
            && unsealed == (self.recipient == [0; 32])
    }
}

impl Tail {
    /// True if every part is within its bounds.
    pub fn is_sound(&self, suite: Suite) -> bool {
        let encapsulated = match suite {
            Suite::Unsealed => 0,
            Suite::X25519 => 32,
            Suite::P256 => 65,
        };
        let chunk_bytes = 1..=CHUNK_BYTES_MAX + TAG_BYTES;
        self.encapsulated_key.len() == encapsulated
            && matches!(self.chunks.len(), 1..=CHUNKS_MAX)
            && self.chunks.iter().all(|chunk| chunk_bytes.contains(&(chunk.length as usize)))
    }
}
