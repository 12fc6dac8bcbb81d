//! Names of clusters and of what belongs to them, as SPIFFE ids.
//!
//! `spiffe://<organisation>/headquarters/<name>` or `spiffe://<organisation>/site/<name>` is a
//! cluster, and a leaf adds `/<kind>/<name>`. The text form is parsed strictly: it has exactly
//! one spelling, so that equal names are equal bytes.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The longest text form that is parsed (the SPIFFE id specification allows 2048).
pub const SPIFFE_BYTES_MAX: usize = 255;

/// A cluster: whose it is, what it does, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterPath {
    organization: String,
    role: ClusterRole,
    name: String,
}

impl ClusterPath {
    /// The cluster of that name.
    pub fn new(organization: &str, role: ClusterRole, name: &str) -> Result<Self, Error> {
        if !is_organization(organization) || !is_name(name) {
            return Err(Error::Name);
        }
        Ok(Self { organization: organization.into(), role, name: name.into() })
    }

    /// The organisation: the trust domain, and the last label of all DNS names.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// What the cluster does.
    #[must_use]
    pub fn role(&self) -> ClusterRole {
        self.role
    }

    /// The cluster's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The DNS name that the cluster's CA is constrained to: `<cluster>.<organisation>`.
    #[must_use]
    pub fn dns_name(&self) -> String {
        format!("{}.{}", self.name, self.organization)
    }

    /// The leaf of that kind and name below this cluster.
    pub fn leaf(&self, kind: LeafKind, name: &str) -> Result<SpiffeId, Error> {
        SpiffeId::new(self.clone(), Some((kind, name)))
    }
}

impl fmt::Display for ClusterPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { organization, role, name } = self;
        write!(formatter, "{SCHEME}{organization}/{}/{name}", role.name())
    }
}

impl FromStr for ClusterPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let id = text.parse::<SpiffeId>()?;
        if id.leaf.is_some() { Err(Error::Name) } else { Ok(id.cluster) }
    }
}

/// What a cluster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterRole {
    /// Makes entitlements and takes the audit.
    Headquarters,
    /// Provisions devices.
    Site,
}

impl ClusterRole {
    /// Both roles.
    pub const ALL: [Self; 2] = [Self::Headquarters, Self::Site];

    /// The role's segment in a path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Headquarters => "headquarters",
            Self::Site => "site",
        }
    }

    /// The role of that segment.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What a leaf of a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafKind {
    /// A host process, on the network.
    Node,
    /// The host's own signature.
    Custody,
    /// The host's key for what is sealed to it.
    Transfer,
    /// A plugin.
    Plugin,
    /// A person who administers the cluster.
    Admin,
    /// A person who reads reports.
    Auditor,
    /// A person on the line.
    Operator,
    /// A tester program.
    Station,
    /// Somebody who signs plugin releases.
    Publisher,
}

impl LeafKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Node,
        Self::Custody,
        Self::Transfer,
        Self::Plugin,
        Self::Admin,
        Self::Auditor,
        Self::Operator,
        Self::Station,
        Self::Publisher,
    ];

    /// The kind's segment in a path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Custody => "custody",
            Self::Transfer => "transfer",
            Self::Plugin => "plugin",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Station => "station",
            Self::Publisher => "publisher",
        }
    }

    /// The kind of that segment.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A cluster, or a leaf below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    cluster: ClusterPath,
    leaf: Option<(LeafKind, String)>,
}

