//! Counts the frames a client sends that are cheap for it and not for us.

use std::time::Duration;

use mosn_codec::http2::{FrameHead, kind};
use mosn_config::model::HttpLimits;
use mosn_net::clock;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(30);
const END_STREAM: u8 = 1;

/// What a client did in the current window of time.
#[derive(Debug)]
pub(super) struct Flood {
    max_resets: u32,
    max_control: u32,
    since: Instant,
    streams: u32,
    resets: u32,
    control: u32,
    tripped: bool,
}

impl Flood {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        Self {
            max_resets: limits.max_resets,
            max_control: limits.max_control_frames,
            since: clock::now(),
            streams: 0,
            resets: 0,
            control: 0,
            tripped: false,
        }
    }

    /// Whether the client has gone too far.
    pub(super) const fn is_tripped(&self) -> bool {
        self.tripped
    }

    /// Counts a frame.
    pub(super) fn count(&mut self, head: FrameHead) {
        match head.kind {
            // All that an ordinary connection has most of.
            kind::DATA if head.length > 0 || head.flags & END_STREAM != 0 => return,
            kind::WINDOW_UPDATE if self.streams > 0 => return,
            kind::HEADERS => self.streams = self.streams.saturating_add(1),
            kind::RST_STREAM => self.resets = self.resets.saturating_add(1),
            // Of a body or a window that is in use there may be many; these are the others.
            kind::DATA | kind::WINDOW_UPDATE | kind::PRIORITY | kind::SETTINGS | kind::PING => {
                self.control = self.control.saturating_add(1);
            }
            _ => return,
        }
        self.judge();
    }

    /// Counts a stream that the client made us reset.
    pub(super) fn count_error(&mut self) {
        self.resets = self.resets.saturating_add(1);
        self.judge();
    }

    /// Counts a frame that was in vain.
    pub(super) fn count_useless(&mut self) {
        self.control = self.control.saturating_add(1);
        self.judge();
    }

    fn judge(&mut self) {
        let now = clock::now();
        if now.duration_since(self.since) > WINDOW {
            self.since = now;
            (self.streams, self.resets, self.control) = (0, 0, 0);
            return;
        }
        let allowed = self.max_control.saturating_add(self.streams.saturating_mul(10));
        if (self.resets > self.max_resets && self.resets >= self.streams / 2) || self.control > allowed {
            self.tripped = true;
        }
    }
}
