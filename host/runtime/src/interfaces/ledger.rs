//! `ledger`: the host's append-only log, which plugins read and add notes to.

use mintmark_custody::{LedgerPosition, VerifiedCheckpoint, Witness};
use mintmark_model::Refusal;

use crate::bindings::mintmark::host::ledger as wit;
use crate::bounds;
use crate::failure::Failure;
use crate::state::State;

/// The longest note.
const NOTE_BYTES_MAX: usize = 1 << 10;

/// Bounds of a page.
const PAGE_BYTES_MIN: u32 = 64 << 10;
/// See [`PAGE_BYTES_MIN`].
const PAGE_BYTES_MAX: u32 = 1 << 20;

impl wit::Host for State {
    async fn note(&mut self, text: String) -> Result<(), Failure> {
        bounds::text_up_to("text", &text, NOTE_BYTES_MAX)?;
        let (call, _) = self.enter(text.len())?;
        Ok(call.note(&text).await?)
    }

    async fn checkpoints(
        &mut self,
        after: Option<u64>,
        limit_bytes: u64,
    ) -> Result<wit::Checkpointed, Failure> {
        if limit_bytes < PAGE_BYTES_MIN.into() {
            return Err(Refusal::invalid("`limit-bytes` is less than 64 KiB.").into());
        }
        let (call, _) = self.enter(0)?;
        let checkpoints = call.checkpoints(after, limit_bytes).await?;
        self.answer(checkpoints.orders.iter().map(Vec::len).sum())?;
        Ok(wit::Checkpointed { orders: checkpoints.orders, more: checkpoints.more })
    }

    async fn read(
        &mut self,
        node: String,
        after: u64,
        limit_bytes: u32,
    ) -> Result<wit::Page, Failure> {
        bounds::text("node", &node)?;
        bounds::limit("limit-bytes", limit_bytes, PAGE_BYTES_MIN, PAGE_BYTES_MAX)?;
        let (call, _) = self.enter(node.len())?;
        let page = call.read_rows(&node, after, limit_bytes).await?;
        self.answer(page.rows.iter().map(Vec::len).sum())?;
        Ok(wit::Page { rows: page.rows, end: position(page.end) })
    }

    async fn verify_checkpoint(
        &mut self,
        checkpoint: Vec<u8>,
    ) -> Result<wit::VerifiedCheckpoint, Failure> {
        bounds::bytes("checkpoint", &checkpoint)?;
        let (call, _) = self.enter(checkpoint.len())?;
        let verified = call.verify_checkpoint(&checkpoint).await?;
        let VerifiedCheckpoint { cluster, body, witness, restored } = verified;
        let witness = match witness {
            Witness::Held => wit::Witness::Held,
            Witness::Lost => wit::Witness::Lost,
            Witness::Forgotten => wit::Witness::Forgotten,
        };
        Ok(wit::VerifiedCheckpoint { cluster, body, witness, restored })
    }

    async fn held_heads(&mut self, cluster: String) -> Result<Vec<wit::Position>, Failure> {
        bounds::text("cluster", &cluster)?;
        let (call, _) = self.enter(cluster.len())?;
        let heads = call.held_heads(&cluster).await?;
        Ok(heads.into_iter().map(position).collect())
    }
}

fn position(position: LedgerPosition) -> wit::Position {
    wit::Position { node: position.node, sequence: position.sequence, hash: position.hash.to_vec() }
}
