//! Orders are what a cluster's host signed, for one purpose and one cluster, whatever message they
//! come in.

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::directive::Change;
use mintmark_exchange::grant::GrantPackage;
use mintmark_exchange::message;
use mintmark_exchange::order::{
    APPROVAL, CHARTER, CHECKPOINT, CLOSING, DIRECTIVE, GRANT, RECEIPT, SignedOrder, signed_bytes,
};
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::proposal::{EntitlementBody, GrantProposal, ReceiptMessageBody, VERSION};
use mintmark_exchange::row::Event;
use mintmark_pki::{Certificate, LeafKind, LeafUsage, issue};
use mintmark_sdk_testing::sdk::messages::{self, Purpose};
use mintmark_sdk_testing::sdk::{Plugin, Status, ledger, transfers};
use mintmark_sdk_testing::{Device, Office, TestHost, World};

use crate::bench::{Bench, Line, import, import_receipt, rows};
use crate::closings::{close, report};
use crate::directives::{act, carried, order};

/// What custody keys, plugins, people and the root sign for.
const LABELS: [&str; 8] =
    [GRANT, RECEIPT, DIRECTIVE, CHECKPOINT, CLOSING, CHARTER, APPROVAL, message::LABEL];

/// The order in an entitlement's file; the message is taken off the stream.
pub(crate) fn granted(site: &TestHost, file: &[u8]) -> Vec<u8> {
    let file = site.stage(file);
    let order = site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Entitlement, &file)?;
        Ok(EntitlementBody::decode(&message.read_all(1 << 22)?).unwrap().order)
    });
    order.unwrap()
}

/// The order in a receipt's file.
fn receipted(site: &TestHost, file: &[u8]) -> Vec<u8> {
    let file = site.stage(file);
    let order = site.run::<Line, _>("operator", "mei", || {
        let message = messages::open(Purpose::Receipt, &file)?;
        Ok(ReceiptMessageBody::decode(&message.read_all(1 << 22)?).unwrap().order)
    });
    order.unwrap()
}

fn take_grant(site: &TestHost, order: &[u8]) -> Result<(), Status> {
    site.run::<Line, _>("operator", "mei", || Ok(transfers::import_grant(order).map(drop)?))
}

fn take_receipt(site: &TestHost, order: &[u8]) -> Result<(), Status> {
    site.run::<Line, _>("operator", "mei", || Ok(transfers::import_receipt(order).map(drop)?))
}

/// A genuine message of headquarters to `site`, whatever is in it.
fn sealed_to(hq: &TestHost, site: &TestHost, purpose: Purpose, body: &[u8]) -> Vec<u8> {
    let file = hq.run::<Office, _>("admin", "ada", || {
        let mut writer = messages::seal(purpose, &site.uri(), Line::NAME, &[])?;
        writer.append(body)?;
        Ok(writer.finish()?.file)
    });
    hq.fetch(&file.unwrap()).unwrap()
}

/// A second site of the bench's headquarters.
fn penang(bench: &Bench) -> TestHost {
    let mut other = bench.world.site("penang");
    other.install::<Line>();
    bench.world.introduce(&bench.hq, &other);
    other
}

/// An order without a key package, which only the transfer key that it is for would open.
pub(crate) fn bare(bench: &Bench) -> GrantProposal {
    let mut order = bench.order("po-bare", 10);
    order.product.origin = KeyOrigin::SiteBorn;
    order.product.delivery = Delivery::SealedToDevice;
    order.product.template = None;
    order
}

