//! Counts the frames a client sends that are cheap for it and not for us.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use mosn_config::model::HttpLimits;
use mosn_net::{Io, clock};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const WINDOW: Duration = Duration::from_secs(30);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// What a client did in the current window of time.
#[derive(Debug)]
pub(super) struct Flood {
    max_resets: u32,
    max_control: u32,
    since: Cell<Instant>,
    streams: Cell<u32>,
    resets: Cell<u32>,
    control: Cell<u32>,
    tripped: Cell<bool>,
}

impl Flood {
    pub(super) fn new(limits: &HttpLimits) -> Rc<Self> {
        Rc::new(Self {
            max_resets: limits.max_resets,
            max_control: limits.max_control_frames,
            since: Cell::new(clock::now()),
            streams: Cell::new(0),
            resets: Cell::new(0),
            control: Cell::new(0),
            tripped: Cell::new(false),
        })
    }

    /// Whether the client has gone too far.
    pub(super) fn is_tripped(&self) -> bool {
        self.tripped.get()
    }

    fn count(&self, kind: u8, flags: u8, length: usize) {
        let bump = |cell: &Cell<u32>| cell.set(cell.get().saturating_add(1));
        match kind {
            HEADERS => bump(&self.streams),
            RST_STREAM => bump(&self.resets),
            PRIORITY | SETTINGS | PING => bump(&self.control),
            // Only those that are no use: of a body or a window that is in use there may be many.
            DATA if length == 0 && flags & 1 == 0 => bump(&self.control),
            WINDOW_UPDATE if self.streams.get() == 0 => bump(&self.control),
            _ => return,
        }
        let now = clock::now();
        if now.duration_since(self.since.get()) > WINDOW {
            self.since.set(now);
            for cell in [&self.streams, &self.resets, &self.control] {
                cell.set(0);
            }
            return;
        }
        let (streams, resets) = (self.streams.get(), self.resets.get());
        let allowed = self.max_control.saturating_add(streams.saturating_mul(10));
        if (resets > self.max_resets && resets >= streams / 2) || self.control.get() > allowed {
            self.tripped.set(true);
        }
    }
}

/// A connection whose incoming frames are counted as they pass.
pub(super) struct Metered {
    io: Io,
    flood: Rc<Flood>,
    scan: Scan,
}

/// Where in the incoming bytes we are.
enum Scan {
    /// This many bytes that are no frame head: the preface, or a payload.
    Skip(usize),
    /// So much of a frame head.
    Head([u8; FRAME_HEAD], usize),
}

impl Metered {
    pub(super) fn new(io: Io, flood: Rc<Flood>) -> Self {
        Self { io, flood, scan: Scan::Skip(PREFACE) }
    }

    fn scan(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.scan {
                Scan::Skip(0) => self.scan = Scan::Head([0; FRAME_HEAD], 0),
                Scan::Skip(left) => {
                    let skip = (*left).min(bytes.len());
                    *left -= skip;
                    bytes = &bytes[skip..];
                }
                Scan::Head(head, filled) => {
                    let take = (FRAME_HEAD - *filled).min(bytes.len());
                    head[*filled..*filled + take].copy_from_slice(&bytes[..take]);
                    *filled += take;
                    bytes = &bytes[take..];
                    if *filled == FRAME_HEAD {
                        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                        self.flood.count(head[3], head[4], length);
                        self.scan = Scan::Skip(length);
                    }
                }
            }
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(AsyncRead::poll_read(Pin::new(&mut this.io), cx, buffer))?;
        this.scan(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().io), cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(Pin::new(&mut self.get_mut().io), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().io), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.get_mut().io), cx)
    }
}
