//! What a device has and gets: its key, its certificate, and the message that it signs to confirm.
//!
//! The key is on the disk before the host is asked. A repetition finds it there and asks with the
//! same key, so that whatever breaks in between costs no unit.

use std::path::{Path, PathBuf};

use mintmark_crypto::SecretBytes;
use mintmark_crypto::hpke::{Receiver, RecipientKey, Suite};
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_pki::request;
use mintmark_rpc::client::plugins::device_key::{DeviceCertificate, DeviceIdentity, SealedKey};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::files::{self, Folder};
use crate::{keys, pem};

/// The HPKE info string of keys that are sealed to devices (`device_key.proto`, `SealedKey`).
const DELIVERY_INFO: &[u8] = b"mintmark device key delivery v1";

/// The files of one device.
pub(super) struct DeviceFiles {
    folder: Folder,
    subject: String,
    /// What the names of its files begin with.
    stem: String,
}

/// With what a device asks for its identity.
pub(super) enum Device {
    /// A request that the device made.
    Request(Vec<u8>),
    /// A key that was made for it.
    Key { key: SigningKey, subject: String },
    /// A key to which the site seals the device's key.
    Recipient { key: RecipientKey, subject: String },
    /// The station's own key, which the site knows from its certificate.
    Station(RecipientKey),
}

/// Where the device's key comes from.
pub(super) enum Source<'a> {
    /// The device made a request.
    Request(&'a Path),
    /// It is made here.
    Fresh(SignatureAlgorithm),
    /// The site makes it, and seals it to a key that is made here.
    Sealed,
    /// The site makes it, and seals it to the station.
    Station(&'a Path),
}

impl Device {
    /// The request.
    pub(super) fn csr(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Request(csr) => Ok(csr.clone()),
            Self::Key { key, subject } => {
                request::csr(key, subject).map_err(|_| keys::unfit(subject))
            }
            Self::Recipient { key, subject } => keys::recipient_request(key, subject),
            Self::Station(_) => Ok(Vec::new()),
        }
    }
}

impl DeviceFiles {
    /// The files of the device `subject` in `folder`.
    pub(super) fn new(folder: Folder, subject: &str) -> Self {
        Self { folder, subject: subject.to_owned(), stem: files::name_for(subject) }
    }

    /// What the device asks with: the request given, or the key that is there, or a new one.
    pub(super) fn key(&self, source: &Source<'_>) -> Result<Device, Error> {
        let subject = self.subject.clone();
        match source {
            Source::Request(path) => {
                Ok(Device::Request(pem::decode(pem::REQUEST, &files::read(path)?)?))
            }
            Source::Sealed => Ok(Device::Recipient { key: self.recipient_key()?, subject }),
            Source::Station(path) => {
                Ok(Device::Station(pem::decode_recipient(&Zeroizing::new(files::read(path)?))?))
            }
            Source::Fresh(algorithm) => Ok(Device::Key { key: self.own_key(*algorithm)?, subject }),
        }
    }

    fn own_key(&self, algorithm: SignatureAlgorithm) -> Result<SigningKey, Error> {
        let name = self.name("key.pem");
        if self.folder.has(&name)? {
            return pem::decode_signing_key(&Zeroizing::new(self.folder.read(&name)?));
        }
        let key = SigningKey::generate(algorithm);
        self.folder.write_secret(&name, pem::encode_key(&key.to_pkcs8()).as_bytes())?;
        Ok(key)
    }

    fn recipient_key(&self) -> Result<RecipientKey, Error> {
        let name = self.name("recipient.key.pem");
        if self.folder.has(&name)? {
            return pem::decode_recipient(&Zeroizing::new(self.folder.read(&name)?));
        }
        let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
        self.folder.write_secret(&name, pem::encode_recipient(&key).as_bytes())?;
        Ok(key)
    }

