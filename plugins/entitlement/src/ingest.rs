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
//!
//! Which bundle is being checked is in a small record of its own: whatever became of the check, the
//! next bundle needs no more than that to go on with it, or to forget it.

#[cfg(test)]
mod tests;

use mintmark_exchange::canonical::{decode, encode};
use mintmark_exchange::reconcile::{Reconciler, Report, SiteState};
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Code, Digest, Error, Status, caller, clock};
use serde::de::DeserializeOwned;
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

/// Which bundle is being checked, and how far its check is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Marker {
    bundle: Bundle,
    /// When the last step was made, or the first call for another bundle came after a rest.
    touched_ms: u64,
    /// True from that call until the next step: what is judged may be past going on with.
    retried: bool,
    kind: Kind,
}

/// A [`Stage`] without what is in it.
#[derive(Debug, Default, Serialize, Deserialize)]
enum Kind {
    Copy(u64),
    Check,
    Register,
    /// The same, and a part of it is done.
    Registering,
    Drop,
    #[default]
    Abandon,
}

/// The bundle that is being checked, with its check.
#[derive(Debug)]
struct Active {
    bundle: Bundle,
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
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// The staged file.
    pub(crate) file: String,
    pub(crate) digest: Digest,
    pub(crate) sender: Sender,
    /// Of the body, in bytes.
    pub(crate) length: u64,
}

/// What is to be done next with the bundle.
#[derive(Debug)]
enum Stage {
    /// Its body is copied, from here on: an auditor may want all of it, whatever the verdict.
    Copy(u64),
    /// Its rows are read.
    Check(Box<Reconciler>),
    /// It is clean: what it changes becomes part of the register.
    Register(Box<Judged>),
    /// A part of that is done.
    Registering(Box<Judged>),
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
    /// The same, and nobody has gone on with it for long: from the next call on.
    Retry,
    /// Somebody works on the other file.
    Wait,
    /// Nobody does, or nobody can.
    Abandon,
}

/// How long a check may rest before another one may take its place.
const REST_MS_MAX: u64 = 60_000;
/// What one call may do, and what the parts of it cost: a piece of a body to copy or to follow, a
/// piece whose rows are applied, each with half a dozen calls of the host, and a batch of the
/// register. A call may move 64 MiB in all.
const BUDGET: u32 = 128;
const COPY_COST: u32 = 1;
pub(crate) const FOLLOW_COST: u32 = 1;
pub(crate) const APPLY_COST: u32 = 48;
const BATCH_COST: u32 = 16;
/// A call ends early rather than late.
const TIME_LEFT_MS_MIN: u64 = 2_000;
/// The check between two calls: a site's state and little more.
const CHECK_BYTES_MAX: usize = catalog::STATE_BYTES_MAX;
const MARKER_BYTES_MAX: usize = 64 << 10;

