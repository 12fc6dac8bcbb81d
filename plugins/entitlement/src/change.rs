//! Later orders about an entitlement: the host signs each, and decides whether it can be.

use mintmark_exchange::directive::{Change, Directive};
use mintmark_exchange::order::{DIRECTIVE, SignedOrder};
use mintmark_exchange::product::KeyOrigin;
use mintmark_exchange::proposal::{self, DirectiveMessageBody};
use mintmark_sdk::keys::Key;
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::{Error, Status, transfers};

use crate::catalog::{self, Entitlement};
use crate::proto::{self, change_request};
use crate::serials;
use crate::service::invalid;

/// The plugin that holds entitlements at a site.
const SITE_PLUGIN: &str = "device-key";

/// Orders a change, in one transaction with the message that carries it.
pub(crate) fn order(request: proto::ChangeRequest) -> Result<proto::ChangeResponse, Status> {
    let change = read(request.change)?;
    let bounded = request.entitlement.len() <= 64;
    let found = if bounded { catalog::by_id(&request.entitlement)? } else { None };
    let mut entitlement = found.ok_or_else(|| Status::not_found("there is no such entitlement"))?;
    let product_ca = product_ca(&entitlement, change)?;
    let (site, id) = (&entitlement.site, &entitlement.id);
    let order = transfers::export_directive(site, id, &change, product_ca.as_ref())?;
    let unreadable = |_| Error::Malformed("the host's directive");
    let signed = SignedOrder::decode(&order).map_err(unreadable)?;
    let directive: Directive = signed.open().map_err(unreadable)?;
    catalog::add_directive(&entitlement, directive.number, &order)?;
    let body = DirectiveMessageBody { version: proposal::VERSION, order };
    let mut writer = messages::seal(Purpose::Directive, site, SITE_PLUGIN, &[])?;
    writer.append(&body.encode())?;
    let sealed = writer.finish()?;
    let before = entitlement.total;
    entitlement.note(change, directive.number);
    serials::add_extension(&entitlement, before)?;
    catalog::update(&entitlement)?;
    Ok(proto::ChangeResponse {
        file_id: sealed.file,
        sequence: sealed.sequence.ok_or(Error::Malformed("the message's place in the stream"))?,
        number: directive.number,
        directive_digest: signed.digest(DIRECTIVE).to_vec(),
    })
}

fn read(change: Option<change_request::Change>) -> Result<Change, Status> {
    use change_request::Change as Asked;
    match change {
        None => Err(invalid("change: one is expected")),
        Some(Asked::Revoke(_)) => Ok(Change::Revoke),
        Some(Asked::ReduceUnits(units)) => Ok(Change::Reduce { units }),
        Some(Asked::ShortenToMs(not_after)) => Ok(Change::Shorten { not_after }),
        Some(Asked::Extend(asked)) => {
            Ok(Change::Extend { units: asked.units, not_after: asked.not_after_ms })
        }
    }
}

/// What is added to a product with certificates is certified by its CA; and serial numbers and
/// subjects must be there for it.
fn product_ca(entitlement: &Entitlement, change: Change) -> Result<Option<Key>, Status> {
    let Change::Extend { units: units @ 1.., .. } = change else { return Ok(None) };
    let grant = catalog::grant(&entitlement.id)?;
    if grant.product.origin == KeyOrigin::Pool {
        let message = "the extension: there are no given keys for it; a new order brings its own";
        return Err(Status::invalid("TERMS_INVALID", message));
    }
    let total = entitlement.total.saturating_add(units);
    let fits = grant.product.check(total);
    fits.map_err(|error| Status::invalid("TERMS_INVALID", format!("the extension: {error}")))?;
    serials::check(&grant.product, entitlement.total..total)?;
    let certified = grant.product.template.is_some();
    Ok(certified.then(|| Key::open(&format!("product-{}", entitlement.product))).transpose()?)
}

impl Entitlement {
    /// What was ordered counts from now on; one that was forgotten may come late.
    pub(crate) fn note(&mut self, change: Change, number: u32) {
        self.changes = self.changes.max(number);
        match change {
            Change::Revoke => self.revoked = true,
            Change::Reduce { .. } => {}
            Change::Shorten { not_after } => self.not_after_ms = self.not_after_ms.min(not_after),
            Change::Extend { units, not_after } => {
                self.total = self.total.saturating_add(units);
                self.not_after_ms = self.not_after_ms.max(not_after.unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_what_is_ordered_and_nothing_is_refused() {
        use change_request::Change as Asked;
        let extension = proto::Extension { units: 3, not_after_ms: Some(7) };
        let asked = [
            (Asked::Revoke(proto::Revocation {}), Change::Revoke),
            (Asked::ReduceUnits(5), Change::Reduce { units: 5 }),
            (Asked::ShortenToMs(6), Change::Shorten { not_after: 6 }),
            (Asked::Extend(extension), Change::Extend { units: 3, not_after: Some(7) }),
        ];
        for (asked, change) in asked {
            assert_eq!(read(Some(asked)).unwrap(), change);
        }
        assert_eq!(read(None).unwrap_err().reason, "INVALID_ARGUMENT");
    }
}
