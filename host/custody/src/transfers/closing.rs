//! The end of an allotment: what is unused and the keys are destroyed, and the site's host states
//! what became of it.
//!
//! An allotment closes when its site says so, or by itself, when it was paused for too long after
//! its window. Nothing revives it. The statement is made once all rows about it are receipted, so
//! that headquarters can compare it with what it holds and credit the unused units elsewhere.

use std::sync::Arc;

use mintmark_exchange::canonical;
use mintmark_exchange::checkpoint::Position;
use mintmark_exchange::closing::{self, ClosingStatement, IN_DOUBT_MAX};
use mintmark_exchange::grant::Grant;
use mintmark_exchange::order::{CLOSING, SignedOrder};
use mintmark_exchange::row::{Event, Row};
use mintmark_exchange::unit::Counters as ExchangeCounters;
use mintmark_model::escrow::{Amendment, End};
use mintmark_model::{Counters, KeyState, Reason, Refusal, UnitState};
use mintmark_pki::ClusterRole;
use mintmark_store::{Key, Range};

use crate::call::{Call, Carry, CommitFailure};
use crate::counting::Credit;
use crate::disk::allotment::{AllotmentRecord, UnitRecord};
use crate::disk::granted::{CreditRecord, GrantedRecord};
use crate::disk::key::{KeyKind, KeyRecord, state_number};
use crate::disk::peer::HeldRecord;
use crate::disk::{self, peer};
use crate::host::untrusted;
use crate::pending::PendingRow;
use crate::{escrows, keys, tables, units};

/// How many bytes of rows, and how many units, are read at once.
const PAGE_BYTES: usize = 1 << 20;
const PAGE_UNITS: usize = 4_096;
/// How many given keys a closing destroys.
const GIVEN_MAX: usize = 65_536;

impl Call {
    /// Closes an allotment of the calling plugin for ever, and states what became of it. The
    /// statement is the same at each repetition.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`; `WRONG_STATE` while rows about it have no receipt, or too many units are in
    /// doubt; `CONFLICT` while units are being drawn.
    pub async fn export_closing(&mut self, entitlement: &str) -> Result<Vec<u8>, Refusal> {
        self.check_claim("closing")?;
        let plugin = self.plugin_name()?;
        let place = tables::pair(tables::ALLOTMENTS, &plugin, entitlement);
        let record: Option<AllotmentRecord> = self.read(&place).await?;
        let record = record.ok_or_else(|| Refusal::not_found("entitlement"))?;
        let stated = Key::new(tables::CLOSINGS, entitlement.as_bytes());
        if let Some(statement) = self.read::<Vec<u8>>(&stated).await? {
            return Ok(statement);
        }
        let grant = units::grant_of(&record)?;
        let after = self.refuse_unreceipted(entitlement).await?;
        let mut counters = self.fixed_counters(entitlement).await?;
        if !record.is_closed() {
            let destroyed = self.end_allotment(&place, record, &grant).await?;
            counters.unused =
                counters.unused.checked_sub(destroyed).ok_or_else(|| self.overtaken())?;
            counters.destroyed += destroyed;
        }
        let statement = ClosingStatement {
            version: closing::VERSION,
            site: self.host.identity.uri(),
            exporter: grant.exporter.clone(),
            entitlement: entitlement.to_owned(),
            number: grant.number,
            counters: ExchangeCounters::from_values(counters.in_row_order()),
            limit: grant.terms.total,
            in_doubt: self.in_doubt(entitlement, counters.in_doubt()).await?,
            after,
            made_at: self.now_ms(),
        };
        let signed = self.host.identity.sign_order(CLOSING, canonical::encode(&statement));
        self.taint();
        self.record(Event::ClosingExported {
            entitlement: entitlement.to_owned(),
            statement: signed.digest(CLOSING),
        });
        let encoded = signed.encode();
        self.view.write(stated, &encoded);
        Ok(encoded)
    }

    /// Takes a site's closing statement: from now on its unused units count no more as credited.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE`, `WRONG_SITE`; `NOT_FOUND` for an entitlement that this host did not
    /// grant to that site; `REPLAYED`; `WRONG_STATE` for a statement that is not the one that the
    /// receipted bundles lead to, or before those are here.
    pub async fn import_closing(&mut self, order: &[u8]) -> Result<Vec<u8>, Refusal> {
        let imported = self.take_closing(order).await;
        self.whole(imported)
    }

