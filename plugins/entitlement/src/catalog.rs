//! What headquarters remembers of the entitlements that it granted, in records.

use std::collections::BTreeMap;

use mintmark_exchange::canonical::{decode, encode};
use mintmark_exchange::grant::Grant;
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::reconcile::{Closing, SiteState};
use mintmark_exchange::standing::{Granted, Reported, Standing, standing};
use mintmark_exchange::unit::Counters;
use mintmark_sdk::records::Table;
use mintmark_sdk::{Digest, Error};
use serde::{Deserialize, Serialize};

use crate::blob::Blob;

/// An entitlement that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entitlement {
    pub(crate) id: String,
    pub(crate) number: u32,
    /// The order number, and the digest of the request under it.
    pub(crate) order: String,
    pub(crate) request: Digest,
    /// SPIFFE URI of the site.
    pub(crate) site: String,
    pub(crate) product: String,
    /// The message that carries it, and its place in the stream to the site.
    pub(crate) file: String,
    pub(crate) sequence: u64,
    /// Units credited, with those that were added.
    pub(crate) total: u64,
    pub(crate) audit_units: u64,
    pub(crate) audit_seconds: u64,
    pub(crate) issued_at_ms: u64,
    pub(crate) not_before_ms: u64,
    /// As it was ordered last.
    pub(crate) not_after_ms: u64,
    /// Changes that were ordered.
    pub(crate) changes: u32,
    pub(crate) revoked: bool,
    /// Whether the site's closing statement is here.
    pub(crate) closed: bool,
}

impl Entitlement {
    /// What a grant says: nothing of a request, and nothing that carries it.
    pub(crate) fn of(grant: &Grant) -> Self {
        Self {
            id: grant.entitlement.clone(),
            number: grant.number,
            order: grant.order.clone(),
            request: [0; 32],
            site: grant.recipient.clone(),
            product: grant.product.id.clone(),
            file: String::new(),
            sequence: 0,
            total: grant.terms.total,
            audit_units: grant.terms.audit_return.units,
            audit_seconds: grant.terms.audit_return.seconds,
            issued_at_ms: grant.issued_at,
            not_before_ms: grant.terms.not_before,
            not_after_ms: grant.terms.not_after,
            changes: 0,
            revoked: false,
            closed: false,
        }
    }
}

/// What the newest clean bundle said about an entitlement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastBundle {
    /// The report's id.
    pub(crate) report: String,
    /// Up to when it reports all that the site did.
    pub(crate) as_of_ms: u64,
    pub(crate) counters: Counters,
    /// Units ever credited, as far as the site had got.
    pub(crate) limit: u64,
    /// Whether the site says that nothing more can be reserved.
    pub(crate) ended: bool,
}

/// By number, big-endian: so they are listed in the order in which they were granted.
const ENTITLEMENTS: Table<Entitlement> = Table::new("entitlements");
/// Numbers by entitlement id, by order number, and by site (site, zero byte, number).
const IDS: Table<u32> = Table::new("ids");
const ORDERS: Table<u32> = Table::new("orders");
const SITES: Table<u32> = Table::new("sites");
/// By entitlement id.
const LAST_BUNDLES: Table<LastBundle> = Table::new("last-bundles");
/// Signed directives, by site, zero byte, entitlement, zero byte and number, big-endian.
const DIRECTIVES: Table<Vec<u8>> = Table::new("directives");
/// What closing statements say, by site, zero byte and entitlement.
const CLOSINGS: Table<Closing> = Table::new("closings");
/// The products that there are grants of.
const PRODUCTS: Table<()> = Table::new("products");

const PAGE: u32 = 1_000;
/// A site's state is a few bytes per node, entitlement and rate. Reading it takes several times its
/// length of a plugin's memory.
pub(crate) const STATE_BYTES_MAX: usize = 8 << 20;

