//! The kinds of row. The number of a case is its place in the list: new ones go to the end.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::Digest,
    directive::Change,
    message::{HeadRef, Purpose},
    proof::DeviceProof,
    reconcile::Verdict,
    unit::UnitChange,
};

/// What a row reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The host started; the first row of every ledger, and one per boot.
    Started(Started),
    /// A call was refused or failed; equal ones of a minute are merged.
    Outcome {
        /// The method's path.
        method: String,
        /// The reason code.
        reason: String,
        /// SHA-256 of the request.
        request_digest: Digest,
        /// How many.
        count: u32,
    },
    /// A plugin's own words, escaped; no check reads them.
    Note {
        /// At most 1 KiB.
        text: String,
    },
    /// A key was made or imported.
    KeyMade {
        /// The key's name.
        key: String,
        /// Its algorithm.
        algorithm: String,
        /// SHA-256 of its SubjectPublicKeyInfo; `None` for a symmetric key.
        key_hash: Option<Digest>,
    },
    /// A key was used.
    KeyUsed {
        /// The key's name.
        key: String,
        /// The policy operation.
        operation: String,
        /// SHA-256 of what it was used on.
        content: Digest,
    },
    /// A key was destroyed.
    KeyDestroyed {
        /// The key's name.
        key: String,
        /// SHA-256 of its SubjectPublicKeyInfo; `None` for a symmetric key.
        key_hash: Option<Digest>,
    },
    /// A key set was made or imported.
    KeySetMade {
        /// Its name.
        key_set: String,
        /// The algorithm of its keys.
        algorithm: String,
        /// How many keys it stands for.
        size: u64,
    },
    /// A certificate authority was made.
    CaMade {
        /// Its name.
        name: String,
        /// SHA-256 of its certificate.
        certificate_hash: Digest,
    },
    /// A message left, or an order inside of one.
    MessageSealed {
        /// What for.
        purpose: Purpose,
        /// SPIFFE URI of the receiving cluster.
        peer: String,
        /// [`crate::message::MessageHead::digest`].
        digest: Digest,
        /// Its number in headquarters' stream to the site.
        sequence: Option<u64>,
    },
    /// A message came in and was opened.
    MessageOpened {
        /// What for.
        purpose: Purpose,
        /// SPIFFE URI of the sending cluster.
        peer: String,
        /// [`crate::message::MessageHead::digest`].
        digest: Digest,
        /// Its number in headquarters' stream to the site.
        sequence: Option<u64>,
    },
    /// Headquarters granted.
    GrantExported {
        /// The entitlement.
        entitlement: String,
        /// Its number.
        number: u32,
        /// [`crate::grant::Grant::digest`].
        grant: Digest,
        /// SPIFFE URI of the site.
        recipient: String,
        /// Units.
        total: u64,
        /// The order number.
        order: String,
    },
    /// The site took a grant; its counters begin in this row.
    GrantImported {
        /// The entitlement.
        entitlement: String,
        /// Its number.
        number: u32,
        /// [`crate::grant::Grant::digest`].
        grant: Digest,
        /// SPIFFE URI of the headquarters.
        exporter: String,
        /// Units.
        total: u64,
    },
    /// Headquarters answered a bundle.
    ReceiptExported {
        /// The receipt's [`crate::order::digest`].
        receipt: Digest,
        /// SPIFFE URI of the site.
        recipient: String,
        /// The bundle's message digest.
        bundle: Digest,
        /// The verdict.
        verdict: Verdict,
    },
    /// The site took a receipt.
    ReceiptImported {
        /// The receipt's [`crate::order::digest`].
        receipt: Digest,
        /// SPIFFE URI of the headquarters.
        exporter: String,
        /// The bundle's message digest.
        bundle: Digest,
        /// The verdict.
        verdict: Verdict,
        /// What headquarters holds.
        heads: Vec<HeadRef>,
    },
    /// Headquarters ordered a change.
    DirectiveExported {
        /// The directive's [`crate::order::digest`].
        directive: Digest,
        /// SPIFFE URI of the site.
        recipient: String,
        /// The entitlement.
        entitlement: String,
        /// What is to change.
        change: Change,
    },
    /// The site acted on a directive.
    DirectiveImported {
        /// The directive's [`crate::order::digest`].
        directive: Digest,
        /// The entitlement.
        entitlement: String,
        /// What was ordered.
        change: Change,
        /// Units really added or taken away.
        applied: u64,
    },
    /// Something happened to a unit.
    Unit(Box<UnitEvent>),
    /// A unit goes on with another station, by an operator's word.
    HandedOver {
        /// The entitlement.
        entitlement: String,
        /// The unit.
        unit: u64,
        /// SPIFFE URI of the new station.
        station: String,
    },
    /// A restore wrote off units that were never drawn.
    UnusedLost {
        /// The entitlement.
        entitlement: String,
        /// How many.
        units: u64,
    },
    /// The allotment ended; what was unused is destroyed.
    Closed {
        /// The entitlement.
        entitlement: String,
        /// How many.
        destroyed: u64,
    },
    /// A plugin was installed.
    PluginInstalled(PluginActivation),
    /// A plugin became the active one of its name.
    PluginActivated(PluginActivation),
    /// A person or station got a certificate.
    UserIssued {
        /// SPIFFE URI.
        name: String,
        /// SHA-256 of the certificate.
        certificate_hash: Digest,
    },
    /// A certificate was revoked.
    UserRevoked {
        /// SPIFFE URI.
        name: String,
        /// SHA-256 of the certificate.
        certificate_hash: Digest,
    },
    /// The cluster CA issued a certificate to the host or a plugin.
    LeafIssued {
        /// SPIFFE URI.
        name: String,
        /// SHA-256 of the certificate.
        certificate_hash: Digest,
    },
    /// Another cluster's identity was imported.
    PeerImported {
        /// SPIFFE URI of the cluster.
        cluster: String,
        /// [`crate::identity::IdentityBody::fingerprint`].
        fingerprint: Digest,
    },
    /// A bundle was made.
    BundleExported {
        /// What it covers, per node.
        heads: Vec<HeadRef>,
    },
    /// Approvals were used up for an act.
    Approved {
        /// The act.
        act: String,
        /// Digest of the exact request.
        request_digest: Digest,
        /// Names of who approved.
        approvers: Vec<String>,
    },
    /// The store came from a backup, by ceremony; the first row after [`Event::Started`].
    Restored {
        /// The store's new epoch.
        epoch: u64,
        /// The last row of the backup.
        backup: HeadRef,
    },
    /// An admin acknowledged a suspect clock.
    ClockAcknowledged {
        /// The high-water mark before.
        mark_before_ms: u64,
        /// The high-water mark after.
        mark_after_ms: u64,
    },
    /// A node that died was closed by a survivor.
    NodeClosed {
        /// Its last row.
        head: HeadRef,
    },
    /// A key's policy or a setting changed.
    PolicyChanged {
        /// What.
        name: String,
        /// Digest of the new policy.
        policy: Digest,
    },
    /// A key set was destroyed.
    KeySetDestroyed {
        /// Its name.
        key_set: String,
        /// How many keys it stood for.
        size: u64,
    },
    /// Keys that somebody gave were sealed into a pool.
    PoolLoaded {
        /// The pool's name.
        pool: String,
        /// Which chunk, from 0.
        chunk: u32,
        /// How many keys are in it.
        keys: u64,
        /// SHA-256 of the chunk as it was given.
        digest: Digest,
    },
    /// The site stated an allotment's end.
    ClosingExported {
        /// The entitlement.
        entitlement: String,
        /// The statement's [`crate::order::digest`].
        statement: Digest,
    },
    /// Headquarters took a site's closing statement.
    ClosingImported {
        /// The entitlement.
        entitlement: String,
        /// The statement's [`crate::order::digest`].
        statement: Digest,
        /// SPIFFE URI of the site.
        site: String,
    },
    /// Headquarters' stream to a site begins again, in a new epoch.
    StreamOpened {
        /// SPIFFE URI of the site, or at a site of headquarters.
        peer: String,
        /// The new epoch.
        epoch: u64,
    },
    /// The list of approvers changed.
    CharterChanged {
        /// The list's new version.
        list_version: u64,
        /// SHA-256 of the list's canonical encoding.
        list: Digest,
    },
    /// A batch CA revoked certificates.
    CrlIssued {
        /// The entitlement.
        entitlement: String,
        /// The CRL's number.
        number: u64,
        /// How many certificates it lists.
        revoked: u64,
        /// SHA-256 of the CRL.
        digest: Digest,
    },
    /// An act waits for approvals.
    ApprovalRequested {
        /// The act, in one word.
        act: String,
        /// [`crate::approval::ApprovalRequest::digest`].
        request_digest: Digest,
        /// Nothing counts after, milliseconds since the epoch.
        expires_at: u64,
    },
    /// Somebody agreed to a request, or refused it.
    ApprovalGiven {
        /// [`crate::approval::ApprovalRequest::digest`].
        request_digest: Digest,
        /// The approver's name.
        approver: String,
        /// False for a no.
        approve: bool,
    },
    /// A backup was made.
    BackupMade {
        /// The number of its last transaction.
        commit: u64,
        /// SHA-256 of the file.
        digest: Digest,
    },
    /// Another key took an HPKE key's place: it only opens, until its time is over.
    KeyRetired {
        /// SPIFFE URI in its certificate.
        key: String,
        /// SHA-256 of its SubjectPublicKeyInfo.
        key_hash: Digest,
        /// Milliseconds since the epoch.
        opens_until: u64,
    },
    /// Headquarters, restored from a backup, took back an order of its own that it had forgotten.
    OrderAdopted {
        /// The order's digest, under the label that it was signed with.
        order: Digest,
        /// SPIFFE URI of the site.
        recipient: String,
        /// The entitlement.
        entitlement: String,
    },
}

