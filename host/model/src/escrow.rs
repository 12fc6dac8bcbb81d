//! The escrow of an allotment: decides draws in memory, against what is committed and what is under
//! way.
//!
//! Many calls draw from one allotment at once, and each commits later, together with others. If
//! each read and wrote the counters, one of them would succeed per sync. So a draw is decided here,
//! provisionally: committed and tentative units together never exceed a limit, hence the escrow can
//! only be stricter than the store. The commit inserts rows that must not exist and adds to bounded
//! counters, which commute. A draw that comes to nothing is given back.

use std::collections::{BTreeMap, BTreeSet};

use crate::rate::{Rate, Window};
use crate::{Counters, Reason, Refusal, UnitState};

/// How long to wait where only draws under way stand in the way.
const TENTATIVE_WAIT_MS: u64 = 50;

/// The limits of an allotment, as its grant says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Begin of the window, site time in milliseconds.
    pub not_before: u64,
    /// End of the window, site time in milliseconds.
    pub not_after: u64,
    /// All must hold.
    pub rates: Vec<Rate>,
    /// The most units reserved or issued at once.
    pub max_in_doubt: u64,
    /// The most units reserved after the heads of the newest receipt.
    pub audit_return_units: u64,
}

/// What ends an allotment; nothing revives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Headquarters revoked it.
    Revoked,
    /// It was closed.
    Closed,
}

/// What the newest receipt says about an allotment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Units drawn up to the receipt's heads.
    pub receipted_drawn: u64,
    /// Site time at which reservations stop without a further receipt, in milliseconds.
    pub due: u64,
}

/// What a directive or a closing changes of an allotment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amendment {
    /// Units that are added.
    pub added: u64,
    /// Unused units that are taken back; they were withheld before.
    pub taken: u64,
    /// Unused units that are destroyed; they were withheld before.
    pub destroyed: u64,
    /// The end of the window from now on.
    pub not_after: u64,
    /// Whether it is over.
    pub end: Option<End>,
}

/// When a draw is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Site time in milliseconds.
    pub site_ms: u64,
    /// The monotonic clock in milliseconds.
    pub monotonic_ms: u64,
    /// Whether the clock can be relied on.
    pub suspect: bool,
}

/// A draw that was decided and is not committed yet.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a draft is settled or given back, else its unit is blocked until the next start"]
pub struct Draft {
    /// The unit's number.
    pub number: u64,
    /// When it was decided.
    pub moment: Moment,
    /// What the rate windows held before it.
    pub held: Held,
}

/// What a start needs to know of the rate windows, as of one draw's decision.
///
/// Kept in the transaction of that draw. Draws are committed in another order than they are
/// decided, so the one that is kept last may be an older one: what came after counts in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Units drawn, as committed then.
    pub drawn: u64,
    /// For each rate, how many of them its window held.
    pub units: Vec<u64>,
}

impl Held {
    /// For each rate, the units that a start counts as reserved at its instant, when `drawn` units
    /// are drawn by now. Whatever the window can have held, it is no less.
    #[must_use]
    pub fn at_start(&self, rates: &[Rate], drawn: u64) -> Vec<u64> {
        let since = drawn.saturating_sub(self.drawn);
        let units = self.units.iter().copied().chain(std::iter::repeat(u64::MAX));
        let all = rates.iter().zip(units);
        all.map(|(rate, held)| held.saturating_add(since).min(rate.units)).collect()
    }
}

/// One allotment's escrow on this node.
#[derive(Debug)]
pub struct Escrow {
    limits: Limits,
    end: Option<End>,
    committed: Counters,
    tentative: u64,
    /// When tentative units were drawn, by the monotonic clock.
    tentative_at: BTreeMap<u64, u64>,
    /// Unused units that an order which is not committed yet wants.
    withheld: u64,
    next: u64,
    free: BTreeSet<u64>,
    windows: Vec<Window>,
    lease: Lease,
}

