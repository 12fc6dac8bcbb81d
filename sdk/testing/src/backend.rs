//! The SDK's backend over a call of the real custody: converts types, decides nothing.

mod allotments;
mod call;
mod keys;
mod messages;

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;

use futures_executor::block_on;
use mintmark_custody::Call;
use mintmark_model::{ReasonClass, Refusal};
use mintmark_sdk::error::{Error, Limit, Reason};

/// What the wrappers ask while one call runs. Clones and the handles that it gives share the call.
#[derive(Clone)]
pub(crate) struct HostBackend(Rc<Shared>);

struct Shared {
    call: RefCell<Option<Call>>,
    deadline_ms: u64,
}

/// What a run is ended with where another call was faster: the plugin does not see the refusal.
pub(crate) struct Overtaken;

/// Something that custody opened, and the way back to the call.
struct Held<T> {
    host: HostBackend,
    open: T,
}

impl HostBackend {
    pub(crate) fn new(call: Call, deadline_ms: u64) -> Self {
        Self(Rc::new(Shared { call: RefCell::new(Some(call)), deadline_ms }))
    }

    /// Takes the call out; handles that are left refuse from now on.
    pub(crate) fn end(&self) -> Call {
        self.0.call.borrow_mut().take().expect("a call ends once")
    }

    /// Asks custody.
    fn ask<T>(&self, work: impl AsyncFnOnce(&mut Call) -> Result<T, Refusal>) -> Result<T, Error> {
        let mut call = self.0.call.borrow_mut();
        let Some(call) = call.as_mut() else {
            return Err(Error::Unavailable("the call is over".to_owned()));
        };
        block_on(work(call)).map_err(|refusal| {
            if call.must_rerun() {
                resume_unwind(Box::new(Overtaken));
            }
            error_of(refusal)
        })
    }

    /// Asks for something that is there in every call.
    fn look<T>(&self, look: impl FnOnce(&Call) -> T) -> T {
        look(self.0.call.borrow().as_ref().expect("a backend is asked while its call runs"))
    }

    fn held<T>(&self, open: T) -> Held<T> {
        Held { host: self.clone(), open }
    }
}

/// What a plugin sees of a refusal.
fn error_of(refusal: Refusal) -> Error {
    let mut reason = Reason::new(refusal.reason.code(), refusal.detail.clone());
    reason.metadata = refusal.metadata;
    match refusal.reason.class() {
        ReasonClass::Denied => Error::Denied(reason),
        ReasonClass::NotFound => Error::NotFound,
        ReasonClass::Invalid => Error::Invalid(reason),
        ReasonClass::Conflict => Error::Conflict(reason),
        ReasonClass::Exhausted => Error::Exhausted(Limit {
            code: reason.code,
            detail: reason.detail,
            retry_after_ms: refusal.retry_after_ms,
        }),
        ReasonClass::Unavailable => Error::Unavailable(refusal.detail),
    }
}

/// A handle that another backend made is none of ours.
fn foreign() -> Error {
    Error::Unavailable("the handle belongs to another backend".to_owned())
}
