//! What may be done with a key: one pure function, [`decide`].
//!
//! The host asks it before every use, and the SDK's native host the same one. What is absent is
//! refused: a policy without a grant for the plugin lets the plugin do nothing.

use crate::{Algorithm, KeyState, Operation, Operations, Reason, Refusal, Role};

/// What the key's policy says. Its digest is part of the associated data of the sealed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    /// The ceiling.
    pub operations: Operations,
    /// Who may use it. Empty: nobody.
    pub grants: Vec<KeyGrant>,
    /// Site time before which the key cannot be used, in milliseconds.
    pub activation: Option<u64>,
    /// Site time from which the key protects nothing more, in milliseconds.
    pub deactivation: Option<u64>,
    /// What may be signed.
    pub content: ContentRule,
    /// Who may receive the key.
    pub export: ExportRule,
    /// The allotment through whose units alone the key can be used.
    pub allotment: Option<String>,
}

/// One entry of the list of who may use a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGrant {
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's measurements. Empty: whichever version the host has activated under that name.
    pub measurements: Vec<[u8; 32]>,
    /// The caller's roles. Empty: whoever may call the plugin's method.
    pub roles: Vec<Role>,
    /// What it may do.
    pub operations: Operations,
}

/// What a key may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentRule {
    /// Any message.
    Message,
    /// Messages that begin so.
    Prefix(Vec<u8>),
    /// Certificates by profile and the list of those that count no more, and nothing else.
    Certificate,
}

/// Whether a key may leave the host, sealed to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportRule {
    /// It stays.
    Never,
    /// Only so.
    SealedTo(Recipients),
}

/// Who may receive a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients {
    /// The receiving plugin's name.
    pub plugin: String,
    /// `headquarters` or `site`.
    pub cluster_role: String,
    /// SPIFFE URIs; empty means every cluster of that role.
    pub clusters: Vec<String>,
    /// What the key may do there.
    pub operations: Operations,
}

impl Recipients {
    /// Whether `plugin` of `cluster` (a SPIFFE URI) is among them.
    #[must_use]
    pub fn include(&self, cluster: &str, plugin: &str) -> bool {
        let role = cluster.rsplit('/').nth(1);
        self.plugin == plugin
            && role == Some(self.cluster_role.as_str())
            && (self.clusters.is_empty() || self.clusters.iter().any(|one| one == cluster))
    }
}

/// What a use is about.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// The operation has no content that the policy looks at.
    None,
    /// A message that is to be signed.
    Message(&'a [u8]),
    /// A certificate by profile.
    Certificate,
    /// The list of certificates that the CA has revoked.
    RevocationList,
    /// A peer that is to receive the key.
    Peer {
        /// The peer's cluster, a SPIFFE URI.
        cluster: &'a str,
        /// The peer's plugin.
        plugin: &'a str,
    },
}

/// Everything that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The key's policy.
    pub policy: &'a KeyPolicy,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// The key's state.
    pub state: KeyState,
    /// The plugin that asks.
    pub plugin: &'a str,
    /// Its measurement.
    pub measurement: [u8; 32],
    /// The caller's role.
    pub role: Role,
    /// What it wants to do.
    pub operation: Operation,
    /// What with.
    pub content: Content<'a>,
    /// The allotment whose unit asks, if one does.
    pub through: Option<&'a str>,
    /// Site time in milliseconds.
    pub now: u64,
}

/// Whether the operation is allowed.
///
/// # Errors
///
/// The first thing that forbids it. Only what the plugin may know about its own key is said.
pub fn decide(facts: &Facts<'_>) -> Result<(), Refusal> {
    state_allows(facts)?;
    window_allows(facts)?;
    grant_allows(facts)?;
    content_allows(facts)?;
    allotment_allows(facts)
}

fn state_allows(facts: &Facts<'_>) -> Result<(), Refusal> {
    let allowed = match facts.state {
        KeyState::Active => true,
        KeyState::Deactivated => !facts.operation.protects(),
        KeyState::PreActive | KeyState::Suspended | KeyState::Compromised | KeyState::Destroyed => {
            false
        }
    };
    if allowed {
        return Ok(());
    }
    Err(Refusal::new(Reason::WrongState, "The state of the key does not allow this."))
}

