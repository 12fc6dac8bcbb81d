//! The escrows of this node, opened when an allotment is first used.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mintmark_exchange::grant::{Grant, Terms};
use mintmark_model::escrow::{Amendment, Draft, End, Escrow, Lease, Limits, Moment, Opening};
use mintmark_model::rate::Rate;
use mintmark_model::{Counters, Reason, Refusal, UnitState};
use mintmark_store::Range;

use crate::disk::{self, allotment::AllotmentRecord, allotment::UnitRecord};
use crate::tables;
use crate::view::View;

/// Escrows by entitlement.
#[derive(Default)]
pub(crate) struct Escrows {
    open: tokio::sync::Mutex<HashMap<String, SharedEscrow>>,
}

/// An escrow that calls share.
#[derive(Clone)]
pub(crate) struct SharedEscrow(Arc<Mutex<Escrow>>);

/// Unused units that an order which is not committed yet wants; dropping it gives them back.
pub(crate) struct Withheld {
    escrow: SharedEscrow,
    units: u64,
}

/// A unit that was drawn and is not committed; dropping it gives the unit back.
pub(crate) struct Reservation {
    escrow: SharedEscrow,
    draft: Option<Draft>,
}

impl Escrows {
    /// The escrow of an allotment; opened from the store if it is not open yet.
    ///
    /// While it is being opened nobody can draw, and whoever changes a unit has it open first, so
    /// the counters that the view has are the ones that later changes apply to.
    pub(crate) async fn of(
        &self,
        store: &dyn mintmark_store::Store,
        grant: &Grant,
        allotment: &AllotmentRecord,
        started_ms: u64,
    ) -> Result<SharedEscrow, Refusal> {
        let mut open = self.open.lock().await;
        if let Some(escrow) = open.get(&grant.entitlement) {
            return Ok(escrow.clone());
        }
        let view = View::new(store).await?;
        let opening = opening(&view, grant, allotment, started_ms).await?;
        let escrow = SharedEscrow(Arc::new(Mutex::new(Escrow::open(opening))));
        open.insert(grant.entitlement.clone(), escrow.clone());
        Ok(escrow)
    }

    /// The escrow of an allotment, if it is open.
    pub(crate) async fn opened(&self, entitlement: &str) -> Option<SharedEscrow> {
        self.open.lock().await.get(entitlement).cloned()
    }
}

impl SharedEscrow {
    /// Decides whether one more unit may be reserved; `now` is read under the lock, so that
    /// decisions are in the order of their times.
    pub(crate) fn draw(&self, now: impl FnOnce() -> Moment) -> Result<Reservation, Refusal> {
        let draft = {
            let mut escrow = self.lock();
            escrow.draw(now())?
        };
        Ok(Reservation { escrow: self.clone(), draft: Some(draft) })
    }

    /// A committed unit went from one state to another.
    pub(crate) fn moved(&self, from: UnitState, to: UnitState) {
        self.lock().moved(from, to);
    }

    /// Unused units, as committed.
    pub(crate) fn unused(&self) -> u64 {
        self.lock().unused()
    }

    /// Keeps at most `units` unused units from being drawn.
    pub(crate) fn withhold(&self, units: u64) -> Withheld {
        let units = self.lock().withhold(units);
        Withheld { escrow: self.clone(), units }
    }

    /// A receipt was committed.
    pub(crate) fn renew(&self, lease: Lease) {
        self.lock().renew(lease);
    }

    fn lock(&self) -> MutexGuard<'_, Escrow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Withheld {
    /// How many there are.
    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// The order is committed.
    pub(crate) fn settle(mut self, amendment: Amendment) {
        // What the amendment uses up is released by it.
        self.units = self.units.saturating_sub(amendment.taken + amendment.destroyed);
        self.escrow.lock().amend(amendment);
    }

    /// Nobody knows whether the order is committed: the units stay away until the next start looks.
    pub(crate) fn leave_in_doubt(mut self) {
        self.units = 0;
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        if self.units > 0 {
            self.escrow.lock().release(self.units);
        }
    }
}

impl Reservation {
    /// The unit's number.
    pub(crate) fn number(&self) -> u64 {
        self.draft.as_ref().map_or(u64::MAX, |draft| draft.number)
    }

    /// The unit is committed, in `state`.
    pub(crate) fn settle(mut self, state: UnitState) {
        let Some(draft) = self.draft.take() else { return };
        let mut escrow = self.escrow.lock();
        escrow.settle(draft);
        if state != UnitState::Reserved {
            escrow.moved(UnitState::Reserved, state);
        }
    }

    /// Nobody knows whether the unit is committed: it stays taken until the next start looks.
    pub(crate) fn leave_in_doubt(mut self) {
        if let Some(draft) = self.draft.take() {
            let _in_doubt: Draft = draft;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.escrow.lock().give_back(draft);
        }
    }
}

