//! A connection: what the server's side and the client's have in common.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use ahash::RandomState;
use mosn_codec::http2::{
    DEFAULT_WINDOW, ErrorCode, HeadLimits, PREFACE, Setting,
    hpack::{Decoder, Encoder},
    write_go_away, write_ping, write_reset, write_settings, write_window_update,
};
use mosn_core::{Failure, RequestHead, Scheme};
use mosn_net::{Io, scratch};
use slab::Slab;

use super::{meter::Flood, output::Output, stream::Stream};
use crate::linger::Linger;

/// Streams that we reset lately, whose last frames may still be on their way.
const REMEMBERED_RESETS: usize = 256;
/// The PING that goes with our GOAWAY: once it is answered, the client knows that we leave.
pub(super) const LEAVING: [u8; 8] = *b"leaving!";

/// A connection, as its task and its streams share it.
pub(super) type Shared = Rc<RefCell<Connection>>;

pub(super) struct Connection {
    pub(super) io: Io,
    pub(super) side: Side,
    /// The beginning of a frame.
    pub(super) input: Vec<u8>,
    pub(super) output: Output,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) streams: Slab<Stream>,
    /// The streams that are open for the peer, by their ids.
    open: HashMap<u32, usize, RandomState>,
    /// The one that was looked for last: its frames come one behind the other.
    last_found: (u32, usize),
    pub(super) begun: Begun,
    pub(super) peer: Peer,
    /// Bytes of DATA that the peer takes, on all streams.
    pub(super) send_window: i64,
    pub(super) windows: Windows,
    /// A header block that is not complete.
    pub(super) block: Option<Box<PartialBlock>>,
    /// Streams that wait for the connection's window, or for room in its output, in turn.
    pub(super) line: VecDeque<usize>,
    resets: VecDeque<u32>,
    /// The largest header list that we take.
    pub(super) max_header_list: u32,
    pub(super) over: Option<Over>,
    /// Whom to wake when there is something to write; `None` while the task itself is at work.
    pub(super) task: Option<Waker>,
    pub(super) working: bool,
}

pub(super) enum Side {
    Server(ServerSide),
    Client(ClientSide),
}

/// What only a server knows.
pub(super) struct ServerSide {
    pub(super) scheme: Scheme,
    pub(super) limits: HeadLimits,
    pub(super) max_streams: usize,
    pub(super) flood: Flood,
    /// The highest stream that the client has opened.
    pub(super) last: u32,
    /// Whether it left out any below.
    pub(super) gap: bool,
    /// Requests that have come and were not begun.
    pub(super) accepted: Vec<(usize, Box<RequestHead>)>,
    /// Those that were refused, and why.
    pub(super) refused: Vec<Failure>,
    /// The request that an HTTP/1.1 client asked to go on with.
    pub(super) upgraded: Option<Box<RequestHead>>,
    /// Our settings, as long as the client has not shown that it speaks HTTP/2.
    pub(super) unsaid: Vec<Setting>,
    pub(super) leaving: Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The client was told, and may not have heard yet.
    Told,
    /// It has: streams above this are not begun.
    At(u32),
}

/// What only a client knows.
pub(super) struct ClientSide {
    /// The id of the next stream.
    pub(super) next: u32,
    /// Streams that the peer has no room for yet.
    pub(super) waiting: VecDeque<usize>,
    /// Whether the peer takes no new streams any more.
    pub(super) gone_away: bool,
    /// Whether nobody uses the connection any more.
    pub(super) dropped: bool,
}

/// How far the peer's beginning has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// Its preface is awaited.
    No,
    /// Its SETTINGS are.
    Preface,
    Yes,
}

/// The peer's settings.
pub(super) struct Peer {
    pub(super) initial_window: i64,
    pub(super) max_streams: usize,
    pub(super) extended_connect: bool,
}

/// The windows that we give the peer.
pub(super) struct Windows {
    pub(super) stream: u32,
    connection: u32,
    /// What is left of the connection's.
    pub(super) left: i64,
    /// What was used of it, and not given back yet.
    used: u32,
}

#[derive(Debug)]
pub(super) struct PartialBlock {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: usize,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The peer closed it, or it broke.
    Closed,
    /// We ended it.
    Failed(ErrorCode),
    /// There was nothing more to do.
    Done,
}

/// What reading has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// There was nothing.
    Nothing,
    /// Nothing is taken before more was written.
    Held,
    Something,
    /// The connection is over.
    End,
}

