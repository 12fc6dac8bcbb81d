//! The cryptographic primitives of the host, behind types that make misuse impossible.
//!
//! Nothing above this crate imports a cryptographic library. What is offered is closed: each
//! algorithm that a policy can name is one variant of one enum, nonces are made here and never
//! by a caller, secrets have no `Debug` that shows them and no `Clone`, and a signature is
//! checked under the algorithm that the key's own encoding names.
//!
//! ring does digests, MACs, AEAD, key derivation, randomness and verification. aws-lc-rs signs,
//! because it can make a key from a scalar, and is faster for P-384 and Ed25519. hpke does HPKE
//! (RFC 9180) in base mode, for the suites of [`hpke::Suite`] alone.

pub mod aead;
mod device;
pub mod digest;
mod error;
mod framing;
pub mod hkdf;
pub mod hpke;
pub mod mac;
mod public_key;
pub mod random;
mod secret;
pub mod sign;

pub use crate::device::device_key;
pub use crate::error::Error;
pub use crate::framing::framed;
pub use crate::secret::{Secret, SecretBytes};
