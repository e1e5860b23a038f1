//! The server side of HTTP/2: one task for the connection and all of its requests.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Method, StatusCode};
use mosn_codec::http2::{ErrorCode, HeadLimits, Reply, Setting};
use mosn_core::{
    BodyLength, ConnectionInfo, Failure, Frame, Headers, Protocol, RequestHead, Reset, ResponseHead,
};
use mosn_net::{Io, timer::Timer};

use super::{
    connection::{Begun, Connection, Leaving, Over, Received, ServerSide, Shared, Side, linger},
    lower_case,
    meter::Flood,
    requests::Requests,
    stream::Taken,
};
use crate::{DrainWatch, ServerContext, ServerStream, Service, http_date};

/// How long a client may take for its preface when no other limit is set.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// How long, and for how many bytes, a request is read on that was answered before it was over.
const LINGER: Duration = Duration::from_millis(200);
const LINGER_BYTES: usize = 64 * 1024;

/// How long a client that we leave has to read our GOAWAY.
const LAST_WORD: Duration = Duration::from_secs(1);

/// An idle connection gives up the room of earlier requests after so long.
const SHRINKS_AFTER: Duration = Duration::from_secs(1);

/// How often the connection is read in one go, before others get their turn.
const READS: usize = 4;

/// Serves the connection until it ends. `first` is the request that an HTTP/1.1 client asked to go
/// on with in HTTP/2 (RFC 7540 3.2): it is stream 1, once the client goes on.
pub async fn serve<S: Service>(
    io: Io,
    first: Option<Box<RequestHead>>,
    cx: Rc<ServerContext>,
    service: Rc<S>,
) {
    let mut serving = Serving::new(io, first, cx, service);
    poll_fn(|task| serving.poll(task)).await;
    serving.end();
    let connection = Rc::clone(&serving.connection);
    drop(serving);
    linger(connection).await;
}

struct Serving<S> {
    connection: Shared,
    requests: Requests,
    cx: Rc<ServerContext>,
    service: Rc<S>,
    watch: DrainWatch,
    state: State,
    timer: Option<Timer>,
    /// Whether the room of earlier requests has been given up.
    shrunk: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client has not shown yet that it speaks HTTP/2; the timer runs.
    Opening,
    Open,
    /// GOAWAY was sent; what is under way goes on.
    Leaving,
}

impl<S: Service> Serving<S> {
    fn new(io: Io, first: Option<Box<RequestHead>>, cx: Rc<ServerContext>, service: Rc<S>) -> Self {
        let limits = &cx.limits;
        let window =
            u32::try_from(limits.max_buffered_bytes).unwrap_or(u32::MAX >> 3).clamp(65_535, u32::MAX >> 3);
        let settings = [
            Setting::InitialWindowSize(window),
            Setting::MaxConcurrentStreams(limits.max_concurrent_streams),
            Setting::MaxHeaderListSize(limits.max_header_list_size),
            Setting::EnableConnectProtocol(true),
        ];
        let upgraded = first.map(|mut head| {
            head.headers.remove("host");
            head.headers = lower_case(&head.headers);
            head
        });
        let side = ServerSide {
            scheme: cx.scheme,
            limits: HeadLimits { fields: limits.max_header_count, uri: limits.max_uri_length },
            max_streams: limits.max_concurrent_streams as usize,
            flood: Flood::new(limits),
            last: 0,
            gap: false,
            accepted: Vec::new(),
            refused: Vec::new(),
            unsaid: if upgraded.is_some() { settings.to_vec() } else { Vec::new() },
            upgraded,
            leaving: Leaving::No,
        };
        let list = limits.max_header_list_size;
        let mut connection = Connection::new(io, Side::Server(side), (window, window * 4), list, 0);
        // The task writes when its turn ends, whoever says something meanwhile.
        connection.working = true;
        if matches!(&connection.side, Side::Server(side) if side.unsaid.is_empty()) {
            connection.begin(&settings);
        }
        Self {
            connection: Rc::new(RefCell::new(connection)),
            requests: Requests::default(),
            watch: cx.drain.watch(),
            state: State::Opening,
            timer: Some(Timer::after(cx.opening_limit().unwrap_or(HANDSHAKE))),
            shrunk: false,
            cx,
            service,
        }
    }

