//! From a TCP connection to a known peer: TLS, the HTTP/2 preface and the principal, in bounded
//! time and number.
//!
//! Whoever is not known at the end of this is gone before a byte of a request was read. The loop
//! outlives whatever a peer does during a handshake.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arc_swap::ArcSwap;
use bytes::{Buf as _, Bytes};
use mintmark_model::{Principal, Refusal};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::{
    caller::{Caller, Tally, Token},
    limits, tls,
};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Makes a principal of a verified client's chain, leaf first.
pub(crate) type Authenticate = Arc<dyn Fn(&[Vec<u8>]) -> Result<Principal, Refusal> + Send + Sync>;

/// Turns TCP connections into [`Connection`]s.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: Arc<ArcSwap<ServerConfig>>,
    authenticate: Authenticate,
    handshakes: Arc<Semaphore>,
    handshakes_by_address: Tally<IpAddr>,
    connections: Arc<Semaphore>,
    connections_by_principal: Tally<Principal>,
}

/// Why a connection was closed before it had a principal.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("the handshake took too long")]
    TooSlow,
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("no HTTP/2")]
    Protocol,
    #[error("the certificate names nobody who may call: {0}")]
    Unknown(Refusal),
    #[error("too many connections")]
    TooMany,
}

impl Acceptor {
    pub(crate) fn new(tls: Arc<ServerConfig>, authenticate: Authenticate) -> Self {
        Self {
            tls: Arc::new(ArcSwap::new(tls)),
            authenticate,
            handshakes: Arc::new(Semaphore::new(limits::HANDSHAKES_MAX)),
            handshakes_by_address: Tally::new(limits::HANDSHAKES_PER_ADDRESS_MAX),
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
            connections_by_principal: Tally::new(limits::CONNECTIONS_PER_PRINCIPAL_MAX),
        }
    }

    /// Handshakes that begin from now on present another certificate.
    pub(crate) fn renew(&self, tls: Arc<ServerConfig>) {
        self.tls.store(tls);
    }

    /// Accepts until the stream that it gives is dropped.
    pub(crate) fn run(
        self,
        listener: TcpListener,
    ) -> ReceiverStream<Result<Connection, Infallible>> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = self.accept_all(&listener, &sender) => {}
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn accept_all(
        &self,
        listener: &TcpListener,
        sender: &mpsc::Sender<Result<Connection, Infallible>>,
    ) {
        loop {
            let slots = Arc::clone(&self.handshakes);
            let slot = slots.acquire_owned().await.expect("nobody closes this semaphore");
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the system accepts no connection");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(own_slot) = self.handshakes_by_address.take(&address.ip()) else {
                tracing::warn!(%address, "too many handshakes from one address");
                continue;
            };
            let (acceptor, sender) = (self.clone(), sender.clone());
            tokio::spawn(async move {
                match acceptor.admit(stream, (slot, own_slot)).await {
                    // An error says that the server is stopping.
                    Ok(connection) => drop(sender.send(Ok(connection)).await),
                    Err(reason) => tracing::info!(%address, %reason, "connection closed"),
                }
            });
        }
    }

    /// The slots are given back when the peer is known, or was refused.
    async fn admit(
        &self,
        stream: TcpStream,
        _slots: (OwnedSemaphorePermit, Token<IpAddr>),
    ) -> Result<Connection, Closed> {
        let handshake = tokio::time::timeout(limits::HANDSHAKE_MAX, self.handshake(stream));
        let stream = handshake.await.map_err(|_| Closed::TooSlow)??;
        let caller = self.authenticate(&stream)?;
        Ok(Connection { stream, preface: Bytes::from_static(PREFACE), caller })
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Closed> {
        stream.set_nodelay(true).map_err(Closed::Tls)?;
        let tls = TlsAcceptor::from(self.tls.load_full());
        let mut stream = tls.accept(stream).await.map_err(Closed::Tls)?;
        if stream.get_ref().1.alpn_protocol() != Some(tls::ALPN) {
            return Err(Closed::Protocol);
        }
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await.map_err(|_| Closed::Protocol)?;
        if &preface == PREFACE { Ok(stream) } else { Err(Closed::Protocol) }
    }

    fn authenticate(&self, stream: &TlsStream<TcpStream>) -> Result<Caller, Closed> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let principal = (self.authenticate)(&chain).map_err(Closed::Unknown)?;
        let place = Arc::clone(&self.connections).try_acquire_owned();
        let own_place = self.connections_by_principal.take(&principal);
        match (place, own_place) {
            (Ok(place), Some(own_place)) => Ok(Caller::new(principal, place, own_place)),
            _ => Err(Closed::TooMany),
        }
    }
}

/// A connection whose peer is known.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    /// What the acceptor read ahead and the HTTP/2 library has yet to see.
    preface: Bytes,
    caller: Caller,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.preface.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.preface.len().min(buffer.remaining());
        buffer.put_slice(&self.preface[..length]);
        self.preface.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A peer that is gone already makes this fail; the connection ends in either case.
        let ended = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
        Poll::Ready(ended.or(Ok(())))
    }
}

#[cfg(test)]
mod tests;
