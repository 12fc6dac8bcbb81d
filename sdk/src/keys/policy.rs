//! What a key may do: the part of its policy that a plugin chooses. The host intersects it with the
//! rest.

use std::{
    borrow::Cow,
    fmt,
    ops::{BitOr, BitOrAssign},
};

use crate::Timestamp;

/// An algorithm, by its name in the protocol. The set is open: the host refuses a name that it does
/// not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Algorithm(Cow<'static, str>);

impl Algorithm {
    /// Ed25519 (RFC 8032).
    pub const ED25519: Self = Self(Cow::Borrowed("ed25519"));
    /// ECDSA with P-256 and SHA-256.
    pub const ECDSA_P256: Self = Self(Cow::Borrowed("ecdsa-p256"));
    /// ECDSA with P-384 and SHA-384.
    pub const ECDSA_P384: Self = Self(Cow::Borrowed("ecdsa-p384"));
    /// AES-256 in GCM.
    pub const AES_256_GCM: Self = Self(Cow::Borrowed("aes-256-gcm"));
    /// ChaCha20-Poly1305 (RFC 8439).
    pub const CHACHA20_POLY1305: Self = Self(Cow::Borrowed("chacha20-poly1305"));
    /// HMAC with SHA-256.
    pub const HMAC_SHA_256: Self = Self(Cow::Borrowed("hmac-sha-256"));
    /// HMAC with SHA-384.
    pub const HMAC_SHA_384: Self = Self(Cow::Borrowed("hmac-sha-384"));
    /// HKDF with SHA-256 (RFC 5869).
    pub const HKDF_SHA_256: Self = Self(Cow::Borrowed("hkdf-sha-256"));

    /// An algorithm by its name.
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A set of things that a key may be used for.
///
/// ```
/// use mintmark_sdk::keys::Operations;
///
/// let operations = Operations::SIGN | Operations::VERIFY;
/// assert!(operations.contains(Operations::SIGN));
/// assert!(!operations.contains(Operations::EXPORT));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Operations(u16);

impl Operations {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Sign messages.
    pub const SIGN: Self = Self(1);
    /// Verify signatures.
    pub const VERIFY: Self = Self(1 << 1);
    /// Encrypt.
    pub const ENCRYPT: Self = Self(1 << 2);
    /// Decrypt.
    pub const DECRYPT: Self = Self(1 << 3);
    /// Make authentication codes.
    pub const MAC: Self = Self(1 << 4);
    /// Verify authentication codes.
    pub const VERIFY_MAC: Self = Self(1 << 5);
    /// Wrap other keys.
    pub const WRAP: Self = Self(1 << 6);
    /// Unwrap other keys.
    pub const UNWRAP: Self = Self(1 << 7);
    /// Derive other keys.
    pub const DERIVE: Self = Self(1 << 8);
    /// Agree on a secret.
    pub const AGREE: Self = Self(1 << 9);
    /// Sign certificates, by profile.
    pub const CERTIFY: Self = Self(1 << 10);
    /// Leave this host, sealed to another.
    pub const EXPORT: Self = Self(1 << 11);

    /// Every operation with its name, in the contract's order: bit by bit.
    const NAMED: [(&'static str, Self); 12] = [
        ("sign", Self::SIGN),
        ("verify", Self::VERIFY),
        ("encrypt", Self::ENCRYPT),
        ("decrypt", Self::DECRYPT),
        ("mac", Self::MAC),
        ("verify-mac", Self::VERIFY_MAC),
        ("wrap", Self::WRAP),
        ("unwrap", Self::UNWRAP),
        ("derive", Self::DERIVE),
        ("agree", Self::AGREE),
        ("certify", Self::CERTIFY),
        ("export", Self::EXPORT),
    ];

    /// Whether all of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of what is in the set, in the contract's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(_, one)| self.contains(*one)).map(|(name, _)| name)
    }

    /// The operation that has this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, one)| one)
    }
}

impl BitOr for Operations {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Operations {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl FromIterator<Self> for Operations {
    fn from_iter<I: IntoIterator<Item = Self>>(operations: I) -> Self {
        operations.into_iter().fold(Self::NONE, BitOr::bitor)
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

/// Who may receive a key, sealed by this host to another, and what it may do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients {
    /// The name of the plugin that may receive it.
    pub plugin: String,
    /// `headquarters` or `site`.
    pub cluster_role: String,
    /// SPIFFE URIs of clusters; empty means every cluster of that role.
    pub clusters: Vec<String>,
    /// What the key may do there: a subset of the key's operations.
    pub operations: Operations,
}

impl Recipients {
    /// `plugin` at one site, by its SPIFFE URI.
    pub fn site(
        plugin: impl Into<String>,
        cluster: impl Into<String>,
        operations: Operations,
    ) -> Self {
        Self {
            plugin: plugin.into(),
            cluster_role: "site".to_owned(),
            clusters: vec![cluster.into()],
            operations,
        }
    }

    /// `plugin` at every site.
    pub fn every_site(plugin: impl Into<String>, operations: Operations) -> Self {
        Self {
            plugin: plugin.into(),
            cluster_role: "site".to_owned(),
            clusters: Vec::new(),
            operations,
        }
    }
}

/// The part of a key's policy that a plugin chooses, fixed when the key is made.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyPolicy {
    /// What the key may be used for, at most.
    pub operations: Operations,
    /// None: the key never leaves this host.
    pub recipients: Option<Recipients>,
    /// Site time before which the key cannot be used.
    pub activation: Option<Timestamp>,
    /// Site time from which the key cannot be used.
    pub deactivation: Option<Timestamp>,
    /// Set: the key signs only messages that begin with these bytes (at most 64). None: any
    /// message.
    pub content_prefix: Option<Vec<u8>>,
}

impl KeyPolicy {
    /// These operations, here, at any time, on any message.
    pub fn new(operations: Operations) -> Self {
        Self { operations, ..Self::default() }
    }

    /// The key may leave this host, sealed to these recipients.
    #[must_use]
    pub fn exportable_to(mut self, recipients: Recipients) -> Self {
        self.operations |= Operations::EXPORT;
        self.recipients = Some(recipients);
        self
    }

    /// The key cannot be used before this site time.
    #[must_use]
    pub fn active_from(mut self, activation: Timestamp) -> Self {
        self.activation = Some(activation);
        self
    }

    /// The key cannot be used from this site time on.
    #[must_use]
    pub fn active_until(mut self, deactivation: Timestamp) -> Self {
        self.deactivation = Some(deactivation);
        self
    }

    /// The key signs only messages that begin with these bytes (at most 64).
    #[must_use]
    pub fn only_messages_with_prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.content_prefix = Some(prefix.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_the_bit_of_its_place_in_the_contract() {
        for (place, (name, operation)) in Operations::NAMED.into_iter().enumerate() {
            assert_eq!(operation.0, 1 << place, "{name}");
            assert_eq!(Operations::named(name), Some(operation));
        }
    }

    #[test]
    fn a_set_lists_what_is_in_it() {
        let set: Operations = [Operations::EXPORT, Operations::SIGN].into_iter().collect();
        assert_eq!(set.names().collect::<Vec<_>>(), ["sign", "export"]);
        assert_eq!(format!("{set:?}"), r#"{"sign", "export"}"#);
        assert_eq!(Operations::named("exports"), None);
    }

    #[test]
    fn an_exportable_key_has_the_operation_export() {
        let recipients = Recipients::every_site("device-key", Operations::CERTIFY);
        let policy = KeyPolicy::new(Operations::CERTIFY).exportable_to(recipients);
        assert!(policy.operations.contains(Operations::EXPORT));
    }
}
