//! States of a unit, and where the credited units are.

/// Life of a unit. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitState {
    /// Spent on a subject; nothing was released.
    Reserved,
    /// A key, a signature or a certificate was released.
    Issued,
    /// The device has it and works.
    Confirmed,
    /// It will never work.
    Failed,
    /// The device was destroyed.
    Scrapped,
    /// Given back before anything was released.
    Returned,
    /// Written off by a restore.
    Lost,
}

impl UnitState {
    /// Every state, in the order of the contract.
    pub const ALL: &[Self] = &[
        Self::Reserved,
        Self::Issued,
        Self::Confirmed,
        Self::Failed,
        Self::Scrapped,
        Self::Returned,
        Self::Lost,
    ];

    /// The name in tables and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Issued => "issued",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Scrapped => "scrapped",
            Self::Returned => "returned",
            Self::Lost => "lost",
        }
    }

    /// Whether a unit may go from this state to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use UnitState::{Confirmed, Failed, Issued, Lost, Reserved, Returned, Scrapped};
        matches!(
            (self, next),
            (Reserved, Issued | Returned | Lost)
                | (Issued, Confirmed | Failed | Scrapped | Lost)
                | (Confirmed | Failed, Scrapped)
        )
    }
}

/// Where the credited units of an allotment are. `credited` is the sum of the others, at every
/// commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Total + extended − reduced.
    pub credited: u64,
    /// Not yet drawn.
    pub unused: u64,
    /// In [`UnitState::Reserved`].
    pub reserved: u64,
    /// In [`UnitState::Issued`].
    pub issued: u64,
    /// In [`UnitState::Confirmed`].
    pub confirmed: u64,
    /// In [`UnitState::Failed`].
    pub failed: u64,
    /// In [`UnitState::Scrapped`].
    pub scrapped: u64,
    /// In [`UnitState::Returned`].
    pub returned: u64,
    /// In [`UnitState::Lost`].
    pub lost: u64,
    /// Unused at closing.
    pub destroyed: u64,
}

impl Counters {
    /// The counters of a fresh allotment.
    #[must_use]
    pub fn credited(total: u64) -> Self {
        Self { credited: total, unused: total, ..Self::default() }
    }

    /// In the order in which ledger rows carry them.
    #[must_use]
    pub const fn in_row_order(&self) -> [u64; 10] {
        [
            self.credited,
            self.unused,
            self.reserved,
            self.issued,
            self.confirmed,
            self.failed,
            self.scrapped,
            self.returned,
            self.lost,
            self.destroyed,
        ]
    }

    /// The reverse of [`Self::in_row_order`].
    #[must_use]
    pub const fn from_row_order(values: [u64; 10]) -> Self {
        let [
            credited,
            unused,
            reserved,
            issued,
            confirmed,
            failed,
            scrapped,
            returned,
            lost,
            destroyed,
        ] = values;
        Self {
            credited,
            unused,
            reserved,
            issued,
            confirmed,
            failed,
            scrapped,
            returned,
            lost,
            destroyed,
        }
    }

    /// The position in row order of the units in `state`.
    #[must_use]
    pub const fn position(state: UnitState) -> usize {
        match state {
            UnitState::Reserved => 2,
            UnitState::Issued => 3,
            UnitState::Confirmed => 4,
            UnitState::Failed => 5,
            UnitState::Scrapped => 6,
            UnitState::Returned => 7,
            UnitState::Lost => 8,
        }
    }

    /// Reserved + issued: units that may be in a device, or may not.
    #[must_use]
    pub const fn in_doubt(&self) -> u64 {
        self.reserved.saturating_add(self.issued)
    }

    /// Units that were drawn so far, also those that came to nothing.
    #[must_use]
    pub fn drawn(&self) -> u64 {
        self.in_row_order()[2..9].iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The equation of promise I1.
    #[must_use]
    pub fn add_up(&self) -> bool {
        let parts = &self.in_row_order()[1..];
        let sum = parts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
        sum == Some(self.credited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_an_end_state() {
        for end in [UnitState::Scrapped, UnitState::Returned, UnitState::Lost] {
            assert!(UnitState::ALL.iter().all(|next| !end.may_become(*next)));
        }
    }

    #[test]
    fn what_was_issued_is_never_returned() {
        assert!(!UnitState::Issued.may_become(UnitState::Returned));
        assert!(!UnitState::Issued.may_become(UnitState::Reserved));
    }

    #[test]
    fn counters_read_back_and_add_up() {
        let counters = Counters { issued: 3, unused: 7, credited: 10, ..Counters::default() };
        assert_eq!(Counters::from_row_order(counters.in_row_order()), counters);
        assert!(counters.add_up());
        assert!(!Counters { lost: 1, ..counters }.add_up());
        assert!(!Counters { lost: u64::MAX, ..counters }.add_up());
    }
}