impl Entitlement {
    /// How the site stands with it.
    pub(crate) fn standing(&self, last: Option<&LastBundle>, now_ms: u64) -> Standing {
        let granted = Granted {
            limit: self.total,
            audit_units: self.audit_units,
            audit_seconds: self.audit_seconds,
            issued_at_ms: self.issued_at_ms,
            not_before_ms: self.not_before_ms,
            closed: self.closed,
        };
        standing(&granted, last.map(LastBundle::reported).as_ref(), now_ms)
    }
}

impl LastBundle {
    /// Units in any state but unused and destroyed.
    pub(crate) fn taken(&self) -> u64 {
        let idle = self.counters.unused.saturating_add(self.counters.destroyed);
        self.counters.credited.saturating_sub(idle)
    }

    fn reported(&self) -> Reported {
        Reported {
            counters: self.counters,
            limit: self.limit,
            ended: self.ended,
            as_of_ms: self.as_of_ms,
        }
    }
}

/// Remembers a grant.
pub(crate) fn add(entitlement: &Entitlement, signed: &[u8]) -> Result<(), Error> {
    let number = entitlement.number;
    ENTITLEMENTS.put(number.to_be_bytes(), entitlement)?;
    IDS.put(&entitlement.id, &number)?;
    // One that was adopted may come after another under the same order number.
    if by_order(&entitlement.order)?.is_none() {
        ORDERS.put(&entitlement.order, &number)?;
    }
    SITES.put([site_prefix(&entitlement.site), number.to_be_bytes().to_vec()].concat(), &number)?;
    PRODUCTS.put(&entitlement.product, &())?;
    grant_blob(&entitlement.id).write(signed)
}

/// Remembers what became of an entitlement.
pub(crate) fn update(entitlement: &Entitlement) -> Result<(), Error> {
    ENTITLEMENTS.put(entitlement.number.to_be_bytes(), entitlement)
}

/// Remembers a signed directive about an entitlement.
pub(crate) fn add_directive(of: &Entitlement, number: u32, signed: &[u8]) -> Result<(), Error> {
    let key = [site_prefix(&of.site), site_prefix(&of.id), number.to_be_bytes().to_vec()].concat();
    DIRECTIVES.put(key, &signed.to_vec())
}

/// Whether the directive about an entitlement with this number is there.
pub(crate) fn has_directive(of: &Entitlement, number: u32) -> Result<bool, Error> {
    let key = [site_prefix(&of.site), site_prefix(&of.id), number.to_be_bytes().to_vec()].concat();
    Ok(DIRECTIVES.get(key)?.is_some())
}

/// All signed directives to a site.
pub(crate) fn directives(site: &str) -> Result<Vec<SignedOrder>, Error> {
    let prefix = site_prefix(site);
    let mut all = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = DIRECTIVES.scan_prefix(&prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(all);
        };
        after = Some(last.clone());
        for (_, signed) in page {
            let order = SignedOrder::decode(&signed);
            all.push(order.map_err(|_| Error::Malformed("a stored directive"))?);
        }
    }
}

/// Remembers a site's signed closing statement, and what it says.
pub(crate) fn add_closing(site: &str, id: &str, said: Closing, signed: &[u8]) -> Result<(), Error> {
    CLOSINGS.put([site_prefix(site), id.as_bytes().to_vec()].concat(), &said)?;
    closing_blob(id).write(signed)
}

/// What a site's closing statements say, by entitlement.
pub(crate) fn closings(site: &str) -> Result<BTreeMap<String, Closing>, Error> {
    let prefix = site_prefix(site);
    let mut all = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = CLOSINGS.scan_prefix(&prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(all);
        };
        after = Some(last.clone());
        for (key, said) in page {
            let id = key.get(prefix.len()..).map(<[u8]>::to_vec).map(String::from_utf8);
            let id = id.and_then(Result::ok).ok_or(Error::Malformed("a stored closing"))?;
            all.insert(id, said);
        }
    }
}

/// The site's signed closing statement of an entitlement.
pub(crate) fn signed_closing(id: &str) -> Result<SignedOrder, Error> {
    let unreadable = Error::Malformed("a stored closing");
    let signed = closing_blob(id).read()?.ok_or(unreadable.clone())?;
    SignedOrder::decode(&signed).map_err(|_| unreadable)
}