impl SpiffeId {
    /// The cluster itself, or the leaf of that kind and name below it.
    pub fn new(cluster: ClusterPath, leaf: Option<(LeafKind, &str)>) -> Result<Self, Error> {
        if leaf.is_some_and(|(_, name)| !is_name(name)) {
            return Err(Error::Name);
        }
        Ok(Self { cluster, leaf: leaf.map(|(kind, name)| (kind, name.into())) })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &ClusterPath {
        &self.cluster
    }

    /// Kind and name of the leaf; none for the cluster itself.
    #[must_use]
    pub fn leaf(&self) -> Option<(LeafKind, &str)> {
        self.leaf.as_ref().map(|(kind, name)| (*kind, name.as_str()))
    }

    /// The DNS name: `<leaf>.<kind>.<cluster>.<organisation>`, or the cluster's.
    #[must_use]
    pub fn dns_name(&self) -> String {
        let cluster = self.cluster.dns_name();
        match &self.leaf {
            None => cluster,
            Some((kind, name)) => format!("{name}.{}.{cluster}", kind.name()),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cluster.fmt(formatter)?;
        match &self.leaf {
            None => Ok(()),
            Some((kind, name)) => write!(formatter, "/{}/{name}", kind.name()),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > SPIFFE_BYTES_MAX {
            return Err(Error::Name);
        }
        let path = text.strip_prefix(SCHEME).ok_or(Error::Name)?;
        let segments = path.split('/').collect::<Vec<_>>();
        let (cluster, leaf) = match segments[..] {
            [organization, role, name] => ((organization, role, name), None),
            [organization, role, name, kind, leaf] => {
                let kind = LeafKind::from_name(kind).ok_or(Error::Name)?;
                ((organization, role, name), Some((kind, leaf)))
            }
            _ => return Err(Error::Name),
        };
        let role = ClusterRole::from_name(cluster.1).ok_or(Error::Name)?;
        Self::new(ClusterPath::new(cluster.0, role, cluster.2)?, leaf)
    }
}

const SCHEME: &str = "spiffe://";

/// 1 to 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends: also a DNS label.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// As a name, but not of digits alone: as last label of a DNS name that would be an address.
fn is_organization(name: &str) -> bool {
    is_name(name) && name.bytes().any(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_and_each_kind_of_leaf_parse_to_what_was_written() {
        let cluster = ClusterPath::new("acme", ClusterRole::Site, "shenzhen").unwrap();
        assert_eq!(cluster.to_string(), "spiffe://acme/site/shenzhen");
        assert_eq!(cluster.to_string().parse(), Ok(cluster.clone()));
        for kind in LeafKind::ALL {
            let id = cluster.leaf(kind, "a-1").unwrap();
            let text = format!("spiffe://acme/site/shenzhen/{}/a-1", kind.name());
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id.clone()));
            assert_eq!(id.dns_name(), format!("a-1.{}.shenzhen.acme", kind.name()));
            assert!(text.parse::<ClusterPath>().is_err());
        }
    }

    #[test]
    fn k10_every_other_spelling_is_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe://acme",
            "spiffe://acme/site",
            "spiffe://acme/site/",
            "spiffe://acme/site/x/",
            "spiffe://acme/site/x/node",
            "spiffe://acme/site/x/node/",
            "spiffe://acme/site/x/node/a/",
            "spiffe://acme/site/x/node/a/b",
            "spiffe://acme/site/x//a",
            "spiffe://acme/site/x/root/a",
            "spiffe://acme/factory/x",
            "spiffe://acme/Site/x",
            "SPIFFE://acme/site/x",
            "spiffe://ACME/site/x",
            "spiffe://acme/site/x y",
            "spiffe://acme/site/x%20",
            "spiffe://acme/site/..",
            "spiffe://acme/site/-x",
            "spiffe://acme/site/x-",
            "spiffe://acme/site/x\0",
            "spiffe://acme/site/\u{e9}",
            "spiffe://acme:1/site/x",
            "spiffe://user@acme/site/x",
            "spiffe://acme/site/x?a",
            "spiffe://acme/site/x#a",
            "spiffe://127/site/x",
            " spiffe://acme/site/x",
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(Error::Name), "{text:?}");
        }
    }

    #[test]
    fn names_of_63_are_taken_and_of_64_refused() {
        let longest = "a".repeat(63);
        let cluster = ClusterPath::new(&longest, ClusterRole::Headquarters, &longest).unwrap();
        let id = cluster.leaf(LeafKind::Publisher, &longest).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        let longer = "a".repeat(64);
        assert!(ClusterPath::new(&longer, ClusterRole::Site, "x").is_err());
        assert!(ClusterPath::new("x", ClusterRole::Site, &longer).is_err());
        assert!(cluster.leaf(LeafKind::Node, &longer).is_err());
    }

    proptest::proptest! {
        #[test]
        fn whatever_parses_is_its_own_spelling(text in "spiffe://[a-z0-9/.-]{0,40}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                proptest::prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
