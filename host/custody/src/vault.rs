//! Private keys at rest: sealed under a key of their own, with their policy as associated data.
//!
//! The store seals every value anyway. This second seal ties the material to its owner, name,
//! algorithm and policy, so that a record whose policy was changed by anybody but custody is a key
//! that does not open.

use mintmark_crypto::aead::{AeadAlgorithm, AeadKey};
use mintmark_crypto::hpke::{RecipientKey, Suite};
use mintmark_crypto::{Secret, SecretBytes, framed, hkdf};
use mintmark_model::{Reason, Refusal};

use crate::disk::{self, key::PolicyRecord};

/// Seals and opens key material.
pub(crate) struct Vault {
    key: AeadKey,
}

/// What sealed material belongs to.
pub(crate) struct Binding<'a> {
    /// The owning plugin, or `host`.
    pub(crate) owner: &'a str,
    /// The key's name.
    pub(crate) name: &'a str,
    /// The key's algorithm.
    pub(crate) algorithm: &'a str,
    /// The key's policy; none for the host's own keys.
    pub(crate) policy: Option<&'a PolicyRecord>,
}

impl Vault {
    /// The vault under the platform's sealing secret.
    pub(crate) fn new(sealing: &Secret<32>) -> Self {
        let secret = hkdf::derive(sealing, "mintmark key vault v1", b"");
        Self { key: AeadKey::new(AeadAlgorithm::Aes256Gcm, &secret) }
    }

    /// Seals `material` for what `binding` says.
    pub(crate) fn seal(&self, binding: &Binding<'_>, material: &[u8]) -> Vec<u8> {
        self.key.seal(&binding.associated(), material)
    }

    /// Opens what was sealed for the same binding.
    pub(crate) fn open(
        &self,
        binding: &Binding<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, Refusal> {
        self.key.open(&binding.associated(), sealed).map_err(|_| does_not_open())
    }

    /// Opens an HPKE key of the host's or of a plugin's.
    pub(crate) fn recipient_key(
        &self,
        binding: &Binding<'_>,
        sealed: &[u8],
    ) -> Result<RecipientKey, Refusal> {
        let material = self.open(binding, sealed)?;
        RecipientKey::from_bytes(Suite::X25519Sha256Aes256Gcm, material.expose())
            .map_err(|_| does_not_open())
    }
}

fn does_not_open() -> Refusal {
    let detail = "A key of the store does not open; run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}

impl Binding<'_> {
    fn associated(&self) -> Vec<u8> {
        let policy = self.policy.map(disk::encode);
        let policy = policy.as_ref().map_or(&[][..], |policy| policy.expose());
        let digest = mintmark_crypto::digest::sha256(policy);
        framed(
            "mintmark sealed key v1",
            &[self.owner.as_bytes(), self.name.as_bytes(), self.algorithm.as_bytes(), &digest],
        )
    }
}
