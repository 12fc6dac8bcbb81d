//! A refused call, as a program reads it.

use std::{collections::BTreeMap, error::Error as _, fmt, time::Duration};

use mintmark_model::Reason;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{limits, refusal::DOMAIN, text::escaped};

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// The stable reason code; none where the host did not answer, or not as a Mintmark host does.
    pub reason: Option<String>,
    /// For a person. Safe for a terminal.
    pub message: String,
    /// When the same request can succeed, counted from now.
    pub retry_after: Option<Duration>,
    /// Facts for a program, such as the row of a first import.
    pub metadata: BTreeMap<String, String>,
}

impl Failure {
    /// The reason, if this program knows it.
    #[must_use]
    pub fn known_reason(&self) -> Option<Reason> {
        Reason::from_code(self.reason.as_deref()?)
    }

    /// Whether it is this reason.
    #[must_use]
    pub fn is(&self, reason: Reason) -> bool {
        self.known_reason() == Some(reason)
    }

    /// Whether the same request, sent again by itself after [`Self::retry_after`], can succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.retry_after.is_some() || matches!(self.code, Code::Unavailable | Code::Aborted)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        // A connection that broke is told as `UNKNOWN` by the library; nobody knows what the host
        // did, and all methods can be repeated.
        let broke = status.source().is_some_and(|cause| cause.is::<tonic::transport::Error>());
        let code = if broke { Code::Unavailable } else { status.code() };
        let fact = |text: &String| escaped(text, limits::STATUS_FACT_BYTES_MAX);
        Self {
            code,
            reason: info.map(|info| fact(&info.reason)),
            message: escaped(status.message(), limits::STATUS_TEXT_BYTES_MAX),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            metadata: info
                .map(|info| info.metadata.iter().map(|(k, v)| (fact(k), fact(v))).collect())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{reason}: {}", self.message),
            None => write!(f, "{:?}: {}", self.code, self.message),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use mintmark_model::Refusal;

    use super::*;
    use crate::refusal;

    #[test]
    fn a_refusal_arrives_whole() {
        let refused = Refusal::new(Reason::Replayed, "It was imported before.")
            .with("row", "17")
            .retry_after(20);
        let failure = Failure::from(refusal::status(refused));
        assert!(failure.is(Reason::Replayed));
        assert_eq!(failure.message, "It was imported before.");
        assert_eq!(failure.metadata["row"], "17");
        assert_eq!(failure.retry_after, Some(Duration::from_millis(20)));
        assert_eq!(failure.to_string(), "REPLAYED: It was imported before.");
    }

    #[test]
    fn a_status_of_somebody_else_has_no_reason() {
        let failure = Failure::from(Status::unavailable("no\u{1b}[2J host"));
        assert_eq!(failure.reason, None);
        assert!(failure.is_transient());
        assert_eq!(failure.message, "no\\u{1b}[2J host");
    }
}
