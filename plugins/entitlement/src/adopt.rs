//! Orders that a restored headquarters forgot, and takes back from a site that holds them.

use mintmark_exchange::directive::Directive;
use mintmark_exchange::grant::Grant;
use mintmark_exchange::order::SignedOrder;
use mintmark_sdk::transfers::{self, AdoptedOrder};
use mintmark_sdk::{Error, Status};

use crate::catalog::{self, Entitlement};
use crate::{proto, serials};

/// Takes back an order, which the host has checked: it is this headquarters' own.
pub(crate) fn adopt(order: &[u8]) -> Result<proto::AdoptResponse, Status> {
    let adopted = transfers::adopt_order(order)?;
    let unreadable = |_| Error::Malformed("the host's order");
    let signed = SignedOrder::decode(order).map_err(unreadable)?;
    match adopted {
        AdoptedOrder::Grant => adopt_grant(&signed.open().map_err(unreadable)?, order),
        AdoptedOrder::Directive => adopt_directive(&signed.open().map_err(unreadable)?, order),
    }
}

fn adopt_grant(grant: &Grant, order: &[u8]) -> Result<proto::AdoptResponse, Status> {
    let entitlement = grant.entitlement.clone();
    if catalog::by_id(&entitlement)?.is_some() {
        return Ok(proto::AdoptResponse { entitlement, directive: 0, known: true });
    }
    if let Some(other) = catalog::by_number(grant.number)? {
        let message = "another entitlement has its number; nothing changed";
        return Err(Status::wrong_state(message).with_fact("entitlement", other.id));
    }
    // The site has the message; what was asked for is not known any more, so that nothing under
    // the same order number is a repetition of it.
    catalog::add(&Entitlement::of(grant), order)?;
    serials::add(&grant.product, 0..grant.terms.total, &entitlement)?;
    Ok(proto::AdoptResponse { entitlement, directive: 0, known: false })
}

fn adopt_directive(directive: &Directive, order: &[u8]) -> Result<proto::AdoptResponse, Status> {
    let found = catalog::by_id(&directive.entitlement)?;
    let mut entitlement =
        found.ok_or_else(|| Status::not_found("its grant was not adopted; adopt that first"))?;
    let known = catalog::has_directive(&entitlement, directive.number)?;
    if !known {
        catalog::add_directive(&entitlement, directive.number, order)?;
        let before = entitlement.total;
        entitlement.note(directive.change, directive.number);
        serials::add_extension(&entitlement, before)?;
        catalog::update(&entitlement)?;
    }
    Ok(proto::AdoptResponse { entitlement: entitlement.id, directive: directive.number, known })
}
