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

use crate::{
    caller::Caller,
    codec::RawCodec,
    limits, refusal,
    requests::{Requests, Room},
};

/// Hands a request to the plugin. Caller and role are settled already.
pub(crate) async fn serve(plugin: Plugin, request: Request<Body>) -> Response<Body> {
    // Unary calls too are read as streams: tonic's own unary handler ignores what follows the first
    // message.
    Grpc::new(RawCodec)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
        .streaming(plugin, request)
        .await
}

/// A method of a plugin, and who calls it.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) runtime: Runtime,
    pub(crate) route: Route,
    pub(crate) caller: Caller,
    /// What all such calls hold.
    pub(crate) requests: Requests,
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
        let message = next(&mut messages).await?;
        let message = message.ok_or_else(|| invalid("The call holds no message."))?;
        let _room = self.room(&message).await?;
        ended(&mut messages).await?;
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

    /// Held until the message is answered.
    async fn room(&self, message: &[u8]) -> Result<Room, Status> {
        let room = self.requests.room(self.caller.principal(), message).await;
        room.map_err(refusal::status)
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
        let _room = self.plugin.room(&message).await?;
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
        newest.ok_or_else(|| invalid("The stream holds no message."))
    })
}

/// Waits for the end of a unary request, after its message: that is held meanwhile, so not long.
async fn ended(messages: &mut Streaming<Bytes>) -> Result<(), Status> {
    match tokio::time::timeout(limits::UNARY_END_WAIT_MAX, messages.message()).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(_))) => Err(invalid("The call holds more than one message.")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("The call did not end after its message.")),
    }
}

/// The next message of a stream, which may not keep the host waiting for ever.
pub(crate) async fn next<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    let message = tokio::time::timeout(limits::MESSAGE_WAIT_MAX, messages.message()).await;
    message.map_err(|_| Status::deadline_exceeded("The next message took too long."))?
}

fn invalid(detail: &str) -> Status {
    refusal::status(Refusal::invalid(detail))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use http_body::Frame;
    use tonic::Code;

    use super::*;

    /// A request of some messages that ends after them, or never does.
    struct Asked {
        messages: u8,
        ends: bool,
    }

    impl http_body::Body for Asked {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.messages.checked_sub(1) {
                Some(left) => {
                    self.messages = left;
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\x01x")))))
                }
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    async fn end_of(asked: Asked) -> Result<(), Code> {
        let mut messages = Streaming::new_request(RawCodec, asked, None, None);
        assert_eq!(next(&mut messages).await.unwrap().unwrap(), "x");
        ended(&mut messages).await.map_err(|status| status.code())
    }

    #[tokio::test(start_paused = true)]
    async fn g3_a_unary_call_that_does_not_end_is_not_held_for_long() {
        let began = tokio::time::Instant::now();
        let endless = end_of(Asked { messages: 1, ends: false }).await;
        assert_eq!(endless, Err(Code::DeadlineExceeded));
        assert_eq!(began.elapsed().as_secs(), limits::UNARY_END_WAIT_MAX.as_secs());
        assert_eq!(end_of(Asked { messages: 1, ends: true }).await, Ok(()));
        let two = end_of(Asked { messages: 2, ends: true }).await;
        assert_eq!(two, Err(Code::InvalidArgument));
    }
}
