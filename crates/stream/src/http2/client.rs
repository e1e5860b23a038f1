//! The client side of HTTP/2: few connections to a host, many streams on each.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

use http::{Method, StatusCode};
use mosn_codec::http2::{ErrorCode, MAX_STREAM, Setting, write_go_away};
use mosn_core::{BodyLength, Failure, Frame, RequestHead, Reset};
use mosn_net::{Io, clock};
use tokio::time::Instant;

use super::{
    connection::{Begun, ClientSide, Connection, Over, Shared, Side, linger},
    stream::Stream,
};
use crate::{
    ClientStream, Held, Lifetime, Reply,
    queue::{Queue, Wants},
};

/// Windows and limits that we give an upstream. The window of a stream is what may pile up here
/// while the client reads slowly. The connection's is larger than all of them together: it is shared
/// between clients, and one that does not read must not use it up for the others.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1 << 30;
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// Streams on a connection whose SETTINGS have not come yet.
const INITIAL_STREAMS: usize = 100;
/// How often the connection is read in one go, before others get their turn.
const READS: usize = 4;

/// An upstream connection; it ends when the peer ends it, or when it is dropped from its pool and
/// its last stream is over.
pub struct Http2Connection {
    shared: Shared,
    id: u64,
    /// Streams that are in use.
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    requests: Cell<u32>,
    opened: Instant,
    /// Who waits for a stream, where connections are limited.
    queue: OnceCell<Rc<Queue>>,
}

impl std::fmt::Debug for Http2Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Connection").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Http2Connection {
    /// Begins HTTP/2 on an open connection, and drives it on a task of its own; `held` is dropped
    /// when it closes.
    #[must_use]
    pub fn open(io: Io, id: u64, held: Box<dyn Held>) -> Rc<Self> {
        let side = ClientSide { next: 1, waiting: VecDeque::new(), gone_away: false, dropped: false };
        let windows = (STREAM_WINDOW, CONNECTION_WINDOW);
        let mut connection =
            Connection::new(io, Side::Client(side), windows, MAX_HEADER_LIST, INITIAL_STREAMS);
        connection.begin(&[
            Setting::EnablePush(false),
            Setting::InitialWindowSize(STREAM_WINDOW),
            Setting::MaxHeaderListSize(MAX_HEADER_LIST),
        ]);
        let shared = Rc::new(RefCell::new(connection));
        let driven = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let over = poll_fn(|cx| driven.borrow_mut().drive(cx)).await;
            if matches!(over, Over::Closed | Over::Failed(_)) {
                held.ended_by_peer();
            }
            drop(held);
            linger(driven).await;
        });
        let (streams, requests, now) = (Cell::new(0), Cell::new(0), clock::now());
        Rc::new(Self {
            shared,
            id,
            streams,
            idle_since: Cell::new(now),
            requests,
            opened: now,
            queue: OnceCell::new(),
        })
    }

    fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Whether the peer still takes new streams. One that allows none at all is as good as gone: it would
    /// be kept, without use, for every request that had to open another.
    fn is_open(&self) -> bool {
        let connection = self.shared.borrow();
        connection.over.is_none()
            && connection.peer.max_streams > 0
            && matches!(&connection.side, Side::Client(side) if !side.gone_away && side.next <= MAX_STREAM)
    }

    /// Whether another stream can be opened right away.
    fn has_room(&self) -> bool {
        self.streams.get() < self.shared.borrow().peer.max_streams
    }
}

impl Drop for Http2Connection {
    fn drop(&mut self) {
        let mut connection = self.shared.borrow_mut();
        if let Side::Client(side) = &mut connection.side {
            side.dropped = true;
        }
        connection.said();
    }
}

