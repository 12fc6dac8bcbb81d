//! The end of a bundle's check: report, receipt, and what is known of the site from now on.

use mintmark_exchange::proposal::{self, ReceiptMessageBody};
use mintmark_exchange::reconcile::{Report, Verdict};
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Error, Status, clock, log, transfers};

use crate::catalog::{self, LastBundle};
use crate::ingest::{Bundle, Judged};
use crate::opened;
use crate::report::{self, StoredReport, receipt_verdict};

/// Stores the report; for a clean bundle also what it says. The receipt is given after it.
pub(crate) fn conclude(bundle: &Bundle, judged: Judged) -> Result<StoredReport, Status> {
    let Judged { report, state } = judged;
    if report.verdict != Verdict::Hold {
        accept(&bundle.file)?;
    }
    let sender = &bundle.sender;
    opened::store_head(&bundle.digest, &sender.site, sender.made_at_ms)?;
    if receipt_verdict(report.verdict).is_some() {
        catalog::set_site_state(&sender.site, &state)?;
        if let Some(as_of_ms) = report.as_of_ms(&state) {
            remember(&report, as_of_ms.min(clock::now()))?;
        }
    }
    let stored = StoredReport {
        report,
        sender: sender.clone(),
        length: bundle.length,
        reported_at_ms: clock::now(),
        receipt_file: None,
    };
    stored.store(&bundle.file)?;
    Ok(stored)
}

/// Lets the host sign the receipt for a clean bundle, and seals it to the site.
pub(crate) fn give_receipt(mut stored: StoredReport, file: &str) -> Result<StoredReport, Status> {
    if let Some(verdict) = receipt_verdict(stored.report.verdict) {
        stored.receipt_file = Some(send_receipt(&stored, verdict)?);
        stored.store(file)?;
    }
    Ok(stored)
}

/// The host answers `REPLAYED` from now on. A message that can't be opened any more is told apart
/// by its report.
fn accept(file: &str) -> Result<(), Error> {
    match messages::open(Purpose::Bundle, file) {
        Ok(message) => message.accept(),
        Err(Error::Unavailable(text)) => Err(Error::Unavailable(text)),
        Err(error) => {
            log::warning!("the bundle can't be marked as done: {}", error.code());
            Ok(())
        }
    }
}

/// What a site's newest rows say of its entitlements. How far they reach is what counts, not when
/// they were carried in: a range that comes again says nothing new.
fn remember(report: &Report, as_of_ms: u64) -> Result<(), Error> {
    for of in &report.entitlements {
        let last = LastBundle {
            report: report::id(&report.bundle),
            as_of_ms,
            counters: of.counters,
            limit: of.limit,
            ended: of.revoked || of.closed,
        };
        catalog::set_last_bundle(&of.entitlement, &last)?;
    }
    Ok(())
}

/// Gives the staged receipt.
fn send_receipt(stored: &StoredReport, verdict: &str) -> Result<String, Error> {
    let StoredReport { report, sender, .. } = stored;
    let checkpoints = opened::checkpoints(&report.bundle)?;
    let order = transfers::export_receipt(&report.bundle, &checkpoints, verdict)?;
    let body = ReceiptMessageBody { version: proposal::VERSION, order };
    let mut writer = messages::seal(Purpose::Receipt, &sender.site, &sender.plugin, &[])?;
    writer.append(&body.encode())?;
    Ok(writer.finish()?.file)
}
