//! Counts the frames a client sends that are cheap for it and not for us.

use std::{cell::Cell, rc::Rc, time::Duration};

use mosn_config::model::HttpLimits;
use mosn_net::clock;
use tokio::time::Instant;

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

/// Follows a connection's incoming bytes and counts its frames.
pub(super) struct Meter {
    flood: Rc<Flood>,
    scan: Cell<Scan>,
}

/// Where in the incoming bytes we are.
#[derive(Clone, Copy)]
enum Scan {
    /// This many bytes that are no frame head: the preface, or a payload.
    Skip(usize),
    /// So much of a frame head.
    Head([u8; FRAME_HEAD], usize),
}

impl Meter {
    pub(super) fn new(flood: Rc<Flood>) -> Self {
        Self { flood, scan: Cell::new(Scan::Skip(PREFACE)) }
    }

    /// Whether the client has gone too far.
    pub(super) fn is_tripped(&self) -> bool {
        self.flood.is_tripped()
    }

    pub(super) fn scan(&self, mut bytes: &[u8]) {
        let mut scan = self.scan.get();
        while !bytes.is_empty() {
            match &mut scan {
                Scan::Skip(0) => scan = Scan::Head([0; FRAME_HEAD], 0),
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
                        scan = Scan::Skip(length);
                    }
                }
            }
        }
        self.scan.set(scan);
    }
}
