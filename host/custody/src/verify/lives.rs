//! The ledger, replayed: every unit is what its rows say, and every counter what its last row says.
//!
//! A window of units is in memory at a time, and the ledger is read once for each.

use std::collections::BTreeMap;

use mintmark_crypto::digest::sha256;
use mintmark_exchange::row::{Event, Row, UnitEvent};
use mintmark_exchange::unit::{UnitChange, UnitState};

use super::allotments::Allotments;
use super::{Check, VerifyError, read, units_of, wrong};
use crate::disk::allotment::UnitRecord;
use crate::escrows::unit_number;

/// So many units are in memory at once.
const WINDOW_UNITS: usize = 250_000;

/// A unit's place: the position of its entitlement in their order, and its number.
type Place = (usize, u64);

/// A unit as it is kept, and as far as the rows have told its life.
struct Life {
    /// Position of the state in the order of the contract.
    state: u8,
    attempts: u32,
    subject: [u8; 32],
    key_hash: Option<[u8; 32]>,
    key_lost: bool,
    told: Option<UnitState>,
    attempts_told: u32,
    key_lost_told: bool,
}

/// Units between two places, both included.
struct Window {
    first: Place,
    last: Place,
    lives: BTreeMap<Place, Life>,
}

impl Check<'_> {
    /// Replays the ledger for all units; gives how many there are.
    pub(super) async fn lives(&self, allotments: &Allotments) -> Result<u64, VerifyError> {
        let names: Vec<&str> = allotments.keys().map(String::as_str).collect();
        let mut window = Window { first: (0, 0), last: (0, 0), lives: BTreeMap::new() };
        let mut units = 0;
        for (position, entitlement) in names.iter().enumerate() {
            let mut pages = units_of(entitlement);
            while let Some(page) = pages.next(&self.view).await? {
                for (key, value) in page {
                    let number = unit_number(&key.key);
                    let unit = read(&value, format!("unit {number} of {entitlement}"))?;
                    window.lives.insert((position, number), Life::of(&unit));
                    units += 1;
                }
                if window.lives.len() >= WINDOW_UNITS {
                    window.last = window.end();
                    self.replay(&names, &mut window).await?;
                    let (position, number) = window.last;
                    window.first = (position, number.saturating_add(1));
                    window.lives.clear();
                }
            }
        }
        // Whatever rows name beyond the last unit belongs to the last window.
        window.last = (usize::MAX, u64::MAX);
        self.replay(&names, &mut window).await?;
        self.last_counters(allotments).await?;
        Ok(units)
    }

    async fn replay(&self, names: &[&str], window: &mut Window) -> Result<(), VerifyError> {
        self.each_row(|row| {
            let Event::Unit(event) = &row.body.event else { return Ok(()) };
            let position = names
                .binary_search(&event.entitlement.as_str())
                .map_err(|_| wrong(name_of(row), "it is about an entitlement that is not there"))?;
            window.tell((position, event.unit), row, event)
        })
        .await?;
        for ((position, number), life) in &window.lives {
            let name = || format!("unit {number} of {}", names[*position]);
            let Some(told) = life.told else {
                return Err(wrong(name(), "no row tells of it"));
            };
            if told as u8 != life.state {
                let what = format!("its rows say that it is {}", state_name(told));
                return Err(wrong(name(), what));
            }
            // Earlier units of the subject may have had some as well.
            if life.attempts < life.attempts_told {
                let what = format!("its rows tell of {} attempts", life.attempts_told);
                return Err(wrong(name(), what));
            }
            if life.key_lost != life.key_lost_told {
                return Err(wrong(name(), "its rows tell something else of its key's loss"));
            }
        }
        Ok(())
    }

    /// The counters of an allotment are those in the last row that has them.
    async fn last_counters(&self, allotments: &Allotments) -> Result<(), VerifyError> {
        let mut last = BTreeMap::new();
        self.each_row(|row| {
            let entitlement = match &row.body.event {
                Event::Unit(event) => Some(&event.entitlement),
                Event::GrantImported { entitlement, .. }
                | Event::DirectiveImported { entitlement, .. }
                | Event::UnusedLost { entitlement, .. }
                | Event::Closed { entitlement, .. } => Some(entitlement),
                _ => None,
            };
            if let (Some(entitlement), Some(counters)) = (entitlement, row.counters) {
                last.insert(entitlement.clone(), (name_of(row), counters.values()));
            }
            Ok(())
        })
        .await?;
        for (entitlement, allotment) in allotments {
            let name = format!("the allotment of {entitlement}");
            let Some((row, told)) = last.get(entitlement) else {
                return Err(wrong(name, "no row tells of its counters"));
            };
            if *told != allotment.counters.in_row_order() {
                return Err(wrong(name, format!("its counters are not those of {row}")));
            }
        }
        Ok(())
    }
}

impl Life {
    fn of(unit: &UnitRecord) -> Self {
        let key = unit.artefact.as_ref().map(|artefact| artefact.key_hash);
        Self {
            state: unit.state,
            attempts: unit.attempts,
            subject: sha256(unit.subject.as_bytes()),
            key_hash: key,
            key_lost: unit.key_lost,
            told: None,
            attempts_told: 0,
            key_lost_told: false,
        }
    }
}

impl Window {
    /// The last unit in memory.
    fn end(&self) -> Place {
        self.lives.last_key_value().map_or(self.first, |(place, _)| *place)
    }

    /// A row tells of a unit.
    fn tell(&mut self, place: Place, row: &Row, event: &UnitEvent) -> Result<(), VerifyError> {
        if place < self.first || place > self.last {
            return Ok(());
        }
        let Some(life) = self.lives.get_mut(&place) else {
            return Err(wrong(name_of(row), "it tells of a unit that is not there"));
        };
        if sha256(event.subject.as_bytes()) != life.subject {
            return Err(wrong(name_of(row), "it tells of another subject than its unit's"));
        }
        if event.key_hash.is_some() && event.key_hash != life.key_hash {
            return Err(wrong(name_of(row), "it tells of another key than its unit's"));
        }
        life.attempts_told += u32::from(event.change == UnitChange::AttemptFailed);
        life.key_lost_told |= event.change == UnitChange::KeyLost;
        life.told = UnitState::after(life.told, event.change);
        if life.told.is_none() {
            return Err(wrong(name_of(row), "its change is not legal for its unit"));
        }
        Ok(())
    }
}

fn name_of(row: &Row) -> String {
    format!("row {}, {}", row.sequence, row.body.principal)
}

fn state_name(state: UnitState) -> &'static str {
    let all = mintmark_model::UnitState::ALL;
    all.get(state as usize).map_or("in no state", |state| state.name())
}
