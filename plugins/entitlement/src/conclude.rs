//! The end of a bundle's check: report, receipt, and what is known of the site from now on.

use mintmark_exchange::proposal::{self, ReceiptMessageBody};
use mintmark_exchange::reconcile::Verdict;
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
        for of in &report.entitlements {
            let last = LastBundle {
                report: report::id(&bundle.digest),
                made_at_ms: sender.made_at_ms,
                counters: of.counters,
                limit: of.limit,
                ended: of.revoked || of.closed,
            };
            remember(&of.entitlement, &last)?;
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

/// A bundle that was carried in late does not undo what a newer one said.
fn remember(entitlement: &str, last: &LastBundle) -> Result<(), Error> {
    let newer =
        catalog::last_bundle(entitlement)?.is_some_and(|known| known.made_at_ms > last.made_at_ms);
    if newer { Ok(()) } else { catalog::set_last_bundle(entitlement, last) }
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
