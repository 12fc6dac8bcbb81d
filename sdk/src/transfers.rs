//! What one host orders another to do: grants with keys, receipts, directives; and what a site
//! states at the end.
//!
//! A plugin carries these orders as opaque bytes inside its messages. What widens a right is
//! thereby decided by hosts from authenticated bytes, never by what a plugin says that it read.

use mintmark_exchange::directive::Change;

use crate::{
    Digest,
    backend::{self, Transfers as _},
    error::Error,
    key_sets::KeySet,
    keys::Key,
};

/// A grant that is to be signed, with the keys that go with it.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The recipient: a SPIFFE URI, or `<role>/<name>`.
    pub cluster: &'a str,
    /// The recipient's plugin.
    pub plugin: &'a str,
    /// Order number, product and terms, as [`mintmark_exchange`] encodes a grant proposal.
    pub proposal: &'a [u8],
    /// There exactly where the product has a certificate template.
    pub product_ca: Option<&'a Key>,
    /// There exactly where the product has a certificate template.
    pub batch_key: Option<&'a Key>,
    /// There exactly where keys are derived.
    pub key_set: Option<&'a KeySet>,
}

/// A grant that this host signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The entitlement's id, chosen by the host; also the allotment's name at the site.
    pub entitlement: String,
    /// The entitlement's number.
    pub number: u32,
    /// The signed grant, as [`mintmark_exchange`] decodes it: public.
    pub grant: Vec<u8>,
    /// The grant with its key packages: what the site's host takes.
    pub order: Vec<u8>,
}

/// A grant that this host took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The entitlement's id; also the allotment's name.
    pub entitlement: String,
    /// The entitlement's number.
    pub number: u32,
    /// The signed grant, as [`mintmark_exchange`] decodes it.
    pub grant: Vec<u8>,
}

/// A receipt that this host took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The receipt's body, as [`mintmark_exchange`] decodes it.
    pub body: Vec<u8>,
    /// Allotments whose audit-return lease it renewed.
    pub entitlements: Vec<String>,
}

/// A directive that this host acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedDirective {
    /// The directive's body, as [`mintmark_exchange`] decodes it.
    pub body: Vec<u8>,
    /// Units really added or taken away.
    pub applied: u64,
}

/// What an order is that was adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptedOrder {
    /// A grant.
    Grant,
    /// A directive.
    Directive,
}

/// Signs a grant for a peer's plugin, and seals the keys under it to the peer's host. One order is
/// one entitlement.
///
/// # Errors
/// `PERMISSION_DENIED` or `APPROVAL_REQUIRED`; [`Error::NotFound`] for the peer; `TERMS_INVALID`;
/// `WRONG_STATE` for a key that was exported before.
pub fn export_grant(proposal: &Proposal<'_>) -> Result<Exported, Error> {
    backend::transfers().export_grant(proposal)
}

/// Makes the allotment and its keys, once.
///
/// # Errors
/// `UNTRUSTED_MESSAGE`, `WRONG_SITE`, `WRONG_PLUGIN`, `TERMS_INVALID`; `REPLAYED` for an id that
/// was imported before, with the row and the state of that time as facts.
pub fn import_grant(order: &[u8]) -> Result<Imported, Error> {
    backend::transfers().import_grant(order)
}

/// Acknowledges a bundle: signs a receipt over the checkpoints that the site's hosts signed.
/// `verdict` is `clean` or `clean-with-notes`.
///
/// # Errors
/// `INVALID_ARGUMENT`, `UNTRUSTED_MESSAGE`.
pub fn export_receipt(
    bundle: &Digest,
    checkpoints: &[Vec<u8>],
    verdict: &str,
) -> Result<Vec<u8>, Error> {
    backend::transfers().export_receipt(bundle, checkpoints, verdict)
}

/// Renews the audit-return lease of the allotments that the receipt's exporter granted.
///
/// # Errors
/// `UNTRUSTED_MESSAGE`, `WRONG_SITE`; `OUT_OF_ORDER` for a head that this ledger does not have.
pub fn import_receipt(order: &[u8]) -> Result<Receipt, Error> {
    backend::transfers().import_receipt(order)
}

/// Signs a directive about an entitlement that this host granted to `site`. The product CA is there
/// exactly where units are added to a product with a certificate template.
///
/// # Errors
/// [`Error::NotFound`] for the entitlement; `TERMS_INVALID` for a change of nothing or beyond all
/// bounds; `WRONG_STATE` once it was revoked or closed; `APPROVAL_REQUIRED` for an extension.
pub fn export_directive(
    site: &str,
    entitlement: &str,
    change: &Change,
    product_ca: Option<&Key>,
) -> Result<Vec<u8>, Error> {
    backend::transfers().export_directive(site, entitlement, &change.encode(), product_ca)
}

/// Takes back a grant or a directive that this headquarters signed before it was restored from a
/// backup, and has forgotten. One that is known changes nothing.
///
/// # Errors
/// `UNTRUSTED_MESSAGE` for what this headquarters did not sign; `WRONG_STATE` where it was never
/// restored; [`Error::NotFound`] for a directive about an unknown grant.
pub fn adopt_order(order: &[u8]) -> Result<AdoptedOrder, Error> {
    backend::transfers().adopt_order(order)
}

/// Acts on a directive, once.
///
/// # Errors
/// `UNTRUSTED_MESSAGE`, `WRONG_SITE`, `UNSUPPORTED_VERSION`; [`Error::NotFound`] for the
/// entitlement; `REPLAYED`, or `OUT_OF_ORDER` for one that is older than the last; `REVOKED` or
/// `CLOSED` for an extension of what has ended.
pub fn import_directive(order: &[u8]) -> Result<AppliedDirective, Error> {
    backend::transfers().import_directive(order)
}

/// Closes an allotment for ever; gives the statement that the host signs about it, the same at each
/// repetition.
///
/// # Errors
/// [`Error::NotFound`]; `WRONG_STATE` while rows about it have no receipt; `CONFLICT` while units
/// are being drawn.
pub fn export_closing(entitlement: &str) -> Result<Vec<u8>, Error> {
    backend::transfers().export_closing(entitlement)
}

/// Takes a site's closing statement; gives its body, as [`mintmark_exchange`] decodes it.
///
/// # Errors
/// `UNTRUSTED_MESSAGE`, `WRONG_SITE`; [`Error::NotFound`] for an entitlement that this host did not
/// grant to that site; `REPLAYED`; `WRONG_STATE` unless the receipted bundles lead to it.
pub fn import_closing(order: &[u8]) -> Result<Vec<u8>, Error> {
    backend::transfers().import_closing(order)
}
