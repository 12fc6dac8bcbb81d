//! Memory for secrets: overwritten when dropped, never printed, never copied silently.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::{Error, random};

/// A secret of fixed length.
///
/// It lives on the heap, so that moving it leaves no copy behind, and is overwritten when it is
/// dropped. It has no `Clone`, no equality and no serialisation; [`Secret::expose`] is the one
/// way to the bytes, so that every crossing can be found by its name.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// A new random secret.
    #[must_use]
    pub fn random() -> Self {
        Self::filled_by(random::fill)
    }

    /// A secret that `fill` writes in place, so that no copy is left on a stack.
    #[must_use]
    pub fn filled_by(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        fill(secret.0.as_mut_slice());
        secret
    }

    /// A copy of secret bytes; the caller wipes its own.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; N]) -> Self {
        Self::filled_by(|secret| secret.copy_from_slice(bytes))
    }

    /// As [`Secret::from_bytes`], from bytes whose length is not known beforehand.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != N {
            return Err(Error::Length);
        }
        Ok(Self::filled_by(|secret| secret.copy_from_slice(bytes)))
    }

    /// The secret bytes. Whoever calls this answers for where they go.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// A secret of any length: an opened text, an encoded private key.
///
/// The whole allocation is overwritten when it is dropped. It must not grow after it was made,
/// because growing would leave a copy; therefore it gives out no mutable access.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes bytes over, without copying them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes. Whoever calls this answers for where they go.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretBytes(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_bytes() {
        let secret = Secret::from_bytes(&[0x41; 32]);
        let bytes = SecretBytes::new(vec![0x41; 32]);
        assert_eq!(format!("{secret:?} {bytes:?}"), "Secret(..) SecretBytes(..)");
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        assert_eq!(Secret::<32>::from_slice(&[0; 31]).err(), Some(Error::Length));
        assert_eq!(Secret::<32>::from_slice(&[7; 32]).unwrap().expose(), &[7; 32]);
    }

    #[test]
    fn random_secrets_differ() {
        assert_ne!(Secret::<32>::random().expose(), Secret::<32>::random().expose());
    }
}
