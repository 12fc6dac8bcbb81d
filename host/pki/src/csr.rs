//! Checks certificate requests. What they ask for is not looked at, except the key.

use der::{Decode as _, Encode as _};
use mintmark_crypto::digest;
use mintmark_crypto::sign::{self, SignatureAlgorithm};
use x509_cert::request::CertReq;

use crate::subject::{self, COMMON_NAME, ORGANIZATION, ORGANIZATIONAL_UNIT, SERIAL_NUMBER};
use crate::{ClusterPath, ClusterRole, template};

/// The longest request that is read.
pub const CSR_BYTES_MAX: usize = 16 * 1024;

/// Why a certificate request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Longer than [`CSR_BYTES_MAX`].
    #[error("the request is too long")]
    Size,
    /// Not DER of a request, or with bytes after it.
    #[error("the request is not well-formed")]
    Encoding,
    /// The key is of no supported algorithm, or the signature of another one than the key.
    #[error("the request's algorithm is not supported")]
    Algorithm,
    /// The proof of possession does not hold.
    #[error("the request's signature does not verify")]
    Signature,
    /// The subject has attributes that cannot be read in one way only.
    #[error("the request's subject is not well-formed")]
    Subject,
}

/// A certificate request whose form and proof of possession were checked.
///
/// Only [`VerifiedCsr::check`] makes one, so whoever holds one knows that the sender has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCsr {
    public_key_info: Vec<u8>,
    algorithm: SignatureAlgorithm,
    subject_serial: Option<String>,
    requested_cluster: Option<ClusterPath>,
}

impl VerifiedCsr {
    /// Checks length, encoding, algorithm and signature, in this order.
    pub fn check(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > CSR_BYTES_MAX {
            return Err(CsrError::Size);
        }
        let request = CertReq::from_der(der).map_err(|_| CsrError::Encoding)?;
        // Only what is its own encoding is read, so that the signature covers what was read.
        if request.to_der().ok().as_deref() != Some(der) {
            return Err(CsrError::Encoding);
        }
        let public_key_info = request.info.public_key.to_der().map_err(|_| CsrError::Encoding)?;
        let algorithm = SignatureAlgorithm::for_public_key(&public_key_info)
            .map_err(|_| CsrError::Algorithm)?;
        if request.algorithm != template::algorithm_identifier(algorithm) {
            return Err(CsrError::Algorithm);
        }
        let message = request.info.to_der().map_err(|_| CsrError::Encoding)?;
        let signature = request.signature.as_bytes().ok_or(CsrError::Encoding)?;
        sign::verify(&public_key_info, &message, signature).map_err(|_| CsrError::Signature)?;
        let attribute =
            |oid| subject::attribute(&request.info.subject, oid).map_err(|_| CsrError::Subject);
        let cluster =
            (attribute(ORGANIZATION)?, attribute(ORGANIZATIONAL_UNIT)?, attribute(COMMON_NAME)?);
        Ok(Self {
            subject_serial: attribute(SERIAL_NUMBER)?,
            requested_cluster: requested_cluster(cluster),
            public_key_info,
            algorithm,
        })
    }

    /// The key: SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 32] {
        digest::sha256(&self.public_key_info)
    }

    /// What the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The `serialNumber` of the subject that is asked for, where there is one.
    #[must_use]
    pub fn subject_serial(&self) -> Option<&str> {
        self.subject_serial.as_deref()
    }

    /// The cluster whose CA the request is for, where it is one of
    /// [`crate::issue::cluster_csr`]. Whoever signs decides whether that is right.
    #[must_use]
    pub fn requested_cluster(&self) -> Option<&ClusterPath> {
        self.requested_cluster.as_ref()
    }
}

/// The cluster that organisation, role and name of a subject spell, if they spell one.
fn requested_cluster(
    (organization, role, name): (Option<String>, Option<String>, Option<String>),
) -> Option<ClusterPath> {
    let role = ClusterRole::from_name(&role?)?;
    ClusterPath::new(&organization?, role, &name?).ok()
}

#[cfg(test)]
mod tests {
    use der::asn1::BitString;
    use mintmark_crypto::hpke::{RecipientKey, Suite};
    use mintmark_crypto::sign::SigningKey;
    use x509_cert::spki::ObjectIdentifier;

