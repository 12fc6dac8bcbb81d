//! Bundles, reports, receipts.

use mintmark_exchange::canonical::sha256;
use mintmark_plugin_device_key::proto::FailureKind;
use mintmark_plugin_entitlement::proto as office;
use mintmark_plugin_entitlement::proto::find_device_request::Key;
use mintmark_sdk::Status;
use mintmark_sdk_testing::Device;

use crate::gap::{DAY_MS, Gap, new_site};

fn show(gap: &Gap, report: &str) -> office::Report {
    let request = office::ShowReportRequest { report: report.to_owned() };
    gap.hq.call("auditor", "eva", "ShowReport", &request).unwrap()
}

fn find(gap: &Gap, key: Key) -> Result<Vec<office::Device>, Status> {
    let request = office::FindDeviceRequest { key: Some(key) };
    let found: office::FindDeviceResponse =
        gap.hq.call("auditor", "eva", "FindDevice", &request)?;
    Ok(found.devices)
}

fn summary(gap: &Gap) -> office::EntitlementSummary {
    let list: office::ListResponse =
        gap.hq.call("auditor", "eva", "List", &office::ListRequest::default()).unwrap();
    list.entitlements[0].clone()
}

#[test]
fn an_honest_day_is_clean_from_the_bundle_to_the_receipt() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    for number in 0..4 {
        gap.make(&entitlement, &format!("SN:{number}"));
    }
    gap.fail(&entitlement, "SN:0", FailureKind::Permanent).unwrap_err();
    gap.scrap(&entitlement, "SN:1").unwrap();
    gap.provision(&entitlement, "SN:5", &Device::new()).unwrap();
    gap.fail(&entitlement, "SN:5", FailureKind::Permanent).unwrap();
    let (ingested, taken) = gap.report();
    let report = show(&gap, &ingested.report);
    assert_eq!(ingested.verdict(), office::Verdict::Clean, "{:?}", report.findings);
    assert_eq!(taken.verdict, "clean");
    let counts = &report.entitlements[0];
    assert_eq!((counts.confirmed, counts.failed, counts.scrapped), (3, 1, 1));
    assert_eq!((counts.credited, counts.unused), (10, 5));
    assert_eq!(report.hardware_model, "software-emulated");
    let summary = summary(&gap);
    assert_eq!((summary.reported, summary.confirmed, summary.exposure), (5, 3, 5));
    assert_eq!(summary.audit(), office::AuditState::Current);
}

#[test]
fn the_register_knows_a_device_by_subject_serial_and_certificate() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    let (_, identity) = gap.make(&entitlement, "SN:1");
    let unknown = find(&gap, Key::Subject("SN:1".to_owned())).unwrap_err();
    assert_eq!(unknown.reason, "NOT_FOUND", "nothing was reported yet");
    gap.report();
    let by_subject = find(&gap, Key::Subject("SN:1".to_owned())).unwrap();
    assert_eq!(by_subject[0].state, "confirmed");
    assert_eq!(by_subject[0].certificate_hash, sha256(&identity.certificate));
    assert_eq!(find(&gap, Key::Serial("T2-000001".to_owned())).unwrap(), by_subject);
    let serial = by_subject[0].certificate_serial.clone();
    assert_eq!(find(&gap, Key::CertificateSerial(serial)).unwrap(), by_subject);
    assert!(find(&gap, Key::Subject("SN:2".to_owned())).is_err());
}

#[test]
fn bundles_go_on_where_the_last_receipt_ended() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    let (first, _) = gap.report();
    gap.make(&entitlement, "SN:2");
    let (second, _) = gap.report();
    let (first, second) = (show(&gap, &first.report), show(&gap, &second.report));
    assert_eq!(second.coverage[0].after_sequence, first.coverage[0].to_sequence);
    assert_eq!(second.verdict(), office::Verdict::Clean, "{:?}", second.findings);
    assert_eq!(second.entitlements[0].confirmed, 2);
}

#[test]
fn r14_a_lost_receipt_or_a_second_export_is_harmless() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    let (first, second) = (gap.bundle(), gap.bundle());
    let ingested = gap.ingest(&first).unwrap();
    let again = gap.ingest(&first).unwrap_err();
    assert_eq!(again.reason, "REPLAYED");
    assert!(again.metadata.contains(&("verdict".to_owned(), "clean".to_owned())), "{again:?}");
    assert!(again.metadata.contains(&("report".to_owned(), ingested.report.clone())));
    let longer = gap.ingest(&second).unwrap();
    let report = show(&gap, &longer.report);
    assert_eq!(longer.verdict(), office::Verdict::Clean, "{:?}", report.findings);
    // The receipts are a stream: the first, which was not lost after all, comes first.
    let receipt =
        |ingested: &office::IngestResponse| gap.hq.fetch(&ingested.receipt_file_id).unwrap();
    let early = gap.import_receipt(&receipt(&longer)).unwrap_err();
    assert_eq!(early.reason, "OUT_OF_ORDER");
    gap.import_receipt(&receipt(&ingested)).unwrap();
    gap.import_receipt(&receipt(&longer)).unwrap();
    let replayed = gap.import_receipt(&receipt(&longer)).unwrap_err();
    assert_eq!(replayed.reason, "REPLAYED");
}

