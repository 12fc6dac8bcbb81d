//! What a request must look like before the host is asked.
//!
//! The host checks every limit again; what is checked here gives a clear answer early, and decides
//! what to ask the host for.

use std::collections::BTreeMap;

use mintmark_exchange::canonical::{is_name, is_subject};
use mintmark_exchange::grant::{Grant, is_entitlement};
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_sdk::Status;
use mintmark_sdk::allotments::Failure;
use serde::{Deserialize, Serialize};

use crate::proto;

/// How a device of a product gets its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Means {
    /// A certificate for the key of the device's CSR.
    CertifyCsr,
    /// The unit's key, sealed to the key of the device's CSR.
    SealToDevice,
    /// The unit's key, sealed to the calling station.
    SealToStation,
}

impl Means {
    /// The means that a grant asks for; `None` for a combination that no grant has.
    pub(crate) fn of(grant: &Grant) -> Option<Self> {
        match (grant.product.origin, grant.product.delivery) {
            (KeyOrigin::DeviceBorn, Delivery::None) => Some(Self::CertifyCsr),
            (KeyOrigin::DeviceBorn, _) | (_, Delivery::None) => None,
            (_, Delivery::SealedToDevice) => Some(Self::SealToDevice),
            (_, Delivery::SealedToStation) => Some(Self::SealToStation),
        }
    }

    /// Whether the device has to show a CSR.
    fn needs_csr(self) -> bool {
        match self {
            Self::CertifyCsr | Self::SealToDevice => true,
            Self::SealToStation => false,
        }
    }
}

/// A certificate field that a product leaves open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenField {
    pub(crate) name: String,
    pub(crate) bytes_max: u32,
}

/// The rows of a bundle: of a message's 64 MiB, frames and checkpoints take some.
const BUNDLE_BYTES_MAX: u64 = 24 << 20;
const BUNDLE_BYTES_MIN: u64 = 64 << 10;

/// How many bytes of rows a bundle may hold.
pub(crate) fn bundle_bytes(asked: u64) -> Result<u64, Status> {
    match asked {
        0 => Ok(BUNDLE_BYTES_MAX),
        BUNDLE_BYTES_MIN..=BUNDLE_BYTES_MAX => Ok(asked),
        _ => Err(invalid("max_bytes: 64 KiB to 24 MiB are expected")),
    }
}

/// Most bytes of a text that goes into the ledger.
const TEXT_BYTES_MAX: usize = 256;

/// The entitlement and the subject that almost every request names.
pub(crate) fn check_names(entitlement: &str, subject: &str) -> Result<(), Status> {
    check_entitlement(entitlement)?;
    check_subject(subject)
}

/// `ent-` and 16 hexadecimal digits.
pub(crate) fn check_entitlement(entitlement: &str) -> Result<(), Status> {
    if is_entitlement(entitlement) {
        return Ok(());
    }
    Err(invalid("entitlement: `ent-` and 16 hexadecimal digits are expected"))
}

/// 1 to 128 printable ASCII characters.
pub(crate) fn check_subject(subject: &str) -> Result<(), Status> {
    if is_subject(subject) {
        return Ok(());
    }
    Err(invalid("subject: 1 to 128 printable ASCII characters without spaces are expected"))
}

/// There is a CSR exactly where the product needs one.
pub(crate) fn check_csr(means: Means, csr: &[u8]) -> Result<(), Status> {
    match (means.needs_csr(), csr.is_empty()) {
        (true, true) => Err(Status::invalid("CSR_INVALID", "the product needs a CSR")),
        (false, false) => {
            Err(invalid("csr: the product's keys are sealed to the station; leave it out"))
        }
        _ => Ok(()),
    }
}

/// The fields that the request fills, in the order of their names, each one that the product
/// leaves open.
pub(crate) fn fields(
    open: &[OpenField],
    given: BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, Status> {
    for (name, value) in &given {
        let field = open
            .iter()
            .find(|field| field.name == *name)
            .ok_or_else(|| invalid("fields: the product does not leave this field open"))?;
        if value.is_empty() || value.len() > field.bytes_max as usize {
            return Err(invalid("fields: a value is empty or longer than the product allows"));
        }
    }
    Ok(given.into_iter().collect())
}

/// What happened, in words that go into the ledger.
pub(crate) fn check_text(text: &str) -> Result<(), Status> {
    let sound = matches!(text.len(), 1..=TEXT_BYTES_MAX) && !text.chars().any(char::is_control);
    if sound {
        return Ok(());
    }
    Err(invalid("1 to 256 bytes of text without control characters are expected"))
}

/// Whether trying again can help; missing is refused, not guessed.
pub(crate) fn failure(kind: i32) -> Result<Failure, Status> {
    match proto::FailureKind::try_from(kind) {
        Ok(proto::FailureKind::Transient) => Ok(Failure::Transient),
        Ok(proto::FailureKind::Permanent) => Ok(Failure::Permanent),
        Ok(proto::FailureKind::KeyLost) => Ok(Failure::KeyLost),
        Ok(proto::FailureKind::Unspecified) | Err(_) => {
            Err(invalid("kind: transient, permanent or key-lost is expected"))
        }
    }
}

/// The name of a station, without its path.
pub(crate) fn check_station(station: &str) -> Result<(), Status> {
    if is_name(station) {
        return Ok(());
    }
    Err(invalid("station: a name of 1 to 64 characters of a-z, 0-9, - and dot is expected"))
}

/// Which further certificate; the first one came with the identity.
pub(crate) fn ordinal(asked: u32) -> Result<u16, Status> {
    u16::try_from(asked)
        .ok()
        .filter(|ordinal| *ordinal > 0)
        .ok_or_else(|| invalid("ordinal: 1 and more; certificate 0 came with the identity"))
}

/// The size of a page: `asked`, where 0 means the most.
pub(crate) fn page(asked: u32, most: u32) -> Result<u32, Status> {
    match asked {
        0 => Ok(most),
        asked if asked <= most => Ok(asked),
        _ => Err(invalid("limit: the page is too large")),
    }
}

/// The headquarters to report to: the one that is asked for, or the only one.
pub(crate) fn recipient<'a>(exporters: &[&'a str], asked: &str) -> Result<&'a str, Status> {
    let is_asked = |exporter: &&&str| {
        **exporter == asked || exporter.splitn(4, '/').nth(3).is_some_and(|path| path == asked)
    };
    match exporters {
        [] => Err(Status::wrong_state(
            "nobody audits this site: it imported no entitlement, nor headquarters' identity",
        )),
        [only] if asked.is_empty() => Ok(only),
        _ if asked.is_empty() => {
            Err(invalid("headquarters: there are several; name the one to report to"))
        }
        several => several
            .iter()
            .find(is_asked)
            .copied()
            .ok_or_else(|| Status::not_found("these headquarters are not known here")),
    }
}