    async fn take_closing(&mut self, order: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.check_claim("closing")?;
        let order = SignedOrder::decode(order).map_err(|_| untrusted())?;
        let statement = self.verify_closing(&order)?;
        let place = tables::pair(tables::GRANTED, &statement.site, &statement.entitlement);
        let record: Option<GrantedRecord> = self.read(&place).await?;
        let mut record = record.ok_or_else(|| Refusal::not_found("entitlement"))?;
        if record.closed.is_some() {
            let detail = "The entitlement's closing statement is here already; nothing changed.";
            return Err(
                Refusal::new(Reason::Replayed, detail).with("entitlement", statement.entitlement)
            );
        }
        self.compare(&record, &statement).await?;
        let digest = order.digest(CLOSING);
        record.closed = Some(digest);
        self.credit_back(&record.product, &statement).await?;
        self.view.write(place, record);
        let stated = tables::pair(tables::CLOSINGS, &statement.site, &statement.entitlement);
        self.view.write(stated, order.encode());
        self.record(Event::ClosingImported {
            entitlement: statement.entitlement,
            statement: digest,
            site: statement.site,
        });
        Ok(order.body)
    }

    fn verify_closing(&self, order: &SignedOrder) -> Result<ClosingStatement, Refusal> {
        let statement: ClosingStatement = order.open().map_err(|_| untrusted())?;
        let chain = self.host.identity.verify_order(CLOSING, order, statement.made_at)?;
        let cluster = chain.id().cluster();
        if cluster.role() != ClusterRole::Site || cluster.to_string() != statement.site {
            return Err(untrusted());
        }
        if statement.exporter != self.host.identity.uri() {
            let detail = "The statement is about an entitlement of another headquarters.";
            return Err(Refusal::new(Reason::WrongSite, detail));
        }
        if statement.check().is_err() {
            tracing::warn!("a closing statement contradicts itself");
            return Err(untrusted());
        }
        Ok(statement)
    }

    /// The final sum must be that of the receipted bundles: nothing can have come or gone since.
    async fn compare(
        &mut self,
        record: &GrantedRecord,
        statement: &ClosingStatement,
    ) -> Result<(), Refusal> {
        let held = self.held(&statement.site).await?;
        let Position { sequence, hash } = statement.after;
        let known = held.iter().any(|held: &HeldRecord| {
            held.sequence > sequence || (held.sequence, held.hash) == (sequence, hash)
        });
        let reported = record.reported.filter(|_| known).ok_or_else(|| {
            let detail = "The site's last bundles are not here; ingest them first.";
            Refusal::new(Reason::WrongState, detail)
        })?;
        let (was, is) = (Counters::from_row_order(reported.counters), statement.counters.values());
        let is = Counters::from_row_order(is);
        let destroyed = was.unused.saturating_add(was.destroyed);
        let same = was.credited == is.credited
            && was.drawn() == is.drawn()
            && destroyed == is.destroyed
            && record.number == statement.number
            && reported.limit == statement.limit;
        if same {
            return Ok(());
        }
        let detail = "The statement's counters are not those of the bundles; ingest the newest.";
        Err(Refusal::new(Reason::WrongState, detail))
    }

    /// What was destroyed unused can be credited elsewhere.
    async fn credit_back(
        &mut self,
        product: &str,
        statement: &ClosingStatement,
    ) -> Result<(), Refusal> {
        let place = tables::pair(tables::CREDITS, &statement.site, product);
        let mut credits: Vec<CreditRecord> = self.read(&place).await?.unwrap_or_default();
        let mut left = statement.counters.destroyed;
        let own = credits.iter_mut().filter(|one| one.entitlement == statement.entitlement);
        for credit in own {
            let back = credit.units.min(left);
            credit.units -= back;
            left -= back;
        }
        self.view.write(place, credits);
        Ok(())
    }

