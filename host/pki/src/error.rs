//! Why a certificate or a request was not made, or could not be read.

use crate::csr::CsrError;

/// Why a certificate or a request was not made, or could not be read. No variant carries input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name of an organisation, cluster or leaf breaks the rules for names.
    #[error("a name breaks the rules for names")]
    Name,
    /// An attribute of a subject is empty, too long or holds characters that it must not.
    #[error("an attribute of the subject is not allowed")]
    Subject,
    /// A window ends before it begins, or lies beyond the year 9999.
    #[error("the validity is not a window of time that a certificate can state")]
    Validity,
    /// A certificate would say more than its issuer may: another cluster, unit or window.
    #[error("the certificate would lie outside of what its issuer may certify")]
    OutsideIssuer,
    /// The signing key is not the key of the issuer's certificate.
    #[error("the key is not the issuer's")]
    IssuerKey,
    /// The subject's key is of a kind that does not fit what the certificate is for.
    #[error("the key does not fit the purpose")]
    SubjectKey,
    /// This kind of leaf has no certificate for this use.
    #[error("this kind of leaf is not certified for this use")]
    Usage,
    /// Bytes are not a certificate of a profile that is read here.
    #[error("not a certificate of a known profile")]
    Certificate,
    /// The certificate request was refused.
    #[error("the certificate request was refused")]
    Csr(#[source] CsrError),
}

impl From<CsrError> for Error {
    fn from(error: CsrError) -> Self {
        Self::Csr(error)
    }
}
