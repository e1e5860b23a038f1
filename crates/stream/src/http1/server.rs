//! The server side of HTTP/1: one connection's requests, one after the other.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use mosn_codec::http1::{
    self as codec, BodyDecoder, HeadLimits, ReplyFraming, RequestError, RequestMeta, Version,
};
use mosn_core::{
    BodyLength, ConnectionInfo, Failure, Frame, Headers, Protocol, RequestHead, Reset, ResponseHead,
};
use mosn_net::{Io, scratch, timer::Timer};

use super::wire::{Coding, Wire};
use crate::{DrainWatch, ServerContext, ServerStream, Service, http_date, linger::Linger, websocket};

/// How long a client has to make room for a few bytes of our own.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Bytes read ahead of a request that is being answered.
const READ_AHEAD: usize = 16 * 1024;

/// How a connection's life goes on.
enum Next {
    /// Wait for another request.
    KeepAlive,
    /// Everything was said: close.
    Close,
    /// Close at once: the peer is gone, or must see that something is missing.
    Abort,
    /// Speak HTTP/2 from here on, beginning with this request.
    Http2(Box<RequestHead>),
}

/// Serves the connection until it ends. Returns it, with the request to begin with, if the client
/// asked to go on in HTTP/2.
pub async fn serve<S: Service>(
    io: Io,
    cx: Rc<ServerContext>,
    service: Rc<S>,
) -> Option<(Io, Box<RequestHead>)> {
    let watch = cx.drain.watch();
    let mut wire = Wire::new(io);
    let mut requests = 0;
    loop {
        if !wait_for_request(&mut wire, &cx, &watch, requests == 0).await {
            return None;
        }
        // Boxed, so that an idle connection keeps no room for a request.
        let next = Box::pin(serve_requests(&mut wire, &cx, &*service, &watch, &mut requests)).await;
        match next {
            Next::KeepAlive => {}
            Next::Close => {
                let mut linger = Linger::new();
                poll_fn(|task| linger.poll(task, &mut wire.io, Poll::Ready(()))).await;
                return None;
            }
            Next::Abort => {
                wire.io.abort_on_close();
                return None;
            }
            Next::Http2(head) => {
                let rest = wire.take_input();
                let mut io = wire.io;
                io.unread(rest);
                return Some((io, head));
            }
        }
    }
}

/// How long a connection that should go may still bring a request that was on its way.
const GRACE: Duration = Duration::from_millis(20);

/// Waits, without a buffer, until there is something to read. `false` = the connection should go.
async fn wait_for_request(wire: &mut Wire, cx: &ServerContext, watch: &DrainWatch, first: bool) -> bool {
    // The first request's head must come in time, and so must its first byte.
    let limits =
        [cx.idle_timeout, first.then_some(cx.limits.header_timeout).filter(|limit| !limit.is_zero())];
    let mut idle = limits.into_iter().flatten().min().map(Timer::after);
    let mut grace = None;
    poll_fn(|task| {
        if wire.poll_readable(task).is_ready() {
            return Poll::Ready(true);
        }
        if watch.poll(task).is_ready() {
            let grace = grace.get_or_insert_with(|| Timer::after(GRACE));
            return grace.poll(task).map(|()| false);
        }
        idle.as_mut().map_or(Poll::Pending, |idle| idle.poll(task).map(|()| false))
    })
    .await
}

/// Serves requests as long as there are any to be read without waiting.
async fn serve_requests<S: Service>(
    wire: &mut Wire,
    cx: &ServerContext,
    service: &S,
    watch: &DrainWatch,
    requests: &mut u64,
) -> Next {
    loop {
        let (head, meta) = match read_head(wire, cx).await {
            HeadRead::Head(head, meta) => (head, meta),
            HeadRead::Nothing => return Next::KeepAlive,
            HeadRead::End => return Next::Close,
            HeadRead::Broken => return Next::Abort,
            HeadRead::Refused(why) => {
                service.refused(&cx.info, Protocol::Http1, why);
                return refuse(wire, why).await;
            }
        };
        if meta.upgrade_h2c {
            return switch_to_http2(wire, head).await;
        }
        *requests += 1;
        let mut stream = Http1ServerStream::new(wire, cx, watch, &head, &meta, *requests);
        service.serve(&mut stream, head).await;
        match stream.finish().await {
            Next::KeepAlive if wire.input().is_empty() => return Next::KeepAlive,
            Next::KeepAlive => {}
            next => return next,
        }
    }
}

