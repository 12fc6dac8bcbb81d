//! A unit goes on with another station, by an operator's word.

use mintmark_exchange::product::Delivery;
use mintmark_exchange::row::Event;
use mintmark_model::{Principal, Reason, Refusal, Role, UnitState};

use super::{OpenUnit, status};
use crate::call::Call;
use crate::disk::host::UserRecord;
use crate::pending::PendingRow;
use crate::tables;
use crate::types::UnitStatus;

/// The most stations that a unit is remembered to have had.
const STATIONS_MAX: usize = 16;

impl Call {
    /// Binds the unit to another station, which from now on gets what the unit released; the one
    /// before is refused. Handing it over twice changes nothing.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` for a program, and for a station that is bound to other entitlements;
    /// `NOT_FOUND` for a station that there is not; `WRONG_STATE` for a unit that has ended, and
    /// for one whose key was sealed to its station.
    pub async fn hand_over(
        &mut self,
        unit: &OpenUnit,
        station: &str,
    ) -> Result<UnitStatus, Refusal> {
        self.check_operator("hand a unit over")?;
        let place = tables::pair(tables::USERS, Role::Station.name(), station);
        let user: Option<UserRecord> = self.read(&place).await?;
        let user = user.ok_or_else(|| Refusal::not_found("station"))?;
        let entitlement = &unit.grant.entitlement;
        if !user.entitlements.is_empty() && !user.entitlements.contains(entitlement) {
            return Err(Refusal::denied("The station is bound to other entitlements."));
        }
        let next = Principal {
            role: Role::Station,
            name: station.to_owned(),
            ..self.session.principal.clone()
        };
        let next = next.to_string();
        let (now, moment) = (self.now_ms(), self.began);
        let work = self.work(unit).await?;
        if work.now.station == next {
            return Ok(status(unit.number, &work.now));
        }
        let state = work.now.state();
        if !matches!(state, UnitState::Reserved | UnitState::Issued | UnitState::Confirmed) {
            let detail = format!("The unit is {}; it can not be handed over.", state.name());
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        if work.now.earlier_stations.len() >= STATIONS_MAX {
            let detail = "The unit was handed over too often; fail it.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let sealed = unit.grant.product.delivery == Delivery::SealedToStation;
        if sealed && work.now.artefact.is_some() {
            let detail = "The unit's key was sealed to its station, and is never sealed again; \
                          fail the unit.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let before = std::mem::replace(&mut work.now.station, next.clone());
        if !work.now.earlier_stations.contains(&before) {
            work.now.earlier_stations.push(before);
        }
        work.now.changed_at = now;
        let answer = status(unit.number, &work.now);
        let event = Event::HandedOver {
            entitlement: entitlement.clone(),
            unit: unit.number,
            station: next,
        };
        let row = PendingRow::plain(moment, event);
        self.rows.push(PendingRow { unit: Some(unit.place()), ..row });
        Ok(answer)
    }
}
