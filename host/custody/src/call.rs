//! One invocation: the unit of work.
//!
//! Host functions are methods of [`Call`]. They read one snapshot and this call's own writes;
//! nothing is written before [`Call::commit`], which hands records, counters, units and ledger rows
//! to the committer as one transaction and returns when it is durable and anchored. Only then may
//! anything that the call made be released.
//!
//! A call that used a limited key is *tainted*: its certificate or sealed key exists. If such a
//! call fails, what the key did is committed all the same, so that nothing can be carried out that
//! was not counted. And where a call that fails holds anything that no row accounts for yet (a
//! signature, a decrypted text), not a word of the plugin's travels.

use std::collections::BTreeMap;
use std::sync::Arc;

use mintmark_crypto::SecretBytes;
use mintmark_exchange::canonical;
use mintmark_exchange::row::{Event, PluginRef, ROW_DELAY_MS_MAX, RowBody};
use mintmark_model::escrow::{Amendment, Lease, Moment};
use mintmark_model::{Counters, Principal, Reason, Refusal, UnitState};
use mintmark_store::{CommitError, Key, NewRow, Transaction, Version};
use serde::{Serialize, de::DeserializeOwned};

use crate::claims::Claim;
use crate::clock::ClockWord;
use crate::counting::{Counting, Credit};
use crate::escrows::Withheld;
use crate::host::Host;
use crate::outcomes::{Merged, OutcomeKey};
use crate::pending::PendingRow;
use crate::room::StorageState;
use crate::types::{PluginClaims, Session};
use crate::units::work::{Carried, UnitWork, Which};
use crate::view::View;

/// One invocation, on behalf of one principal and at most one plugin.
pub struct Call {
    pub(crate) host: Arc<Host>,
    pub(crate) session: Session,
    pub(crate) began: Moment,
    /// When the first run of the call began, on the monotonic clock.
    first_ms: u64,
    /// What there was room for when it began.
    pub(crate) room: StorageState,
    pub(crate) view: View,
    pub(crate) rows: Vec<PendingRow>,
    pub(crate) units: BTreeMap<(String, u64), UnitWork>,
    pub(crate) carried: BTreeMap<(String, String), Carried>,
    pub(crate) remember: Vec<[u8; 32]>,
    pub(crate) renewals: Vec<(String, Lease)>,
    pub(crate) credits: Vec<Credit>,
    pub(crate) clock_words: Vec<ClockWord>,
    /// What the escrows hear of directives and closings, once they are committed.
    pub(crate) amendments: Vec<(Withheld, Amendment)>,
    pub(crate) notes: u32,
    /// A draw gave a unit that was there before.
    pub(crate) found_drawn: bool,
    /// Bytes of keys and values that the plugin wrote.
    pub(crate) record_bytes: usize,
    /// Refusals of other calls whose rows this one writes.
    pub(crate) counted: Vec<Merged>,
    claims: Vec<Claim>,
    rerun: bool,
    /// Something was signed that is on no record unless the call commits.
    signed: bool,
    /// An act was refused half way: what it left in the call must not be committed.
    broken: Option<Reason>,
    /// A message of headquarters' stream that came in with this call.
    pub(crate) arrival: Option<Arrival>,
}

/// The longest time that a plugin may run for, and that after its begin a call may begin again, in
/// milliseconds.
pub const CALL_MS_MAX: u64 = ROW_DELAY_MS_MAX / 4;

/// A message of headquarters' stream, taken off it: kept even where the call then fails, or the
/// stream would stand still for ever at a message that this site refuses.
pub(crate) struct Arrival {
    pub(crate) reads: Vec<(Key, Version)>,
    pub(crate) writes: Vec<(Key, SecretBytes)>,
    pub(crate) events: Vec<Event>,
    /// Headquarters' time.
    pub(crate) sent_at: u64,
}

/// What a call hands to its rerun: units that it drew and what they released, so that nothing is
/// signed twice.
#[derive(Default)]
pub struct Carry {
    units: BTreeMap<(String, String), Carried>,
    claims: Vec<Claim>,
    /// What was begun with room is brought to its end.
    room: Option<StorageState>,
    /// When the first run began, on the monotonic clock.
    first_ms: Option<u64>,
}

