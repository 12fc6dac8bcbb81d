//! How a site stands: by how far its rows reach, not by when somebody carried them.

use mintmark_exchange::grant::ConfirmProof;
use mintmark_model::Reason;
use mintmark_sdk_testing::sdk::{Plugin, Status};
use mintmark_sdk_testing::{Device, Office};

use crate::bench::{Bench, Line, import, import_receipt};
use crate::bundles::{chat, export};

const DAY_MS: u64 = 86_400_000;

/// Carries the bundle that `after` gives to headquarters, and the receipt back; says whether rows
/// were left.
fn report(bench: &Bench, after: Option<u64>) -> bool {
    let (_, file, more) = export(bench, after);
    import_receipt(&bench.site, &Office::acknowledge(&bench.hq, &file).unwrap()).unwrap();
    more
}

/// Headquarters grants the site something more, and the site takes it.
fn more(bench: &Bench, number: &str) -> Result<(), Status> {
    let order = bench.order(number, 10);
    let file = Office::grant(&bench.hq, &bench.site.uri(), Line::NAME, &order)?;
    import(&bench.site, &file).map(drop)
}

#[test]
fn a_site_that_reports_only_the_beginning_of_what_it_did_owes_the_rest() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    assert!(!report(&bench, None));
    chat(&bench, 10);
    bench.world.pass_ms(4 * DAY_MS);
    assert!(report(&bench, None), "rows of the first day are left");
    more(&bench, "po-2").unwrap();
    bench.world.pass_ms(4 * DAY_MS);
    assert!(report(&bench, None));
    // A bundle came in today, and what it leaves is older than a week.
    assert_eq!(more(&bench, "po-3").unwrap_err().reason, "RECEIPT_OVERDUE");
    let refused = bench.reserve(&entitlement, "SN:2").unwrap_err();
    assert_eq!(refused.reason, Reason::ReceiptOverdue, "and the site's own host counts so too");
    while report(&bench, None) {}
    more(&bench, "po-3").unwrap();
    bench.reserve(&entitlement, "SN:2").unwrap();
}

#[test]
fn a_range_that_comes_again_renews_nothing() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    chat(&bench, 10);
    while report(&bench, None) {}
    bench.world.pass_ms(8 * DAY_MS);
    assert!(report(&bench, Some(0)), "the beginning alone");
    assert_eq!(more(&bench, "po-2").unwrap_err().reason, "RECEIPT_OVERDUE");
    assert_eq!(bench.reserve(&entitlement, "SN:2").unwrap_err().reason, Reason::ReceiptOverdue);
    assert!(!report(&bench, None));
    more(&bench, "po-2").unwrap();
}

#[test]
fn a_site_whose_clock_is_ahead_gains_no_time() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.terms.confirm_proof = ConfirmProof::None;
    let entitlement = bench.entitlement_of(&order);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    // Nobody can tell a clock that runs fast in all respects; headquarters has its own.
    bench.site.clock().pass_ms(30 * DAY_MS);
    report(&bench, None);
    bench.hq.clock().pass_ms(7 * DAY_MS);
    more(&bench, "po-2").unwrap();
    bench.hq.clock().pass_ms(1);
    assert_eq!(more(&bench, "po-3").unwrap_err().reason, "RECEIPT_OVERDUE");
}