impl Connection {
    /// Reads and writes as long as there is anything to read or to write; ready when the connection is
    /// over.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        self.working = true;
        match &self.task {
            Some(task) if task.will_wake(cx.waker()) => {}
            _ => self.task = Some(cx.waker().clone()),
        }
        for read in 1.. {
            let received = self.receive(cx);
            let idle = self.open_streams() == 0;
            if let Side::Client(side) = &self.side
                && idle
                && self.over.is_none()
                && (side.dropped || (side.gone_away && side.waiting.is_empty()))
            {
                let peer = !side.dropped;
                write_go_away(self.output.buffer(), 0, ErrorCode::NO_ERROR);
                self.end(if peer { Over::Closed } else { Over::Done });
            }
            let _ = self.poll_flush(cx);
            if let Some(over) = self.over {
                return Poll::Ready(over);
            }
            if self.rests(received) {
                break;
            }
            if read == READS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.working = false;
        Poll::Pending
    }
}

/// Connections to one host.
#[derive(Debug, Default)]
pub struct Http2Pool {
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    lifetime: Lifetime,
    /// Who waits for a stream, where connections are limited.
    queue: OnceCell<Rc<Queue>>,
}

impl Http2Pool {
    /// No connections yet; how long each will live.
    #[must_use]
    pub fn new(lifetime: Lifetime) -> Self {
        Self { lifetime, ..Self::default() }
    }

    /// Sets who waits for a stream; to be called before the first connection is put in.
    pub(crate) fn set_queue(&self, queue: Rc<Queue>) {
        let _ = self.queue.set(queue);
    }

    /// Whether it takes another stream, now or when one of its streams is over. What does not ends
    /// with its last stream.
    fn is_usable(&self, connection: &Http2Connection) -> bool {
        let age = || clock::now().duration_since(connection.opened);
        let idle = || clock::now().duration_since(connection.idle_since.get());
        connection.is_open()
            && !self.lifetime.is_over(connection.requests.get(), age)
            && !(connection.is_idle() && self.lifetime.has_idled(idle))
    }

    /// A connection that has room for another stream, unless others wait for one.
    #[must_use]
    pub fn take(&self) -> Option<Rc<Http2Connection>> {
        if self.queue.get().is_some_and(|queue| !queue.is_empty()) { None } else { self.take_in_turn() }
    }

    /// The same for whoever has waited for it.
    pub(crate) fn take_in_turn(&self) -> Option<Rc<Http2Connection>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| self.is_usable(connection));
        connections.iter().find(|connection| connection.has_room()).cloned()
    }

    /// Adds a new connection.
    pub fn put(&self, connection: Rc<Http2Connection>) {
        if let Some(queue) = self.queue.get() {
            let _ = connection.queue.set(Rc::clone(queue));
        }
        self.connections.borrow_mut().push(connection);
    }

    /// Lets go of connections that are not to be used any more.
    pub fn sweep(&self) {
        self.connections.borrow_mut().retain(|connection| self.is_usable(connection));
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

    /// Whether there is a connection without streams that is not the only one: that would come back
    /// whatever the limit.
    pub(crate) fn has_idle(&self) -> bool {
        let connections = self.connections.borrow();
        connections.len() > 1 && connections.iter().any(|connection| connection.is_idle())
    }

    /// Closes a connection without streams.
    pub(crate) fn close_idle(&self) {
        let mut connections = self.connections.borrow_mut();
        if let Some(at) = connections.iter().position(|connection| connection.is_idle()) {
            connections.remove(at);
        }
    }

    /// Lets go of every connection; streams under way go on.
    pub fn clear(&self) {
        self.connections.borrow_mut().clear();
    }
}

/// One stream to an upstream.
#[derive(Debug)]
pub struct Http2ClientStream {
    connection: Rc<Http2Connection>,
    /// From the head on.
    key: Option<usize>,
    tunnel: bool,
    /// A tunnel's request that waits for the peer's SETTINGS.
    deferred: Option<Box<RequestHead>>,
    reused: bool,
}

impl Http2ClientStream {
    /// On a connection that has room.
    #[must_use]
    pub fn new(connection: Rc<Http2Connection>) -> Self {
        let reused = connection.requests.get() > 0;
        connection.requests.set(connection.requests.get().saturating_add(1));
        connection.streams.set(connection.streams.get() + 1);
        Self { connection, key: None, tunnel: false, deferred: None, reused }
    }

