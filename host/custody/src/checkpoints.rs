//! Checkpoints: what this host signs about a stretch of a node's ledger.
//!
//! A bundle is one file of bounded size. So a checkpoint ends where its rows are as many as one
//! bundle takes, at the end of a transaction, and the next bundle goes on there: a site that let
//! much pile up reports in several bundles, oldest first. The counters in a checkpoint are those at
//! its last row.

use std::collections::BTreeMap;

use mintmark_exchange::canonical;
use mintmark_exchange::checkpoint::{Checkpoint, EntitlementCounters, Position, VERSION};
use mintmark_exchange::directive::Change;
use mintmark_exchange::merkle::Tree;
use mintmark_exchange::message::HeadRef;
use mintmark_exchange::order::CHECKPOINT;
use mintmark_exchange::row::{Event, Row};
use mintmark_exchange::unit::Counters;
use mintmark_model::{Counters as ModelCounters, Reason, Refusal};
use mintmark_store::Range;

use crate::call::Call;
use crate::chains::Ledger;
use crate::disk::peer::{ExportRecord, ExportedCounters, HeldRecord, StreamRecord};
use crate::messages::stream::head_ref;
use crate::types::Checkpoints;
use crate::{disk, escrows, tables, units};

/// How many bytes of rows are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// The counters of all allotments at one row, by entitlement.
type At = BTreeMap<String, EntitlementCounters>;

/// A stretch of a ledger, as far as one bundle takes it.
struct Stretch {
    to: Position,
    tree: Tree,
    at: At,
    /// The time of the last row that it takes; zero where it takes none.
    last_ms: u64,
    /// The time of the first row that was left for the next bundle.
    left_from: Option<u64>,
}

/// The rows of one transaction, with the bytes that they take in a bundle.
#[derive(Default)]
struct Together {
    rows: Vec<Row>,
    bytes: u64,
}

impl Call {
    /// Signed checkpoints, one per node, over the rows after the heads in the last receipt, or
    /// after the row `after` for a headquarters that lost them; as many as `limit_bytes` takes.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` without the claim; `INVALID_ARGUMENT` for a row that headquarters does
    /// not hold.
    pub async fn checkpoints(
        &mut self,
        after: Option<u64>,
        limit_bytes: u64,
    ) -> Result<Checkpoints, Refusal> {
        self.check_reads_ledger()?;
        self.close_all_due().await?;
        let ledgers = self.host.identity.ledgers(&self.view.position().heads);
        let mut orders = Vec::with_capacity(ledgers.len());
        let mut exported = Vec::with_capacity(ledgers.len());
        let mut more = false;
        for ledger in ledgers {
            let Some(from) = self.export_from(&ledger, after).await? else { continue };
            let stretch = self.stretch(&ledger, from, limit_bytes).await?;
            let checkpoint = self.make_checkpoint(&ledger, from, &stretch).await?;
            exported.push(HeadRef {
                node: ledger.node.clone(),
                incarnation: ledger.incarnation,
                sequence: stretch.to.sequence,
                hash: stretch.to.hash,
            });
            let chain = &ledger.head.node;
            let place = tables::export(chain, from.sequence, stretch.to.sequence);
            let body = canonical::encode(&checkpoint);
            let order = self.host.identity.sign_order(CHECKPOINT, body).encode();
            let earlier: Option<ExportRecord> = self.view.read(&place).await?;
            let earlier = earlier.filter(|earlier| earlier.hash == stretch.to.hash);
            let mut record = stretch.record(checkpoint.as_of, order.clone());
            // A proof shows the checkpoint that headquarters answered, with its answer.
            if let Some(earlier) = earlier.filter(|earlier| earlier.receipt.is_some()) {
                (record.checkpoint, record.receipt) = (earlier.checkpoint, earlier.receipt);
            }
            self.view.write(place, record);
            orders.push(order);
            if stretch.left_from.is_some() {
                // A later ledger of the node is reported when all of this one is.
                more = true;
                break;
            }
        }
        self.taint();
        // Refusals that were counted and have no row yet are on record before the next bundle.
        let counted = self.host.outcomes.drain();
        self.counted.extend(counted.iter().cloned());
        self.push_outcomes(counted);
        self.record(Event::BundleExported { heads: exported });
        Ok(Checkpoints { orders, more })
    }

