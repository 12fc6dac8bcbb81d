//! What the host says, as the messages of the service.

use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::{Change, Directive};
use mintmark_exchange::grant::Grant;
use mintmark_exchange::proof::confirm_bytes;
use mintmark_exchange::receipt::ReceiptBody;
use mintmark_exchange::reconcile::Verdict;
use mintmark_exchange::sha256;
use mintmark_sdk::allotments::{
    AllotmentState, AllotmentStatus, Artefact, Counters, RevocationFile, UnitState, UnitStatus,
};
use mintmark_sdk::messages::Sealed;
use mintmark_sdk::{Digest, Error};

use crate::bundle::Stretch;
use crate::proto;

/// An import that succeeded.
pub(crate) fn imported(grant: Grant) -> proto::ImportResponse {
    proto::ImportResponse {
        entitlement: grant.entitlement,
        number: grant.number,
        order_number: grant.order,
        product: grant.product.id,
        total: grant.terms.total,
        not_before_ms: grant.terms.not_before,
        not_after_ms: grant.terms.not_after,
    }
}

/// The state of an entitlement.
pub(crate) fn entitlement(
    grant: Grant,
    status: &AllotmentStatus,
    chain: Vec<Vec<u8>>,
) -> proto::EntitlementStatus {
    let terms = grant.terms;
    let rates = terms.rates.iter();
    let rates = rates.map(|rate| proto::Rate { units: rate.units, per_seconds: rate.per_seconds });
    proto::EntitlementStatus {
        entitlement: grant.entitlement,
        number: grant.number,
        order_number: grant.order,
        exporter: grant.exporter,
        product: grant.product.id,
        product_name: grant.product.name,
        state: entitlement_state(status.state).into(),
        counters: Some(counters(&status.counters)),
        not_before_ms: terms.not_before,
        not_after_ms: status.not_after,
        rates: rates.collect(),
        max_in_doubt: terms.max_in_doubt,
        since_receipt: status.since_receipt,
        audit_return_units: terms.audit_return.units,
        receipt_due_ms: status.receipt_due,
        chain,
    }
}

/// An entitlement that only another version of this plugin can use.
pub(crate) fn of_another_version(entitlement: String) -> proto::EntitlementStatus {
    let state = proto::EntitlementState::OtherVersion.into();
    proto::EntitlementStatus { entitlement, state, ..proto::EntitlementStatus::default() }
}

/// What a device gets. Nothing in it depends on anything but the unit and what it released, so a
/// repetition gives the same bytes.
pub(crate) fn identity(
    entitlement: &str,
    status: UnitStatus,
    artefact: Artefact,
    chain: Vec<Vec<u8>>,
) -> Result<proto::DeviceIdentity, Error> {
    let message = confirm_message(entitlement, status.number, &artefact)?;
    let sealed_key = artefact.sealed_key.map(|sealed| proto::SealedKey {
        suite: sealed.suite,
        encapsulated_key: sealed.encapsulated_key,
        ciphertext: sealed.ciphertext,
    });
    Ok(proto::DeviceIdentity {
        unit: status.number,
        serial: status.serial,
        public_key: artefact.public_key,
        certificate: artefact.certificate.unwrap_or_default(),
        chain,
        sealed_key,
        confirm_nonce: artefact.confirm_nonce,
        confirm_message: message,
    })
}

/// What is known about a unit.
pub(crate) fn unit(entitlement: &str, status: UnitStatus) -> proto::UnitStatus {
    let bytes = |digest: Option<Digest>| digest.map(Vec::from).unwrap_or_default();
    proto::UnitStatus {
        entitlement: entitlement.to_owned(),
        unit: status.number,
        subject: status.subject,
        serial: status.serial,
        state: unit_state(status.state).into(),
        attempts: status.attempts,
        key_hash: bytes(status.key_hash),
        certificate_hash: bytes(status.certificate_hash),
        station: status.station,
        reserved_at_ms: status.reserved_at,
        changed_at_ms: status.changed_at,
        certificates: status.certificates.into(),
    }
}

