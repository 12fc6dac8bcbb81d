//! The life of a unit, and the ten counters of an allotment.

use serde::{Deserialize, Serialize};

/// Where a unit stands. Every unit only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UnitState {
    /// Spent on a subject; nothing released yet.
    Reserved,
    /// An identity was released.
    Issued,
    /// The device holds its identity.
    Confirmed,
    /// Failed for good.
    Failed,
    /// The device is scrap.
    Scrapped,
    /// Given back before anything was released.
    Returned,
    /// Written off by a restore.
    Lost,
}

/// What a row says that happened to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnitChange {
    /// Spent on its subject.
    Reserved,
    /// Identity released for the first time; from nothing where reserve and issue are one step.
    Issued,
    /// The stored identity released again, byte for byte.
    Released,
    /// The device holds its identity.
    Confirmed,
    /// A transient failure: one more attempt, the state stays.
    AttemptFailed,
    /// A permanent failure.
    Failed,
    /// The device is scrap.
    Scrapped,
    /// Given back.
    Returned,
    /// Written off by a restore.
    Lost,
    /// A further certificate for the unit's one key; the state stays.
    Recertified,
    /// A permanent failure: a person who never had the unit says that the device lost its key.
    KeyLost,
}

impl UnitState {
    /// The state after `change`, or `None` where the change is not legal.
    pub fn after(from: Option<Self>, change: UnitChange) -> Option<Self> {
        use UnitState::{Confirmed, Failed, Issued, Lost, Reserved, Returned, Scrapped};
        match (from, change) {
            (None, UnitChange::Reserved) => Some(Reserved),
            (None | Some(Reserved), UnitChange::Issued) => Some(Issued),
            // After `confirm` a retry still gets the stored certificate.
            (Some(Issued), UnitChange::Released | UnitChange::AttemptFailed) => Some(Issued),
            (Some(Confirmed), UnitChange::Released) => Some(Confirmed),
            (Some(same @ (Issued | Confirmed)), UnitChange::Recertified) => Some(same),
            (Some(Issued), UnitChange::Confirmed) => Some(Confirmed),
            (Some(Issued), UnitChange::Failed | UnitChange::KeyLost) => Some(Failed),
            (Some(Issued | Confirmed | Failed), UnitChange::Scrapped) => Some(Scrapped),
            (Some(Reserved), UnitChange::Returned) => Some(Returned),
            (Some(Reserved | Issued), UnitChange::Lost) => Some(Lost),
            _ => None,
        }
    }

    /// True while nobody knows how the unit ends.
    pub fn is_in_doubt(self) -> bool {
        matches!(self, Self::Reserved | Self::Issued)
    }
}

/// The counters of an allotment at one position of the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Granted, extended and not taken back.
    pub credited: u64,
    /// Never drawn.
    pub unused: u64,
    /// Units in [`UnitState::Reserved`].
    pub reserved: u64,
    /// Units in [`UnitState::Issued`].
    pub issued: u64,
    /// Units in [`UnitState::Confirmed`].
    pub confirmed: u64,
    /// Units in [`UnitState::Failed`].
    pub failed: u64,
    /// Units in [`UnitState::Scrapped`].
    pub scrapped: u64,
    /// Units in [`UnitState::Returned`].
    pub returned: u64,
    /// Written off by a restore, drawn or not.
    pub lost: u64,
    /// Unused at closing.
    pub destroyed: u64,
}

impl Counters {
    /// How many there are, as a row has them.
    pub const COUNT: usize = 10;

    /// From the order in which a row holds them.
    pub fn from_values(values: [u64; Self::COUNT]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = values;
        Self {
            credited: a,
            unused: b,
            reserved: c,
            issued: d,
            confirmed: e,
            failed: f,
            scrapped: g,
            returned: h,
            lost: i,
            destroyed: j,
        }
    }

    /// In the order in which a row holds them.
    pub fn values(&self) -> [u64; Self::COUNT] {
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

    /// The equation: every credited unit is in exactly one place.
    pub fn hold_the_equation(&self) -> bool {
        let [credited, places @ ..] = self.values();
        let sum = places.iter().try_fold(0_u64, |sum, place| sum.checked_add(*place));
        sum == Some(credited)
    }

    /// Units whose end nobody knows yet.
    pub fn in_doubt(&self) -> u64 {
        self.reserved.saturating_add(self.issued)
    }

    /// Units with an issued identity: the devices that can exist.
    pub fn devices(&self) -> u64 {
        [self.issued, self.confirmed, self.failed, self.scrapped]
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Moves one unit from a state (`None`: unused) to another; false, and nothing changed, if
    /// there is none in the state that it leaves.
    pub fn move_unit(&mut self, from: Option<UnitState>, to: UnitState) -> bool {
        if from == Some(to) {
            return true;
        }
        let Some(left) = self.place(from).checked_sub(1) else {
            return false;
        };
        let Some(arrived) = self.place(Some(to)).checked_add(1) else {
            return false;
        };
        *self.place(from) = left;
        *self.place(Some(to)) = arrived;
        true
    }

    fn place(&mut self, state: Option<UnitState>) -> &mut u64 {
        match state {
            None => &mut self.unused,
            Some(UnitState::Reserved) => &mut self.reserved,
            Some(UnitState::Issued) => &mut self.issued,
            Some(UnitState::Confirmed) => &mut self.confirmed,
            Some(UnitState::Failed) => &mut self.failed,
            Some(UnitState::Scrapped) => &mut self.scrapped,
            Some(UnitState::Returned) => &mut self.returned,
            Some(UnitState::Lost) => &mut self.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [UnitChange; 11] = [
        UnitChange::Reserved,
        UnitChange::Issued,
        UnitChange::Released,
        UnitChange::Confirmed,
        UnitChange::AttemptFailed,
        UnitChange::Failed,
        UnitChange::Scrapped,
        UnitChange::Returned,
        UnitChange::Lost,
        UnitChange::Recertified,
        UnitChange::KeyLost,
    ];

    #[test]
    fn nothing_follows_an_end_state() {
        for end in [UnitState::Scrapped, UnitState::Returned, UnitState::Lost] {
            for change in CHANGES {
                assert_eq!(UnitState::after(Some(end), change), None, "{end:?} {change:?}");
            }
        }
    }

    #[test]
    fn a_number_is_never_drawn_twice() {
        use UnitState::{Confirmed, Failed, Issued};
        for state in [Issued, Confirmed, Failed] {
            assert_eq!(UnitState::after(Some(state), UnitChange::Reserved), None);
            assert_eq!(UnitState::after(Some(state), UnitChange::Issued), None);
            assert_eq!(UnitState::after(Some(state), UnitChange::Returned), None);
        }
    }

    #[test]
    fn the_equation_holds_through_a_life_and_never_wraps() {
        let mut counters = Counters { credited: 1, unused: 1, ..Counters::default() };
        assert!(counters.hold_the_equation());
        assert!(counters.move_unit(None, UnitState::Reserved));
        assert!(counters.move_unit(Some(UnitState::Reserved), UnitState::Issued));
        assert!(counters.hold_the_equation());
        assert!(!counters.move_unit(None, UnitState::Reserved));
        let wrapping = Counters { credited: 0, unused: u64::MAX, lost: 1, ..Counters::default() };
        assert!(!wrapping.hold_the_equation());
    }
}
