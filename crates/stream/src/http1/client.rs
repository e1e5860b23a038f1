//! The client side of HTTP/1: pooled connections, one exchange at a time on each.

use std::{
    cell::{OnceCell, RefCell},
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use mosn_codec::http1::{self as codec, BodyDecoder, ResponseError, ResponseMeta};
use mosn_core::{BodyLength, Failure, Frame, RequestHead, Reset, ResponseHead};
use mosn_net::{Io, clock, scratch};
use tokio::time::Instant;

use super::wire::{Coding, Wire, frame_from};
use crate::{
    ClientStream, Held, Lifetime, Reply,
    queue::{Queue, Wants},
    websocket,
};

/// Bytes of a reply's head.
const MAX_REPLY_HEAD: usize = 64 * 1024;

/// An upstream connection.
#[derive(Debug)]
pub struct ClientConnection {
    wire: Wire,
    id: u64,
    requests: u32,
    opened: Instant,
    idle_since: Instant,
    /// Taken when the connection closes: its owner counts it.
    held: Box<dyn Held>,
}

impl ClientConnection {
    /// An open connection; `held` is dropped when it closes.
    #[must_use]
    pub fn new(io: Io, id: u64, held: Box<dyn Held>) -> Box<Self> {
        let now = clock::now();
        Box::new(Self { wire: Wire::new(io), id, requests: 0, opened: now, idle_since: now, held })
    }
}

/// Idle connections to one host; the last one used is the first one used again.
#[derive(Debug, Default)]
pub struct Http1Pool {
    #[allow(clippy::vec_box, reason = "a connection moves between the pool and its streams, as a pointer")]
    idle: RefCell<Vec<Box<ClientConnection>>>,
    lifetime: Lifetime,
    /// Who waits for a connection, where they are limited.
    queue: OnceCell<Rc<Queue>>,
}

impl Http1Pool {
    /// No connections yet; how long each will live.
    #[must_use]
    pub fn new(lifetime: Lifetime) -> Self {
        Self { lifetime, ..Self::default() }
    }

    /// Sets who waits for a connection; to be called before the first one is put in.
    pub(crate) fn set_queue(&self, queue: Rc<Queue>) {
        let _ = self.queue.set(queue);
    }

    fn is_over(&self, connection: &ClientConnection) -> bool {
        self.lifetime.is_over(connection.requests, || clock::now().duration_since(connection.opened))
    }

    /// Whether an idle connection is not to be used.
    fn is_useless(&self, connection: &mut ClientConnection) -> bool {
        // The event loop knows whether the peer has closed, or spoken out of turn.
        if connection.wire.io.has_event() {
            connection.held.ended_by_peer();
            return true;
        }
        self.is_over(connection)
            || self.lifetime.has_idled(|| clock::now().duration_since(connection.idle_since))
    }

    /// Takes an idle connection that still seems to be open, unless others wait for one.
    #[must_use]
    pub fn take(&self) -> Option<Box<ClientConnection>> {
        if self.queue.get().is_some_and(|queue| !queue.is_empty()) { None } else { self.take_in_turn() }
    }

    /// The same for whoever has waited for it.
    pub(crate) fn take_in_turn(&self) -> Option<Box<ClientConnection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut connection) = idle.pop() {
            if !self.is_useless(&mut connection) {
                return Some(connection);
            }
        }
        None
    }

    /// Closes idle connections that are not to be used any more.
    pub fn sweep(&self) {
        self.idle.borrow_mut().retain_mut(|connection| !self.is_useless(connection));
    }

    /// How many connections idle.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Closes the connection that has idled longest.
    pub(crate) fn close_idle(&self) {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0);
        }
    }

    /// Closes every idle connection.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    pub(crate) fn put(&self, mut connection: Box<ClientConnection>) {
        if self.is_over(&connection) {
            return;
        }
        if self.queue.get().is_some_and(|queue| !queue.keeps(Wants::Http1)) {
            return;
        }
        connection.idle_since = clock::now();
        self.idle.borrow_mut().push(connection);
    }
}