    /// The row after which a bundle begins; none for a ledger that was replaced and is with
    /// headquarters whole, unless headquarters wants everything again.
    async fn export_from(
        &mut self,
        ledger: &Ledger,
        after: Option<u64>,
    ) -> Result<Option<Position>, Refusal> {
        let cluster = self.host.identity.uri();
        let place = tables::pair(tables::HELD, &cluster, ledger.node.as_bytes());
        let held: Option<HeldRecord> = self.view.peek(&place).await?;
        if after == Some(0) {
            return Ok(Some(Position::default()));
        }
        let held = match held {
            // A receipt for a later ledger is one for those before it.
            Some(held) if held.incarnation > ledger.incarnation => return Ok(None),
            Some(held) if held.incarnation == ledger.incarnation => {
                Position { sequence: held.sequence, hash: held.hash }
            }
            _ => Position::default(),
        };
        // Headquarters names a row of the ledger that is written.
        let after = after.filter(|_| ledger.incarnation == self.host.identity.incarnation);
        match after {
            None => Ok(Some(held)),
            Some(sequence) if sequence > held.sequence => {
                let detail = "A bundle begins at the newest receipt or before it.";
                Err(Refusal::invalid(detail).with("held", held.sequence.to_string()))
            }
            Some(sequence) => {
                let rows = self.view.rows(&ledger.head.node, sequence - 1, 1).await?;
                let row = rows.first().ok_or_else(damaged)?;
                Ok(Some(Position { sequence, hash: row.hash }))
            }
        }
    }

    /// Follows the ledger from `from`, as far as one bundle takes it.
    async fn stretch(
        &mut self,
        ledger: &Ledger,
        from: Position,
        limit_bytes: u64,
    ) -> Result<Stretch, Refusal> {
        let head = &ledger.head;
        let base = self.counters_at(&head.node, from).await?;
        // Without a base the counters in the middle are not known: such a ledger is not cut.
        let limit = if base.is_some() { limit_bytes } else { u64::MAX };
        let mut stretch = Stretch {
            to: from,
            tree: Tree::new(),
            at: base.unwrap_or_default(),
            last_ms: 0,
            left_from: None,
        };
        let mut taken = 0_u64;
        let mut together = Together::default();
        let mut at = from.sequence;
        while at < head.sequence && stretch.left_from.is_none() {
            let rows = self.view.rows(&head.node, at, PAGE_BYTES).await?;
            let Some(last) = rows.last() else { return Err(damaged()) };
            at = last.sequence;
            for found in rows.iter().filter(|row| row.sequence <= head.sequence) {
                let row = Row::decode(&found.encoded).map_err(|_| damaged())?;
                if !together.goes_on_with(&row) && !stretch.take(&mut together, &mut taken, limit) {
                    break;
                }
                together.push(row, found.encoded.len() as u64);
            }
        }
        stretch.take(&mut together, &mut taken, limit);
        let written = ledger.incarnation == self.host.identity.incarnation;
        if stretch.left_from.is_none() && written {
            // Up to the end the store itself knows, also after a restore.
            stretch.at = self.all_counters().await?;
        }
        Ok(stretch)
    }

    /// The counters at a row: at the beginning, or where a bundle ended. Where none did, they are
    /// those that the rows before it say.
    async fn counters_at(&mut self, node: &str, from: Position) -> Result<Option<At>, Refusal> {
        let begins = self.begins_with_nothing(node).await?;
        if from.sequence == 0 {
            return Ok(begins.then(At::new));
        }
        let place = tables::prefix(node, &from.sequence.to_be_bytes());
        for (_, value) in self.view.peek_range(&Range::all(tables::EXPORTS, place)).await? {
            let export: ExportRecord = disk::read(&value)?;
            if export.hash == from.hash {
                return Ok(Some(export.counters.iter().map(ExportedCounters::known).collect()));
            }
        }
        if !begins {
            return Ok(None);
        }
        let (mut at, mut counters) = (0, At::new());
        while at < from.sequence {
            let rows = self.view.rows(node, at, PAGE_BYTES).await?;
            let Some(last) = rows.last() else { return Err(damaged()) };
            at = last.sequence;
            for found in rows.iter().filter(|row| row.sequence <= from.sequence) {
                let row = Row::decode(&found.encoded).map_err(|_| damaged())?;
                apply(&mut counters, &row);
            }
        }
        Ok(Some(counters))
    }

    /// Whether a ledger is the first of its node: there was nothing before its rows.
    async fn begins_with_nothing(&mut self, node: &str) -> Result<bool, Refusal> {
        let rows = self.view.rows(node, 0, 1).await?;
        let first = rows.first().and_then(|row| Row::decode(&row.encoded).ok());
        match first.ok_or_else(damaged)?.body.event {
            Event::Started(started) => Ok(started.replaces.is_none()),
            _ => Err(damaged()),
        }
    }

    async fn make_checkpoint(
        &mut self,
        ledger: &Ledger,
        from: Position,
        stretch: &Stretch,
    ) -> Result<Checkpoint, Refusal> {
        let (headquarters, stream) = self.applied().await?;
        let made_at = self.now_ms();
        // A ledger that was replaced says nothing of what came after it.
        let written = ledger.incarnation == self.host.identity.incarnation;
        let whole = if written { made_at } else { stretch.last_ms };
        Ok(Checkpoint {
            version: VERSION,
            cluster: self.host.identity.uri(),
            node: ledger.node.clone(),
            incarnation: ledger.incarnation,
            from,
            to: stretch.to,
            rows: stretch.to.sequence - from.sequence,
            merkle_root: stretch.tree.root(),
            counters: stretch.at.values().cloned().collect(),
            clock_suspect: self.began.suspect,
            boots: self.host.boot,
            headquarters,
            applied_epoch: stream.epoch,
            applied_sequence: stream.sequence,
            hq_head: stream.head.map(head_ref),
            made_at,
            as_of: stretch.left_from.unwrap_or(whole).min(made_at),
        })
    }

