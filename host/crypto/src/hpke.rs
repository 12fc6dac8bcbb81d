//! Hybrid public key encryption: HPKE (RFC 9180) in base mode.
//!
//! A key belongs to exactly one suite, which follows from its encoding; neither mode nor suite is
//! ever taken from a message. Who sent it is said by a signature over the sealed text.

use ::hpke::aead::{AeadCtxR, AeadCtxS, AesGcm256};
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::{DhP256HkdfSha256, Kem, X25519HkdfSha256};
use ::hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};

use crate::public_key::{self, KeyKind};
use crate::sign::{SignatureAlgorithm, SigningKey};
use crate::{Error, SecretBytes};

/// The suites: a key encapsulation with HKDF-SHA256 and AES-256-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// DHKEM(X25519, HKDF-SHA256): keys of plugins and transfer keys of hosts.
    X25519Sha256Aes256Gcm,
    /// DHKEM(P-256, HKDF-SHA256): keys of devices.
    P256Sha256Aes256Gcm,
}

impl Suite {
    /// All suites.
    pub const ALL: [Self; 2] = [Self::X25519Sha256Aes256Gcm, Self::P256Sha256Aes256Gcm];

    /// The name that policies and the contract use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519Sha256Aes256Gcm => "hpke-x25519-sha256-aes-256-gcm",
            Self::P256Sha256Aes256Gcm => "hpke-p256-sha256-aes-256-gcm",
        }
    }

    /// The suite of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// The suite that a recipient's public key (SubjectPublicKeyInfo in DER) is for.
    pub fn for_public_key(info: &[u8]) -> Result<Self, Error> {
        let (kind, _) = public_key::parse(info)?;
        Self::for_kind(kind)
    }

    fn for_kind(kind: KeyKind) -> Result<Self, Error> {
        match kind {
            KeyKind::X25519 => Ok(Self::X25519Sha256Aes256Gcm),
            KeyKind::P256 => Ok(Self::P256Sha256Aes256Gcm),
            KeyKind::Ed25519 | KeyKind::P384 => Err(Error::PublicKey),
        }
    }
}

/// A recipient's private key. It has neither `Debug` nor `Clone`, and is wiped when dropped.
pub struct RecipientKey {
    private: PrivateKey,
    public_key_info: Vec<u8>,
}

impl RecipientKey {
    /// A new random key.
    #[must_use]
    pub fn generate(suite: Suite) -> Self {
        match suite {
            Suite::X25519Sha256Aes256Gcm => Self::from_x25519(X25519::gen_keypair().0),
            Suite::P256Sha256Aes256Gcm => Self::from_p256(P256::gen_keypair().0),
        }
    }

    /// The key of 32 private bytes (RFC 9180, 7.1.2).
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<Self, Error> {
        match suite {
            Suite::X25519Sha256Aes256Gcm => {
                <X25519 as Kem>::PrivateKey::from_bytes(bytes).map(Self::from_x25519)
            }
            Suite::P256Sha256Aes256Gcm => {
                <P256 as Kem>::PrivateKey::from_bytes(bytes).map(Self::from_p256)
            }
        }
        .map_err(|_| Error::PrivateKey)
    }

    /// The private bytes, for sealing. X25519 keys come out clamped.
    #[must_use]
    pub fn to_bytes(&self) -> SecretBytes {
        let mut bytes = vec![0; PRIVATE_KEY_LEN];
        match &self.private {
            PrivateKey::X25519(key) => key.write_exact(&mut bytes),
            PrivateKey::P256(key) => key.write_exact(&mut bytes),
        }
        SecretBytes::new(bytes)
    }

    /// The public key: SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// The suite that the key is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        match self.private {
            PrivateKey::X25519(_) => Suite::X25519Sha256Aes256Gcm,
            PrivateKey::P256(_) => Suite::P256Sha256Aes256Gcm,
        }
    }

    /// The same key as one for signing, which its certificate request needs as a proof of
    /// possession, and nothing else does. X25519 keys cannot sign.
    pub fn to_signing_key(&self) -> Result<SigningKey, Error> {
        match self.suite() {
            Suite::X25519Sha256Aes256Gcm => Err(Error::PrivateKey),
            Suite::P256Sha256Aes256Gcm => {
                let scalar = self.to_bytes();
                SigningKey::from_scalar(SignatureAlgorithm::EcdsaP256, scalar.expose())
            }
        }
    }

    fn from_x25519(key: <X25519 as Kem>::PrivateKey) -> Self {
        let public_key_info = KeyKind::X25519.encode(&X25519::sk_to_pk(&key).to_bytes());
        Self { private: PrivateKey::X25519(key), public_key_info }
    }

    fn from_p256(key: <P256 as Kem>::PrivateKey) -> Self {
        let public_key_info = KeyKind::P256.encode(&P256::sk_to_pk(&key).to_bytes());
        Self { private: PrivateKey::P256(key), public_key_info }
    }
}