    /// Ready when the connection is over.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.requests.register(task.waker());
        if self.state != State::Leaving && self.watch.poll(task).is_ready() {
            self.leave();
        }
        let mut reads = 0;
        loop {
            let received = self.connection.borrow_mut().receive(task);
            self.begin_requests();
            self.requests.run();
            let mut connection = self.connection.borrow_mut();
            let _ = connection.poll_flush(task);
            if received == Received::End || connection.over.is_some() {
                return Poll::Ready(());
            }
            let rests = connection.rests(received);
            drop(connection);
            reads += 1;
            if rests && !self.requests.is_any_woken() {
                break;
            }
            if reads == READS {
                task.waker().wake_by_ref();
                break;
            }
        }
        if self.state == State::Opening && self.connection.borrow().begun == Begun::Yes {
            (self.state, self.timer) = (State::Open, None);
        }
        self.poll_timer(task)
    }

    fn poll_timer(&mut self, task: &mut Context<'_>) -> Poll<()> {
        match self.state {
            State::Opening => self.timer.as_mut().map_or(Poll::Pending, |timer| timer.poll(task)),
            _ if self.requests.len() > 0 => {
                (self.timer, self.shrunk) = (None, false);
                Poll::Pending
            }
            State::Leaving => {
                if self.connection.borrow().has_left() {
                    return Poll::Ready(());
                }
                // A client that does not acknowledge our leaving is left all the same.
                self.timer.get_or_insert_with(|| Timer::after(LAST_WORD)).poll(task)
            }
            State::Open => {
                let shrinks = self.cx.idle_timeout.unwrap_or(SHRINKS_AFTER).min(SHRINKS_AFTER);
                if !self.shrunk {
                    ready!(self.timer.get_or_insert_with(|| Timer::after(shrinks)).poll(task));
                    (self.timer, self.shrunk) = (None, true);
                    self.requests.shrink();
                    self.connection.borrow_mut().shrink();
                }
                let Some(timeout) = self.cx.idle_timeout else { return Poll::Pending };
                let timeout = timeout.saturating_sub(shrinks);
                ready!(self.timer.get_or_insert_with(|| Timer::after(timeout)).poll(task));
                self.leave();
                task.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn leave(&mut self) {
        self.state = State::Leaving;
        self.timer = None;
        self.connection.borrow_mut().leave();
    }

    /// Begins what the client has asked for.
    fn begin_requests(&mut self) {
        let (accepted, refused) = match &mut self.connection.borrow_mut().side {
            Side::Server(side) if side.accepted.is_empty() && side.refused.is_empty() => return,
            Side::Server(side) => (std::mem::take(&mut side.accepted), std::mem::take(&mut side.refused)),
            Side::Client(_) => return,
        };
        // Also what is answered at once is use of the connection.
        (self.timer, self.shrunk) = (None, false);
        for why in refused {
            self.service.refused(&self.cx.info, Protocol::Http2, why);
        }
        for (key, head) in accepted {
            let mut stream = Http2ServerStream::new(&self.connection, key, &head, &self.cx.info);
            if stream.is_reset() {
                continue;
            }
            let service = Rc::clone(&self.service);
            self.requests.start(Box::pin(async move {
                service.serve(&mut stream, head).await;
                if stream.answered_early() {
                    stream.linger().await;
                }
            }));
        }
    }

    /// Ends what is under way, and says why the connection ended if that is of interest.
    fn end(&mut self) {
        let over = {
            let mut connection = self.connection.borrow_mut();
            connection.end(Over::Done);
            connection.over
        };
        if over == Some(Over::Failed(ErrorCode::ENHANCE_YOUR_CALM)) {
            self.service.flooded(&self.cx.info);
        }
        self.requests.end();
    }
}

struct Http2ServerStream {
    connection: Shared,
    key: usize,
    id: u32,
    info: Rc<ConnectionInfo>,
    head_sent: bool,
    /// Whether the last frame was handed over.
    ended: bool,
    expects_continue: bool,
    connect: bool,
    /// Some of the request may still come.
    unread: bool,
    was_reset: bool,
}

impl Drop for Http2ServerStream {
    fn drop(&mut self) {
        self.connection.borrow_mut().release(self.key);
    }
}

impl Http2ServerStream {
    fn new(connection: &Shared, key: usize, head: &RequestHead, info: &Rc<ConnectionInfo>) -> Self {
        Self {
            connection: Rc::clone(connection),
            key,
            id: connection.borrow().streams[key].id,
            info: Rc::clone(info),
            head_sent: false,
            ended: false,
            expects_continue: head.expects_continue,
            connect: head.method == Method::CONNECT,
            unread: !head.body.is_empty(),
            was_reset: false,
        }
    }

    fn is_reset(&self) -> bool {
        self.connection.borrow().streams[self.key].reset.is_some()
    }

    /// Whether the client has its whole reply while its request still goes on.
    const fn answered_early(&self) -> bool {
        self.unread && self.head_sent && self.ended && !self.was_reset
    }

    /// Lets the client end its request by itself for a moment, as most do once they have their reply:
    /// a reset from here would cross what is on its way.
    async fn linger(&self) {
        let mut timer = Timer::after(LINGER);
        let mut left = LINGER_BYTES;
        poll_fn(|cx| {
            while left > 0 {
                match self.poll_frame(cx) {
                    Poll::Ready(Ok(frame)) if !frame.is_last() => left = left.saturating_sub(frame.len()),
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll(cx),
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    fn poll_frame(&self, cx: &Context<'_>) -> Poll<Result<Frame, Failure>> {
        self.connection.borrow_mut().poll_frame(self.key, cx)
    }
}

impl Connection {
    /// The next frame of a body. Its window is given back as it is taken, so that the sender goes on
    /// only as fast as the frames are used.
    pub(super) fn poll_frame(&mut self, key: usize, cx: &Context<'_>) -> Poll<Result<Frame, Failure>> {
        let stream = &mut self.streams[key];
        match stream.incoming.take() {
            Some(Taken::Data { data, end }) => {
                self.give_back(Some(key), data.len() as u32);
                Poll::Ready(Ok(Frame::Data { data, end }))
            }
            Some(Taken::Trailers(trailers)) => Poll::Ready(Ok(Frame::Trailers(trailers))),
            None => match stream.reset {
                Some(why) => Poll::Ready(Err(why)),
                None => {
                    stream.wait(cx);
                    Poll::Pending
                }
            },
        }
    }
}

fn gone(result: Result<(), Failure>) -> Result<(), Reset> {
    result.map_err(|_| Reset(Failure::ClientGone))
}

impl ServerStream for Http2ServerStream {
    const CAN_CANCEL: bool = true;

    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn id(&self) -> u64 {
        u64::from(self.id)
    }

    fn connection(&self) -> &Rc<ConnectionInfo> {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        if std::mem::take(&mut self.expects_continue) && !self.head_sent {
            self.send_interim(cx, StatusCode::CONTINUE, &Headers::default());
        }
        let frame = ready!(self.poll_frame(cx));
        self.unread = frame.as_ref().is_ok_and(|frame| !frame.is_last());
        Poll::Ready(frame.map_err(Reset))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let stream = &mut self.connection.borrow_mut().streams[self.key];
        if stream.reset.is_some() {
            return Poll::Ready(Failure::ClientGone);
        }
        stream.wait(cx);
        Poll::Pending
    }

    fn send_interim(&mut self, _cx: &mut Context<'_>, status: StatusCode, headers: &Headers) {
        if self.head_sent {
            return;
        }
        if status == StatusCode::CONTINUE {
            self.expects_continue = false;
        }
        let reply = Reply { status, headers, body: None, date: None, tunnel: false };
        let mut connection = self.connection.borrow_mut();
        // Interim replies are a courtesy: they do not pile up for a client that does not read, and the
        // final one shows whether the stream lives.
        if connection.output.room() > 0 {
            let _ = connection.send_reply(self.key, reply, false);
        }
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: ResponseHead,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        let tunnel = self.connect && head.status == StatusCode::SWITCHING_PROTOCOLS;
        // RFC 8441 4: what HTTP/1 says with 101, an extended CONNECT says with 200.
        let status =
            if head.status == StatusCode::SWITCHING_PROTOCOLS { StatusCode::OK } else { head.status };
        self.head_sent = true;
        let end = match (&first, head.body) {
            (_, BodyLength::Empty) => true,
            (Some(Frame::Data { data, end: true }), _) => data.is_empty(),
            _ => false,
        };
        self.ended = end;
        gone(http_date(|date| {
            let (headers, body) = (&head.headers, Some(head.body));
            let reply = Reply { status, headers, body, date: Some(date), tunnel };
            self.connection.borrow_mut().send_reply(self.key, reply, end)
        }))?;
        match first {
            Some(frame) if !end => self.send(cx, frame),
            _ => Ok(()),
        }
    }

    fn send(&mut self, _cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        if self.ended {
            return Ok(());
        }
        self.ended = frame.is_last();
        gone(self.connection.borrow_mut().send_frame(self.key, frame))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        if self.ended || !self.head_sent {
            return Poll::Ready(Ok(()));
        }
        self.connection.borrow_mut().poll_ready(self.key, cx).map(gone)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        // What was framed is the connection's now, and outlives the stream.
        self.connection.borrow_mut().poll_sent(self.key, cx).map(gone)
    }

    fn reset(&mut self, why: Failure) {
        self.was_reset = true;
        let code = match why {
            Failure::BadRequest => ErrorCode::PROTOCOL_ERROR,
            Failure::UpstreamRefused => ErrorCode::REFUSED_STREAM,
            Failure::UpstreamCancelled => ErrorCode::CANCEL,
            _ => ErrorCode::INTERNAL_ERROR,
        };
        self.connection.borrow_mut().reset(self.key, code, why);
    }
}
