//! An order: a request for an entitlement, checked and with every term filled.
//!
//! What the request leaves out becomes the strict choice or is refused; nothing that is missing
//! ever means "unlimited".

use mintmark_exchange::canonical::{encode, is_name, sha256};
use mintmark_exchange::grant::{AuditReturn, ConfirmProof, Rate, Terms, TermsError};
use mintmark_exchange::product::{Delivery, Field, KeyOrigin, Product, Template};
use mintmark_exchange::proposal::{self, GrantProposal};
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_sdk::{Digest, Status};

use crate::proto;

/// A request for an entitlement, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The site, as the request names it.
    pub(crate) site: String,
    /// The plugin at the site.
    pub(crate) plugin: String,
    pub(crate) proposal: GrantProposal,
}

/// What the terms mean where the request leaves them out.
const MAX_IN_DOUBT: u64 = 64;
const MAX_ATTEMPTS_PER_SUBJECT: u32 = 8;
const MAX_UNITS_PER_SUBJECT: u32 = 1;
const CERTIFICATES_PER_UNIT: u32 = 1;

/// The site's plugin where the request names none.
const PLUGIN: &str = "device-key";

/// The fields of a certificate that a site may fill, as the host knows them.
const OPEN_FIELDS: [&str; 2] = ["common-name", "organizational-unit"];

/// A product CA is called `product-` and the product's id, in at most 64 characters.
const PRODUCT_ID_BYTES_MAX: usize = 56;

impl Order {
    /// Checks a request.
    pub(crate) fn read(request: proto::CreateRequest) -> Result<Self, Status> {
        let product = request.product.ok_or_else(|| refusal(TermsError::Missing("product")))?;
        let terms = request.terms.ok_or_else(|| refusal(TermsError::Missing("terms")))?;
        let pool = Some(product.pool.clone()).filter(|pool| !pool.is_empty());
        let proposal = GrantProposal {
            version: proposal::VERSION,
            order: request.order_number,
            product: read_product(product).map_err(refusal)?,
            terms: read_terms(terms).map_err(refusal)?,
            pool,
        };
        proposal.check().map_err(refusal)?;
        check_names(&proposal).map_err(refusal)?;
        let plugin = Some(request.plugin).filter(|plugin| !plugin.is_empty());
        let plugin = plugin.unwrap_or_else(|| PLUGIN.to_owned());
        if !is_name(&plugin) || request.site.is_empty() {
            return Err(Status::invalid("INVALID_ARGUMENT", "site and plugin are names"));
        }
        Ok(Self { site: request.site, plugin, proposal })
    }

    /// Says whether two requests under one order number are the same; `site` is the site's full
    /// name.
    pub(crate) fn digest(&self, site: &str) -> Digest {
        sha256(&encode(&(site, &self.plugin, &self.proposal)))
    }

