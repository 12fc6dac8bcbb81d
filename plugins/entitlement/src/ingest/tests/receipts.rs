//! Receipts that the host refuses, and those that are asked for again.

use super::*;

/// A bundle whose check takes several calls, until it is judged.
fn judged_in_several_calls(memory: &Memory, file: &str) {
    for _ in 0..1_000 {
        assert!(matches!(memory.call(|| step(file)), Ok(Step::Going { .. })), "one call is enough");
        if Marker::load().unwrap().is_none_or(|marker| marker.is_judged()) {
            return;
        }
    }
    panic!("the check does not end");
}

#[test]
fn a_refused_receipt_drops_a_check_of_one_call() {
    let memory = headquarters();
    memory.stage("a", Site::new().bundle(&[]));
    memory.refuse_receipts(true);
    for _ in 0..2 {
        assert_eq!(memory.call(|| step("a")).unwrap_err().reason, "WRONG_STATE");
        assert_eq!(StoredReport::of_file("a"), Ok(None));
    }
    memory.refuse_receipts(false);
    assert!(ingest(&memory, "a").0.receipt_file.is_some());
}

#[test]
fn a_refused_receipt_stops_no_other_bundle_and_can_be_given_later() {
    let memory = headquarters();
    let site = small_and_large(&memory);
    memory.stage("copy", site.bundle(&[]));
    memory.refuse_receipts(true);
    judged_in_several_calls(&memory, "large");
    // Whoever sends it is told, each time, and what was found out is kept.
    let mut refused = memory.call(|| step("large"));
    while let Ok(Step::Going { .. }) = refused {
        refused = memory.call(|| step("large"));
    }
    for file in ["large", "copy", "large"] {
        assert_eq!(memory.call(|| step(file)).unwrap_err().reason, "WRONG_STATE", "{file}");
    }
    assert_eq!(refused.unwrap_err().reason, "WRONG_STATE");
    let stored = StoredReport::of_file("large").unwrap().unwrap();
    assert_eq!((stored.report.verdict, stored.lacks_receipt()), (Verdict::Clean, true));
    assert!(is_registered("SN:1") && memory.receipts().is_empty());
    // Another file is its own matter.
    assert!(Marker::load().unwrap().is_none());
    memory.refuse_receipts(false);
    assert_eq!(ingest(&memory, "small").0.report.verdict, Verdict::Clean);
    // Under whatever name the large one comes again, its receipt is given once.
    let (given, calls) = ingest(&memory, "copy");
    assert_eq!((given.receipt_file.as_deref(), calls), (Some("receipt"), 1));
    assert_eq!(memory.call(|| step("large")).unwrap_err().reason, "REPLAYED");
    assert_eq!(memory.receipts().len(), 2);
    assert_eq!(report::list("", 10, SITE).unwrap().reports.len(), 2);
}

#[test]
fn a_judged_bundle_is_settled_for_the_next_one_without_its_receipt() {
    let memory = headquarters();
    let mut site = Site::new();
    site.make_device(0);
    memory.stage("small", site.bundle(&[]));
    site.make_device(1);
    memory.stage("large", site.bundle(&[]));
    leave_judged("large");
    // What the host refuses to one site's bundle is nothing to another's.
    memory.refuse_receipts(true);
    let settled = memory.call(|| step("small")).unwrap();
    assert!(matches!(settled, Step::Going { checked: 0, .. }));
    assert!(StoredReport::of_file("large").unwrap().unwrap().lacks_receipt());
    memory.refuse_receipts(false);
    assert_eq!(ingest(&memory, "small").0.report.verdict, Verdict::Clean);
    assert!(ingest(&memory, "large").0.receipt_file.is_some());
}