#[test]
fn r14_an_old_bundle_that_comes_late_is_no_breach_of_what_may_be_unreported() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| {
        terms.audit_return = Some(office::AuditReturn { units: 2, seconds: DAY_MS / 1_000 });
    });
    gap.make(&entitlement, "SN:1");
    gap.make(&entitlement, "SN:2");
    let (first, late) = (gap.bundle(), gap.bundle());
    let ingested = gap.ingest(&first).unwrap();
    gap.import_receipt(&gap.hq.fetch(&ingested.receipt_file_id).unwrap()).unwrap();
    gap.make(&entitlement, "SN:3");
    gap.make(&entitlement, "SN:4");
    let (newer, _) = gap.report();
    assert_eq!(newer.verdict(), office::Verdict::Clean);
    // It was under way all the time. Headquarters holds four devices by now; it reports two.
    let ingested = gap.ingest(&late).unwrap();
    let report = show(&gap, &ingested.report);
    assert_eq!(ingested.verdict(), office::Verdict::Clean, "{:?}", report.findings);
}

#[test]
fn a_lost_key_that_a_person_reports_is_no_finding() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let alone = gap.fail(&entitlement, "SN:1", FailureKind::KeyLost).unwrap_err();
    assert_eq!(alone.reason, "PERMISSION_DENIED");
    let lost = |who| gap.fail_as(who, &entitlement, "SN:1", FailureKind::KeyLost);
    assert_eq!(lost(("station", "line-5")).unwrap_err().reason, "PERMISSION_DENIED");
    lost(("operator", "mei")).unwrap();
    let (ingested, _) = gap.report();
    let report = show(&gap, &ingested.report);
    assert_eq!(ingested.verdict(), office::Verdict::Clean, "{:?}", report.findings);
    assert_eq!(report.entitlements[0].failed, 1);
}

#[test]
fn a_restart_of_the_site_is_no_finding() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    let Gap { world, hq, site } = gap;
    let gap = Gap { world, hq, site: site.restart().unwrap() };
    gap.world.pass_ms(20_000);
    gap.make(&entitlement, "SN:2");
    let (ingested, _) = gap.report();
    let report = show(&gap, &ingested.report);
    assert_eq!(ingested.verdict(), office::Verdict::Clean, "{:?}", report.findings);
}

#[test]
fn refusals_and_retries_are_on_record_and_are_no_finding() {
    let gap = Gap::new();
    let entitlement = gap.granted_with(|terms| terms.total = 1);
    let device = Device::new();
    gap.provision(&entitlement, "SN:1", &device).unwrap();
    gap.provision(&entitlement, "SN:1", &device).unwrap();
    for _ in 0..5 {
        gap.provision(&entitlement, "SN:2", &Device::new()).unwrap_err();
    }
    let (ingested, _) = gap.report();
    let report = show(&gap, &ingested.report);
    assert_eq!(ingested.verdict(), office::Verdict::Clean, "{:?}", report.findings);
    assert_eq!(report.entitlements[0].retries, 1);
    // The rows up to here, and those of the export and of the refusals that were merged.
    let (second, _) = gap.report();
    assert_eq!(second.verdict(), office::Verdict::Clean);
}

#[test]
fn the_opened_bundle_comes_out_whole() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    let (ingested, _) = gap.report();
    let mut data = Vec::new();
    loop {
        let request = office::ExportOpenedRequest {
            report: ingested.report.clone(),
            offset: data.len() as u64,
        };
        let part: office::ExportOpenedResponse =
            gap.hq.call("auditor", "eva", "ExportOpened", &request).unwrap();
        data.extend_from_slice(&part.data);
        if part.done {
            assert_eq!(part.total_bytes, data.len() as u64);
            break;
        }
    }
    let text = String::from_utf8_lossy(&data);
    assert!(text.contains(&entitlement) && text.contains("SN:1"));
}

#[test]
fn a_site_that_owes_a_bundle_gets_nothing_more() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    gap.world.pass_ms(7 * DAY_MS + 1);
    assert_eq!(summary(&gap).audit(), office::AuditState::Overdue);
    let refused = gap.create(&gap.order("PO-2")).unwrap_err();
    assert_eq!(refused.reason, "RECEIPT_OVERDUE");
    gap.report();
    gap.create(&gap.order("PO-2")).unwrap();
}

#[test]
fn p5_a_changed_bundle_or_receipt_is_refused() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    let bundle = gap.bundle();
    for place in (0..bundle.len()).step_by(211) {
        let mut changed = bundle.clone();
        changed[place] ^= 0x80;
        let refused = gap.ingest(&changed).unwrap_err();
        assert_eq!(refused.reason, "UNTRUSTED_MESSAGE", "byte {place}");
    }
    let ingested = gap.ingest(&bundle).unwrap();
    let receipt = gap.hq.fetch(&ingested.receipt_file_id).unwrap();
    for place in (0..receipt.len()).step_by(97) {
        let mut changed = receipt.clone();
        changed[place] ^= 0x80;
        let refused = gap.import_receipt(&changed).unwrap_err();
        assert_eq!(refused.reason, "UNTRUSTED_MESSAGE", "byte {place}");
    }
    gap.import_receipt(&receipt).unwrap();
}

#[test]
fn one_subject_at_two_sites_is_a_breach() {
    let gap = Gap::new();
    let entitlement = gap.granted();
    gap.make(&entitlement, "SN:1");
    gap.report();
    let Gap { world, hq, site } = gap;
    let second = new_site(&world, &hq, "penang");
    let gap = Gap { world, hq, site: second };
    let entitlement = gap.grant(&gap.order("PO-2"));
    gap.make(&entitlement, "SN:1");
    let ingested = gap.ingest(&gap.bundle()).unwrap();
    let report = show(&gap, &ingested.report);
    assert_eq!(ingested.verdict(), office::Verdict::Breach, "{:?}", report.findings);
    assert!(ingested.receipt_file_id.is_empty());
    drop(site);
}