/// A start of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// SPIFFE URI of the cluster.
    pub cluster: String,
    /// The node.
    pub node: String,
    /// Which ledger of that node.
    pub incarnation: u64,
    /// What the host runs on.
    pub hardware_model: String,
    /// The host's version.
    pub software: String,
    /// In the first row of a new incarnation: the last row of the one before, as known.
    pub replaces: Option<HeadRef>,
}

/// What happened to a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitEvent {
    /// The entitlement.
    pub entitlement: String,
    /// The unit's number, from 0.
    pub unit: u64,
    /// What it is spent on.
    pub subject: String,
    /// The device's serial number.
    pub serial: Option<String>,
    /// What happened.
    pub change: UnitChange,
    /// Why, in words; at most 256 bytes, escaped.
    pub detail: String,
    /// SHA-256 of the device's certificate, from issue on.
    pub certificate_hash: Option<Digest>,
    /// SHA-256 of the device key's SubjectPublicKeyInfo, from issue on.
    pub key_hash: Option<Digest>,
    /// [`crate::certificate::CertificateSerial`], from issue on.
    pub certificate_serial: Option<Vec<u8>>,
    /// The device's proof, where a confirmation has one.
    pub proof: Option<DeviceProof>,
}

/// A version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginActivation {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its security version.
    pub security_version: u32,
    /// SHA-256 of the component.
    pub measurement: Digest,
    /// SHA-256 of the SubjectPublicKeyInfo of each publisher who signed it.
    pub publishers: Vec<Digest>,
}
