//! The ledger as plugins see it: notes, checkpoints, rows.

use mintmark_exchange::canonical;
use mintmark_exchange::checkpoint::{Checkpoint, EntitlementCounters, Position};
use mintmark_exchange::merkle::Tree;
use mintmark_exchange::message::HeadRef;
use mintmark_exchange::order::CHECKPOINT;
use mintmark_exchange::row::Event;
use mintmark_exchange::unit::Counters;
use mintmark_model::Refusal;

use crate::call::Call;
use crate::disk::peer::{ExportRecord, HeldRecord};
use crate::messages::stream::head_ref;
use crate::types::{LedgerPage, LedgerPosition};
use crate::{escrows, tables, units};

/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 1_024;
/// The most notes of a call.
const NOTES_MAX: u32 = 16;
/// How many bytes of rows are read at once.
const PAGE_BYTES: usize = 1 << 20;

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

    /// Signed checkpoints, one per node, over all rows after the heads in the last receipt.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` without the claim.
    pub async fn checkpoints(&mut self) -> Result<Vec<Vec<u8>>, Refusal> {
        self.check_reads_ledger()?;
        let heads = self.view.position().heads.clone();
        let counters = self.all_counters().await?;
        let mut signed = Vec::with_capacity(heads.len());
        let mut exported = Vec::with_capacity(heads.len());
        for head in heads {
            let to = Position { sequence: head.sequence, hash: head.hash };
            let checkpoint = self.make_checkpoint(&head.node, to, &counters).await?;
            exported.push(HeadRef {
                node: head.node.clone(),
                incarnation: checkpoint.incarnation,
                sequence: head.sequence,
                hash: head.hash,
            });
            let drawn = counters.iter().map(|one| (one.entitlement.clone(), one.drawn)).collect();
            let place = tables::pair(tables::EXPORTS, &head.node, head.sequence.to_be_bytes());
            let record = ExportRecord { hash: head.hash, made_at: checkpoint.made_at, drawn };
            self.view.write(place, record);
            let body = canonical::encode(&checkpoint);
            signed.push(self.host.identity.sign_order(CHECKPOINT, body).encode());
        }
        self.taint();
        // Refusals that were counted and have no row yet are on record before the next bundle.
        let counted = self.host.outcomes.drain();
        self.counted.extend(counted.iter().cloned());
        self.push_outcomes(counted);
        self.record(Event::BundleExported { heads: exported });
        Ok(signed)
    }

    /// Committed rows of `node` after `after`.
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
        if self.view.position().head(node).is_none() {
            return Err(Refusal::not_found("node"));
        }
        let limit = (limit_bytes as usize).clamp(64 << 10, 1 << 20);
        let rows = self.view.rows(node, after, limit).await?;
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

    fn check_reads_ledger(&self) -> Result<(), Refusal> {
        if self.plugin()?.reads_ledger {
            return Ok(());
        }
        Err(Refusal::denied("The plugin's manifest does not claim to read the ledger."))
    }

    async fn make_checkpoint(
        &mut self,
        node: &str,
        to: Position,
        counters: &[EntitlementCounters],
    ) -> Result<Checkpoint, Refusal> {
        let cluster = self.host.identity.uri();
        let place = tables::pair(tables::HELD, &cluster, node.as_bytes());
        let held: Option<HeldRecord> = self.view.peek(&place).await?;
        let from = held.map_or(Position::default(), |held| Position {
            sequence: held.sequence,
            hash: held.hash,
        });
        let merkle_root = self.merkle_root(node, from, to).await?;
        let (applied_sequence, hq_head) = self.applied().await?;
        Ok(Checkpoint {
            version: 1,
            cluster,
            node: node.to_owned(),
            incarnation: self.host.identity.incarnation,
            from,
            to,
            rows: to.sequence - from.sequence,
            merkle_root,
            counters: counters.to_vec(),
            clock_suspect: self.began.suspect,
            boots: self.host.boot,
            applied_sequence,
            hq_head,
            made_at: self.now_ms(),
        })
    }

    async fn merkle_root(
        &mut self,
        node: &str,
        from: Position,
        to: Position,
    ) -> Result<[u8; 32], Refusal> {
        let mut tree = Tree::new();
        let mut after = from.sequence;
        while after < to.sequence {
            let rows = self.view.rows(node, after, PAGE_BYTES).await?;
            let Some(last) = rows.last() else { break };
            after = last.sequence;
            for row in rows.iter().filter(|row| row.sequence <= to.sequence) {
                tree.push(&row.hash);
            }
        }
        Ok(tree.root())
    }

    async fn all_counters(&mut self) -> Result<Vec<EntitlementCounters>, Refusal> {
        let mut all = Vec::new();
        for (_, record) in self.all_allotments().await? {
            let entitlement = units::grant_of(&record)?.entitlement;
            let counters = escrows::counters(&self.view, &entitlement).await?;
            let drawn = counters.drawn();
            let counters = Counters::from_values(counters.in_row_order());
            all.push(EntitlementCounters { entitlement, counters, drawn });
        }
        all.sort_by(|one, other| one.entitlement.cmp(&other.entitlement));
        Ok(all)
    }

    /// The last message of headquarters that was applied, and the last head of its ledger that was
    /// seen.
    async fn applied(&mut self) -> Result<(u64, Option<HeadRef>), Refusal> {
        let role = mintmark_pki::ClusterRole::Headquarters.name();
        for cluster in self.peer_clusters().await? {
            if cluster.rsplit('/').nth(1) == Some(role) {
                let stream = self.stream_record(&cluster).await?;
                return Ok((stream.sequence, stream.head.map(head_ref)));
            }
        }
        Ok((0, None))
    }
}
