//! One call, end to end: begin, run the guest, take the call out of the store, end it, answer.
//!
//! The answer is withheld until the commit is durable. When a concurrent call was faster, the same
//! request runs again on a fresh instance, with what the first run released, so nothing is signed
//! twice. An invocation runs in a task of its own: who hangs up does not stop it half way, and
//! never a commit that is queued.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use mintmark_custody::{Aborted, Call, Carry, CommitFailure, Session};
use mintmark_model::{Reason, Refusal};

use crate::bindings::exports::mintmark::plugin::service::Status;
use crate::config::MESSAGE_BYTES_MAX;
use crate::escape::escaped;
use crate::gate::{Turn, wait};
use crate::guest::{Guest, Ran, TIME};
use crate::log::CallLog;
use crate::plugin::Plugin;
use crate::refused::{PluginStatus, Refused};
use crate::routes::Route;
use crate::runtime::Runtime;

/// How often a request runs again because others were faster.
const RERUNS_MAX: u32 = 3;

/// When to come back after the last rerun.
const CONFLICT_RETRY_MS: u64 = 100;

/// The longest text about a trap, for the log.
const TRAP_BYTES_MAX: usize = 4 << 10;

/// An instance and its place among all instances. The instance goes first.
pub(crate) struct Seat {
    guest: Guest,
    _place: OwnedSemaphorePermit,
}

/// A request to a plugin.
pub(crate) struct Invocation {
    pub(crate) runtime: Runtime,
    pub(crate) route: Route,
    pub(crate) session: Session,
    pub(crate) message: Bytes,
    /// Whether the instance may be kept for the next request of a stream.
    pub(crate) keeps: bool,
}

/// What a call came to, and the instance if another call may use it.
pub(crate) type Outcome = (Result<Bytes, Refused>, Option<Seat>);

/// What follows a run.
enum Next {
    Answer(Result<Bytes, Refused>),
    Rerun(Carry),
}

impl Invocation {
    /// Waits for a place, then runs the request to its end, on `seat` if there is one.
    pub(crate) async fn run(self, seat: Option<Seat>) -> Outcome {
        let plugin = Arc::clone(self.route.plugin());
        let turn = match self.admit(&plugin).await {
            Ok(turn) => turn,
            Err(refusal) => return (Err(refusal.into()), seat),
        };
        let task = tokio::spawn(async move { self.run_to_end(&plugin, turn, seat).await });
        task.await.unwrap_or_else(|_| (Err(Refused::fault()), None))
    }

    async fn admit(&self, plugin: &Plugin) -> Result<Turn, Refusal> {
        if self.message.len() > MESSAGE_BYTES_MAX {
            return Err(Refusal::invalid("The request is larger than 4 MiB."));
        }
        let turn = plugin.gate.enter().await?;
        plugin.breaker.admit(Instant::now())?;
        Ok(turn)
    }

    async fn run_to_end(self, plugin: &Plugin, turn: Turn, seat: Option<Seat>) -> Outcome {
        let (mut seat, mut turn, mut carry) = (seat, Some(turn), None);
        for run in 0..=RERUNS_MAX {
            let call = self.runtime.custody().begin(self.session.clone(), carry.take()).await;
            let call = match call {
                Ok(call) => call,
                Err(refusal) => return (Err(refusal.into()), None),
            };
            let mut taken = match self.seat(plugin, seat.take()).await {
                Ok(taken) => taken,
                Err(refusal) => return (Err(self.unseated(call, refusal).await), None),
            };
            let ran = taken.guest.call(&plugin.exports, Some(call), self.names(), &self.message);
            let ran = ran.await;
            let (call, log) = taken.guest.end();
            // Instance and place are free before the sync, unless the stream goes on with the
            // instance.
            let kept = (self.keeps && run == 0 && taken.guest.is_clean()).then_some(taken);
            drop(turn.take());
            let late = call.as_ref().is_none_or(|call| !call.may_rerun());
            match self.end(plugin, ran, call, &log).await {
                Next::Answer(answer) => {
                    let kept = kept.filter(|_| answer.is_ok() && self.runtime.may_keep());
                    return (answer, kept);
                }
                Next::Rerun(next) => carry = Some(next),
            }
            if late {
                break;
            }
        }
        (Err(self.give_up(carry).await), None)
    }

    fn names(&self) -> (&str, &str) {
        self.route.names()
    }

    /// The stream's instance, or a fresh one.
    async fn seat(&self, plugin: &Plugin, kept: Option<Seat>) -> Result<Seat, Refusal> {
        if let Some(seat) = kept {
            return Ok(seat);
        }
        let time = std::time::Duration::from_millis(plugin.limits.deadline_ms);
        let place = wait(self.runtime.instances(), time).await?;
        Ok(Seat { guest: Guest::new(self.runtime.machine(), plugin.limits), _place: place })
    }

    /// There was no place for an instance.
    async fn unseated(&self, call: Call, refusal: Refusal) -> Refused {
        let aborted = call.abort(refusal.reason).await;
        if aborted.tainted { Refused::fault() } else { refusal.into() }
    }