/// The limits that a grant's terms mean.
pub(crate) fn limits(terms: &Terms) -> Limits {
    let rate = |rate: &mintmark_exchange::grant::Rate| Rate {
        units: rate.units,
        per_ms: rate.per_seconds.saturating_mul(1_000),
    };
    Limits {
        not_before: terms.not_before,
        not_after: terms.not_after,
        rates: terms.rates.iter().map(rate).collect(),
        max_in_doubt: terms.max_in_doubt,
        audit_return_units: terms.audit_return.units,
    }
}

/// Whether and how an allotment has ended.
pub(crate) fn end(allotment: &AllotmentRecord) -> Option<End> {
    match allotment.end {
        0 => None,
        // What was revoked releases nothing more, also once it is closed.
        AllotmentRecord::REVOKED | 3 => Some(End::Revoked),
        _ => Some(End::Closed),
    }
}

/// The counters of an allotment, as the view has them.
pub(crate) async fn counters(view: &View, entitlement: &str) -> Result<Counters, Refusal> {
    let mut values = [0; 10];
    for (position, value) in values.iter_mut().enumerate() {
        *value = view.counter(&tables::counter(entitlement, position)).await?;
    }
    Ok(Counters::from_row_order(values))
}

async fn opening(
    view: &View,
    grant: &Grant,
    allotment: &AllotmentRecord,
    started_ms: u64,
) -> Result<Opening, Refusal> {
    let counters = counters(view, &grant.entitlement).await?;
    let place = tables::pair(tables::ALLOTMENTS, &allotment.plugin, &grant.entitlement);
    if view.peek::<AllotmentRecord>(&place).await?.is_none() {
        let detail = "The entitlement's import is not committed yet.";
        return Err(Refusal::new(Reason::WrongState, detail));
    }
    if !counters.add_up() {
        return Err(crate::call::unbalanced());
    }
    let limits = limits(&grant.terms);
    let newest = newest_units(view, &grant.entitlement, 1).await?;
    let next = newest.first().map_or(0, |(number, _)| number + 1);
    let free = match next == counters.drawn() {
        true => BTreeSet::new(),
        false => free_numbers(view, &grant.entitlement, next).await?,
    };
    let mut held = Vec::with_capacity(limits.rates.len());
    for rate in &limits.rates {
        held.push(held_by(view, &grant.entitlement, *rate).await?);
    }
    Ok(Opening {
        limits,
        end: end(allotment),
        counters,
        next,
        free,
        held,
        lease: Lease { receipted_drawn: allotment.receipted_drawn, due: allotment.receipt_due },
        // Whatever is in the store was reserved before this start.
        monotonic_ms: started_ms,
    })
}

/// The units with the highest numbers, highest first.
async fn newest_units(
    view: &View,
    entitlement: &str,
    limit: usize,
) -> Result<Vec<(u64, UnitRecord)>, Refusal> {
    let range = Range::all(tables::UNITS, tables::prefix(entitlement, b"")).limit(limit).reversed();
    let found = view.peek_range(&range).await?;
    found
        .iter()
        .map(|(key, value)| Ok((unit_number(&key.key), disk::read(value)?)))
        .collect::<Result<_, Refusal>>()
}

/// The number at the end of a unit's key.
pub(crate) fn unit_number(key: &[u8]) -> u64 {
    key.last_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number))
}

/// Numbers below `next` that no unit has: draws that came to nothing before the host stopped.
async fn free_numbers(view: &View, entitlement: &str, next: u64) -> Result<BTreeSet<u64>, Refusal> {
    const PAGE: usize = 4_096;
    let mut free: BTreeSet<u64> = (0..next).collect();
    let mut range = Range::all(tables::UNITS, tables::prefix(entitlement, b"")).limit(PAGE);
    loop {
        let page = view.peek_range(&range).await?;
        for (key, _) in &page {
            free.remove(&unit_number(&key.key));
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => range = range.after(last.key.clone()),
            _ => return Ok(free),
        }
    }
}

/// How many units the last window of a rate held. Units are numbered in about the order of their
/// draws; a draw that waited for its commit may be a call's deadline late, so the count goes that
/// much further back. It can only be too high, never beyond the rate.
async fn held_by(view: &View, entitlement: &str, rate: Rate) -> Result<u64, Refusal> {
    const SLACK_MS: u64 = 10_000;
    /// A number that was given back is drawn again, out of the order of numbers; so many at the
    /// most, since only calls under way can give back.
    const REUSED_MAX: usize = 4_096;
    let units = usize::try_from(rate.units).unwrap_or(usize::MAX);
    let limit = units.saturating_add(REUSED_MAX).min(100_000);
    let newest = newest_units(view, entitlement, limit).await?;
    let Some(last) = newest.iter().map(|(_, unit)| unit.reserved_at).max() else { return Ok(0) };
    let since = last.saturating_sub(rate.per_ms + SLACK_MS);
    let held = newest.iter().filter(|(_, unit)| unit.reserved_at > since).count();
    // Beyond what was looked at, the window counts as full.
    Ok(if held == limit { rate.units } else { rate.units.min(held as u64) })
}