    /// Writes what the device gets.
    pub(super) fn keep(
        &self,
        identity: &DeviceIdentity,
        device: &Device,
    ) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        if !identity.certificate.is_empty() {
            let leaf = std::slice::from_ref(&identity.certificate);
            let chain = [leaf, identity.chain.as_slice()].concat();
            let chain = pem::encode_chain(&chain);
            written.push(self.folder.write(&self.name("pem"), chain.as_bytes())?);
        }
        let message = &identity.confirm_message;
        written.push(self.folder.write(&self.name("confirm"), message)?);
        let name = self.name("key.pem");
        match (&identity.sealed_key, device) {
            (Some(sealed), Device::Recipient { key, .. } | Device::Station(key)) => {
                // The same key, byte for byte, at a repetition.
                if !self.folder.has(&name)? {
                    let opened = open(sealed, key, &identity.public_key)?;
                    let text = pem::encode_key(&opened);
                    self.folder.write_secret(&name, text.as_bytes())?;
                }
                written.push(self.folder.path(&name));
            }
            (Some(sealed), _) => {
                let name = self.name("sealed");
                let content = [sealed.encapsulated_key.as_slice(), &sealed.ciphertext].concat();
                written.push(self.folder.write(&name, &content)?);
            }
            (None, Device::Key { .. }) => written.push(self.folder.path(&name)),
            (None, _) => {}
        }
        Ok(written)
    }

    /// Writes a further certificate, with its chain.
    pub(super) fn keep_certificate(&self, further: &DeviceCertificate) -> Result<PathBuf, Error> {
        let leaf = std::slice::from_ref(&further.certificate);
        let chain = pem::encode_chain(&[leaf, further.chain.as_slice()].concat());
        let name = self.name(&format!("{}.pem", further.ordinal));
        self.folder.write(&name, chain.as_bytes())
    }

    /// The proof that is given, or the one that the device's key makes.
    pub(super) fn proof(&self, given: Option<&Path>) -> Result<Vec<u8>, Error> {
        if let Some(path) = given {
            return files::read(path);
        }
        let message = self.folder.read(&self.name("confirm"))?;
        let key = Zeroizing::new(self.folder.read(&self.name("key.pem"))?);
        Ok(pem::decode_signing_key(&key)?.sign(&message))
    }

    fn name(&self, end: &str) -> String {
        format!("{}.{end}", self.stem)
    }
}

/// Opens a key that was sealed to a device.
fn open(sealed: &SealedKey, key: &RecipientKey, public_key: &[u8]) -> Result<SecretBytes, Error> {
    let unfit = |_| {
        let next = "Provision with the key that the device had the first time.";
        Error::misfit("the device's key is sealed to another key", next)
    };
    let receiver = Receiver::new(key, &sealed.encapsulated_key, DELIVERY_INFO);
    receiver.map_err(unfit)?.open(public_key, &sealed.ciphertext).map_err(unfit)
}

#[cfg(test)]
mod tests {
    use mintmark_crypto::hpke::Sender;

    use super::*;

    fn files(place: &Path) -> DeviceFiles {
        DeviceFiles::new(Folder::open(place).unwrap(), "../T2 17")
    }

    #[test]
    fn a_repetition_asks_with_the_same_key() {
        let place = tempfile::tempdir().unwrap();
        for source in [Source::Fresh(SignatureAlgorithm::Ed25519), Source::Sealed] {
            let public = |device: &Device| match device {
                Device::Request(_) | Device::Station(_) => Vec::new(),
                Device::Key { key, .. } => key.public_key_info().to_vec(),
                Device::Recipient { key, .. } => key.public_key_info().to_vec(),
            };
            let first = files(place.path()).key(&source).unwrap();
            let second = files(place.path()).key(&source).unwrap();
            assert_eq!(public(&first), public(&second));
            assert!(first.csr().is_ok());
        }
    }

    #[test]
    fn a_sealed_key_is_opened_and_proves_itself() {
        let place = tempfile::tempdir().unwrap();
        let files = files(place.path());
        let device = files.key(&Source::Sealed).unwrap();
        let Device::Recipient { key: recipient, .. } = &device else { panic!("asked for one") };
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let (encapsulated_key, mut sender) =
            Sender::new(recipient.public_key_info(), DELIVERY_INFO).unwrap();
        let ciphertext = sender.seal(key.public_key_info(), key.to_pkcs8().expose());
        let identity = DeviceIdentity {
            public_key: key.public_key_info().to_vec(),
            sealed_key: Some(SealedKey { suite: String::new(), encapsulated_key, ciphertext }),
            confirm_message: b"message".to_vec(),
            ..DeviceIdentity::default()
        };
        files.keep(&identity, &device).unwrap();
        let proof = files.proof(None).unwrap();
        let verified = mintmark_crypto::sign::verify(key.public_key_info(), b"message", &proof);
        assert!(verified.is_ok());
    }
}
