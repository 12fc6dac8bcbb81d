//! What people may say about the clock: acknowledge a suspect one, lower the mark.

use mintmark_exchange::approval::Act;
use mintmark_exchange::row::Event;
use mintmark_model::clock::Suspicion;
use mintmark_model::{Reason, Refusal};

use super::kept::{heard_place, mark_place};
use super::{ClockStatus, ClockWord};
use crate::call::Call;
use crate::custody::Custody;
use crate::disk::time::MarkRecord;
use crate::types::Session;

impl Custody {
    /// The state of the clock.
    #[must_use]
    pub fn clock(&self) -> ClockStatus {
        self.host.clock.status().0
    }

    /// Says that a suspect clock may be as it is. Once in a start an admin may say so alone.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE` where the clock is not suspect; `APPROVAL_REQUIRED` for a second time.
    pub async fn acknowledge_clock(&self, session: Session) -> Result<ClockStatus, Refusal> {
        let mut call = self.begin(session, None).await?;
        let acknowledged = call.acknowledge_clock().await;
        self.conclude(call, acknowledged).await?;
        Ok(self.clock())
    }

    /// Lowers the mark, with approvals, and never below what headquarters said.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE` where the wall clock is not behind the mark; `INVALID_ARGUMENT` for a time
    /// that is not below the mark, or is below headquarters'; `APPROVAL_REQUIRED`.
    pub async fn lower_clock(&self, session: Session, to_ms: u64) -> Result<ClockStatus, Refusal> {
        let mut call = self.begin(session, None).await?;
        let lowered = call.lower_clock(to_ms).await;
        self.conclude(call, lowered).await?;
        Ok(self.clock())
    }
}

impl Call {
    async fn acknowledge_clock(&mut self) -> Result<(), Refusal> {
        // One at a time: the second one needs approvals.
        self.claim(&mark_place()).await?;
        let (status, reading) = self.host.clock.status();
        if status.suspicion.is_none() {
            let detail = "The clock is not suspect; there is nothing to acknowledge.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let mark_ms = status.site_time_ms;
        if status.acknowledged {
            let boot = self.host.boot;
            self.require_approvals(&Act::AcknowledgeClock { boot, mark_ms }).await?;
        }
        let after_ms = mark_ms.max(reading.wall_ms);
        self.say(mark_ms, after_ms, ClockWord::Acknowledged(reading));
        Ok(())
    }

    async fn lower_clock(&mut self, to_ms: u64) -> Result<(), Refusal> {
        self.claim(&mark_place()).await?;
        let (status, _) = self.host.clock.status();
        let mark_ms = status.site_time_ms;
        if to_ms >= mark_ms {
            return Err(Refusal::invalid("The time is not before the mark; nothing is lowered."));
        }
        if to_ms < status.headquarters_ms {
            let detail = "Headquarters' last message is from a later time; it is later than that.";
            let heard = status.headquarters_ms.to_string();
            return Err(Refusal::invalid(detail).with("headquarters-ms", heard));
        }
        // A mark that still rises would be another act at each moment.
        if !matches!(status.suspicion, Some(Suspicion::Behind { .. })) {
            let detail = "The wall clock is not behind the mark; set it right first.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        self.require_approvals(&Act::LowerClock { mark_ms, to_ms }).await?;
        self.say(mark_ms, to_ms, ClockWord::Lowered(to_ms));
        Ok(())
    }

    /// Headquarters' time in a message is a lower bound, from the message's commit on. Gives the
    /// latest that it said.
    pub(crate) async fn hear(&mut self, sent_at: u64) -> Result<u64, Refusal> {
        let known: Option<u64> = self.read(&heard_place()).await?;
        let latest = known.unwrap_or(0).max(sent_at);
        self.view.write(heard_place(), latest);
        self.clock_words.push(ClockWord::Heard(sent_at));
        Ok(latest)
    }

    /// The latest time that this call knows of: its own, or headquarters' in a message that it
    /// took.
    pub(crate) fn latest_ms(&self) -> u64 {
        let heard = self.clock_words.iter().filter_map(|word| match word {
            ClockWord::Heard(ms) => Some(*ms),
            ClockWord::Acknowledged(_) | ClockWord::Lowered(_) => None,
        });
        heard.fold(self.now_ms(), u64::max)
    }

    fn say(&mut self, mark_before_ms: u64, mark_after_ms: u64, word: ClockWord) {
        let head = self.view.position().head(&self.host.identity.node);
        let after_row = head.map_or(0, |head| head.sequence);
        self.view.write(mark_place(), MarkRecord { mark_ms: mark_after_ms, after_row });
        self.record(Event::ClockAcknowledged { mark_before_ms, mark_after_ms });
        self.clock_words.push(word);
    }
}
