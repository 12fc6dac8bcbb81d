//! The algorithms that a key can have.

/// A closed set; its names are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 8032.
    Ed25519,
    /// FIPS 186-5 on P-256 with SHA-256.
    EcdsaP256,
    /// FIPS 186-5 on P-384 with SHA-384.
    EcdsaP384,
    /// NIST SP 800-38D.
    Aes256Gcm,
    /// RFC 8439.
    ChaCha20Poly1305,
    /// RFC 2104.
    HmacSha256,
    /// RFC 2104.
    HmacSha384,
    /// RFC 5869; the key is a pseudorandom key.
    HkdfSha256,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: &[Self] = &[
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Aes256Gcm,
        Self::ChaCha20Poly1305,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HkdfSha256,
    ];

    /// The name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::HmacSha256 => "hmac-sha-256",
            Self::HmacSha384 => "hmac-sha-384",
            Self::HkdfSha256 => "hkdf-sha-256",
        }
    }

    /// The algorithm with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// Whether it makes signatures.
    #[must_use]
    pub const fn signs(self) -> bool {
        matches!(self, Self::Ed25519 | Self::EcdsaP256 | Self::EcdsaP384)
    }
}
