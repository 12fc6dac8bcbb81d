//! Calls to plugins: raw messages in, raw messages out.
//!
//! Unary methods take exactly one message and get a fresh instance. In a stream each message is a
//! call and a transaction of its own, answered before the next one is read; a refused message ends
//! the stream with its status, and what was answered before stands.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use http::{Request, Response};
use mintmark_custody::Session;
use mintmark_model::Refusal;
use mintmark_runtime::{PluginStream, Route, Runtime};
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
};

use crate::{caller::Caller, codec::RawCodec, limits, refusal};

/// Hands a request to the plugin that `route` names. Caller and role are settled already.
pub(crate) async fn serve(
    runtime: Runtime,
    route: Route,
    caller: Caller,
    request: Request<Body>,
) -> Response<Body> {
    // Unary calls too are read as streams: tonic's own unary handler ignores what follows the first
    // message.
    Grpc::new(RawCodec)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
        .streaming(Plugin { runtime, route, caller }, request)
        .await
}

/// A method of a plugin, and who calls it.
#[derive(Clone)]
struct Plugin {
    runtime: Runtime,
    route: Route,
    caller: Caller,
}

type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl StreamingService<Bytes> for Plugin {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Answers>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (plugin, messages) = (self.clone(), request.into_inner());
        Box::pin(async move {
            let answers: Answers =
                match (plugin.route.client_streaming(), plugin.route.server_streaming()) {
                    (false, false) => {
                        let answer = plugin.answer(messages).await?;
                        Box::pin(stream::once(future::ready(Ok(answer))))
                    }
                    (_, true) => Box::pin(plugin.converse(messages)),
                    (true, false) => Box::pin(last(plugin.converse(messages))),
                };
            Ok(tonic::Response::new(answers))
        })
    }
}

impl Plugin {
    /// The answer to exactly one message, on a fresh instance.
    async fn answer(self, mut messages: Streaming<Bytes>) -> Result<Bytes, Status> {
        let refused = |detail: &str| refusal::status(Refusal::invalid(detail));
        let message = next(&mut messages).await?;
        let message = message.ok_or_else(|| refused("The call holds no message."))?;
        if next(&mut messages).await?.is_some() {
            return Err(refused("The call holds more than one message."));
        }
        let session = self.session(&message);
        let answer = self.runtime.call(&self.route, session, message).await;
        answer.map_err(refusal::plugin_status)
    }

    /// An answer to each message.
    fn converse(self, messages: Streaming<Bytes>) -> impl Stream<Item = Result<Bytes, Status>> {
        let instance = self.runtime.open_stream(&self.route);
        let conversation = Conversation { plugin: self, instance, messages };
        stream::try_unfold(conversation, Conversation::turn)
    }

    fn session(&self, message: &[u8]) -> Session {
        let principal = self.caller.principal().clone();
        let claims = Some(self.route.claims().clone());
        Session::new(principal, claims, self.route.path(), message)
    }
}

/// A stream of messages and the instance that answers them.
struct Conversation {
    plugin: Plugin,
    instance: PluginStream,
    messages: Streaming<Bytes>,
}

impl Conversation {
    /// Reads one message, calls, waits for the commit, answers.
    async fn turn(mut self) -> Result<Option<(Bytes, Self)>, Status> {
        let Some(message) = next(&mut self.messages).await? else {
            return Ok(None);
        };
        let session = self.plugin.session(&message);
        let answer = self.instance.call(session, message).await;
        answer.map(|answer| Some((answer, self))).map_err(refusal::plugin_status)
    }
}

/// Of a method that takes a stream and answers once: the answer to the last message.
fn last(
    answers: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    stream::once(async move {
        let mut answers = std::pin::pin!(answers);
        let mut newest = None;
        while let Some(answer) = answers.next().await {
            newest = Some(answer?);
        }
        newest.ok_or_else(|| refusal::status(Refusal::invalid("The stream holds no message.")))
    })
}

/// The next message of a stream, which may not keep the host waiting for ever.
pub(crate) async fn next<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    let message = tokio::time::timeout(limits::MESSAGE_WAIT_MAX, messages.message()).await;
    message.map_err(|_| Status::deadline_exceeded("The next message took too long."))?
}
