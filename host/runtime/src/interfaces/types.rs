//! `types`: the one place where a refusal becomes what a guest sees of it.

use mintmark_model::{ReasonClass, Refusal};

use crate::bindings::mintmark::host::types::{Error, Host, Limit, Reason};
use crate::failure::{Failure, Stop};
use crate::state::State;

impl Host for State {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<Error> {
        match failure {
            Failure::Trap(error) => Err(error),
            // The guest saw what is no longer so; what it would do with the refusal is of no
            // interest.
            Failure::Refused(_) if self.must_rerun() => Err(wasmtime::Error::new(Stop::Rerun)),
            Failure::Refused(refusal) => Ok(error(refusal)),
        }
    }
}

fn error(refusal: Refusal) -> Error {
    match refusal.reason.class() {
        ReasonClass::Denied => Error::Denied(reason(refusal)),
        ReasonClass::NotFound => Error::NotFound,
        ReasonClass::Invalid => Error::Invalid(reason(refusal)),
        ReasonClass::Conflict => Error::Conflict(reason(refusal)),
        ReasonClass::Exhausted => Error::Exhausted(Limit {
            code: refusal.reason.code().to_owned(),
            detail: refusal.detail,
            retry_after_ms: refusal.retry_after_ms,
        }),
        ReasonClass::Unavailable => Error::Unavailable(refusal.detail),
    }
}

fn reason(refusal: Refusal) -> Reason {
    Reason {
        code: refusal.reason.code().to_owned(),
        detail: refusal.detail,
        metadata: refusal.metadata,
    }
}

#[cfg(test)]
mod tests {
    use mintmark_model::Reason as Code;

    use super::*;

    #[test]
    fn every_reason_reaches_the_guest_in_the_case_of_its_class() {
        for code in Code::ALL {
            let seen = error(Refusal::new(*code, "why").with("row", "7"));
            let (class, seen) = match seen {
                Error::Denied(reason) => (ReasonClass::Denied, Some(reason.code)),
                Error::NotFound => (ReasonClass::NotFound, None),
                Error::Invalid(reason) => (ReasonClass::Invalid, Some(reason.code)),
                Error::Conflict(reason) => (ReasonClass::Conflict, Some(reason.code)),
                Error::Exhausted(limit) => (ReasonClass::Exhausted, Some(limit.code)),
                Error::Unavailable(_) => (ReasonClass::Unavailable, None),
            };
            assert_eq!(class, code.class());
            assert!(seen.is_none_or(|seen| seen == code.code()));
        }
    }
}
