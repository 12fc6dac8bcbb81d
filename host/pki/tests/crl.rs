//! Revocation lists of batch CAs, as another verifier reads them.
#![expect(clippy::unwrap_used, reason = "a test's helpers say at once what did not hold")]

use std::time::Duration;

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_pki::device::{batch_ca, device_certificate, product_ca};
use mintmark_pki::{
    DeviceProfile, DeviceSerial, Error, RevocationReason, Revoked, revocation_list,
};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, anchor_from_trusted_cert,
};

const NOW_MS: u64 = 1_800_000_000_000;
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[webpki::ring::ECDSA_P256_SHA256];

/// A batch of ten devices and its keys.
struct Batch {
    product: Vec<u8>,
    key: SigningKey,
    certificate: Vec<u8>,
}

impl Batch {
    fn new() -> Self {
        let product_key = p256();
        let product = product_ca(&product_key, "Acme", "thermostat-2", NOW_MS).unwrap();
        let key = p256();
        let info = key.public_key_info();
        let made = batch_ca(&product_key, &product, info, "thermostat-2", 7, 10, NOW_MS);
        Self { product, key, certificate: made.unwrap() }
    }

    fn device(&self, unit: u64, ordinal: u16) -> Vec<u8> {
        let profile = DeviceProfile {
            serial_number: serial(unit, ordinal),
            device_serial: format!("SN-{unit}"),
            organization: "Acme".into(),
            model: "T2".into(),
            organizational_unit: None,
            common_name: "Thermostat 2".into(),
        };
        let key = p256();
        let info = key.public_key_info();
        device_certificate(&self.key, &self.certificate, info, &profile, NOW_MS).unwrap()
    }

    fn list(&self, number: u64, revoked: &[Revoked]) -> Result<Vec<u8>, Error> {
        revocation_list(&self.key, &self.certificate, number, NOW_MS, revoked)
    }

    /// What rustls-webpki says of a device, with that list at that time.
    fn verify(&self, device: &[u8], list: &[u8], at_ms: u64) -> Result<(), webpki::Error> {
        let product = CertificateDer::from(self.product.as_slice());
        let anchor = anchor_from_trusted_cert(&product)?;
        let batch = [CertificateDer::from(self.certificate.as_slice())];
        let device = CertificateDer::from(device);
        let list = CertRevocationList::from(BorrowedCertRevocationList::from_der(list)?);
        let lists = [&list];
        // The device alone: a batch CA is revoked by headquarters' product CA, if at all.
        let options = RevocationOptionsBuilder::new(&lists)
            .unwrap()
            .with_depth(RevocationCheckDepth::EndEntity)
            .build();
        let at = UnixTime::since_unix_epoch(Duration::from_millis(at_ms));
        let usage = KeyUsage::client_auth();
        EndEntityCert::try_from(&device)?
            .verify_for_usage(ALGORITHMS, &[anchor], &batch, at, usage, Some(options), None)
            .map(|_| ())
    }
}

#[test]
fn another_verifier_refuses_what_is_listed_and_nothing_else() {
    let batch = Batch::new();
    let (lost, kept, renewed) = (batch.device(3, 0), batch.device(4, 0), batch.device(3, 1));
    let empty = batch.list(1, &[]).unwrap();
    assert_eq!(batch.verify(&lost, &empty, NOW_MS), Ok(()));
    let list = batch.list(2, &[revoked(3, 0), revoked(9, 0)]).unwrap();
    let century_ms = NOW_MS + 100 * 365 * 86_400_000;
    for at_ms in [NOW_MS, century_ms] {
        let refused = batch.verify(&lost, &list, at_ms);
        assert_eq!(refused, Err(webpki::Error::CertRevoked));
        assert_eq!(batch.verify(&kept, &list, at_ms), Ok(()));
        assert_eq!(batch.verify(&renewed, &list, at_ms), Ok(()), "each certificate by itself");
    }
}

#[test]
fn k7_a_list_of_another_issuer_or_one_that_was_changed_is_not_believed() {
    let (batch, other) = (Batch::new(), Batch::new());
    let device = batch.device(3, 0);
    // It has the same name, and another key.
    let foreign = other.list(1, &[]).unwrap();
    assert!(batch.verify(&device, &foreign, NOW_MS).is_err());
    let list = batch.list(1, &[revoked(4, 0)]).unwrap();
    for byte in 0..list.len() {
        let mut changed = list.clone();
        changed[byte] ^= 1;
        assert!(batch.verify(&device, &changed, NOW_MS).is_err(), "byte {byte}");
    }
}

#[test]
fn a_list_has_only_serial_numbers_of_its_batch_and_the_batch_cas_signature() {
    let batch = Batch::new();
    for unit in [10, u64::MAX] {
        assert_eq!(batch.list(1, &[revoked(unit, 0)]), Err(Error::OutsideIssuer));
    }
    let signed = revocation_list(&p256(), &batch.certificate, 1, NOW_MS, &[]);
    assert_eq!(signed, Err(Error::IssuerKey));
}

fn p256() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::EcdsaP256)
}

fn serial(unit: u64, ordinal: u16) -> [u8; 15] {
    DeviceSerial { entitlement_number: 7, unit, ordinal }.to_bytes()
}

fn revoked(unit: u64, ordinal: u16) -> Revoked {
    let reason = RevocationReason::KeyCompromise;
    Revoked { serial_number: serial(unit, ordinal), at_ms: NOW_MS, reason }
}