    /// The stream's place, from the head on.
    fn key(&self) -> Result<usize, Reset> {
        self.key.ok_or(Reset(Failure::LocalReset))
    }

    /// Sends the tunnel's request, now that it is known whether the peer takes it.
    fn poll_deferred(&mut self, cx: &Context<'_>) -> Poll<Result<(), Reset>> {
        let Some(head) = &mut self.deferred else { return Poll::Ready(Ok(())) };
        let key = self.key.ok_or(Reset(Failure::LocalReset))?;
        let mut connection = self.connection.shared.borrow_mut();
        if let Some(why) = connection.streams[key].reset {
            return Poll::Ready(Err(Reset(why)));
        }
        if connection.begun != Begun::Yes {
            connection.streams[key].wait(cx);
            return Poll::Pending;
        }
        if !connection.peer.extended_connect {
            return Poll::Ready(Err(Reset(Failure::NotImplemented)));
        }
        let sent = connection.send_request(key, head, false, false);
        drop(connection);
        self.deferred = None;
        Poll::Ready(sent.map_err(Reset))
    }
}

impl Drop for Http2ClientStream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        if connection.streams.get() == 0 {
            connection.idle_since.set(clock::now());
        }
        if let Some(key) = self.key {
            connection.shared.borrow_mut().release(key);
        }
        if let Some(queue) = connection.queue.get() {
            queue.freed(Wants::Http2);
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
        if head.authority.is_empty() {
            return Err(Reset(Failure::BadRequest));
        }
        let mut connection = self.connection.shared.borrow_mut();
        let (window, initial) = (connection.windows.stream, connection.peer.initial_window);
        let mut stream = Stream::new(0, window, initial);
        stream.incoming.bodiless = head.method == Method::HEAD;
        let key = connection.insert(stream);
        self.key = Some(key);
        if self.tunnel {
            drop(connection);
            self.deferred = Some(Box::new(head.clone()));
            return match self.poll_deferred(cx) {
                Poll::Ready(sent) => sent,
                Poll::Pending => Ok(()),
            };
        }
        let end = head.body.is_empty()
            || matches!(&first, Some(Frame::Data { data, end: true }) if data.is_empty());
        connection.send_request(key, head, keep, end).map_err(Reset)?;
        if let Some(frame) = first.filter(|_| !end) {
            // A peer that has reset the stream may have answered first: the reply shows.
            let _ = connection.send_frame(key, frame);
        }
        Ok(())
    }

    fn send(&mut self, _cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let _ = self.connection.shared.borrow_mut().send_frame(self.key()?, frame);
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        let _ = ready!(self.connection.shared.borrow_mut().poll_ready(self.key()?, cx));
        Poll::Ready(Ok(()))
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>> {
        ready!(self.poll_deferred(cx))?;
        let key = self.key()?;
        let mut connection = self.connection.shared.borrow_mut();
        let stream = &mut connection.streams[key];
        if let Some((status, headers)) = stream.incoming.interim.pop_front() {
            return Poll::Ready(Ok(Reply::Interim(status, headers)));
        }
        let Some(mut head) = stream.incoming.head.take() else {
            return match stream.reset {
                Some(why) => Poll::Ready(Err(Reset(why))),
                None => {
                    stream.wait(cx);
                    Poll::Pending
                }
            };
        };
        if self.tunnel && head.status.is_success() {
            head.status = StatusCode::SWITCHING_PROTOCOLS;
            head.body = BodyLength::Unknown;
            return Poll::Ready(Ok(Reply::Head(head, None)));
        }
        if stream.incoming.is_empty_body() {
            head.body = BodyLength::Empty;
            return Poll::Ready(Ok(Reply::Head(head, None)));
        }
        // A body that came with its head leaves with it.
        let first = match connection.poll_frame(key, cx) {
            Poll::Ready(frame) => Some(frame.map_err(Reset)?),
            Poll::Pending => None,
        };
        Poll::Ready(Ok(Reply::Head(head, first)))
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        let key = self.key()?;
        self.connection.shared.borrow_mut().poll_frame(key, cx).map_err(Reset)
    }
}
