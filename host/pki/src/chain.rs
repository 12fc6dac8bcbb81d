//! Decides whether a chain is believed: the one way from bytes to an identity.
//!
//! rustls-webpki builds the path and checks signatures, times, path lengths and name constraints
//! (RFC 5280, 6). What no general verifier knows is checked here: that each name is a SPIFFE id,
//! that a leaf's extends its issuer's, and that a key is used for the one purpose that its
//! certificate states.

use std::time::Duration;

use der::asn1::ObjectIdentifier;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::name::GeneralName;

use crate::certificate::CERTIFICATE_BYTES_MAX;
use crate::issue::{CLIENT_AUTH, LeafUsage, SERVER_AUTH, TrustKind};
use crate::subject::ORGANIZATIONAL_UNIT;
use crate::{Certificate, ClusterPath, Error, LeafKind, SpiffeId};

/// The most certificates in a chain, the root included where it is sent.
pub const CHAIN_LEN_MAX: usize = 4;

/// Why a chain is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate, too many, or one that is too long.
    #[error("the chain is empty or too long")]
    Size,
    /// A certificate is not well-formed.
    #[error("a certificate is not well-formed")]
    Encoding,
    /// A certificate of the path is not valid yet.
    #[error("a certificate is not valid yet")]
    NotYetValid,
    /// A certificate of the path is not valid any more.
    #[error("a certificate has expired")]
    Expired,
    /// No path leads from the leaf to the root.
    #[error("no path leads to the root")]
    Untrusted,
    /// A name is no SPIFFE id, does not extend its issuer's, or lies outside of a constraint.
    #[error("a name is not one that its issuer may certify")]
    Name,
    /// A certificate is not for what it is used for.
    #[error("a certificate is not for this use")]
    Usage,
}

/// What a leaf is about to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// As server in TLS.
    ServerAuth,
    /// As client in TLS.
    ClientAuth,
    /// For what its purpose says; the caller looks at [`VerifiedChain::usage`].
    Any,
}

impl Usage {
    fn required(self) -> Option<ObjectIdentifier> {
        match self {
            Self::ServerAuth => Some(SERVER_AUTH),
            Self::ClientAuth => Some(CLIENT_AUTH),
            Self::Any => None,
        }
    }
}

/// The one root that a host accepts.
#[derive(Clone)]
pub struct TrustRoot {
    certificate: Certificate,
    anchor: TrustAnchor<'static>,
    organization: String,
    kind: TrustKind,
}

impl TrustRoot {
    /// Reads a root's certificate: self-signed, a CA, with organisation and kind.
    ///
    /// Whoever calls this has decided to trust it.
    pub fn new(der: &[u8]) -> Result<Self, ChainError> {
        let certificate = Certificate::parse(der).map_err(|_| ChainError::Encoding)?;
        let anchor = self_signed_anchor(&certificate)?;
        let organization = certificate.organization().ok().flatten();
        let kind = certificate.attribute(ORGANIZATIONAL_UNIT).ok().flatten();
        let kind = kind.and_then(|kind| TrustKind::from_name(&kind));
        Ok(Self {
            organization: organization.ok_or(ChainError::Name)?,
            kind: kind.ok_or(ChainError::Usage)?,
            certificate,
            anchor,
        })
    }

    /// The root's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whose root it is.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// Whether it certifies for the market or for trying out.
    #[must_use]
    pub fn kind(&self) -> TrustKind {
        self.kind
    }

    /// Checks a chain, leaf first, as of a moment, for a use.
    ///
    /// The path is leaf, cluster CA, root; the root itself may be in the chain or not.
    pub fn verify(
        &self,
        chain: &[impl AsRef<[u8]>],
        at_ms: u64,
        usage: Usage,
    ) -> Result<VerifiedChain, ChainError> {
        check_window(&self.certificate, at_ms)?;
        let path = verify_path(&self.anchor, chain, at_ms)?;
        let [issuer] = path.intermediates.as_slice() else { return Err(ChainError::Untrusted) };
        let cluster = self.check_cluster(issuer)?;
        let id = path.leaf.spiffe_id().map_err(|_| ChainError::Name)?;
        let (kind, _) = id.leaf().ok_or(ChainError::Name)?;
        if *id.cluster() != cluster {
            return Err(ChainError::Name);
        }
        let leaf_usage = leaf_usage(&path.leaf, kind)?;
        if usage.required().is_some_and(|oid| !leaf_usage.extended(kind).contains(&oid)) {
            return Err(ChainError::Usage);
        }
        let measurement = path.leaf.measurement().map_err(|_| ChainError::Encoding)?;
        let cluster_digest = issuer.digest();
        Ok(VerifiedChain { leaf: path.leaf, id, usage: leaf_usage, measurement, cluster_digest })
    }

