/// An error code of RST_STREAM and GOAWAY (RFC 9113 7); one that is not known means as much as
/// [`ErrorCode::INTERNAL_ERROR`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

#[allow(missing_docs, reason = "named as in the RFC")]
impl ErrorCode {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const CONNECT_ERROR: Self = Self(10);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    pub const INADEQUATE_SECURITY: Self = Self(12);
    pub const HTTP_1_1_REQUIRED: Self = Self(13);
}

/// A frame that no peer may send, whatever the state of its stream. Each of them ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A payload above [`MAX_FRAME`](super::MAX_FRAME).
    TooLarge,
    /// A payload that is not as long as its kind has to be.
    Length,
    /// A frame of a connection on a stream, or the reverse.
    Stream,
    /// Padding that is longer than what it pads.
    Padding,
    /// A stream that depends on itself.
    Dependency,
}

impl FrameError {
    /// What to tell the peer.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge | Self::Length => ErrorCode::FRAME_SIZE_ERROR,
            Self::Stream | Self::Padding | Self::Dependency => ErrorCode::PROTOCOL_ERROR,
        }
    }
}
