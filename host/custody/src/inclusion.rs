//! Inclusion proofs: one device's row, for somebody who has neither the ledger nor headquarters.
//!
//! The site's host has all that such a proof is made of: the row, the checkpoints that it signed
//! over its bundles, and headquarters' receipts for them. The ledger is read page by page, so
//! memory does not grow with it.

use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::inclusion::InclusionProof;
use mintmark_exchange::merkle::{self, PathBuilder};
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::row::{Event, Row};
use mintmark_exchange::unit::UnitChange;
use mintmark_model::{Reason, Refusal};
use mintmark_store::Range;

use crate::custody::Custody;
use crate::disk::{self, peer::ExportRecord};
use crate::tables;
use crate::view::View;

/// How many bytes of rows are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// The row by which a device's identity was issued.
struct Issued {
    sequence: u64,
    hash: [u8; 32],
    encoded: Vec<u8>,
}

/// A bundle that was made, by its checkpoint.
struct Export {
    order: SignedOrder,
    checkpoint: Checkpoint,
    receipt: Option<SignedOrder>,
}

impl Custody {
    /// The proof that the device `subject` of an entitlement was issued here, and that its row is
    /// in a bundle: [`InclusionProof`], encoded. Where headquarters has answered a bundle that
    /// holds the row, its receipt is in it.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a device that this node did not issue; `WRONG_STATE` before a bundle holds
    /// its row.
    pub async fn prove(&self, entitlement: &str, subject: &str) -> Result<Vec<u8>, Refusal> {
        let view = self.view().await?;
        // A signed checkpoint and a certificate's row are a release: they must be anchored.
        let serves = self.host.suspicion.is_none();
        if serves && self.host.committer.settled().await.is_err() {
            return Err(self.host.cannot_write());
        }
        let node = self.host.identity.node.clone();
        let issued = find(&view, &node, entitlement, subject).await?;
        let issued = issued.ok_or_else(|| Refusal::not_found("device"))?;
        let incarnation = self.host.identity.incarnation;
        let mut exports = exports(&view, &node).await?;
        exports.retain(|export| {
            let Checkpoint { from, to, .. } = &export.checkpoint;
            export.checkpoint.incarnation == incarnation
                && (from.sequence + 1..=to.sequence).contains(&issued.sequence)
        });
        // A bundle that headquarters has answered proves more; the shortest one is read fastest.
        exports.sort_by_key(|export| (export.receipt.is_none(), export.checkpoint.rows));
        let export = exports.into_iter().next().ok_or_else(|| {
            let detail = "No bundle holds the device's row yet; make one with `audit export`.";
            Refusal::new(Reason::WrongState, detail)
        })?;
        let path = path(&view, &node, &issued, &export.checkpoint).await?;
        let Export { order: checkpoint, receipt, .. } = export;
        let row = issued.encoded;
        Ok(InclusionProof { row, path, checkpoint, receipt }.encode())
    }
}

/// The newest row that issues the device; a device that lost its key may have been issued before.
async fn find(
    view: &View,
    node: &str,
    entitlement: &str,
    subject: &str,
) -> Result<Option<Issued>, Refusal> {
    if subject.is_empty() {
        return Ok(None);
    }
    let mut found = None;
    let mut after = 0;
    loop {
        let rows = view.rows(node, after, PAGE_BYTES).await?;
        let Some(last) = rows.last() else {
            return Ok(found);
        };
        after = last.sequence;
        for row in rows {
            // Most rows need not be decoded: they don't name the device.
            let named = row.encoded.windows(subject.len()).any(|part| part == subject.as_bytes());
            if named && issues(&row.encoded, entitlement, subject) {
                let mintmark_store::Row { sequence, hash, encoded, .. } = row;
                found = Some(Issued { sequence, hash, encoded });
            }
        }
    }
}

fn issues(encoded: &[u8], entitlement: &str, subject: &str) -> bool {
    let event = Row::decode(encoded).map(|row| row.body.event);
    matches!(event, Ok(Event::Unit(unit)) if unit.change == UnitChange::Issued
        && unit.entitlement == entitlement && unit.subject == subject)
}

async fn exports(view: &View, node: &str) -> Result<Vec<Export>, Refusal> {
    let range = Range::all(tables::EXPORTS, tables::prefix(node, b""));
    let found = view.peek_range(&range).await?;
    found.iter().map(|(_, value)| Export::read(&disk::read(value)?)).collect()
}

impl Export {
    fn read(record: &ExportRecord) -> Result<Self, Refusal> {
        let order = SignedOrder::decode(&record.checkpoint).map_err(|_| damaged())?;
        let checkpoint = order.open().map_err(|_| damaged())?;
        let receipt = record.receipt.as_deref().map(SignedOrder::decode).transpose();
        Ok(Self { order, checkpoint, receipt: receipt.map_err(|_| damaged())? })
    }
}

/// The path from the row to the checkpoint's Merkle root.
async fn path(
    view: &View,
    node: &str,
    issued: &Issued,
    checkpoint: &Checkpoint,
) -> Result<Vec<[u8; 32]>, Refusal> {
    let Checkpoint { from, to, rows, merkle_root, .. } = checkpoint;
    let index = issued.sequence - from.sequence - 1;
    let mut builder = PathBuilder::new(index, *rows).ok_or_else(damaged)?;
    let mut after = from.sequence;
    while after < to.sequence {
        let rows = view.rows(node, after, PAGE_BYTES).await?;
        let Some(last) = rows.last() else { break };
        after = last.sequence;
        rows.iter()
            .filter(|row| row.sequence <= to.sequence)
            .for_each(|row| builder.push(&row.hash));
    }
    let path = builder.finish().ok_or_else(damaged)?;
    let holds = merkle::is_included(&issued.hash, index, *rows, &path, merkle_root);
    if holds { Ok(path) } else { Err(damaged()) }
}

fn damaged() -> Refusal {
    let detail = "The ledger does not fit the host's own checkpoint; run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}
