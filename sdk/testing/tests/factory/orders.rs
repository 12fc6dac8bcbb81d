//! Later orders and the end, with both real plugins: what headquarters orders, what the site makes
//! of it, and that the audit agrees.

use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::proto as office;
use mintmark_plugin_entitlement::proto::change_request::Change;
use mintmark_sdk::Status;
use mintmark_sdk_testing::Device;

use crate::gap::{DAY_MS, Gap};

fn order(gap: &Gap, entitlement: &str, change: Change) -> Result<Vec<u8>, Status> {
    let entitlement = entitlement.to_owned();
    let request = office::ChangeRequest { entitlement, change: Some(change) };
    let ordered: office::ChangeResponse = gap.hq.call("admin", "ada", "Change", &request)?;
    gap.hq.fetch(&ordered.file_id)
}

fn act(gap: &Gap, file: &[u8]) -> Result<line::ImportDirectiveResponse, Status> {
    let request = line::ImportDirectiveRequest { file_id: gap.site.stage(file) };
    gap.site.call("operator", "mei", "ImportDirective", &request)
}

fn close(gap: &Gap, entitlement: &str) -> Result<line::CloseResponse, Status> {
    let request = line::CloseRequest { entitlement: entitlement.to_owned() };
    gap.site.call("admin", "ada", "Close", &request)
}

fn closed(gap: &Gap, file_id: &str) -> Result<office::ImportClosingResponse, Status> {
    let file = gap.site.fetch(file_id).unwrap();
    let request = office::ImportClosingRequest { file_id: gap.hq.stage(&file) };
    gap.hq.call("auditor", "eva", "ImportClosing", &request)
}

fn summary(gap: &Gap) -> office::EntitlementSummary {
    let list: office::ListResponse =
        gap.hq.call("auditor", "eva", "List", &office::ListRequest::default()).unwrap();
    list.entitlements[0].clone()
}

fn clean(gap: &Gap) {
    let (ingested, _) = gap.report();
    let request = office::ShowReportRequest { report: ingested.report.clone() };
    let report: office::Report = gap.hq.call("auditor", "eva", "ShowReport", &request).unwrap();
    assert_eq!(ingested.verdict(), office::Verdict::Clean, "{:?}", report.findings);
}

#[test]
fn r16_a_revoked_entitlement_stops_and_is_audited_as_such() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    let file = order(&gap, &entitlement, Change::Revoke(office::Revocation {})).unwrap();
    assert!(summary(&gap).revoked);
    assert_eq!(summary(&gap).exposure, 10, "until the site says that it has it");
    assert_eq!(act(&gap, &file).unwrap().change, "revoke");
    assert_eq!(act(&gap, &file).unwrap_err().reason, "REPLAYED");
    let refused = gap.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, "REVOKED");
    assert_eq!(gap.status(&entitlement).state(), line::EntitlementState::Revoked);
    clean(&gap);
    assert_eq!((summary(&gap).exposure, summary(&gap).changes), (0, 1));
    assert_eq!(summary(&gap).audit(), office::AuditState::Complete);
}

#[test]
fn a_reduced_and_shortened_entitlement_is_audited_as_such() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    let file = order(&gap, &entitlement, Change::ReduceUnits(100)).unwrap();
    let acted = act(&gap, &file).unwrap();
    assert_eq!((acted.applied, acted.counters.unwrap().credited), (9, 1));
    let until = gap.site.clock().now_ms() + DAY_MS;
    let file = order(&gap, &entitlement, Change::ShortenToMs(until)).unwrap();
    assert_eq!(act(&gap, &file).unwrap().not_after_ms, until);
    assert_eq!(gap.status(&entitlement).not_after_ms, until);
    clean(&gap);
    let summary = summary(&gap);
    assert_eq!((summary.exposure, summary.not_after_ms), (0, until));
    assert_eq!(summary.audit(), office::AuditState::Complete);
}

#[test]
fn what_makes_no_sense_is_ordered_by_nobody() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let refused = |change| order(&gap, &entitlement, change).unwrap_err().reason;
    assert_eq!(refused(Change::ReduceUnits(0)), "TERMS_INVALID");
    assert_eq!(refused(Change::ShortenToMs(u64::MAX)), "TERMS_INVALID");
    let nothing = office::Extension { units: 0, not_after_ms: None };
    assert_eq!(refused(Change::Extend(nothing)), "TERMS_INVALID");
    let unknown = order(&gap, "ent-0123456789abcdef", Change::ReduceUnits(1)).unwrap_err();
    assert_eq!(unknown.reason, "NOT_FOUND");
    let request = office::ChangeRequest { entitlement, change: None };
    let none = gap.hq.call::<office::ChangeResponse>("admin", "ada", "Change", &request);
    assert_eq!(none.unwrap_err().reason, "INVALID_ARGUMENT");
}

#[test]
fn a13_an_entitlement_that_is_closed_balances_at_headquarters() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    for number in 0..3 {
        gap.make(&entitlement, &format!("SN:{number}"));
    }
    gap.provision(&entitlement, "SN:9", &Device::new()).unwrap();
    assert_eq!(close(&gap, &entitlement).unwrap_err().reason, "WRONG_STATE");
    clean(&gap);
    let first = close(&gap, &entitlement).unwrap();
    assert_eq!((first.counters.unwrap().destroyed, first.in_doubt.clone()), (6, vec![3]));
    let taken = closed(&gap, &first.file_id).unwrap();
    let (ended, in_doubt) = (taken.confirmed + taken.destroyed, taken.in_doubt.len() as u64);
    assert_eq!(taken.credited, ended + in_doubt);
    let again = close(&gap, &entitlement).unwrap();
    assert_eq!(closed(&gap, &again.file_id).unwrap_err().reason, "REPLAYED");
    let summary = summary(&gap);
    assert!(summary.closed);
    assert_eq!((summary.exposure, summary.audit()), (0, office::AuditState::Complete));
    assert_eq!(gap.status(&entitlement).state(), line::EntitlementState::Closed);
    // The rows of the closing come with the next bundle, and agree.
    clean(&gap);
    gap.world.pass_ms(30 * DAY_MS);
    gap.create(&gap.order("PO-2")).unwrap();
}

#[test]
fn a_site_that_let_much_pile_up_is_audited_in_several_bundles() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| {
        terms.total = 100;
        terms.rates = vec![office::Rate { units: 1_000, per_seconds: 1 }];
        terms.max_in_doubt = Some(100);
    });
    let mut bundles = 0;
    for number in 0..100 {
        gap.make(&entitlement, &format!("SN:{number}"));
    }
    loop {
        let request = line::ExportBundleRequest { max_bytes: 64 << 10, ..Default::default() };
        let exported: line::ExportBundleResponse =
            gap.site.call("auditor", "eve", "ExportBundle", &request).unwrap();
        let bundle = gap.site.fetch(&exported.file_id).unwrap();
        let ingested = gap.ingest(&bundle).unwrap();
        let request = office::ShowReportRequest { report: ingested.report.clone() };
        let report: office::Report = gap.hq.call("auditor", "eva", "ShowReport", &request).unwrap();
        assert_eq!(ingested.verdict(), office::Verdict::Clean, "{:?}", report.findings);
        let receipt = gap.hq.fetch(&ingested.receipt_file_id).unwrap();
        gap.import_receipt(&receipt).unwrap();
        bundles += 1;
        if !exported.more {
            break;
        }
    }
    assert!(bundles >= 2, "{bundles}");
    assert_eq!(summary(&gap).confirmed, 100);
}
