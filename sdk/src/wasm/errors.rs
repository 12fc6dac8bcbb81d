//! The contract's error, as the SDK's.

use crate::{
    bindings::mintmark::host::types as wit,
    error::{Error, Limit, Reason},
};

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(reason) => Self::Denied(reason.into()),
            wit::Error::NotFound => Self::NotFound,
            wit::Error::Invalid(reason) => Self::Invalid(reason.into()),
            wit::Error::Conflict(reason) => Self::Conflict(reason.into()),
            wit::Error::Exhausted(limit) => Self::Exhausted(limit.into()),
            wit::Error::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl From<wit::Reason> for Reason {
    fn from(reason: wit::Reason) -> Self {
        let wit::Reason { code, detail, metadata } = reason;
        Self { code, detail, metadata }
    }
}

impl From<wit::Limit> for Limit {
    fn from(limit: wit::Limit) -> Self {
        let wit::Limit { code, detail, retry_after_ms } = limit;
        Self { code, detail, retry_after_ms }
    }
}
