//! Refusals as gRPC statuses: the only place where a reason becomes a gRPC code.
//!
//! A status carries `google.rpc.ErrorInfo` with the domain `mintmark`, the stable reason code and
//! facts for programs, and `google.rpc.RetryInfo` where waiting helps. A test keeps [`grpc_code`]
//! equal to the table in `REASONS.md`.

use std::{collections::HashMap, time::Duration};

use mintmark_model::{Reason, Refusal};
use mintmark_runtime::{Code as PluginCode, PluginStatus, Refused};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{limits, text::escaped};

/// The domain of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "mintmark";

/// The gRPC code of a reason.
///
/// `UNAVAILABLE` and `ABORTED` are for what the same request can overcome by itself; what somebody
/// must do first is `FAILED_PRECONDITION`, because clients repeat the former without asking.
#[must_use]
pub const fn grpc_code(reason: Reason) -> Code {
    match reason {
        Reason::QuotaExhausted
        | Reason::InDoubtExhausted
        | Reason::RateLimited
        | Reason::AttemptsExhausted
        | Reason::StorageFull
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
        // The domain can name a reason before this table does; the test below does not let that be
        // released.
        _ => Code::Unknown,
    }
}

/// The status for a refusal of the host.
#[must_use]
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the end of the refusal, and fits `map_err`"
)]
pub fn status(refusal: Refusal) -> Status {
    let facts = refusal.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let retry = refusal.retry_after_ms.map(Duration::from_millis);
    let code = grpc_code(refusal.reason);
    details(code, refusal.reason.code(), &refusal.detail, retry, facts)
}

/// The status for a call of a plugin that did not succeed.
#[must_use]
pub fn plugin_status(refused: Refused) -> Status {
    match refused {
        Refused::Host(refusal) => status(refusal),
        Refused::Plugin(own) => own_status(&own),
    }
}

/// Every part is the plugin's own words; but for a reason that the host knows, the host chooses the
/// code.
fn own_status(own: &PluginStatus) -> Status {
    let code = Reason::from_code(&own.reason).map_or(code_of(own.code), grpc_code);
    let facts = own.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let retry = own.retry_after_ms.map(Duration::from_millis);
    details(code, &own.reason, &own.message, retry, facts)
}

/// A plugin's code, as tonic names it. `OK` is not among them: it is no refusal.
const fn code_of(code: PluginCode) -> Code {
    match code {
        PluginCode::Cancelled => Code::Cancelled,
        PluginCode::Unknown => Code::Unknown,
        PluginCode::InvalidArgument => Code::InvalidArgument,
        PluginCode::DeadlineExceeded => Code::DeadlineExceeded,
        PluginCode::NotFound => Code::NotFound,
        PluginCode::AlreadyExists => Code::AlreadyExists,
        PluginCode::PermissionDenied => Code::PermissionDenied,
        PluginCode::ResourceExhausted => Code::ResourceExhausted,
        PluginCode::FailedPrecondition => Code::FailedPrecondition,
        PluginCode::Aborted => Code::Aborted,
        PluginCode::OutOfRange => Code::OutOfRange,
        PluginCode::Unimplemented => Code::Unimplemented,
        PluginCode::Internal => Code::Internal,
        PluginCode::Unavailable => Code::Unavailable,
        PluginCode::DataLoss => Code::DataLoss,
        PluginCode::Unauthenticated => Code::Unauthenticated,
    }
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
            "# Reason codes\n\n\
             What a refusal says in `google.rpc.ErrorInfo.reason`, and its gRPC code.\n\n\
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

    fn own(code: PluginCode, reason: &str) -> PluginStatus {
        PluginStatus {
            code,
            reason: reason.to_owned(),
            message: "x\n".repeat(5_000),
            retry_after_ms: Some(7),
            metadata: vec![("name\r".to_owned(), "v".repeat(1_000)); 100],
        }
    }

    #[test]
    fn a_plugin_cannot_choose_the_code_of_a_reason_that_the_host_knows() {
        let told = |code, reason| plugin_status(Refused::Plugin(own(code, reason))).code();
        assert_eq!(told(PluginCode::Unavailable, "EXPIRED"), Code::FailedPrecondition);
        assert_eq!(told(PluginCode::DataLoss, "MELTED"), Code::DataLoss);
    }

    #[test]
    fn w13_a_plugins_words_are_bounded_and_escaped() {
        let status = own_status(&own(PluginCode::Internal, "MELTED"));
        let text = status.message();
        assert!(text.len() <= limits::STATUS_TEXT_BYTES_MAX && !text.contains('\n'));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "MELTED");
        assert!(info.metadata.len() <= limits::STATUS_FACTS_MAX);
        for (name, value) in &info.metadata {
            assert!(!name.contains('\r') && value.len() <= limits::STATUS_FACT_BYTES_MAX);
        }
    }
}