    /// Ends the call as its run asks for.
    async fn end(
        &self,
        plugin: &Plugin,
        ran: Ran<Result<Vec<u8>, Status>>,
        call: Option<Call>,
        log: &CallLog,
    ) -> Next {
        match &ran {
            Ran::Returned(_) | Ran::Overtaken => plugin.breaker.returned(),
            Ran::Exceeded(_) | Ran::Trapped(_) => self.count_fault(plugin),
            // No fault of the plugin's: one contended subject may not close it to everybody.
            Ran::Delayed => {}
        }
        let Some(call) = call else { return Next::Answer(Err(Refused::fault())) };
        if call.must_rerun() || matches!(ran, Ran::Overtaken) {
            log.discard();
            return Next::Rerun(call.into_carry());
        }
        match ran {
            Ran::Returned(Ok(answer)) if answer.len() <= MESSAGE_BYTES_MAX => {
                self.commit(plugin, call, answer, log).await
            }
            failed => {
                let (reason, refused) = verdict(plugin, &call, failed);
                self.abort(plugin, call, reason, refused, log).await
            }
        }
    }

    async fn commit(&self, plugin: &Plugin, call: Call, answer: Vec<u8>, log: &CallLog) -> Next {
        let (request, tainted) = (call.request_id(), call.is_tainted());
        match call.commit().await {
            Ok(()) => {
                log.publish(plugin.name(), &request, &plugin.log_rate);
                Next::Answer(Ok(answer.into()))
            }
            Err(CommitFailure::Conflict(carry)) => {
                log.discard();
                Next::Rerun(carry)
            }
            Err(CommitFailure::Refused(refusal)) => {
                tell(plugin, &request, log, tainted);
                Next::Answer(Err(refusal.into()))
            }
        }
    }

    /// Drops what the plugin wrote; a call that used a limited key gets out no word of the
    /// plugin's.
    async fn abort(
        &self,
        plugin: &Plugin,
        call: Call,
        reason: Reason,
        refused: Refused,
        log: &CallLog,
    ) -> Next {
        let request = call.request_id();
        let Aborted { tainted, unwritten } = call.abort(reason).await;
        tell(plugin, &request, log, tainted || unwritten.is_some());
        Next::Answer(Err(match unwritten {
            _ if tainted => Refused::fault(),
            Some(refusal) => refusal.into(),
            None => refused,
        }))
    }

    /// Others were faster each time. What a limited key released is committed all the same.
    async fn give_up(&self, carry: Option<Carry>) -> Refused {
        match self.runtime.custody().begin(self.session.clone(), carry).await {
            Ok(call) => drop(call.abort(Reason::Conflict).await),
            Err(refusal) => return refusal.into(),
        }
        let detail = "Other calls were faster each time; try again.";
        Refusal::new(Reason::Conflict, detail).retry_after(CONFLICT_RETRY_MS).into()
    }

    fn count_fault(&self, plugin: &Plugin) {
        if plugin.breaker.failed(Instant::now()) {
            tracing::error!(
                target: "plugin",
                plugin = plugin.name(),
                "failed too often in a row; it is left alone for a while"
            );
        }
    }
}

/// What the ledger and the caller learn of a run that did not succeed.
fn verdict(plugin: &Plugin, call: &Call, ran: Ran<Result<Vec<u8>, Status>>) -> (Reason, Refused) {
    let (name, request) = (plugin.name(), call.request_id());
    match ran {
        Ran::Delayed => {
            tracing::warn!(target: "plugin", plugin = name, request, "the host took too long");
            (Reason::BudgetExceeded, Refused::exceeded(TIME))
        }
        Ran::Returned(Err(status)) => {
            let status = PluginStatus::from(status);
            (status.outcome(), Refused::Plugin(status))
        }
        Ran::Returned(Ok(_)) => (Reason::BudgetExceeded, Refused::exceeded("bytes for the answer")),
        Ran::Exceeded(what) => {
            tracing::warn!(target: "plugin", plugin = name, request, what, "a budget ran out");
            (Reason::BudgetExceeded, Refused::exceeded(what))
        }
        Ran::Trapped(trap) => {
            // Where a call trapped can tell what it saw.
            let shown = if call.is_tainted() { "withheld" } else { trap.as_str() };
            let trap = escaped(shown, TRAP_BYTES_MAX);
            tracing::warn!(target: "plugin", plugin = name, request, trap, "trapped");
            (Reason::PluginFault, Refused::fault())
        }
        // Only a call that must run again is overtaken, and that one does not come here.
        Ran::Overtaken => (Reason::PluginFault, Refused::fault()),
    }
}

fn tell(plugin: &Plugin, request: &str, log: &CallLog, tainted: bool) {
    if tainted {
        log.withhold(plugin.name(), request);
    } else {
        log.publish(plugin.name(), request, &plugin.log_rate);
    }
}
