//! Checking a bundle, in steps that each fit into one call.
//!
//! One bundle is checked at a time, since it is compared with the devices of all sites. Its effects
//! stay beside the register until the verdict: a clean bundle becomes part of it, any other leaves
//! nothing but its report. A bundle that is held, since an earlier one is missing, is checked again
//! when it comes again.
//!
//! The host can refuse a receipt, after headquarters was restored for instance. A check that took
//! one call is then dropped whole. One that took several is over before the receipt is asked for:
//! other bundles need not wait for what may never come, and whoever sends the file again is given
//! the receipt, or told why there is none.

#[cfg(test)]
mod tests;

use mintmark_exchange::canonical::{decode, encode};
use mintmark_exchange::reconcile::{Reconciler, Report, SiteState};
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Code, Digest, Error, Status, caller, clock};
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::report::{self, Sender, StoredReport};
use crate::{catalog, check, conclude, opened, register};

/// How far the check of a bundle is.
#[derive(Debug)]
pub(crate) enum Step {
    /// So many bytes of so many are checked.
    Going { checked: u64, total: u64 },
    /// It is done.
    Done(Box<StoredReport>),
}

/// The bundle that is being checked.
#[derive(Debug, Serialize, Deserialize)]
struct Active {
    bundle: Bundle,
    /// When the last step was made.
    touched_ms: u64,
    stage: Stage,
}

/// A file that nobody works on.
#[derive(Debug)]
enum Begun {
    /// Its check begins.
    New(Active),
    /// It is a bundle that was checked before, as another file.
    Known(Box<StoredReport>),
}

/// A bundle that was opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// The staged file.
    pub(crate) file: String,
    pub(crate) digest: Digest,
    pub(crate) sender: Sender,
    /// Of the body, in bytes.
    pub(crate) length: u64,
}

/// What is to be done next with the bundle.
#[derive(Debug, Serialize, Deserialize)]
enum Stage {
    /// Its body is copied, from here on: an auditor may want all of it, whatever the verdict.
    Copy(u64),
    /// Its rows are read.
    Check(Box<Reconciler>),
    /// It is clean: what it changes becomes part of the register.
    Register(Box<Judged>),
    /// It is not: what it would have changed is dropped.
    Drop(Box<Judged>),
    /// Nobody went on with it, and another bundle waits: it is forgotten.
    Abandon,
}

/// What the check of a bundle gave.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) report: Report,
    pub(crate) state: SiteState,
}

/// What follows a stage.
enum Next {
    /// Another stage, or the same one again.
    Stage(Stage),
    /// The end, with what it gave; nothing for a bundle that is forgotten.
    End(Option<Box<Judged>>),
}

/// What one call may still do.
pub(crate) struct Budget {
    left: u32,
}

/// What a call for one file does while another may be active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is this file's turn.
    Mine,
    /// The other file is judged; its effects come first.
    Settle,
    /// Somebody works on the other file.
    Wait,
    /// Nobody does.
    Abandon,
}

/// How long a check may rest before another one may take its place.
const REST_MS_MAX: u64 = 60_000;
/// What one call may do, and what the parts of it cost: a piece of a body to copy or to follow, a
/// piece whose rows are applied, each with half a dozen calls of the host, and a batch of the
/// register.
const BUDGET: u32 = 128;
const COPY_COST: u32 = 1;
pub(crate) const FOLLOW_COST: u32 = 1;
pub(crate) const APPLY_COST: u32 = 48;
const BATCH_COST: u32 = 8;
/// A call ends early rather than late.
const TIME_LEFT_MS_MIN: u64 = 2_000;
const STATE_BYTES_MAX: usize = 32 << 20;