    /// Ends an allotment: unused units and keys are destroyed. Says how many units that were.
    async fn end_allotment(
        &mut self,
        place: &Key,
        mut record: AllotmentRecord,
        grant: &Grant,
    ) -> Result<u64, Refusal> {
        let host = Arc::clone(&self.host);
        let (plugin, entitlement) = (&record.plugin, &grant.entitlement);
        let escrow = host.escrows.of(&*host.store, plugin, entitlement, host.start()).await?;
        let withheld = escrow.withhold(u64::MAX);
        let destroyed = withheld.units();
        if destroyed != escrow.unused() {
            let detail = "Units are being drawn; the same request can succeed when they are.";
            return Err(Refusal::new(Reason::Conflict, detail).retry_after(100));
        }
        record.end |= AllotmentRecord::CLOSED;
        record.closed_at = Some(self.now_ms());
        let plugin = record.plugin.clone();
        self.view.write(place.clone(), record);
        self.credits.push(Credit::destroyed(grant, destroyed));
        let amendment = Amendment {
            added: 0,
            taken: 0,
            destroyed,
            not_after: grant.terms.not_after,
            end: Some(End::Closed),
        };
        self.amendments.push((withheld, amendment));
        let entitlement = grant.entitlement.clone();
        let event = Event::Closed { entitlement: entitlement.clone(), destroyed };
        let row = PendingRow::plain(self.began, event);
        self.rows.push(PendingRow { allotment: Some(entitlement), ..row });
        for name in [keys::batch_name(&grant.entitlement), keys::set_name(&grant.entitlement)] {
            self.destroy_held(&plugin, &name).await?;
        }
        self.destroy_given(&grant.entitlement).await?;
        Ok(destroyed)
    }

    /// Destroys a key that an allotment held, where there is one.
    async fn destroy_held(&mut self, plugin: &str, name: &str) -> Result<(), Refusal> {
        let place = tables::pair(tables::KEYS, plugin, name);
        let Some(mut record) = self.read::<KeyRecord>(&place).await? else { return Ok(()) };
        record.state = state_number(KeyState::Destroyed);
        record.sealed.clear();
        let event = match &record.kind {
            KeyKind::KeySet { size, .. } => {
                Event::KeySetDestroyed { key_set: name.to_owned(), size: *size }
            }
            _ => {
                let key_hash = record.public_key.as_deref();
                let key_hash = key_hash.map(mintmark_crypto::digest::sha256);
                Event::KeyDestroyed { key: name.to_owned(), key_hash }
            }
        };
        self.record(event);
        self.view.write(place, record);
        Ok(())
    }

    /// Destroys given keys that are left. Of a great many only so many as one transaction takes;
    /// the others belong to units that nobody can draw any more.
    async fn destroy_given(&mut self, entitlement: &str) -> Result<(), Refusal> {
        let range = Range::all(tables::POOL_KEYS, tables::prefix(entitlement, b""));
        let left = self.view.peek_range(&range.limit(GIVEN_MAX)).await?;
        if left.is_empty() {
            return Ok(());
        }
        let size = left.len() as u64;
        self.record(Event::KeySetDestroyed { key_set: keys::set_name(entitlement), size });
        left.into_iter().for_each(|(key, _)| self.view.delete(key));
        Ok(())
    }

    /// Closes an allotment that was paused for too long after its window, in a transaction of the
    /// host's own: whatever comes of this call.
    pub(crate) async fn close_if_due(&mut self, place: &Key) -> Result<(), Refusal> {
        let record: Option<AllotmentRecord> = self.view.peek(place).await?;
        let Some(record) = record.filter(|record| !record.is_closed()) else { return Ok(()) };
        if self.host.committer.is_poisoned() || self.check_written().is_err() {
            return Ok(());
        }
        if self.began.suspect || !is_over(&units::grant_of(&record)?, self.now_ms()) {
            return Ok(());
        }
        let host = Arc::clone(&self.host);
        let session = host.own_session("CloseAllotment");
        let mut own = Self::begin(Arc::clone(&host), session, Carry::default()).await?;
        let record: Option<AllotmentRecord> = own.read(place).await?;
        let Some(record) = record.filter(|record| !record.is_closed()) else { return Ok(()) };
        let grant = units::grant_of(&record)?;
        own.end_allotment(place, record, &grant).await?;
        match own.commit().await {
            // Another call was faster, and has closed or extended it.
            Ok(()) | Err(CommitFailure::Conflict(_)) => {}
            Err(CommitFailure::Refused(refusal)) => return Err(refusal),
        }
        if self.view.refresh(&*host.store).await? { Ok(()) } else { Err(self.overtaken()) }
    }

    /// Closes every allotment whose time is over.
    pub(crate) async fn close_all_due(&mut self) -> Result<(), Refusal> {
        for (place, _) in self.all_allotments().await? {
            self.close_if_due(&place).await?;
        }
        Ok(())
    }

