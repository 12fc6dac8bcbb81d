//! The end of an entitlement, as its site's host states it.

use mintmark_exchange::canonical;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::order::{BODY_BYTES_MAX, ORDER_BYTES_MAX};
use mintmark_exchange::proposal::ClosingMessageBody;
use mintmark_exchange::reconcile::Closing;
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Error, Status, transfers};

use crate::{catalog, proto};

/// The body is little more than the order in it.
const OVERHEAD_BYTES_MAX: usize = 16;

/// Opens a message of a site and lets the host take the statement in it.
pub(crate) fn import(file: &str) -> Result<proto::ImportClosingResponse, Status> {
    let message = messages::open(Purpose::Closing, file)?;
    let bytes = message.read_all(ORDER_BYTES_MAX + OVERHEAD_BYTES_MAX)?;
    let ClosingMessageBody { order, .. } = ClosingMessageBody::decode(&bytes).map_err(|_| {
        Status::denied("UNTRUSTED_MESSAGE", "the message does not hold what it should")
    })?;
    let body = transfers::import_closing(&order)?;
    let statement: ClosingStatement = canonical::decode(&body, BODY_BYTES_MAX)
        .map_err(|_| Error::Malformed("the host's closing statement"))?;
    if statement.site != message.sender().cluster {
        return Err(Status::denied("UNTRUSTED_MESSAGE", "the message is not from the site"));
    }
    message.accept()?;
    let found = catalog::by_id(&statement.entitlement)?;
    let mut entitlement = found.ok_or(Error::Malformed("the list of entitlements"))?;
    entitlement.closed = true;
    catalog::update(&entitlement)?;
    let said = Closing::of(&statement);
    catalog::add_closing(&statement.site, &statement.entitlement, said, &order)?;
    let counters = statement.counters;
    Ok(proto::ImportClosingResponse {
        entitlement: statement.entitlement,
        site: statement.site,
        credited: counters.credited,
        confirmed: counters.confirmed,
        failed: counters.failed,
        scrapped: counters.scrapped,
        returned: counters.returned,
        lost: counters.lost,
        destroyed: counters.destroyed,
        in_doubt: statement.in_doubt,
    })
}