    /// The end of the names of the keys that are made for this order.
    pub(crate) fn key_suffix(&self) -> String {
        let digest = sha256(self.proposal.order.as_bytes());
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name of the product's CA.
    pub(crate) fn product_ca(&self) -> String {
        format!("product-{}", self.proposal.product.id)
    }
}

/// A term that is refused, by the name of its field.
fn refusal(error: TermsError) -> Status {
    Status::invalid("TERMS_INVALID", error.to_string())
}

/// What this plugin needs beyond what every grant needs.
fn check_names(proposal: &GrantProposal) -> Result<(), TermsError> {
    if proposal.order.len() > 64 {
        return Err(TermsError::TooLarge("order_number"));
    }
    if proposal.product.id.len() > PRODUCT_ID_BYTES_MAX {
        return Err(TermsError::TooLarge("product.id"));
    }
    let template = proposal.product.template.iter();
    if template.flat_map(|template| &template.fields).any(|field| !is_open_field(&field.name)) {
        return Err(TermsError::Malformed("product.template.fields"));
    }
    let derived = proposal.product.origin == KeyOrigin::Derived;
    if derived && proposal.product.algorithm == "ecdsa-p384" {
        return Err(TermsError::Mismatch("product.algorithm"));
    }
    Ok(())
}

/// A field that no host knows would be left out of every certificate without a word.
fn is_open_field(name: &str) -> bool {
    OPEN_FIELDS.contains(&name)
}

fn read_terms(terms: proto::Terms) -> Result<Terms, TermsError> {
    if terms.rates.is_empty() != terms.unlimited_rate {
        return Err(match terms.unlimited_rate {
            true => TermsError::Mismatch("terms.rates"),
            false => TermsError::Missing("terms.rates"),
        });
    }
    let audit_return = terms.audit_return.ok_or(TermsError::Missing("terms.audit_return"))?;
    let rates = terms.rates.iter();
    let rates = rates.map(|rate| Rate { units: rate.units, per_seconds: rate.per_seconds });
    let certificates = terms.certificates_per_unit.unwrap_or(CERTIFICATES_PER_UNIT);
    Ok(Terms {
        total: terms.total,
        not_before: terms.not_before_ms,
        not_after: terms.not_after_ms,
        rates: rates.collect(),
        max_in_doubt: terms.max_in_doubt.unwrap_or(MAX_IN_DOUBT.min(terms.total)),
        max_attempts_per_subject: terms
            .max_attempts_per_subject
            .unwrap_or(MAX_ATTEMPTS_PER_SUBJECT),
        max_units_per_subject: terms.max_units_per_subject.unwrap_or(MAX_UNITS_PER_SUBJECT),
        scrap_allowance: terms.scrap_allowance.unwrap_or(0),
        audit_return: AuditReturn { units: audit_return.units, seconds: audit_return.seconds },
        confirm_proof: read_proof(terms.confirm_proof)?,
        grace_seconds: terms.grace_seconds.unwrap_or(0),
        lease_size: terms.lease_size.unwrap_or(terms.total),
        max_pause_seconds: terms.max_pause_seconds.unwrap_or(0),
        certificates_per_unit: u16::try_from(certificates)
            .map_err(|_| TermsError::TooLarge("terms.certificates_per_unit"))?,
    })
}

fn read_proof(proof: i32) -> Result<ConfirmProof, TermsError> {
    match proto::ConfirmProof::try_from(proof) {
        Ok(proto::ConfirmProof::Unspecified | proto::ConfirmProof::Required) => {
            Ok(ConfirmProof::Required)
        }
        Ok(proto::ConfirmProof::Optional) => Ok(ConfirmProof::Optional),
        Ok(proto::ConfirmProof::None) => Ok(ConfirmProof::None),
        Err(_) => Err(TermsError::Malformed("terms.confirm_proof")),
    }
}

fn read_product(product: proto::Product) -> Result<Product, TermsError> {
    let mut subjects = product.subjects;
    // Sorted, because the grant has one encoding; a subject that comes twice is refused there.
    subjects.sort_unstable();
    Ok(Product {
        id: product.id,
        name: product.name,
        origin: read_origin(product.origin)?,
        algorithm: product.algorithm,
        delivery: read_delivery(product.delivery)?,
        template: product.template.map(read_template),
        serial: read_serial(product.serial)?,
        subjects: Some(subjects).filter(|subjects| !subjects.is_empty()),
    })
}

fn read_origin(origin: i32) -> Result<KeyOrigin, TermsError> {
    match proto::KeyOrigin::try_from(origin) {
        Ok(proto::KeyOrigin::DeviceBorn) => Ok(KeyOrigin::DeviceBorn),
        Ok(proto::KeyOrigin::SiteBorn) => Ok(KeyOrigin::SiteBorn),
        Ok(proto::KeyOrigin::Derived) => Ok(KeyOrigin::Derived),
        Ok(proto::KeyOrigin::Pool) => Ok(KeyOrigin::Pool),
        Ok(proto::KeyOrigin::Unspecified) => Err(TermsError::Missing("product.origin")),
        Err(_) => Err(TermsError::Malformed("product.origin")),
    }
}

fn read_delivery(delivery: i32) -> Result<Delivery, TermsError> {
    match proto::Delivery::try_from(delivery) {
        Ok(proto::Delivery::None) => Ok(Delivery::None),
        Ok(proto::Delivery::SealedToDevice) => Ok(Delivery::SealedToDevice),
        Ok(proto::Delivery::SealedToStation) => Ok(Delivery::SealedToStation),
        Ok(proto::Delivery::Unspecified) => Err(TermsError::Missing("product.delivery")),
        Err(_) => Err(TermsError::Malformed("product.delivery")),
    }
}

fn read_template(template: proto::CertificateTemplate) -> Template {
    let mut fields: Vec<_> = template
        .fields
        .into_iter()
        .map(|field| Field { name: field.name, max_bytes: field.max_bytes })
        .collect();
    fields.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Template { organization: template.organization, model: template.model, fields }
}

fn read_serial(serial: Option<proto::product::Serial>) -> Result<SerialRule, TermsError> {
    let digits = |digits: u32| {
        u8::try_from(digits).map_err(|_| TermsError::TooLarge("product.serial.digits"))
    };
    match serial.ok_or(TermsError::Missing("product.serial"))? {
        proto::product::Serial::Assigned(rule) => Ok(SerialRule::Assigned {
            prefix: rule.prefix,
            digits: digits(rule.digits)?,
            start: rule.start,
            check: read_check(rule.check)?,
        }),
        proto::product::Serial::Given(rule) => Ok(SerialRule::Given {
            prefix: rule.prefix,
            digits: digits(rule.digits)?,
            from: rule.from,
            to: rule.to,
            check: read_check(rule.check)?,
        }),
    }
}

fn read_check(check: i32) -> Result<CheckDigit, TermsError> {
    match proto::CheckDigit::try_from(check) {
        Ok(proto::CheckDigit::Unspecified | proto::CheckDigit::None) => Ok(CheckDigit::None),
        Ok(proto::CheckDigit::Luhn) => Ok(CheckDigit::Luhn),
        Err(_) => Err(TermsError::Malformed("product.serial.check")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn request() -> proto::CreateRequest {
        proto::CreateRequest {
            order_number: "PO-2024/17".to_owned(),
            site: "site/shenzhen".to_owned(),
            product: Some(product()),
            terms: Some(terms()),
            plugin: String::new(),
        }
    }

    fn product() -> proto::Product {
        let field = |name: &str| proto::TemplateField { name: name.to_owned(), max_bytes: 16 };
        proto::Product {
            id: "thermostat-2".to_owned(),
            name: "Thermostat 2".to_owned(),
            origin: proto::KeyOrigin::DeviceBorn.into(),
            algorithm: "ecdsa-p256".to_owned(),
            delivery: proto::Delivery::None.into(),
            template: Some(proto::CertificateTemplate {
                organization: "Acme".to_owned(),
                model: "T2".to_owned(),
                fields: vec![field("organizational-unit"), field("common-name")],
            }),
            serial: Some(proto::product::Serial::Assigned(proto::AssignedSerial {
                prefix: "T2-".to_owned(),
                digits: 6,
                start: 0,
                check: 0,
            })),
            subjects: Vec::new(),
            pool: String::new(),
        }
    }

    fn terms() -> proto::Terms {
        proto::Terms {
            total: 1_000,
            not_before_ms: 1_000,
            not_after_ms: 2_000,
            rates: vec![proto::Rate { units: 400, per_seconds: 10 }],
            audit_return: Some(proto::AuditReturn { units: 500, seconds: 86_400 }),
            ..proto::Terms::default()
        }
    }

    fn refused(change: impl FnOnce(&mut proto::Product, &mut proto::Terms)) -> String {
        let mut request = request();
        change(request.product.as_mut().unwrap(), request.terms.as_mut().unwrap());
        let status = Order::read(request).unwrap_err();
        assert_eq!(status.reason, "TERMS_INVALID");
        status.message
    }

    #[test]
    fn what_is_left_out_is_strict() {
        let order = Order::read(request()).unwrap();
        let terms = order.proposal.terms;
        assert_eq!(order.plugin, "device-key");
        assert_eq!(terms.max_in_doubt, 64);
        assert_eq!(terms.max_units_per_subject, 1);
        assert_eq!(terms.certificates_per_unit, 1);
        assert_eq!(terms.confirm_proof, ConfirmProof::Required);
        assert_eq!(
            (terms.scrap_allowance, terms.grace_seconds, terms.max_pause_seconds),
            (0, 0, 0)
        );
    }

    #[test]
    fn nothing_that_limits_can_be_left_out() {
        assert!(refused(|_, terms| terms.total = 0).contains("terms.total"));
        assert!(refused(|_, terms| terms.rates.clear()).contains("terms.rates"));
        assert!(refused(|_, terms| terms.unlimited_rate = true).contains("terms.rates"));
        assert!(refused(|_, terms| terms.audit_return = None).contains("terms.audit_return"));
        assert!(refused(|_, terms| terms.not_after_ms = 0).contains("terms.not_after"));
        assert!(refused(|product, _| product.origin = 0).contains("product.origin"));
        assert!(refused(|product, _| product.delivery = 0).contains("product.delivery"));
        assert!(refused(|product, _| product.serial = None).contains("product.serial"));
        assert!(refused(|product, _| product.algorithm.clear()).contains("product.algorithm"));
        assert!(refused(|product, _| product.template = None).contains("product.template"));
    }

    #[test]
    fn no_limit_of_speed_must_be_said_aloud() {
        let mut request = request();
        let terms = request.terms.as_mut().unwrap();
        terms.rates.clear();
        terms.unlimited_rate = true;
        assert!(Order::read(request).unwrap().proposal.terms.rates.is_empty());
    }

    #[test]
    fn unknown_enum_values_are_refused() {
        assert!(refused(|product, _| product.origin = 9).contains("product.origin"));
        assert!(refused(|product, _| product.delivery = -1).contains("product.delivery"));
        assert!(refused(|_, terms| terms.confirm_proof = 7).contains("terms.confirm_proof"));
    }

    #[test]
    fn p15_absurd_numbers_are_refused() {
        assert!(refused(|_, terms| terms.total = u64::MAX).contains("terms.total"));
        assert!(refused(|_, terms| terms.rates[0].units = 0).contains("terms.rates"));
        assert!(
            refused(|_, terms| terms.certificates_per_unit = Some(1 << 16)).contains("terms.cert")
        );
        assert!(refused(|product, _| product.id = "a".repeat(57)).contains("product.id"));
    }

    #[test]
    fn the_order_of_lists_does_not_make_another_request() {
        let site = "spiffe://acme/site/shenzhen";
        let mut turned = request();
        turned.product.as_mut().unwrap().template.as_mut().unwrap().fields.reverse();
        let digest = |request| Order::read(request).unwrap().digest(site);
        assert_eq!(digest(request()), digest(turned));
        let mut more = request();
        more.terms.as_mut().unwrap().total += 1;
        assert_ne!(digest(request()), digest(more));
        assert_ne!(Order::read(request()).unwrap().digest("other"), digest(request()));
    }

    #[test]
    fn a_certificate_field_that_no_host_knows_is_refused() {
        let rename = |product: &mut proto::Product| {
            product.template.as_mut().unwrap().fields[0].name = "hardware".to_owned();
        };
        assert!(refused(|product, _| rename(product)).contains("product.template.fields"));
    }

    #[test]
    fn a_subject_that_is_listed_twice_is_refused() {
        let twice = |product: &mut proto::Product| product.subjects = vec!["a".into(), "a".into()];
        assert!(refused(|product, _| twice(product)).contains("product.subjects"));
    }
}
