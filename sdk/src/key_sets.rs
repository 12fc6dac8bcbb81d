//! Many device keys under one handle. A set hands out keys only through units of an allotment.

use crate::{
    backend::{self, KeySetHandle as _, KeySets as _, held},
    error::Error,
    keys::{Algorithm, Recipients},
};

/// What is known about a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetAttributes {
    /// The set's name.
    pub name: String,
    /// The algorithm of the device keys.
    pub algorithm: Algorithm,
    /// How many keys the set stands for.
    pub size: u64,
}

/// A set of device keys of this plugin.
pub struct KeySet {
    pub(crate) handle: held::KeySet,
}

backend::handle!(KeySet, KeySetHandle);

impl KeySet {
    /// Opens a set of this plugin.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn open(name: &str) -> Result<Self, Error> {
        backend::key_sets().open(name)
    }

    /// Makes a derived set: one secret, from which the host derives the key of each unit by its
    /// number. `size` is from 1 to 2^40; `algorithm` is ECDSA P-256 or Ed25519.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`; `INVALID_ARGUMENT`; `WRONG_STATE` for a name that is taken.
    pub fn generate(
        name: &str,
        algorithm: Algorithm,
        size: u64,
        recipients: &Recipients,
    ) -> Result<Self, Error> {
        backend::key_sets().generate(name, algorithm.as_str(), size, recipients)
    }

    /// What is known about the set.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a store that cannot answer.
    pub fn attributes(&self) -> Result<KeySetAttributes, Error> {
        self.handle().attributes()
    }

    /// Destroys the set, for ever.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for a set that an allotment holds.
    pub fn destroy(self) -> Result<(), Error> {
        self.handle().destroy()
    }
}
