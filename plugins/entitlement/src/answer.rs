//! Grants and terms, as the messages of the service.

use mintmark_exchange::grant::{ConfirmProof, Grant, Terms};
use mintmark_exchange::product::{Delivery, KeyOrigin, Product, Template};
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_exchange::standing::Audit;

use crate::catalog::{Entitlement, LastBundle};
use crate::proto;

/// The answer to an order.
pub(crate) fn created(entitlement: &Entitlement, grant: &Grant) -> proto::CreateResponse {
    proto::CreateResponse {
        entitlement: entitlement.id.clone(),
        number: entitlement.number,
        file_id: entitlement.file.clone(),
        sequence: entitlement.sequence,
        grant_digest: grant.digest().to_vec(),
        product_ca: grant.product_ca.clone().unwrap_or_default(),
    }
}

/// An entitlement and what is known of it.
pub(crate) fn summary(
    entitlement: &Entitlement,
    last: Option<&LastBundle>,
    now_ms: u64,
) -> proto::EntitlementSummary {
    let standing = entitlement.standing(last, now_ms);
    let audit = match standing.audit {
        Audit::Current => proto::AuditState::Current,
        Audit::Overdue => proto::AuditState::Overdue,
        Audit::Complete => proto::AuditState::Complete,
    };
    proto::EntitlementSummary {
        entitlement: entitlement.id.clone(),
        number: entitlement.number,
        order_number: entitlement.order.clone(),
        site: entitlement.site.clone(),
        product: entitlement.product.clone(),
        total: entitlement.total,
        reported: last.map_or(0, LastBundle::taken),
        confirmed: last.map_or(0, |last| last.counters.confirmed),
        in_doubt: last.map_or(0, |last| last.counters.in_doubt()),
        exposure: standing.exposure,
        audit: audit.into(),
        audit_due_ms: standing.due_ms,
        last_report: last.map(|last| last.report.clone()).unwrap_or_default(),
        last_bundle_ms: last.map_or(0, |last| last.as_of_ms),
        issued_at_ms: entitlement.issued_at_ms,
        not_after_ms: entitlement.not_after_ms,
        changes: entitlement.changes,
        revoked: entitlement.revoked,
        closed: entitlement.closed,
    }
}

/// The product of a grant.
pub(crate) fn product(product: Product) -> proto::Product {
    let origin = match product.origin {
        KeyOrigin::DeviceBorn => proto::KeyOrigin::DeviceBorn,
        KeyOrigin::SiteBorn => proto::KeyOrigin::SiteBorn,
        KeyOrigin::Derived => proto::KeyOrigin::Derived,
        KeyOrigin::Pool => proto::KeyOrigin::Pool,
    };
    let delivery = match product.delivery {
        Delivery::None => proto::Delivery::None,
        Delivery::SealedToDevice => proto::Delivery::SealedToDevice,
        Delivery::SealedToStation => proto::Delivery::SealedToStation,
    };
    proto::Product {
        id: product.id,
        name: product.name,
        origin: origin.into(),
        algorithm: product.algorithm,
        delivery: delivery.into(),
        template: product.template.map(template),
        serial: Some(serial(product.serial)),
        subjects: product.subjects.unwrap_or_default(),
        pool: String::new(),
    }
}

/// The terms of a grant, with every field filled.
pub(crate) fn terms(terms: &Terms) -> proto::Terms {
    let rates = terms.rates.iter();
    let rates = rates.map(|rate| proto::Rate { units: rate.units, per_seconds: rate.per_seconds });
    let proof = match terms.confirm_proof {
        ConfirmProof::Required => proto::ConfirmProof::Required,
        ConfirmProof::Optional => proto::ConfirmProof::Optional,
        ConfirmProof::None => proto::ConfirmProof::None,
    };
    proto::Terms {
        total: terms.total,
        not_before_ms: terms.not_before,
        not_after_ms: terms.not_after,
        rates: rates.collect(),
        unlimited_rate: terms.rates.is_empty(),
        max_in_doubt: Some(terms.max_in_doubt),
        max_attempts_per_subject: Some(terms.max_attempts_per_subject),
        max_units_per_subject: Some(terms.max_units_per_subject),
        scrap_allowance: Some(terms.scrap_allowance),
        audit_return: Some(proto::AuditReturn {
            units: terms.audit_return.units,
            seconds: terms.audit_return.seconds,
        }),
        confirm_proof: proof.into(),
        grace_seconds: Some(terms.grace_seconds),
        lease_size: Some(terms.lease_size),
        max_pause_seconds: Some(terms.max_pause_seconds),
        certificates_per_unit: Some(terms.certificates_per_unit.into()),
    }
}

fn template(template: Template) -> proto::CertificateTemplate {
    let fields = template.fields.into_iter();
    let fields =
        fields.map(|field| proto::TemplateField { name: field.name, max_bytes: field.max_bytes });
    proto::CertificateTemplate {
        organization: template.organization,
        model: template.model,
        fields: fields.collect(),
    }
}

fn serial(rule: SerialRule) -> proto::product::Serial {
    match rule {
        SerialRule::Assigned { prefix, digits, start, check } => {
            let digits = digits.into();
            let check = check_digit(check);
            let rule = proto::AssignedSerial { prefix, digits, start, check };
            proto::product::Serial::Assigned(rule)
        }
        SerialRule::Given { prefix, digits, from, to, check } => {
            let digits = digits.into();
            let check = check_digit(check);
            proto::product::Serial::Given(proto::GivenSerial { prefix, digits, from, to, check })
        }
    }
}

fn check_digit(check: CheckDigit) -> i32 {
    match check {
        CheckDigit::None => proto::CheckDigit::None.into(),
        CheckDigit::Luhn => proto::CheckDigit::Luhn.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Order;
    use crate::order::tests::request;

    #[test]
    fn what_is_shown_can_be_ordered_again_and_means_the_same() {
        let order = Order::read(request()).unwrap();
        let shown = proto::CreateRequest {
            product: Some(product(order.proposal.product.clone())),
            terms: Some(terms(&order.proposal.terms)),
            ..request()
        };
        assert_eq!(Order::read(shown), Ok(order));
    }

    #[test]
    fn a_given_serial_with_a_check_digit_is_shown_as_it_was_ordered() {
        let given = proto::product::Serial::Given(proto::GivenSerial {
            prefix: "T".to_owned(),
            digits: 6,
            from: 1,
            to: 5_000,
            check: proto::CheckDigit::Luhn.into(),
        });
        let mut ordered = request();
        ordered.product.as_mut().unwrap().serial = Some(given.clone());
        let order = Order::read(ordered).unwrap();
        assert_eq!(product(order.proposal.product).serial, Some(given));
    }
}
