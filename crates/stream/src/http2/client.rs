//! The client side of HTTP/2: few connections to a host, many streams on each.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use mosn_core::{BodyLength, Failure, Frame, Headers, RequestHead, Reset, ResponseHead};
use mosn_net::{Io, clock, timer::Timer};
use tokio::time::Instant;

use super::{
    SEND_BUFFER,
    server::{content_length, poll_capacity, poll_frame},
    socket::Socket,
    upstream_failure,
};
use crate::{ClientStream, Held, Reply};

/// Windows and limits that we give an upstream. The window of a stream is what may pile up here
/// while the client reads slowly.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// Streams on a connection whose SETTINGS have not come yet.
const INITIAL_STREAMS: usize = 100;

/// An upstream connection; it ends when the peer ends it, or when it is dropped from its pool and
/// its last stream is over.
#[derive(Debug)]
pub struct Http2Connection {
    send: RefCell<SendRequest<Bytes>>,
    id: u64,
    state: Rc<ConnectionState>,
    requests: Cell<u32>,
    opened: Instant,
    settings: RefCell<Settings>,
}

/// Whether the peer's SETTINGS have come. They are the first that it sends, so an answered PING
/// shows that they have; it is only sent when somebody needs to know.
#[derive(Debug)]
enum Settings {
    Unknown(Option<h2::PingPong>),
    Asked(h2::PingPong, Vec<Waker>),
    Known,
}

#[derive(Debug)]
struct ConnectionState {
    streams: Cell<usize>,
    closed: Cell<bool>,
    idle_since: Cell<Instant>,
}

impl Http2Connection {
    /// Begins HTTP/2 on an open connection, and drives it on a task of its own; `held` is dropped
    /// when it closes.
    ///
    /// # Errors
    /// When the handshake fails or takes longer than `timeout`.
    pub async fn open(io: Io, id: u64, timeout: Duration, held: Box<dyn Held>) -> Result<Rc<Self>, Failure> {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_max_send_streams(INITIAL_STREAMS)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false);
        let mut timer = Timer::after(timeout);
        let (socket, flush) = Socket::new(io, None);
        let mut handshake = Box::pin(builder.handshake::<_, Bytes>(socket));
        let (send, mut connection) = poll_fn(|cx| match handshake.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(|_| Failure::ConnectFailed)),
            Poll::Pending => timer.poll(cx).map(|()| Err(Failure::ConnectTimeout)),
        })
        .await?;
        let state = Rc::new(ConnectionState {
            streams: Cell::new(0),
            closed: Cell::new(false),
            idle_since: Cell::new(clock::now()),
        });
        let settings = RefCell::new(Settings::Unknown(connection.ping_pong()));
        let driven = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            poll_fn(|cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                // What cannot be written shows when the connection is read.
                let _ = flush.poll_flush(cx);
                // How it ended shows on its streams.
                ended.map(|_| ())
            })
            .await;
            // As long as a pool or a stream has the connection, its end is none of our doing.
            if Rc::strong_count(&driven) > 1 {
                held.ended_by_peer();
            }
            driven.closed.set(true);
        });
        let (send, requests, opened) = (RefCell::new(send), Cell::new(0), clock::now());
        Ok(Rc::new(Self { send, id, state, requests, opened, settings }))
    }

    /// Ready when it is known whether the peer takes extended CONNECT.
    fn poll_settings(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let enabled = || self.send.borrow().is_extended_connect_protocol_enabled();
        if enabled() {
            return Poll::Ready(true);
        }
        let mut settings = self.settings.borrow_mut();
        if let Settings::Unknown(ping) = &mut *settings {
            *settings = match ping.take().map(|mut ping| (ping.send_ping(h2::Ping::opaque()), ping)) {
                Some((Ok(()), ping)) => Settings::Asked(ping, Vec::new()),
                // One that cannot be sent shows that the connection is over.
                _ => Settings::Known,
            };
        }
        if let Settings::Asked(ping, waiting) = &mut *settings {
            waiting.push(cx.waker().clone());
            ready!(ping.poll_pong(cx)).ok();
            std::mem::take(waiting).into_iter().for_each(Waker::wake);
            *settings = Settings::Known;
        }
        Poll::Ready(enabled())
    }

    /// Whether another stream can be opened right away.
    fn has_room(&self) -> bool {
        !self.state.closed.get() && self.state.streams.get() < self.send.borrow().current_max_send_streams()
    }
}

/// Connections to one host.
#[derive(Debug, Default)]
pub struct Http2Pool {
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    max_requests: Cell<Option<u32>>,
    max_age: Cell<Option<Duration>>,
}

impl Http2Pool {
    /// Sets after how many requests a connection is replaced.
    pub fn set_max_requests(&self, max: Option<u32>) {
        self.max_requests.set(max);
    }