fn invalid(message: &str) -> Status {
    Status::invalid("INVALID_ARGUMENT", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_the_host_is_asked() {
        assert!(check_names("ent-0123456789abcdef", "SN:1").is_ok());
        for (entitlement, subject) in [
            ("", "SN:1"),
            ("ent-0123456789ABCDEF", "SN:1"),
            ("ent-0123456789abcdef", ""),
            ("ent-0123456789abcdef", "a\u{202e}b"),
        ] {
            let status = check_names(entitlement, subject).unwrap_err();
            assert_eq!(status.reason, "INVALID_ARGUMENT");
        }
    }

    #[test]
    fn a_csr_is_there_exactly_where_it_is_needed() {
        assert!(check_csr(Means::CertifyCsr, b"csr").is_ok());
        assert!(check_csr(Means::SealToStation, b"").is_ok());
        assert_eq!(check_csr(Means::SealToDevice, b"").unwrap_err().reason, "CSR_INVALID");
        assert_eq!(check_csr(Means::SealToStation, b"x").unwrap_err().reason, "INVALID_ARGUMENT");
    }

    #[test]
    fn only_open_fields_can_be_filled_and_their_order_is_fixed() {
        let open =
            ["batch", "hardware"].map(|name| OpenField { name: name.to_owned(), bytes_max: 4 });
        let given = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let sorted = fields(&open, given(&[("hardware", "v2"), ("batch", "7")])).unwrap();
        assert_eq!(sorted[0].0, "batch");
        for wrong in [[("subject", "x")], [("batch", "12345")], [("batch", "")]] {
            assert!(fields(&open, given(&wrong)).is_err());
        }
    }

    #[test]
    fn a_text_for_the_ledger_is_short_and_plain() {
        assert!(check_text("flash verification failed").is_ok());
        for wrong in ["", "two\nlines", "\u{1b}[2J", &"x".repeat(257)] {
            assert!(check_text(wrong).is_err());
        }
    }

    #[test]
    fn a_failure_without_a_kind_is_refused() {
        assert_eq!(failure(1), Ok(Failure::Transient));
        assert_eq!(failure(2), Ok(Failure::Permanent));
        assert_eq!(failure(3), Ok(Failure::KeyLost));
        assert!(failure(0).is_err() && failure(4).is_err() && failure(-1).is_err());
    }

    #[test]
    fn the_bundle_goes_to_the_only_headquarters_or_to_the_one_that_is_named() {
        let berlin = "spiffe://acme/headquarters/berlin";
        let bonn = "spiffe://acme/headquarters/bonn";
        assert_eq!(recipient(&[berlin], ""), Ok(berlin));
        assert_eq!(recipient(&[berlin, bonn], "headquarters/bonn"), Ok(bonn));
        assert_eq!(recipient(&[berlin, bonn], berlin), Ok(berlin));
        assert_eq!(recipient(&[], "").unwrap_err().reason, "WRONG_STATE");
        assert_eq!(recipient(&[berlin, bonn], "").unwrap_err().reason, "INVALID_ARGUMENT");
        assert_eq!(recipient(&[berlin], "bonn").unwrap_err().reason, "NOT_FOUND");
    }

    #[test]
    fn a_station_is_a_name_and_an_ordinal_counts_from_one() {
        assert!(check_station("tester-1").is_ok());
        for wrong in ["", "a/b", "spiffe://acme", "Tester", "a\u{202e}b"] {
            assert!(check_station(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(ordinal(1), Ok(1));
        assert!(ordinal(0).is_err() && ordinal(65_536).is_err());
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(page(0, 100), Ok(100));
        assert_eq!(page(7, 100), Ok(7));
        assert!(page(101, 100).is_err());
    }
}
