//! An order as a person writes it: TOML, strict. The host checks what it means.

use std::path::Path;

use jiff::Timestamp;
use mintmark_rpc::client::plugins::entitlement as proto;
use serde::Deserialize;

use crate::error::Error;
use crate::files;

/// An order with comments.
pub(super) const EXAMPLE: &str = include_str!("../../../order.toml");

/// Reads an order.
pub(super) fn read(path: &Path) -> Result<proto::CreateRequest, Error> {
    let text = String::from_utf8(files::read(path)?);
    let text = text.map_err(|_| Error::Usage("the order is not UTF-8".to_owned()))?;
    parse(&text).map_err(|why| Error::Toml { path: path.to_owned(), why: Box::new(why) })
}

/// Reads an order's text.
pub(super) fn parse(text: &str) -> Result<proto::CreateRequest, toml::de::Error> {
    toml::from_str::<Order>(text).map(Into::into)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    order_number: String,
    site: String,
    plugin: Option<String>,
    product: Product,
    terms: Terms,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    id: String,
    name: String,
    origin: Origin,
    pool: Option<String>,
    algorithm: String,
    delivery: Delivery,
    certificate: Option<Certificate>,
    assigned_serial: Option<AssignedSerial>,
    given_serial: Option<GivenSerial>,
    #[serde(default)]
    subjects: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    DeviceBorn,
    SiteBorn,
    Derived,
    Pool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Delivery {
    None,
    SealedToDevice,
    SealedToStation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    organization: String,
    model: String,
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    name: String,
    bytes_max: u32,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Check {
    #[default]
    None,
    Luhn,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignedSerial {
    prefix: String,
    digits: u32,
    start: u64,
    #[serde(default)]
    check: Check,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenSerial {
    prefix: String,
    digits: u32,
    from: u64,
    to: u64,
    #[serde(default)]
    check: Check,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    total: u64,
    not_before: Timestamp,
    not_after: Timestamp,
    #[serde(default)]
    rates: Vec<Rate>,
    #[serde(default)]
    unlimited_rate: bool,
    audit_return: AuditReturn,
    max_in_doubt: Option<u64>,
    max_attempts_per_subject: Option<u32>,
    max_units_per_subject: Option<u32>,
    scrap_allowance: Option<u64>,
    #[serde(default)]
    confirm_proof: Proof,
    grace_seconds: Option<u64>,
    lease_size: Option<u64>,
    max_pause_seconds: Option<u64>,
    certificates_per_unit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    units: u64,
    per_seconds: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditReturn {
    units: u64,
    seconds: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Proof {
    #[default]
    Required,
    Optional,
    None,
}

impl From<Order> for proto::CreateRequest {
    fn from(order: Order) -> Self {
        Self {
            order_number: order.order_number,
            site: order.site,
            product: Some(order.product.into()),
            terms: Some(order.terms.into()),
            plugin: order.plugin.unwrap_or_default(),
        }
    }
}

impl From<Product> for proto::Product {
    fn from(product: Product) -> Self {
        use proto::product::Serial;

        let assigned = product.assigned_serial.map(|serial| Serial::Assigned(serial.into()));
        let given = product.given_serial.map(|serial| Serial::Given(serial.into()));
        // Two rules at once are a contradiction: the host then gets none, and refuses.
        let serial = match (assigned, given) {
            (Some(_), Some(_)) => None,
            (one, other) => one.or(other),
        };
        Self {
            id: product.id,
            name: product.name,
            origin: match product.origin {
                Origin::DeviceBorn => proto::KeyOrigin::DeviceBorn,
                Origin::SiteBorn => proto::KeyOrigin::SiteBorn,
                Origin::Derived => proto::KeyOrigin::Derived,
                Origin::Pool => proto::KeyOrigin::Pool,
            }
            .into(),
            pool: product.pool.unwrap_or_default(),
            algorithm: product.algorithm,
            delivery: match product.delivery {
                Delivery::None => proto::Delivery::None,
                Delivery::SealedToDevice => proto::Delivery::SealedToDevice,
                Delivery::SealedToStation => proto::Delivery::SealedToStation,
            }
            .into(),
            template: product.certificate.map(Into::into),
            serial,
            subjects: product.subjects,
        }
    }
}

impl From<Certificate> for proto::CertificateTemplate {
    fn from(certificate: Certificate) -> Self {
        let field =
            |field: Field| proto::TemplateField { name: field.name, max_bytes: field.bytes_max };
        Self {
            organization: certificate.organization,
            model: certificate.model,
            fields: certificate.fields.into_iter().map(field).collect(),
        }
    }
}

impl From<Check> for i32 {
    fn from(check: Check) -> Self {
        match check {
            Check::None => proto::CheckDigit::None.into(),
            Check::Luhn => proto::CheckDigit::Luhn.into(),
        }
    }
}

impl From<AssignedSerial> for proto::AssignedSerial {
    fn from(serial: AssignedSerial) -> Self {
        let AssignedSerial { prefix, digits, start, check } = serial;
        Self { prefix, digits, start, check: check.into() }
    }
}

impl From<GivenSerial> for proto::GivenSerial {
    fn from(serial: GivenSerial) -> Self {
        let GivenSerial { prefix, digits, from, to, check } = serial;
        Self { prefix, digits, from, to, check: check.into() }
    }
}

impl From<Terms> for proto::Terms {
    fn from(terms: Terms) -> Self {
        // A time before 1970 becomes 0, which is as far back as the host can see.
        let ms = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
        let rate = |rate: Rate| proto::Rate { units: rate.units, per_seconds: rate.per_seconds };
        let AuditReturn { units, seconds } = terms.audit_return;
        Self {
            total: terms.total,
            not_before_ms: ms(terms.not_before),
            not_after_ms: ms(terms.not_after),
            rates: terms.rates.into_iter().map(rate).collect(),
            unlimited_rate: terms.unlimited_rate,
            max_in_doubt: terms.max_in_doubt,
            max_attempts_per_subject: terms.max_attempts_per_subject,
            max_units_per_subject: terms.max_units_per_subject,
            scrap_allowance: terms.scrap_allowance,
            audit_return: Some(proto::AuditReturn { units, seconds }),
            confirm_proof: match terms.confirm_proof {
                Proof::Required => proto::ConfirmProof::Required,
                Proof::Optional => proto::ConfirmProof::Optional,
                Proof::None => proto::ConfirmProof::None,
            }
            .into(),
            grace_seconds: terms.grace_seconds,
            lease_size: terms.lease_size,
            max_pause_seconds: terms.max_pause_seconds,
            certificates_per_unit: terms.certificates_per_unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_the_order_of_the_story() {
        let order = parse(EXAMPLE).unwrap();
        let terms = order.terms.unwrap();
        assert_eq!(
            (terms.total, terms.rates[0].units, terms.rates[0].per_seconds),
            (1000, 400, 10)
        );
        assert_eq!(terms.not_after_ms - terms.not_before_ms, 30 * 86_400_000);
        assert_eq!(terms.audit_return.unwrap().units, 500);
        assert!(matches!(order.product.unwrap().serial, Some(proto::product::Serial::Assigned(_))));
    }

    #[test]
    fn an_unknown_key_is_refused_wherever_it_stands() {
        for section in
            ["[product]", "[product.assigned_serial]", "[product.certificate]", "[terms]"]
        {
            let text = EXAMPLE.replace(section, &format!("{section}\nnew_key = 1"));
            assert!(parse(&text).unwrap_err().to_string().contains("new_key"), "{section}");
        }
        assert!(parse(&format!("new_key = 1\n{EXAMPLE}")).is_err());
        assert!(parse(&EXAMPLE.replace("units = 400,", "units = 400, burst = 9,")).is_err());
    }

    #[test]
    fn what_is_left_out_never_means_more() {
        let without = |key: &str| {
            let lines = EXAMPLE.lines().filter(|line| !line.starts_with(key));
            parse(&lines.collect::<Vec<_>>().join("\n"))
        };
        for key in ["total", "not_before", "not_after", "audit_return", "origin", "delivery"] {
            assert!(without(key).is_err(), "{key}");
        }
        let terms = without("rates").unwrap().terms.unwrap();
        assert!(terms.rates.is_empty() && !terms.unlimited_rate, "the host refuses this");
        let proof = without("confirm_proof").unwrap().terms.unwrap().confirm_proof;
        assert_eq!(proof, i32::from(proto::ConfirmProof::Required));
    }
}
