//! Keys of the plugin, as handles. A handle cannot be forged and dies with the call that opened it;
//! no function gives the bytes of a private or secret key.

mod policy;

pub use policy::{Algorithm, KeyPolicy, Operations, Recipients};

use crate::{
    backend::{self, KeyHandle as _, Keys as _, held},
    error::Error,
};

/// States of NIST SP 800-57.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Not yet in its window.
    PreActive,
    /// In use.
    Active,
    /// Held back by an admin.
    Suspended,
    /// Past its window.
    Deactivated,
    /// Known to somebody who must not know it.
    Compromised,
    /// Gone, for ever.
    Destroyed,
}

/// What is known about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAttributes {
    /// The key's name.
    pub name: String,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// The part of its policy that a plugin chooses.
    pub policy: KeyPolicy,
    /// Where it is in its life.
    pub state: KeyState,
    /// Set when the key came in a transfer and can be used only through units of this allotment.
    pub allotment: Option<String>,
}

/// A key of this plugin.
///
/// ```no_run
/// use mintmark_sdk::{
///     Error,
///     keys::{Algorithm, Key, KeyPolicy, Operations},
/// };
///
/// fn sign(message: &[u8]) -> Result<Vec<u8>, Error> {
///     let policy = KeyPolicy::new(Operations::SIGN | Operations::VERIFY);
///     let key = Key::open_or_generate("labels", Algorithm::ED25519, &policy)?;
///     key.sign(message)
/// }
/// ```
pub struct Key {
    pub(crate) handle: held::Key,
}

backend::handle!(Key, KeyHandle);

impl Key {
    /// Opens a key of this plugin.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for a key that a grant hides from the plugin.
    pub fn open(name: &str) -> Result<Self, Error> {
        backend::keys().open(name)
    }

    /// Makes a key in the host. The manifest has a key slot that name, algorithm and policy fit.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`; `INVALID_ARGUMENT`; `WRONG_STATE` for a name that is taken.
    pub fn generate(name: &str, algorithm: Algorithm, policy: &KeyPolicy) -> Result<Self, Error> {
        backend::keys().generate(name, algorithm.as_str(), policy)
    }

    /// Opens the key, or makes it where there is none. An existing key keeps its algorithm and its
    /// policy.
    ///
    /// # Errors
    /// As [`Key::open`] and [`Key::generate`].
    pub fn open_or_generate(
        name: &str,
        algorithm: Algorithm,
        policy: &KeyPolicy,
    ) -> Result<Self, Error> {
        match Self::open(name) {
            Err(Error::NotFound) => Self::generate(name, algorithm, policy),
            opened => opened,
        }
    }

    /// What is known about the key.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a store that cannot answer.
    pub fn attributes(&self) -> Result<KeyAttributes, Error> {
        self.handle().attributes()
    }

    /// The SubjectPublicKeyInfo of an asymmetric key, in DER.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a symmetric key.
    pub fn public_key(&self) -> Result<Vec<u8>, Error> {
        self.handle().public_key()
    }

    /// Signs `message`, which the host hashes itself. ECDSA signatures are DER.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, also where the content rule excludes the message; `NOT_YET_VALID`,
    /// `EXPIRED`, `WRONG_STATE`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.handle().sign(message)
    }

    /// Whether `signature` over `message` is right.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`. A wrong signature is `Ok(false)`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<bool, Error> {
        self.handle().verify(message, signature)
    }

    /// Encrypts, with `associated` bound to the ciphertext; the nonce is the host's and comes first
    /// in the answer.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn encrypt(&self, plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error> {
        self.handle().encrypt(plaintext, associated)
    }

    /// Decrypts what [`Key::encrypt`] returned.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`; `INVALID_ARGUMENT` for a ciphertext that does not open.
    pub fn decrypt(&self, ciphertext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Error> {
        self.handle().decrypt(ciphertext, associated)
    }

    /// The authentication code of `message`.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn mac(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.handle().mac(message)
    }

    /// Whether `tag` is the code of `message`, compared by the host in constant time.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`. A wrong tag is `Ok(false)`.
    pub fn verify_mac(&self, message: &[u8], tag: &[u8]) -> Result<bool, Error> {
        self.handle().verify_mac(message, tag)
    }

    /// Makes the key `name` from this one by HKDF. The same name, algorithm and context give the
    /// same key.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`; `WRONG_STATE` for a name that is taken.
    pub fn derive(
        &self,
        name: &str,
        algorithm: Algorithm,
        context: &[u8],
        policy: &KeyPolicy,
    ) -> Result<Self, Error> {
        self.handle().derive(name, algorithm.as_str(), context, policy)
    }

    /// Destroys the key, for ever.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for a key that an allotment holds.
    pub fn destroy(self) -> Result<(), Error> {
        self.handle().destroy()
    }
}
