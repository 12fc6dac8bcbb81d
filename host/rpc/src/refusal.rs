//! Refusals as gRPC statuses: the only place where a reason becomes a gRPC code.
//!
//! A status carries `google.rpc.ErrorInfo` with the domain `mintmark`, the stable reason code and facts for programs,
//! and `google.rpc.RetryInfo` where waiting helps. A test keeps [`grpc_code`] equal to the table in `REASONS.md`.

use std::{collections::HashMap, time::Duration};

use mintmark_model::{Reason, Refusal};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{limits, text::escaped};

/// The domain of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "mintmark";

/// The gRPC code of a reason.
///
/// `UNAVAILABLE` and `ABORTED` are for what the same request can overcome by itself; what somebody must do first is
/// `FAILED_PRECONDITION`, because clients repeat the former without asking.
#[must_use]
pub const fn grpc_code(reason: Reason) -> Code {
    match reason {
        Reason::QuotaExhausted
        | Reason::InDoubtExhausted
        | Reason::RateLimited
        | Reason::AttemptsExhausted
        | Reason::BudgetExceeded => Code::ResourceExhausted,
        Reason::NotYetValid
        | Reason::Expired
        | Reason::Closed
        | Reason::ReceiptOverdue
        | Reason::ClockSuspect
        | Reason::Revoked
        | Reason::WrongPlugin
        | Reason::UnsupportedVersion
        | Reason::OutOfOrder
        | Reason::KeyRetired
        | Reason::KeyMismatch
        | Reason::WrongState
        | Reason::ApprovalRequired
        | Reason::ReadOnly
        | Reason::RollbackSuspected => Code::FailedPrecondition,
        Reason::WrongSite
        | Reason::UntrustedMessage
        | Reason::SubjectNotListed
        | Reason::CsrInvalid
        | Reason::ProofInvalid
        | Reason::InvalidArgument
        | Reason::TermsInvalid => Code::InvalidArgument,
        Reason::Replayed | Reason::DuplicateSubject | Reason::DuplicateKey => Code::AlreadyExists,
        Reason::SerialOutOfRange => Code::OutOfRange,
        Reason::PermissionDenied => Code::PermissionDenied,
        Reason::NotFound => Code::NotFound,
        Reason::Conflict => Code::Aborted,
        Reason::LedgerUnavailable | Reason::Unavailable => Code::Unavailable,
        Reason::PluginFault => Code::Internal,
        // The domain can name a reason before this table does; the test below does not let that be released.
        _ => Code::Unknown,
    }
}

/// The status for a refusal of the host.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "it is the end of the refusal, and fits `map_err`")]
pub fn status(refusal: Refusal) -> Status {
    let facts = refusal.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let retry = refusal.retry_after_ms.map(Duration::from_millis);
    let code = grpc_code(refusal.reason);
    details(code, refusal.reason.code(), &refusal.detail, retry, facts)
}

/// The status for a refusal by a plugin, whose every part is the plugin's own words.
///
/// For a reason that the host knows, the host chooses the code; for another, `code` stands. `OK` is no refusal.
pub(crate) fn plugin_status<'a>(
    code: Code,
    reason: &str,
    message: &str,
    retry: Option<Duration>,
    facts: impl Iterator<Item = (&'a str, &'a str)>,
) -> Status {
    let known = Reason::from_code(reason);
    let code = match (known, code) {
        (Some(reason), _) => grpc_code(reason),
        (None, Code::Ok) => Code::Unknown,
        (None, code) => code,
    };
    let reason = if is_reason(reason) { reason } else { "UNKNOWN" };
    details(code, reason, message, retry, facts)
}

/// The shape of a reason code: so that a foreign one cannot be mistaken for text.
fn is_reason(code: &str) -> bool {
    (1..=63).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn details<'a>(
    code: Code,
    reason: &str,
    message: &str,
    retry: Option<Duration>,
    facts: impl Iterator<Item = (&'a str, &'a str)>,
) -> Status {
    let fact = |text: &str| escaped(text, limits::STATUS_FACT_BYTES_MAX);
    let facts: HashMap<String, String> = facts
        .take(limits::STATUS_FACTS_MAX)
        .map(|(name, value)| (fact(name), fact(value)))
        .collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, facts);
    if let Some(retry) = retry {
        details.set_retry_info(Some(retry));
    }
    Status::with_error_details(code, escaped(message, limits::STATUS_TEXT_BYTES_MAX), details)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// The table as `REASONS.md` has it.
    fn table() -> String {
        let mut out = String::from(
            "# Reason codes\n\nWhat a refusal says in `google.rpc.ErrorInfo.reason`, and its gRPC code.\n\n\
             | reason | gRPC code |\n|---|---|\n",
        );
        for reason in Reason::ALL {
            let code = protocol_name(grpc_code(*reason));
            writeln!(out, "| `{reason}` | `{code}` |").unwrap();
        }
        out
    }

    /// `FailedPrecondition` as the protocol writes it.
    fn protocol_name(code: Code) -> String {
        let mut name = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn the_documented_table_is_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/REASONS.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, table()).unwrap();
        }
        let documented = std::fs::read_to_string(path).unwrap();
        assert_eq!(documented, table(), "write it anew with UPDATE_GOLDEN=1 and review the change");
    }

    #[test]
    fn every_reason_has_a_code() {
        for reason in Reason::ALL {
            assert_ne!(grpc_code(*reason), Code::Unknown, "{reason} is missing in the table");
        }
    }

    #[test]
    fn a_refusal_travels_with_reason_facts_and_delay() {
        let refusal = Refusal::new(Reason::RateLimited, "The window is full.")
            .retry_after(1_500)
            .with("window", "400/10s");
        let status = status(refusal);
        assert_eq!(status.code(), Code::ResourceExhausted);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), (DOMAIN, "RATE_LIMITED"));
        assert_eq!(info.metadata["window"], "400/10s");
        let retry = status.get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_plugin_cannot_choose_the_code_of_a_reason_that_the_host_knows() {
        let told = |code, reason| plugin_status(code, reason, "", None, std::iter::empty()).code();
        assert_eq!(told(Code::Unavailable, "EXPIRED"), Code::FailedPrecondition);
        assert_eq!(told(Code::Ok, "EXPIRED"), Code::FailedPrecondition);
        assert_eq!(told(Code::DataLoss, "MELTED"), Code::DataLoss);
        assert_eq!(told(Code::Ok, "MELTED"), Code::Unknown);
    }

    #[test]
    fn w13_a_plugins_words_are_bounded_and_escaped() {
        let long = "x".repeat(5_000);
        let facts = (0..100).map(|_| ("name\r\n", long.as_str()));
        let status = plugin_status(Code::Internal, "not a code\n", &long, None, facts);
        assert!(status.message().len() <= limits::STATUS_TEXT_BYTES_MAX);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "UNKNOWN");
        assert!(info.metadata.len() <= limits::STATUS_FACTS_MAX);
        for (name, value) in &info.metadata {
            assert!(!name.contains('\n') && value.len() <= limits::STATUS_FACT_BYTES_MAX);
        }
    }
}