#[test]
fn p12_a_grant_that_is_sealed_again_to_another_site_credits_nothing_there() {
    let bench = Bench::new();
    let other = penang(&bench);
    for proposal in [bare(&bench), bench.order("po-1", 10)] {
        let grant = granted(&bench.site, &bench.granted(&proposal));
        let body = EntitlementBody { version: VERSION, order: grant.clone() };
        let again = sealed_to(&bench.hq, &other, Purpose::Entitlement, &body.encode());
        let refused = import(&other, &again).unwrap_err();
        assert_eq!(refused.reason, "WRONG_SITE", "{refused:?}");
        // The message is off the stream, and the plugin shows what was in it once more.
        assert_eq!(take_grant(&other, &grant).unwrap_err().reason, "WRONG_SITE");
        take_grant(&bench.site, &grant).unwrap();
    }
    let credited = |host: &TestHost| {
        let is_import = |event: &Event| matches!(event, Event::GrantImported { .. });
        rows(host).iter().filter(|row| is_import(&row.body.event)).count()
    };
    assert_eq!((credited(&other), credited(&bench.site)), (0, 2));
    // What is for that site is taken as ever.
    let own = bench.order("po-2", 3);
    let own = Office::grant(&bench.hq, &other.uri(), Line::NAME, &own).unwrap();
    import(&other, &own).unwrap();
    assert_eq!(credited(&other), 1);
}

#[test]
fn p12_a_receipt_that_is_sealed_again_to_another_site_renews_nothing_there() {
    let bench = Bench::new();
    let other = penang(&bench);
    bench.entitlement(10);
    let receipt = receipted(&bench.site, &bench.receipt());
    let body = ReceiptMessageBody { version: VERSION, order: receipt.clone() };
    let again = sealed_to(&bench.hq, &other, Purpose::Receipt, &body.encode());
    assert_eq!(import_receipt(&other, &again).unwrap_err().reason, "WRONG_SITE");
    assert_eq!(take_receipt(&other, &receipt).unwrap_err().reason, "WRONG_SITE");
    take_receipt(&bench.site, &receipt).unwrap();
}

/// A key that the root certifies as well as the cluster's own of that kind.
struct Signer {
    key: SigningKey,
    chain: Vec<Vec<u8>>,
}

impl Signer {
    fn of(world: &World, host: &TestHost, kind: LeafKind, name: &str) -> Self {
        let (ca, ca_certificate) = world.second_ca(host);
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let authority = Certificate::parse(&ca_certificate).unwrap();
        let id = authority.spiffe_id().unwrap().cluster().leaf(kind, name).unwrap();
        let measurement = (kind == LeafKind::Plugin).then_some(&[7; 32]);
        let public_key = key.public_key_info();
        let (usage, validity) = (LeafUsage::Signing, authority.validity());
        let leaf = issue::leaf(&ca, &ca_certificate, &id, public_key, usage, measurement, validity);
        Self { key, chain: vec![leaf.unwrap(), ca_certificate] }
    }

    fn signs(&self, label: &str, body: &[u8]) -> SignedOrder {
        let signature = self.key.sign(&signed_bytes(label, body));
        SignedOrder { body: body.to_vec(), chain: self.chain.clone(), signature }
    }
}

/// The body of an order is believed under the signature of a host of `signer`'s, with the label of
/// its purpose, and under no other; `stranger` is a host of another cluster.
fn only_a_custody_key_signs(
    (world, signer, stranger): (&World, &TestHost, &TestHost),
    label: &str,
    body: &[u8],
    show: impl Fn(SignedOrder) -> Result<(), Status>,
) {
    let refused = |order: SignedOrder, by: &str| {
        let refused = show(order).expect_err(by);
        assert_eq!(refused.reason, "UNTRUSTED_MESSAGE", "{label}, signed {by}: {refused:?}");
    };
    let others = [
        (LeafKind::Plugin, "entitlement"),
        (LeafKind::Plugin, "device-key"),
        (LeafKind::Admin, "ada"),
        (LeafKind::Auditor, "eve"),
        (LeafKind::Operator, "mei"),
        (LeafKind::Publisher, "acme"),
    ];
    for (kind, name) in others {
        let key = Signer::of(world, signer, kind, name);
        refused(key.signs(label, body), &format!("by {}/{name}", kind.name()));
    }
    let custody = Signer::of(world, signer, LeafKind::Custody, "n1");
    for other in LABELS.into_iter().filter(|other| *other != label) {
        refused(custody.signs(other, body), &format!("as `{other}`"));
    }
    let elsewhere = Signer::of(world, stranger, LeafKind::Custody, "n1");
    refused(elsewhere.signs(label, body), "by another cluster's host");
    // Nothing but the signer was wrong.
    show(custody.signs(label, body)).unwrap();
}

