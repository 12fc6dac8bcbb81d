//! What goes in and out of custody: values without key material.

use mintmark_model::{Algorithm, Counters, KeyState, Operations, Principal, UnitState};

/// SHA-256.
pub type Digest = [u8; 32];

/// What the loader knows of the plugin on whose behalf a call runs, and what its manifest lets it
/// ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginClaims {
    /// The plugin's name.
    pub name: String,
    /// SHA-256 of the component.
    pub measurement: Digest,
    /// Keys that it may make.
    pub slots: Vec<Slot>,
    /// Purposes of messages that it may send.
    pub sends: Vec<String>,
    /// Purposes of messages that it may receive.
    pub receives: Vec<String>,
    /// Transfers that it may ask for: `grant`, `import`, `receipt`, `directive`, `closing`.
    pub transfers: Vec<String>,
    /// Whether it may read the ledger.
    pub reads_ledger: bool,
}

/// A claim of a manifest: keys of this kind whose names begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What is made.
    pub kind: SlotKind,
    /// The begin of the name.
    pub prefix: String,
    /// The algorithms that it may have.
    pub algorithms: Vec<Algorithm>,
    /// The most that it may do.
    pub operations: Operations,
    /// Whether it may leave the host.
    pub export: bool,
}

/// What a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A product CA.
    ProductCa,
    /// The key of a batch CA.
    BatchKey,
    /// Any other key.
    Key,
    /// A derived key set.
    KeySet,
}

impl SlotKind {
    /// The kind's name in a manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProductCa => "ca",
            Self::BatchKey => "batch",
            Self::Key => "key",
            Self::KeySet => "key-set",
        }
    }

    /// The kind with this name in a manifest: `ca`, `batch`, `key` or `key-set`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ca" => Some(Self::ProductCa),
            "batch" => Some(Self::BatchKey),
            "key" => Some(Self::Key),
            "key-set" => Some(Self::KeySet),
            _ => None,
        }
    }
}

/// On whose behalf a call runs, and what it is.
#[derive(Debug, Clone)]
pub struct Session {
    /// The caller.
    pub principal: Principal,
    /// The plugin; none for the host's own services.
    pub plugin: Option<std::sync::Arc<PluginClaims>>,
    /// `/<package.Service>/<Method>`.
    pub method: String,
    /// SHA-256 of the request message.
    pub request_digest: Digest,
    /// Names the call in logs and in the ledger.
    pub request: [u8; 16],
}

impl Session {
    /// A session for one request message, with a new name.
    #[must_use]
    pub fn new(
        principal: Principal,
        plugin: Option<std::sync::Arc<PluginClaims>>,
        method: impl Into<String>,
        message: &[u8],
    ) -> Self {
        let request_digest = mintmark_crypto::digest::sha256(message);
        let request = mintmark_crypto::random::array();
        Self { principal, plugin, method: method.into(), request_digest, request }
    }
}

/// What a plugin chooses of a key's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRequest {
    /// The ceiling.
    pub operations: Operations,
    /// Who may receive the key.
    pub recipients: Option<mintmark_model::policy::Recipients>,
    /// Site time before which it cannot be used.
    pub activation: Option<u64>,
    /// Site time from which it protects nothing more.
    pub deactivation: Option<u64>,
    /// What signed messages begin with.
    pub content_prefix: Option<Vec<u8>>,
}

/// What is known about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAttributes {
    /// Its name within the plugin.
    pub name: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its policy, as far as the plugin chose it.
    pub request: KeyRequest,
    /// Its state.
    pub state: KeyState,
    /// The allotment through whose units alone it can be used.
    pub allotment: Option<String>,
}

/// What is known about a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetAttributes {
    /// Its name within the plugin.
    pub name: String,
    /// The algorithm of the device keys.
    pub algorithm: Algorithm,
    /// How many keys it stands for.
    pub size: u64,
}

/// Life of an allotment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllotmentState {
    /// In use.
    Active,
    /// Outside its window.
    Paused,
    /// Every unit is taken.
    Exhausted,
    /// Headquarters revoked it.
    Revoked,
    /// Closed.
    Closed,
}

/// What is known about an allotment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllotmentStatus {
    /// The signed grant, encoded.
    pub grant: Vec<u8>,
    /// Its state.
    pub state: AllotmentState,
    /// Where its units are, as committed when the call began.
    pub counters: Counters,
    /// Units reserved since the heads of the newest receipt.
    pub since_receipt: u64,
    /// Site time at which reservations stop without a receipt.
    pub receipt_due: u64,
    /// The end of the window, as directives have made it.
    pub not_after: u64,
    /// Units ever credited, whatever was taken back: unit numbers are below.
    pub limit: u64,
}

