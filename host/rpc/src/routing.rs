//! Calls to plugins: raw messages in, raw messages out.
//!
//! Unary methods take exactly one message and get a fresh instance. In a stream each message is a call and a transaction
//! of its own, answered before the next one is read; a refused message ends the stream with its status, and what was
//! answered before stands.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response};
use mintmark_custody::Session;
use mintmark_model::Refusal;
use mintmark_runtime::{PluginStream, Route, Runtime};
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService, UnaryService},
};

use crate::{caller::Caller, codec::RawCodec, limits, refusal};

/// Hands a request to the plugin that `route` names. Caller and role are settled already.
pub(crate) async fn serve(
    runtime: Runtime,
    route: Route,
    caller: Caller,
    request: Request<Body>,
) -> Response<Body> {
    let mut grpc = Grpc::new(RawCodec)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    let (asks_many, answers_many) = (route.client_streaming(), route.server_streaming());
    let plugin = Plugin { runtime, route, caller };
    if asks_many || answers_many {
        grpc.streaming(Messages { plugin, answers_many }, request).await
    } else {
        grpc.unary(Message(plugin), request).await
    }
}

/// A method of a plugin, and who calls it.
struct Plugin {
    runtime: Runtime,
    route: Route,
    caller: Caller,
}

impl Plugin {
    fn session(&self, message: &[u8]) -> Session {
        let principal = self.caller.principal().clone();
        let claims = Some(self.route.claims().clone());
        Session::new(principal, claims, self.route.path(), message)
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A method that takes one message.
struct Message(Plugin);

impl UnaryService<Bytes> for Message {
    type Response = Bytes;
    type Future = Answer<Bytes>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let message = request.into_inner();
        let session = self.0.session(&message);
        let (runtime, route) = (self.0.runtime.clone(), self.0.route.clone());
        Box::pin(async move {
            let answer = runtime.call(&route, session, message).await;
            answer.map(tonic::Response::new).map_err(refusal::plugin_status)
        })
    }
}

/// A method that takes or gives a stream.
struct Messages {
    plugin: Plugin,
    answers_many: bool,
}

impl StreamingService<Bytes> for Messages {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Answer<Answers>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let plugin = Plugin {
            runtime: self.plugin.runtime.clone(),
            route: self.plugin.route.clone(),
            caller: self.plugin.caller.clone(),
        };
        let instance = plugin.runtime.open_stream(&plugin.route);
        let conversation = Conversation { plugin, instance, messages: request.into_inner() };
        let answers = stream::try_unfold(conversation, Conversation::turn);
        let answers_many = self.answers_many;
        Box::pin(async move {
            let answers: Answers =
                if answers_many { Box::pin(answers) } else { Box::pin(last(answers)) };
            Ok(tonic::Response::new(answers))
        })
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
        newest.ok_or_else(|| {
            refusal::status(Refusal::invalid("The stream holds no message."))
        })
    })
}

/// The next message of a stream, which may not keep the host waiting for ever.
pub(crate) async fn next<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    let message = tokio::time::timeout(limits::MESSAGE_WAIT_MAX, messages.message()).await;
    message.map_err(|_| Status::deadline_exceeded("The next message took too long."))?
}