    /// Checks the certificate of a cluster's CA, as of a moment.
    pub fn verify_cluster(&self, der: &[u8], at_ms: u64) -> Result<VerifiedCluster, ChainError> {
        let certificate = Certificate::parse(der).map_err(|_| ChainError::Encoding)?;
        check_window(&self.certificate, at_ms)?;
        check_window(&certificate, at_ms)?;
        if certificate.issuer() != self.certificate.subject() {
            return Err(ChainError::Untrusted);
        }
        let signed = certificate.check_signature(self.certificate.public_key_info());
        signed.map_err(|_| ChainError::Untrusted)?;
        let path = self.check_cluster(&certificate)?;
        Ok(VerifiedCluster { certificate, path })
    }

    /// The path of a cluster CA whose signature was checked: it must be able to certify leaves
    /// of this organisation's cluster and nothing else.
    fn check_cluster(&self, certificate: &Certificate) -> Result<ClusterPath, ChainError> {
        let id = certificate.spiffe_id().map_err(|_| ChainError::Name)?;
        if id.leaf().is_some() || id.cluster().organization() != self.organization {
            return Err(ChainError::Name);
        }
        if certificate.path_len() != Ok(Some(Some(0))) {
            return Err(ChainError::Usage);
        }
        let constraints = certificate.name_constraints().map_err(|_| ChainError::Encoding)?;
        if !constraints.is_some_and(|found| permits_only(&found, &id.dns_name())) {
            return Err(ChainError::Name);
        }
        Ok(id.cluster().clone())
    }
}

/// A chain that was believed. Only [`TrustRoot::verify`] makes one.
#[derive(Clone)]
pub struct VerifiedChain {
    leaf: Certificate,
    id: SpiffeId,
    usage: LeafUsage,
    measurement: Option<[u8; 32]>,
    cluster_digest: [u8; 32],
}

impl VerifiedChain {
    /// Who it is. There is always a leaf.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The leaf's kind.
    #[must_use]
    pub fn kind(&self) -> LeafKind {
        let (kind, _) = self.id.leaf().expect("only leaves are verified");
        kind
    }

    /// The leaf's name.
    #[must_use]
    pub fn name(&self) -> &str {
        let (_, name) = self.id.leaf().expect("only leaves are verified");
        name
    }

    /// What the leaf's key is for.
    #[must_use]
    pub fn usage(&self) -> LeafUsage {
        self.usage
    }

    /// The leaf's key: SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key_info(&self) -> &[u8] {
        self.leaf.public_key_info()
    }

    /// The measurement that a plugin's certificate states.
    #[must_use]
    pub fn measurement(&self) -> Option<[u8; 32]> {
        self.measurement
    }

    /// The leaf's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.leaf
    }

    /// SHA-256 of the leaf's certificate.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.leaf.digest()
    }

    /// SHA-256 of the certificate of the leaf's cluster CA.
    #[must_use]
    pub fn cluster_digest(&self) -> [u8; 32] {
        self.cluster_digest
    }
}

/// The certificate of a cluster's CA that was believed. Only [`TrustRoot::verify_cluster`] makes
/// one.
#[derive(Clone)]
pub struct VerifiedCluster {
    certificate: Certificate,
    path: ClusterPath,
}

