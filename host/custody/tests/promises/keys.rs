//! I4, I5: keys of a grant work only through its units, and only as the grant says.

use futures_executor::block_on;
use mintmark_custody::KeyRequest;
use mintmark_exchange::grant::ConfirmProof;
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_model::{Operation, Operations, Reason};
use mintmark_sdk_testing::sdk::key_sets::KeySet;
use mintmark_sdk_testing::sdk::keys::{self, Algorithm, Recipients};
use mintmark_sdk_testing::sdk::transfers::{self, Proposal};
use mintmark_sdk_testing::{Device, Office};

use crate::bench::{Bench, Line, draw};

fn derived(bench: &Bench) -> mintmark_exchange::proposal::GrantProposal {
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
