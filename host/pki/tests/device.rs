//! Device certificates: the tree from product CA to device, through the public interface alone.
#![expect(clippy::unwrap_used, reason = "a test's helpers say at once what did not hold")]

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_crypto::{Secret, device_key, digest};
use mintmark_pki::device::{batch_ca, device_certificate, product_ca};
use mintmark_pki::{
    Batch, Certificate, ChainError, DeviceProfile, DeviceSerial, Error, verify_device,
};

const NOW_MS: u64 = 1_800_000_000_000;
const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// A product's CA, a batch CA, and their keys.
struct Tree {
    product_der: Vec<u8>,
    batch_key: SigningKey,
    batch_der: Vec<u8>,
}

impl Tree {
    fn new(entitlement_number: u32, total: u64) -> Self {
        let product_key = p256();
        let product_der = product_ca(&product_key, "Acme", "thermostat-2", NOW_MS).unwrap();
        let batch_key = p256();
        let info = batch_key.public_key_info();
        let batch_der = batch_ca(
            &product_key,
            &product_der,
            info,
            "thermostat-2",
            entitlement_number,
            total,
            NOW_MS,
        );
        Self { product_der, batch_key, batch_der: batch_der.unwrap() }
    }

    fn certify(&self, key: &SigningKey, serial: DeviceSerial) -> Result<Vec<u8>, Error> {
        let info = key.public_key_info();
        device_certificate(&self.batch_key, &self.batch_der, info, &profile(serial), NOW_MS)
    }
}

#[test]
fn devices_of_each_algorithm_are_believed() {
    let tree = Tree::new(7, 1000);
    let seed = Secret::random();
    for algorithm in SignatureAlgorithm::ALL {
        let derived = device_key(algorithm, &seed, b"unit 999");
        for key in [SigningKey::generate(algorithm), derived] {
            let device = tree.certify(&key, serial(7, 999)).unwrap();
            let chain = [device.clone(), tree.batch_der.clone()];
            let verified = verify_device(&chain, &tree.product_der, NOW_MS).unwrap();
            assert_eq!(verified.certificate().public_key_info(), key.public_key_info());
            assert_eq!(verified.certificate().der(), device);
            assert_eq!(verified.serial(), serial(7, 999));
            assert_eq!(verified.device_serial(), "SN-1");
            assert_eq!(verified.batch_digest(), digest::sha256(&tree.batch_der));
            let batch = Batch {
                organization: "Acme".into(),
                product: "thermostat-2".into(),
                entitlement_number: 7,
                total: 1000,
            };
            assert_eq!(*verified.batch(), batch);
        }
    }
}

#[test]
fn a_device_never_outlives_its_issuers() {
    let tree = Tree::new(7, 1);
    let device = tree.certify(&p256(), serial(7, 0)).unwrap();
    for der in [&tree.product_der, &tree.batch_der, &device] {
        let validity = Certificate::parse(der).unwrap().validity();
        assert_eq!(validity.not_after_ms(), 253_402_300_799_000);
    }
    let chain = [device, tree.batch_der, tree.product_der.clone()];
    assert!(verify_device(&chain, &tree.product_der, NOW_MS + 500 * YEAR_MS).is_ok());
    let refused = verify_device(&chain, &tree.product_der, NOW_MS - 1000).err();
    assert_eq!(refused, Some(ChainError::NotYetValid));
}

#[test]
fn the_subject_says_who_made_which_device() {
    let tree = Tree::new(7, 1);
    let device = tree.certify(&p256(), serial(7, 0)).unwrap();
    let device = Certificate::parse(&device).unwrap();
    assert_eq!(device.organization(), Ok(Some("Acme".into())));
    assert_eq!(device.common_name(), Ok(Some("Thermostat 2".into())));
    assert_eq!(device.subject_serial(), Ok(Some("SN-1".into())));
    assert_eq!(device.serial_number(), serial(7, 0).to_bytes());
    assert!(device.spiffe_id().is_err());
}

#[test]
fn no_certificate_is_made_beyond_the_total_or_for_another_entitlement() {
    let tree = Tree::new(7, 1000);
    for outside in [serial(7, 1000), serial(7, u64::MAX), serial(8, 0), serial(0, 0)] {
        assert_eq!(tree.certify(&p256(), outside), Err(Error::OutsideIssuer));
    }
    let mut other_version = profile(serial(7, 0));
    other_version.serial_number[0] = 2;
    let info = p256();
    let made = device_certificate(
        &tree.batch_key,
        &tree.batch_der,
        info.public_key_info(),
        &other_version,
        NOW_MS,
    );
    assert_eq!(made, Err(Error::OutsideIssuer));
}

#[test]
fn a_batch_ca_of_ones_own_that_states_more_is_refused() {
    let real = Tree::new(7, 10);
    let forged = Tree::new(7, 1000);
    let device = forged.certify(&p256(), serial(7, 10)).unwrap();
    let refused = |chain: &[Vec<u8>]| verify_device(chain, &real.product_der, NOW_MS).err();
    let with_real = [device.clone(), real.batch_der.clone()];
    assert_eq!(refused(&with_real), Some(ChainError::Untrusted));
    assert_eq!(refused(&[device, forged.batch_der]), Some(ChainError::Untrusted));
}

#[test]
fn k3_a_batch_ca_is_no_device_and_a_device_no_ca() {
    let tree = Tree::new(7, 10);
    let key = p256();
    let refused = |chain: &[Vec<u8>]| verify_device(chain, &tree.product_der, NOW_MS).err();
    assert_eq!(refused(std::slice::from_ref(&tree.batch_der)), Some(ChainError::Usage));
    let device = tree.certify(&key, serial(7, 0)).unwrap();
    let below =
        device_certificate(&key, &device, key.public_key_info(), &profile(serial(7, 1)), NOW_MS);
    assert!(below.is_err());
    assert_eq!(refused(std::slice::from_ref(&device)), Some(ChainError::Untrusted));
    let empty: [Vec<u8>; 0] = [];
    assert_eq!(refused(&empty), Some(ChainError::Size));
}

#[test]
fn a_batch_is_made_for_its_own_product_alone() {
    let product_key = p256();
    let product = product_ca(&product_key, "Acme", "thermostat-2", NOW_MS).unwrap();
    let batch_key = p256();
    let info = batch_key.public_key_info();
    let other = batch_ca(&product_key, &product, info, "thermostat-3", 7, 10, NOW_MS);
    assert_eq!(other, Err(Error::OutsideIssuer));
    let wrong_key = batch_ca(&batch_key, &product, info, "thermostat-2", 7, 10, NOW_MS);
    assert_eq!(wrong_key, Err(Error::IssuerKey));
}

fn p256() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

fn serial(entitlement_number: u32, unit: u64) -> DeviceSerial {
    DeviceSerial { entitlement_number, unit, ordinal: 0 }
}

fn profile(serial: DeviceSerial) -> DeviceProfile {
    DeviceProfile {
        serial_number: serial.to_bytes(),
        device_serial: "SN-1".into(),
        organization: "Acme".into(),
        model: "T2".into(),
        organizational_unit: Some("Heating".into()),
        common_name: "Thermostat 2".into(),
    }
}