impl Connection {
    /// A connection whose first words are `settings`.
    pub(super) fn new(
        io: Io,
        side: Side,
        windows: (u32, u32),
        max_header_list: u32,
        initial_streams: usize,
    ) -> Self {
        let begun = if matches!(side, Side::Server(_)) { Begun::No } else { Begun::Preface };
        Self {
            io,
            side,
            input: Vec::new(),
            output: Output::default(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            streams: Slab::new(),
            open: HashMap::default(),
            last_found: (0, 0),
            begun,
            peer: Peer {
                initial_window: i64::from(DEFAULT_WINDOW),
                max_streams: initial_streams,
                extended_connect: false,
            },
            send_window: i64::from(DEFAULT_WINDOW),
            windows: Windows {
                stream: windows.0,
                connection: windows.1,
                left: i64::from(DEFAULT_WINDOW),
                used: 0,
            },
            block: None,
            line: VecDeque::new(),
            resets: VecDeque::new(),
            max_header_list,
            over: None,
            task: None,
            working: false,
        }
    }

    /// Says our first words: a client's preface, SETTINGS, and how large the connection's window is.
    pub(super) fn begin(&mut self, settings: &[Setting]) {
        let out = self.output.buffer();
        if matches!(self.side, Side::Client(_)) {
            out.extend_from_slice(PREFACE);
        }
        write_settings(out, settings);
        let more = self.windows.connection.saturating_sub(DEFAULT_WINDOW);
        if more > 0 {
            write_window_update(out, 0, more);
        }
        self.windows.left = i64::from(self.windows.connection);
    }

    /// Reads what there is, as much as one buffer holds, and takes it in.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>) -> Received {
        if self.over.is_some() {
            return Received::End;
        }
        // A peer that does not read what it asks for is not read either.
        if self.output.room() == 0 {
            return Received::Held;
        }
        let read = scratch::with_read(|buffer| {
            let kept = self.input.len();
            let mut own;
            let buffer = if buffer.len() >= scratch::READ_BUFFER {
                buffer
            } else {
                own = vec![0; scratch::READ_BUFFER];
                &mut own[..]
            };
            let read = match ready!(self.io.poll_read(cx, &mut buffer[kept..])) {
                Ok(0) | Err(_) => return Poll::Ready(false),
                Ok(read) => read,
            };
            buffer[..kept].copy_from_slice(&self.input);
            let bytes = &buffer[..kept + read];
            let taken = self.take_in(bytes);
            self.input.clear();
            self.input.extend_from_slice(&bytes[taken..]);
            Poll::Ready(true)
        });
        if self.input.is_empty() && self.input.capacity() > 0 {
            self.input = Vec::new();
        }
        match read {
            Poll::Pending => Received::Nothing,
            Poll::Ready(true) if self.over.is_none() => Received::Something,
            Poll::Ready(true) => Received::End,
            Poll::Ready(false) => {
                self.end(Over::Closed);
                Received::End
            }
        }
    }

