//! Plugins of other clusters: imported by an admin, or learned from a message that was opened.

use crate::{
    Digest,
    backend::{self, Peers as _},
    error::Error,
};

/// Who a plugin of another cluster is. Every field comes from verified certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `spiffe://<org>/site/<name>` or `spiffe://<org>/headquarters/<name>`.
    pub cluster: String,
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component.
    pub measurement: Digest,
    /// What the peer's platform says of itself, such as `software-emulated`; empty where it is not
    /// known.
    pub hardware_model: String,
}

/// The identity of `plugin` in `cluster`: a SPIFFE URI, or `<role>/<name>`.
///
/// # Errors
/// [`Error::NotFound`].
pub fn identity(cluster: &str, plugin: &str) -> Result<Identity, Error> {
    backend::peers().get(cluster, plugin)
}

/// The clusters that are known, as SPIFFE URIs, in order.
///
/// # Errors
/// [`Error::Unavailable`] for a store that cannot answer.
pub fn clusters() -> Result<Vec<String>, Error> {
    backend::peers().clusters()
}