    async fn all_counters(&mut self) -> Result<At, Refusal> {
        let mut all = At::new();
        for (_, record) in self.all_allotments().await? {
            let grant = units::grant_of(&record)?;
            let counters = escrows::counters(&self.view, &grant.entitlement).await?;
            let known = EntitlementCounters {
                entitlement: grant.entitlement.clone(),
                drawn: counters.drawn(),
                counters: Counters::from_values(counters.in_row_order()),
                limit: grant.terms.total,
                ended: escrows::end(&record).is_some(),
            };
            all.insert(grant.entitlement, known);
        }
        Ok(all)
    }

    /// Headquarters, and where in its stream the site is.
    async fn applied(&mut self) -> Result<(String, StreamRecord), Refusal> {
        let role = mintmark_pki::ClusterRole::Headquarters.name();
        for cluster in self.peer_clusters().await? {
            if cluster.rsplit('/').nth(1) == Some(role) {
                let stream = self.stream_record(&cluster).await?;
                return Ok((cluster, stream));
            }
        }
        Ok((String::new(), StreamRecord::default()))
    }
}

impl Stretch {
    /// Takes the rows of a transaction, unless they are more than is left of the bundle; the first
    /// ones are always taken.
    fn take(&mut self, together: &mut Together, taken: &mut u64, limit: u64) -> bool {
        let bytes = taken.saturating_add(together.bytes);
        let Some(first) = together.rows.first() else { return true };
        if bytes > limit && *taken > 0 {
            self.left_from = Some(first.body.time_ms);
            together.rows.clear();
            return false;
        }
        *taken = bytes;
        together.bytes = 0;
        for row in together.rows.drain(..) {
            self.tree.push(&row.hash);
            apply(&mut self.at, &row);
            self.to = Position { sequence: row.sequence, hash: row.hash };
            self.last_ms = row.body.time_ms;
        }
        true
    }

    /// What a receipt for it can be acted on by.
    fn record(&self, as_of: u64, checkpoint: Vec<u8>) -> ExportRecord {
        let counters = self.at.values().map(|known| ExportedCounters {
            entitlement: known.entitlement.clone(),
            counters: known.counters.values(),
            limit: known.limit,
            ended: known.ended,
        });
        ExportRecord {
            hash: self.to.hash,
            as_of,
            counters: counters.collect(),
            checkpoint,
            receipt: None,
        }
    }
}

impl Together {
    /// Rows with one request, side by side, are one transaction.
    fn goes_on_with(&self, row: &Row) -> bool {
        self.rows.last().is_some_and(|last| last.body.request == row.body.request)
    }

    fn push(&mut self, row: Row, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes + 4);
        self.rows.push(row);
    }
}

impl ExportedCounters {
    /// Units drawn.
    pub(crate) fn drawn(&self) -> u64 {
        ModelCounters::from_row_order(self.counters).drawn()
    }

    fn known(&self) -> (String, EntitlementCounters) {
        let known = EntitlementCounters {
            entitlement: self.entitlement.clone(),
            counters: Counters::from_values(self.counters),
            drawn: self.drawn(),
            limit: self.limit,
            ended: self.ended,
        };
        (self.entitlement.clone(), known)
    }
}

/// What a row says of the counters.
fn apply(at: &mut At, row: &Row) {
    let entitlement = match &row.body.event {
        Event::Unit(unit) => &unit.entitlement,
        Event::GrantImported { entitlement, .. }
        | Event::DirectiveImported { entitlement, .. }
        | Event::UnusedLost { entitlement, .. }
        | Event::Closed { entitlement, .. } => entitlement,
        _ => return,
    };
    let known = at.entry(entitlement.clone()).or_insert_with(|| EntitlementCounters {
        entitlement: entitlement.clone(),
        counters: Counters::default(),
        drawn: 0,
        limit: 0,
        ended: false,
    });
    match &row.body.event {
        Event::GrantImported { total, .. } => known.limit = *total,
        Event::DirectiveImported { change: Change::Extend { .. }, applied, .. } => {
            known.limit = known.limit.saturating_add(*applied);
        }
        Event::DirectiveImported { change: Change::Revoke, .. } | Event::Closed { .. } => {
            known.ended = true;
        }
        _ => {}
    }
    if let Some(counters) = row.counters {
        known.counters = counters;
        known.drawn = ModelCounters::from_row_order(counters.values()).drawn();
    }
}

fn damaged() -> Refusal {
    let detail = "The ledger cannot be read; run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}
