//! The one error of the host's functions, as a type that `?` understands.

use std::io;

/// Why not, in a form that a program can read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reason {
    /// A stable code of the protocol, such as `EXPIRED` or `DUPLICATE_SUBJECT`.
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
    /// Facts for a program, such as the row and the state of a first import.
    pub metadata: Vec<(String, String)>,
}

impl Reason {
    /// A reason without metadata.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into(), metadata: Vec::new() }
    }
}

/// Which limit was met.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Limit {
    /// A stable code of the protocol, such as `QUOTA_EXHAUSTED` or `RATE_LIMITED`.
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
    /// When the same request can succeed, counted from now; none where waiting does not help.
    pub retry_after_ms: Option<u64>,
}

/// What a function of the host answers when it does not do what it was asked.
///
/// A service method passes it on with `?`: it becomes a [`Status`](crate::Status) with the same
/// code, and the caller reads the host's reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy refuses. Also the answer where the caller may not learn whether the thing exists.
    #[error("{}: {}", .0.code, .0.detail)]
    Denied(Reason),
    /// There is no such thing, or the plugin may not see it.
    #[error("NOT_FOUND: there is no such thing")]
    NotFound,
    /// The argument is at fault; the same call fails again.
    #[error("{}: {}", .0.code, .0.detail)]
    Invalid(Reason),
    /// The argument contradicts what is stored: a name that is taken, a state that does not allow
    /// the step.
    #[error("{}: {}", .0.code, .0.detail)]
    Conflict(Reason),
    /// A limit of an allotment, of a key or of the call.
    #[error("{}: {}", .0.code, .0.detail)]
    Exhausted(Limit),
    /// The host cannot do it now; the text is for a person.
    #[error("UNAVAILABLE: {0}")]
    Unavailable(String),
    /// Bytes that the plugin stored, or that the host gave, do not decode as what they should be;
    /// the text names it.
    #[error("PLUGIN_FAULT: {0} cannot be read")]
    Malformed(&'static str),
}

impl Error {
    /// The stable reason code.
    pub fn code(&self) -> &str {
        match self {
            Self::Denied(reason) | Self::Invalid(reason) | Self::Conflict(reason) => &reason.code,
            Self::NotFound => "NOT_FOUND",
            Self::Exhausted(limit) => &limit.code,
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Malformed(_) => "PLUGIN_FAULT",
        }
    }

    /// One sentence for a person.
    pub fn detail(&self) -> String {
        match self {
            Self::Denied(reason) | Self::Invalid(reason) | Self::Conflict(reason) => {
                reason.detail.clone()
            }
            Self::NotFound => "there is no such thing".to_owned(),
            Self::Exhausted(limit) => limit.detail.clone(),
            Self::Unavailable(text) => text.clone(),
            Self::Malformed(what) => format!("{what} cannot be read"),
        }
    }

    /// When the same request can succeed, where waiting helps.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Exhausted(limit) => limit.retry_after_ms,
            _ => None,
        }
    }

    /// Facts for a program.
    pub fn metadata(&self) -> &[(String, String)] {
        match self {
            Self::Denied(reason) | Self::Invalid(reason) | Self::Conflict(reason) => {
                &reason.metadata
            }
            _ => &[],
        }
    }

    /// The fact that is called `name`.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.metadata().iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the reason code is `code`.
    pub fn is(&self, code: &str) -> bool {
        self.code() == code
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Denied(_) => io::ErrorKind::PermissionDenied,
            Error::NotFound => io::ErrorKind::NotFound,
            Error::Invalid(_) => io::ErrorKind::InvalidInput,
            Error::Malformed(_) => io::ErrorKind::InvalidData,
            Error::Conflict(_) | Error::Exhausted(_) | Error::Unavailable(_) => {
                io::ErrorKind::Other
            }
        };
        Self::new(kind, error)
    }
}

/// Turns "there is no such thing" into `None`, for questions where absence is an answer.
pub trait Absent<T> {
    /// `Ok(None)` for [`Error::NotFound`]; everything else as it is.
    ///
    /// # Errors
    /// Every error but [`Error::NotFound`].
    fn or_absent(self) -> Result<Option<T>, Error>;
}

impl<T> Absent<T> for Result<T, Error> {
    fn or_absent(self) -> Result<Option<T>, Error> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_an_answer_and_a_refusal_is_not() {
        assert_eq!(Err::<u8, _>(Error::NotFound).or_absent(), Ok(None));
        let refusal = Error::Denied(Reason::new("EXPIRED", "the window is over"));
        assert_eq!(Err::<u8, _>(refusal.clone()).or_absent(), Err(refusal));
    }

    #[test]
    fn facts_are_found_by_name() {
        let mut reason = Reason::new("REPLAYED", "imported before");
        reason.metadata.push(("row".to_owned(), "17".to_owned()));
        let error = Error::Conflict(reason);
        assert_eq!(error.fact("row"), Some("17"));
        assert_eq!(error.fact("state"), None);
        assert!(error.is("REPLAYED"));
    }
}
