//! Keys and key sets.

use mintmark_custody as custody;
use mintmark_custody::{OpenKey, OpenKeySet};
use mintmark_model as model;
use mintmark_model::{Operation, Refusal};
use mintmark_sdk::Error;
use mintmark_sdk::backend::{KeyHandle, KeySetHandle, KeySets, Keys};
use mintmark_sdk::key_sets::{KeySet, KeySetAttributes};
use mintmark_sdk::keys::{
    Algorithm, Key, KeyAttributes, KeyPolicy, KeyState, Operations, Recipients,
};

use super::{Held, HostBackend};

impl Keys for HostBackend {
    fn open(&self, name: &str) -> Result<Key, Error> {
        let key = self.ask(async |call| call.open_key(name).await)?;
        Ok(Key::from_handle(self.held(key)))
    }

    fn generate(&self, name: &str, algorithm: &str, policy: &KeyPolicy) -> Result<Key, Error> {
        let key =
            self.ask(async |call| call.generate_key(name, algorithm, request(policy)?).await)?;
        Ok(Key::from_handle(self.held(key)))
    }
}

impl KeyHandle for Held<OpenKey> {
    fn attributes(&self) -> Result<KeyAttributes, Error> {
        let attributes = self.host.ask(async |call| call.key_attributes(&self.open).await)?;
        Ok(KeyAttributes {
            name: attributes.name,
            algorithm: Algorithm::named(attributes.algorithm.name()),
            policy: policy(attributes.request),
            state: state(attributes.state),
            allotment: attributes.allotment,
        })
    }

    fn public_key(&self) -> Result<Vec<u8>, Error> {
        self.host.ask(async |call| call.public_key(&self.open).await)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.host.ask(async |call| call.sign(&self.open, message).await)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<bool, Error> {
        self.host.ask(async |call| call.verify(&self.open, message, signature).await)
    }

    fn encrypt(&self, plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error> {
        self.host.ask(async |call| call.encrypt(&self.open, plaintext, associated).await)
    }

    fn decrypt(&self, ciphertext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error> {
        self.host.ask(async |call| call.decrypt(&self.open, ciphertext, associated).await)
    }

    fn mac(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.host.ask(async |call| call.mac(&self.open, message).await)
    }

    fn verify_mac(&self, message: &[u8], tag: &[u8]) -> Result<bool, Error> {
        self.host.ask(async |call| call.verify_mac(&self.open, message, tag).await)
    }

    fn derive(
        &self,
        name: &str,
        algorithm: &str,
        context: &[u8],
        policy: &KeyPolicy,
    ) -> Result<Key, Error> {
        let derived = self.host.ask(async |call| {
            call.derive_key(&self.open, name, algorithm, context, request(policy)?).await
        })?;
        Ok(Key::from_handle(self.host.held(derived)))
    }

    fn destroy(&self) -> Result<(), Error> {
        self.host.ask(async |call| call.destroy_key(&self.open).await)
    }
}

impl KeySets for HostBackend {
    fn open(&self, name: &str) -> Result<KeySet, Error> {
        let set = self.ask(async |call| call.open_key_set(name).await)?;
        Ok(KeySet::from_handle(self.held(set)))
    }

    fn generate(
        &self,
        name: &str,
        algorithm: &str,
        size: u64,
        receivers: &Recipients,
    ) -> Result<KeySet, Error> {
        let set = self.ask(async |call| {
            call.generate_key_set(name, algorithm, size, recipients(receivers)?).await
        })?;
        Ok(KeySet::from_handle(self.held(set)))
    }
}

impl KeySetHandle for Held<OpenKeySet> {
    fn attributes(&self) -> Result<KeySetAttributes, Error> {
        let attributes = self.host.ask(async |call| call.key_set_attributes(&self.open).await)?;
        Ok(KeySetAttributes {
            name: attributes.name,
            algorithm: Algorithm::named(attributes.algorithm.name()),
            size: attributes.size,
        })
    }

    fn destroy(&self) -> Result<(), Error> {
        self.host.ask(async |call| call.destroy_key_set(&self.open).await)
    }
}

fn request(policy: &KeyPolicy) -> Result<custody::KeyRequest, Refusal> {
    Ok(custody::KeyRequest {
        operations: operations(policy.operations)?,
        recipients: policy.recipients.as_ref().map(recipients).transpose()?,
        activation: policy.activation,
        deactivation: policy.deactivation,
        content_prefix: policy.content_prefix.clone(),
    })
}

/// Who may receive a key.
pub(super) fn recipients(recipients: &Recipients) -> Result<model::policy::Recipients, Refusal> {
    Ok(model::policy::Recipients {
        plugin: recipients.plugin.clone(),
        cluster_role: recipients.cluster_role.clone(),
        clusters: recipients.clusters.clone(),
        operations: operations(recipients.operations)?,
    })
}

/// Sets go by the names of the contract.
fn operations(set: Operations) -> Result<model::Operations, Refusal> {
    let named = set.names().map(|name| {
        Operation::from_name(name).ok_or_else(|| Refusal::invalid("An operation is unknown."))
    });
    Ok(model::Operations::of(&named.collect::<Result<Vec<_>, _>>()?))
}

fn sdk_operations(set: model::Operations) -> Operations {
    let all = Operation::ALL.iter().filter(|operation| set.has(**operation));
    all.filter_map(|operation| Operations::named(operation.name())).collect()
}

fn policy(request: custody::KeyRequest) -> KeyPolicy {
    let mut policy = KeyPolicy::new(sdk_operations(request.operations));
    policy.recipients = request.recipients.map(|recipients| Recipients {
        plugin: recipients.plugin,
        cluster_role: recipients.cluster_role,
        clusters: recipients.clusters,
        operations: sdk_operations(recipients.operations),
    });
    policy.activation = request.activation;
    policy.deactivation = request.deactivation;
    policy.content_prefix = request.content_prefix;
    policy
}

fn state(state: model::KeyState) -> KeyState {
    match state {
        model::KeyState::PreActive => KeyState::PreActive,
        model::KeyState::Active => KeyState::Active,
        model::KeyState::Suspended => KeyState::Suspended,
        model::KeyState::Deactivated => KeyState::Deactivated,
        model::KeyState::Compromised => KeyState::Compromised,
        model::KeyState::Destroyed => KeyState::Destroyed,
    }
}