/// The entitlement with this number.
pub(crate) fn by_number(number: u32) -> Result<Option<Entitlement>, Error> {
    ENTITLEMENTS.get(number.to_be_bytes())
}

/// The entitlement with this id.
pub(crate) fn by_id(id: &str) -> Result<Option<Entitlement>, Error> {
    IDS.get(id)?.map_or(Ok(None), by_number)
}

/// The entitlement that fulfils this order.
pub(crate) fn by_order(order: &str) -> Result<Option<Entitlement>, Error> {
    ORDERS.get(order)?.map_or(Ok(None), by_number)
}

/// Entitlements whose number is greater than `after`, in order; of `site` alone where it is named.
pub(crate) fn page(after: u32, limit: u32, site: &str) -> Result<Vec<Entitlement>, Error> {
    if site.is_empty() {
        let page = ENTITLEMENTS.scan(Some(&after.to_be_bytes()), limit)?;
        return Ok(page.into_iter().map(|(_, entitlement)| entitlement).collect());
    }
    let prefix = site_prefix(site);
    let after = [prefix.as_slice(), &after.to_be_bytes()].concat();
    let numbers = SITES.scan_prefix(&prefix, Some(&after), limit)?;
    let keys: Vec<_> = numbers.iter().map(|(_, number)| number.to_be_bytes()).collect();
    Ok(ENTITLEMENTS.get_many(&keys)?.into_iter().flatten().collect())
}

/// All entitlements of a site.
pub(crate) fn of_site(site: &str) -> Result<Vec<Entitlement>, Error> {
    let mut all: Vec<Entitlement> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.number);
        let page = page(after, PAGE, site)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// The signed grant of an entitlement.
pub(crate) fn signed_grant(id: &str) -> Result<Vec<u8>, Error> {
    grant_blob(id).read()?.ok_or(Error::Malformed("a stored grant"))
}

/// The grant of an entitlement.
pub(crate) fn grant(id: &str) -> Result<Grant, Error> {
    read_grant(&signed_grant(id)?)
}

/// A grant that this host signed.
pub(crate) fn read_grant(signed: &[u8]) -> Result<Grant, Error> {
    let order = SignedOrder::decode(signed).map_err(|_| Error::Malformed("the host's grant"))?;
    order.open().map_err(|_| Error::Malformed("the host's grant"))
}

/// What the newest clean bundle said about an entitlement.
pub(crate) fn last_bundle(id: &str) -> Result<Option<LastBundle>, Error> {
    LAST_BUNDLES.get(id)
}

/// Remembers what a clean bundle said about an entitlement.
pub(crate) fn set_last_bundle(id: &str, last: &LastBundle) -> Result<(), Error> {
    LAST_BUNDLES.put(id, last)
}

/// The ids of all products.
pub(crate) fn products() -> Result<Vec<String>, Error> {
    let mut products = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = PRODUCTS.scan(after.as_deref(), PAGE)?;
        let Some((last, ())) = page.last() else {
            return Ok(products);
        };
        after = Some(last.clone());
        let name = |(key, ())| String::from_utf8(key).map_err(|_| Error::Malformed("a product"));
        for row in page {
            products.push(name(row)?);
        }
    }
}

/// The site as of its last clean bundle.
pub(crate) fn site_state(site: &str) -> Result<SiteState, Error> {
    let Some(bytes) = state_blob(site).read()? else {
        return Ok(SiteState::default());
    };
    decode(&bytes, STATE_BYTES_MAX).map_err(|_| Error::Malformed("a site's state"))
}

/// Remembers a site as of a clean bundle.
pub(crate) fn set_site_state(site: &str, state: &SiteState) -> Result<(), Error> {
    let encoded = encode(state);
    if encoded.len() > STATE_BYTES_MAX {
        return Err(Error::Malformed("a site's state, which is too large"));
    }
    state_blob(site).write(&encoded)
}

