//! What a decoder tells about a frame without copying any of it.

use std::ops::Range;

/// Where bytes came from. A protocol whose replies look like its requests (tars TUP) needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sent by a client to the proxy.
    Downstream,
    /// Sent by a server to the proxy.
    Upstream,
}

/// What one connection may make the proxy hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one whole frame; a longer one is an error as soon as its length field arrives.
    pub max_frame_bytes: u32,
}

impl Default for Limits {
    /// 64 MiB: eight times the default payload limit of Dubbo, six times that of Tars.
    fn default() -> Self {
        Self { max_frame_bytes: 64 << 20 }
    }
}

/// What a decoder found at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Too little to tell, or a frame that is not all here.
    NeedMore {
        /// Bytes that the buffer must hold before another try is worth it: more than it holds now,
        /// and never more than the frame itself or the limit. It is what the peer announces, not
        /// what it has sent: let the buffer grow towards it as bytes come in.
        at_least: usize,
    },
    /// A whole frame: the first [`FrameView::len`] bytes of the buffer.
    Frame(FrameView),
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A call that is answered.
    Request,
    /// A call that is never answered, not even with an error.
    OneWay,
    /// The answer to a call.
    Response,
    /// A sign of life that is answered at once on the same connection, and never forwarded.
    Heartbeat,
    /// The answer to a heartbeat.
    HeartbeatReply,
    /// The peer wants no more requests on this connection; those in flight are still answered.
    GoAway,
}

impl FrameKind {
    /// Whether the frame is a call to be routed.
    #[must_use]
    pub const fn is_call(self) -> bool {
        matches!(self, Self::Request | Self::OneWay)
    }
}

/// How long the caller waits, as its frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameTimeout {
    /// The frame does not say: the route's timeout holds.
    #[default]
    Unset,
    /// For ever: no timer at all.
    Never,
    /// This many milliseconds, at least 1.
    Millis(u32),
}

impl FrameTimeout {
    /// From a signed field in which 0 is unset and negative is never.
    #[must_use]
    pub const fn from_signed(millis: i32) -> Self {
        match millis {
            0 => Self::Unset,
            ..0 => Self::Never,
            _ => Self::Millis(millis as u32),
        }
    }
}

/// A range of bytes of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte from the frame's start.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// `len` bytes from `start` on.
    #[must_use]
    pub const fn new(start: u32, len: u32) -> Self {
        Self { start, len }
    }

    /// Offset of the first byte behind the range.
    #[must_use]
    pub const fn end(self) -> u32 {
        self.start.saturating_add(self.len)
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// As a range, to slice a shared buffer with.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end() as usize
    }

    /// The bytes; none if `frame` is not the frame that the range was made for.
    #[must_use]
    pub fn of(self, frame: &[u8]) -> &[u8] {
        frame.get(self.range()).unwrap_or_default()
    }
}

/// One frame, by offsets.
///
/// Every span lies within `0..len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameView {
    /// What it is for.
    pub kind: FrameKind,
    /// Pairs a request with its response on one connection. Narrower ids are zero-extended.
    pub id: u64,
    /// Bytes of the whole frame, any trailer included.
    pub len: u32,
    /// Status of a response in the protocol's own numbers; 0 in a request.
    pub status: i32,
    /// How long the caller waits.
    pub timeout: FrameTimeout,
    /// Where the id is.
    pub id_field: Span,
    /// The class name of the content (bolt), else empty.
    pub class: Span,
    /// The block of header pairs (bolt), else empty.
    pub headers: Span,
    /// The content.
    pub body: Span,
}

impl FrameView {
    /// A frame of which only kind, id, length and the id's place are known.
    #[must_use]
    pub const fn new(kind: FrameKind, id: u64, id_field: Span, len: u32) -> Self {
        const NOWHERE: Span = Span::new(0, 0);
        Self {
            kind,
            id,
            len,
            status: 0,
            timeout: FrameTimeout::Unset,
            id_field,
            class: NOWHERE,
            headers: NOWHERE,
            body: NOWHERE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_timeout_of_zero_is_unset_and_a_negative_one_never_ends() {
        assert_eq!(FrameTimeout::from_signed(0), FrameTimeout::Unset);
        assert_eq!(FrameTimeout::from_signed(-1), FrameTimeout::Never);
        assert_eq!(FrameTimeout::from_signed(i32::MIN), FrameTimeout::Never);
        assert_eq!(FrameTimeout::from_signed(i32::MAX), FrameTimeout::Millis(2_147_483_647));
    }

    #[test]
    fn a_span_of_another_frame_is_empty_rather_than_a_panic() {
        assert_eq!(Span::new(2, 3).of(b"abcdef"), b"cde");
        assert_eq!(Span::new(2, 3).of(b"abc"), b"");
        assert_eq!(Span::new(u32::MAX, u32::MAX).of(b"abc"), b"");
    }

    #[test]
    fn a_view_stays_small_enough_to_hand_around() {
        assert!(size_of::<FrameView>() <= 64, "{}", size_of::<FrameView>());
    }
}