    /// Refuses while there are rows about the entitlement that headquarters does not hold, except
    /// those of the closing itself; gives the last row that it holds.
    async fn refuse_unreceipted(&mut self, entitlement: &str) -> Result<Position, Refusal> {
        let identity = &self.host.identity;
        let node = identity.node.clone();
        let place = tables::pair(tables::HELD, &identity.uri(), node.as_bytes());
        let held: Option<peer::HeldRecord> = self.read(&place).await?;
        // What headquarters holds of a ledger that this one replaced says nothing of this one.
        let incarnation = self.host.identity.incarnation;
        let held = held.filter(|held| held.incarnation == incarnation).ok_or_else(unreceipted)?;
        // What this very call does to it can have no receipt.
        let own = self.rows.iter().any(|row| must_be_receipted(&row.event, entitlement));
        if own || self.works().any(|work| work.grant.entitlement == entitlement) {
            return Err(unreceipted());
        }
        let after = Position { sequence: held.sequence, hash: held.hash };
        let mut at = after.sequence;
        loop {
            let rows = self.view.rows(&node, at, PAGE_BYTES).await?;
            let Some(last) = rows.last() else { return Ok(after) };
            at = last.sequence;
            for row in &rows {
                let row = Row::decode(&row.encoded).map_err(|_| damaged())?;
                if must_be_receipted(&row.body.event, entitlement) {
                    return Err(unreceipted().with("row", row.sequence.to_string()));
                }
            }
        }
    }

    /// The counters of an allotment, which must not change before the commit.
    async fn fixed_counters(&mut self, entitlement: &str) -> Result<Counters, Refusal> {
        for position in 0..10 {
            let _fixed = self.view.get(&tables::counter(entitlement, position)).await?;
        }
        escrows::counters(&self.view, entitlement).await
    }

    /// The units whose end nobody knows yet, `count` of them. Their counters are fixed, so none of
    /// them moves before the commit.
    async fn in_doubt(&mut self, entitlement: &str, count: u64) -> Result<Vec<u64>, Refusal> {
        if count > IN_DOUBT_MAX as u64 {
            let detail = format!("{count} units are in doubt; confirm, fail or scrap some first.");
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let mut found = Vec::new();
        let prefix = tables::prefix(entitlement, b"");
        let mut range = Range::all(tables::UNITS, prefix).limit(PAGE_UNITS);
        while (found.len() as u64) < count {
            let page = self.view.peek_range(&range).await?;
            let Some((last, _)) = page.last() else { return Err(damaged()) };
            range = range.after(last.key.clone());
            for (key, value) in &page {
                let unit: UnitRecord = disk::read(value)?;
                if matches!(unit.state(), UnitState::Reserved | UnitState::Issued) {
                    found.push(escrows::unit_number(&key.key));
                }
            }
        }
        Ok(found)
    }
}

impl AllotmentRecord {
    /// The bits of [`AllotmentRecord::end`].
    pub(crate) const REVOKED: u8 = 1;
    pub(crate) const CLOSED: u8 = 2;

    /// Whether units and keys are destroyed.
    pub(crate) fn is_closed(&self) -> bool {
        self.end & Self::CLOSED != 0
    }
}

/// Whether an allotment was paused for as long as its terms allow.
fn is_over(grant: &Grant, now_ms: u64) -> bool {
    let pause_ms = grant.terms.max_pause_seconds.saturating_mul(1_000);
    now_ms > grant.terms.not_after.saturating_add(pause_ms)
}

/// Whether a row says what headquarters must know before the entitlement is closed.
fn must_be_receipted(event: &Event, closing: &str) -> bool {
    match event {
        Event::Unit(unit) => unit.entitlement == closing,
        Event::GrantImported { entitlement, .. }
        | Event::DirectiveImported { entitlement, .. }
        | Event::HandedOver { entitlement, .. }
        | Event::UnusedLost { entitlement, .. }
        | Event::CrlIssued { entitlement, .. } => entitlement == closing,
        _ => false,
    }
}

fn damaged() -> Refusal {
    let detail = "The ledger or the units cannot be read; run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}

fn unreceipted() -> Refusal {
    let detail = "Rows about the entitlement have no receipt yet; export a bundle and import \
                  headquarters' receipt first.";
    Refusal::new(Reason::WrongState, detail)
}
