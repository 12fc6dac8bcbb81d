//! On whose behalf something is done.

use std::fmt;

/// What a person or program is in a cluster. It comes from the path of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Cluster admin.
    Admin,
    /// Reads reports, verifies.
    Auditor,
    /// Line operator.
    Operator,
    /// Tester program.
    Station,
    /// Signs plugins.
    Publisher,
}

impl Role {
    /// Every role there is.
    pub const ALL: &[Self] =
        &[Self::Admin, Self::Auditor, Self::Operator, Self::Station, Self::Publisher];

    /// The role's segment in a SPIFFE path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Station => "station",
            Self::Publisher => "publisher",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }

    /// Whether it is a person, who answers for what he does, not a program.
    #[must_use]
    pub const fn is_person(self) -> bool {
        !matches!(self, Self::Station)
    }
}

/// Who calls: a role and a name in a cluster. Only the authenticator makes one, from a verified
/// certificate chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The organisation.
    pub organization: String,
    /// `headquarters/berlin` or `site/shenzhen`.
    pub cluster: String,
    /// What the principal is.
    pub role: Role,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role.name();
        write!(f, "spiffe://{}/{}/{role}/{}", self.organization, self.cluster, self.name)
    }
}
