//! HTTP/2 (RFC 9113) as bytes: frames, header compression, heads. What a stream or a connection is,
//! and which frame may come when, is known above.

mod error;
mod frame;
mod head;
pub mod hpack;
mod settings;
mod write;

pub use error::{ErrorCode, FrameError};
pub use frame::{Frame, FrameHead, Payload, kind, next_frame};
pub use head::{Fields, HeadLimits, Malformed, RequestRefusal, Response};
pub use settings::{Setting, Settings, SettingsError};
pub use write::{
    Reply, write_data, write_go_away, write_ping, write_request, write_reset, write_response, write_settings,
    write_settings_ack, write_trailers, write_window_update,
};

/// What a client's first bytes are (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const FRAME_HEAD: usize = 9;
/// Bytes of a payload that every peer takes (RFC 9113 4.2), and the most that we take.
pub const MAX_FRAME: usize = 16_384;
/// The windows that a connection begins with (RFC 9113 6.9.2).
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window (RFC 9113 6.9.1).
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The largest stream identifier.
pub const MAX_STREAM: u32 = (1 << 31) - 1;
