//! How much of the host a client can take: every limit of the listener, with its unit.
//!
//! What the libraries leave unlimited or generous is set here, so that one peer, with or without a
//! certificate, cannot take the host from the others.

use std::time::Duration;

/// From the end of the TCP handshake to the HTTP/2 preface, TLS included: what a peer without a
/// certificate can hold.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Connections that are not authenticated yet. More wait in the listener's backlog.
pub const HANDSHAKES_MAX: usize = 256;

/// Of these, from one address. More are closed, so that one address leaves room for others.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 128;

/// Authenticated connections.
pub const CONNECTIONS_MAX: usize = 1024;

/// Of these, for one principal.
pub const CONNECTIONS_PER_PRINCIPAL_MAX: usize = 128;

/// A connection is asked to end after this time, so that a certificate is looked at again.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// What it is given after that to finish its calls.
pub const CONNECTION_GRACE: Duration = Duration::from_secs(60);

/// Calls at once on one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// Calls at once on all connections. More are refused with `UNAVAILABLE`.
pub const CALLS_MAX: usize = 4096;

/// Of these, for one principal.
pub const CALLS_PER_PRINCIPAL_MAX: usize = 256;

/// From a call's headers to its answer's; uploads resume after it.
pub const CALL_MAX: Duration = Duration::from_secs(300);

/// Between two messages of a stream.
pub const MESSAGE_WAIT_MAX: Duration = Duration::from_secs(300);

/// From the one message of a unary call to plugins to the end of the request, which every client
/// sends at once.
pub const UNARY_END_WAIT_MAX: Duration = Duration::from_secs(5);

/// Requests to plugins that the host holds at once, together. A message beyond it waits for
/// [`REQUEST_WAIT_MAX`], then it is refused with `UNAVAILABLE`.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Of these, for one principal. More are refused at once.
pub const REQUEST_BYTES_PER_PRINCIPAL_MAX: usize = 128 * 1024 * 1024;

/// See [`REQUEST_BYTES_MAX`].
pub const REQUEST_WAIT_MAX: Duration = Duration::from_secs(1);

/// One message, in either direction: what a plugin can take and give.
pub const MESSAGE_BYTES_MAX: usize = mintmark_runtime::MESSAGE_BYTES_MAX;

/// The list of a request's headers, as HTTP/2 counts it.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// An HTTP/2 frame.
pub const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// What may be on its way to the host on one stream, and on one connection.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// See [`STREAM_WINDOW_BYTES`].
pub const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Streams that a peer reset before they were handled (rapid reset); then the connection ends.
pub const RESETS_PENDING_MAX: usize = 20;

/// Streams that the host had to reset for a peer's fault (the variant that makes the host reset).
pub const RESETS_LOCAL_MAX: usize = 256;

/// A quiet peer is asked whether it is there. A peer in the middle of a header block cannot answer,
/// so this also ends header blocks that come one byte at a time.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long the answer may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// After the order to stop: for calls that run.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Between two tries after the system refused to accept (no file descriptors).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A plugin's component.
pub const COMPONENT_BYTES_MAX: usize = mintmark_runtime::COMPONENT_BYTES_MAX;

/// The host's TLS certificate is made anew so often; it is valid much longer.
pub const IDENTITY_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Health looks at the host so often where nobody calls.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// One chunk of an upload.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// One chunk of a download.
pub const FETCH_BYTES: usize = 256 * 1024;

/// The text of a status.
pub const STATUS_TEXT_BYTES_MAX: usize = 1024;

/// Facts in the metadata of a status.
pub const STATUS_FACTS_MAX: usize = 8;

/// The name or the value of such a fact.
pub const STATUS_FACT_BYTES_MAX: usize = 128;

// A stream must fit into its connection, a chunk into a message.
const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(CHUNK_BYTES_MAX < MESSAGE_BYTES_MAX && FETCH_BYTES < MESSAGE_BYTES_MAX);
const _: () = assert!(HANDSHAKES_PER_ADDRESS_MAX < HANDSHAKES_MAX);
const _: () = assert!(CONNECTIONS_PER_PRINCIPAL_MAX < CONNECTIONS_MAX);
const _: () = assert!(CALLS_PER_PRINCIPAL_MAX < CALLS_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= REQUEST_BYTES_PER_PRINCIPAL_MAX);
const _: () = assert!(REQUEST_BYTES_PER_PRINCIPAL_MAX < REQUEST_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES_MAX <= u32::MAX as usize);