/// Makes one step with the bundle that is staged as `file`.
pub(crate) fn step(file: &str) -> Result<Step, Status> {
    if let Some(report) = StoredReport::of_file(file)?.filter(StoredReport::stands) {
        return again(report, file);
    }
    let now_ms = clock::now();
    let Some(active) = Active::load()? else {
        return match Active::begin(file)? {
            Begun::Known(report) => again(*report, file),
            Begun::New(active) => match active.advance(now_ms)? {
                Step::Done(report) if report.lacks_receipt() => receipted(*report, file),
                step => Ok(step),
            },
        };
    };
    match turn(active.bundle.file == file, active.is_judged(), active.touched_ms, now_ms) {
        Turn::Mine => match active.advance(now_ms)? {
            // The next call asks for the receipt.
            Step::Done(report) if report.lacks_receipt() => {
                Ok(Step::Going { checked: report.length, total: report.length })
            }
            step => Ok(step),
        },
        Turn::Settle => settle(active, now_ms),
        Turn::Abandon => settle(Active { stage: Stage::Abandon, ..active }, now_ms),
        Turn::Wait => {
            let message = "another bundle is being checked; try again when it is done";
            Err(Status::new(Code::Aborted, "CONFLICT", message).with_retry_after_ms(1_000))
        }
    }
}

/// A bundle whose check is over comes again: for its receipt, or for nothing.
fn again(report: StoredReport, file: &str) -> Result<Step, Status> {
    if report.lacks_receipt() { receipted(report, file) } else { Err(report.replayed()) }
}

fn receipted(report: StoredReport, file: &str) -> Result<Step, Status> {
    Ok(Step::Done(Box::new(conclude::give_receipt(report, file)?)))
}

/// Goes on with another bundle, before this one can begin.
fn settle(other: Active, now_ms: u64) -> Result<Step, Status> {
    other.advance(now_ms)?;
    Ok(Step::Going { checked: 0, total: 0 })
}

fn turn(mine: bool, judged: bool, touched_ms: u64, now_ms: u64) -> Turn {
    let resting = now_ms.saturating_sub(touched_ms) > REST_MS_MAX;
    match (mine, judged, resting) {
        (true, _, _) => Turn::Mine,
        (false, true, _) => Turn::Settle,
        (false, false, true) => Turn::Abandon,
        (false, false, false) => Turn::Wait,
    }
}

/// The host knows bundles that are done with; where it says which one it was, there is a report.
fn known(error: Error) -> Result<Begun, Status> {
    let report = error.fact("digest").map(StoredReport::load);
    match report {
        Some(Ok(Some(report))) if error.is("REPLAYED") => Ok(Begun::Known(Box::new(report))),
        _ => Err(error.into()),
    }
}

impl Active {
    fn begin(file: &str) -> Result<Begun, Status> {
        let message = match messages::open(Purpose::Bundle, file) {
            Ok(message) => message,
            Err(error) => return known(error),
        };
        let digest = message.digest();
        // The same bundle can have been staged twice.
        let report = StoredReport::load(&report::id(&digest))?;
        if let Some(report) = report.filter(StoredReport::stands) {
            return Ok(Begun::Known(Box::new(report)));
        }
        let from = message.sender();
        let sender = Sender {
            site: from.cluster,
            plugin: from.plugin,
            measurement: from.measurement,
            hardware_model: from.hardware_model,
            made_at_ms: message.made_at(),
        };
        let bundle = Bundle { file: file.to_owned(), digest, sender, length: message.length() };
        Ok(Begun::New(Self { bundle, touched_ms: 0, stage: Stage::Copy(0) }))
    }

    /// Goes on until the bundle is done, but for its receipt, or the call is used up.
    fn advance(self, now_ms: u64) -> Result<Step, Status> {
        let Self { bundle, mut stage, .. } = self;
        let mut budget = Budget { left: BUDGET };
        loop {
            stage = match stage.step(&bundle, &mut budget)? {
                Next::Stage(stage) => stage,
                Next::End(judged) => {
                    blob().remove()?;
                    return match judged {
                        Some(judged) => conclude::conclude(&bundle, *judged).map(Step::done),
                        None => Ok(Step::Going { checked: 0, total: 0 }),
                    };
                }
            };
            if budget.is_used_up() {
                let going = Step::Going { checked: stage.checked(&bundle), total: bundle.length };
                Self { bundle, touched_ms: now_ms, stage }.save()?;
                return Ok(going);
            }
        }
    }

    /// Whether the verdict stands and only its effects are left to do.
    fn is_judged(&self) -> bool {
        match self.stage {
            Stage::Copy(_) | Stage::Check(_) => false,
            Stage::Register(_) | Stage::Drop(_) | Stage::Abandon => true,
        }
    }

