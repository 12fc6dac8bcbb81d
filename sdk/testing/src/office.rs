//! A stand-in for headquarters' plugin: grants whatever a test asks for, believes every bundle.

use mintmark_exchange::bundle::{BundleHead, FrameReader};
use mintmark_exchange::canonical::decode;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::Change;
use mintmark_exchange::grant::{AuditReturn, ConfirmProof, Rate, Terms};
use mintmark_exchange::product::{Delivery, KeyOrigin, Product, Template};
use mintmark_exchange::proposal::{
    ClosingMessageBody, DirectiveMessageBody, EntitlementBody, GrantProposal, ReceiptMessageBody,
    VERSION,
};
use mintmark_exchange::serial::{CheckDigit, SerialRule};
use mintmark_sdk::certificates::{create_batch_key, create_product_ca};
use mintmark_sdk::key_sets::KeySet;
use mintmark_sdk::keys::{Algorithm, Key, Operations, Recipients};
use mintmark_sdk::messages::{self, Purpose};
use mintmark_sdk::transfers::{self, Proposal};
use mintmark_sdk::{Absent, Error, Package, Plugin, Status};

use crate::host::TestHost;

/// Headquarters' plugin in tests of a site's: it grants and acknowledges without a question, so
/// that every limit that holds is one that the site's host keeps.
///
/// Install it under its own name, `entitlement`, at a host that [`World::headquarters`] made.
///
/// [`World::headquarters`]: crate::World::headquarters
pub struct Office;

/// The longest first frame of a bundle.
const HEAD_BYTES_MAX: usize = 1 << 20;

impl Plugin for Office {
    const NAME: &'static str = "entitlement";
    const VERSION: &'static str = "0.1.0";
    const SERVICES: &'static [&'static str] = &[];

    fn dispatch(_: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, Status> {
        Err(Status::unimplemented())
    }
}

impl Package for Office {
    const MANIFEST: &'static str = include_str!("office.toml");
    const DESCRIPTORS: &'static [u8] = &[];
}

impl Office {
    /// An order of device-born `ecdsa-p256` devices with room in every limit, from `now_ms` on.
    pub fn order(number: &str, total: u64, now_ms: u64) -> GrantProposal {
        GrantProposal {
            version: VERSION,
            order: number.to_owned(),
            product: Product {
                id: "thermostat-2".to_owned(),
                name: "Thermostat 2".to_owned(),
                origin: KeyOrigin::DeviceBorn,
                algorithm: "ecdsa-p256".to_owned(),
                delivery: Delivery::None,
                template: Some(Template {
                    organization: "Acme".to_owned(),
                    model: "T2".to_owned(),
                    fields: Vec::new(),
                }),
                serial: SerialRule::Assigned {
                    prefix: "T2-".to_owned(),
                    digits: 8,
                    start: 1,
                    check: CheckDigit::None,
                },
                subjects: None,
            },
            terms: roomy(total, now_ms),
            pool: None,
        }
    }

    /// Grants an order to `plugin` at `site`; gives the file to carry there.
    ///
    /// # Errors
    /// Those of headquarters' host.
    pub fn grant(
        hq: &TestHost,
        site: &str,
        plugin: &str,
        order: &GrantProposal,
    ) -> Result<Vec<u8>, Status> {
        let file = hq.run::<Self, _>("admin", "admin", || grant(site, plugin, order))?;
        hq.fetch(&file)
    }

    /// Acknowledges a bundle without looking at its rows; gives the receipt to carry back.
    ///
    /// # Errors
    /// Those of headquarters' host.
    pub fn acknowledge(hq: &TestHost, bundle: &[u8]) -> Result<Vec<u8>, Status> {
        let file = hq.stage(bundle);
        let receipt = hq.run::<Self, _>("auditor", "auditor", || acknowledge(&file))?;
        hq.fetch(&receipt)
    }
}

impl Office {
    /// Orders a change of an entitlement; gives the file to carry to its site.
    ///
    /// # Errors
    /// Those of headquarters' host.
    pub fn change(
        hq: &TestHost,
        site: &str,
        plugin: &str,
        entitlement: &str,
        change: &Change,
    ) -> Result<Vec<u8>, Status> {
        let file = hq.run::<Self, _>("admin", "admin", || {
            let ca = Key::open("product-thermostat-2").or_absent()?;
            let ca = ca.filter(|_| matches!(change, Change::Extend { units: 1.., .. }));
            let order = transfers::export_directive(site, entitlement, change, ca.as_ref())?;
            let body = DirectiveMessageBody { version: VERSION, order };
            send(Purpose::Directive, site, plugin, &body.encode())
        })?;
        hq.fetch(&file)
    }

