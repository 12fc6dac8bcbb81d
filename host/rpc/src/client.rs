//! The client's side: a connection over mutual TLS, generated clients, and failures that a program
//! can read.
//!
//! ```no_run
//! # async fn example(config: mintmark_rpc::client::ClientConfig) -> Result<(), Box<dyn
//! std::error::Error>> { use mintmark_rpc::{client::{Connection, Failure}, proto::admin::{self,
//! status_client::StatusClient}};
//!
//! let connection = Connection::open(config).await?;
//! let mut status = StatusClient::new(connection.channel());
//! let answer = status.show_status(admin::ShowStatusRequest {}).await.map_err(Failure::from)?;
//! println!("{}", answer.into_inner().cluster);
//! # Ok(())
//! # }
//! ```

mod failure;
pub mod files;
pub mod plugins;

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};
use zeroize::Zeroizing;

pub use self::failure::Failure;
use crate::{limits, tls};

pub use tonic::Code;

/// Where to connect, whom to expect there, and who the client is. Everything is DER.
pub struct ClientConfig {
    /// `host:port`.
    pub address: String,
    /// The node's DNS name, as in its certificate: `<node>.node.<cluster>.<organisation>`.
    pub server_name: String,
    /// The root certificate, the only one that is trusted.
    pub root: Vec<u8>,
    /// The client's certificate and those above it, without the root.
    pub chain: Vec<Vec<u8>>,
    /// The client's private key, PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server's name is no DNS name.
    #[error("the server's name is not a DNS name")]
    ServerName,
    /// Certificates or key cannot be used.
    #[error("the certificates or the key cannot be used")]
    Identity(#[source] rustls::Error),
    /// Nobody answers there, or the TLS handshake failed.
    #[error("there is no connection to the host")]
    Connect(#[source] tonic::transport::Error),
}

/// A connection to a host. It is made anew when it breaks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection {
    channel: Channel,
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(config: ClientConfig) -> Result<Self, OpenError> {
        let name = ServerName::try_from(config.server_name.clone());
        let name = name.map_err(|_| OpenError::ServerName)?;
        let origin = Uri::builder()
            .scheme("https")
            .authority(config.server_name.as_str())
            .path_and_query("/")
            .build()
            .map_err(|_| OpenError::ServerName)?;
        let identity = tls::Identity { chain: config.chain, key_pkcs8: &config.key };
        let tls = tls::client(config.root, identity);
        let connector = Connector {
            address: config.address,
            name,
            tls: TlsConnector::from(tls.map_err(OpenError::Identity)?),
        };
        let connector = Arc::new(connector);
        let service = tower::service_fn(move |_: Uri| {
            let connector = Arc::clone(&connector);
            async move { connector.connect().await.map(TokioIo::new) }
        });
        let channel = endpoint(origin).connect_with_connector(service).await;
        Ok(Self { channel: channel.map_err(OpenError::Connect)? })
    }

    /// What the generated clients take.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

fn endpoint(origin: Uri) -> Endpoint {
    Endpoint::from(origin)
        .connect_timeout(limits::HANDSHAKE_MAX)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
}

/// Opens the TLS connections of a [`Connection`].
struct Connector {
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Connector {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(self.name.clone(), stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(tls::ALPN) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the host speaks no HTTP/2"));
        }
        Ok(stream)
    }
}
