//! What all calls of a node share.

use std::sync::Arc;

use mintmark_crypto::sign::SigningKey;
use mintmark_crypto::{framed, random};
use mintmark_exchange::charter::Charter;
use mintmark_exchange::order::{self, SignedOrder};
use mintmark_model::{Principal, Reason, Refusal, Role};
use mintmark_pki::chain::{TrustRoot, Usage, VerifiedChain};
use mintmark_pki::name::{ClusterPath, ClusterRole, LeafKind};
use mintmark_platform::Platform;
use mintmark_store::{Committer, Store};

use crate::claims::Claims;
use crate::clock::SiteClock;
use crate::custody::FIRST_EPOCH;
use crate::dismissals::Dismissals;
use crate::escrows::{Escrows, Start};
use crate::outcomes::Outcomes;
use crate::room::Room;
use crate::suspicion::Suspicion;
use crate::types::Session;
use crate::vault::Vault;

/// One node of a cluster, running.
pub(crate) struct Host {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) store_id: [u8; 16],
    pub(crate) committer: Committer,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) clock: SiteClock,
    pub(crate) vault: Vault,
    pub(crate) identity: Identity,
    /// Set where the store does not fit its anchor: then nothing is written.
    pub(crate) suspicion: Option<Suspicion>,
    /// Counts the starts of this store.
    pub(crate) boot: u64,
    /// Raised by each restore of the store.
    pub(crate) epoch: u64,
    pub(crate) escrows: Escrows,
    pub(crate) claims: Claims,
    pub(crate) outcomes: Outcomes,
    pub(crate) dismissals: Dismissals,
    pub(crate) room: Room,
    pub(crate) settings: Settings,
}

/// What an admin may set, within what the design allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// More units of a product for one site in thirty days need approvals.
    pub approval_units: u64,
    /// How old a message may be, in seconds.
    pub max_transit_seconds: u64,
    /// Below so many free bytes only what ends units and reports them is served.
    pub free_bytes_min: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            approval_units: 1_000_000,
            max_transit_seconds: 180 * 86_400,
            free_bytes_min: 512 << 20,
        }
    }
}

/// Who the host is, with the keys that are its own.
pub(crate) struct Identity {
    pub(crate) cluster: ClusterPath,
    pub(crate) node: String,
    pub(crate) incarnation: u64,
    pub(crate) root: TrustRoot,
    pub(crate) root_certificate: Vec<u8>,
    pub(crate) cluster_key: SigningKey,
    pub(crate) cluster_certificate: Vec<u8>,
    pub(crate) charter: Charter,
    pub(crate) custody_key: SigningKey,
    pub(crate) custody_certificate: Vec<u8>,
}

impl Identity {
    /// The cluster's SPIFFE URI.
    pub(crate) fn uri(&self) -> String {
        self.cluster.to_string()
    }

    /// Whether this is headquarters.
    pub(crate) fn is_headquarters(&self) -> bool {
        self.cluster.role() == ClusterRole::Headquarters
    }

    /// A leaf's chain: itself and the cluster CA.
    pub(crate) fn chain_of(&self, leaf: &[u8]) -> Vec<Vec<u8>> {
        vec![leaf.to_vec(), self.cluster_certificate.clone()]
    }

    /// The node's SPIFFE URI, for what the host does on its own.
    pub(crate) fn node_uri(&self) -> String {
        format!("{}/node/{}", self.uri(), self.node)
    }

    /// Signs `body` with the custody key, for one purpose.
    pub(crate) fn sign_order(&self, label: &str, body: Vec<u8>) -> SignedOrder {
        let signature = self.custody_key.sign(&order::signed_bytes(label, &body));
        SignedOrder { body, chain: self.chain_of(&self.custody_certificate), signature }
    }

    /// Checks an order up to the root: chain at `at_ms`, custody leaf, signature. Gives the
    /// signer's chain.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE`, without a word more.
    pub(crate) fn verify_order(
        &self,
        label: &str,
        order: &SignedOrder,
        at_ms: u64,
    ) -> Result<VerifiedChain, Refusal> {
        let chain = self.root.verify(&order.chain, at_ms, Usage::Any).map_err(|error| {
            tracing::warn!(%error, label, "the chain of an order does not hold");
            untrusted()
        })?;
        let custody = chain.kind() == LeafKind::Custody;
        let message = order.signed_bytes(label);
        let holds =
            mintmark_crypto::sign::verify(chain.public_key_info(), &message, &order.signature);
        if !custody || holds.is_err() {
            tracing::warn!(label, custody, "the signature of an order does not hold");
            return Err(untrusted());
        }
        Ok(chain)
    }
}

impl Host {
    /// Whether the store was ever restored from a backup.
    pub(crate) fn is_restored(&self) -> bool {
        self.epoch > FIRST_EPOCH
    }

    /// This start of the host.
    pub(crate) fn start(&self) -> Start {
        let monotonic_ms = self.clock.started().monotonic_ms;
        Start { incarnation: self.identity.incarnation, monotonic_ms }
    }

    /// A session for what the host does on its own account.
    pub(crate) fn own_session(&self, method: &str) -> Session {
        let cluster = &self.identity.cluster;
        Session {
            principal: Principal {
                organization: cluster.organization().to_owned(),
                cluster: format!("{}/{}", cluster.role().name(), cluster.name()),
                role: Role::Admin,
                name: self.identity.node.clone(),
            },
            plugin: None,
            method: method.to_owned(),
            request_digest: [0; 32],
            request: random::array(),
        }
    }

    /// A tag over `parts` that only this host can make, for one purpose.
    pub(crate) fn tag(&self, label: &str, parts: &[&[u8]]) -> Result<[u8; 32], Refusal> {
        let sealing = self.platform.sealing_secret().map_err(|error| {
            tracing::error!(%error, "the platform gave no secret");
            Refusal::new(Reason::Unavailable, "The platform cannot unseal its secret.")
        })?;
        let key = mintmark_crypto::hkdf::derive(&sealing, label, b"");
        Ok(mintmark_crypto::mac::hmac_sha256(key.expose(), &framed(label, parts)))
    }
}

/// The one answer to whatever is not authentic.
pub(crate) fn untrusted() -> Refusal {
    let detail = "The message is not authentic, or not for this plugin; the host's log says more.";
    Refusal::new(Reason::UntrustedMessage, detail)
}
