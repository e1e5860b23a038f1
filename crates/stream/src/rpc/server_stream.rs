//! A call that takes the long way: a request with a task of its own.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use mosn_codec::rpc::ReplySeed;
use mosn_core::{ConnectionInfo, Failure, Frame, FrameHeaders, Headers, Protocol, Reset, ResponseHead};
use mosn_net::clock::Moment;
use mosn_upstream::Host;

use super::{
    call::{FirstTry, OwnedFrame, frame_of, timeout},
    downstream::{Downstream, Task},
};
use crate::{ServerStream, Service};

/// Starts the task of a call.
pub(super) fn serve_call<S: Service>(
    client: &Rc<Downstream>,
    service: &Rc<S>,
    frame: Rc<OwnedFrame>,
    headers: Headers,
    first: Option<FirstTry>,
) {
    let seed = frame.protocol.reply_seed(&frame.bytes, &frame.view);
    let body = frame.body();
    let head = Box::new(frame.head(headers, seed.is_none()));
    let mut stream = RpcServerStream {
        task: Task::new(client, frame.bytes.len()),
        body: (!body.is_empty()).then_some(body),
        frame,
        seed,
        reply: None,
        began: first.as_ref().map(|first| first.start),
        first,
    };
    let service = Rc::clone(service);
    // Boxed first: the runtime would move the whole of it several times.
    tokio::task::spawn_local(Box::pin(async move { service.serve(&mut stream, head).await }));
}

struct RpcServerStream {
    task: Task,
    frame: Rc<OwnedFrame>,
    /// The content, until it is taken.
    body: Option<Bytes>,
    /// What a reply of our own is made from; `None` if none is due, or it was sent.
    seed: Option<ReplySeed>,
    /// A reply whose content is not all here.
    reply: Option<Reply>,
    /// When it came, where that was before it took this way.
    began: Option<Moment>,
    first: Option<FirstTry>,
}

struct Reply {
    form: Form,
    body: BytesMut,
}

/// What a reply is made from.
enum Form {
    /// The upstream's own frame.
    Frame(Box<FrameHeaders>, Rc<OwnedFrame>),
    /// One of our own, of this status.
    Status(StatusCode),
}

impl RpcServerStream {
    /// Sends the reply, now that all of it is here.
    fn finish(&mut self, form: &Form, body: &Bytes) -> Result<(), Reset> {
        let Some(seed) = self.seed.take() else { return Ok(()) };
        let client = self.task.client();
        if client.is_ended() {
            return Err(Reset(Failure::ClientGone));
        }
        let protocol = self.frame.protocol;
        client.wire().append(|out| match form {
            Form::Frame(headers, frame) => {
                if let Err(error) = frame.write(headers, body, seed.id, out) {
                    tracing::error!("cannot write a changed reply: {error}");
                    protocol.local_reply(&seed, 500, None, out);
                }
            }
            Form::Status(status) => {
                let text = (!body.is_empty()).then_some(&body[..]);
                protocol.local_reply(&seed, status.as_u16(), text, out);
            }
        });
        // Written at the end of the turn, together with what others have to say.
        client.wire().wake();
        Ok(())
    }
}

impl ServerStream for RpcServerStream {
    const CAN_CANCEL: bool = false;

    fn protocol(&self) -> Protocol {
        Protocol::Rpc(self.frame.protocol.name())
    }

    fn timeout(&self) -> Option<i64> {
        timeout(&self.frame.view)
    }

    fn id(&self) -> u64 {
        self.frame.view.id
    }

    fn connection(&self) -> &Rc<ConnectionInfo> {
        self.task.client().info()
    }

    fn began(&self) -> Option<Moment> {
        self.began
    }

    fn first_try(&mut self) -> Option<FirstTry> {
        self.first.take()
    }

    fn host(&self) -> Option<&Arc<Host>> {
        self.frame.host.as_ref()
    }

    fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        Poll::Ready(Ok(match self.body.take() {
            Some(data) => Frame::Data { data, end: true },
            None => Frame::END,
        }))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.task.poll_gone(cx).map(|()| Failure::ClientGone)
    }

    fn send_interim(&mut self, _cx: &mut Context<'_>, _status: StatusCode, _headers: &Headers) {}

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: ResponseHead,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        let form = match (frame_of(&head.headers, self.frame.protocol), &head.headers) {
            (Some((_, frame)), Headers::Frame(headers)) => Form::Frame(headers.clone(), frame),
            _ => Form::Status(head.status),
        };
        if head.body.is_empty() {
            return self.finish(&form, &Bytes::new());
        }
        match first {
            Some(Frame::Data { data, end: true }) => self.finish(&form, &data),
            first => {
                self.reply = Some(Reply { form, body: BytesMut::new() });
                first.map_or(Ok(()), |frame| self.send(cx, frame))
            }
        }
    }

    fn send(&mut self, _cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let Some(mut reply) = self.reply.take() else { return Ok(()) };
        let last = frame.is_last();
        if let Frame::Data { data, .. } = frame {
            reply.body.extend_from_slice(&data);
        }
        if last {
            return self.finish(&reply.form, &reply.body.freeze());
        }
        self.reply = Some(reply);
        Ok(())
    }

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        Poll::Ready(if self.task.client().is_ended() { Err(Reset(Failure::ClientGone)) } else { Ok(()) })
    }

    fn poll_flushed(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        // What was sent is the connection's now, and outlives the stream.
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, _why: Failure) {
        // A call can be left unanswered without harm to others; whoever can be told has been.
        self.reply = None;
    }
}
