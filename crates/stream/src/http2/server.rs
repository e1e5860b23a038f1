//! The server side of HTTP/2: one task for the connection, one for each of its requests.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    server::{Connection, SendResponse},
};
use http::{HeaderValue, Method, StatusCode, header};
use mosn_core::{
    BodyLength, ConnectionInfo, Failure, Frame, Headers, Protocol, RequestHead, Reset, ResponseHead,
};
use mosn_net::{Io, timer::Timer};

use super::{
    SEND_BUFFER,
    meter::{Flood, Meter},
    socket::{Flush, Socket},
    upgrade,
};
use crate::{DrainWatch, ServerContext, ServerStream, Service, http_date};

/// How long a client may take for its preface when no other limit is set.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// How long, and for how many bytes, a request is read on that was answered before it was over.
const LINGER: Duration = Duration::from_millis(200);
const LINGER_BYTES: usize = 64 * 1024;

/// How long a client that we leave has to read our GOAWAY.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Serves the connection until it ends. `first` is the request that an HTTP/1.1 client asked to go
/// on with in HTTP/2.
pub async fn serve<S: Service>(
    mut io: Io,
    first: Option<Box<RequestHead>>,
    cx: Rc<ServerContext>,
    service: Rc<S>,
) {
    let watch = cx.drain.watch();
    let flood = Flood::new(&cx.limits);
    let mut timer = Timer::after(cx.opening_limit().unwrap_or(HANDSHAKE));
    if let Some(first) = &first {
        let mut replay = Box::pin(upgrade::replay(&mut io, first));
        let replayed = poll_fn(|task| match replay.as_mut().poll(task) {
            Poll::Pending => timer.poll(task).map(|()| false),
            Poll::Ready(done) => Poll::Ready(done.is_ok()),
        });
        if !replayed.await {
            return;
        }
    }
    let (socket, flush) = Socket::new(io, Some(Meter::new(Rc::clone(&flood))));
    let mut handshake = Box::pin(builder(&cx).handshake::<_, Bytes>(socket));
    let connection = poll_fn(|task| {
        let shaken = handshake.as_mut().poll(task);
        // What cannot be written shows when the connection is read.
        let _ = flush.poll_flush(task);
        match shaken {
            Poll::Pending => timer.poll(task).map(|()| None),
            Poll::Ready(done) => Poll::Ready(done.ok()),
        }
    })
    .await;
    drop(handshake);
    drop(timer);
    match connection {
        Some(connection) => {
            Serving::new(connection, flush, cx, service, flood, watch).run().await.linger().await;
        }
        None => flush.linger().await,
    }
}

fn builder(cx: &ServerContext) -> h2::server::Builder {
    let limits = &cx.limits;
    let window =
        u32::try_from(limits.max_buffered_bytes).unwrap_or(u32::MAX >> 3).clamp(65_535, u32::MAX >> 3);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(window * 4)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_list_size)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

struct Serving<S> {
    connection: Connection<Socket, Bytes>,
    flush: Flush,
    cx: Rc<ServerContext>,
    service: Rc<S>,
    flood: Rc<Flood>,
    watch: DrainWatch,
    active: Rc<Active>,
    idle: Option<Timer>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// GOAWAY was sent; what is under way goes on.
    Leaving,
    Flooded,
}

/// How many requests are being served, and whom to tell when there is none.
#[derive(Default)]
struct Active {
    requests: Cell<usize>,
    waker: Cell<Option<Waker>>,
}