/// Makes one step with the bundle that is staged as `file`.
pub(crate) fn step(file: &str) -> Result<Step, Status> {
    if let Some(report) = StoredReport::of_file(file)?.filter(StoredReport::stands) {
        return again(report, file);
    }
    let now_ms = clock::now();
    let Some(marker) = Marker::load()? else {
        return match Active::begin(file)? {
            Begun::Known(report) => again(*report, file),
            Begun::New(active) => match active.advance(now_ms)? {
                Step::Done(report) if report.lacks_receipt() => receipted(*report, file),
                step => Ok(step),
            },
        };
    };
    match marker.turn(file, now_ms) {
        Turn::Mine => match marker.open()?.advance(now_ms)? {
            // The next call asks for the receipt.
            Step::Done(report) if report.lacks_receipt() => {
                Ok(Step::Going { checked: report.length, total: report.length })
            }
            step => Ok(step),
        },
        Turn::Settle => settle(marker.open()?, now_ms),
        Turn::Retry => {
            // A step that a limit of the host ends leaves no trace of itself.
            Marker { touched_ms: now_ms, retried: true, ..marker }.save()?;
            Ok(Step::Going { checked: 0, total: 0 })
        }
        Turn::Abandon => settle(Active { bundle: marker.bundle, stage: Stage::Abandon }, now_ms),
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

/// The host knows bundles that are done with; where it says which one it was, there is a report.
fn known(error: Error) -> Result<Begun, Status> {
    let report = error.fact("digest").map(StoredReport::load);
    match report {
        Some(Ok(Some(report))) if error.is("REPLAYED") => Ok(Begun::Known(Box::new(report))),
        _ => Err(error.into()),
    }
}

impl Marker {
    fn load() -> Result<Option<Self>, Error> {
        let Some(bytes) = marker_blob().read()? else {
            return Ok(None);
        };
        // One that can't be read is nobody's, and abandoned.
        Ok(Some(decode(&bytes, MARKER_BYTES_MAX).unwrap_or_default()))
    }

    fn save(&self) -> Result<(), Error> {
        marker_blob().write(&encode(self))
    }

    /// What a call for this file does.
    fn turn(&self, file: &str, now_ms: u64) -> Turn {
        let resting = now_ms.saturating_sub(self.touched_ms) > REST_MS_MAX;
        match (self.is_judged(), resting) {
            _ if self.bundle.file == file => Turn::Mine,
            (true, false) => Turn::Settle,
            // A register that has a part of a bundle must have the rest.
            (true, true) if matches!(self.kind, Kind::Registering) => Turn::Settle,
            (true, true) if !self.retried => Turn::Retry,
            (_, true) => Turn::Abandon,
            (false, false) => Turn::Wait,
        }
    }

    /// Whether the verdict stands and only its effects are left to do.
    fn is_judged(&self) -> bool {
        match self.kind {
            Kind::Copy(_) | Kind::Check => false,
            Kind::Register | Kind::Registering | Kind::Drop | Kind::Abandon => true,
        }
    }

    /// The check itself; one that can't be read is abandoned, so that it begins anew.
    fn open(self) -> Result<Active, Error> {
        let stage = match self.kind {
            Kind::Copy(copied) => Some(Stage::Copy(copied)),
            Kind::Check => kept()?.map(Stage::Check),
            Kind::Register => kept()?.map(Stage::Register),
            Kind::Registering => kept()?.map(Stage::Registering),
            Kind::Drop => kept()?.map(Stage::Drop),
            Kind::Abandon => None,
        };
        Ok(Active { bundle: self.bundle, stage: stage.unwrap_or(Stage::Abandon) })
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
        Ok(Begun::New(Self { bundle, stage: Stage::Copy(0) }))
    }

    /// Goes on until the bundle is done, but for its receipt, or the call is used up.
    fn advance(self, now_ms: u64) -> Result<Step, Status> {
        let Self { bundle, mut stage } = self;
        let mut budget = Budget { left: BUDGET };
        loop {
            stage = match stage.step(&bundle, &mut budget)? {
                Next::Stage(stage) => stage,
                Next::End(judged) => {
                    check_blob().remove()?;
                    marker_blob().remove()?;
                    return match judged {
                        Some(judged) => conclude::conclude(&bundle, *judged).map(Step::done),
                        None => Ok(Step::Going { checked: 0, total: 0 }),
                    };
                }
            };
            if budget.is_used_up() {
                let going = Step::Going { checked: stage.checked(&bundle), total: bundle.length };
                Self { bundle, stage }.save(now_ms)?;
                return Ok(going);
            }
        }
    }

    fn save(self, now_ms: u64) -> Result<(), Status> {
        let (kind, check) = match &self.stage {
            Stage::Copy(copied) => (Kind::Copy(*copied), Vec::new()),
            Stage::Check(reconciler) => (Kind::Check, encode(reconciler)),
            Stage::Register(judged) => (Kind::Register, encode(judged)),
            Stage::Registering(judged) => (Kind::Registering, encode(judged)),
            Stage::Drop(judged) => (Kind::Drop, encode(judged)),
            Stage::Abandon => (Kind::Abandon, Vec::new()),
        };
        if check.len() > CHECK_BYTES_MAX {
            let message = "what is known of the site is more than a call can take up again";
            return Err(Status::new(Code::ResourceExhausted, "BUDGET_EXCEEDED", message));
        }
        check_blob().write(&check)?;
        Marker { bundle: self.bundle, touched_ms: now_ms, retried: false, kind }.save()?;
        Ok(())
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
            Self::Register(judged) if budget.is_used_up() => {
                Ok(Next::Stage(Self::Register(judged)))
            }
            Self::Register(judged) | Self::Registering(judged) => {
                let done = repeat(register::register_some, budget)?;
                Ok(match done {
                    true => Next::End(Some(judged)),
                    false => Next::Stage(Self::Registering(judged)),
                })
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
            Self::Register(_) | Self::Registering(_) | Self::Drop(_) | Self::Abandon => {
                bundle.length
            }
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
    let clean = outcome.is_kept();
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

fn marker_blob() -> Blob {
    Blob::new("ingest", "active")
}

fn check_blob() -> Blob {
    Blob::new("ingest", "check")
}

/// What a stage keeps between two calls; `None` where that can't be read.
fn kept<T: Serialize + DeserializeOwned>() -> Result<Option<T>, Error> {
    let bytes = check_blob().read()?.unwrap_or_default();
    Ok(decode(&bytes, CHECK_BYTES_MAX).ok())
}
