//! A client that sends bytes as they are, to any path.

#![allow(dead_code, reason = "each test binary uses its own part")]

use bytes::{Buf as _, BufMut as _, Bytes};
use mintmark_rpc::client::{Connection, Failure};
use tokio_stream::Stream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

/// Sends bytes as they are, so that a test can send what no client would.
#[derive(Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Calls `path` with one message.
pub(crate) async fn call(
    connection: &Connection,
    path: &str,
    request: Request<Bytes>,
) -> Result<Bytes, Failure> {
    // A stream of one message, which fits unary methods and streams alike.
    let mut answers = open(connection, path, request.map(tokio_stream::once)).await?;
    let answer = answers.message().await?;
    Ok(answer.unwrap_or_default())
}

/// Calls `path` with a stream of messages.
pub(crate) async fn open(
    connection: &Connection,
    path: &str,
    request: Request<impl Stream<Item = Bytes> + Send + 'static>,
) -> Result<Streaming<Bytes>, Failure> {
    let mut grpc = Grpc::new(connection.channel());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(path.to_owned()).unwrap();
    Ok(grpc.streaming(request, path, Raw).await?.into_inner())
}
