//! The end of a bundle's check: report, receipt, and what is known of the site from now on.

use mintmark_exchange::proposal::{self, ReceiptMessageBody};
use mintmark_exchange::reconcile::{Report, Verdict};
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Error, Status, clock, log, transfers};

use crate::catalog::{self, LastBundle};
use crate::ingest::{Bundle, Judged};
use crate::opened;
use crate::report::{self, StoredReport, receipt_verdict};

/// Stores the report; for a clean bundle also what it says, with a receipt for the site.
pub(crate) fn conclude(bundle: &Bundle, judged: Judged) -> Result<StoredReport, Status> {
    let Judged { report, state } = judged;
    if report.verdict != Verdict::Hold {
        accept(&bundle.file)?;
    }
    let sender = &bundle.sender;
    opened::store_head(&bundle.digest, &sender.site, sender.made_at_ms)?;
    let mut receipt_file = None;
    if let Some(verdict) = receipt_verdict(report.verdict) {
        catalog::set_site_state(&sender.site, &state)?;
        if let Some(as_of_ms) = report.as_of_ms(&state) {
            remember(&report, as_of_ms.min(clock::now()))?;
        }
        receipt_file = Some(send_receipt(bundle, verdict)?);
    }
    let stored = StoredReport {
        report,
        sender: sender.clone(),
        length: bundle.length,
        reported_at_ms: clock::now(),
        receipt_file,
    };
    stored.store(&bundle.file)?;
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

/// Lets the host sign a receipt, and seals it to the site; gives the staged file.
fn send_receipt(bundle: &Bundle, verdict: &str) -> Result<String, Error> {
    let checkpoints = opened::checkpoints(&bundle.digest)?;
    let order = transfers::export_receipt(&bundle.digest, &checkpoints, verdict)?;
    let body = ReceiptMessageBody { version: proposal::VERSION, order };
    let sender = &bundle.sender;
    let mut writer = messages::seal(Purpose::Receipt, &sender.site, &sender.plugin, &[])?;
    writer.append(&body.encode())?;
    Ok(writer.finish()?.file)
}
