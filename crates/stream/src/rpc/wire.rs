//! The socket of an RPC connection: what it has to say, and what it has heard.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use mosn_codec::rpc::{DecodeError, FrameView, Frames, Limits, RpcProtocol, Side};
use mosn_net::{Io, scratch, timer::Timer};
use tokio::io::AsyncReadExt;

use crate::linger::Linger;

/// Output above which a connection takes on nothing more until its peer has read some.
pub(super) const CONGESTED: usize = 1024 * 1024;

/// How long a peer may take nothing of what there is for it before the connection is given up.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Room for the rest of a frame that is not all here: at first as much as one read may bring, then
/// more as bytes come in, whatever length the peer announces.
const LEAST_ROOM: usize = 16 * 1024;
const MOST_ROOM: usize = 256 * 1024;

/// Output buffers that a worker keeps for the next connection with something to say, and the
/// largest of them that it keeps.
const KEPT: usize = 16;
const KEPT_CAPACITY: usize = 512 * 1024;

thread_local! {
    static LENT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// A socket that tasks other than its connection's own write to, too: the reply to a call is written
/// by whoever reads it. What the socket becomes ready for always wakes the connection's own task.
pub(super) struct Wire {
    /// `None` once hung up: others may hold on to a connection that is over.
    io: RefCell<Option<Io>>,
    output: RefCell<BytesMut>,
    owner: RefCell<Waker>,
    broken: Cell<bool>,
    /// Bytes that the socket has taken.
    written: Cell<u64>,
}

impl Wire {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io: RefCell::new(Some(io)),
            output: RefCell::default(),
            owner: RefCell::new(Waker::noop().clone()),
            broken: Cell::new(false),
            written: Cell::new(0),
        }
    }

    /// Says whose task it is.
    pub(super) fn set_owner(&self, cx: &Context<'_>) {
        let mut owner = self.owner.borrow_mut();
        if !owner.will_wake(cx.waker()) {
            owner.clone_from(cx.waker());
        }
    }

    /// Wakes the connection's own task.
    pub(super) fn wake(&self) {
        self.owner.borrow().wake_by_ref();
    }

    /// Adds to the output; it leaves with the next [`Self::flush`].
    pub(super) fn append<R>(&self, write: impl FnOnce(&mut BytesMut) -> R) -> R {
        let mut output = self.output.borrow_mut();
        if output.capacity() == 0 {
            *output = LENT.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(LEAST_ROOM));
        }
        write(&mut output)
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.output.borrow().len()
    }

    /// Whether the socket failed; its connection is over.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&self) {
        let mut output = self.output.borrow_mut();
        if output.is_empty() || self.broken.get() {
            return;
        }
        let owner = self.owner.borrow();
        let mut cx = Context::from_waker(&owner);
        let mut io = self.io.borrow_mut();
        let Some(io) = &mut *io else { return };
        while !output.is_empty() {
            match io.poll_write(&mut cx, &[IoSlice::new(&output)]) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    output.advance(written);
                    self.written.set(self.written.get() + written as u64);
                }
                Poll::Ready(_) => {
                    self.broken.set(true);
                    owner.wake_by_ref();
                    return;
                }
                Poll::Pending => return,
            }
        }
        let mut empty = std::mem::take(&mut *output);
        empty.clear();
        if empty.capacity() <= KEPT_CAPACITY {
            LENT.with_borrow_mut(|lent| {
                if lent.len() < KEPT {
                    lent.push(empty);
                }
            });
        }
    }

    /// Reads once; the end where it was hung up.
    fn poll_read<R>(&self, read: impl FnOnce(&mut Io) -> Poll<io::Result<R>>, end: R) -> Poll<io::Result<R>> {
        match &mut *self.io.borrow_mut() {
            Some(io) => read(io),
            None => Poll::Ready(Ok(end)),
        }
    }

    /// Closes the socket, which sends what the system has taken, and forgets the rest.
    pub(super) fn hang_up(&self) {
        self.broken.set(true);
        *self.io.borrow_mut() = None;
        *self.output.borrow_mut() = BytesMut::new();
    }

    /// Writes what there is, and closes the connection so that the peer can read it.
    pub(super) fn poll_linger(&self, cx: &mut Context<'_>, linger: &mut Linger) -> Poll<()> {
        self.set_owner(cx);
        self.flush();
        let flushed = if self.waiting() == 0 || self.is_broken() { Poll::Ready(()) } else { Poll::Pending };
        match &mut *self.io.borrow_mut() {
            Some(io) => linger.poll(cx, io, flushed),
            None => Poll::Ready(()),
        }
    }
}

/// Watches for a peer that takes nothing of what there is for it.
pub(super) struct Patience {
    limit: Duration,
    /// What the socket had taken when this began.
    since: Option<(u64, Timer)>,
}

impl Patience {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, since: None }
    }

    /// Ready when the socket has taken nothing for that long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: &Wire) -> Poll<()> {
        if wire.waiting() == 0 {
            self.since = None;
            return Poll::Pending;
        }
        let written = wire.written.get();
        match &mut self.since {
            Some((before, timer)) if *before == written => timer.poll(cx),
            since => since.insert((written, Timer::after(self.limit))).1.poll(cx),
        }
    }
}

/// What came in and is no whole frame yet.
pub(super) struct Input {
    protocol: &'static dyn RpcProtocol,
    side: Side,
    limits: Limits,
    partial: BytesMut,
    /// Bytes that `partial` must grow to before it can be a frame.
    wants: usize,
}

/// Why a connection cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] DecodeError),
}

impl Input {
    pub(super) fn new(protocol: &'static dyn RpcProtocol, side: Side, limits: Limits) -> Self {
        Self { protocol, side, limits, partial: BytesMut::new(), wants: 1 }
    }

    /// Whether a frame has begun that is not all here.
    pub(super) fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Reads once, and shows every whole frame that there is then. Returns how many bytes came;
    /// 0 = the peer will send no more.
    pub(super) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        wire: &Wire,
        mut each: impl FnMut(&[u8], &FrameView),
    ) -> Poll<Result<usize, Broken>> {
        if self.partial.is_empty() {
            return scratch::with_read(|buffer| {
                let read = ready!(wire.poll_read(|io| io.poll_read(cx, buffer), 0))?;
                let bytes = &buffer[..read];
                let used = self.show(bytes, &mut each)?;
                self.partial.extend_from_slice(&bytes[used..]);
                Poll::Ready(Ok(read))
            });
        }
        // The rest of the frame is read to where it belongs, so that no byte of it is moved twice.
        let missing = self.wants.saturating_sub(self.partial.len());
        self.partial.reserve(missing.clamp(LEAST_ROOM, MOST_ROOM));
        let rest = &mut self.partial;
        let read = ready!(wire.poll_read(|io| pin!(io.read_buf(rest)).poll(cx), 0))?;
        let partial = std::mem::take(&mut self.partial);
        let used = self.show(&partial, &mut each);
        self.partial = partial;
        self.partial.advance(used?);
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        Poll::Ready(Ok(read))
    }

    /// Returns how many bytes the whole frames were.
    fn show(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8], &FrameView)) -> Result<usize, DecodeError> {
        let mut frames = Frames::new(self.protocol, bytes, self.side, self.limits);
        for frame in &mut frames {
            let (frame, view) = frame?;
            each(frame, &view);
        }
        self.wants = frames.wants();
        Ok(frames.consumed())
    }
}
