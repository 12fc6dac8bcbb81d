//! Sealed messages: the form of every file that crosses the gap.
//!
//! A plugin composes and reads bodies; everything that makes a message authentic happens here:
//! sealing to the recipient's certificate, signing as the plugin, and on the way in chain, role,
//! signature, measurement, recipient, place in the stream and decryption, in that order. A plugin
//! cannot do half of it.

mod opening;
pub(crate) mod outbox;
mod sealing;
pub(crate) mod stream;

pub use opening::OpenedMessage;
pub use sealing::MessageWriter;

use mintmark_crypto::hpke::RecipientKey;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::message::Purpose;
use mintmark_model::Refusal;
use mintmark_pki::ClusterRole;

use crate::call::Call;
use crate::disk::plugin::IdentityRecord;
use crate::vault::Binding;
use crate::{plugins, tables};

/// The keys under which a plugin's name signs and opens messages.
pub(crate) struct PluginKeys {
    pub(crate) record: IdentityRecord,
    pub(crate) signing: SigningKey,
    pub(crate) encryption: RecipientKey,
}

impl Call {
    /// The calling plugin's identity with its private keys, for one act.
    pub(crate) async fn plugin_keys(&mut self) -> Result<PluginKeys, Refusal> {
        let name = self.plugin_name()?;
        let place = tables::pair(tables::IDENTITIES, &name, b"");
        let record: Option<IdentityRecord> = self.read(&place).await?;
        let record = record.ok_or_else(|| Refusal::denied("The plugin is not active."))?;
        let vault = &self.host.vault;
        let unusable = |_| Refusal::denied("The plugin's identity can not be opened.");
        let signing = vault.open(&plugins::signing_binding(&name), &record.signing_key)?;
        let signing = SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256, signing.expose());
        let binding = plugins::encryption_binding(&name);
        let encryption = vault.recipient_key(&binding, &record.encryption_key)?;
        Ok(PluginKeys { signing: signing.map_err(unusable)?, encryption, record })
    }
}

/// Which side sends messages of a purpose; none for what only hosts send.
pub(crate) fn sender_role(purpose: Purpose) -> Option<ClusterRole> {
    match purpose {
        Purpose::Entitlement | Purpose::Receipt | Purpose::Directive => {
            Some(ClusterRole::Headquarters)
        }
        Purpose::Bundle | Purpose::Closing => Some(ClusterRole::Site),
        Purpose::Identity => None,
    }
}

/// The purpose with this name, among those that plugins may name.
pub(crate) fn parse_purpose(name: &str) -> Result<Purpose, Refusal> {
    Purpose::parse(name)
        .filter(|purpose| sender_role(*purpose).is_some())
        .ok_or_else(|| Refusal::invalid("The purpose is not known."))
}

/// What a host's own key is bound to in the vault.
pub(crate) fn host_binding(name: &'static str) -> Binding<'static> {
    Binding { owner: "host", name, algorithm: "", policy: None }
}