/// A further certificate of a device.
pub(crate) fn certificate(
    status: UnitStatus,
    ordinal: u16,
    artefact: Artefact,
    chain: Vec<Vec<u8>>,
) -> Result<proto::DeviceCertificate, Error> {
    Ok(proto::DeviceCertificate {
        unit: status.number,
        serial: status.serial,
        ordinal: ordinal.into(),
        certificate: artefact.certificate.ok_or(Error::Malformed("the host's certificate"))?,
        chain,
    })
}

/// A revocation list that the host staged.
pub(crate) fn revocation_list(made: RevocationFile) -> proto::RevocationList {
    proto::RevocationList {
        file_id: made.file,
        digest: made.digest.to_vec(),
        number: made.number,
        revoked: made.revoked,
    }
}

/// A page of units. A page that is not full is the last one.
pub(crate) fn units(
    entitlement: &str,
    page: Vec<UnitStatus>,
    limit: u32,
) -> proto::ListUnitsResponse {
    let full = page.len() >= limit as usize;
    let next = page.last().filter(|_| full).and_then(|last| last.number.checked_add(1));
    let units = page.into_iter().map(|status| unit(entitlement, status)).collect();
    proto::ListUnitsResponse { units, next }
}

/// Where each node's chain ends in a bundle.
pub(crate) fn positions(stretches: Vec<Stretch>) -> Vec<proto::Position> {
    let position = |stretch: Stretch| proto::Position {
        node: stretch.node,
        sequence: stretch.last,
        hash: stretch.last_hash.to_vec(),
    };
    stretches.into_iter().map(position).collect()
}

/// A receipt that the host took.
pub(crate) fn receipt(body: ReceiptBody, renewed: Vec<String>) -> proto::ImportReceiptResponse {
    let positions = body.stretches.into_iter().map(|stretch| proto::Position {
        node: stretch.to.node,
        sequence: stretch.to.sequence,
        hash: stretch.to.hash.to_vec(),
    });
    let verdict = match body.verdict {
        Verdict::Clean => "clean",
        Verdict::CleanWithNotes => "clean-with-notes",
        Verdict::Hold => "hold",
        Verdict::Breach => "breach",
    };
    proto::ImportReceiptResponse {
        bundle: body.bundle.to_vec(),
        verdict: verdict.to_owned(),
        entitlements: renewed,
        positions: positions.collect(),
    }
}

/// A directive that the host acted on. The status has the counters as they were when the call
/// began.
pub(crate) fn directive(
    directive: Directive,
    applied: u64,
    status: Option<&AllotmentStatus>,
) -> proto::ImportDirectiveResponse {
    let change = directive.change.name().to_owned();
    let Some(status) = status else {
        let entitlement = directive.entitlement;
        let unknown = proto::ImportDirectiveResponse::default();
        return proto::ImportDirectiveResponse { change, entitlement, applied, ..unknown };
    };
    let mut after = status.counters;
    match directive.change {
        Change::Reduce { .. } => {
            after.credited = after.credited.saturating_sub(applied);
            after.unused = after.unused.saturating_sub(applied);
        }
        Change::Extend { .. } => {
            after.credited = after.credited.saturating_add(applied);
            after.unused = after.unused.saturating_add(applied);
        }
        Change::Revoke | Change::Shorten { .. } => {}
    }
    proto::ImportDirectiveResponse {
        change,
        entitlement: directive.entitlement,
        applied,
        not_after_ms: status.not_after,
        counters: Some(counters(&after)),
    }
}

/// A closing statement and the file that carries it.
pub(crate) fn closed(statement: ClosingStatement, sealed: Sealed) -> proto::CloseResponse {
    let said = statement.counters;
    let said = Counters {
        credited: said.credited,
        unused: said.unused,
        reserved: said.reserved,
        issued: said.issued,
        confirmed: said.confirmed,
        failed: said.failed,
        scrapped: said.scrapped,
        returned: said.returned,
        lost: said.lost,
        destroyed: said.destroyed,
    };
    proto::CloseResponse {
        file_id: sealed.file,
        digest: sealed.digest.to_vec(),
        counters: Some(counters(&said)),
        in_doubt: statement.in_doubt,
    }
}