fn window_allows(facts: &Facts<'_>) -> Result<(), Refusal> {
    if facts.policy.activation.is_some_and(|begin| facts.now < begin) {
        return Err(Refusal::new(Reason::NotYetValid, "The key is not active yet."));
    }
    let over = facts.policy.deactivation.is_some_and(|end| facts.now >= end);
    if over && facts.operation.protects() {
        return Err(Refusal::new(Reason::Expired, "The key's time is over."));
    }
    Ok(())
}

fn grant_allows(facts: &Facts<'_>) -> Result<(), Refusal> {
    let operation = facts.operation;
    let ceiling = facts.policy.operations.intersection(Operations::possible(facts.algorithm));
    let granted = facts.policy.grants.iter().any(|grant| {
        grant.plugin == facts.plugin
            && (grant.measurements.is_empty() || grant.measurements.contains(&facts.measurement))
            && (grant.roles.is_empty() || grant.roles.contains(&facts.role))
            && grant.operations.has(operation)
    });
    if granted && ceiling.has(operation) {
        return Ok(());
    }
    let name = operation.name();
    Err(Refusal::denied(format!("The key's policy does not let this plugin use it to {name}.")))
}

fn content_allows(facts: &Facts<'_>) -> Result<(), Refusal> {
    let policy = facts.policy;
    let allowed = match facts.operation {
        Operation::Sign => match (&policy.content, facts.content) {
            (ContentRule::Message, Content::Message(_)) => true,
            (ContentRule::Prefix(prefix), Content::Message(message)) => message.starts_with(prefix),
            _ => false,
        },
        Operation::Certify => {
            policy.content == ContentRule::Certificate
                && matches!(facts.content, Content::Certificate | Content::RevocationList)
        }
        Operation::Export => match (&policy.export, facts.content) {
            (ExportRule::SealedTo(recipients), Content::Peer { cluster, plugin }) => {
                recipients.include(cluster, plugin)
            }
            _ => false,
        },
        Operation::Verify
        | Operation::Encrypt
        | Operation::Decrypt
        | Operation::Mac
        | Operation::VerifyMac
        | Operation::Wrap
        | Operation::Unwrap
        | Operation::Derive
        | Operation::Agree => true,
    };
    if allowed {
        return Ok(());
    }
    Err(Refusal::denied("The key's policy does not allow this content."))
}

