//! The services: each method checks its request, asks records and host, and says what they said.

use mintmark_exchange::reconcile::{Index, UnitRecord, UnitRef};
use mintmark_exchange::unit::UnitState;
use mintmark_sdk::{Absent, Status, clock, peers};

use crate::catalog::{self, Entitlement};
use crate::ingest::{self, Step};
use crate::order::Order;
use crate::proto::{self, AuditService, EntitlementsService, find_device_request, show_request};
use crate::report::{self, StoredReport};
use crate::{adopt, answer, change, closing, grant, opened, register};

/// Answers `mintmark.entitlement.v1.Entitlements`.
pub(crate) struct Entitlements;

/// Answers `mintmark.entitlement.v1.Audit`.
pub(crate) struct Audit;

/// Most entries of a page.
const PAGE_MAX: u32 = 100;

impl EntitlementsService for Entitlements {
    fn create(&self, request: proto::CreateRequest) -> Result<proto::CreateResponse, Status> {
        let entitlement = grant::create(&Order::read(request)?)?;
        Ok(answer::created(&entitlement, &catalog::grant(&entitlement.id)?))
    }

    fn list(&self, request: proto::ListRequest) -> Result<proto::ListResponse, Status> {
        let limit = page(request.limit)?;
        let found = catalog::page(request.after, limit, &full_name(&request.site)?)?;
        let full = found.len() >= limit as usize;
        let next = found.last().filter(|_| full).map(|last| last.number);
        let now_ms = clock::now();
        let mut entitlements = Vec::with_capacity(found.len());
        for entitlement in found {
            let last = catalog::last_bundle(&entitlement.id)?;
            entitlements.push(answer::summary(&entitlement, last.as_ref(), now_ms));
        }
        Ok(proto::ListResponse { entitlements, next })
    }

    fn show(&self, request: proto::ShowRequest) -> Result<proto::ShowResponse, Status> {
        let entitlement = named(request.name)?;
        let signed = catalog::signed_grant(&entitlement.id)?;
        let grant = catalog::read_grant(&signed)?;
        let last = catalog::last_bundle(&entitlement.id)?;
        Ok(proto::ShowResponse {
            summary: Some(answer::summary(&entitlement, last.as_ref(), clock::now())),
            created: Some(answer::created(&entitlement, &grant)),
            terms: Some(answer::terms(&grant.terms)),
            product: Some(answer::product(grant.product)),
            grant: signed,
            product_ca: grant.product_ca.unwrap_or_default(),
            batch_ca: grant.batch_ca.unwrap_or_default(),
        })
    }

    fn change(&self, request: proto::ChangeRequest) -> Result<proto::ChangeResponse, Status> {
        change::order(request)
    }

    fn adopt(&self, request: proto::AdoptRequest) -> Result<proto::AdoptResponse, Status> {
        adopt::adopt(&request.order)
    }

    fn import_closing(
        &self,
        request: proto::ImportClosingRequest,
    ) -> Result<proto::ImportClosingResponse, Status> {
        closing::import(&request.file_id)
    }
}

impl AuditService for Audit {
    fn ingest(&self, request: proto::IngestRequest) -> Result<proto::IngestResponse, Status> {
        let response = match ingest::step(&request.file_id)? {
            Step::Going { checked, total } => proto::IngestResponse {
                checked_bytes: checked,
                total_bytes: total,
                ..proto::IngestResponse::default()
            },
            Step::Done(stored) => proto::IngestResponse {
                done: true,
                checked_bytes: stored.length,
                total_bytes: stored.length,
                verdict: report::verdict(stored.report.verdict).into(),
                report: report::id(&stored.report.bundle),
                receipt_file_id: stored.receipt_file.unwrap_or_default(),
            },
        };
        Ok(response)
    }

    fn show_report(&self, request: proto::ShowReportRequest) -> Result<proto::Report, Status> {
        Ok(stored(&request.report)?.shown(catalog::by_id)?)
    }

    fn list_reports(
        &self,
        request: proto::ListReportsRequest,
    ) -> Result<proto::ListReportsResponse, Status> {
        report::list(&request.after, page(request.limit)?, &full_name(&request.site)?)
    }