async fn switch_to_http2(wire: &mut Wire, head: Box<RequestHead>) -> Next {
    let switched = poll_fn(|task| {
        wire.write(
            task,
            &[b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
        )?;
        Poll::Ready(Ok::<(), std::io::Error>(()))
    });
    match switched.await {
        Ok(()) if flushed_soon(wire).await => Next::Http2(head),
        _ => Next::Abort,
    }
}

async fn flushed(wire: &mut Wire) -> bool {
    poll_fn(|task| wire.poll_flushed(task)).await.is_ok()
}

/// Whether a few bytes of our own went out. A client that has left no room for them by not reading
/// must not keep the connection with that.
async fn flushed_soon(wire: &mut Wire) -> bool {
    let mut timer = Timer::after(LAST_WORD);
    poll_fn(|task| match wire.poll_flushed(task) {
        Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
        Poll::Pending => timer.poll(task).map(|()| false),
    })
    .await
}

enum HeadRead {
    Head(Box<RequestHead>, RequestMeta),
    /// Nothing had come after all.
    Nothing,
    End,
    Broken,
    Refused(Failure),
}

async fn read_head(wire: &mut Wire, cx: &ServerContext) -> HeadRead {
    let limits = HeadLimits {
        bytes: cx.limits.max_header_size,
        fields: cx.limits.max_header_count,
        uri: cx.limits.max_uri_length,
    };
    let mut started = None;
    poll_fn(|task| {
        let parsed = wire.poll_parse(task, |bytes| {
            Ok::<_, RequestError>(match codec::parse_request(bytes, cx.scheme, &limits)? {
                Some((head, meta)) => (meta.consumed, Some((head, meta))),
                None => (0, None),
            })
        });
        match parsed {
            Poll::Ready(Ok(Some(Ok((head, meta))))) => Poll::Ready(HeadRead::Head(head, meta)),
            Poll::Ready(Ok(Some(Err(error)))) => Poll::Ready(HeadRead::Refused(error.failure())),
            Poll::Ready(Ok(None)) => Poll::Ready(HeadRead::End),
            Poll::Ready(Err(_)) => Poll::Ready(HeadRead::Broken),
            Poll::Pending if wire.input().is_empty() => Poll::Ready(HeadRead::Nothing),
            Poll::Pending => {
                // The clock runs from the head's first byte until its last.
                let limit = cx.limits.header_timeout;
                if limit.is_zero() {
                    return Poll::Pending;
                }
                let timer = started.get_or_insert_with(|| Timer::after(limit));
                timer.poll(task).map(|()| HeadRead::Refused(Failure::HeaderTimeout))
            }
        }
    })
    .await
}

/// Answers what never became a request, and closes.
async fn refuse(wire: &mut Wire, why: Failure) -> Next {
    let status = StatusCode::from_u16(why.row().status).unwrap_or(StatusCode::BAD_REQUEST);
    let written = poll_fn(|task| {
        Poll::Ready(scratch::with_write(|out| {
            let head = ResponseHead { status, headers: Headers::default(), body: BodyLength::Empty };
            http_date(|date| {
                let (version, date) = (Version::Http11, date.as_bytes());
                codec::write_response_head(out, &head, None, version, &Method::GET, date, true)
            });
            wire.write(task, &[out])
        }))
    });
    match written.await {
        Ok(()) if flushed_soon(wire).await => Next::Close,
        _ => Next::Abort,
    }
}

/// One request and its reply.
struct Http1ServerStream<'a> {
    wire: &'a mut Wire,
    cx: &'a ServerContext,
    watch: &'a DrainWatch,
    id: u64,
    version: Version,
    method: Method,
    upgrade: Option<Bytes>,
    /// What an upgrade to WebSocket must answer.
    websocket_key: Option<Bytes>,
    /// Whether the client wants the connection kept.
    keep_alive: bool,
    /// Whether it waits for `100 Continue`.
    expects_continue: bool,
    request: BodyDecoder,
    reply: ReplyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyState {
    None,
    Body(ReplyFraming),
    Done(ReplyFraming),
    /// The stream is beyond use.
    Reset,
}

impl<'a> Http1ServerStream<'a> {
    fn new(
        wire: &'a mut Wire,
        cx: &'a ServerContext,
        watch: &'a DrainWatch,
        head: &RequestHead,
        meta: &RequestMeta,
        id: u64,
    ) -> Self {
        Self {
            wire,
            cx,
            watch,
            id,
            version: meta.version,
            method: head.method.clone(),
            upgrade: head.upgrade.clone(),
            websocket_key: match &head.upgrade {
                Some(_) => head.headers.get(websocket::KEY).map(Bytes::copy_from_slice),
                None => None,
            },
            keep_alive: meta.keep_alive,
            expects_continue: head.expects_continue,
            request: match head.body {
                BodyLength::Unknown => BodyDecoder::chunked(),
                BodyLength::Known(length) => BodyDecoder::length(length),
                BodyLength::Empty => BodyDecoder::length(0),
            },
            reply: ReplyState::None,
        }
    }

    const fn is_tunnel(&self) -> bool {
        matches!(self.reply, ReplyState::Body(ReplyFraming::Tunnel))
    }

    /// What becomes of the connection once the request is over.
    async fn finish(self) -> Next {
        match self.reply {
            ReplyState::Done(_) => {}
            _ => return Next::Abort,
        }
        if !self.wire.is_flushed() && !flushed(self.wire).await {
            return Next::Abort;
        }
        let framing_ends = matches!(self.reply, ReplyState::Done(ReplyFraming::ToEof | ReplyFraming::Tunnel));
        if framing_ends || !self.keep_alive || !self.request.is_done() {
            return Next::Close;
        }
        Next::KeepAlive
    }

    fn broken<T>(&mut self, result: std::io::Result<T>) -> Result<T, Reset> {
        result.map_err(|_| {
            self.reply = ReplyState::Reset;
            Reset(Failure::ClientGone)
        })
    }
}

impl ServerStream for Http1ServerStream<'_> {
    const CAN_CANCEL: bool = false;

    fn protocol(&self) -> Protocol {
        Protocol::Http1
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn connection(&self) -> &Rc<ConnectionInfo> {
        &self.cx.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        if std::mem::take(&mut self.expects_continue) && self.reply == ReplyState::None {
            let written = self.wire.write(cx, &[b"HTTP/1.1 100 Continue\r\n\r\n"]);
            self.broken(written)?;
        }
        if self.is_tunnel() && self.request.is_done() {
            self.request = BodyDecoder::to_eof();
        }
        Poll::Ready(match ready!(self.wire.poll_frame(cx, &mut self.request)) {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(codec::BodyError::Truncated)) | Err(_) => {
                self.reply = ReplyState::Reset;
                Err(Reset(Failure::ClientGone))
            }
            Ok(Err(_)) => {
                self.keep_alive = false;
                Err(Reset(Failure::BadRequest))
            }
        })
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if !self.request.is_done() {
            return Poll::Pending;
        }
        ready!(self.wire.poll_gone(cx, READ_AHEAD));
        self.reply = ReplyState::Reset;
        Poll::Ready(Failure::ClientGone)
    }

    fn send_interim(&mut self, cx: &mut Context<'_>, status: StatusCode, headers: &Headers) {
        // A 1.0 client would take it for the reply.
        if self.version == Version::Http10 || self.reply != ReplyState::None {
            return;
        }
        if status == StatusCode::CONTINUE && !std::mem::take(&mut self.expects_continue) {
            return;
        }
        let written = scratch::with_write(|out| {
            codec::write_informational(out, status, headers);
            self.wire.write(cx, &[out])
        });
        let _ = self.broken(written);
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        mut head: ResponseHead,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(key) = &self.websocket_key
            && !head.headers.contains(websocket::ACCEPT)
        {
            head.headers.set(websocket::ACCEPT, websocket::accept(key).as_bytes());
        }
        // A body that the client has not sent by now may never come, or come as a flood.
        if !self.request.is_done() || self.watch.is_draining() || self.cx.drain.is_draining() {
            self.keep_alive = false;
        }
        let (wire, close) = (&mut *self.wire, !self.keep_alive);
        let (framing, written) = scratch::with_write(|out| {
            let (upgrade, version) = (self.upgrade.as_ref(), self.version);
            let framing = http_date(|date| {
                codec::write_response_head(out, &head, upgrade, version, &self.method, date.as_bytes(), close)
            });
            let empty = framing == ReplyFraming::Counted
                && (head.body.is_empty()
                    || self.method == Method::HEAD
                    || head.status == StatusCode::NOT_MODIFIED);
            let first = first.filter(|_| !empty);
            let done = empty || first.as_ref().is_some_and(Frame::is_last);
            let written = wire.write_head(cx, out, coding(framing), first.as_ref());
            (if done { ReplyState::Done(framing) } else { ReplyState::Body(framing) }, written)
        });
        self.reply = framing;
        self.broken(written)
    }

    fn send(&mut self, cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let ReplyState::Body(framing) = self.reply else {
            return Ok(());
        };
        let written = self.wire.write_frame(cx, coding(framing), &frame);
        if frame.is_last() {
            self.reply = ReplyState::Done(framing);
        }
        self.broken(written)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        let ready = ready!(self.wire.poll_ready(cx));
        Poll::Ready(self.broken(ready))
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        let flushed = ready!(self.wire.poll_flushed(cx));
        Poll::Ready(self.broken(flushed))
    }

    fn reset(&mut self, _why: Failure) {
        self.reply = ReplyState::Reset;
    }
}

const fn coding(framing: ReplyFraming) -> Coding {
    match framing {
        ReplyFraming::Chunked => Coding::Chunked,
        _ => Coding::Plain,
    }
}
