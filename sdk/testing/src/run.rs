//! One call, end to end, as the runtime does it: begin, run, commit or abort, answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use futures_executor::block_on;
use mintmark_custody::{Aborted, Call, Carry, CommitFailure, Session};
use mintmark_model::{Reason, ReasonClass, Refusal};
use mintmark_sdk::{Code, Plugin, Status, backend};
use prost::Message;

use crate::backend::{HostBackend, Overtaken};
use crate::host::{Installed, TestHost};

/// How often a call runs again because others were faster.
const RERUNS_MAX: u32 = 3;

/// How a run of the plugin's code ended.
enum Ran<T> {
    Returned(Result<T, Status>),
    /// Another call was faster.
    Overtaken,
    Panicked,
}

/// What follows a run.
enum Next<T> {
    Answer(Result<T, Status>),
    Rerun(Carry),
}

impl TestHost {
    /// Calls a method of an installed plugin, as `name` in `role`: the role is checked against the
    /// manifest, and the answer is there when the commit is durable. `method` is a name, or
    /// `<package.Service>/<Method>` where several services have the same.
    ///
    /// # Errors
    /// What the client would read; the gRPC code is the host's choice there.
    ///
    /// # Panics
    /// For a method that no installed plugin has, a role that there is not, and an answer of
    /// another type.
    pub fn call<Response: Message + Default>(
        &self,
        role: &str,
        name: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<Response, Status> {
        let answer = self.call_bytes(role, name, method, &request.encode_to_vec())?;
        Ok(Response::decode(&answer[..]).expect("the method answers with this message"))
    }

    /// [`call`](Self::call) with the request as bytes, for requests that are none.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Panics
    /// As [`call`](Self::call).
    pub fn call_bytes(
        &self,
        role: &str,
        name: &str,
        method: &str,
        request: &[u8],
    ) -> Result<Vec<u8>, Status> {
        let (plugin, found) = self
            .plugins
            .values()
            .find_map(|plugin| Some((plugin, plugin.manifest.method(method)?)))
            .expect("an installed plugin has the method");
        let principal = self.principal(role, name);
        if !found.roles.contains(&principal.role) {
            return Err(status_of(Refusal::denied("The role may not call this method.")));
        }
        let path = format!("/{}/{}", found.service, found.name);
        let session = Session::new(principal, Some(plugin.claims.clone()), path, request);
        self.run_session(plugin, &session, || {
            (plugin.dispatch)(&found.service, &found.name, request)
        })
    }

    /// Runs code of the plugin `P` in one call of its own, committed if it returns `Ok`. It may run
    /// several times, where other calls are faster.
    ///
    /// # Errors
    /// Those of `work`, or the host's in their place.
    ///
    /// # Panics
    /// For a plugin that is not installed, and a role that there is not.
    pub fn run<P: Plugin, T>(
        &self,
        role: &str,
        name: &str,
        work: impl Fn() -> Result<T, Status>,
    ) -> Result<T, Status> {
        let session = self.session_of::<P>(role, name);
        let plugin = self.plugins.get(P::NAME).expect("the plugin is installed");
        self.run_session(plugin, &session, work)
    }

    fn run_session<T>(
        &self,
        plugin: &Installed,
        session: &Session,
        work: impl Fn() -> Result<T, Status>,
    ) -> Result<T, Status> {
        let mut carry = None;
        for _ in 0..=RERUNS_MAX {
            let call = block_on(self.custody.begin(session.clone(), carry.take()));
            let (ran, call) = run_once(plugin, call.map_err(status_of)?, &work);
            match end(ran, call) {
                Next::Answer(answer) => return answer,
                Next::Rerun(next) => carry = Some(next),
            }
        }
        // What a limited key released is committed all the same.
        let call = block_on(self.custody.begin(session.clone(), carry)).map_err(status_of)?;
        block_on(call.abort(Reason::Conflict));
        let detail = "Other calls were faster each time; try again.";
        Err(status_of(Refusal::new(Reason::Conflict, detail).retry_after(100)))
    }
}

/// Runs the plugin's code with the call behind the SDK's wrappers, and takes the call out again.
fn run_once<T>(
    plugin: &Installed,
    call: Call,
    work: &impl Fn() -> Result<T, Status>,
) -> (Ran<T>, Call) {
    let host = HostBackend::new(call, plugin.manifest.deadline_ms());
    let installed = backend::install(Rc::new(host.clone()));
    // A panic ends a call as a trap does; nothing that it left half done is looked at again.
    let ran = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(returned) => Ran::Returned(returned),
        Err(payload) if payload.is::<Overtaken>() => Ran::Overtaken,
        Err(_) => Ran::Panicked,
    };
    drop(installed);
    (ran, host.end())
}

fn end<T>(ran: Ran<T>, call: Call) -> Next<T> {
    if call.must_rerun() {
        return Next::Rerun(call.into_carry());
    }
    match ran {
        Ran::Returned(Ok(answer)) => match block_on(call.commit()) {
            Ok(()) => Next::Answer(Ok(answer)),
            Err(CommitFailure::Conflict(carry)) => Next::Rerun(carry),
            Err(CommitFailure::Refused(refusal)) => Next::Answer(Err(status_of(refusal))),
        },
        Ran::Returned(Err(status)) => {
            let reason = Reason::from_code(&status.reason).unwrap_or_else(|| nearest(status.code));
            Next::Answer(Err(abort(call, reason, status)))
        }
        Ran::Overtaken | Ran::Panicked => {
            Next::Answer(Err(abort(call, Reason::PluginFault, fault())))
        }
    }
}

/// Drops what the plugin wrote; of a call that used a limited key not a word of the plugin's comes
/// out.
fn abort(call: Call, reason: Reason, status: Status) -> Status {
    let Aborted { tainted, unwritten } = block_on(call.abort(reason));
    match unwritten {
        _ if tainted => fault(),
        Some(refusal) => status_of(refusal),
        None => status,
    }
}

fn fault() -> Status {
    let detail = "The plugin failed; a retry gives what it had made.";
    status_of(Refusal::new(Reason::PluginFault, detail))
}

/// A refusal of the host's as the client reads it.
pub(crate) fn status_of(refusal: Refusal) -> Status {
    let code = match refusal.reason.class() {
        ReasonClass::Denied => Code::PermissionDenied,
        ReasonClass::NotFound => Code::NotFound,
        ReasonClass::Invalid => Code::InvalidArgument,
        ReasonClass::Conflict => Code::FailedPrecondition,
        ReasonClass::Exhausted => Code::ResourceExhausted,
        ReasonClass::Unavailable => Code::Unavailable,
    };
    let mut status = Status::new(code, refusal.reason.code(), refusal.detail);
    status.retry_after_ms = refusal.retry_after_ms;
    status.metadata = refusal.metadata;
    status
}

/// What the ledger's row names where the plugin's reason is none of the host's.
fn nearest(code: Code) -> Reason {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Reason::InvalidArgument,
        Code::NotFound => Reason::NotFound,
        Code::PermissionDenied | Code::Unauthenticated => Reason::PermissionDenied,
        Code::ResourceExhausted | Code::DeadlineExceeded => Reason::BudgetExceeded,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Reason::WrongState,
        Code::Unavailable | Code::Cancelled => Reason::Unavailable,
        Code::Internal | Code::Unknown | Code::DataLoss => Reason::PluginFault,
    }
}
