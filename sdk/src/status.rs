//! What a service method answers when it refuses: a gRPC code, a stable reason, a sentence.

use crate::error::Error;

/// The codes of gRPC, without `OK`. For a reason that the host knows it chooses the code itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The caller gave up.
    Cancelled,
    /// Nothing better is known.
    Unknown,
    /// The request is at fault, whatever the state of the system.
    InvalidArgument,
    /// It took too long.
    DeadlineExceeded,
    /// There is no such thing.
    NotFound,
    /// There is one already.
    AlreadyExists,
    /// The caller may not.
    PermissionDenied,
    /// A limit was met.
    ResourceExhausted,
    /// The state of the system does not allow it.
    FailedPrecondition,
    /// Another call came in between.
    Aborted,
    /// Past the end.
    OutOfRange,
    /// There is no such method.
    Unimplemented,
    /// An invariant is broken.
    Internal,
    /// Not now.
    Unavailable,
    /// Data is lost or damaged.
    DataLoss,
    /// It is not known who calls.
    Unauthenticated,
}

/// A refusal, as it reaches the caller: `google.rpc.ErrorInfo` with the domain `mintmark`, and
/// `RetryInfo` where waiting helps.
///
/// ```
/// use mintmark_sdk::Status;
///
/// fn lot(text: &str) -> Result<u32, Status> {
///     text.parse().map_err(|_| Status::invalid("INVALID_ARGUMENT", "the lot is a number"))
/// }
/// assert_eq!(lot("x").unwrap_err().reason, "INVALID_ARGUMENT");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
#[non_exhaustive]
pub struct Status {
    /// The gRPC code.
    pub code: Code,
    /// A stable reason code in capitals, such as `WRONG_STATE`.
    pub reason: String,
    /// At most 1 KiB, for a person. It never repeats what the caller sent, and holds no secret.
    pub message: String,
    /// When the same request can succeed.
    pub retry_after_ms: Option<u64>,
    /// Facts for a program: at most 8, of 128 bytes each.
    pub metadata: Vec<(String, String)>,
}

impl Status {
    /// A refusal with every part that is always there.
    pub fn new(code: Code, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            retry_after_ms: None,
            metadata: Vec::new(),
        }
    }

    /// The request is at fault, whatever the state of the system.
    pub fn invalid(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, reason, message)
    }

    /// There is no such thing; the reason is `NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, "NOT_FOUND", message)
    }

    /// The caller may not.
    pub fn denied(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, reason, message)
    }

    /// There is one already, such as the first import of a message that comes again.
    pub fn exists(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::AlreadyExists, reason, message)
    }

    /// The state of the system does not allow it; the reason is `WRONG_STATE`.
    pub fn wrong_state(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, "WRONG_STATE", message)
    }

    /// A limit was met.
    pub fn exhausted(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, reason, message)
    }

    /// Not now; the reason is `UNAVAILABLE`.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, "UNAVAILABLE", message)
    }

    /// An invariant of the plugin is broken; the reason is `PLUGIN_FAULT`.
    pub fn fault(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, "PLUGIN_FAULT", message)
    }

    /// The plugin has no such service or method; the reason is `NOT_FOUND`.
    pub fn unimplemented() -> Self {
        let message = "the plugin has no such method";
        Self::new(Code::Unimplemented, "NOT_FOUND", message)
    }

    /// Adds a fact for a program.
    #[must_use]
    pub fn with_fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// Says when the same request can succeed.
    #[must_use]
    pub fn with_retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Denied(_) => Code::PermissionDenied,
            Error::NotFound => Code::NotFound,
            Error::Invalid(_) => Code::InvalidArgument,
            Error::Conflict(_) => Code::FailedPrecondition,
            Error::Exhausted(_) => Code::ResourceExhausted,
            Error::Unavailable(_) => Code::Unavailable,
            Error::Malformed(_) => Code::Internal,
        };
        let mut status = Self::new(code, error.code(), error.detail());
        status.retry_after_ms = error.retry_after_ms();
        status.metadata = error.metadata().to_vec();
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Limit, Reason};

    #[test]
    fn the_hosts_reason_reaches_the_caller_whole() {
        let mut reason = Reason::new("REPLAYED", "this message was imported before");
        reason.metadata.push(("row".to_owned(), "17".to_owned()));
        let status = Status::from(Error::Conflict(reason.clone()));
        assert_eq!(status.code, Code::FailedPrecondition);
        assert_eq!(status.reason, "REPLAYED");
        assert_eq!(status.message, reason.detail);
        assert_eq!(status.metadata, reason.metadata);
    }

    #[test]
    fn a_limit_says_when_to_come_again() {
        let limit = Limit {
            code: "RATE_LIMITED".to_owned(),
            detail: "400 units in 10 s are reserved".to_owned(),
            retry_after_ms: Some(1_250),
        };
        let status = Status::from(Error::Exhausted(limit));
        assert_eq!((status.code, status.retry_after_ms), (Code::ResourceExhausted, Some(1_250)));
    }
}