impl VerifiedCluster {
    /// Which cluster it is.
    #[must_use]
    pub fn path(&self) -> &ClusterPath {
        &self.path
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// A path whose signatures, times, path lengths and name constraints were checked.
pub(crate) struct Path {
    pub(crate) leaf: Certificate,
    /// From the leaf's issuer upwards, without the root.
    pub(crate) intermediates: Vec<Certificate>,
}

/// Finds and checks the path from a leaf to an anchor.
pub(crate) fn verify_path(
    anchor: &TrustAnchor<'_>,
    chain: &[impl AsRef<[u8]>],
    at_ms: u64,
) -> Result<Path, ChainError> {
    let chain = chain.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>();
    // Before anything is parsed: what follows costs time in the number and length of them.
    if chain.len() > CHAIN_LEN_MAX || chain.iter().any(|der| der.len() > CERTIFICATE_BYTES_MAX) {
        return Err(ChainError::Size);
    }
    let (leaf_der, intermediates) = chain.split_first().ok_or(ChainError::Size)?;
    let leaf = Certificate::parse(leaf_der).map_err(|_| ChainError::Encoding)?;
    let leaf_der = CertificateDer::from(*leaf_der);
    let intermediates =
        intermediates.iter().map(|der| CertificateDer::from(*der)).collect::<Vec<_>>();
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(chain_error)?;
    let anchors = [anchor.clone()];
    let at = UnixTime::since_unix_epoch(Duration::from_millis(at_ms));
    let path = end_entity
        .verify_for_usage(ALGORITHMS, &anchors, &intermediates, at, EveryUsage, None, None)
        .map_err(chain_error)?;
    let intermediates = path
        .intermediate_certificates()
        .map(|intermediate| Certificate::parse(&intermediate.der()))
        .collect::<Result<Vec<_>, Error>>()
        .map_err(|_| ChainError::Encoding)?;
    Ok(Path { leaf, intermediates })
}

/// The anchor that a self-signed CA's certificate is.
pub(crate) fn self_signed_anchor(
    certificate: &Certificate,
) -> Result<TrustAnchor<'static>, ChainError> {
    if certificate.issuer() != certificate.subject() {
        return Err(ChainError::Untrusted);
    }
    let signed = certificate.check_signature(certificate.public_key_info());
    signed.map_err(|_| ChainError::Untrusted)?;
    if !matches!(certificate.path_len(), Ok(Some(_))) {
        return Err(ChainError::Usage);
    }
    let der = CertificateDer::from(certificate.der());
    let anchor = webpki::anchor_from_trusted_cert(&der).map_err(chain_error)?;
    Ok(anchor.to_owned())
}

/// Whether a certificate is valid at a moment. webpki does not look at an anchor's window.
pub(crate) fn check_window(certificate: &Certificate, at_ms: u64) -> Result<(), ChainError> {
    if certificate.validity().contains_ms(at_ms) {
        Ok(())
    } else if at_ms < certificate.validity().not_before_ms() {
        Err(ChainError::NotYetValid)
    } else {
        Err(ChainError::Expired)
    }
}

/// The algorithms of [`mintmark_crypto::sign::SignatureAlgorithm`], and no other.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[webpki::ring::ECDSA_P256_SHA256, webpki::ring::ECDSA_P384_SHA384, webpki::ring::ED25519];

/// Leaves extended key usage to [`leaf_usage`]: webpki would ask it of the CAs, too.
struct EveryUsage;

impl ExtendedKeyUsageValidator for EveryUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// What a leaf's key is for: the one use whose key usage and extended key usage it has exactly.
fn leaf_usage(leaf: &Certificate, kind: LeafKind) -> Result<LeafUsage, ChainError> {
    let key_usage = leaf.key_usage().map_err(|_| ChainError::Encoding)?;
    let key_usage = key_usage.ok_or(ChainError::Usage)?;
    let extended = leaf.extended_key_usage().map_err(|_| ChainError::Encoding)?;
    let is_it = |usage: &LeafUsage| {
        usage.is_for(kind)
            && key_usage.0 == usage.key_usage()
            && extended == usage.extended(kind)
            && usage.fits_key(leaf.public_key_info())
    };
    [LeafUsage::Tls, LeafUsage::Signing, LeafUsage::Encryption]
        .into_iter()
        .find(is_it)
        .ok_or(ChainError::Usage)
}

/// Whether the constraints permit one DNS name and what lies below it, and exclude nothing.
fn permits_only(constraints: &NameConstraints, dns_name: &str) -> bool {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    match permitted {
        [subtree] => {
            constraints.excluded_subtrees.is_none()
                && matches!(&subtree.base, GeneralName::DnsName(name) if name.as_str() == dns_name)
        }
        _ => false,
    }
}

fn chain_error(error: webpki::Error) -> ChainError {
    use webpki::Error as Cause;
    match error {
        Cause::CertNotValidYet { .. } => ChainError::NotYetValid,
        Cause::CertExpired { .. } => ChainError::Expired,
        Cause::NameConstraintViolation => ChainError::Name,
        Cause::BadDer | Cause::BadDerTime | Cause::TrailingData(_) => ChainError::Encoding,
        Cause::CaUsedAsEndEntity => ChainError::Usage,
        _ => ChainError::Untrusted,
    }
}

#[cfg(test)]
mod tests;
