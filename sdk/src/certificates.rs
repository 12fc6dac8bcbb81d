//! CAs for devices, and certificate requests.

use crate::{
    Digest,
    backend::{self, Certificates as _, CsrHandle as _, held},
    error::Error,
    keys::{Algorithm, Key, Recipients},
};

/// A request whose form and proof of possession the host has checked. Nothing that it asks for is
/// ever copied into a certificate, except the key.
pub struct Csr {
    pub(crate) handle: held::Csr,
}

backend::handle!(Csr, CsrHandle);

impl Csr {
    /// Checks a PKCS#10 request (RFC 2986) of at most 16 KiB, in DER.
    ///
    /// # Errors
    /// `CSR_INVALID`, for encoding, trailing bytes, algorithm or signature; the detail says which.
    pub fn read(request: &[u8]) -> Result<Self, Error> {
        backend::certificates().read_csr(request)
    }

    /// The SubjectPublicKeyInfo, in DER.
    pub fn public_key(&self) -> Vec<u8> {
        self.handle().public_key()
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn key_hash(&self) -> Digest {
        self.handle().key_hash()
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.handle().algorithm()
    }

    /// The `serialNumber` of the requested subject, where there is one.
    pub fn subject_serial(&self) -> Option<String> {
        self.handle().subject_serial()
    }
}

/// Makes a product CA: a key that certifies batch CAs and does nothing else, with its self-signed
/// certificate.
///
/// # Errors
/// `PERMISSION_DENIED`; `WRONG_STATE` for a name that is taken; `INVALID_ARGUMENT`.
pub fn create_product_ca(name: &str, organization: &str, product: &str) -> Result<Key, Error> {
    backend::certificates().create_product_ca(name, organization, product)
}

/// Makes the key of a batch CA. Its certificate is issued when the key is exported under a grant.
///
/// # Errors
/// As [`create_product_ca`].
pub fn create_batch_key(name: &str, recipients: &Recipients) -> Result<Key, Error> {
    backend::certificates().create_batch_key(name, recipients)
}

/// The certificate chain of a product CA: its one certificate, in DER.
///
/// # Errors
/// [`Error::NotFound`] for a key that is no CA.
pub fn chain(ca: &Key) -> Result<Vec<Vec<u8>>, Error> {
    backend::certificates().chain(ca)
}

/// The certificate chain that devices of an imported allotment need, batch CA first, product CA
/// last. Empty where the grant asks for no certificates.
///
/// # Errors
/// [`Error::NotFound`].
pub fn allotment_chain(allotment: &str) -> Result<Vec<Vec<u8>>, Error> {
    backend::certificates().allotment_chain(allotment)
}

/// Whether `signature` over `message` is right under a SubjectPublicKeyInfo (Ed25519, ECDSA P-256
/// or P-384).
///
/// # Errors
/// `INVALID_ARGUMENT` for a message above 64 KiB or a key that is none. A wrong signature is
/// `Ok(false)`.
pub fn verify_signature(
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<bool, Error> {
    backend::certificates().verify_signature(public_key, message, signature)
}