/// One exchange on an upstream connection.
#[derive(Debug)]
pub struct Http1ClientStream {
    connection: Option<Box<ClientConnection>>,
    pool: Weak<Http1Pool>,
    method: Method,
    request: Sending,
    /// `None` until the reply's head has come.
    reply: Option<BodyDecoder>,
    /// Whether the connection can be used again once both sides are done.
    keep_alive: bool,
    /// Whether part of the request could not be written.
    unwritten: bool,
    tunnel: bool,
    /// The answer that a WebSocket upstream must give to the key we made.
    accept: Option<String>,
    reused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Body(Coding),
    Done,
}

impl Http1ClientStream {
    /// On a connection that is idle or new; it goes back to `pool`.
    #[must_use]
    pub fn new(connection: Box<ClientConnection>, pool: &Rc<Http1Pool>) -> Self {
        Self {
            reused: connection.requests > 0,
            connection: Some(connection),
            pool: Rc::downgrade(pool),
            method: Method::GET,
            request: Sending::Done,
            reply: None,
            keep_alive: false,
            unwritten: false,
            tunnel: false,
            accept: None,
        }
    }

    fn wire(&mut self) -> Result<&mut Wire, Reset> {
        match &mut self.connection {
            Some(connection) => Ok(&mut connection.wire),
            None => Err(Reset(Failure::LocalReset)),
        }
    }

    /// An extended CONNECT, which is HTTP/2's, becomes HTTP/1's upgrade (RFC 8441 5). Returns the
    /// method to put back once it is written.
    fn as_upgrade(&mut self, head: &mut RequestHead) -> Option<Method> {
        if !self.tunnel || head.method != Method::CONNECT {
            return None;
        }
        if head.upgrade.as_ref().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
            let key = websocket::new_key();
            self.accept = Some(websocket::accept(key.as_bytes()));
            head.headers.set(websocket::KEY, key.as_bytes());
        }
        Some(std::mem::replace(&mut head.method, Method::GET))
    }

    /// Nothing can be done with the connection any more.
    fn fail(&mut self, why: Failure) -> Reset {
        if let Some(connection) = self.connection.take()
            && matches!(why, Failure::UpstreamClosed | Failure::UpstreamTerminated)
        {
            connection.held.ended_by_peer();
        }
        Reset(why)
    }

    /// A request that cannot be written is answered by what the upstream said before it closed, if
    /// it said anything: an early 413 is worth more than our own error.
    fn written(&mut self, result: std::io::Result<()>) -> Result<(), Reset> {
        if result.is_err() {
            self.request = Sending::Done;
            self.unwritten = true;
        }
        Ok(())
    }
}

impl ClientStream for Http1ClientStream {
    fn connection_id(&self) -> u64 {
        self.connection.as_ref().map_or(0, |connection| connection.id)
    }

    fn is_reused(&self) -> bool {
        self.reused
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        _keep: bool,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        self.method = head.method.clone();
        self.tunnel = head.upgrade.is_some();
        let asked_with = self.as_upgrade(head);
        if let Some(connection) = &mut self.connection {
            connection.requests += 1;
        }
        let wire = self.wire()?;
        let (coding, written) = scratch::with_write(|out| {
            let coding = if codec::write_request_head(out, head) { Coding::Chunked } else { Coding::Plain };
            (coding, wire.write_head(cx, out, coding, first.as_ref()))
        });
        if let Some(method) = asked_with {
            head.method = method;
        }
        let done = head.body.is_empty() || first.as_ref().is_some_and(Frame::is_last);
        self.request = if done && !self.tunnel { Sending::Done } else { Sending::Body(coding) };
        self.written(written)
    }