    fn find_device(
        &self,
        request: proto::FindDeviceRequest,
    ) -> Result<proto::FindDeviceResponse, Status> {
        let key = request.key.ok_or_else(|| invalid("key: what to look for is expected"))?;
        let products = catalog::products()?;
        let products = products.iter().map(String::as_str);
        let indexes: Vec<_> = match &key {
            find_device_request::Key::Subject(subject) => {
                products.map(|product| Index::Subject { product, subject }).collect()
            }
            find_device_request::Key::Serial(serial) => {
                products.map(|product| Index::Serial { product, serial }).collect()
            }
            find_device_request::Key::CertificateSerial(serial) => {
                vec![Index::Certificate(serial)]
            }
        };
        let devices: Vec<_> = register::find(&indexes)?.into_iter().map(device).collect();
        if devices.is_empty() {
            return Err(Status::not_found("no site has reported such a device"));
        }
        Ok(proto::FindDeviceResponse { devices })
    }

    fn export_opened(
        &self,
        request: proto::ExportOpenedRequest,
    ) -> Result<proto::ExportOpenedResponse, Status> {
        let stored = stored(&request.report)?;
        let (data, total_bytes) =
            opened::read(&stored.report.bundle, stored.length, request.offset)?;
        let done = request.offset.saturating_add(data.len() as u64) >= total_bytes;
        Ok(proto::ExportOpenedResponse { data, total_bytes, done })
    }
}

fn stored(report: &str) -> Result<StoredReport, Status> {
    // A longer name would be no record's key.
    let found = if report.len() == 64 { StoredReport::load(report)? } else { None };
    found.ok_or_else(|| Status::not_found("there is no such report"))
}

fn named(name: Option<show_request::Name>) -> Result<Entitlement, Status> {
    let text = match &name {
        Some(show_request::Name::Entitlement(text) | show_request::Name::OrderNumber(text)) => text,
        None => return Err(invalid("name: an entitlement or an order number is expected")),
    };
    let bounded = text.len() <= 64;
    let found = match &name {
        Some(show_request::Name::Entitlement(id)) if bounded => catalog::by_id(id)?,
        Some(show_request::Name::OrderNumber(order)) if bounded => catalog::by_order(order)?,
        _ => None,
    };
    found.ok_or_else(|| Status::not_found("there is no such entitlement"))
}

/// The full name of a site that a request names in short; nothing where it names none.
fn full_name(site: &str) -> Result<String, Status> {
    if site.is_empty() || site.starts_with("spiffe://") {
        return Ok(site.to_owned());
    }
    let identity = peers::identity(site, "device-key").or_absent()?;
    let identity = identity.ok_or_else(|| Status::not_found("there is no such site"))?;
    Ok(identity.cluster)
}

fn page(asked: u32) -> Result<u32, Status> {
    match asked {
        0 => Ok(PAGE_MAX),
        1..=PAGE_MAX => Ok(asked),
        _ => Err(invalid("limit: the page is too large")),
    }
}

fn device((unit, record): (UnitRef, UnitRecord)) -> proto::Device {
    let state = match record.state {
        UnitState::Reserved => "reserved",
        UnitState::Issued => "issued",
        UnitState::Confirmed => "confirmed",
        UnitState::Failed => "failed",
        UnitState::Scrapped => "scrapped",
        UnitState::Returned => "returned",
        UnitState::Lost => "lost",
    };
    proto::Device {
        entitlement: unit.entitlement,
        unit: unit.unit,
        subject: record.subject,
        serial: record.serial.unwrap_or_default(),
        product: record.product,
        site: record.site,
        state: state.to_owned(),
        key_hash: record.key_hash.map(Vec::from).unwrap_or_default(),
        certificate_hash: record.certificate_hash.map(Vec::from).unwrap_or_default(),
        certificate_serial: record.certificate_serial.unwrap_or_default(),
    }
}

pub(crate) fn invalid(message: &str) -> Status {
    Status::invalid("INVALID_ARGUMENT", message)
}
