//! Inclusion proofs: one device's row, shown to be in a ledger that headquarters has seen, without
//! the ledger.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | `MMIP` |
//! | 2 | version, 1, big-endian |
//! | … | [`InclusionProof`], postcard |
//!
//! The row hashes to a leaf of the Merkle tree whose root the site's custody signed in a
//! checkpoint, and headquarters' receipt names that root and the rows that it is over. Without the
//! receipt the site is believed. With it headquarters is: its host signs, its plugin compared the
//! root with the rows. Neither the site, nor who carried the file, can show another row with it.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, DecodeError, Digest},
    checkpoint::{self, Checkpoint},
    merkle,
    order::{self, ORDER_BYTES_MAX, SignedOrder},
    receipt::{self, ReceiptBody, Stretch},
    reconcile::Verdict,
    row::{BODY_BYTES_MAX, Event, Row, UnitEvent},
    unit::UnitChange,
    verify::{Signer, Verify},
};

/// A row with all that vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// The row by which the device's identity was issued, as the ledger has it.
    pub row: Vec<u8>,
    /// From the row's neighbour up to the root: [`merkle::PathBuilder`].
    pub path: Vec<Digest>,
    /// The site's [`Checkpoint`] over the rows of one bundle.
    pub checkpoint: SignedOrder,
    /// Headquarters' [`ReceiptBody`] for that bundle, where the site has one.
    pub receipt: Option<SignedOrder>,
}

/// A device whose proof holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// SPIFFE URI of the site.
    pub site: String,
    /// The node whose ledger it is.
    pub node: String,
    /// Which ledger of that node.
    pub incarnation: u64,
    /// The row's number.
    pub row: u64,
    /// Site time of the release, milliseconds since the epoch.
    pub time_ms: u64,
    /// Measurement of the plugin that acted.
    pub measurement: Option<Digest>,
    /// The device.
    pub unit: UnitEvent,
    /// Who has the row besides the site; `None` for a row that the site alone vouches for.
    pub receipted: Option<Receipted>,
}

/// The answer of headquarters to the bundle with the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipted {
    /// SPIFFE URI of the headquarters.
    pub headquarters: String,
    /// What it found.
    pub verdict: Verdict,
    /// When, milliseconds since the epoch.
    pub made_at: u64,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No file of this format.
    #[error("not a proof: {0}")]
    Format(#[from] DecodeError),
    /// The row can't be read.
    #[error("the row in it can't be read")]
    Row,
    /// The row is about something else.
    #[error("the row in it issues no device's identity")]
    NoDevice,
    /// The checkpoint is not a site's.
    #[error("its checkpoint is not signed by the custody of the cluster that it names")]
    Checkpoint,
    /// The row is not among those that the checkpoint covers.
    #[error("its row is not among the rows that the checkpoint covers")]
    Path,
    /// The receipt is not headquarters', or for something else.
    #[error("its receipt is not one of headquarters for the bundle with this row")]
    Receipt,
}

/// The first bytes of a proof.
pub const MAGIC: [u8; 4] = *b"MMIP";
/// The only version of the format.
pub const VERSION: u16 = 1;
/// Most digests of a path: a ledger has less than 2^64 rows.
pub const PATH_LENGTH_MAX: usize = 64;
/// Bytes before the body.
const PREFIX_BYTES: usize = 6;
/// Most bytes of a proof: a row with its envelope, a path, two orders.
const BYTES_MAX: usize = BODY_BYTES_MAX + (4 << 10) + PATH_LENGTH_MAX * 32 + 2 * ORDER_BYTES_MAX;

