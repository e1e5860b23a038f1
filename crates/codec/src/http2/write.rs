//! Frames as they are sent.

use http::StatusCode;
use mosn_core::{BodyLength, Headers, RequestHead};

use super::{
    ErrorCode, FRAME_HEAD, MAX_FRAME, Setting,
    frame::{flag, kind},
    hpack::{Encoder, Known},
};

/// A reply's head, as it is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The status.
    pub status: StatusCode,
    /// The fields; those that HTTP/2 has no room for stay behind.
    pub headers: &'a Headers,
    /// What follows; `None` = as the fields say.
    pub body: Option<BodyLength>,
    /// Added where the reply has no `Date` (RFC 9110 6.6.1).
    pub date: Option<&'a str>,
    /// Whether this agrees to an extended CONNECT, whose WebSocket handshake has no
    /// `Sec-WebSocket-Accept` (RFC 8441 5).
    pub tunnel: bool,
}

fn frame_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, s, t, u, v]);
}

/// Appends DATA; at most [`MAX_FRAME`] bytes.
pub fn write_data(out: &mut Vec<u8>, stream: u32, data: &[u8], end: bool) {
    debug_assert!(data.len() <= MAX_FRAME);
    frame_head(out, data.len(), kind::DATA, if end { flag::END_STREAM } else { 0 }, stream);
    out.extend_from_slice(data);
}

/// Appends RST_STREAM.
pub fn write_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    frame_head(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends SETTINGS.
pub fn write_settings(out: &mut Vec<u8>, settings: &[Setting]) {
    frame_head(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for setting in settings {
        let (id, value) = setting.wire();
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of the peer's SETTINGS.
pub fn write_settings_ack(out: &mut Vec<u8>) {
    frame_head(out, 0, kind::SETTINGS, flag::ACK, 0);
}

/// Appends PING, or the answer to one.
pub fn write_ping(out: &mut Vec<u8>, payload: [u8; 8], answer: bool) {
    frame_head(out, 8, kind::PING, if answer { flag::ACK } else { 0 }, 0);
    out.extend_from_slice(&payload);
}

/// Appends GOAWAY: no stream above `last` was, or will be, begun.
pub fn write_go_away(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    frame_head(out, 8, kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    frame_head(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends HEADERS, and CONTINUATION where they are long, of the block that `fill` writes.
fn headers(out: &mut Vec<u8>, stream: u32, end_stream: bool, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let end = if end_stream { flag::END_STREAM } else { 0 };
    frame_head(out, 0, kind::HEADERS, end | flag::END_HEADERS, stream);
    fill(out);
    let length = out.len() - start - FRAME_HEAD;
    if length <= MAX_FRAME {
        out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        return;
    }
    let block = out.split_off(start + FRAME_HEAD);
    out.truncate(start);
    let mut pieces = block.chunks(MAX_FRAME).peekable();
    let (mut kind, mut flags) = (kind::HEADERS, end);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        frame_head(out, piece.len(), kind, flags | last, stream);
        out.extend_from_slice(piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}

/// Appends a reply's head.
pub fn write_response(out: &mut Vec<u8>, encoder: &mut Encoder, stream: u32, reply: Reply<'_>, end: bool) {
    headers(out, stream, end, |out| {
        encoder.begin(out);
        encoder.status(out, reply.status.as_u16());
        let (mut has_date, mut has_length) = (reply.date.is_none(), false);
        reply.headers.for_each(|name, value, sensitive| {
            if reply.tunnel && name.eq_ignore_ascii_case(b"sec-websocket-accept") {
                return;
            }
            encoder.field(out, name, value, sensitive, |known| match known {
                Known::Connection => false,
                Known::ContentLength => {
                    has_length = true;
                    reply.body != Some(BodyLength::Unknown)
                }
                Known::Date => {
                    has_date = true;
                    true
                }
                _ => true,
            });
        });
        if let Some(date) = reply.date.filter(|_| !has_date) {
            encoder.field(out, b"date", date.as_bytes(), false, |_| true);
        }
        if let Some(BodyLength::Known(length)) = reply.body
            && !has_length
        {
            content_length(out, encoder, length);
        }
    });
}

/// Appends a request's head.
pub fn write_request(out: &mut Vec<u8>, encoder: &mut Encoder, stream: u32, head: &RequestHead, end: bool) {
    headers(out, stream, end, |out| {
        encoder.begin(out);
        let tunnel = head.upgrade.is_some();
        encoder.method(out, if tunnel { b"CONNECT" } else { head.method.as_str().as_bytes() });
        encoder.scheme(out, head.scheme.as_str().as_bytes());
        encoder.authority(out, &head.authority);
        encoder.path(out, if head.path.is_empty() { b"/" } else { &head.path });
        if let Some(protocol) = &head.upgrade {
            encoder.protocol(out, protocol);
        }
        let (mut te, mut has_length) = (false, false);
        head.headers.for_each(|name, value, sensitive| {
            if tunnel && name.eq_ignore_ascii_case(b"sec-websocket-key") {
                return;
            }
            encoder.field(out, name, value, sensitive, |known| match known {
                Known::Connection | Known::Host => false,
                Known::Te => {
                    te = true;
                    false
                }
                Known::ContentLength => {
                    has_length = true;
                    head.body != BodyLength::Unknown
                }
                _ => true,
            });
        });
        if te {
            // The only value that HTTP/2 has room for (RFC 9113 8.2.2).
            encoder.field(out, b"te", b"trailers", false, |_| true);
        }
        if let BodyLength::Known(length) = head.body
            && !has_length
        {
            content_length(out, encoder, length);
        }
    });
}

/// Appends trailers, which end the stream.
pub fn write_trailers(out: &mut Vec<u8>, encoder: &mut Encoder, stream: u32, trailers: &Headers) {
    headers(out, stream, true, |out| {
        encoder.begin(out);
        trailers.for_each(|name, value, sensitive| {
            encoder.field(out, name, value, sensitive, |known| {
                !matches!(known, Known::Connection | Known::Host | Known::Te | Known::ContentLength)
            });
        });
    });
}

fn content_length(out: &mut Vec<u8>, encoder: &mut Encoder, length: u64) {
    let mut digits = itoa::Buffer::new();
    encoder.field(out, b"content-length", digits.format(length).as_bytes(), false, |_| true);
}