    fn load() -> Result<Option<Self>, Error> {
        let Some(bytes) = blob().read()? else {
            return Ok(None);
        };
        let active = decode(&bytes, STATE_BYTES_MAX);
        active.map(Some).map_err(|_| Error::Malformed("the check that was begun"))
    }

    fn save(&self) -> Result<(), Error> {
        blob().write(&encode(self))
    }
}

impl Stage {
    fn step(self, bundle: &Bundle, budget: &mut Budget) -> Result<Next, Status> {
        match self {
            Self::Copy(copied) => copy(bundle, copied, budget),
            Self::Check(reconciler) => {
                let reconciler = check::check(bundle, *reconciler, budget)?;
                Ok(Next::Stage(judge(reconciler)))
            }
            Self::Register(judged) => {
                let done = repeat(register::register_some, budget)?;
                Ok(if done { Next::End(Some(judged)) } else { Next::Stage(Self::Register(judged)) })
            }
            Self::Drop(judged) => {
                let done = repeat(register::drop_some, budget)?;
                Ok(if done { Next::End(Some(judged)) } else { Next::Stage(Self::Drop(judged)) })
            }
            Self::Abandon => {
                let done = repeat(register::drop_some, budget)?;
                Ok(if done { Next::End(None) } else { Next::Stage(Self::Abandon) })
            }
        }
    }

    /// How much of the bundle is checked: its body is read three times.
    fn checked(&self, bundle: &Bundle) -> u64 {
        match self {
            Self::Copy(copied) => copied / 3,
            Self::Check(reconciler) => {
                let readings = if reconciler.is_whole() { 2 } else { 1 };
                let read = reconciler.wanted().unwrap_or(bundle.length);
                (bundle.length.saturating_mul(readings).saturating_add(read)) / 3
            }
            Self::Register(_) | Self::Drop(_) | Self::Abandon => bundle.length,
        }
    }
}

impl Step {
    fn done(report: StoredReport) -> Self {
        Self::Done(Box::new(report))
    }
}

impl Budget {
    /// Whether something of this cost may be done; then it is paid for. The last thing may cost
    /// more than what is left, so that every call gets on.
    pub(crate) fn pay(&mut self, cost: u32) -> bool {
        let allowed = !self.is_used_up();
        self.left = self.left.saturating_sub(cost);
        if caller::time_left_ms() < TIME_LEFT_MS_MIN {
            self.left = 0;
        }
        allowed
    }

    fn is_used_up(&self) -> bool {
        self.left == 0
    }
}

/// Copies the body; then it is read.
fn copy(bundle: &Bundle, mut copied: u64, budget: &mut Budget) -> Result<Next, Status> {
    let message = messages::open(Purpose::Bundle, &bundle.file)?;
    while copied < bundle.length {
        if !budget.pay(COPY_COST) {
            return Ok(Next::Stage(Stage::Copy(copied)));
        }
        copied += opened::copy_piece(&bundle.digest, &message, copied)?;
    }
    let Sender { site, made_at_ms, .. } = &bundle.sender;
    let held = catalog::site_state(site)?;
    let reconciler = Reconciler::new(site, bundle.digest, *made_at_ms, held);
    Ok(Next::Stage(Stage::Check(Box::new(reconciler))))
}

/// What follows the check: nothing yet, or what the verdict says.
fn judge(reconciler: Reconciler) -> Stage {
    if reconciler.wanted().is_some() {
        return Stage::Check(Box::new(reconciler));
    }
    let outcome = reconciler.finish().expect("a reconciler that wants nothing is done");
    let clean = outcome.advanced && report::receipt_verdict(outcome.report.verdict).is_some();
    let judged = Box::new(Judged { report: outcome.report, state: outcome.state });
    if clean { Stage::Register(judged) } else { Stage::Drop(judged) }
}

/// Repeats a part until it says that it is done; false where the call is used up before.
fn repeat(
    mut part: impl FnMut() -> Result<bool, Error>,
    budget: &mut Budget,
) -> Result<bool, Error> {
    while budget.pay(BATCH_COST) {
        if part()? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn blob() -> Blob {
    Blob::new("ingest", "active")
}
