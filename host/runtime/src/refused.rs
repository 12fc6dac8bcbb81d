//! What a caller learns of a call that did not succeed: the host's words, or the plugin's own.

use mintmark_model::{Reason, Refusal};

use crate::bindings::exports::mintmark::plugin::service as wit;
use crate::escape::escaped;

/// The longest message of a plugin's status.
const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// The most facts, and the longest name or value of one.
const FACTS_MAX: usize = 8;
/// See [`FACTS_MAX`].
const FACT_BYTES_MAX: usize = 128;

/// The longest reason code.
const REASON_BYTES_MAX: usize = 63;

/// What stands for a reason that is no code.
const REASON_UNKNOWN: &str = "UNKNOWN";

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The host refuses.
    Host(Refusal),
    /// The plugin refuses, in its own words: bounded, escaped, and only from a call that used no
    /// limited key.
    Plugin(PluginStatus),
}

/// A plugin's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginStatus {
    /// What the plugin chose. For a reason that the host knows, the host's own code holds instead.
    pub code: Code,
    /// A reason code: capital letters, digits and `_`.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// When to come back.
    pub retry_after_ms: Option<u64>,
    /// Facts for a program.
    pub metadata: Vec<(String, String)>,
}

/// The status codes of gRPC, without `OK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of gRPC")]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Refused {
    /// The fixed text for a plugin that failed, or that may not say how.
    pub(crate) fn fault() -> Self {
        let detail = "The plugin failed; a retry gives what it had made.";
        Self::Host(Refusal::new(Reason::PluginFault, detail))
    }

    /// A budget ran out and ended the call.
    pub(crate) fn exceeded(what: &str) -> Self {
        let detail = format!("The call was ended: its budget of {what} ran out.");
        Self::Host(Refusal::new(Reason::BudgetExceeded, detail))
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Host(refusal)
    }
}

impl From<wit::Status> for PluginStatus {
    fn from(status: wit::Status) -> Self {
        let fact = |text: &str| escaped(text, FACT_BYTES_MAX);
        let facts = status.metadata.iter().take(FACTS_MAX);
        Self {
            code: status.code.into(),
            reason: reason_code(status.reason),
            message: escaped(&status.message, MESSAGE_BYTES_MAX),
            retry_after_ms: status.retry_after_ms,
            metadata: facts.map(|(name, value)| (fact(name), fact(value))).collect(),
        }
    }
}

impl PluginStatus {
    /// What the outcome row of the ledger names: the reason, where the host knows it, or the one
    /// that is nearest to the code.
    pub(crate) fn outcome(&self) -> Reason {
        Reason::from_code(&self.reason).unwrap_or(match self.code {
            Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => {
                Reason::InvalidArgument
            }
            Code::NotFound => Reason::NotFound,
            Code::PermissionDenied | Code::Unauthenticated => Reason::PermissionDenied,
            Code::ResourceExhausted | Code::DeadlineExceeded => Reason::BudgetExceeded,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Reason::WrongState,
            Code::Unavailable | Code::Cancelled => Reason::Unavailable,
            Code::Internal | Code::Unknown | Code::DataLoss => Reason::PluginFault,
        })
    }
}

impl From<wit::Code> for Code {
    fn from(code: wit::Code) -> Self {
        match code {
            wit::Code::Cancelled => Self::Cancelled,
            wit::Code::Unknown => Self::Unknown,
            wit::Code::InvalidArgument => Self::InvalidArgument,
            wit::Code::DeadlineExceeded => Self::DeadlineExceeded,
            wit::Code::NotFound => Self::NotFound,
            wit::Code::AlreadyExists => Self::AlreadyExists,
            wit::Code::PermissionDenied => Self::PermissionDenied,
            wit::Code::ResourceExhausted => Self::ResourceExhausted,
            wit::Code::FailedPrecondition => Self::FailedPrecondition,
            wit::Code::Aborted => Self::Aborted,
            wit::Code::OutOfRange => Self::OutOfRange,
            wit::Code::Unimplemented => Self::Unimplemented,
            wit::Code::Internal => Self::Internal,
            wit::Code::Unavailable => Self::Unavailable,
            wit::Code::DataLoss => Self::DataLoss,
            wit::Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

/// The code, where it has a code's form.
fn reason_code(code: String) -> String {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = (1..=REASON_BYTES_MAX).contains(&code.len()) && code.bytes().all(plain);
    if fits { code } else { REASON_UNKNOWN.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: wit::Code, reason: &str) -> PluginStatus {
        PluginStatus::from(wit::Status {
            code,
            reason: reason.to_owned(),
            message: "x\n".repeat(10_000),
            retry_after_ms: None,
            metadata: vec![("name\n".repeat(99), "value".repeat(99)); 99],
        })
    }

    #[test]
    fn w13_a_plugins_words_are_bounded_and_escaped() {
        let status = status(wit::Code::Internal, "no code\n");
        assert!(status.message.len() <= MESSAGE_BYTES_MAX && !status.message.contains('\n'));
        assert_eq!(status.metadata.len(), FACTS_MAX);
        for (name, value) in &status.metadata {
            assert!(name.len() <= FACT_BYTES_MAX && value.len() <= FACT_BYTES_MAX);
            assert!(!name.contains('\n'));
        }
        assert_eq!(status.reason, "UNKNOWN");
    }

    #[test]
    fn the_ledger_names_the_plugins_reason_or_the_nearest_one() {
        assert_eq!(status(wit::Code::Unknown, "REPLAYED").outcome(), Reason::Replayed);
        assert_eq!(status(wit::Code::NotFound, "NO_SUCH_LOT").outcome(), Reason::NotFound);
        assert_eq!(status(wit::Code::Internal, "").outcome(), Reason::PluginFault);
    }
}