/// What is known about a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// From 0 within the allotment.
    pub number: u64,
    /// What it is spent on.
    pub subject: String,
    /// The device's serial number.
    pub serial: String,
    /// Its state.
    pub state: UnitState,
    /// Transient failures so far.
    pub attempts: u32,
    /// SHA-256 of the device's SubjectPublicKeyInfo.
    pub key_hash: Option<Digest>,
    /// SHA-256 of the first certificate.
    pub certificate_hash: Option<Digest>,
    /// How many certificates there are for the key.
    pub certificates: u16,
    /// The principal that it is bound to: a SPIFFE URI.
    pub station: String,
    /// Site time of the reservation.
    pub reserved_at: u64,
    /// Site time of the last change.
    pub changed_at: u64,
}

/// What a unit released, the same bytes at every retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// The device key's SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// The device's certificate, DER.
    pub certificate: Option<Vec<u8>>,
    /// The device key, sealed.
    pub sealed_key: Option<SealedKey>,
    /// What the device signs at confirmation.
    pub confirm_nonce: [u8; 32],
}

/// A device key that only its recipient can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// The HPKE suite's name.
    pub suite: String,
    /// HPKE's encapsulated key.
    pub encapsulated_key: Vec<u8>,
    /// PKCS#8, encrypted; the associated data is the SubjectPublicKeyInfo.
    pub ciphertext: Vec<u8>,
}

/// Why provisioning a device failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The unit stays as it is.
    Transient,
    /// The unit is spent.
    Permanent,
    /// The unit is spent: the device has lost its key, so that it may have one more unit. Only
    /// a person who never had the unit can say so.
    KeyLost,
}

/// A revocation list that was signed and staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationFile {
    /// Id of the staged file: a list in DER for each certificate of the batch CA.
    pub file: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// The lists' number; a higher one is newer.
    pub number: u64,
    /// How many certificates it has.
    pub revoked: u64,
}

/// A plugin of another cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster's SPIFFE URI.
    pub cluster: String,
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of its component.
    pub measurement: Digest,
    /// What its platform says of itself; empty where that is not known.
    pub hardware_model: String,
}

/// A message that was written and staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Id of the staged file.
    pub file: String,
    /// SHA-256 of the message.
    pub digest: Digest,
    /// Its place in the stream to the site.
    pub sequence: Option<u64>,
}

/// A grant that this host signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedGrant {
    /// The entitlement's id.
    pub entitlement: String,
    /// The entitlement's number.
    pub number: u32,
    /// The signed grant, encoded.
    pub grant: Vec<u8>,
    /// The grant with its key packages, encoded.
    pub order: Vec<u8>,
}

/// A grant that this host took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedGrant {
    /// The entitlement's id, also the allotment's name.
    pub entitlement: String,
    /// The entitlement's number.
    pub number: u32,
    /// The signed grant, encoded.
    pub grant: Vec<u8>,
}

/// A receipt that this host took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedReceipt {
    /// The receipt's body, encoded.
    pub body: Vec<u8>,
    /// Allotments whose lease it renewed.
    pub entitlements: Vec<String>,
}

/// A directive that this host acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedDirective {
    /// The directive's body, encoded.
    pub body: Vec<u8>,
    /// Units really added or taken away.
    pub applied: u64,
}

/// An order of its own that a restored headquarters took back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptedOrder {
    /// A grant.
    Grant,
    /// A directive.
    Directive,
}

/// The end of a node's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPosition {
    /// The node's name.
    pub node: String,
    /// The last row's sequence.
    pub sequence: u64,
    /// The last row's hash.
    pub hash: Digest,
}

/// Rows of a node's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    /// Encoded rows.
    pub rows: Vec<Vec<u8>>,
    /// The end of the last of them.
    pub end: LedgerPosition,
}

/// Checkpoints of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoints {
    /// Each as this host signed it.
    pub orders: Vec<Vec<u8>>,
    /// Whether rows were left for the next bundle.
    pub more: bool,
}

/// A checkpoint whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    /// The signer's cluster, a SPIFFE URI.
    pub cluster: String,
    /// The checkpoint's body, encoded.
    pub body: Vec<u8>,
    /// What became of the row of this cluster's own ledger that it names.
    pub witness: Witness,
    /// Whether this cluster was ever restored from a backup.
    pub restored: bool,
}

/// What became of a row of this cluster's own ledger that another one has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// It is there, or none is named.
    Held,
    /// It is not there: this cluster was set back.
    Lost,
    /// It came after the backup from which this cluster was restored.
    Forgotten,
}