    use super::*;
    use crate::{issue, request};

    #[test]
    fn a_request_of_each_algorithm_gives_its_key_and_serial() {
        for algorithm in SignatureAlgorithm::ALL {
            let key = SigningKey::generate(algorithm);
            let der = request::device_csr(&key, "thermostat", "SN-1").unwrap();
            let csr = VerifiedCsr::check(&der).unwrap();
            assert_eq!(csr.public_key_info(), key.public_key_info());
            assert_eq!(csr.key_hash(), digest::sha256(key.public_key_info()));
            assert_eq!(csr.algorithm(), algorithm);
            assert_eq!(csr.subject_serial(), Some("SN-1"));
            assert_eq!(csr.requested_cluster(), None);
            let der = request::csr(&key, "thermostat").unwrap();
            assert_eq!(VerifiedCsr::check(&der).unwrap().subject_serial(), None);
        }
    }

    #[test]
    fn a_clusters_request_says_which_cluster() {
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let cluster = ClusterPath::new("acme", ClusterRole::Site, "shenzhen").unwrap();
        let csr = VerifiedCsr::check(&issue::cluster_csr(&key, &cluster).unwrap()).unwrap();
        assert_eq!(csr.requested_cluster(), Some(&cluster));
    }

    #[test]
    fn a_key_for_sealing_is_proved_by_a_request() {
        let key = RecipientKey::generate(Suite::P256Sha256Aes256Gcm);
        let der = request::csr(&key.to_signing_key().unwrap(), "thermostat").unwrap();
        let csr = VerifiedCsr::check(&der).unwrap();
        assert_eq!(csr.public_key_info(), key.public_key_info());
    }

    #[test]
    fn p1_every_truncated_prefix_and_every_trailing_byte_is_refused() {
        let der = valid();
        for len in 0..der.len() {
            assert_eq!(VerifiedCsr::check(&der[..len]), Err(CsrError::Encoding));
        }
        for byte in [0, 0xff] {
            let longer = [&der[..], &[byte]].concat();
            assert_eq!(VerifiedCsr::check(&longer), Err(CsrError::Encoding));
        }
    }

    #[test]
    fn p1_every_flipped_bit_is_refused() {
        let der = valid();
        for bit in 0..der.len() * 8 {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(VerifiedCsr::check(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn p1_a_request_too_long_is_refused_unread() {
        let der = vec![0x30; CSR_BYTES_MAX + 1];
        assert_eq!(VerifiedCsr::check(&der), Err(CsrError::Size));
        assert_eq!(VerifiedCsr::check(&der[1..]), Err(CsrError::Encoding));
    }

    #[test]
    fn a_proof_by_another_key_is_refused() {
        let mut request = CertReq::from_der(&valid()).unwrap();
        let other = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let signature = other.sign(&request.info.to_der().unwrap());
        request.signature = BitString::from_bytes(&signature).unwrap();
        let refused = VerifiedCsr::check(&request.to_der().unwrap());
        assert_eq!(refused, Err(CsrError::Signature));
    }

    #[test]
    fn k6_other_algorithms_are_refused() {
        let mut request = CertReq::from_der(&valid()).unwrap();
        // ecdsa-with-SHA1.
        request.algorithm.oid = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
        let refused = VerifiedCsr::check(&request.to_der().unwrap());
        assert_eq!(refused, Err(CsrError::Algorithm));
        let mut request = CertReq::from_der(&valid()).unwrap();
        // secp224r1, as the key's curve.
        let curve = ObjectIdentifier::new_unwrap("1.3.132.0.33");
        request.info.public_key.algorithm.parameters = Some((&curve).into());
        let refused = VerifiedCsr::check(&request.to_der().unwrap());
        assert_eq!(refused, Err(CsrError::Algorithm));
    }

    proptest::proptest! {
        #[test]
        fn p1_arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            proptest::prop_assert!(VerifiedCsr::check(&bytes).is_err());
        }
    }

    fn valid() -> Vec<u8> {
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        request::device_csr(&key, "thermostat", "SN-1").unwrap()
    }
}