struct ActiveRequest(Rc<Active>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
        if self.0.requests.get() == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

impl<S: Service> Serving<S> {
    fn new(
        connection: Connection<Socket, Bytes>,
        flush: Flush,
        cx: Rc<ServerContext>,
        service: Rc<S>,
        flood: Rc<Flood>,
        watch: DrainWatch,
    ) -> Self {
        Self {
            connection,
            flush,
            cx,
            service,
            flood,
            watch,
            active: Rc::default(),
            idle: None,
            state: State::Open,
        }
    }

    async fn run(mut self) -> Flush {
        while let Some((request, respond)) = poll_fn(|task| {
            let next = self.poll(task);
            // Everything that this turn had to say leaves in one piece.
            if !matches!(next, Poll::Ready(Some(_))) {
                let _ = self.flush.poll_flush(task);
            }
            next
        })
        .await
        {
            self.start(request, respond);
        }
        self.flush
    }

    /// The next request; `None` when the connection is over.
    #[allow(clippy::type_complexity)]
    fn poll(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<(http::Request<RecvStream>, SendResponse<Bytes>)>> {
        if self.state == State::Open && self.watch.poll(task).is_ready() {
            self.leave();
        }
        let accepted = self.connection.poll_accept(task);
        if self.flood.is_tripped() && self.state != State::Flooded {
            self.state = State::Flooded;
            self.idle = Some(Timer::after(LAST_WORD));
            self.service.flooded(&self.cx.info);
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            task.waker().wake_by_ref();
        }
        match accepted {
            Poll::Ready(Some(Ok(accepted))) => return Poll::Ready(Some(accepted)),
            Poll::Ready(Some(Err(error))) => {
                // `h2` counts some frames of its own accord.
                let calmed = error.reason() == Some(Reason::ENHANCE_YOUR_CALM) && !error.is_remote();
                if calmed && self.state != State::Flooded {
                    self.service.flooded(&self.cx.info);
                }
                return Poll::Ready(None);
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if self.state == State::Flooded {
            // Who does not read does not get to hear why.
            return self.idle.as_mut().map_or(Poll::Ready(None), |idle| idle.poll(task).map(|()| None));
        }
        if self.active.requests.get() > 0 {
            self.idle = None;
            self.active.waker.set(Some(task.waker().clone()));
        } else if self.state == State::Leaving {
            // A client that does not acknowledge our leaving is left all the same.
            return self.idle.get_or_insert_with(|| Timer::after(LAST_WORD)).poll(task).map(|()| None);
        } else if let Some(timeout) = self.cx.idle_timeout
            && self.idle.get_or_insert_with(|| Timer::after(timeout)).poll(task).is_ready()
        {
            self.leave();
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn leave(&mut self) {
        self.state = State::Leaving;
        self.idle = None;
        self.connection.graceful_shutdown();
    }

    fn start(&self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.active.requests.set(self.active.requests.get() + 1);
        let guard = ActiveRequest(Rc::clone(&self.active));
        let (service, cx) = (Rc::clone(&self.service), Rc::clone(&self.cx));
        // Boxed first: the runtime would move the whole of it several times.
        tokio::task::spawn_local(Box::pin(async move {
            let _guard = guard;
            let (parts, recv) = request.into_parts();
            match request_head(parts, &recv, &cx) {
                Ok(head) => {
                    let mut stream = Http2ServerStream::new(respond, recv, &head, &cx.info);
                    service.serve(&mut stream, Box::new(head)).await;
                    if stream.answered_early() {
                        stream.linger().await;
                    }
                }
                Err(why) => {
                    service.refused(&cx.info, Protocol::Http2, why);
                    refuse(respond, why);
                }
            }
        }));
    }
}

/// The request in the engine's terms. `h2` has checked what RFC 9113 8.2 and 8.3 ask for.
fn request_head(
    parts: http::request::Parts,
    recv: &RecvStream,
    cx: &ServerContext,
) -> Result<RequestHead, Failure> {
    let mut headers = parts.headers;
    if headers.len() > cx.limits.max_header_count {
        return Err(Failure::HeaderTooLarge);
    }
    let authority = match (parts.uri.authority(), headers.remove(header::HOST)) {
        // RFC 9113 8.3.1: no user information.
        (Some(authority), _) if authority.as_str().contains('@') => return Err(Failure::BadRequest),
        (Some(authority), _) => Bytes::copy_from_slice(authority.as_str().as_bytes()),
        (None, Some(host)) => Bytes::copy_from_slice(host.as_bytes()),
        (None, None) => Bytes::new(),
    };
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() > cx.limits.max_uri_length {
        return Err(Failure::UriTooLong);
    }
    if !path.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'#') {
        return Err(Failure::BadRequest);
    }
    let body = if recv.is_end_stream() {
        BodyLength::Empty
    } else {
        content_length(&headers).map_or(BodyLength::Unknown, BodyLength::Known)
    };
    let upgrade = parts
        .extensions
        .get::<h2::ext::Protocol>()
        .map(|protocol| Bytes::copy_from_slice(protocol.as_str().as_bytes()));
    let expects_continue = headers.remove(header::EXPECT).is_some_and(|value| value == "100-continue");
    Ok(RequestHead {
        path: Bytes::copy_from_slice(path.as_bytes()),
        method: parts.method,
        scheme: cx.scheme,
        authority,
        headers: Headers::Map(headers),
        body,
        upgrade,
        expects_continue,
        one_way: false,
    })
}

/// A `Content-Length` above 0.
pub(super) fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok().filter(|length| *length > 0)
}

fn refuse(mut respond: SendResponse<Bytes>, why: Failure) {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(why.row().status).unwrap_or(StatusCode::BAD_REQUEST);
    // If the client is gone there is nobody to tell.
    let _ = respond.send_response(response, true);
}

struct Http2ServerStream {
    info: Rc<ConnectionInfo>,
    respond: SendResponse<Bytes>,
    recv: RecvStream,
    /// After the head, unless that was the end.
    send: Option<SendStream<Bytes>>,
    head_sent: bool,
    expects_continue: bool,
    connect: bool,
    /// Some of the request may still come.
    unread: bool,
    was_reset: bool,
}

impl Http2ServerStream {
    fn new(
        respond: SendResponse<Bytes>,
        recv: RecvStream,
        head: &RequestHead,
        info: &Rc<ConnectionInfo>,
    ) -> Self {
        Self {
            info: Rc::clone(info),
            respond,
            recv,
            send: None,
            head_sent: false,
            expects_continue: head.expects_continue,
            connect: head.method == Method::CONNECT,
            unread: !head.body.is_empty(),
            was_reset: false,
        }
    }

    /// Whether the client has its whole reply while its request still goes on.
    const fn answered_early(&self) -> bool {
        self.unread && self.head_sent && self.send.is_none() && !self.was_reset
    }

    /// Lets the client end its request by itself for a moment, as most do once they have their reply:
    /// a reset from here would cross what is on its way.
    async fn linger(mut self) {
        let mut timer = Timer::after(LINGER);
        let mut left = LINGER_BYTES;
        poll_fn(|cx| {
            while left > 0 {
                match poll_frame(&mut self.recv, cx) {
                    Poll::Ready(Ok(frame)) if !frame.is_last() => left = left.saturating_sub(frame.len()),
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll(cx),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl ServerStream for Http2ServerStream {
    const CAN_CANCEL: bool = true;

    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn id(&self) -> u64 {
        u64::from(self.respond.stream_id().as_u32())
    }

    fn connection(&self) -> &Rc<ConnectionInfo> {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        if std::mem::take(&mut self.expects_continue) && !self.head_sent {
            self.send_interim(cx, StatusCode::CONTINUE, &Headers::default());
        }
        let frame = ready!(poll_frame(&mut self.recv, cx));
        self.unread = frame.as_ref().is_ok_and(|frame| !frame.is_last());
        Poll::Ready(frame.map_err(|error| {
            let invalid = error.reason() == Some(Reason::PROTOCOL_ERROR) && error.is_library();
            Reset(if invalid { Failure::BadRequest } else { Failure::ClientGone })
        }))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None if !self.head_sent => self.respond.poll_reset(cx),
            None => return Poll::Pending,
        };
        reset.map(|_| Failure::ClientGone)
    }

    fn send_interim(&mut self, _cx: &mut Context<'_>, status: StatusCode, headers: &Headers) {
        if self.head_sent {
            return;
        }
        if status == StatusCode::CONTINUE {
            self.expects_continue = false;
        }
        let mut response = http::Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers.clone().into_map();
        // Interim replies are a courtesy: the final one shows whether the stream lives.
        let _ = self.respond.send_informational(response);
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: ResponseHead,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        let mut response = http::Response::new(());
        // RFC 8441 4: what HTTP/1 says with 101, an extended CONNECT says with 200.
        *response.status_mut() =
            if head.status == StatusCode::SWITCHING_PROTOCOLS { StatusCode::OK } else { head.status };
        let mut headers = head.headers.into_map();
        if !headers.contains_key(header::DATE)
            && let Ok(date) = http_date(HeaderValue::from_str)
        {
            headers.insert(header::DATE, date);
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
        if self.connect && head.status == StatusCode::SWITCHING_PROTOCOLS {
            headers.remove("sec-websocket-accept");
        }
        *response.headers_mut() = headers;
        self.head_sent = true;
        let end = match (&first, head.body) {
            (_, BodyLength::Empty) => true,
            (Some(Frame::Data { data, end: true }), _) => data.is_empty(),
            _ => false,
        };
        let sent = self.respond.send_response(response, end);
        let send = gone(sent)?;
        if !end {
            self.send = Some(send);
        }
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
        if last {
            self.send = None;
        }
        gone(sent)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        match &mut self.send {
            None => Poll::Ready(Ok(())),
            Some(send) => poll_capacity(send, cx).map_err(|()| Reset(Failure::ClientGone)),
        }
    }

    fn poll_flushed(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        // What was sent is the connection task's now, and outlives the stream.
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, why: Failure) {
        self.was_reset = true;
        let reason = match why {
            Failure::BadRequest => Reason::PROTOCOL_ERROR,
            Failure::UpstreamRefused => Reason::REFUSED_STREAM,
            Failure::UpstreamCancelled => Reason::CANCEL,
            _ => Reason::INTERNAL_ERROR,
        };
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}

fn gone<T>(result: Result<T, h2::Error>) -> Result<T, Reset> {
    result.map_err(|_| Reset(Failure::ClientGone))
}

/// The next frame of a body. Its window is given back as it is taken, so that the sender goes on
/// only as fast as the frames are used.
pub(super) fn poll_frame(recv: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Frame, h2::Error>> {
    loop {
        match ready!(recv.poll_data(cx)) {
            Some(Ok(data)) => {
                // Fails only for more than was received.
                let _ = recv.flow_control().release_capacity(data.len());
                let end = recv.is_end_stream();
                if end || !data.is_empty() {
                    return Poll::Ready(Ok(Frame::Data { data, end }));
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {
                return Poll::Ready(Ok(match ready!(recv.poll_trailers(cx))? {
                    Some(trailers) => Frame::Trailers(Box::new(Headers::Map(trailers))),
                    None => Frame::END,
                }));
            }
        }
    }
}

/// Ready when the stream's window, and its buffer here, have room.
pub(super) fn poll_capacity(send: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
    if send.capacity() > 0 {
        return Poll::Ready(Ok(()));
    }
    send.reserve_capacity(1);
    loop {
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(Ok(_)) => return Poll::Ready(Ok(())),
            Some(Err(_)) | None => return Poll::Ready(Err(())),
        }
    }
}
