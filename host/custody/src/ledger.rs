//! The ledger as plugins see it: notes, rows, heads.

use mintmark_exchange::row::Event;
use mintmark_model::Refusal;

use crate::call::Call;
use crate::types::{LedgerPage, LedgerPosition};

/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 1_024;
/// The most notes of a call.
const NOTES_MAX: u32 = 16;

impl Call {
    /// Adds a note of the plugin's own. No check reads it.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` outside the bounds.
    pub fn note(&mut self, text: &str) -> Result<(), Refusal> {
        if text.len() > NOTE_BYTES_MAX || self.notes >= NOTES_MAX {
            return Err(Refusal::invalid("A call adds at most 16 notes of at most 1 KiB."));
        }
        self.notes += 1;
        let mut text: String = text.chars().flat_map(char::escape_default).collect();
        text.truncate(NOTE_BYTES_MAX);
        self.record(Event::Note { text });
        Ok(())
    }

    /// Committed rows of `node` after `after`; `<node>~<incarnation>` names one ledger of a node
    /// that has several.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` without the claim; `NOT_FOUND` for a node that is not there.
    pub async fn read_rows(
        &mut self,
        node: &str,
        after: u64,
        limit_bytes: u32,
    ) -> Result<LedgerPage, Refusal> {
        self.check_reads_ledger()?;
        let chain = self.host.identity.chain_named(node);
        if self.view.position().head(&chain).is_none() {
            return Err(Refusal::not_found("node"));
        }
        let limit = (limit_bytes as usize).clamp(64 << 10, 1 << 20);
        let rows = self.view.rows(&chain, after, limit).await?;
        let end = rows.last().map(|row| (row.sequence, row.hash));
        let (sequence, hash) = end.unwrap_or((after, [0; 32]));
        let node = node.to_owned();
        Ok(LedgerPage {
            rows: rows.into_iter().map(|row| row.encoded).collect(),
            end: LedgerPosition { node, sequence, hash },
        })
    }

    /// The heads that headquarters holds of a cluster's nodes.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn held_heads(&mut self, cluster: &str) -> Result<Vec<LedgerPosition>, Refusal> {
        let held = self.held(cluster).await?.into_iter();
        Ok(held
            .map(|one| LedgerPosition { node: one.node, sequence: one.sequence, hash: one.hash })
            .collect())
    }

    pub(crate) fn check_reads_ledger(&self) -> Result<(), Refusal> {
        if self.plugin()?.reads_ledger {
            return Ok(());
        }
        Err(Refusal::denied("The plugin's manifest does not claim to read the ledger."))
    }
}