#[test]
fn p10_a_grant_is_what_custody_signed_as_a_grant() {
    let bench = Bench::new();
    let other = penang(&bench);
    let order = granted(&bench.site, &bench.granted(&bench.order("po-1", 10)));
    let GrantPackage { grant, packages } = GrantPackage::decode(&order).unwrap();
    let imports = || {
        let rows = bench.rows();
        let imports =
            rows.iter().filter(|row| matches!(row.body.event, Event::GrantImported { .. }));
        imports.count()
    };
    let hosts = (&bench.world, &bench.hq, &other);
    only_a_custody_key_signs(hosts, GRANT, &grant.body, |grant| {
        assert_eq!(imports(), 0);
        let package = GrantPackage { grant, packages: packages.clone() };
        take_grant(&bench.site, &package.encode())
    });
    assert_eq!(imports(), 1);
}

#[test]
fn p10_a_receipt_is_what_custody_signed_as_a_receipt() {
    let bench = Bench::new();
    let other = penang(&bench);
    let entitlement = bench.entitlement(10);
    bench.provision(&entitlement, "SN:1", &Device::new()).unwrap();
    let order = receipted(&bench.site, &bench.receipt());
    let body = SignedOrder::decode(&order).unwrap().body;
    let hosts = (&bench.world, &bench.hq, &other);
    only_a_custody_key_signs(hosts, RECEIPT, &body, |receipt| {
        take_receipt(&bench.site, &receipt.encode())
    });
}

#[test]
fn p10_a_directive_is_what_custody_signed_as_a_directive() {
    let bench = Bench::new();
    let other = penang(&bench);
    let entitlement = bench.entitlement(10);
    let file = order(&bench, &entitlement, Change::Reduce { units: 4 });
    let body = SignedOrder::decode(&carried(&bench.site, &file)).unwrap().body;
    let hosts = (&bench.world, &bench.hq, &other);
    only_a_custody_key_signs(hosts, DIRECTIVE, &body, |directive| {
        assert_eq!(bench.counters(&entitlement).credited, 10);
        act(&bench.site, &directive.encode()).map(drop)
    });
    assert_eq!(bench.counters(&entitlement).credited, 6);
}

#[test]
fn p10_a_checkpoint_is_what_custody_signed_as_a_checkpoint() {
    let bench = Bench::new();
    let other = penang(&bench);
    bench.entitlement(10);
    let orders = bench
        .site
        .run::<Line, _>("auditor", "eve", || Ok(ledger::checkpoints(None, 1 << 24)?.orders));
    let body = SignedOrder::decode(&orders.unwrap()[0]).unwrap().body;
    let hosts = (&bench.world, &bench.site, &other);
    only_a_custody_key_signs(hosts, CHECKPOINT, &body, |checkpoint| {
        bench.hq.run::<Office, _>("auditor", "auditor", || {
            Ok(transfers::export_receipt(&[1; 32], &[checkpoint.encode()], "clean").map(drop)?)
        })
    });
}

#[test]
fn p10_a_closing_statement_is_what_custody_signed_as_one() {
    let bench = Bench::new();
    let other = penang(&bench);
    let entitlement = bench.entitlement(10);
    report(&bench);
    let (order, _) = close(&bench.site, &entitlement).unwrap();
    let body = SignedOrder::decode(&order).unwrap().body;
    let hosts = (&bench.world, &bench.site, &other);
    only_a_custody_key_signs(hosts, CLOSING, &body, |statement| {
        bench.hq.run::<Office, _>("auditor", "auditor", || {
            Ok(transfers::import_closing(&statement.encode()).map(drop)?)
        })
    });
}