fn grant_blob(id: &str) -> Blob {
    Blob::new("grant", id)
}

fn closing_blob(id: &str) -> Blob {
    Blob::new("closing", id)
}

fn state_blob(site: &str) -> Blob {
    Blob::new("site-state", site)
}

/// No SPIFFE URI has a zero byte, so no site's keys begin with another site's.
fn site_prefix(site: &str) -> Vec<u8> {
    [site.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::installed;
    use mintmark_exchange::standing::Audit;

    fn entitlement(number: u32, site: &str) -> Entitlement {
        Entitlement {
            id: format!("ent-{number:016x}"),
            number,
            order: format!("PO-{number}"),
            request: [0; 32],
            site: site.to_owned(),
            product: "t2".to_owned(),
            file: String::new(),
            sequence: u64::from(number),
            total: 10,
            audit_units: 5,
            audit_seconds: 1,
            issued_at_ms: 0,
            not_before_ms: 0,
            not_after_ms: 9,
            changes: 0,
            revoked: false,
            closed: false,
        }
    }

    fn numbers(page: Vec<Entitlement>) -> Vec<u32> {
        page.into_iter().map(|entitlement| entitlement.number).collect()
    }

    #[test]
    fn an_entitlement_is_found_by_each_of_its_names() {
        let _records = installed();
        let added = entitlement(7, "spiffe://acme/site/a");
        add(&added, b"grant").unwrap();
        assert_eq!(by_number(7), Ok(Some(added.clone())));
        assert_eq!(by_id(&added.id), Ok(Some(added.clone())));
        assert_eq!(by_order("PO-7"), Ok(Some(added.clone())));
        assert_eq!(by_order("PO-70"), Ok(None));
        assert_eq!(signed_grant(&added.id), Ok(b"grant".to_vec()));
        assert_eq!(products(), Ok(vec!["t2".to_owned()]));
    }

    #[test]
    fn pages_are_in_the_order_of_numbers_and_keep_sites_apart() {
        let _records = installed();
        let (a, ab) = ("spiffe://acme/site/a", "spiffe://acme/site/ab");
        for (number, site) in [(300, a), (2, ab), (1, a), (256, a)] {
            add(&entitlement(number, site), b"grant").unwrap();
        }
        assert_eq!(numbers(page(0, 10, "").unwrap()), [1, 2, 256, 300]);
        assert_eq!(numbers(page(2, 1, "").unwrap()), [256]);
        assert_eq!(numbers(page(0, 10, a).unwrap()), [1, 256, 300]);
        assert_eq!(numbers(page(1, 1, a).unwrap()), [256]);
        assert_eq!(numbers(of_site(ab).unwrap()), [2]);
    }

    #[test]
    fn directives_of_a_site_come_in_their_order_and_keep_sites_apart() {
        let _records = installed();
        let (a, ab) = ("spiffe://acme/site/a", "spiffe://acme/site/ab");
        let signed = |number: u8| SignedOrder {
            body: vec![number],
            chain: vec![vec![1]],
            signature: vec![2],
        };
        for (number, site) in [(2, a), (1, a), (3, ab)] {
            let of = entitlement(1, site);
            add_directive(&of, number.into(), &signed(number).encode()).unwrap();
        }
        assert_eq!(directives(a), Ok(vec![signed(1), signed(2)]));
        assert_eq!(directives(ab), Ok(vec![signed(3)]));
    }

    #[test]
    fn a_bundle_changes_how_the_site_stands() {
        let granted = entitlement(1, "spiffe://acme/site/a");
        assert_eq!(granted.standing(None, 1_001).audit, Audit::Overdue);
        let counters = Counters { credited: 10, confirmed: 10, ..Counters::default() };
        let last =
            LastBundle { report: String::new(), as_of_ms: 0, counters, limit: 10, ended: false };
        assert_eq!(last.taken(), 10);
        assert_eq!(granted.standing(Some(&last), 1_001).audit, Audit::Complete);
    }
}