/// What a start finds about an allotment.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its limits.
    pub limits: Limits,
    /// Whether it has ended.
    pub end: Option<End>,
    /// Its counters.
    pub counters: Counters,
    /// One more than the highest unit number.
    pub next: u64,
    /// Unit numbers below `next` that have no row.
    pub free: BTreeSet<u64>,
    /// For each rate, the units that count as reserved at the start: see [`Held::at_start`].
    pub held: Vec<u64>,
    /// From the newest receipt, or from the import.
    pub lease: Lease,
    /// The monotonic clock at the start, in milliseconds.
    pub monotonic_ms: u64,
}

impl Escrow {
    /// The escrow of an allotment as a start finds it.
    #[must_use]
    pub fn open(opening: Opening) -> Self {
        let now = opening.monotonic_ms;
        let windows = (opening.limits.rates.iter().enumerate())
            .map(|(index, rate)| {
                let held = opening.held.get(index).copied().unwrap_or(rate.units);
                Window::new(*rate, held.min(rate.units), now)
            })
            .collect();
        Self {
            limits: opening.limits,
            end: opening.end,
            committed: opening.counters,
            tentative: 0,
            tentative_at: BTreeMap::new(),
            withheld: 0,
            next: opening.next,
            free: opening.free,
            windows,
            lease: opening.lease,
        }
    }

    /// Decides whether one more unit may be reserved now, and which.
    ///
    /// # Errors
    ///
    /// The first limit that does not allow it.
    pub fn draw(&mut self, moment: Moment) -> Result<Draft, Refusal> {
        self.check_life(moment)?;
        self.check_quota()?;
        self.check_receipt(moment)?;
        self.check_in_doubt()?;
        self.check_rates(moment)?;
        let held = self.held(moment.monotonic_ms);
        for window in &mut self.windows {
            window.reserve(moment.monotonic_ms);
        }
        self.tentative += 1;
        *self.tentative_at.entry(moment.monotonic_ms).or_default() += 1;
        let number = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        Ok(Draft { number, moment, held })
    }

    /// The draft's unit is committed, in [`UnitState::Reserved`].
    pub fn settle(&mut self, draft: Draft) {
        self.no_longer_tentative(&draft);
        self.committed.unused -= 1;
        self.committed.reserved += 1;
    }

    /// The draft came to nothing: number and slots are free again.
    pub fn give_back(&mut self, draft: Draft) {
        self.no_longer_tentative(&draft);
        self.free.insert(draft.number);
        for window in &mut self.windows {
            window.give_back(draft.moment.monotonic_ms);
        }
    }

    /// The draft came to nothing, and its number can't be used: the serial number that goes with it
    /// is another device's. Its slots are free again; the unit stays unused, and the number away
    /// until a start looks again.
    pub fn set_aside(&mut self, draft: Draft) {
        let number = draft.number;
        self.give_back(draft);
        self.free.remove(&number);
    }

    /// A committed unit went from one state to another.
    pub fn moved(&mut self, from: UnitState, to: UnitState) {
        let mut counts = self.committed.in_row_order();
        let source = Counters::position(from);
        counts[source] = counts[source].saturating_sub(1);
        counts[Counters::position(to)] += 1;
        self.committed = Counters::from_row_order(counts);
    }

    /// Keeps at most `units` unused units from being drawn, as far as no draw has them; says how
    /// many.
    pub fn withhold(&mut self, units: u64) -> u64 {
        let free = self.committed.unused.saturating_sub(self.tentative + self.withheld);
        let withheld = units.min(free);
        self.withheld += withheld;
        withheld
    }

    /// Unused units, as committed.
    #[must_use]
    pub const fn unused(&self) -> u64 {
        self.committed.unused
    }

    /// Units that were withheld can be drawn again.
    pub fn release(&mut self, units: u64) {
        self.withheld = self.withheld.saturating_sub(units);
    }

    /// A directive or a closing was committed. An end stays the first one.
    pub fn amend(&mut self, amendment: Amendment) {
        let Amendment { added, taken, destroyed, not_after, end } = amendment;
        let gone = taken.saturating_add(destroyed);
        self.release(gone);
        let counters = &mut self.committed;
        counters.credited = counters.credited.saturating_add(added).saturating_sub(taken);
        counters.unused = counters.unused.saturating_add(added).saturating_sub(gone);
        counters.destroyed = counters.destroyed.saturating_add(destroyed);
        self.limits.not_after = not_after;
        self.end = self.end.or(end);
    }

