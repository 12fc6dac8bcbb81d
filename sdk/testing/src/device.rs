//! Those to whom keys are delivered: a device on the line, and the station that holds it.

use mintmark_crypto::Error;
use mintmark_crypto::hpke::{Receiver, RecipientKey, Suite};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_pki::request;

/// What the host binds a delivered key to.
const DELIVERY_INFO: &[u8] = b"mintmark device key delivery v1";

/// A device with a P-256 key of its own, by which it signs and opens.
pub struct Device {
    key: RecipientKey,
    signer: SigningKey,
}

/// A tester program with a certificate to which device keys are sealed.
pub struct Station {
    name: String,
    key: RecipientKey,
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

impl Device {
    /// A device with a fresh key.
    pub fn new() -> Self {
        let (key, signer) = pair();
        Self { key, signer }
    }

    /// The device's certificate request, in DER.
    pub fn csr(&self) -> Vec<u8> {
        request::csr(&self.signer, "device").expect("the name fits a request")
    }

    /// The device's SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        self.signer.public_key_info()
    }

    /// The device's signature, such as the one that confirms.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer.sign(message)
    }

    /// Opens a key that was sealed to the device: PKCS#8. `public_key` is that of the sealed key.
    ///
    /// # Errors
    /// Where it was sealed to another, or is another key.
    pub fn open(
        &self,
        encapsulated_key: &[u8],
        ciphertext: &[u8],
        public_key: &[u8],
    ) -> Result<Vec<u8>, Error> {
        open(&self.key, encapsulated_key, ciphertext, public_key)
    }
}

impl Station {
    /// A station with the two requests for its certificates.
    pub(crate) fn new(name: &str) -> (Self, Vec<u8>, Vec<u8>) {
        let (key, signer) = pair();
        let tls = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let csr = |key: &SigningKey| request::csr(key, name).expect("the name fits a request");
        let (tls, sealing) = (csr(&tls), csr(&signer));
        (Self { name: name.to_owned(), key }, tls, sealing)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a device key that was sealed to the station, as [`Device::open`] does.
    ///
    /// # Errors
    /// Where it was sealed to another, or is another key.
    pub fn open(
        &self,
        encapsulated_key: &[u8],
        ciphertext: &[u8],
        public_key: &[u8],
    ) -> Result<Vec<u8>, Error> {
        open(&self.key, encapsulated_key, ciphertext, public_key)
    }
}

/// A key to which can be sealed, and the same as one that proves its possession.
fn pair() -> (RecipientKey, SigningKey) {
    let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
    let signer = key.to_signing_key().expect("a P-256 key signs");
    (key, signer)
}

fn open(
    key: &RecipientKey,
    encapsulated_key: &[u8],
    ciphertext: &[u8],
    public_key: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut receiver = Receiver::new(key, encapsulated_key, DELIVERY_INFO)?;
    Ok(receiver.open(public_key, ciphertext)?.expose().to_vec())
}
