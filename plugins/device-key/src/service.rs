//! The service: each method checks its request, asks the host, and says what the host said.

use std::collections::BTreeMap;

use mintmark_sdk::allotments::{self, Allotment, DeviceProof, Unit};
use mintmark_sdk::certificates::Csr;
use mintmark_sdk::{Absent, Status, ledger};

use crate::bundle::Plan;
use crate::host::Known;
use crate::proto::{self, DeviceKeyService};
use crate::{answer, host, request};

/// Answers `mintmark.devicekey.v1.DeviceKey`.
pub(crate) struct DeviceKey;

/// Most entitlements and most units of a page.
const ENTITLEMENTS_MAX: u32 = 100;
const UNITS_MAX: u32 = 1_000;

impl DeviceKeyService for DeviceKey {
    fn import(&self, request: proto::ImportRequest) -> Result<proto::ImportResponse, Status> {
        Ok(answer::imported(host::import(&request.file_id)?))
    }

    fn list_entitlements(
        &self,
        request: proto::ListEntitlementsRequest,
    ) -> Result<proto::ListEntitlementsResponse, Status> {
        let limit = request::page(request.limit, ENTITLEMENTS_MAX)?;
        let after = Some(request.after.as_str()).filter(|after| !after.is_empty());
        let names = allotments::names(after, limit)?;
        let full = names.len() >= limit as usize;
        let next = names.last().filter(|_| full).cloned().unwrap_or_default();
        let mut entitlements = Vec::with_capacity(names.len());
        for name in names {
            // What a station is not bound to does not exist for it.
            let Some(opened) = host::if_accepted(host::status(&name)).or_absent()? else {
                continue;
            };
            entitlements.push(match opened {
                Some((grant, status, chain)) => answer::entitlement(grant, &status, chain),
                None => answer::of_another_version(name),
            });
        }
        Ok(proto::ListEntitlementsResponse { entitlements, next })
    }

    fn status(&self, request: proto::StatusRequest) -> Result<proto::EntitlementStatus, Status> {
        request::check_entitlement(&request.entitlement)?;
        let (grant, status, chain) = host::status(&request.entitlement)?;
        Ok(answer::entitlement(grant, &status, chain))
    }

    fn reserve(&self, request: proto::ReserveRequest) -> Result<proto::ReserveResponse, Status> {
        request::check_names(&request.entitlement, &request.subject)?;
        let allotment = Allotment::open(&request.entitlement)?;
        let unit = allotment.draw(&request.subject, request.serial.as_deref())?.status()?;
        Ok(proto::ReserveResponse { unit: unit.number, serial: unit.serial })
    }

    fn issue(&self, request: proto::IssueRequest) -> Result<proto::DeviceIdentity, Status> {
        let proto::IssueRequest { entitlement, subject, csr, fields } = request;
        let wanted = Wanted::new(&entitlement, &subject, &csr, fields)?;
        let unit = Allotment::open(&entitlement)?.find(&subject)?;
        wanted.issue(&entitlement, &unit)
    }

    fn provision(&self, request: proto::ProvisionRequest) -> Result<proto::DeviceIdentity, Status> {
        let proto::ProvisionRequest { entitlement, subject, serial, csr, fields } = request;
        let wanted = Wanted::new(&entitlement, &subject, &csr, fields)?;
        let unit = Allotment::open(&entitlement)?.draw(&subject, serial.as_deref())?;
        wanted.issue(&entitlement, &unit)
    }

    fn provision_stream(
        &self,
        request: proto::ProvisionRequest,
    ) -> Result<proto::DeviceIdentity, Status> {
        self.provision(request)
    }

    fn confirm(&self, request: proto::ConfirmRequest) -> Result<proto::UnitStatus, Status> {
        let unit = unit(&request.entitlement, &request.subject)?;
        let proof = Some(request.proof).filter(|proof| !proof.is_empty());
        let proof = proof.map(|signature| DeviceProof { signature });
        Ok(answer::unit(&request.entitlement, unit.confirm(proof.as_ref())?))
    }

    fn fail(&self, request: proto::FailRequest) -> Result<proto::UnitStatus, Status> {
        let kind = request::failure(request.kind)?;
        request::check_text(&request.detail)?;
        let unit = unit(&request.entitlement, &request.subject)?;
        Ok(answer::unit(&request.entitlement, unit.fail(kind, &request.detail)?))
    }

    fn scrap(&self, request: proto::ScrapRequest) -> Result<proto::UnitStatus, Status> {
        request::check_text(&request.reason)?;
        let unit = unit(&request.entitlement, &request.subject)?;
        Ok(answer::unit(&request.entitlement, unit.scrap(&request.reason)?))
    }

