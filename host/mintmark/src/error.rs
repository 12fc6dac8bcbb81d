//! What can go wrong on the command line: what happened, why, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use mintmark_custody::{OpenError as NodeError, Suspicion};
use mintmark_model::{Reason, Refusal};
use mintmark_rpc::client::files::TransferError;
use mintmark_rpc::client::{Code, Failure, OpenError};

use crate::output::Page;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line or a file of the user's contradicts itself.
    #[error("{0}")]
    Usage(String),
    /// A file or folder of the user's.
    #[error("cannot {act} {}: {why}", path.display())]
    File { act: &'static str, path: PathBuf, why: io::Error },
    /// A file that would be overwritten.
    #[error("{} is there already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// A file name that leads out of its folder.
    #[error("`{0}` is not a plain file name")]
    Name(String),
    /// A file that is larger than it may be.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge { path: PathBuf, bytes_max: u64 },
    /// A PEM file that holds something else.
    #[error("the file is not PEM with the label `{0}`")]
    Pem(&'static str),
    /// A TOML file that says what is not understood.
    #[error("{} is not understood: {why}", path.display())]
    Toml { path: PathBuf, why: Box<toml::de::Error> },
    /// No host was named.
    #[error("no context is given, so it is not known which host to ask")]
    NoContext,
    /// There is no connection.
    #[error("{0}: {why}", why = source_of(.0))]
    Connect(#[source] OpenError),
    /// The host refused.
    #[error("{0}")]
    Refused(#[from] Failure),
    /// This host, run by this very program, refused.
    #[error("{0}")]
    Own(#[from] Refusal),
    /// The node cannot be opened or made.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The platform cannot be opened or made.
    #[error("{0}")]
    Platform(#[from] mintmark_platform::Error),
    /// The store cannot be opened or made.
    #[error("{0}")]
    Store(#[from] mintmark_store::Error),
    /// The store is not what it should be.
    #[error("{0}")]
    Verify(#[from] mintmark_custody::VerifyError),
    /// The plugins' runtime does not start.
    #[error("the plugins' runtime does not start: {0}")]
    Runtime(#[source] mintmark_runtime::Error),
    /// Serving failed.
    #[error("{0}: {why}", why = source_of(.0))]
    Serve(#[from] mintmark_rpc::ServeError),
    /// Something that was given does not fit, with what to do about it.
    #[error("{what}")]
    Misfit { what: String, next: &'static str },
    /// A check had a bad outcome, which the page shows.
    #[error("the verdict is {verdict}")]
    Verdict { verdict: &'static str, page: Box<Page> },
    /// A store that agrees with itself, as the page shows, and not with its platform.
    #[error("{code}: {suspicion}", code = Reason::RollbackSuspected.code())]
    Suspect { suspicion: Suspicion, page: Box<Page> },
}

impl Error {
    /// Something that does not fit.
    pub(crate) fn misfit(what: impl Into<String>, next: &'static str) -> Self {
        Self::Misfit { what: what.into(), next }
    }

    /// An act on a file that failed.
    pub(crate) fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |why| Self::File { act, path, why }
    }

    /// The stable reason code, where there is one.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(failure) => failure.reason.as_deref(),
            Self::Own(refusal) | Self::Node(NodeError::Refused(refusal)) => {
                Some(refusal.reason.code())
            }
            Self::Store(mintmark_store::Error::Full)
            | Self::Platform(mintmark_platform::Error::Full) => Some(Reason::StorageFull.code()),
            Self::Suspect { .. } => Some(Reason::RollbackSuspected.code()),
            _ => None,
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> Option<&str> {
        match self {
            Self::Refused(failure) if failure.code == Code::Unimplemented => {
                Some("Ask a host whose plugin answers this; `mintmark status` shows the plugins.")
            }
            Self::Refused(failure) => failure.known_reason().and_then(advice),
            Self::Own(refusal) | Self::Node(NodeError::Refused(refusal)) => advice(refusal.reason),
            Self::Store(mintmark_store::Error::Full)
            | Self::Platform(mintmark_platform::Error::Full) => {
                Some("Free space on the host's disk, then start it again.")
            }
            Self::Store(mintmark_store::Error::ReadOnly)
            | Self::Platform(mintmark_platform::Error::ReadOnly) => {
                Some("Let the host's user write both directories, then start it again.")
            }
            Self::Misfit { next, .. } => Some(next),
            Self::Suspect { suspicion: Suspicion::NoAnchor, .. } => Some(
                "Where the platform was lost, bring a backup back with `mintmark restore`; for \
                     a copy that nobody will serve, say --without-anchor.",
            ),
            Self::Suspect { .. } => Some(
                "Keep this store as evidence; `mintmark serve` gives its rows and writes none.",
            ),
            Self::NoContext => {
                Some("Give --context FILE, or set MINTMARK_CONTEXT; `mintmark init` writes one.")
            }
            Self::Connect(_) => {
                Some("Check that the host runs, and address and server_name of the context file.")
            }
            Self::Exists(_) => Some("Choose another place, or move the file away."),
            Self::Verify(_) => Some("Restore the newest backup: `mintmark restore --help`."),
            Self::Platform(mintmark_platform::Error::Locked) => {
                Some("Another process has this node open; stop it first.")
            }
            _ => None,
        }
    }

    /// The exit code: 2 where the command line is at fault.
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_) | Self::NoContext) { 2 } else { 1 }
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Refused(failure) => Self::Refused(failure),
            TransferError::Local(why) => {
                Self::File { act: "transfer", path: PathBuf::from("the file"), why }
            }
        }
    }
}

/// The innermost cause, for errors whose own text leaves it out.
fn source_of(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// What a person does about a refusal.
fn advice(reason: Reason) -> Option<&'static str> {
    let text = match reason {
        Reason::QuotaExhausted => "Ask headquarters for a further entitlement.",
        Reason::InDoubtExhausted => "Confirm, fail or scrap devices that are still in doubt.",
        Reason::RateLimited | Reason::Conflict => "Repeat it after the time that the host names.",
        Reason::NotYetValid => "Wait until the entitlement's window begins.",
        Reason::Expired | Reason::Closed | Reason::Revoked => {
            "Nothing more comes of it; ask headquarters for another."
        }
        Reason::ReceiptOverdue => {
            "Run `audit export` here, `audit ingest` at headquarters, `receipt import` here."
        }
        Reason::ClockSuspect => {
            "Set the machine's clock right; `mintmark clock show` says how far."
        }
        Reason::WrongSite => "Carry the file to the site that it was made for.",
        Reason::WrongPlugin => "Import the other cluster's identity, or use a trusted plugin.",
        Reason::UntrustedMessage => {
            "Fetch the file again from where it was made; the host's log says more."
        }
        Reason::UnsupportedVersion => "Upgrade this host.",
        Reason::OutOfOrder => "Import the earlier files first; `outbox list` shows them.",
        Reason::DuplicateSubject | Reason::DuplicateKey | Reason::KeyMismatch => {
            "Find out with `device show` which device it is; use that device's own key."
        }
        Reason::CsrInvalid => "Make a new request with the device's key.",
        Reason::ApprovalRequired => {
            "Let approvers run `approvals show` and `approvals approve`; then repeat this command."
        }
        Reason::PermissionDenied => "Use the context of somebody whose role may do this.",
        Reason::ReadOnly | Reason::LedgerUnavailable => "Check the host's disk, then restart it.",
        Reason::StorageFull => "Free space on the host's disk; `mintmark status` says how much.",
        Reason::RollbackSuspected => "Restore the newest backup; see `mintmark verify`.",
        Reason::PluginFault => "`plugin list` and the host's log say more; a retry is safe.",
        Reason::NotFound => "Check the name; the list commands show what there is.",
        Reason::TermsInvalid => "Correct the field that the text names.",
        Reason::Unavailable => "Try again; every command can be repeated.",
        Reason::WrongState => "Look at the present state with the show and list commands.",
        Reason::SubjectNotListed => {
            "Check the device's id; the order lists those that are allowed."
        }
        Reason::SerialOutOfRange => "Check the serial number against the product's rule.",
        Reason::ProofInvalid => "Let the device sign the message of its present identity again.",
        Reason::AttemptsExhausted => "Fail the device for good, or scrap it.",
        Reason::BudgetExceeded => "Ask for less at once, or raise the plugin's limits.",
        _ => return None,
    };
    Some(text)
}
