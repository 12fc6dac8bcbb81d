//! `keys`: keys of the plugin, as handles.

use wasmtime::component::Resource;

use mintmark_custody::{KeyAttributes, KeyRequest, OpenKey};
use mintmark_model::policy;
use mintmark_model::{KeyState, Operations, Refusal};

use crate::bindings::mintmark::host::keys as wit;
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

/// The longest associated data.
const ASSOCIATED_BYTES_MAX: usize = 64 << 10;

/// The longest context of a derivation.
const CONTEXT_BYTES_MAX: usize = 1 << 10;

/// The longest prefix of what a key may sign.
const PREFIX_BYTES_MAX: usize = 64;

impl wit::Host for State {
    async fn open(&mut self, name: String) -> Result<Resource<OpenKey>, Failure> {
        bounds::name("name", &name)?;
        let (call, table) = self.enter(name.len())?;
        Ok(table.push(call.open_key(&name).await?)?)
    }

    async fn generate(
        &mut self,
        name: String,
        algorithm: String,
        policy: wit::Policy,
    ) -> Result<Resource<OpenKey>, Failure> {
        bounds::name("name", &name)?;
        bounds::text("algorithm", &algorithm)?;
        let request = request(policy)?;
        let (call, table) = self.enter(name.len())?;
        Ok(table.push(call.generate_key(&name, &algorithm, request).await?)?)
    }
}

impl wit::HostKey for State {
    async fn attributes(&mut self, key: Resource<OpenKey>) -> Result<wit::Attributes, Failure> {
        let (call, table) = self.enter(0)?;
        Ok(attributes(call.key_attributes(table.get(&key)?).await?))
    }

    async fn public_key(&mut self, key: Resource<OpenKey>) -> Result<Vec<u8>, Failure> {
        let (call, table) = self.enter(0)?;
        Ok(call.public_key(table.get(&key)?).await?)
    }

    async fn sign(&mut self, key: Resource<OpenKey>, message: Vec<u8>) -> Result<Vec<u8>, Failure> {
        bounds::bytes("message", &message)?;
        let (call, table) = self.enter(message.len())?;
        Ok(call.sign(table.get(&key)?, &message).await?)
    }