    fn send(&mut self, cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let Sending::Body(coding) = self.request else {
            return Ok(());
        };
        let written = self.wire()?.write_frame(cx, coding, &frame);
        if frame.is_last() {
            self.request = Sending::Done;
            if self.tunnel {
                // The client has ended its side of the tunnel; the upstream may go on.
                if let Poll::Ready(Err(_)) = self.wire()?.io.poll_close(cx) {
                    return Err(self.fail(Failure::LocalReset));
                }
            }
        }
        self.written(written)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        let ready = ready!(self.wire()?.poll_ready(cx));
        Poll::Ready(self.written(ready))
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>> {
        // What the socket would not take at once goes out while we wait.
        if !self.wire()?.is_flushed() {
            let flushed = self.wire()?.poll_flushed(cx);
            if let Poll::Ready(result) = flushed {
                self.written(result)?;
            }
        }
        let method = self.method.clone();
        let wire = self.wire()?;
        let parsed = ready!(wire.poll_parse(cx, |bytes| {
            let Some((head, meta)) = codec::parse_response(bytes, &method, MAX_REPLY_HEAD)? else {
                return Ok::<_, ResponseError>((0, None));
            };
            let mut decoder = body_decoder(&head, &meta);
            let rest = &bytes[meta.consumed..];
            // What there is of the body is taken from where it was read to.
            let (used, first) = if decoder.is_done() || head.status.is_informational() || rest.is_empty() {
                (0, None)
            } else {
                frame_from(&mut decoder, rest, |at, len| Bytes::copy_from_slice(&rest[at..at + len]))
                    .map_err(|_| ResponseError::Framing)?
            };
            Ok((meta.consumed + used, Some((head, meta.keep_alive, decoder, first))))
        }));
        let (mut head, keep_alive, decoder, first) = match parsed {
            Ok(Some(Ok(parsed))) => parsed,
            Ok(Some(Err(_))) => return Poll::Ready(Err(self.fail(Failure::UpstreamReset))),
            Ok(None) => {
                let why =
                    if wire.input().is_empty() { Failure::UpstreamClosed } else { Failure::UpstreamReset };
                return Poll::Ready(Err(self.fail(why)));
            }
            Err(_) => return Poll::Ready(Err(self.fail(Failure::UpstreamTerminated))),
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let answered = self
                .accept
                .as_ref()
                .is_none_or(|accept| head.headers.get(websocket::ACCEPT) == Some(accept.as_bytes()));
            if !self.tunnel || !answered {
                return Poll::Ready(Err(self.fail(Failure::UpstreamReset)));
            }
            head.body = BodyLength::Unknown;
            self.reply = Some(BodyDecoder::to_eof());
            return Poll::Ready(Ok(Reply::Head(head, None)));
        }
        if head.status.is_informational() {
            return Poll::Ready(Ok(Reply::Interim(head.status, head.headers)));
        }
        // No tunnel after all: the request was an ordinary one, and is over.
        if std::mem::take(&mut self.tunnel) {
            self.request = Sending::Done;
        }
        self.keep_alive = keep_alive && !self.unwritten;
        self.reply = Some(decoder);
        Poll::Ready(Ok(Reply::Head(head, first)))
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        let (Some(connection), Some(decoder)) = (&mut self.connection, &mut self.reply) else {
            return Poll::Ready(Err(Reset(Failure::UpstreamTerminated)));
        };
        Poll::Ready(match ready!(connection.wire.poll_frame(cx, decoder)) {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(self.fail(Failure::UpstreamReset)),
            Err(_) => Err(self.fail(Failure::UpstreamTerminated)),
        })
    }
}

fn body_decoder(head: &ResponseHead, meta: &ResponseMeta) -> BodyDecoder {
    match head.body {
        BodyLength::Empty => BodyDecoder::length(0),
        BodyLength::Known(length) => BodyDecoder::length(length),
        BodyLength::Unknown if meta.chunked => BodyDecoder::chunked(),
        BodyLength::Unknown => BodyDecoder::to_eof(),
    }
}

impl Drop for Http1ClientStream {
    fn drop(&mut self) {
        let complete = self.keep_alive
            && !self.unwritten
            && self.request == Sending::Done
            && self.reply.as_ref().is_some_and(BodyDecoder::is_done);
        if let (true, Some(connection), Some(pool)) = (complete, self.connection.take(), self.pool.upgrade())
            && connection.wire.is_flushed()
            && connection.wire.input().is_empty()
        {
            pool.put(connection);
        }
    }
}
