//! The operation is the permission: material can be reached only by a [`Permit`], which the policy
//! engine made for one operation on one key, and which the act uses up.

use std::marker::PhantomData;

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{Secret, SecretBytes};
use mintmark_model::policy::{self, Content, Facts};
use mintmark_model::{Operation, Reason, Refusal};

use crate::call::Call;
use crate::disk::key::KeyRecord;
use crate::vault::{Binding, Vault};

/// One operation, as a type.
pub(crate) trait Op {
    /// The operation that the policy is asked for.
    const OPERATION: Operation;
}

macro_rules! operations {
    ($($name:ident),*) => { $(
        #[doc = concat!("[`Operation::", stringify!($name), "`]")]
        pub(crate) enum $name {}
        impl Op for $name { const OPERATION: Operation = Operation::$name; }
    )* };
}

operations!(Sign, Verify, Encrypt, Decrypt, Mac, VerifyMac, Derive, Certify, Export);

/// A key as it was read: its record, material still sealed.
pub(crate) struct LoadedKey {
    pub(crate) plugin: String,
    pub(crate) name: String,
    pub(crate) record: KeyRecord,
}

/// The policy allowed this operation on this key, with this content, in this call.
#[must_use = "a permit is for one act"]
pub(crate) struct Permit<'k, O: Op> {
    key: &'k LoadedKey,
    operation: PhantomData<O>,
}

impl Call {
    /// Asks the policy.
    ///
    /// # Errors
    ///
    /// What [`policy::decide`] says; `UNSUPPORTED_VERSION` for a policy that this program does not
    /// know.
    pub(crate) fn permit<'k, O: Op>(
        &self,
        key: &'k LoadedKey,
        content: Content<'_>,
        through: Option<&str>,
    ) -> Result<Permit<'k, O>, Refusal> {
        let plugin = self.plugin()?;
        let policy = key.record.policy.policy().ok_or_else(unknown_policy)?;
        policy::decide(&Facts {
            policy: &policy,
            algorithm: key.record.algorithm().ok_or_else(unknown_policy)?,
            state: key.record.state(),
            plugin: &plugin.name,
            measurement: plugin.measurement,
            role: self.session.principal.role,
            operation: O::OPERATION,
            content,
            through,
            now: self.began.site_ms,
        })?;
        Ok(Permit { key, operation: PhantomData })
    }
}

impl<O: Op> Permit<'_, O> {
    /// The key's material, for as long as the act takes.
    pub(crate) fn material(self, vault: &Vault) -> Result<SecretBytes, Refusal> {
        vault.open(&self.key.binding(), &self.key.record.sealed)
    }

    /// The key, if it signs.
    pub(crate) fn signing_key(self, vault: &Vault) -> Result<SigningKey, Refusal> {
        let name = self.key.record.algorithm.clone();
        let algorithm = SignatureAlgorithm::from_name(&name);
        let algorithm = algorithm.ok_or_else(|| Refusal::invalid("The key does not sign."))?;
        let material = self.material(vault)?;
        SigningKey::from_pkcs8(algorithm, material.expose()).map_err(|_| unknown_policy())
    }

    /// The key, if it is a secret of 32 bytes.
    pub(crate) fn secret(self, vault: &Vault) -> Result<Secret<32>, Refusal> {
        let material = self.material(vault)?;
        Secret::from_slice(material.expose()).map_err(|_| unknown_policy())
    }
}

impl LoadedKey {
    /// What the sealed material is bound to.
    pub(crate) fn binding(&self) -> Binding<'_> {
        Binding {
            owner: &self.plugin,
            name: &self.name,
            algorithm: &self.record.algorithm,
            policy: Some(&self.record.policy),
        }
    }
}

fn unknown_policy() -> Refusal {
    let detail = "The key's record says something that this program does not know.";
    Refusal::new(Reason::UnsupportedVersion, detail)
}
