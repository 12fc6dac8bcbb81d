//! Drawing: a number that nobody has, and a serial number that goes with it.

use std::sync::Arc;

use mintmark_exchange::grant::Grant;
use mintmark_exchange::product::KeyOrigin;
use mintmark_exchange::unit::UnitChange;
use mintmark_model::escrow::Moment;
use mintmark_model::{Reason, Refusal, UnitState};
use mintmark_store::{Key, Version};

use super::work::UnitWork;
use super::{OpenUnit, Spent};
use crate::call::Call;
use crate::disk::{self, allotment::*};
use crate::escrows;
use crate::tables;

/// A unit's number and serial number, while it is being drawn.
struct Numbered {
    reservation: escrows::Reservation,
    decided: Moment,
    serial: String,
    /// Where the serial number is kept, as it was read.
    serial_read: (Key, Version),
}

/// The most numbers that one draw sets aside; the next draw goes on from there.
const SERIALS_TRIED_MAX: usize = 16;

impl Call {
    pub(super) async fn reserve(
        &mut self,
        grant: &Arc<Grant>,
        subject: &str,
        serial: Option<&str>,
        subject_read: (Key, Version),
        spent: Spent,
    ) -> Result<OpenUnit, Refusal> {
        self.check_storage()?;
        // The escrow hears of a directive only after its commit; the record says it with it.
        self.check_life(grant).await?;
        if grant.product.origin == KeyOrigin::Pool {
            self.check_keys_are_here(&grant.entitlement).await?;
        }
        if self.allotment_record(grant).await?.written_off {
            let detail = "A restore wrote the units of this entitlement off; ask headquarters for \
                          another one.";
            return Err(Refusal::new(Reason::QuotaExhausted, detail));
        }
        let escrow = self.escrow_of(grant).await?;
        let Numbered { reservation, decided, serial, serial_read } =
            self.draw_number(grant, &escrow, subject, serial).await?;
        let number = reservation.number();
        let now = UnitRecord {
            subject: subject.to_owned(),
            serial,
            state: state_number(UnitState::Reserved),
            attempts: spent.attempts,
            station: self.session.principal.to_string(),
            earlier_stations: Vec::new(),
            reserved_at: decided.site_ms,
            changed_at: decided.site_ms,
            artefact: None,
            key_lost: false,
            follows: spent.last,
        };
        let absent = (tables::unit(&grant.entitlement, number), Version::ABSENT);
        self.add_drawn(UnitWork {
            grant: Arc::clone(grant),
            number,
            escrow,
            reservation: Some(reservation),
            decided,
            units_of_subject: spent.units + 1,
            before: None,
            now,
            released: None,
            reads: vec![subject_read, serial_read, absent],
            pinned: None,
            approved: false,
        });
        Ok(OpenUnit { grant: Arc::clone(grant), number })
    }

    /// Draws a number whose serial number `subject` may have. One that an assigned serial number
    /// can't be had for is set aside: as the lowest free one it would stop every later draw.
    async fn draw_number(
        &mut self,
        grant: &Grant,
        escrow: &escrows::SharedEscrow,
        subject: &str,
        given: Option<&str>,
    ) -> Result<Numbered, Refusal> {
        for _ in 0..SERIALS_TRIED_MAX {
            let mut decided = self.began;
            let reservation = escrow.draw(|| {
                decided = self.host.clock.now();
                decided
            })?;
            let number = reservation.number();
            // A second lock besides the counters' bounds: no unit beyond the grant's total.
            if number >= grant.terms.total {
                let detail = "Each number of the grant is taken, or its serial number is another \
                              device's; ask headquarters for more.";
                return Err(Refusal::new(Reason::QuotaExhausted, detail));
            }
            let serial = match given {
                Some(given) => given.to_owned(),
                None => grant.product.serial.make(number).ok_or_else(|| {
                    let detail = "The product's serial rule has no number for this unit.";
                    Refusal::new(Reason::SerialOutOfRange, detail)
                })?,
            };
            match self.free_serial(grant, subject, &serial).await? {
                Some(serial_read) => {
                    return Ok(Numbered { reservation, decided, serial, serial_read });
                }
                None if given.is_none() => reservation.set_aside(),
                None => return Err(serial_elsewhere()),
            }
        }
        let detail = "The next serial numbers are other devices'; the same request goes on after \
                      them.";
        Err(Refusal::new(Reason::Conflict, detail).retry_after(20))
    }

    fn add_drawn(&mut self, work: UnitWork) {
        self.rows.push(work.row(UnitChange::Reserved, ""));
        self.units.insert(work.place(), work);
    }

    /// Claims a serial number that nobody has, or that an earlier unit of the same device leaves;
    /// none where a committed unit keeps it.
    async fn free_serial(
        &mut self,
        grant: &Grant,
        subject: &str,
        serial: &str,
    ) -> Result<Option<(Key, Version)>, Refusal> {
        let place = tables::pair(tables::SERIALS, &grant.product.id, serial);
        self.claim(&place).await?;
        let (taken, version) = self.view.peek_versioned(&place).await?;
        let here = self.drawn_of(&grant.product.id).any(|work| work.now.serial == serial);
        let left = match taken.as_ref().map(disk::read::<UnitRef>).transpose()? {
            Some(owner) => self.leaves_serial(&owner, grant, subject).await?,
            None => true,
        };
        if here {
            // This call may still come to nothing, and the number with it.
            return Err(serial_elsewhere());
        }
        Ok(left.then_some((place, version)))
    }

    /// Whether a unit's serial number may go to `subject`: nothing was released with it, or it is
    /// the same device, which lost its key.
    async fn leaves_serial(
        &self,
        owner: &UnitRef,
        grant: &Grant,
        subject: &str,
    ) -> Result<bool, Refusal> {
        let Some(owned) = self.unit_at(&owner.entitlement, owner.unit).await? else {
            return Ok(false);
        };
        let same = owned.subject == subject && owner.entitlement == grant.entitlement;
        match owned.state() {
            UnitState::Returned if same => Ok(true),
            UnitState::Returned => {
                // A unit of its device before it may have been released with the number.
                let mut before = owned.follows;
                while let Some(unit) = before {
                    let missing = || Refusal::not_found("unit");
                    let unit = self.unit_at(&owner.entitlement, unit).await?.ok_or_else(missing)?;
                    if unit.serial == owned.serial {
                        return Ok(false);
                    }
                    before = unit.follows;
                }
                Ok(true)
            }
            UnitState::Failed => Ok(same && owned.key_lost),
            _ => Ok(false),
        }
    }
}

/// One serial number, one device of a product.
fn serial_elsewhere() -> Refusal {
    let detail = "The serial number belongs to another device of this product.";
    Refusal::new(Reason::DuplicateSubject, detail)
}
