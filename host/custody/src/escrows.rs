//! The escrows of this node, opened when an allotment is first used.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mintmark_exchange::grant::Terms;
use mintmark_model::escrow::{Amendment, Draft, End, Escrow, Held, Lease, Limits, Moment, Opening};
use mintmark_model::rate::Rate;
use mintmark_model::{Counters, Reason, Refusal, UnitState};
use mintmark_store::{Key, Range};

use crate::disk::{allotment::AllotmentRecord, time::WindowsRecord};
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

/// The start of the host.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// Which ledger it goes on with.
    pub(crate) incarnation: u64,
    /// The monotonic clock in the row that says so.
    pub(crate) monotonic_ms: u64,
}

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
    /// The escrow of a plugin's allotment; opened from the store if it is not open yet.
    ///
    /// While it is being opened nobody can draw, and whoever changes a unit has it open first, so
    /// the counters that the view has are the ones that later changes apply to.
    pub(crate) async fn of(
        &self,
        store: &dyn mintmark_store::Store,
        plugin: &str,
        entitlement: &str,
        start: Start,
    ) -> Result<SharedEscrow, Refusal> {
        let mut open = self.open.lock().await;
        if let Some(escrow) = open.get(entitlement) {
            return Ok(escrow.clone());
        }
        let view = View::new(store).await?;
        let opening = opening(&view, plugin, entitlement, start).await?;
        let escrow = SharedEscrow(Arc::new(Mutex::new(Escrow::open(opening))));
        open.insert(entitlement.to_owned(), escrow.clone());
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

    /// What the rate windows held before the unit was drawn.
    pub(crate) fn held(&self) -> Option<&Held> {
        self.draft.as_ref().map(|draft| &draft.held)
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

    /// Its number can't be used, as the serial number that goes with it is another device's.
    pub(crate) fn set_aside(mut self) {
        if let Some(draft) = self.draft.take() {
            self.escrow.lock().set_aside(draft);
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
    plugin: &str,
    entitlement: &str,
    start: Start,
) -> Result<Opening, Refusal> {
    let counters = counters(view, entitlement).await?;
    // Lease, end and limits as the counters: of now, not of when the caller looked.
    let place = tables::pair(tables::ALLOTMENTS, plugin, entitlement);
    let allotment: Option<AllotmentRecord> = view.peek(&place).await?;
    let allotment = allotment.ok_or_else(|| {
        let detail = "The entitlement's import is not committed yet.";
        Refusal::new(Reason::WrongState, detail)
    })?;
    let grant = crate::units::grant_of(&allotment)?;
    if !counters.add_up() {
        return Err(crate::call::unbalanced());
    }
    let limits = limits(&grant.terms);
    let next = next_number(view, entitlement).await?;
    let free = match next == counters.drawn() {
        true => BTreeSet::new(),
        false => free_numbers(view, entitlement, next).await?,
    };
    let rates = &limits.rates;
    let held = held(view, entitlement, rates, counters.drawn(), start.incarnation).await?;
    Ok(Opening {
        limits,
        end: end(&allotment),
        counters,
        next,
        free,
        held,
        lease: Lease { receipted_drawn: allotment.receipted_drawn, due: allotment.receipt_due },
        // Whatever is in the store was reserved before this start.
        monotonic_ms: start.monotonic_ms,
    })
}

/// One more than the highest number of a unit.
async fn next_number(view: &View, entitlement: &str) -> Result<u64, Refusal> {
    let range = Range::all(tables::UNITS, tables::prefix(entitlement, b"")).limit(1).reversed();
    let found = view.peek_range(&range).await?;
    Ok(found.first().map_or(0, |(key, _)| unit_number(&key.key) + 1))
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

/// For each rate, the units that count as reserved at this start. What is not on record may have
/// been anything up to the rate.
async fn held(
    view: &View,
    entitlement: &str,
    rates: &[Rate],
    drawn: u64,
    incarnation: u64,
) -> Result<Vec<u64>, Refusal> {
    let record: Option<WindowsRecord> = view.peek(&windows_place(entitlement)).await?;
    Ok(match record.filter(|record| record.incarnation == incarnation) {
        Some(record) => record.held().at_start(rates, drawn),
        None => rates.iter().map(|rate| rate.units).collect(),
    })
}

/// Where it is kept what the rate windows of an allotment held.
pub(crate) fn windows_place(entitlement: &str) -> Key {
    Key::new(tables::WINDOWS, entitlement.as_bytes())
}