    async fn verify(
        &mut self,
        key: Resource<OpenKey>,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<bool, Failure> {
        bounds::bytes("message", &message)?;
        bounds::bytes("signature", &signature)?;
        let (call, table) = self.enter(message.len())?;
        Ok(call.verify(table.get(&key)?, &message, &signature).await?)
    }

    async fn encrypt(
        &mut self,
        key: Resource<OpenKey>,
        plaintext: Vec<u8>,
        associated: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        bounds::bytes("plaintext", &plaintext)?;
        bounds::bytes_up_to("associated", &associated, ASSOCIATED_BYTES_MAX)?;
        let (call, table) = self.enter(plaintext.len() + associated.len())?;
        let ciphertext = call.encrypt(table.get(&key)?, &plaintext, &associated).await?;
        self.answer(ciphertext.len())?;
        Ok(ciphertext)
    }

    async fn decrypt(
        &mut self,
        key: Resource<OpenKey>,
        ciphertext: Vec<u8>,
        associated: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        bounds::bytes("ciphertext", &ciphertext)?;
        bounds::bytes_up_to("associated", &associated, ASSOCIATED_BYTES_MAX)?;
        let (call, table) = self.enter(ciphertext.len() + associated.len())?;
        let plaintext = call.decrypt(table.get(&key)?, &ciphertext, &associated).await?;
        self.answer(plaintext.len())?;
        Ok(plaintext)
    }

    async fn mac(&mut self, key: Resource<OpenKey>, message: Vec<u8>) -> Result<Vec<u8>, Failure> {
        bounds::bytes("message", &message)?;
        let (call, table) = self.enter(message.len())?;
        Ok(call.mac(table.get(&key)?, &message).await?)
    }

    async fn verify_mac(
        &mut self,
        key: Resource<OpenKey>,
        message: Vec<u8>,
        tag: Vec<u8>,
    ) -> Result<bool, Failure> {
        bounds::bytes("message", &message)?;
        bounds::bytes("tag", &tag)?;
        let (call, table) = self.enter(message.len())?;
        Ok(call.verify_mac(table.get(&key)?, &message, &tag).await?)
    }

    async fn derive(
        &mut self,
        key: Resource<OpenKey>,
        name: String,
        algorithm: String,
        context: Vec<u8>,
        policy: wit::Policy,
    ) -> Result<Resource<OpenKey>, Failure> {
        bounds::name("name", &name)?;
        bounds::text("algorithm", &algorithm)?;
        bounds::bytes_up_to("context", &context, CONTEXT_BYTES_MAX)?;
        let request = request(policy)?;
        let (call, table) = self.enter(context.len())?;
        let parent = table.get(&key)?;
        let derived = call.derive_key(parent, &name, &algorithm, &context, request).await?;
        Ok(table.push(derived)?)
    }

    async fn destroy(&mut self, key: Resource<OpenKey>) -> Result<(), Failure> {
        let (call, table) = self.enter(0)?;
        Ok(call.destroy_key(table.get(&key)?).await?)
    }

    async fn drop(&mut self, key: Resource<OpenKey>) -> wasmtime::Result<()> {
        self.enter_table()?.delete(key)?;
        Ok(())
    }
}

/// What the plugin chooses of a policy.
fn request(policy: wit::Policy) -> Result<KeyRequest, Refusal> {
    let prefix = policy.content_prefix;
    bounds::bytes_up_to("content-prefix", prefix.as_deref().unwrap_or_default(), PREFIX_BYTES_MAX)?;
    Ok(KeyRequest {
        operations: operations(policy.operations)?,
        recipients: policy.recipients.map(recipients).transpose()?,
        activation: policy.activation,
        deactivation: policy.deactivation,
        content_prefix: prefix,
    })
}

/// Who may receive a key.
pub(super) fn recipients(recipients: wit::Recipients) -> Result<policy::Recipients, Refusal> {
    bounds::name("plugin", &recipients.plugin)?;
    bounds::text("cluster-role", &recipients.cluster_role)?;
    bounds::texts("clusters", &recipients.clusters)?;
    Ok(policy::Recipients {
        plugin: recipients.plugin,
        cluster_role: recipients.cluster_role,
        clusters: recipients.clusters,
        operations: operations(recipients.operations)?,
    })
}

/// The contract's flags are in the order of the model's bits.
fn operations(flags: wit::Operations) -> Result<Operations, Refusal> {
    let bits = wit_bits(flags);
    Operations::from_bits(bits).ok_or_else(|| Refusal::invalid("An operation is unknown."))
}

fn wit_bits(flags: wit::Operations) -> u16 {
    FLAGS
        .iter()
        .enumerate()
        .fold(0, |bits, (position, flag)| bits | (u16::from(flags.contains(*flag)) << position))
}

fn wit_operations(operations: Operations) -> wit::Operations {
    let bits = operations.bits();
    FLAGS.iter().enumerate().fold(wit::Operations::default(), |flags, (position, flag)| {
        if bits >> position & 1 == 1 { flags | *flag } else { flags }
    })
}

const FLAGS: [wit::Operations; 12] = [
    wit::Operations::SIGN,
    wit::Operations::VERIFY,
    wit::Operations::ENCRYPT,
    wit::Operations::DECRYPT,
    wit::Operations::MAC,
    wit::Operations::VERIFY_MAC,
    wit::Operations::WRAP,
    wit::Operations::UNWRAP,
    wit::Operations::DERIVE,
    wit::Operations::AGREE,
    wit::Operations::CERTIFY,
    wit::Operations::EXPORT,
];

fn attributes(attributes: KeyAttributes) -> wit::Attributes {
    wit::Attributes {
        name: attributes.name,
        algorithm: attributes.algorithm.name().to_owned(),
        policy: wit_policy(attributes.request),
        state: wit_state(attributes.state),
        allotment: attributes.allotment,
    }
}

fn wit_policy(request: KeyRequest) -> wit::Policy {
    wit::Policy {
        operations: wit_operations(request.operations),
        recipients: request.recipients.map(|recipients| wit::Recipients {
            plugin: recipients.plugin,
            cluster_role: recipients.cluster_role,
            clusters: recipients.clusters,
            operations: wit_operations(recipients.operations),
        }),
        activation: request.activation,
        deactivation: request.deactivation,
        content_prefix: request.content_prefix,
    }
}

const fn wit_state(state: KeyState) -> wit::State {
    match state {
        KeyState::PreActive => wit::State::PreActive,
        KeyState::Active => wit::State::Active,
        KeyState::Suspended => wit::State::Suspended,
        KeyState::Deactivated => wit::State::Deactivated,
        KeyState::Compromised => wit::State::Compromised,
        KeyState::Destroyed => wit::State::Destroyed,
    }
}

#[cfg(test)]
mod tests {
    use mintmark_model::Operation;

    use super::*;

    #[test]
    fn operations_keep_their_meaning_across_the_contract() {
        let pairs = Operation::ALL.iter().zip(FLAGS);
        assert_eq!(Operation::ALL.len(), FLAGS.len());
        for (operation, flag) in pairs {
            let set = Operations::of(&[*operation]);
            assert!(operations(flag).unwrap() == set, "{operation:?}");
            assert!(wit_operations(set) == flag, "{operation:?}");
        }
        // Names come from the contract through `Debug`: the order of the flags is that of the
        // model.
        for (operation, flag) in Operation::ALL.iter().zip(FLAGS) {
            let name = format!("{flag:?}").to_lowercase().replace('_', "-");
            assert!(name.contains(operation.name()), "{name} {}", operation.name());
        }
    }
}