/// The bytes that the device signs; without a certificate the public key stands in for it.
fn confirm_message(entitlement: &str, unit: u64, artefact: &Artefact) -> Result<Vec<u8>, Error> {
    let identity = artefact.certificate.as_ref().unwrap_or(&artefact.public_key);
    let nonce = artefact.confirm_nonce.as_slice();
    let nonce = nonce.try_into().map_err(|_| Error::Malformed("the host's nonce"))?;
    Ok(confirm_bytes(entitlement, unit, &sha256(identity), nonce))
}

fn counters(counters: &Counters) -> proto::Counters {
    proto::Counters {
        credited: counters.credited,
        unused: counters.unused,
        reserved: counters.reserved,
        issued: counters.issued,
        confirmed: counters.confirmed,
        failed: counters.failed,
        scrapped: counters.scrapped,
        returned: counters.returned,
        lost: counters.lost,
        destroyed: counters.destroyed,
    }
}

fn entitlement_state(state: AllotmentState) -> proto::EntitlementState {
    match state {
        AllotmentState::Active => proto::EntitlementState::Active,
        AllotmentState::Paused => proto::EntitlementState::Paused,
        AllotmentState::Exhausted => proto::EntitlementState::Exhausted,
        AllotmentState::Revoked => proto::EntitlementState::Revoked,
        AllotmentState::Closed => proto::EntitlementState::Closed,
    }
}

fn unit_state(state: UnitState) -> proto::UnitState {
    match state {
        UnitState::Reserved => proto::UnitState::Reserved,
        UnitState::Issued => proto::UnitState::Issued,
        UnitState::Confirmed => proto::UnitState::Confirmed,
        UnitState::Failed => proto::UnitState::Failed,
        UnitState::Scrapped => proto::UnitState::Scrapped,
        UnitState::Returned => proto::UnitState::Returned,
        UnitState::Lost => proto::UnitState::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTITLEMENT: &str = "ent-0123456789abcdef";

    fn status(number: u64) -> UnitStatus {
        UnitStatus {
            number,
            subject: "SN:1".to_owned(),
            serial: "T-1".to_owned(),
            state: UnitState::Issued,
            attempts: 0,
            key_hash: None,
            certificate_hash: None,
            certificates: 0,
            station: String::new(),
            reserved_at: 1,
            changed_at: 2,
        }
    }

    fn artefact() -> Artefact {
        Artefact {
            public_key: vec![1],
            certificate: Some(vec![2]),
            sealed_key: None,
            confirm_nonce: vec![3; 32],
        }
    }

    #[test]
    fn a_retry_gets_the_same_bytes_whatever_else_changed() {
        let first = identity(ENTITLEMENT, status(7), artefact(), vec![vec![4]]).unwrap();
        let later = UnitStatus { attempts: 3, changed_at: 99, ..status(7) };
        assert_eq!(identity(ENTITLEMENT, later, artefact(), vec![vec![4]]), Ok(first));
    }

    #[test]
    fn the_device_signs_its_certificate_or_else_its_key() {
        let signed = |artefact| {
            identity(ENTITLEMENT, status(7), artefact, Vec::new()).unwrap().confirm_message
        };
        let expected = |hashed: &[u8]| confirm_bytes(ENTITLEMENT, 7, &sha256(hashed), &[3; 32]);
        assert_eq!(signed(artefact()), expected(&[2]));
        assert_eq!(signed(Artefact { certificate: None, ..artefact() }), expected(&[1]));
    }

    #[test]
    fn a_nonce_of_another_length_is_a_fault_and_no_confirmation() {
        let artefact = Artefact { confirm_nonce: vec![3; 31], ..artefact() };
        assert!(identity(ENTITLEMENT, status(7), artefact, Vec::new()).is_err());
    }

    #[test]
    fn pages_go_on_after_the_last_unit() {
        let page = || vec![status(4), status(8)];
        assert_eq!(units(ENTITLEMENT, page(), 2).next, Some(9));
        assert_eq!(units(ENTITLEMENT, page(), 3).next, None);
        assert_eq!(units(ENTITLEMENT, vec![status(u64::MAX)], 1).next, None);
    }
}
