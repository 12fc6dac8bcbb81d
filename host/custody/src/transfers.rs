//! Orders between hosts: grants with keys, receipts, directives and closing statements.
//!
//! Plugins carry them as opaque bytes. What widens a right is decided here, from bytes that another
//! host signed, never by what a plugin says that it read.

mod adopting;
mod closing;
mod directives;
mod granted;
mod granting;
mod importing;
mod receipts;

use mintmark_model::Refusal;

use crate::call::Call;

pub(crate) use directives::batch_ca_of;
pub(crate) use granting::number_place;
pub(crate) use importing::{remembered, taken_digests};

/// The HPKE `info` of key packages.
const PACKAGE_INFO: &[u8] = b"mintmark key package v1";

impl Call {
    /// Whether the manifest claims this transfer.
    pub(crate) fn check_claim(&self, claim: &str) -> Result<(), Refusal> {
        if self.plugin()?.transfers.iter().any(|claimed| claimed == claim) {
            return Ok(());
        }
        Err(Refusal::denied("The plugin's manifest does not claim this transfer."))
    }
}