fn allotment_allows(facts: &Facts<'_>) -> Result<(), Refusal> {
    let Some(allotment) = facts.policy.allotment.as_deref() else { return Ok(()) };
    if facts.through == Some(allotment) {
        return Ok(());
    }
    Err(Refusal::denied("The key can be used only through a unit of its allotment."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(operation: Operation, content: ContentRule) -> KeyPolicy {
        let operations = Operations::of(&[operation]);
        KeyPolicy {
            operations,
            grants: vec![KeyGrant {
                plugin: "entitlement".into(),
                measurements: vec![],
                roles: vec![],
                operations,
            }],
            activation: None,
            deactivation: None,
            content,
            export: ExportRule::Never,
            allotment: None,
        }
    }

    fn facts<'a>(policy: &'a KeyPolicy, operation: Operation, content: Content<'a>) -> Facts<'a> {
        Facts {
            policy,
            algorithm: Algorithm::EcdsaP256,
            state: KeyState::Active,
            plugin: "entitlement",
            measurement: [1; 32],
            role: Role::Admin,
            operation,
            content,
            through: None,
            now: 1_000,
        }
    }

    fn reason(facts: &Facts<'_>) -> Option<Reason> {
        decide(facts).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn i8_no_grant_means_nobody() {
        let mut policy = policy(Operation::Sign, ContentRule::Message);
        policy.grants.clear();
        let facts = facts(&policy, Operation::Sign, Content::Message(b"m"));
        assert_eq!(reason(&facts), Some(Reason::PermissionDenied));
    }

    #[test]
    fn a_ca_key_signs_no_message() {
        let policy = policy(Operation::Certify, ContentRule::Certificate);
        let sign = facts(&policy, Operation::Sign, Content::Message(b"m"));
        assert_eq!(reason(&sign), Some(Reason::PermissionDenied));
        for content in [Content::Certificate, Content::RevocationList] {
            let certify = facts(&policy, Operation::Certify, content);
            assert_eq!(reason(&certify), None);
        }
        let message = facts(&policy, Operation::Certify, Content::Message(b"m"));
        assert_eq!(reason(&message), Some(Reason::PermissionDenied));
    }

    #[test]
    fn another_plugin_or_measurement_is_refused() {
        let mut policy = policy(Operation::Sign, ContentRule::Message);
        policy.grants[0].measurements = vec![[2; 32]];
        let other = facts(&policy, Operation::Sign, Content::Message(b"m"));
        assert_eq!(reason(&other), Some(Reason::PermissionDenied));
        policy.grants[0].measurements = vec![[1; 32]];
        let right = facts(&policy, Operation::Sign, Content::Message(b"m"));
        assert_eq!(reason(&right), None);
        let stranger = Facts { plugin: "other", ..right };
        assert_eq!(reason(&stranger), Some(Reason::PermissionDenied));
    }

    #[test]
    fn a_prefix_bounds_what_is_signed() {
        let policy = policy(Operation::Sign, ContentRule::Prefix(b"release ".to_vec()));
        let good = facts(&policy, Operation::Sign, Content::Message(b"release 1"));
        assert_eq!(reason(&good), None);
        let bad = facts(&policy, Operation::Sign, Content::Message(b"grant 1"));
        assert_eq!(reason(&bad), Some(Reason::PermissionDenied));
    }

    #[test]
    fn windows_and_states_bound_what_protects() {
        let mut policy = policy(Operation::Sign, ContentRule::Message);
        policy.activation = Some(1_001);
        let early = facts(&policy, Operation::Sign, Content::Message(b"m"));
        assert_eq!(reason(&early), Some(Reason::NotYetValid));
        policy.activation = None;
        policy.deactivation = Some(1_000);
        let late = facts(&policy, Operation::Sign, Content::Message(b"m"));
        assert_eq!(reason(&late), Some(Reason::Expired));
        policy.deactivation = None;
        let right = facts(&policy, Operation::Sign, Content::Message(b"m"));
        for state in [KeyState::PreActive, KeyState::Suspended, KeyState::Deactivated] {
            assert_eq!(reason(&Facts { state, ..right }), Some(Reason::WrongState));
        }
    }

    #[test]
    fn a_key_of_an_allotment_works_only_through_its_units() {
        let mut policy = policy(Operation::Certify, ContentRule::Certificate);
        policy.allotment = Some("ent-1".into());
        let bare = facts(&policy, Operation::Certify, Content::Certificate);
        assert_eq!(reason(&bare), Some(Reason::PermissionDenied));
        assert_eq!(
            reason(&Facts { through: Some("ent-2"), ..bare }),
            Some(Reason::PermissionDenied)
        );
        assert_eq!(reason(&Facts { through: Some("ent-1"), ..bare }), None);
    }

    #[test]
    fn keys_leave_only_to_their_recipients() {
        let mut policy = policy(Operation::Export, ContentRule::Certificate);
        let site = "spiffe://acme/site/shenzhen";
        let peer = Content::Peer { cluster: site, plugin: "device-key" };
        assert_eq!(
            reason(&facts(&policy, Operation::Export, peer)),
            Some(Reason::PermissionDenied)
        );
        policy.export = ExportRule::SealedTo(Recipients {
            plugin: "device-key".into(),
            cluster_role: "site".into(),
            clusters: vec![site.into()],
            operations: Operations::of(&[Operation::Certify]),
        });
        assert_eq!(reason(&facts(&policy, Operation::Export, peer)), None);
        for (cluster, plugin) in [
            ("spiffe://acme/site/hanoi", "device-key"),
            ("spiffe://acme/headquarters/shenzhen", "device-key"),
            (site, "other"),
        ] {
            let peer = Content::Peer { cluster, plugin };
            let refused = facts(&policy, Operation::Export, peer);
            assert_eq!(reason(&refused), Some(Reason::PermissionDenied));
        }
    }
}