    /// Sets at which age a connection is replaced; its streams go on.
    pub fn set_max_age(&self, max: Option<Duration>) {
        self.max_age.set(max);
    }

    fn is_old(&self, connection: &Http2Connection) -> bool {
        self.max_age.get().is_some_and(|max| clock::now().duration_since(connection.opened) >= max)
    }

    /// A connection that has room for another stream.
    #[must_use]
    pub fn take(&self) -> Option<Rc<Http2Connection>> {
        let mut connections = self.connections.borrow_mut();
        let max = self.max_requests.get();
        // GOAWAY does not end a connection with streams on it; it only refuses new ones.
        connections.retain(|connection| {
            !connection.state.closed.get()
                && max.is_none_or(|max| connection.requests.get() < max)
                && !self.is_old(connection)
                && connection.is_open()
        });
        connections.iter().find(|connection| connection.has_room()).cloned()
    }

    /// Adds a new connection.
    pub fn put(&self, connection: Rc<Http2Connection>) {
        self.connections.borrow_mut().push(connection);
    }

    /// Lets go of connections without streams that have idled for `timeout`, and of closed ones.
    pub fn sweep(&self, timeout: Option<Duration>) {
        let now = clock::now();
        self.connections.borrow_mut().retain(|connection| {
            let state = &connection.state;
            let expired = state.streams.get() == 0
                && timeout.is_some_and(|timeout| now.duration_since(state.idle_since.get()) >= timeout);
            !state.closed.get() && !expired && !self.is_old(connection)
        });
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets go of every connection; streams under way go on.
    pub fn clear(&self) {
        self.connections.borrow_mut().clear();
    }
}

impl Http2Connection {
    /// Whether the peer still takes new streams.
    fn is_open(&self) -> bool {
        let mut send = self.send.borrow_mut();
        !matches!(send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }
}

/// Counts a stream on its connection.
#[derive(Debug)]
struct StreamCount(Rc<ConnectionState>);

impl StreamCount {
    fn new(state: &Rc<ConnectionState>) -> Self {
        state.streams.set(state.streams.get() + 1);
        Self(Rc::clone(state))
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        if self.0.streams.get() == 0 {
            self.0.idle_since.set(clock::now());
        }
    }
}

/// One stream to an upstream.
#[derive(Debug)]
pub struct Http2ClientStream {
    connection: Rc<Http2Connection>,
    send: Option<SendStream<Bytes>>,
    reply: Option<ResponseFuture>,
    recv: Option<RecvStream>,
    tunnel: bool,
    /// A tunnel's request that waits for the peer's SETTINGS.
    deferred: Option<Box<http::Request<()>>>,
    reused: bool,
    _count: StreamCount,
}

impl Http2ClientStream {
    /// On a connection that has room.
    #[must_use]
    pub fn new(connection: Rc<Http2Connection>) -> Self {
        let reused = connection.requests.get() > 0;
        connection.requests.set(connection.requests.get().saturating_add(1));
        let count = StreamCount::new(&connection.state);
        Self {
            connection,
            send: None,
            reply: None,
            recv: None,
            tunnel: false,
            deferred: None,
            reused,
            _count: count,
        }
    }
}

impl Http2ClientStream {
    fn send_request(
        &mut self,
        cx: &mut Context<'_>,
        request: http::Request<()>,
        end: bool,
    ) -> Result<(), Reset> {
        let mut sender = self.connection.send.borrow_mut();
        let sent = match sender.poll_ready(cx) {
            Poll::Ready(Ok(())) => sender.send_request(request, end),
            // A stream that waits for its turn blocks this handle, not another.
            Poll::Pending => sender.clone().send_request(request, end),
            Poll::Ready(Err(error)) => Err(error),
        };
        drop(sender);
        // Nothing was sent: the connection had gone, and another will do.
        let (reply, send) = sent.map_err(|_| Reset(Failure::UpstreamRefused))?;
        self.reply = Some(reply);
        self.send = (!end).then_some(send);
        Ok(())
    }

    fn send_deferred(&mut self, cx: &mut Context<'_>, enabled: bool) -> Result<(), Reset> {
        match self.deferred.take() {
            Some(request) if enabled => self.send_request(cx, *request, false),
            _ => Err(Reset(Failure::NotImplemented)),
        }
    }
}

impl ClientStream for Http2ClientStream {
    fn connection_id(&self) -> u64 {
        self.connection.id
    }