/// Why a call was not committed.
pub enum CommitFailure {
    /// Another call was faster; run it again with what this one made.
    Conflict(Carry),
    /// It cannot be committed.
    Refused(Refusal),
}

/// How a failed call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aborted {
    /// Something was made that no caller may see: the caller gets `PLUGIN_FAULT` and not a word of
    /// the plugin's.
    pub tainted: bool,
    /// What the call read may never have been anchored: the caller gets this, and not a word of the
    /// plugin's.
    pub unwritten: Option<Refusal>,
}

impl Call {
    /// Begins a call.
    pub(crate) async fn begin(
        host: Arc<Host>,
        session: Session,
        carry: Carry,
    ) -> Result<Self, Refusal> {
        let began = host.clock.now();
        let room = carry.room.unwrap_or_else(|| host.room.state(began.monotonic_ms));
        let view = View::new(&*host.store).await?;
        Ok(Self {
            host,
            session,
            began,
            first_ms: carry.first_ms.unwrap_or(began.monotonic_ms),
            room,
            view,
            rows: Vec::new(),
            units: BTreeMap::new(),
            carried: carry.units,
            remember: Vec::new(),
            renewals: Vec::new(),
            credits: Vec::new(),
            clock_words: Vec::new(),
            amendments: Vec::new(),
            notes: 0,
            found_drawn: false,
            record_bytes: 0,
            counted: Vec::new(),
            claims: carry.claims,
            rerun: false,
            signed: false,
            broken: None,
            arrival: None,
        })
    }