/// One sealing context: any number of texts to one recipient, in order.
pub struct Sender(SenderContext);

impl Sender {
    /// Starts a context. The encapsulated key goes to the recipient in clear, before the texts.
    ///
    /// `info` binds the context to its purpose; the recipient must give the same. It is at most
    /// [`INFO_BYTES_MAX`] long.
    pub fn new(public_key_info: &[u8], info: &[u8]) -> Result<(Vec<u8>, Self), Error> {
        check_info(info)?;
        let (kind, key) = public_key::parse(public_key_info)?;
        match Suite::for_kind(kind)? {
            Suite::X25519Sha256Aes256Gcm => {
                let (encapsulated, context) = encapsulate::<X25519>(key, info)?;
                Ok((encapsulated, Self(SenderContext::X25519(context))))
            }
            Suite::P256Sha256Aes256Gcm => {
                let (encapsulated, context) = encapsulate::<P256>(key, info)?;
                Ok((encapsulated, Self(SenderContext::P256(context))))
            }
        }
    }

    /// Seals the next text. `aad` is authenticated with it.
    #[must_use]
    pub fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        match &mut self.0 {
            SenderContext::X25519(context) => context.seal(plaintext, aad),
            SenderContext::P256(context) => context.seal(plaintext, aad),
        }
        .expect("neither 2^64 texts nor a text of 64 GiB are reached")
    }
}

/// The recipient's side of one sealing context.
pub struct Receiver(ReceiverContext);

impl Receiver {
    /// Starts the context that the sender started with the same `info`.
    pub fn new(key: &RecipientKey, encapsulated: &[u8], info: &[u8]) -> Result<Self, Error> {
        check_info(info)?;
        let context = match &key.private {
            PrivateKey::X25519(key) => {
                ReceiverContext::X25519(decapsulate::<X25519>(key, encapsulated, info)?)
            }
            PrivateKey::P256(key) => {
                ReceiverContext::P256(decapsulate::<P256>(key, encapsulated, info)?)
            }
        };
        Ok(Self(context))
    }

