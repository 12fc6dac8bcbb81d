//! Issues the certificates of the first tree: root, clusters, and the leaves of a cluster.

use der::asn1::{Ia5String, ObjectIdentifier};
use mintmark_crypto::hpke::Suite;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsages, NameConstraints};
use x509_cert::name::Name;

use crate::subject::{self, COMMON_NAME, ORGANIZATION, ORGANIZATIONAL_UNIT};
use crate::template::{EXTENDED_KEY_USAGE, NAME_CONSTRAINTS, Template};
use crate::{
    Certificate, ClusterPath, Error, LeafKind, SpiffeId, Validity, VerifiedCsr, measurement,
    request,
};

/// Whether what a root certifies is meant for the market or for trying out.
///
/// It stands in the root's subject, so that every viewer shows it; a host accepts one root, and
/// production and trial never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrustKind {
    /// Devices made under this root are sold.
    Production,
    /// Everything made under this root is for tests.
    Trial,
}

impl TrustKind {
    /// The word in the root's subject.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Trial => "trial",
        }
    }

    /// The kind of that word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Production, Self::Trial].into_iter().find(|kind| kind.name() == name)
    }
}

/// What a leaf's key is for: one key, one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeafUsage {
    /// Mutual TLS: nodes as server and client, people and stations as clients.
    Tls,
    /// Signatures over statements.
    Signing,
    /// Opening what is sealed with HPKE.
    Encryption,
}

impl LeafUsage {
    /// Whether leaves of that kind have certificates for this use.
    #[must_use]
    pub fn is_for(self, kind: LeafKind) -> bool {
        match kind {
            LeafKind::Node => self == Self::Tls,
            LeafKind::Custody => self == Self::Signing,
            LeafKind::Transfer => self == Self::Encryption,
            LeafKind::Plugin => matches!(self, Self::Signing | Self::Encryption),
            LeafKind::Station => matches!(self, Self::Tls | Self::Encryption),
            LeafKind::Admin | LeafKind::Auditor | LeafKind::Operator | LeafKind::Publisher => {
                matches!(self, Self::Tls | Self::Signing)
            }
        }
    }

    /// Whether a public key is of a kind that can do this.
    pub(crate) fn fits_key(self, public_key_info: &[u8]) -> bool {
        match self {
            Self::Tls | Self::Signing => {
                SignatureAlgorithm::for_public_key(public_key_info).is_ok()
            }
            Self::Encryption => Suite::for_public_key(public_key_info).is_ok(),
        }
    }

    /// The extended key usages of a leaf of that kind, exactly.
    pub(crate) fn extended(self, kind: LeafKind) -> &'static [ObjectIdentifier] {
        match (self, kind) {
            (Self::Tls, LeafKind::Node) => &[SERVER_AUTH, CLIENT_AUTH],
            (Self::Tls, _) => &[CLIENT_AUTH],
            (Self::Signing | Self::Encryption, _) => &[],
        }
    }

    /// The one key usage.
    pub(crate) fn key_usage(self) -> KeyUsages {
        match self {
            Self::Tls | Self::Signing => KeyUsages::DigitalSignature,
            Self::Encryption => KeyUsages::KeyAgreement,
        }
    }
}

/// The organisation's root: self-signed, with the kind in its subject.
pub fn root_ca(
    key: &SigningKey,
    organization: &str,
    kind: TrustKind,
    validity: Validity,
) -> Result<Vec<u8>, Error> {
    // Refuses what could not be the organisation of any cluster.
    ClusterPath::new(organization, crate::ClusterRole::Site, "x")?;
    let common_name = format!("{organization} root");
    // A common name has at most 64 characters, and an organisation 63.
    let common_name = if common_name.len() > 64 { organization } else { &common_name };
    let subject = subject::name(&[
        (ORGANIZATION, organization),
        (ORGANIZATIONAL_UNIT, kind.name()),
        (COMMON_NAME, common_name),
    ])?;
    Template::new(subject, key.public_key_info(), validity)?
        .certificate_authority(None)?
        .self_signed(key)
}