    /// Takes a site's closing statement.
    ///
    /// # Errors
    /// Those of headquarters' host.
    pub fn take_closing(hq: &TestHost, closing: &[u8]) -> Result<ClosingStatement, Status> {
        let file = hq.stage(closing);
        hq.run::<Self, _>("auditor", "auditor", || {
            let message = messages::open(Purpose::Closing, &file)?;
            let body = ClosingMessageBody::decode(&message.read_all(1 << 22)?)
                .map_err(|_| Error::Malformed("the closing's body"))?;
            let body = transfers::import_closing(&body.order)?;
            message.accept()?;
            let statement = decode(&body, 1 << 22);
            Ok(statement.map_err(|_| Error::Malformed("the closing statement"))?)
        })
    }
}

fn roomy(total: u64, now_ms: u64) -> Terms {
    Terms {
        total,
        not_before: now_ms,
        not_after: now_ms + 30 * 86_400_000,
        rates: vec![Rate { units: 1_000, per_seconds: 10 }],
        max_in_doubt: total,
        max_attempts_per_subject: 8,
        max_units_per_subject: 1,
        scrap_allowance: total,
        audit_return: AuditReturn { units: total, seconds: 7 * 86_400 },
        confirm_proof: ConfirmProof::Required,
        grace_seconds: 0,
        lease_size: total,
        max_pause_seconds: 10 * 366 * 86_400,
        certificates_per_unit: 1,
    }
}

fn grant(site: &str, plugin: &str, order: &GrantProposal) -> Result<String, Status> {
    let product = &order.product;
    let recipients = |operations| Recipients::site(plugin, site, operations);
    let ca = format!("product-{}", product.id);
    let (mut product_ca, mut batch_key, mut key_set) = (None, None, None);
    if let Some(template) = &product.template {
        product_ca = Some(match Key::open(&ca).or_absent()? {
            Some(key) => key,
            None => create_product_ca(&ca, &template.organization, &product.id)?,
        });
        let name = format!("batch-{}", order.order.to_lowercase());
        batch_key = Some(create_batch_key(&name, &recipients(Operations::CERTIFY))?);
    }
    if product.origin == KeyOrigin::Derived {
        let name = format!("keys-{}", order.order.to_lowercase());
        let algorithm = Algorithm::named(product.algorithm.clone());
        let recipients = recipients(Operations::DERIVE);
        key_set = Some(KeySet::generate(&name, algorithm, order.terms.total, &recipients)?);
    }
    let exported = transfers::export_grant(&Proposal {
        cluster: site,
        plugin,
        proposal: &order.encode(),
        product_ca: product_ca.as_ref(),
        batch_key: batch_key.as_ref(),
        key_set: key_set.as_ref(),
    })?;
    let body = EntitlementBody { version: VERSION, order: exported.order };
    send(Purpose::Entitlement, site, plugin, &body.encode())
}

fn acknowledge(file: &str) -> Result<String, Status> {
    let bundle = messages::open(Purpose::Bundle, file)?;
    let head = first_frame(&bundle)?;
    let head: BundleHead =
        decode(&head, HEAD_BYTES_MAX).map_err(|_| Error::Malformed("the bundle's head"))?;
    let checkpoints: Vec<_> = head.checkpoints.iter().map(|order| order.encode()).collect();
    let order = transfers::export_receipt(&bundle.digest(), &checkpoints, "clean")?;
    bundle.accept()?;
    let sender = bundle.sender();
    let body = ReceiptMessageBody { version: VERSION, order };
    send(Purpose::Receipt, &sender.cluster, &sender.plugin, &body.encode())
}

fn first_frame(bundle: &messages::Opened) -> Result<Vec<u8>, Error> {
    let mut frames = FrameReader::new();
    let mut body = bundle.body();
    while let Some(range) = body.next_range()? {
        let frame = frames.next_frame(&mut &range[..]);
        if let Some(frame) = frame.map_err(|_| Error::Malformed("the bundle's head"))? {
            return Ok(frame);
        }
    }
    Err(Error::Malformed("the bundle's head"))
}

fn send(purpose: Purpose, site: &str, plugin: &str, body: &[u8]) -> Result<String, Status> {
    let mut writer = messages::seal(purpose, site, plugin, &[])?;
    writer.append(body)?;
    Ok(writer.finish()?.file)
}
