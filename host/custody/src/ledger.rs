//! The ledger as plugins see it: notes, rows, heads.

use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_store::{Add, Key, Transaction};

use crate::call::Call;
use crate::disk::peer::NotesRecord;
use crate::tables;
use crate::types::{LedgerPage, LedgerPosition};

/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 1_024;
/// The most notes of a call.
const NOTES_MAX: u32 = 16;
/// The most notes of a plugin on one day of site time, give or take those of calls under way.
const NOTES_OF_DAY_MAX: u64 = 10_000;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

impl Call {
    /// Adds a note of the plugin's own. No check reads it.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` outside the bounds; `BUDGET_EXCEEDED` for a plugin that has used up the
    /// notes of its day, which restarts of the host don't renew.
    pub async fn note(&mut self, text: &str) -> Result<(), Refusal> {
        if text.len() > NOTE_BYTES_MAX || self.notes >= NOTES_MAX {
            return Err(Refusal::invalid("A call adds at most 16 notes of at most 1 KiB."));
        }
        if self.notes_of_day().await? + u64::from(self.notes) >= NOTES_OF_DAY_MAX {
            let detail = "The plugin has added all the notes that it may add in a day.";
            return Err(Refusal::new(Reason::BudgetExceeded, detail));
        }
        self.notes += 1;
        let mut text: String = text.chars().flat_map(char::escape_default).collect();
        text.truncate(NOTE_BYTES_MAX);
        self.record(Event::Note { text });
        Ok(())
    }

    /// How many notes of the plugin's were committed today.
    async fn notes_of_day(&mut self) -> Result<u64, Refusal> {
        let plugin = self.plugin_name()?;
        let place = Key::new(tables::NOTES, plugin.as_bytes());
        let counter = Key::new(tables::NOTE_COUNTERS, plugin.as_bytes());
        let total = self.view.counter(&counter).await?;
        let today = self.now_ms() / DAY_MS;
        let known: Option<NotesRecord> = self.view.peek(&place).await?;
        // A clock that an approval set back begins no new day.
        if let Some(known) = known.filter(|known| known.day >= today) {
            return Ok(total.saturating_sub(known.before));
        }
        let _present: Option<NotesRecord> = self.read(&place).await?;
        self.view.write(place, NotesRecord { day: today, before: total });
        Ok(0)
    }

    /// What the call's notes add to their counter.
    pub(crate) fn count_notes(&self, transaction: &mut Transaction) {
        let plugin = self.session.plugin.as_deref();
        if let Some(plugin) = plugin.filter(|_| self.notes > 0) {
            transaction.adds.push(Add {
                key: Key::new(tables::NOTE_COUNTERS, plugin.name.as_bytes()),
                delta: self.notes.into(),
                min: 0,
                max: u64::MAX,
            });
        }
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
