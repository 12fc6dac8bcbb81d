//! Keys and key sets.

use super::Host;
use crate::{
    backend,
    bindings::mintmark::host::{key_sets as sets, keys as wit},
    error::Error,
    key_sets::{self, KeySetAttributes},
    keys::{self, Algorithm, KeyAttributes, KeyPolicy, KeyState, Operations, Recipients},
};

/// A key of the host.
pub(crate) struct Key(pub(super) wit::Key);

/// A key set of the host.
pub(crate) struct KeySet(pub(super) sets::KeySet);

impl backend::Keys for Host {
    fn open(&self, name: &str) -> Result<keys::Key, Error> {
        Ok(keys::Key::new(Key(wit::open(name)?)))
    }

    fn generate(
        &self,
        name: &str,
        algorithm: &str,
        policy: &KeyPolicy,
    ) -> Result<keys::Key, Error> {
        Ok(keys::Key::new(Key(wit::generate(name, algorithm, &policy.into())?)))
    }
}

impl backend::KeyHandle for Key {
    fn attributes(&self) -> Result<KeyAttributes, Error> {
        Ok(self.0.attributes()?.into())
    }

    fn public_key(&self) -> Result<Vec<u8>, Error> {
        Ok(self.0.public_key()?)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message)?)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<bool, Error> {
        Ok(self.0.verify(message, signature)?)
    }

    fn encrypt(&self, plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.encrypt(plaintext, associated)?)
    }

    fn decrypt(&self, ciphertext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.decrypt(ciphertext, associated)?)
    }

    fn mac(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.mac(message)?)
    }

    fn verify_mac(&self, message: &[u8], tag: &[u8]) -> Result<bool, Error> {
        Ok(self.0.verify_mac(message, tag)?)
    }

    fn derive(
        &self,
        name: &str,
        algorithm: &str,
        context: &[u8],
        policy: &KeyPolicy,
    ) -> Result<keys::Key, Error> {
        let key = self.0.derive(name, algorithm, context, &policy.into())?;
        Ok(keys::Key::new(Key(key)))
    }

    fn destroy(&self) -> Result<(), Error> {
        Ok(self.0.destroy()?)
    }
}

impl backend::KeySets for Host {
    fn open(&self, name: &str) -> Result<key_sets::KeySet, Error> {
        Ok(key_sets::KeySet::new(KeySet(sets::open(name)?)))
    }

    fn generate(
        &self,
        name: &str,
        algorithm: &str,
        size: u64,
        recipients: &Recipients,
    ) -> Result<key_sets::KeySet, Error> {
        let set = sets::generate(name, algorithm, size, &recipients.into())?;
        Ok(key_sets::KeySet::new(KeySet(set)))
    }
}

impl backend::KeySetHandle for KeySet {
    fn attributes(&self) -> Result<KeySetAttributes, Error> {
        let sets::Attributes { name, algorithm, size } = self.0.attributes()?;
        Ok(KeySetAttributes { name, algorithm: Algorithm::named(algorithm), size })
    }

    fn destroy(&self) -> Result<(), Error> {
        Ok(self.0.destroy()?)
    }
}

impl From<wit::Attributes> for KeyAttributes {
    fn from(attributes: wit::Attributes) -> Self {
        let wit::Attributes { name, algorithm, policy, state, allotment } = attributes;
        let state = match state {
            wit::State::PreActive => KeyState::PreActive,
            wit::State::Active => KeyState::Active,
            wit::State::Suspended => KeyState::Suspended,
            wit::State::Deactivated => KeyState::Deactivated,
            wit::State::Compromised => KeyState::Compromised,
            wit::State::Destroyed => KeyState::Destroyed,
        };
        let algorithm = Algorithm::named(algorithm);
        Self { name, algorithm, policy: policy.into(), state, allotment }
    }
}

impl From<wit::Policy> for KeyPolicy {
    fn from(policy: wit::Policy) -> Self {
        let wit::Policy { operations, recipients, activation, deactivation, content_prefix } =
            policy;
        Self {
            operations: operations.into(),
            recipients: recipients.map(Into::into),
            activation,
            deactivation,
            content_prefix,
        }
    }
}

impl From<&KeyPolicy> for wit::Policy {
    fn from(policy: &KeyPolicy) -> Self {
        Self {
            operations: policy.operations.into(),
            recipients: policy.recipients.as_ref().map(Into::into),
            activation: policy.activation,
            deactivation: policy.deactivation,
            content_prefix: policy.content_prefix.clone(),
        }
    }
}

impl From<wit::Recipients> for Recipients {
    fn from(recipients: wit::Recipients) -> Self {
        let wit::Recipients { plugin, cluster_role, clusters, operations } = recipients;
        Self { plugin, cluster_role, clusters, operations: operations.into() }
    }
}

impl From<&Recipients> for wit::Recipients {
    fn from(recipients: &Recipients) -> Self {
        Self {
            plugin: recipients.plugin.clone(),
            cluster_role: recipients.cluster_role.clone(),
            clusters: recipients.clusters.clone(),
            operations: recipients.operations.into(),
        }
    }
}

/// Every operation, here and in the contract.
const OPERATIONS: [(Operations, wit::Operations); 12] = [
    (Operations::SIGN, wit::Operations::SIGN),
    (Operations::VERIFY, wit::Operations::VERIFY),
    (Operations::ENCRYPT, wit::Operations::ENCRYPT),
    (Operations::DECRYPT, wit::Operations::DECRYPT),
    (Operations::MAC, wit::Operations::MAC),
    (Operations::VERIFY_MAC, wit::Operations::VERIFY_MAC),
    (Operations::WRAP, wit::Operations::WRAP),
    (Operations::UNWRAP, wit::Operations::UNWRAP),
    (Operations::DERIVE, wit::Operations::DERIVE),
    (Operations::AGREE, wit::Operations::AGREE),
    (Operations::CERTIFY, wit::Operations::CERTIFY),
    (Operations::EXPORT, wit::Operations::EXPORT),
];

impl From<wit::Operations> for Operations {
    fn from(operations: wit::Operations) -> Self {
        let set = OPERATIONS.into_iter().filter(|(_, there)| operations.contains(*there));
        set.map(|(here, _)| here).collect()
    }
}

impl From<Operations> for wit::Operations {
    fn from(operations: Operations) -> Self {
        let set = OPERATIONS.into_iter().filter(|(here, _)| operations.contains(*here));
        set.fold(Self::empty(), |set, (_, there)| set | there)
    }
}
