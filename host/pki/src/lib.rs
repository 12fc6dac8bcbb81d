//! Certificate profiles, issuing, certificate requests and chain verification.
//!
//! There are two trees. In the first, one offline root certifies clusters, and each cluster's CA
//! certifies leaves ([`issue`]); every leaf is named by a SPIFFE id below its cluster's
//! ([`name`]), and [`chain`] is the only place that decides whether one is believed. In the
//! second, a product CA certifies one batch CA for each entitlement, and that certifies devices
//! ([`device`]), and says which of them count no more ([`crl`]).
//!
//! What a certificate request asks for is never copied into a certificate, except its key, and
//! only after [`csr::VerifiedCsr`] has seen a proof of possession.

pub mod certificate;
pub mod chain;
pub mod crl;
pub mod csr;
pub mod device;
mod error;
pub mod issue;
mod measurement;
pub mod name;
pub mod request;
mod subject;
mod template;
pub mod validity;

pub use crate::certificate::{Certificate, fingerprint};
pub use crate::chain::{ChainError, TrustRoot, Usage, VerifiedChain, VerifiedCluster};
pub use crate::crl::{RevocationReason, Revoked, revocation_list};
pub use crate::csr::{CsrError, VerifiedCsr};
pub use crate::device::{Batch, DeviceProfile, DeviceSerial, VerifiedDevice, verify_device};
pub use crate::error::Error;
pub use crate::issue::{LeafUsage, TrustKind};
pub use crate::name::{ClusterPath, ClusterRole, LeafKind, SpiffeId};
pub use crate::validity::Validity;
