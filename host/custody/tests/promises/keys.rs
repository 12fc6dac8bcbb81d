//! I4, I5: keys of a grant work only through its units, and only as the grant says.

use std::cell::RefCell;

use futures_executor::block_on;
use mintmark_custody::KeyRequest;
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::proposal::GrantProposal;
use mintmark_model::{Operation, Operations, Reason};
use mintmark_sdk_testing::sdk::certificates::{create_batch_key, create_product_ca};
use mintmark_sdk_testing::sdk::key_sets::KeySet;
use mintmark_sdk_testing::sdk::keys::{self, Algorithm, Key, Recipients};
use mintmark_sdk_testing::sdk::transfers::{self, Proposal};
use mintmark_sdk_testing::sdk::{Absent, Plugin, Status};
use mintmark_sdk_testing::{Device, Office, TestHost};
use mintmark_store::{Found, Range};

use crate::bench::{Bench, Line, draw};

fn derived(bench: &Bench) -> GrantProposal {
    let mut order = bench.order("po-1", 10);
    order.product.origin = KeyOrigin::Derived;
    order.product.delivery = Delivery::SealedToDevice;
    order.terms.confirm_proof = ConfirmProof::None;
    order
}

#[test]
fn i5_a_plugin_can_not_use_the_keys_of_a_grant_but_through_its_units() {
    let bench = Bench::new();
    let entitlement = bench.entitlement_of(&derived(&bench));
    block_on(async {
        let mut call = bench.call().await;
        let batch = call.open_key(&format!("{entitlement}.batch")).await.unwrap();
        let signed = call.sign(&batch, b"a certificate of my own").await.unwrap_err();
        assert_eq!(signed.reason, Reason::PermissionDenied);
        let destroyed = call.destroy_key(&batch).await.unwrap_err();
        assert_eq!(destroyed.reason, Reason::PermissionDenied);
        let set = format!("{entitlement}.set");
        let opened = call.open_key(&set).await.err().unwrap();
        assert_eq!(opened.reason, Reason::NotFound, "a set is no key");
        let set = call.open_key_set(&set).await.unwrap();
        let destroyed = call.destroy_key_set(&set).await.unwrap_err();
        assert_eq!(destroyed.reason, Reason::PermissionDenied);
    });
}

#[test]
fn i5_a_plugin_makes_only_keys_that_its_manifest_claims() {
    let bench = Bench::new();
    block_on(async {
        let mut call = bench.call().await;
        let request = KeyRequest {
            operations: Operations::of(&[Operation::Sign]),
            recipients: None,
            activation: None,
            deactivation: None,
            content_prefix: None,
        };
        let refused = call.generate_key("labels", "ed25519", request).await.err().unwrap();
        assert_eq!(refused.reason, Reason::PermissionDenied);
        let refused = call.create_product_ca("product-x", "Acme", "x").await.err().unwrap();
        assert_eq!(refused.reason, Reason::PermissionDenied);
    });
}

#[test]
fn i5_only_the_delivery_and_the_fields_of_the_grant_are_released() {
    let bench = Bench::new();
    let entitlement = bench.entitlement(10);
    block_on(async {
        let mut call = bench.call().await;
        let csr = call.read_csr(&Device::new().csr()).unwrap();
        let unit = draw(&mut call, &entitlement, "SN:1").await.unwrap();
        let sealed = call.seal_to_device(&unit, &csr, &[]).await.unwrap_err();
        assert_eq!(sealed.reason, Reason::PermissionDenied);
        let sealed = call.seal_to_station(&unit, &[]).await.unwrap_err();
        assert!(matches!(sealed.reason, Reason::PermissionDenied), "{sealed}");
        for field in ["common-name", "serialNumber", "organization"] {
            let fields = [(field.to_owned(), "mine".to_owned())];
            let refused = call.certify_csr(&unit, &csr, &fields).await.unwrap_err();
            assert_eq!(refused.reason, Reason::InvalidArgument, "{field}");
        }
        assert!(!call.is_tainted(), "what was refused released nothing");
    });
}

#[test]
fn a_key_of_another_algorithm_than_the_products_is_refused() {
    let bench = Bench::new();
    let mut order = bench.order("po-1", 10);
    order.product.algorithm = "ed25519".to_owned();
    let entitlement = bench.entitlement_of(&order);
    let refused = bench.provision(&entitlement, "SN:1", &Device::new()).unwrap_err();
    assert_eq!(refused.reason, Reason::CsrInvalid);
}

