//! TLS as both ends speak it: version 1.3 (RFC 8446) with ring, HTTP/2, certificates from one root
//! on both sides.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    time_provider::TimeProvider,
};

/// HTTP/2 (RFC 9113, section 3.2); a peer that does not choose it is refused.
pub(crate) const ALPN: &[u8] = b"h2";

/// Who one end is: its chain, leaf first, without the root, and the leaf's private key.
pub(crate) struct Identity<'a> {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key_pkcs8: &'a [u8],
}

/// What tells the time, in milliseconds since the epoch.
pub(crate) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// The host's side. A client without a certificate under `root` gets no connection.
///
/// Certificates are judged by `clock`, the clock that everything else is judged by. Sessions are
/// not resumed: a resumed one would rest on a certificate that was checked long ago.
pub(crate) fn server(
    root: Vec<u8>,
    identity: Identity<'_>,
    clock: Clock,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store(root)?), provider())
        .build()
        .map_err(|_| rustls::Error::General("the trust root cannot be used".to_owned()))?;
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(SiteTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(identity.chain), key(identity.key_pkcs8))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The client's side: trusts `root` alone and shows its own chain.
pub(crate) fn client(
    root: Vec<u8>,
    identity: Identity<'_>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store(root)?)
        .with_client_auth_cert(chain(identity.chain), key(identity.key_pkcs8))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn store(root: Vec<u8>) -> Result<RootCertStore, rustls::Error> {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from(root))?;
    Ok(store)
}

fn chain(ders: Vec<Vec<u8>>) -> Vec<CertificateDer<'static>> {
    ders.into_iter().map(CertificateDer::from).collect()
}

fn key(pkcs8: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()))
}

/// The clock, as rustls asks for it.
struct SiteTime(Clock);

impl TimeProvider for SiteTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis((self.0)())))
    }
}

impl fmt::Debug for SiteTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteTime")
    }
}

/// The clock `now` for a client of a test.
#[cfg(test)]
pub(crate) fn at(now: fn() -> u64) -> Arc<dyn TimeProvider> {
    Arc::new(SiteTime(Box::new(now)))
}

/// No certificate, for a client of a test.
#[cfg(test)]
pub(crate) fn nobody() -> Arc<dyn rustls::client::ResolvesClientCert> {
    #[derive(Debug)]
    struct Nobody;

    impl rustls::client::ResolvesClientCert for Nobody {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }

        fn has_certs(&self) -> bool {
            false
        }
    }

    Arc::new(Nobody)
}