    fn r#return(&self, request: proto::ReturnRequest) -> Result<proto::UnitStatus, Status> {
        request::check_text(&request.reason)?;
        let unit = unit(&request.entitlement, &request.subject)?;
        Ok(answer::unit(&request.entitlement, unit.give_back(&request.reason)?))
    }

    fn hand_over(&self, request: proto::HandOverRequest) -> Result<proto::UnitStatus, Status> {
        request::check_station(&request.station)?;
        let unit = unit(&request.entitlement, &request.subject)?;
        Ok(answer::unit(&request.entitlement, unit.hand_over(&request.station)?))
    }

    fn recertify(
        &self,
        request: proto::RecertifyRequest,
    ) -> Result<proto::DeviceCertificate, Status> {
        let proto::RecertifyRequest { entitlement, subject, ordinal, fields } = request;
        let unit = unit(&entitlement, &subject)?;
        let ordinal = request::ordinal(ordinal)?;
        let fields = request::fields(&host::known(&entitlement)?.fields, fields)?;
        let artefact = unit.recertify(ordinal, &fields)?;
        Ok(answer::certificate(unit.status()?, ordinal, artefact, unit.chain()?)?)
    }

    fn make_revocation_list(
        &self,
        request: proto::MakeRevocationListRequest,
    ) -> Result<proto::RevocationList, Status> {
        request::check_entitlement(&request.entitlement)?;
        let made = Allotment::open(&request.entitlement)?.revocation_list()?;
        Ok(answer::revocation_list(made))
    }

    fn show_unit(&self, request: proto::ShowUnitRequest) -> Result<proto::UnitStatus, Status> {
        if !request.entitlement.is_empty() {
            let unit = unit(&request.entitlement, &request.subject)?;
            return Ok(answer::unit(&request.entitlement, unit.status()?));
        }
        request::check_subject(&request.subject)?;
        let (entitlement, unit) = host::find_anywhere(&request.subject)?
            .ok_or_else(|| Status::not_found("no entitlement has a unit for this subject"))?;
        Ok(answer::unit(&entitlement, unit.status()?))
    }

    fn list_units(
        &self,
        request: proto::ListUnitsRequest,
    ) -> Result<proto::ListUnitsResponse, Status> {
        request::check_entitlement(&request.entitlement)?;
        let limit = request::page(request.limit, UNITS_MAX)?;
        let page = Allotment::open(&request.entitlement)?.scan(request.start, limit)?;
        Ok(answer::units(&request.entitlement, page, limit))
    }

    fn export_bundle(
        &self,
        request: proto::ExportBundleRequest,
    ) -> Result<proto::ExportBundleResponse, Status> {
        let mut exporters = host::exporters()?;
        if exporters.is_empty() {
            exporters = host::introduced()?;
        }
        let clusters: Vec<_> = exporters.iter().map(|(cluster, _)| cluster.as_str()).collect();
        let cluster = request::recipient(&clusters, &request.headquarters)?;
        let plugins: BTreeMap<_, _> = exporters.iter().cloned().collect();
        let limit_bytes = request::bundle_bytes(request.max_bytes)?;
        let checkpoints = ledger::checkpoints(request.after, limit_bytes)?;
        let plan = Plan::new(&checkpoints.orders)
            .map_err(|_| Status::fault("the host's checkpoints cannot be read"))?;
        let sealed = host::export(&plan, cluster, &plugins[cluster])?;
        Ok(proto::ExportBundleResponse {
            file_id: sealed.file,
            digest: sealed.digest.to_vec(),
            rows: plan.rows(),
            positions: answer::positions(plan.stretches),
            headquarters: cluster.to_owned(),
            more: checkpoints.more,
        })
    }

    fn import_receipt(
        &self,
        request: proto::ImportReceiptRequest,
    ) -> Result<proto::ImportReceiptResponse, Status> {
        let (body, renewed) = host::import_receipt(&request.file_id)?;
        Ok(answer::receipt(body, renewed))
    }

    fn import_directive(
        &self,
        request: proto::ImportDirectiveRequest,
    ) -> Result<proto::ImportDirectiveResponse, Status> {
        let (directive, applied) = host::import_directive(&request.file_id)?;
        // The host has acted on it, whatever version the grant was for: the stream goes on.
        let allotment = host::if_accepted(Allotment::open(&directive.entitlement))?;
        let status = allotment.map(|allotment| allotment.status()).transpose()?;
        Ok(answer::directive(directive, applied, status.as_ref()))
    }

    fn show_orders(
        &self,
        request: proto::ShowOrdersRequest,
    ) -> Result<proto::ShowOrdersResponse, Status> {
        request::check_entitlement(&request.entitlement)?;
        Ok(proto::ShowOrdersResponse { orders: host::orders(&request.entitlement)? })
    }

    fn close(&self, request: proto::CloseRequest) -> Result<proto::CloseResponse, Status> {
        request::check_entitlement(&request.entitlement)?;
        let (statement, sealed) = host::close(&request.entitlement)?;
        Ok(answer::closed(statement, sealed))
    }
}

/// What a device is to get, checked before a unit is touched.
struct Wanted {
    known: Known,
    csr: Option<Csr>,
    fields: Vec<(String, String)>,
}

impl Wanted {
    fn new(
        entitlement: &str,
        subject: &str,
        csr: &[u8],
        fields: BTreeMap<String, String>,
    ) -> Result<Self, Status> {
        request::check_names(entitlement, subject)?;
        let known = host::known(entitlement)?;
        request::check_csr(known.means, csr)?;
        let fields = request::fields(&known.fields, fields)?;
        let csr = if csr.is_empty() { None } else { Some(Csr::read(csr)?) };
        Ok(Self { known, csr, fields })
    }

    fn issue(&self, entitlement: &str, unit: &Unit) -> Result<proto::DeviceIdentity, Status> {
        let artefact = host::issue(self.known.means, unit, self.csr.as_ref(), &self.fields)?;
        Ok(answer::identity(entitlement, unit.status()?, artefact, unit.chain()?)?)
    }
}

fn unit(entitlement: &str, subject: &str) -> Result<Unit, Status> {
    request::check_names(entitlement, subject)?;
    Ok(Allotment::open(entitlement)?.find(subject)?)
}