#[test]
fn a_key_set_is_what_it_was_made_as_and_fits_its_grant() {
    let bench = Bench::new();
    let site = bench.site.uri();
    let grant = |name: &str, algorithm: Algorithm, size: u64| {
        bench.hq.run::<Office, _>("admin", "ada", || {
            let recipients = Recipients::site("device-key", &*site, keys::Operations::DERIVE);
            let set = KeySet::generate(name, algorithm.clone(), size, &recipients)?;
            let attributes = set.attributes()?;
            assert_eq!((attributes.algorithm, attributes.size), (algorithm.clone(), size));
            let mut order = derived(&bench);
            order.product.template = None;
            Ok(transfers::export_grant(&Proposal {
                cluster: &site,
                plugin: "device-key",
                proposal: &order.encode(),
                product_ca: None,
                batch_key: None,
                key_set: Some(&set),
            })?)
        })
    };
    let small = grant("keys-small", Algorithm::ECDSA_P256, 9).unwrap_err();
    assert_eq!(small.reason, "TERMS_INVALID");
    let other = grant("keys-other", Algorithm::ED25519, 10).unwrap_err();
    assert_eq!(other.reason, "TERMS_INVALID");
    grant("keys-right", Algorithm::ECDSA_P256, 10).unwrap();
}

#[test]
fn a_records_space_belongs_to_one_plugin() {
    let bench = Bench::new();
    bench
        .site
        .run::<Line, _>("operator", "mei", || {
            mintmark_sdk_testing::sdk::records::put("lot", "7")?;
            Ok(())
        })
        .unwrap();
    let session = bench.site.session_of::<Line>("operator", "mei");
    let mut claims = (**session.plugin.as_ref().unwrap()).clone();
    claims.name = "other".to_owned();
    let other = mintmark_custody::Session { plugin: Some(claims.into()), ..session };
    block_on(async {
        let mut call = bench.site.custody().begin(other, None).await.unwrap();
        assert_eq!(call.records_get(&[b"lot".to_vec()]).await.unwrap(), [None]);
        assert!(call.records_scan(b"", None, 10).await.unwrap().is_empty());
    });
}

/// A grant to `site` under keys of these names, made if they are not there, by a plugin that goes
/// on as if nothing were where the host refuses.
fn granted_with(bench: &Bench, site: &TestHost, number: &str, keys: [&str; 2]) -> Option<Status> {
    let refused = RefCell::new(None);
    let ended = bench.hq.run::<Office, _>("admin", "ada", || {
        let site = site.uri();
        let recipients = |operations| Recipients::site(Line::NAME, &*site, operations);
        let product_ca = match Key::open("product-thermostat-2").or_absent()? {
            Some(key) => key,
            None => create_product_ca("product-thermostat-2", "Acme", "thermostat-2")?,
        };
        let batch_key = match Key::open(keys[0]).or_absent()? {
            Some(key) => key,
            None => create_batch_key(keys[0], &recipients(keys::Operations::CERTIFY))?,
        };
        let key_set = match KeySet::open(keys[1]).or_absent()? {
            Some(set) => set,
            None => {
                let recipients = recipients(keys::Operations::DERIVE);
                KeySet::generate(keys[1], Algorithm::ECDSA_P256, 10, &recipients)?
            }
        };
        let order = GrantProposal { order: number.to_owned(), ..derived(bench) };
        let exported = transfers::export_grant(&Proposal {
            cluster: &site,
            plugin: Line::NAME,
            proposal: &order.encode(),
            product_ca: Some(&product_ca),
            batch_key: Some(&batch_key),
            key_set: Some(&key_set),
        });
        refused.replace(exported.err().map(Status::from));
        Ok(())
    });
    let refused = refused.into_inner();
    // What the host refused half way is not committed, whatever the plugin says.
    let reason = |status: &Status| status.reason.clone();
    assert_eq!(ended.as_ref().err().map(reason), refused.as_ref().map(reason));
    refused
}

/// Every record of a host's store.
fn records(host: &TestHost) -> Vec<(mintmark_store::Key, Vec<u8>)> {
    block_on(async {
        let snapshot = host.hardware().store.snapshot().await.unwrap();
        let mut records = Vec::new();
        for table in 0..=u8::MAX {
            let found = snapshot.scan(&Range::all(table, Vec::new())).await.unwrap();
            let content = |found: Found| found.value.unwrap().expose().to_vec();
            records.extend(found.into_iter().map(|(key, found)| (key, content(found))));
        }
        records
    })
}

#[test]
fn keys_go_into_one_grant_and_nothing_stays_of_another() {
    let bench = Bench::new();
    let mut other = bench.world.site("penang");
    other.install::<Line>();
    bench.world.introduce(&bench.hq, &other);
    assert_eq!(granted_with(&bench, &bench.site, "po-1", ["batch-1", "keys-1"]), None);
    let before = records(&bench.hq);
    for site in [&bench.site, &other] {
        for keys in [["batch-1", "keys-1"], ["batch-1", "keys-2"], ["batch-2", "keys-1"]] {
            let refused = granted_with(&bench, site, "po-2", keys).unwrap();
            assert_eq!(refused.reason, "WRONG_STATE", "{keys:?}: {refused:?}");
            assert!(refused.message.contains("another grant"), "{refused:?}");
        }
    }
    assert_eq!(records(&bench.hq), before);
    let bench = Bench { hq: bench.hq.restart().unwrap(), ..bench };
    let refused = granted_with(&bench, &bench.site, "po-2", ["batch-1", "keys-1"]).unwrap();
    assert_eq!(refused.reason, "WRONG_STATE", "also after a restart");
    assert_eq!(granted_with(&bench, &other, "po-2", ["batch-2", "keys-2"]), None);
}