    /// Writes what there is to write, and lets streams go on that waited for it. Ready when nothing is
    /// left.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.output.poll_flush(&mut self.io, cx));
            if !self.let_in() {
                return Poll::Ready(());
            }
        }
    }

    /// Whether the task has nothing to do before it is woken: there is nothing to read, or nothing can be
    /// read before the socket takes what was said.
    pub(super) const fn rests(&self, received: Received) -> bool {
        match received {
            Received::Nothing => true,
            Received::Held => self.output.room() == 0,
            Received::Something | Received::End => false,
        }
    }

    /// Has the task write what was said outside of it.
    pub(super) fn said(&mut self) {
        if !self.working {
            self.working = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// The stream of this id, if it is open.
    pub(super) fn find(&mut self, id: u32) -> Option<usize> {
        if self.last_found.0 == id {
            return Some(self.last_found.1);
        }
        let key = *self.open.get(&id)?;
        self.last_found = (id, key);
        Some(key)
    }

    /// How many streams are open for the peer.
    pub(super) fn open_streams(&self) -> usize {
        self.open.len()
    }

    /// Adds a stream that has an id.
    pub(super) fn insert(&mut self, stream: Stream) -> usize {
        if self.streams.len() == self.streams.capacity() {
            // Most connections have few streams at a time.
            self.streams.reserve_exact(self.streams.len().max(1));
        }
        let id = stream.id;
        let key = self.streams.insert(stream);
        if id != 0 {
            self.opened(id, key);
        }
        key
    }

    pub(super) fn opened(&mut self, id: u32, key: usize) {
        self.open.insert(id, key);
        self.last_found = (id, key);
    }

    /// Forgets a stream that is over, for the peer and, if no request uses it, altogether.
    pub(super) fn close_if_over(&mut self, key: usize) {
        let Some(stream) = self.streams.get(key) else { return };
        if !stream.is_over() {
            return;
        }
        let (id, used) = (stream.id, stream.used);
        if !used {
            self.remove(key);
        }
        if id != 0 && self.open.remove(&id).is_some() {
            if self.last_found.0 == id {
                self.last_found = (0, 0);
            }
            self.open_waiting();
        }
    }

    /// Removes a stream with its place in the line, which streams that come and go would make longer and
    /// longer while the peer gives no window.
    pub(super) fn remove(&mut self, key: usize) {
        if self.streams.try_remove(key).is_some_and(|stream| stream.in_line) {
            self.line.retain(|other| *other != key);
        }
    }

    /// Ends a stream for the peer, and for its request with `why`.
    pub(super) fn reset(&mut self, key: usize, code: ErrorCode, why: Failure) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.is_over()) else { return };
        let id = stream.id;
        if id != 0 {
            self.reset_unknown(id, code);
        }
        self.abandon(key, why);
    }

    /// Sends RST_STREAM, and remembers it.
    pub(super) fn reset_unknown(&mut self, id: u32, code: ErrorCode) {
        write_reset(self.output.buffer(), id, code);
        if self.resets.len() == REMEMBERED_RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
        self.said();
    }

    /// Whether we reset this stream lately.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.resets.contains(&id)
    }

    /// Takes a stream that is over before its end from the peer.
    pub(super) fn abandon(&mut self, key: usize, why: Failure) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.reset = Some(why);
        stream.outgoing.data.clear();
        stream.outgoing.end = None;
        stream.outgoing.closed = true;
        stream.wake();
        if !stream.used {
            let unused = stream.incoming.discard();
            self.give_back(None, unused);
        }
        self.close_if_over(key);
    }

    /// Gives the peer room for `length` bytes that were used, on the connection and on a stream.
    /// It is told when that is worth a frame.
    pub(super) fn give_back(&mut self, stream: Option<usize>, length: u32) {
        if length == 0 {
            return;
        }
        let windows = &mut self.windows;
        windows.used += length;
        let mut said = false;
        // Half of what is not held by streams that nobody reads from: they must not stop the others.
        if i64::from(windows.used) >= windows.left {
            write_window_update(self.output.buffer(), 0, windows.used);
            windows.left += i64::from(std::mem::take(&mut windows.used));
            said = true;
        }
        if let Some(stream) = stream.and_then(|key| self.streams.get_mut(key)) {
            let incoming = &mut stream.incoming;
            incoming.used += length;
            if incoming.used >= self.windows.stream / 2 && !incoming.closed && stream.reset.is_none() {
                write_window_update(self.output.buffer(), stream.id, incoming.used);
                incoming.window += i64::from(std::mem::take(&mut incoming.used));
                said = true;
            }
        }
        if said {
            self.said();
        }
    }

    /// Ends the connection because of what the peer did.
    pub(super) fn fail(&mut self, code: ErrorCode) {
        if self.over.is_none() {
            match &self.side {
                // To a client that has not shown that it speaks HTTP/2, we do not.
                Side::Server(server) if !server.unsaid.is_empty() => {}
                Side::Server(server) => write_go_away(self.output.buffer(), server.last, code),
                Side::Client(_) => write_go_away(self.output.buffer(), 0, code),
            }
            self.end(Over::Failed(code));
        }
    }

    /// Ends every stream with the connection.
    pub(super) fn end(&mut self, over: Over) {
        self.over.get_or_insert(over);
        let why = match &self.side {
            Side::Server(_) => Failure::ClientGone,
            Side::Client(_) => Failure::UpstreamTerminated,
        };
        self.block = None;
        for (_, stream) in &mut self.streams {
            if !stream.is_over() {
                stream.outgoing.data.clear();
                stream.outgoing.end = None;
                stream.outgoing.closed = true;
                // A reply that came to its end outlives its connection.
                if !stream.incoming.closed || matches!(self.side, Side::Server(_)) {
                    stream.reset = Some(why);
                }
                stream.wake();
            }
        }
        self.streams.retain(|_, stream| stream.used);
        self.open.clear();
        self.last_found = (0, 0);
        self.line.clear();
    }

    /// Gives up the room of earlier streams, if there is none now.
    pub(super) fn shrink(&mut self) {
        if self.streams.is_empty() {
            self.streams = Slab::new();
            self.open.shrink_to_fit();
            self.line = VecDeque::new();
            self.resets = VecDeque::new();
            self.decoder.shrink();
        }
    }

    /// Tells the client that we leave; it may have opened streams that we do not know of yet.
    pub(super) fn leave(&mut self) {
        if let Side::Server(server) = &mut self.side
            && server.leaving == Leaving::No
            && server.unsaid.is_empty()
        {
            server.leaving = Leaving::Told;
            let out = self.output.buffer();
            write_go_away(out, mosn_codec::http2::MAX_STREAM, ErrorCode::NO_ERROR);
            write_ping(out, LEAVING, false);
        }
    }

    /// Whether a server that leaves has nothing left to do.
    pub(super) fn has_left(&self) -> bool {
        let left = matches!(&self.side, Side::Server(ServerSide { leaving: Leaving::At(_), .. }));
        left && self.open.is_empty()
    }
}

/// Closes the connection once what was said has left.
pub(super) async fn linger(connection: Shared) {
    let mut linger = Linger::new();
    std::future::poll_fn(|cx| {
        let Connection { io, output, .. } = &mut *connection.borrow_mut();
        let flushed = output.poll_flush(io, cx);
        linger.poll(cx, io, flushed)
    })
    .await;
}
