//! Why not: the stable reason codes of the protocol, and the refusal that carries one.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $class:ident;)*) => {
        /// A stable reason code. The text of a code never changes once it is released.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it travels.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Which case of the contract's error carries the reason.
            #[must_use]
            pub const fn class(self) -> ReasonClass {
                match self { $(Self::$variant => ReasonClass::$class,)* }
            }
        }
    };
}

reasons! {
    /// Every unit is taken; only headquarters can give more.
    QuotaExhausted = "QUOTA_EXHAUSTED", Exhausted;
    /// Too many units are reserved or issued without a confirmation.
    InDoubtExhausted = "IN_DOUBT_EXHAUSTED", Exhausted;
    /// A rate window is full; waiting helps.
    RateLimited = "RATE_LIMITED", Exhausted;
    /// The window has not begun.
    NotYetValid = "NOT_YET_VALID", Denied;
    /// The window has ended.
    Expired = "EXPIRED", Denied;
    /// The allotment was closed.
    Closed = "CLOSED", Denied;
    /// Reservations wait for headquarters' receipt.
    ReceiptOverdue = "RECEIPT_OVERDUE", Exhausted;
    /// The clock cannot be relied on.
    ClockSuspect = "CLOCK_SUSPECT", Denied;
    /// Headquarters revoked the entitlement.
    Revoked = "REVOKED", Denied;
    /// The message or grant is for another cluster.
    WrongSite = "WRONG_SITE", Denied;
    /// The plugin, or its measurement, is not one that may do this.
    WrongPlugin = "WRONG_PLUGIN", Denied;
    /// A message that is not authentic. Nothing more is said.
    UntrustedMessage = "UNTRUSTED_MESSAGE", Denied;
    /// A format that is newer than this host.
    UnsupportedVersion = "UNSUPPORTED_VERSION", Denied;
    /// It was taken before; nothing changed.
    Replayed = "REPLAYED", Conflict;
    /// Something earlier is missing, or something later was taken already.
    OutOfOrder = "OUT_OF_ORDER", Conflict;
    /// The key to which it is sealed was retired, or the one that signed it was replaced.
    KeyRetired = "KEY_RETIRED", Denied;
    /// The subject has a unit elsewhere, or the serial another subject.
    DuplicateSubject = "DUPLICATE_SUBJECT", Conflict;
    /// The public key belongs to another unit.
    DuplicateKey = "DUPLICATE_KEY", Conflict;
    /// The unit belongs to another key.
    KeyMismatch = "KEY_MISMATCH", Conflict;
    /// The product's list does not have the subject.
    SubjectNotListed = "SUBJECT_NOT_LISTED", Invalid;
    /// The serial number does not follow the product's rule.
    SerialOutOfRange = "SERIAL_OUT_OF_RANGE", Invalid;
    /// The certificate request is malformed or does not prove possession.
    CsrInvalid = "CSR_INVALID", Invalid;
    /// The device's proof is missing or wrong.
    ProofInvalid = "PROOF_INVALID", Invalid;
    /// Too many attempts for one subject.
    AttemptsExhausted = "ATTEMPTS_EXHAUSTED", Exhausted;
    /// The state does not allow the step.
    WrongState = "WRONG_STATE", Conflict;
    /// More people must agree first.
    ApprovalRequired = "APPROVAL_REQUIRED", Denied;
    /// The ledger cannot be written, so nothing is released.
    LedgerUnavailable = "LEDGER_UNAVAILABLE", Unavailable;
    /// The disk is nearly full; confirm, fail, scrap and export are served while they can be.
    StorageFull = "STORAGE_FULL", Exhausted;
    /// The host serves only reads.
    ReadOnly = "READ_ONLY", Unavailable;
    /// The store is older than the platform remembers.
    RollbackSuspected = "ROLLBACK_SUSPECTED", Unavailable;
    /// The caller may not do this.
    PermissionDenied = "PERMISSION_DENIED", Denied;
    /// A budget of the call ran out.
    BudgetExceeded = "BUDGET_EXCEEDED", Exhausted;
    /// The plugin failed.
    PluginFault = "PLUGIN_FAULT", Unavailable;
    /// Another call was faster; the same request can succeed.
    Conflict = "CONFLICT", Conflict;
    /// There is no such thing, or the caller may not see it.
    NotFound = "NOT_FOUND", NotFound;
    /// An argument is outside its bounds.
    InvalidArgument = "INVALID_ARGUMENT", Invalid;
    /// Terms that no host would keep.
    TermsInvalid = "TERMS_INVALID", Invalid;
    /// The host cannot do it now.
    Unavailable = "UNAVAILABLE", Unavailable;
}

impl Reason {
    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The cases of the contract's error (`mintmark:host/types.error`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonClass {
    /// The policy refuses.
    Denied,
    /// There is no such thing.
    NotFound,
    /// The argument is at fault.
    Invalid,
    /// The argument contradicts what is stored.
    Conflict,
    /// A limit was met.
    Exhausted,
    /// The host cannot do it now.
    Unavailable,
}

/// A refusal: what happened, why, and when to come back.
///
/// The detail is for a person. It holds no secret and nothing that a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// One sentence.
    pub detail: String,
    /// When the same request can succeed, counted from now, where waiting helps.
    pub retry_after_ms: Option<u64>,
    /// Facts for a program, such as the row of a first import.
    pub metadata: Vec<(String, String)>,
}

impl Refusal {
    /// A refusal for `reason`, said in one sentence.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), retry_after_ms: None, metadata: Vec::new() }
    }

    /// The same, where waiting so long helps.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same, with one more fact for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.metadata.push((name.to_owned(), value.into()));
        self
    }

    /// There is no such thing, or the caller may not see it.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Reason::NotFound, format!("There is no such {what}, or you may not see it."))
    }

    /// An argument is outside its bounds.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Reason::InvalidArgument, detail)
    }

    /// The caller may not do this.
    pub fn denied(detail: impl Into<String>) -> Self {
        Self::new(Reason::PermissionDenied, detail)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        assert_eq!(Reason::from_code("NO_SUCH_CODE"), None);
    }
}
