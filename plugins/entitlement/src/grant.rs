//! Granting: keys, grant and message for one order, in one transaction.

use mintmark_exchange::product::{KeyOrigin, Product};
use mintmark_exchange::proposal::{self, EntitlementBody};
use mintmark_sdk::certificates::{create_batch_key, create_product_ca};
use mintmark_sdk::key_sets::KeySet;
use mintmark_sdk::keys::{Algorithm, Key, Operations, Recipients};
use mintmark_sdk::messages::{self, Purpose, Sealed};
use mintmark_sdk::transfers::{self, Exported, Proposal};
use mintmark_sdk::{Absent, Digest, Error, Status, peers};

use crate::catalog::{self, Entitlement};
use crate::order::Order;
use crate::serials;

/// The keys that go with a grant.
struct Keys {
    product_ca: Option<Key>,
    batch_key: Option<Key>,
    key_set: Option<KeySet>,
}

/// Grants what is ordered, or gives what was granted for the same request before.
pub(crate) fn create(order: &Order) -> Result<Entitlement, Status> {
    let site = peers::identity(&order.site, &order.plugin).or_absent()?;
    let site = site.ok_or_else(|| Status::not_found("the site's identity was not imported"))?;
    let request = order.digest(&site.cluster);
    if let Some(earlier) = catalog::by_order(&order.proposal.order)? {
        return repeated(earlier, &request);
    }
    let (product, units) = (&order.proposal.product, 0..order.proposal.terms.total);
    serials::check(product, units.clone())?;
    let keys = make_keys(order, &site.cluster)?;
    let exported = transfers::export_grant(&Proposal {
        cluster: &site.cluster,
        plugin: &order.plugin,
        proposal: &order.proposal.encode(),
        product_ca: keys.product_ca.as_ref(),
        batch_key: keys.batch_key.as_ref(),
        key_set: keys.key_set.as_ref(),
    })?;
    let sealed = seal(order, &site.cluster, &exported)?;
    let entitlement = entry(request, &exported, sealed)?;
    catalog::add(&entitlement, &exported.grant)?;
    serials::add(product, units, &entitlement.id)?;
    Ok(entitlement)
}

/// The answer to an order number that was used before.
fn repeated(earlier: Entitlement, request: &Digest) -> Result<Entitlement, Status> {
    if earlier.request == *request {
        return Ok(earlier);
    }
    let message = "the order number was used for another request; use a new one";
    Err(Status::wrong_state(message).with_fact("entitlement", earlier.id))
}

fn make_keys(order: &Order, site: &str) -> Result<Keys, Error> {
    let product = &order.proposal.product;
    let suffix = order.key_suffix();
    let recipients = |operations| Recipients::site(order.plugin.as_str(), site, operations);
    let certified = product.template.as_ref();
    let product_ca = certified
        .map(|template| open_product_ca(&order.product_ca(), &template.organization, product));
    let batch_key = certified
        .map(|_| create_batch_key(&format!("batch-{suffix}"), &recipients(Operations::CERTIFY)));
    let derived = product.origin == KeyOrigin::Derived;
    let key_set = derived.then(|| {
        let algorithm = Algorithm::named(product.algorithm.clone());
        let total = order.proposal.terms.total;
        let name = format!("keys-{suffix}");
        KeySet::generate(&name, algorithm, total, &recipients(Operations::DERIVE))
    });
    Ok(Keys {
        product_ca: product_ca.transpose()?,
        batch_key: batch_key.transpose()?,
        key_set: key_set.transpose()?,
    })
}

/// One CA serves all entitlements of a product.
fn open_product_ca(name: &str, organization: &str, product: &Product) -> Result<Key, Error> {
    match Key::open(name).or_absent()? {
        Some(key) => Ok(key),
        None => create_product_ca(name, organization, &product.id),
    }
}

fn seal(order: &Order, site: &str, exported: &Exported) -> Result<Sealed, Error> {
    let body = EntitlementBody { version: proposal::VERSION, order: exported.order.clone() };
    let mut writer = messages::seal(Purpose::Entitlement, site, &order.plugin, &[])?;
    writer.append(&body.encode())?;
    writer.finish()
}

fn entry(request: Digest, exported: &Exported, sealed: Sealed) -> Result<Entitlement, Error> {
    let grant = catalog::read_grant(&exported.grant)?;
    let sequence = sealed.sequence.ok_or(Error::Malformed("the message's place in the stream"))?;
    Ok(Entitlement { request, file: sealed.file, sequence, ..Entitlement::of(&grant) })
}