    /// A receipt was committed.
    pub fn renew(&mut self, lease: Lease) {
        self.lease.receipted_drawn = self.lease.receipted_drawn.max(lease.receipted_drawn);
        self.lease.due = self.lease.due.max(lease.due);
    }

    /// The newest lease.
    #[must_use]
    pub const fn lease(&self) -> Lease {
        self.lease
    }

    fn no_longer_tentative(&mut self, draft: &Draft) {
        self.tentative -= 1;
        let at_ms = draft.moment.monotonic_ms;
        if let Some(units) = self.tentative_at.get_mut(&at_ms) {
            *units -= 1;
            if *units == 0 {
                self.tentative_at.remove(&at_ms);
            }
        }
    }

    /// What the windows hold of the committed units at `now_ms`.
    fn held(&mut self, now_ms: u64) -> Held {
        let tentative = &self.tentative_at;
        let committed = |window: &mut Window| {
            let begin = (now_ms + 1).saturating_sub(window.rate().per_ms);
            let tentative: u64 = tentative.range(begin..).map(|(_, units)| units).sum();
            window.held(now_ms).saturating_sub(tentative)
        };
        let units = self.windows.iter_mut().map(committed).collect();
        Held { drawn: self.committed.drawn(), units }
    }

    fn check_life(&self, moment: Moment) -> Result<(), Refusal> {
        match self.end {
            Some(End::Revoked) => {
                let detail = "Headquarters revoked the entitlement.";
                return Err(Refusal::new(Reason::Revoked, detail));
            }
            Some(End::Closed) => {
                return Err(Refusal::new(Reason::Closed, "The entitlement is closed."));
            }
            None => {}
        }
        window_allows(&self.limits, moment)
    }

    fn check_quota(&self) -> Result<(), Refusal> {
        if self.committed.unused > self.tentative + self.withheld {
            return Ok(());
        }
        if self.committed.unused > 0 {
            let detail = "The last units are being drawn; one may come back.";
            return Err(Refusal::new(Reason::RateLimited, detail).retry_after(TENTATIVE_WAIT_MS));
        }
        let credited = self.committed.credited;
        let detail = format!("All {credited} units are taken; ask headquarters for more.");
        Err(Refusal::new(Reason::QuotaExhausted, detail))
    }

    fn check_receipt(&self, moment: Moment) -> Result<(), Refusal> {
        let since = self.committed.drawn() + self.tentative;
        let since = since.saturating_sub(self.lease.receipted_drawn);
        let limit = self.limits.audit_return_units;
        if since >= limit || moment.site_ms >= self.lease.due {
            let why = if since >= limit {
                format!("{since} units were reserved since the newest receipt")
            } else {
                "the time for a receipt is over".to_owned()
            };
            let detail = format!("{why}; export a bundle and import headquarters' receipt.");
            return Err(Refusal::new(Reason::ReceiptOverdue, detail));
        }
        Ok(())
    }

    fn check_in_doubt(&self) -> Result<(), Refusal> {
        let in_doubt = self.committed.in_doubt() + self.tentative;
        if in_doubt < self.limits.max_in_doubt {
            return Ok(());
        }
        let detail = format!("{in_doubt} units are in doubt; confirm, fail or scrap some first.");
        Err(Refusal::new(Reason::InDoubtExhausted, detail))
    }

    fn check_rates(&mut self, moment: Moment) -> Result<(), Refusal> {
        let wait = |window: &mut Window| window.wait_ms(moment.monotonic_ms);
        let Some((index, wait_ms)) = (self.windows.iter_mut().map(wait).enumerate())
            .max_by_key(|(_, wait_ms)| *wait_ms)
            .filter(|(_, wait_ms)| *wait_ms > 0)
        else {
            return Ok(());
        };
        let rate = self.windows[index].rate();
        let detail = format!("{} units in {} s are taken.", rate.units, rate.per_ms / 1_000);
        Err(Refusal::new(Reason::RateLimited, detail).retry_after(wait_ms))
    }
}

