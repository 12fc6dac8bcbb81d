//! The listener: accepts, serves, drains.

use std::{io, net::SocketAddr, sync::Arc};

use mintmark_custody::Custody;
use mintmark_model::Refusal;
use mintmark_runtime::Runtime;
use tokio::{net::TcpListener, sync::Notify};
use tonic::transport;

use crate::{
    acceptor::Acceptor,
    front::Front,
    host::Host,
    limits, services,
    tls::{self, Identity},
};

/// A host's gRPC server, bound to its address.
pub struct Server {
    custody: Custody,
    listener: TcpListener,
    local_addr: SocketAddr,
    acceptor: Acceptor,
    front: Front,
    host: Host,
}

/// Why there is no server, or no more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address.
    #[error("the listener cannot be used")]
    Listener(#[source] io::Error),
    /// Custody gave no certificate for TLS.
    #[error("there is no certificate for TLS")]
    Identity(#[source] Refusal),
    /// The host's certificates cannot be used for TLS.
    #[error("the host's certificates cannot be used for TLS")]
    Tls(#[source] rustls::Error),
    /// Serving ended by itself.
    #[error("serving failed")]
    Transport(#[source] transport::Error),
}

impl Server {
    /// Prepares to serve `custody` and the plugins of `runtime` on `listener`. Connections wait
    /// until [`Self::serve`].
    ///
    /// # Errors
    ///
    /// A listener without an address, or certificates that cannot be used.
    pub async fn bind(
        listener: TcpListener,
        custody: Custody,
        runtime: Runtime,
    ) -> Result<Self, ServeError> {
        let local_addr = listener.local_addr().map_err(ServeError::Listener)?;
        let acceptor = acceptor(&custody)?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let host = Host::new(custody.clone(), runtime, reporter);
        host.refresh().await;
        let front = Front::new(host.clone(), services::routes(&host, health));
        Ok(Self { custody, listener, local_addr, acceptor, front, host })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`, then lets running calls finish for at most [`limits::DRAIN_MAX`].
    ///
    /// # Errors
    ///
    /// What ended serving before `shutdown`.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let stopping = Arc::new(Notify::new());
        let told = Arc::clone(&stopping);
        let signal = async move {
            shutdown.await;
            told.notify_one();
        };
        let overdue = async {
            stopping.notified().await;
            tokio::time::sleep(limits::DRAIN_MAX).await;
        };
        let renewing = renew(&self.custody, &self.acceptor);
        let watching = watch(self.host.clone());
        let incoming = self.acceptor.clone().run(self.listener);
        let serving = settings().serve_with_incoming_shutdown(self.front, incoming, signal);
        tokio::select! {
            ended = serving => ended.map_err(ServeError::Transport),
            () = overdue => {
                tracing::warn!("calls that still run are given up");
                Ok(())
            }
            never = renewing => never,
            never = watching => never,
        }
    }
}

/// Who may connect is custody's to say.
fn acceptor(custody: &Custody) -> Result<Acceptor, ServeError> {
    let door = custody.clone();
    let authenticate = move |chain: &[Vec<u8>]| {
        door.authenticate(chain).map(|authenticated| authenticated.principal)
    };
    Ok(Acceptor::new(identity(custody)?, Arc::new(authenticate)))
}

/// The TLS settings with a new certificate of the node.
fn identity(custody: &Custody) -> Result<Arc<rustls::ServerConfig>, ServeError> {
    let made = custody.tls_identity().map_err(ServeError::Identity)?;
    let identity = Identity { chain: made.chain, key_pkcs8: made.private_key.expose() };
    let clock = custody.clone();
    tls::server(custody.trust_root(), identity, Box::new(move || clock.site_time_ms()))
        .map_err(ServeError::Tls)
}

/// A host that runs for longer than a certificate is valid presents new ones.
async fn renew<T>(custody: &Custody, acceptor: &Acceptor) -> T {
    loop {
        tokio::time::sleep(limits::IDENTITY_AGE_MAX).await;
        match identity(custody) {
            Ok(tls) => acceptor.renew(tls),
            Err(error) => tracing::error!(%error, "the host's TLS certificate was not renewed"),
        }
    }
}

/// Health hears of a disk that fills up also where nobody calls.
async fn watch<T>(host: Host) -> T {
    loop {
        tokio::time::sleep(limits::WATCH_INTERVAL).await;
        host.notice().await;
    }
}

/// tonic's settings: every limit that it has, none left at its default.
fn settings() -> transport::Server {
    transport::Server::builder()
        .accept_http1(false)
        .timeout(limits::CALL_MAX)
        .concurrency_limit_per_connection(limits::STREAMS_PER_CONNECTION_MAX as usize)
        .load_shed(true)
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .max_connection_age(limits::CONNECTION_AGE_MAX)
        .max_connection_age_grace(limits::CONNECTION_GRACE)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_adaptive_window(Some(false))
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(limits::RESETS_PENDING_MAX))
        .http2_max_local_error_reset_streams(Some(limits::RESETS_LOCAL_MAX))
        .max_frame_size(limits::FRAME_BYTES_MAX)
}