    fn is_reused(&self) -> bool {
        self.reused
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        keep: bool,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        self.tunnel = head.upgrade.is_some();
        let request = request(head, keep).ok_or(Reset(Failure::BadRequest))?;
        let end = !self.tunnel
            && (head.body.is_empty()
                || matches!(&first, Some(Frame::Data { data, end: true }) if data.is_empty()));
        if self.tunnel {
            self.deferred = Some(Box::new(request));
            return match self.connection.poll_settings(cx) {
                Poll::Ready(enabled) => self.send_deferred(cx, enabled),
                Poll::Pending => Ok(()),
            };
        }
        self.send_request(cx, request, end)?;
        match first {
            Some(frame) if !end => self.send(cx, frame),
            _ => Ok(()),
        }
    }

    fn send(&mut self, _cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let Some(send) = &mut self.send else {
            return Ok(());
        };
        let last = frame.is_last();
        let sent = match frame {
            Frame::Data { data, end } if end || !data.is_empty() => send.send_data(data, end),
            Frame::Data { .. } => Ok(()),
            Frame::Trailers(trailers) => send.send_trailers(trailers.into_map()),
        };
        // A peer that has reset the stream may have answered first: the reply shows.
        if last || sent.is_err() {
            self.send = None;
        }
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        let Some(send) = &mut self.send else {
            return Poll::Ready(Ok(()));
        };
        if ready!(poll_capacity(send, cx)).is_err() {
            self.send = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>> {
        if self.deferred.is_some() {
            let enabled = ready!(self.connection.poll_settings(cx));
            self.send_deferred(cx, enabled)?;
        }
        let Some(reply) = &mut self.reply else {
            return Poll::Ready(Err(Reset(Failure::LocalReset)));
        };
        match ready!(reply.poll_informational(cx)) {
            Some(Ok(interim)) => {
                let (parts, ()) = interim.into_parts();
                return Poll::Ready(Ok(Reply::Interim(parts.status, Headers::Map(parts.headers))));
            }
            Some(Err(error)) => return Poll::Ready(Err(Reset(upstream_failure(&error)))),
            None => {}
        }
        let response = match ready!(Pin::new(reply).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(Reset(upstream_failure(&error)))),
        };
        self.reply = None;
        let (parts, mut recv) = response.into_parts();
        let mut status = parts.status;
        let mut first = None;
        let body = if self.tunnel && status.is_success() {
            status = StatusCode::SWITCHING_PROTOCOLS;
            BodyLength::Unknown
        } else if recv.is_end_stream() {
            BodyLength::Empty
        } else {
            // A body that came with its head leaves with it.
            if let Poll::Ready(frame) = poll_frame(&mut recv, cx) {
                first = Some(frame.map_err(|error| Reset(upstream_failure(&error)))?);
            }
            content_length(&parts.headers).map_or(BodyLength::Unknown, BodyLength::Known)
        };
        if !body.is_empty() && !first.as_ref().is_some_and(Frame::is_last) {
            self.recv = Some(recv);
        }
        let head = ResponseHead { status, headers: Headers::Map(parts.headers), body };
        Poll::Ready(Ok(Reply::Head(head, first)))
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        let Some(recv) = &mut self.recv else {
            return Poll::Ready(Err(Reset(Failure::UpstreamTerminated)));
        };
        poll_frame(recv, cx).map(|frame| frame.map_err(|error| Reset(upstream_failure(&error))))
    }
}

/// The request as HTTP/2 has it; `None` if it cannot have it.
fn request(head: &mut RequestHead, keep: bool) -> Option<http::Request<()>> {
    let headers = if keep { head.headers.clone() } else { std::mem::take(&mut head.headers) };
    let mut headers = headers.into_map();
    headers.remove(header::HOST);
    // The only value that HTTP/2 has room for (RFC 9113 8.2.2).
    if headers.contains_key(header::TE) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    match head.body {
        BodyLength::Known(length) if !headers.contains_key(header::CONTENT_LENGTH) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        BodyLength::Unknown => {
            headers.remove(header::CONTENT_LENGTH);
        }
        _ => {}
    }
    let path = if head.path.is_empty() { Bytes::from_static(b"/") } else { head.path.clone() };
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(http::uri::PathAndQuery::from_maybe_shared(path).ok()?);
    uri.scheme = Some(match head.scheme {
        mosn_core::Scheme::Http => http::uri::Scheme::HTTP,
        mosn_core::Scheme::Https => http::uri::Scheme::HTTPS,
    });
    uri.authority = Some(http::uri::Authority::from_maybe_shared(head.authority.clone()).ok()?);
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.headers_mut() = headers;
    if let Some(protocol) = &head.upgrade {
        *request.method_mut() = Method::CONNECT;
        request.headers_mut().remove("sec-websocket-key");
        request.extensions_mut().insert(h2::ext::Protocol::from(std::str::from_utf8(protocol).ok()?));
    }
    Some(request)
}