impl InclusionProof {
    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_be_bytes());
        file.extend_from_slice(&canonical::encode(self));
        file
    }

    /// Reads a file strictly.
    pub fn decode(file: &[u8]) -> Result<Self, DecodeError> {
        let (prefix, body) =
            file.split_first_chunk::<PREFIX_BYTES>().ok_or(DecodeError::Malformed)?;
        let [m, a, g, i, version @ ..] = *prefix;
        if [m, a, g, i] != MAGIC {
            return Err(DecodeError::Malformed);
        }
        if u16::from_be_bytes(version) != VERSION {
            return Err(DecodeError::UnknownVersion);
        }
        let proof: Self = canonical::decode(body, BYTES_MAX)?;
        let bounded = proof.path.len() <= PATH_LENGTH_MAX
            && proof.checkpoint.is_bounded()
            && proof.receipt.as_ref().is_none_or(SignedOrder::is_bounded);
        if bounded { Ok(proof) } else { Err(DecodeError::TooLong) }
    }

    /// Checks everything, down to the root that `verify` trusts.
    pub fn verify(&self, verify: &dyn Verify) -> Result<Proven, ProofError> {
        let row = Row::decode(&self.row).map_err(|_| ProofError::Row)?;
        let checkpoint = self.checkpoint(verify)?;
        let index = row.sequence.checked_sub(1);
        let index = index.and_then(|before| before.checked_sub(checkpoint.from.sequence));
        let included = index.is_some_and(|index| {
            let root = &checkpoint.merkle_root;
            merkle::is_included(&row.hash, index, checkpoint.rows, &self.path, root)
        });
        if !included {
            return Err(ProofError::Path);
        }
        let receipted = self.receipt.as_ref();
        let receipted = receipted.map(|order| receipted_by(order, &checkpoint, verify));
        let receipted = receipted.transpose()?;
        let measurement = row.body.plugin.as_ref().map(|plugin| plugin.measurement);
        match row.body.event {
            Event::Unit(unit) if unit.change == UnitChange::Issued => Ok(Proven {
                site: checkpoint.cluster,
                node: checkpoint.node,
                incarnation: checkpoint.incarnation,
                row: row.sequence,
                time_ms: row.body.time_ms,
                measurement,
                unit: *unit,
                receipted,
            }),
            _ => Err(ProofError::NoDevice),
        }
    }

    fn checkpoint(&self, verify: &dyn Verify) -> Result<Checkpoint, ProofError> {
        let read: Checkpoint = self.checkpoint.open().map_err(|_| ProofError::Checkpoint)?;
        let signer = verify.verify_order(order::CHECKPOINT, &self.checkpoint, read.made_at);
        let sound = read.version == checkpoint::VERSION
            && read.to.sequence.checked_sub(read.from.sequence) == Some(read.rows)
            && signer.is_some_and(|signer| is_custody_of(&signer, &read.cluster));
        if sound { Ok(read) } else { Err(ProofError::Checkpoint) }
    }
}

/// Who gave the receipt, if it is headquarters' for this very stretch of ledger.
fn receipted_by(
    order: &SignedOrder,
    checkpoint: &Checkpoint,
    verify: &dyn Verify,
) -> Result<Receipted, ProofError> {
    let body: ReceiptBody = order.open().map_err(|_| ProofError::Receipt)?;
    let signer = verify.verify_order(order::RECEIPT, order, body.made_at);
    let sound = body.version == receipt::VERSION
        && signer.is_some_and(|signer| is_custody_of(&signer, &body.exporter))
        && is_headquarters(&body.exporter)
        && body.recipient == checkpoint.cluster
        && body.stretches.contains(&Stretch::of(checkpoint))
        && matches!(body.verdict, Verdict::Clean | Verdict::CleanWithNotes);
    let ReceiptBody { exporter: headquarters, verdict, made_at, .. } = body;
    if sound { Ok(Receipted { headquarters, verdict, made_at }) } else { Err(ProofError::Receipt) }
}

fn is_custody_of(signer: &Signer, cluster: &str) -> bool {
    signer.cluster == cluster && signer.leaf.starts_with("custody/")
}

/// True for the SPIFFE URI of a headquarters: `spiffe://<organisation>/headquarters/<name>`.
fn is_headquarters(cluster: &str) -> bool {
    cluster.split('/').nth(3) == Some("headquarters")
}

#[cfg(test)]
mod tests;
