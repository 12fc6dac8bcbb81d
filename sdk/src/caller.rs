//! On whose behalf the call is made. The host has already checked that the role may call the
//! method.

use crate::backend::{self, Caller as _};

/// Who calls, from the client certificate's SPIFFE URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Principal {
    /// The organisation: the trust domain of the URI.
    pub organization: String,
    /// `headquarters/berlin` or `site/shenzhen`.
    pub cluster: String,
    /// `admin`, `operator`, `auditor`, `publisher` or `station`.
    pub role: String,
    /// The name within the role.
    pub name: String,
}

impl Principal {
    /// A principal from its four parts.
    pub fn new(
        organization: impl Into<String>,
        cluster: impl Into<String>,
        role: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            organization: organization.into(),
            cluster: cluster.into(),
            role: role.into(),
            name: name.into(),
        }
    }

    /// The SPIFFE URI, such as `spiffe://acme/site/shenzhen/station/line-4`.
    pub fn uri(&self) -> String {
        format!("{}/{}/{}", self.cluster_uri(), self.role, self.name)
    }

    /// The SPIFFE URI of the cluster, such as `spiffe://acme/site/shenzhen`.
    pub fn cluster_uri(&self) -> String {
        format!("spiffe://{}/{}", self.organization, self.cluster)
    }
}

/// Who calls.
pub fn current() -> Principal {
    backend::caller().current()
}

/// Names this call in logs and in the ledger: 16 bytes in hexadecimal.
pub fn request_id() -> String {
    backend::caller().request_id()
}

/// Milliseconds until the call is ended. Long work asks, and goes on in the next call.
pub fn time_left_ms() -> u64 {
    backend::caller().time_left_ms()
}
