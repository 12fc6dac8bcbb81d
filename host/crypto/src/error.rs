//! What can go wrong with a key, a signature or a sealed text. No variant carries input.

/// Why a primitive refused its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes have the wrong length for what they are said to be.
    #[error("wrong length")]
    Length,
    /// A private key is not a well-formed key of the algorithm.
    #[error("the private key is not well-formed")]
    PrivateKey,
    /// A public key is not a well-formed key of an algorithm that is supported.
    #[error("the public key is not supported or not well-formed")]
    PublicKey,
    /// A signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// A message authentication code does not verify.
    #[error("the authentication code does not verify")]
    Mac,
    /// A sealed text does not open: wrong key, wrong associated data, or changed bytes.
    #[error("the sealed text does not open")]
    Sealed,
}