    /// On whose behalf the call is made.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.session.principal
    }

    /// The call's name in logs and in the ledger: 32 hexadecimal digits.
    #[must_use]
    pub fn request_id(&self) -> String {
        hex::encode(self.session.request)
    }

    /// Site time of the call, in milliseconds: the same at each use.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.began.site_ms
    }

    /// Whether the clock can not be relied on.
    #[must_use]
    pub fn clock_suspect(&self) -> bool {
        self.began.suspect
    }

    /// Whether the call met another call's work and must be run again with [`Call::into_carry`].
    #[must_use]
    pub fn must_rerun(&self) -> bool {
        self.rerun
    }

    /// Whether the call made something that must not leave without its record: a limited key was
    /// used, or a signature was made. If it fails, not a word of the plugin's goes out.
    #[must_use]
    pub fn is_tainted(&self) -> bool {
        self.signed
            || self.units.values().any(UnitWork::is_released)
            || self.carried.values().any(Carried::is_released)
    }

    /// The plugin holds a signature that no row accounts for yet.
    pub(crate) fn taint(&mut self) {
        self.signed = true;
    }

    /// What a rerun goes on with.
    #[must_use]
    pub fn into_carry(mut self) -> Carry {
        self.take_carry()
    }

    /// Commits everything that the call did, durably, as one transaction.
    ///
    /// # Errors
    ///
    /// See [`CommitFailure`]. Nothing may be released then; a tainted call's units are committed as
    /// issued.
    pub async fn commit(mut self) -> Result<(), CommitFailure> {
        if let Some(reason) = self.broken {
            let detail = "The host refused an act of this call; nothing of it is kept.";
            let aborted = self.abort(reason).await;
            let refusal = if aborted.tainted { fault() } else { Refusal::new(reason, detail) };
            return Err(CommitFailure::Refused(refusal));
        }
        if !self.has_effects() {
            return self.answer_from_read().await;
        }
        if let Err(refusal) = self.check_effects() {
            self.abort(refusal.reason).await;
            return Err(CommitFailure::Refused(refusal));
        }
        self.adopt_carried();
        let transaction = self.transaction(Which::All);
        match self.host.committer.commit(transaction).await {
            Ok(_) => {
                self.settle(Which::All).await;
                Ok(())
            }
            Err(CommitError::Conflict | CommitError::LeaseLost) => {
                Err(CommitFailure::Conflict(self.take_carry()))
            }
            Err(CommitError::OutOfBounds { add }) => self.give_up(bound_reached(add)).await,
            Err(CommitError::Unbalanced { .. }) => self.give_up(unbalanced()).await,
            Err(CommitError::TooLarge) => {
                let detail = "The call wrote more than one transaction may hold.";
                self.give_up(Refusal::new(Reason::BudgetExceeded, detail)).await
            }
            Err(CommitError::Unavailable) => {
                self.leave_in_doubt();
                Err(CommitFailure::Refused(self.host.cannot_write()))
            }
        }
    }

    /// What was only read may come from a batch that is not anchored yet, and never will be if the
    /// platform failed: promise I2 is about that answer as well, be it a unit or a record in which
    /// a plugin kept what was released to it.
    async fn answer_from_read(self) -> Result<(), CommitFailure> {
        if self.found_drawn || self.must_be_settled() {
            let settled = self.host.committer.settled().await;
            return settled.map_err(|_| CommitFailure::Refused(self.host.cannot_write()));
        }
        Ok(())
    }

    /// Whether what the caller hears may come from a batch that is not anchored. A store that was
    /// opened to be read has none.
    fn must_be_settled(&self) -> bool {
        let anchored = self.host.committer.has_anchored(self.view.position().commit);
        self.session.plugin.is_some() && self.host.suspicion.is_none() && !anchored
    }

    /// Ends a call that failed: its writes are dropped, except what a limited key released. A row
    /// says what came of it.
    pub async fn abort(mut self, reason: Reason) -> Aborted {
        let tainted = self.is_tainted();
        self.adopt_carried();
        self.view.forget_writes();
        self.rows.retain(|row| row.unit.is_some());
        self.remember.clear();
        // A grant, a receipt or a directive that a failed call took is not taken.
        self.credits.clear();
        self.amendments.clear();
        self.renewals.clear();
        self.clock_words.clear();
        self.notes = 0;
        self.give_counted_back();
        let mut outcomes = self.outcome(reason);
        if self.room == StorageState::Ample {
            self.keep_arrival().await;
        } else {
            // Refusals are counted on, until there is room for their rows or a bundle takes them.
            self.host.outcomes.give_back(std::mem::take(&mut outcomes));
        }
        if !tainted && outcomes.is_empty() {
            let settled = !self.must_be_settled() || self.host.committer.settled().await.is_ok();
            return self.aborted(tainted, settled);
        }
        self.push_outcomes(outcomes);
        let transaction = self.transaction(Which::Released);
        let written = self.host.committer.commit(transaction).await;
        match &written {
            Ok(_) => self.settle(Which::Released).await,
            Err(error) => {
                tracing::warn!(%error, tainted, "the outcome of a call was not written");
                self.leave_in_doubt();
            }
        }
        let settled = written.is_ok() || !self.must_be_settled();
        self.aborted(tainted, settled)
    }

    fn aborted(&self, tainted: bool, settled: bool) -> Aborted {
        let unwritten = (!settled).then(|| self.host.cannot_write());
        Aborted { tainted, unwritten }
    }

    /// The plugin on whose behalf the call runs.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` in a call of the host's own services.
    pub(crate) fn plugin(&self) -> Result<&PluginClaims, Refusal> {
        let plugin = self.session.plugin.as_deref();
        plugin.ok_or_else(|| Refusal::denied("Only a plugin may ask for this."))
    }

    /// The name of the plugin on whose behalf the call runs.
    pub(crate) fn plugin_name(&self) -> Result<String, Refusal> {
        Ok(self.plugin()?.name.clone())
    }

    /// What `act` answers; if it refuses, the call can't be committed any more.
    pub(crate) fn whole<T>(&mut self, act: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &act {
            self.broken.get_or_insert(refusal.reason);
        }
        act
    }

    /// The stream moves on past a message that this call took and could not make use of.
    async fn keep_arrival(&mut self) {
        let Some(arrival) = self.arrival.take() else { return };
        let mut transaction = Transaction { reads: arrival.reads, ..Transaction::default() };
        let writes = arrival.writes.into_iter().map(|(key, value)| (key, Some(value)));
        transaction.writes.extend(writes);
        let now = self.host.clock.now();
        for event in arrival.events {
            let mut row = PendingRow::plain(self.began, event);
            if row.is_late(now) {
                row.moment = now;
            }
            let body = self.row_body(row);
            transaction.rows.push(NewRow { body, counters: Vec::new() });
        }
        // Another call that took the same message first has moved the stream already.
        match self.host.committer.commit(transaction).await {
            Ok(_) => self.host.clock.apply(ClockWord::Heard(arrival.sent_at)),
            Err(CommitError::Conflict) => {}
            Err(error) => tracing::error!(%error, "a message that arrived was not kept"),
        }
    }

    /// Whether the call may begin again, should others be faster: what its first run decided must
    /// not become too old.
    pub fn may_rerun(&self) -> bool {
        self.host.clock.now().monotonic_ms.saturating_sub(self.first_ms) <= CALL_MS_MAX
    }

    /// Adds a row.
    pub(crate) fn record(&mut self, event: Event) {
        self.rows.push(PendingRow::plain(self.began, event));
    }

    /// Reads a record; it must not change before the commit.
    pub(crate) async fn read<T>(&mut self, key: &Key) -> Result<Option<T>, Refusal>
    where
        T: Serialize + DeserializeOwned,
    {
        self.view.read(key).await
    }

    /// Claims `key` and sees to it that what the call knows is what the last holder left.
    ///
    /// # Errors
    ///
    /// `CONFLICT` where the call knows something older: then it [must rerun](Self::must_rerun).
    pub(crate) async fn claim(&mut self, key: &Key) -> Result<(), Refusal> {
        if self.claims.iter().any(|claim| claim.key() == key) {
            return Ok(());
        }
        let claim = match self.host.claims.try_take(key) {
            Some(claim) => claim,
            // Who waits while holding something could wait for somebody who waits for it.
            None if !self.claims.is_empty() => return Err(self.overtaken()),
            None => self.host.claims.take(key).await,
        };
        self.claims.push(claim);
        let host = Arc::clone(&self.host);
        if self.view.refresh(&*host.store).await? { Ok(()) } else { Err(self.overtaken()) }
    }

    /// The call met another call's work.
    pub(crate) fn overtaken(&mut self) -> Refusal {
        self.rerun = true;
        conflict()
    }

    fn has_effects(&self) -> bool {
        self.view.has_writes()
            || !self.rows.is_empty()
            || !self.remember.is_empty()
            || self.units.values().any(UnitWork::is_changed)
            || self.carried.values().any(Carried::is_released)
    }

    /// A first run released what the rerun did not come to: it is committed with the rest.
    fn adopt_carried(&mut self) {
        for (_, carried) in std::mem::take(&mut self.carried) {
            if let Some((work, rows)) = carried.into_released() {
                self.rows.extend(rows);
                self.units.insert(work.place(), work);
            }
        }
    }

    fn transaction(&mut self, which: Which) -> Transaction {
        let mut transaction = Transaction::default();
        self.view.drain_into(&mut transaction);
        if which == Which::Released {
            // Of a failed call only its own units matter; what else it read may have changed.
            transaction.reads.clear();
            transaction.scans.clear();
        }
        let mut counters = Counting::default();
        for credit in &self.credits {
            counters.credit(credit);
        }
        for work in self.units.values() {
            work.write_into(which, &mut transaction);
            work.count_into(which, &mut counters);
        }
        self.windows_into(which, &mut transaction);
        let first = counters.write_into(which, &mut transaction);
        // After those of the units: which of them left its bounds is told by its place.
        self.count_notes(&mut transaction);
        let now = self.host.clock.now();
        for mut row in std::mem::take(&mut self.rows) {
            let released = row.unit.as_ref().is_none_or(|unit| {
                self.units.get(unit).is_some_and(UnitWork::is_released) && row.is_release()
            });
            if which == Which::Released && !released {
                continue;
            }
            if row.is_late(now) {
                row.moment = now;
            }
            let indices = row.allotment.as_ref().and_then(|allotment| first.get(allotment));
            let counters = indices.map_or(Vec::new(), |first| (*first..*first + 10).collect());
            transaction.rows.push(NewRow { body: self.row_body(row), counters });
        }
        transaction.remember.append(&mut self.remember);
        transaction
    }

    /// A row of this call's, encoded.
    pub(crate) fn row_body(&self, row: PendingRow) -> Vec<u8> {
        let plugin = self.session.plugin.as_deref();
        canonical::encode(&RowBody {
            version: 1,
            time_ms: row.moment.site_ms,
            monotonic_ms: row.moment.monotonic_ms,
            boot: self.host.boot,
            clock_suspect: row.moment.suspect,
            plugin: plugin.map(|plugin| PluginRef {
                name: plugin.name.clone(),
                measurement: plugin.measurement,
            }),
            principal: row.principal.unwrap_or_else(|| self.session.principal.to_string()),
            request: self.session.request,
            event: row.event,
        })
    }

    /// Tells the escrows what is committed now.
    async fn settle(&mut self, which: Which) {
        for (_, work) in std::mem::take(&mut self.units) {
            work.settle(which);
        }
        for (entitlement, lease) in std::mem::take(&mut self.renewals) {
            if let Some(escrow) = self.host.escrows.opened(&entitlement).await {
                escrow.renew(lease);
            }
        }
        for word in std::mem::take(&mut self.clock_words) {
            self.host.clock.apply(word);
        }
        for (withheld, amendment) in std::mem::take(&mut self.amendments) {
            withheld.settle(amendment);
        }
    }

    /// Nobody knows what is durable: units stay taken until the next start looks.
    fn leave_in_doubt(&mut self) {
        for (_, work) in std::mem::take(&mut self.units) {
            work.leave_in_doubt();
        }
        for (withheld, _) in std::mem::take(&mut self.amendments) {
            withheld.leave_in_doubt();
        }
    }

    async fn give_up(mut self, refusal: Refusal) -> Result<(), CommitFailure> {
        // The rows went with the transaction that was refused.
        for work in self.units.values_mut().filter(|work| work.is_released()) {
            work.back_to_release();
            self.rows.extend(work.first_rows());
        }
        let reason = refusal.reason;
        let aborted = self.abort(reason).await;
        let refusal = if aborted.tainted { fault() } else { refusal };
        Err(CommitFailure::Refused(refusal))
    }

    /// The rows are not written; the next ones that are count what they would have said.
    fn give_counted_back(&mut self) {
        self.host.outcomes.give_back(std::mem::take(&mut self.counted));
    }

    fn take_carry(&mut self) -> Carry {
        self.give_counted_back();
        let mut units = std::mem::take(&mut self.carried);
        for (_, work) in std::mem::take(&mut self.units) {
            if let Some((key, carried)) = work.into_carried() {
                units.insert(key, carried);
            }
        }
        let first_ms = Some(self.first_ms);
        Carry { units, claims: std::mem::take(&mut self.claims), room: Some(self.room), first_ms }
    }

    fn outcome(&self, reason: Reason) -> Vec<Merged> {
        let key = OutcomeKey {
            principal: self.session.principal.to_string(),
            method: self.session.method.clone(),
            reason: reason.code().to_owned(),
        };
        self.host.outcomes.count(key, self.began.site_ms)
    }

    /// Adds rows for refusals.
    pub(crate) fn push_outcomes(&mut self, merged: Vec<Merged>) {
        for Merged { key, count } in merged {
            let own = count == 1 && key.method == self.session.method;
            let request_digest = if own { self.session.request_digest } else { [0; 32] };
            let OutcomeKey { principal, method, reason } = key;
            let event = Event::Outcome { method, reason, request_digest, count };
            let row = PendingRow::plain(self.began, event);
            self.rows.push(PendingRow { principal: Some(principal), ..row });
        }
    }
}

/// Another call was faster.
pub(crate) fn conflict() -> Refusal {
    let detail = "Another call changed the same thing; the same request can succeed.";
    Refusal::new(Reason::Conflict, detail).retry_after(20)
}

/// Another call came first to a limit that a counter's bound keeps; adds come in tens, in row
/// order.
fn bound_reached(add: usize) -> Refusal {
    if add % 10 == Counters::position(UnitState::Scrapped) {
        let detail = "The scrap allowance of the terms is used up; approvals are needed.";
        return Refusal::new(Reason::ApprovalRequired, detail);
    }
    Refusal::new(Reason::QuotaExhausted, "All units are taken; ask headquarters for more.")
}

/// What an allotment's counters say together is impossible.
pub(crate) fn unbalanced() -> Refusal {
    let detail = "The counters of the entitlement do not add up, so nothing is released; \
                  run `mintmark verify`.";
    Refusal::new(Reason::Unavailable, detail)
}

/// What a caller hears of a tainted call that failed.
pub(crate) fn fault() -> Refusal {
    let detail = "The plugin failed after a key was used; retry for the stored result.";
    Refusal::new(Reason::PluginFault, detail)
}