    /// Opens the next text. A text that does not open leaves the context where it was.
    pub fn open(&mut self, aad: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, Error> {
        match &mut self.0 {
            ReceiverContext::X25519(context) => context.open(ciphertext, aad),
            ReceiverContext::P256(context) => context.open(ciphertext, aad),
        }
        .map(SecretBytes::new)
        .map_err(|_| Error::Sealed)
    }
}

/// The longest `info`: the library's key schedule prefixes it with 7 bytes and counts in 16 bits.
pub const INFO_BYTES_MAX: usize = 60_000;

/// How many bytes a sealed text is longer than its plaintext.
pub const OVERHEAD_BYTES: usize = 16;

const PRIVATE_KEY_LEN: usize = 32;

type X25519 = X25519HkdfSha256;
type P256 = DhP256HkdfSha256;

enum PrivateKey {
    X25519(<X25519 as Kem>::PrivateKey),
    P256(<P256 as Kem>::PrivateKey),
}

enum SenderContext {
    X25519(AeadCtxS<AesGcm256, HkdfSha256, X25519>),
    P256(AeadCtxS<AesGcm256, HkdfSha256, P256>),
}

enum ReceiverContext {
    X25519(AeadCtxR<AesGcm256, HkdfSha256, X25519>),
    P256(AeadCtxR<AesGcm256, HkdfSha256, P256>),
}

fn check_info(info: &[u8]) -> Result<(), Error> {
    // Beyond 2^16 the library panics; `info` may hold what an attacker chose.
    if info.len() > INFO_BYTES_MAX { Err(Error::Length) } else { Ok(()) }
}

type SenderOf<K> = AeadCtxS<AesGcm256, HkdfSha256, K>;
type ReceiverOf<K> = AeadCtxR<AesGcm256, HkdfSha256, K>;

fn encapsulate<K: Kem>(key: &[u8], info: &[u8]) -> Result<(Vec<u8>, SenderOf<K>), Error> {
    let key = K::PublicKey::from_bytes(key).map_err(|_| Error::PublicKey)?;
    let (encapsulated, context) =
        ::hpke::setup_sender::<AesGcm256, HkdfSha256, K>(&OpModeS::Base, &key, info)
            .map_err(|_| Error::PublicKey)?;
    Ok((encapsulated.to_bytes().to_vec(), context))
}

fn decapsulate<K: Kem>(
    key: &K::PrivateKey,
    encapsulated: &[u8],
    info: &[u8],
) -> Result<ReceiverOf<K>, Error> {
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(|_| Error::Sealed)?;
    ::hpke::setup_receiver(&OpModeR::Base, key, &encapsulated, info).map_err(|_| Error::Sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_open_in_the_order_in_which_they_were_sealed() {
        for suite in Suite::ALL {
            let key = RecipientKey::generate(suite);
            let (encapsulated, mut sender) = Sender::new(key.public_key_info(), b"info").unwrap();
            let first = sender.seal(b"aad", b"first");
            let second = sender.seal(b"", b"");
            let mut receiver = Receiver::new(&key, &encapsulated, b"info").unwrap();
            assert_eq!(receiver.open(b"", &second).err(), Some(Error::Sealed));
            assert_eq!(receiver.open(b"aad", &first).unwrap().expose(), b"first");
            assert_eq!(receiver.open(b"aad", &first).err(), Some(Error::Sealed));
            assert!(receiver.open(b"", &second).unwrap().is_empty());
        }
    }

    #[test]
    fn another_key_info_aad_or_changed_bytes_do_not_open() {
        for suite in Suite::ALL {
            let key = RecipientKey::generate(suite);
            let (encapsulated, mut sender) = Sender::new(key.public_key_info(), b"info").unwrap();
            let sealed = sender.seal(b"aad", b"text");
            assert_eq!(sealed.len(), 4 + OVERHEAD_BYTES);
            let opens =
                |key: &RecipientKey, encapsulated: &[u8], info: &[u8], aad: &[u8], text: &[u8]| {
                    Receiver::new(key, encapsulated, info)
                        .and_then(|mut receiver| receiver.open(aad, text))
                        .is_ok()
                };
            assert!(opens(&key, &encapsulated, b"info", b"aad", &sealed));
            assert!(!opens(
                &RecipientKey::generate(suite),
                &encapsulated,
                b"info",
                b"aad",
                &sealed
            ));
            assert!(!opens(&key, &encapsulated, b"infp", b"aad", &sealed));
            assert!(!opens(&key, &encapsulated, b"info", b"aae", &sealed));
            for byte in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[byte] ^= 1;
                assert!(!opens(&key, &encapsulated, b"info", b"aad", &changed));
                assert!(!opens(&key, &encapsulated, b"info", b"aad", &sealed[..byte]));
            }
            for byte in 0..encapsulated.len() {
                let mut changed = encapsulated.clone();
                changed[byte] ^= 1;
                assert!(!opens(&key, &changed, b"info", b"aad", &sealed));
                assert!(!opens(&key, &encapsulated[..byte], b"info", b"aad", &sealed));
            }
        }
    }

    #[test]
    fn a_stored_key_is_the_same_key() {
        for suite in Suite::ALL {
            let key = RecipientKey::generate(suite);
            let again = RecipientKey::from_bytes(suite, key.to_bytes().expose()).unwrap();
            assert_eq!(again.public_key_info(), key.public_key_info());
            assert_eq!(again.suite(), suite);
            assert_eq!(Suite::for_public_key(key.public_key_info()), Ok(suite));
            assert_eq!(Suite::from_name(suite.name()), Some(suite));
            let short = RecipientKey::from_bytes(suite, &key.to_bytes().expose()[1..]);
            assert_eq!(short.err(), Some(Error::PrivateKey));
        }
        let zero = RecipientKey::from_bytes(Suite::P256Sha256Aes256Gcm, &[0; 32]);
        assert_eq!(zero.err(), Some(Error::PrivateKey));
    }

    #[test]
    fn a_p256_key_proves_its_possession_and_an_x25519_key_cannot() {
        let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
        let signing = key.to_signing_key().unwrap();
        assert_eq!(signing.public_key_info(), key.public_key_info());
        let key = RecipientKey::generate(Suite::X25519Sha256Aes256Gcm);
        assert_eq!(key.to_signing_key().err(), Some(Error::PrivateKey));
    }

    #[test]
    fn k6_keys_off_the_curve_and_of_low_order_are_refused() {
        let sender = |info: &[u8]| Sender::new(info, b"").err();
        let off_curve = KeyKind::P256.encode(&[&[4][..], &[1; 64]].concat());
        assert_eq!(sender(&off_curve), Some(Error::PublicKey));
        assert_eq!(sender(&KeyKind::X25519.encode(&[0; 32])), Some(Error::PublicKey));
        assert_eq!(sender(&KeyKind::Ed25519.encode(&[9; 32])), Some(Error::PublicKey));
        let key = RecipientKey::generate(Suite::X25519Sha256Aes256Gcm);
        assert_eq!(Receiver::new(&key, &[0; 32], b"").err(), Some(Error::Sealed));
    }

    #[test]
    fn an_info_too_long_is_refused_and_not_a_panic() {
        let key = RecipientKey::generate(Suite::X25519Sha256Aes256Gcm);
        for (len, good) in [(INFO_BYTES_MAX, true), (INFO_BYTES_MAX + 1, false)] {
            let info = vec![0; len];
            assert_eq!(Sender::new(key.public_key_info(), &info).is_ok(), good);
            assert_eq!(
                Receiver::new(&key, key.public_key_info(), &info).err(),
                Some(if good { Error::Sealed } else { Error::Length })
            );
        }
    }
}