/// Whether window-dependent acts are allowed at `moment`.
///
/// # Errors
///
/// `CLOCK_SUSPECT`, `NOT_YET_VALID` or `EXPIRED`.
pub fn window_allows(limits: &Limits, moment: Moment) -> Result<(), Refusal> {
    if moment.suspect {
        let detail = "The clock jumped; correct it, or have an admin acknowledge it.";
        return Err(Refusal::new(Reason::ClockSuspect, detail));
    }
    if moment.site_ms < limits.not_before {
        let detail = "The entitlement's window has not begun.";
        return Err(Refusal::new(Reason::NotYetValid, detail));
    }
    if moment.site_ms > limits.not_after {
        return Err(Refusal::new(Reason::Expired, "The entitlement's window has ended."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escrow(total: u64, change: impl FnOnce(&mut Limits)) -> Escrow {
        let mut limits = Limits {
            not_before: 0,
            not_after: 1_000_000,
            rates: vec![],
            max_in_doubt: u64::MAX,
            audit_return_units: u64::MAX,
        };
        change(&mut limits);
        Escrow::open(Opening {
            held: vec![0; limits.rates.len()],
            limits,
            end: None,
            counters: Counters::credited(total),
            next: 0,
            free: BTreeSet::new(),
            lease: Lease { receipted_drawn: 0, due: u64::MAX },
            monotonic_ms: 0,
        })
    }

    const fn at(ms: u64) -> Moment {
        Moment { site_ms: ms, monotonic_ms: ms, suspect: false }
    }

    fn refused(escrow: &mut Escrow, moment: Moment) -> Reason {
        escrow.draw(moment).unwrap_err().reason
    }

    #[test]
    fn a_number_that_is_set_aside_is_not_drawn_again_and_its_unit_stays_unused() {
        let mut escrow = escrow(3, |limits| limits.rates = vec![Rate { units: 2, per_ms: 10 }]);
        let aside = escrow.draw(at(0)).unwrap();
        escrow.set_aside(aside);
        let (first, second) = (escrow.draw(at(0)).unwrap(), escrow.draw(at(0)).unwrap());
        assert_eq!((first.number, second.number, escrow.unused()), (1, 2, 3));
    }

    #[test]
    fn i1_never_one_too_many() {
        let mut escrow = escrow(2, |_| ());
        let first = escrow.draw(at(0)).unwrap();
        let second = escrow.draw(at(0)).unwrap();
        assert_eq!((first.number, second.number), (0, 1));
        // Only tentative draws stand in the way: not final.
        assert_eq!(refused(&mut escrow, at(0)), Reason::RateLimited);
        escrow.settle(first);
        escrow.give_back(second);
        let again = escrow.draw(at(0)).unwrap();
        assert_eq!(again.number, 1);
        escrow.settle(again);
        assert_eq!(refused(&mut escrow, at(0)), Reason::QuotaExhausted);
    }

    #[test]
    fn the_401st_in_ten_seconds_waits() {
        let rate = Rate { units: 400, per_ms: 10_000 };
        let mut escrow = escrow(1_000, |limits| limits.rates = vec![rate]);
        for _ in 0..400 {
            let draft = escrow.draw(at(100)).unwrap();
            escrow.settle(draft);
        }
        let refusal = escrow.draw(at(1_100)).unwrap_err();
        assert_eq!((refusal.reason, refusal.retry_after_ms), (Reason::RateLimited, Some(9_000)));
        escrow.draw(at(10_100)).map(|draft| escrow.settle(draft)).unwrap();
    }

    #[test]
    fn in_doubt_and_receipts_stop_reservations() {
        let mut escrow = escrow(10, |limits| {
            limits.max_in_doubt = 2;
            limits.audit_return_units = 3;
        });
        for _ in 0..2 {
            let draft = escrow.draw(at(0)).unwrap();
            escrow.settle(draft);
        }
        assert_eq!(refused(&mut escrow, at(0)), Reason::InDoubtExhausted);
        escrow.moved(UnitState::Reserved, UnitState::Issued);
        assert_eq!(refused(&mut escrow, at(0)), Reason::InDoubtExhausted);
        escrow.moved(UnitState::Issued, UnitState::Confirmed);
        let draft = escrow.draw(at(0)).unwrap();
        escrow.settle(draft);
        assert_eq!(refused(&mut escrow, at(0)), Reason::ReceiptOverdue);
        escrow.renew(Lease { receipted_drawn: 3, due: u64::MAX });
        escrow.moved(UnitState::Reserved, UnitState::Issued);
        escrow.moved(UnitState::Issued, UnitState::Confirmed);
        escrow.draw(at(0)).map(|draft| escrow.settle(draft)).unwrap();
    }

    #[test]
    fn time_bounds_the_window_and_a_suspect_clock_stops_it() {
        let mut escrow = escrow(10, |limits| limits.not_before = 5);
        assert_eq!(refused(&mut escrow, at(4)), Reason::NotYetValid);
        assert_eq!(refused(&mut escrow, at(1_000_001)), Reason::Expired);
        assert_eq!(refused(&mut escrow, Moment { suspect: true, ..at(6) }), Reason::ClockSuspect);
        escrow.lease.due = 6;
        assert_eq!(refused(&mut escrow, at(6)), Reason::ReceiptOverdue);
    }

    const NOTHING: Amendment =
        Amendment { added: 0, taken: 0, destroyed: 0, not_after: 1_000_000, end: None };

    #[test]
    fn units_that_an_order_takes_are_never_those_of_a_draw_under_way() {
        let mut escrow = escrow(5, |_| ());
        let drafts: Vec<_> = (0..3).map(|_| escrow.draw(at(0)).unwrap()).collect();
        assert_eq!(escrow.withhold(u64::MAX), 2);
        assert_eq!(escrow.withhold(1), 0);
        assert_eq!(refused(&mut escrow, at(0)), Reason::RateLimited, "nothing final yet");
        escrow.amend(Amendment { taken: 2, ..NOTHING });
        drafts.into_iter().for_each(|draft| escrow.settle(draft));
        assert_eq!(refused(&mut escrow, at(0)), Reason::QuotaExhausted);
        escrow.amend(Amendment { added: 1, ..NOTHING });
        let draft = escrow.draw(at(0)).unwrap();
        assert_eq!(draft.number, 3, "numbers go on");
        escrow.settle(draft);
    }

    #[test]
    fn units_that_an_order_gives_back_can_be_drawn() {
        let mut escrow = escrow(1, |_| ());
        assert_eq!(escrow.withhold(9), 1);
        assert_eq!(refused(&mut escrow, at(0)), Reason::RateLimited);
        escrow.release(1);
        escrow.draw(at(0)).map(|draft| escrow.settle(draft)).unwrap();
    }

    #[test]
    fn an_amendment_moves_the_end_of_the_window_and_ends_once() {
        let mut escrow = escrow(3, |_| ());
        escrow.amend(Amendment { not_after: 10, ..NOTHING });
        assert_eq!(refused(&mut escrow, at(11)), Reason::Expired);
        escrow.amend(Amendment { end: Some(End::Revoked), ..NOTHING });
        assert_eq!(refused(&mut escrow, at(0)), Reason::Revoked);
        escrow.amend(Amendment { destroyed: escrow.committed.unused, ..NOTHING });
        escrow.amend(Amendment { end: Some(End::Closed), ..NOTHING });
        assert_eq!(refused(&mut escrow, at(0)), Reason::Revoked);
        assert!(escrow.committed.add_up());
    }

    #[test]
    fn what_has_ended_stays_ended() {
        for (end, reason) in [(End::Revoked, Reason::Revoked), (End::Closed, Reason::Closed)] {
            let mut escrow = escrow(1, |_| ());
            escrow.end = Some(end);
            assert_eq!(refused(&mut escrow, at(0)), reason);
        }
    }
}

#[cfg(test)]
mod schedules;