/// A cluster's request for the certificate of its CA.
pub fn cluster_csr(key: &SigningKey, cluster: &ClusterPath) -> Result<Vec<u8>, Error> {
    request::sign(key, cluster_subject(cluster)?)
}

/// The certificate of a cluster's CA, signed by the root.
///
/// `csr` gives the key alone. The CA can certify no other CA, and is constrained to the cluster's
/// DNS name, so that any verifier stops one cluster from speaking for another.
pub fn sign_cluster(
    root_key: &SigningKey,
    root_certificate: &[u8],
    csr: &[u8],
    cluster: &ClusterPath,
    validity: Validity,
) -> Result<Vec<u8>, Error> {
    let root = Certificate::parse(root_certificate)?;
    if root.organization()?.as_deref() != Some(cluster.organization()) {
        return Err(Error::OutsideIssuer);
    }
    let csr = VerifiedCsr::check(csr)?;
    let permitted = GeneralSubtree {
        base: GeneralName::DnsName(ia5(&cluster.dns_name())?),
        minimum: 0,
        maximum: None,
    };
    let constraints =
        NameConstraints { permitted_subtrees: Some(vec![permitted]), excluded_subtrees: None };
    Template::new(cluster_subject(cluster)?, csr.public_key_info(), validity)?
        .certificate_authority(Some(0))?
        .encoded(NAME_CONSTRAINTS, true, &constraints)?
        .alternative_names(&alternative_names(&SpiffeId::new(cluster.clone(), None)?)?)?
        .signed_by(root_key, &root)
}

/// The certificate of a leaf, signed by its cluster's CA.
///
/// `measurement` is the digest of the plugin's component, in a plugin's certificates.
pub fn leaf(
    cluster_key: &SigningKey,
    cluster_certificate: &[u8],
    id: &SpiffeId,
    public_key_info: &[u8],
    usage: LeafUsage,
    measurement: Option<&[u8; 32]>,
    validity: Validity,
) -> Result<Vec<u8>, Error> {
    let issuer = Certificate::parse(cluster_certificate)?;
    let issuer_id = issuer.spiffe_id()?;
    if issuer_id.cluster() != id.cluster() || issuer_id.leaf().is_some() {
        return Err(Error::OutsideIssuer);
    }
    let (kind, name) = id.leaf().ok_or(Error::Name)?;
    if !usage.is_for(kind) {
        return Err(Error::Usage);
    }
    if !usage.fits_key(public_key_info) {
        return Err(Error::SubjectKey);
    }
    let subject = subject::name(&[
        (ORGANIZATION, id.cluster().organization()),
        (ORGANIZATIONAL_UNIT, kind.name()),
        (COMMON_NAME, name),
    ])?;
    let mut template = Template::new(subject, public_key_info, validity)?
        .key_usage(usage.key_usage())?
        .alternative_names(&alternative_names(id)?)?;
    let extended = usage.extended(kind);
    if !extended.is_empty() {
        let extended = ExtendedKeyUsage(extended.to_vec());
        template = template.encoded(EXTENDED_KEY_USAGE, false, &extended)?;
    }
    if let Some(measurement) = measurement {
        template = template.extension(measurement::extension(measurement)?);
    }
    template.signed_by(cluster_key, &issuer)
}

pub(crate) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
pub(crate) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

fn cluster_subject(cluster: &ClusterPath) -> Result<Name, Error> {
    subject::name(&[
        (ORGANIZATION, cluster.organization()),
        (ORGANIZATIONAL_UNIT, cluster.role().name()),
        (COMMON_NAME, cluster.name()),
    ])
}

fn alternative_names(id: &SpiffeId) -> Result<[GeneralName; 2], Error> {
    Ok([
        GeneralName::UniformResourceIdentifier(ia5(&id.to_string())?),
        GeneralName::DnsName(ia5(&id.dns_name())?),
    ])
}

fn ia5(text: &str) -> Result<Ia5String, Error> {
    Ia5String::new(text).map_err(|_| Error::Name)
}
