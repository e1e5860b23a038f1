//! SOFABolt, versions 1 and 2.
//!
//! The two versions differ in where their fields are, and in the checksum that may follow a
//! version 2 frame. Peers mix them freely on one connection, so each frame's first byte decides;
//! the configured version only matters for frames that the proxy starts itself.

mod checksum;
mod layout;
mod pairs;

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use self::layout::{
    CHECKSUM_LEN, COMMAND_GOAWAY, COMMAND_HEARTBEAT, COMMAND_RESPONSE, Form, KIND_ONE_WAY, KIND_REQUEST,
    KIND_RESPONSE, Layout, SWITCH_AT, SWITCH_CHECKSUM, VER1_AT, VER1_WITH_CHECKSUM,
};
use super::{
    DecodeError, Decoded, Detect, Edit, EncodeError, FrameKind, FrameTimeout, FrameView, HeaderError,
    HeaderScope, Limits, ReplySeed, RpcProtocol, Side, Span, Visit, codes,
    wire::{byte_at, i32_at, put_at, u16_at, u32_at},
};

/// hessian2: what the proxy says its own frames are encoded with.
const CODEC: u8 = 1;

/// The `bolt` and `boltv2` protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bolt(Version);

/// A version of the protocol; the number is a frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// 20 and 22 byte headers.
    V1 = 1,
    /// Two bytes more, and an optional checksum.
    V2 = 2,
}

impl Bolt {
    /// `bolt`.
    pub const V1: Self = Self(Version::V1);
    /// `boltv2`.
    pub const V2: Self = Self(Version::V2);

    /// The layout of a frame by its first byte. The byte is only a hint: anything but the other
    /// version's number is read as the version that was configured.
    fn layout(self, frame: &[u8]) -> &'static Layout {
        match (self.0, frame.first()) {
            (_, Some(1)) => &layout::V1,
            (_, Some(2)) => &layout::V2,
            (version, _) => layout_of(version),
        }
    }
}

fn layout_of(version: Version) -> &'static Layout {
    match version {
        Version::V1 => &layout::V1,
        Version::V2 => &layout::V2,
    }
}

/// Bytes of the checksum behind a frame. Java peers set the switch on `ver1` 1 without sending
/// one, so both fields must agree.
fn checksum_len(layout: &Layout, frame: &[u8]) -> u32 {
    let announced = layout.version == Version::V2
        && byte_at(frame, VER1_AT) == VER1_WITH_CHECKSUM
        && byte_at(frame, SWITCH_AT) & SWITCH_CHECKSUM != 0;
    if announced { CHECKSUM_LEN } else { 0 }
}

fn frame_kind(layout: &Layout, kind: u8, command: u16) -> FrameKind {
    match (kind, command) {
        (KIND_RESPONSE, COMMAND_HEARTBEAT) => FrameKind::HeartbeatReply,
        (KIND_RESPONSE, _) => FrameKind::Response,
        (_, COMMAND_HEARTBEAT) => FrameKind::Heartbeat,
        // Version 2 has no goaway: there the command is an ordinary request's.
        (_, COMMAND_GOAWAY) if layout.version == Version::V1 => FrameKind::GoAway,
        (KIND_ONE_WAY, _) => FrameKind::OneWay,
        _ => FrameKind::Request,
    }
}

impl RpcProtocol for Bolt {
    fn name(&self) -> &'static str {
        match self.0 {
            Version::V1 => "bolt",
            Version::V2 => "boltv2",
        }
    }

    /// Each frame says which version it is.
    fn carries(&self, name: &str) -> bool {
        [Self::V1, Self::V2].iter().any(|bolt| bolt.name() == name)
    }

    fn detect(&self, prefix: &[u8]) -> Detect {
        match prefix.first() {
            None => Detect::NeedMore,
            Some(&byte) if byte == self.0 as u8 => Detect::Yes,
            Some(_) => Detect::No,
        }
    }

    fn decode(&self, buf: &[u8], _from: Side, limits: &Limits) -> Result<Decoded, DecodeError> {
        let layout = self.layout(buf);
        if buf.len() < layout.response.len as usize {
            return Ok(Decoded::NeedMore { at_least: layout.response.len as usize });
        }
        let kind = byte_at(buf, layout.kind_at);
        let Some(form) = layout.form(kind) else {
            return Err(DecodeError::UnknownKind { protocol: self.name(), value: kind.into() });
        };
        if buf.len() < form.len as usize {
            return Ok(Decoded::NeedMore { at_least: form.len as usize });
        }
        let class_len: u32 = u16_at(buf, form.lengths_at).into();
        let header_len: u32 = u16_at(buf, form.lengths_at + 2).into();
        let content_len = u32_at(buf, form.lengths_at + 4);
        let before_content = form.len + class_len + header_len;
        let len = u64::from(before_content) + u64::from(content_len) + u64::from(checksum_len(layout, buf));
        if len > limits.max_frame_bytes.into() {
            return Err(DecodeError::FrameTooLarge {
                protocol: self.name(),
                len,
                max: limits.max_frame_bytes,
            });
        }
        if (buf.len() as u64) < len {
            return Ok(Decoded::NeedMore { at_least: len as usize });
        }
        let is_response = kind == KIND_RESPONSE;
        Ok(Decoded::Frame(FrameView {
            kind: frame_kind(layout, kind, u16_at(buf, layout.command_at)),
            id: u32_at(buf, layout.id_at as usize).into(),
            len: len as u32,
            status: if is_response { u16_at(buf, form.verdict_at).into() } else { 0 },
            timeout: if is_response {
                FrameTimeout::Unset
            } else {
                FrameTimeout::from_signed(i32_at(buf, form.verdict_at))
            },
            id_field: Span::new(layout.id_at, 4),
            class: Span::new(form.len, class_len),
            headers: Span::new(form.len + class_len, header_len),
            body: Span::new(before_content, content_len),
        }))
    }

    fn id_bits(&self) -> u32 {
        32
    }

    fn patch_id(&self, frame: &mut [u8], view: &FrameView, id: u64) -> bool {
        let at = view.id_field.start as usize;
        let write = |frame: &mut [u8]| put_at(frame, at, &(id as u32).to_be_bytes());
        match checksum_len(self.layout(frame), frame) {
            0 => write(frame),
            _ => checksum::resealed(frame, write),
        }
    }

    fn visit_headers<'a>(
        &self,
        frame: &'a [u8],
        view: &FrameView,
        _scope: HeaderScope,
        visit: &mut Visit<'a, '_>,
    ) -> Result<(), HeaderError> {
        for pair in pairs::Pairs::new(view.headers.of(frame)) {
            let (name, value) = pair?;
            if visit(name, Cow::Borrowed(value)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn header<'a>(
        &self,
        frame: &'a [u8],
        view: &FrameView,
        _scope: HeaderScope,
        name: &str,
    ) -> Result<Option<Cow<'a, [u8]>>, HeaderError> {
        for pair in pairs::Pairs::new(view.headers.of(frame)) {
            let (field, value) = pair?;
            if field == name.as_bytes() {
                return Ok(Some(Cow::Borrowed(value)));
            }
        }
        Ok(None)
    }

    fn rebuild(
        &self,
        frame: &[u8],
        view: &FrameView,
        edit: Edit<'_>,
        id: u64,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let layout = self.layout(frame);
        let mismatch = EncodeError::ViewMismatch { len: frame.len() as u64 };
        let form = layout.form(byte_at(frame, layout.kind_at)).ok_or(mismatch)?;
        let head = frame.get(..view.class.end() as usize).filter(|head| head.len() >= form.len as usize);
        let head = head.ok_or(mismatch)?;

        let start = out.len();
        out.extend_from_slice(head);
        let rebuilt = self.rebuild_tail(frame, view, edit, form, start, out);
        if rebuilt.is_err() {
            out.truncate(start);
            return rebuilt;
        }
        let _fits = put_at(&mut out[start..], layout.id_at as usize, &(id as u32).to_be_bytes());
        if checksum_len(layout, frame) > 0 {
            out.put_u32(0);
            checksum::seal(&mut out[start..], checksum::is_sound(frame));
        }
        Ok(())
    }

    fn reply_seed(&self, request: &[u8], view: &FrameView) -> Option<ReplySeed> {
        let form = self.layout(request).version as u64;
        (view.kind == FrameKind::Request).then_some(ReplySeed { id: view.id, form, names: None })
    }

    fn local_reply(&self, seed: &ReplySeed, code: u16, text: Option<&[u8]>, out: &mut BytesMut) {
        let version = if seed.form == Version::V2 as u64 { Version::V2 } else { Version::V1 };
        put_response(version, COMMAND_RESPONSE, seed.id, status_of(code, version), text, out);
    }

    fn heartbeat(&self, id: u64, out: &mut BytesMut) -> bool {
        put_request(self.0, COMMAND_HEARTBEAT, id, -1, out);
        true
    }

    fn beats_when_idle(&self) -> bool {
        true
    }

    fn heartbeat_reply(&self, heartbeat: &[u8], view: &FrameView, out: &mut BytesMut) -> bool {
        let version = self.layout(heartbeat).version;
        put_response(version, COMMAND_HEARTBEAT, view.id, STATUS_SUCCESS, None, out);
        true
    }

    fn goaway(&self, id: u64, out: &mut BytesMut) -> bool {
        if self.0 == Version::V1 {
            put_request(Version::V1, COMMAND_GOAWAY, id, 0, out);
        }
        self.0 == Version::V1
    }

    fn http_status(&self, status: i32) -> Option<u16> {
        Some(match status {
            0 => 200,
            4 => 503,
            7 => 504,
            16 => 502,
            _ => 500,
        })
    }
}

impl Bolt {
    /// Everything behind the class name, and the length fields that tell of it.
    fn rebuild_tail(
        self,
        frame: &[u8],
        view: &FrameView,
        edit: Edit<'_>,
        form: &Form,
        start: usize,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let header_len = match edit.headers {
            Some(pairs) => pairs::write(pairs, out)?,
            None => {
                out.extend_from_slice(view.headers.of(frame));
                view.headers.len as u16
            }
        };
        let body = edit.body.unwrap_or_else(|| view.body.of(frame));
        let body_len = u32::try_from(body.len())
            .map_err(|_| EncodeError::BodyTooLong { len: body.len() as u64, max: u32::MAX.into() })?;
        out.extend_from_slice(body);
        let lengths = &mut out[start + form.lengths_at..];
        let _fits =
            put_at(lengths, 2, &header_len.to_be_bytes()) && put_at(lengths, 4, &body_len.to_be_bytes());
        Ok(())
    }
}

const STATUS_SUCCESS: u16 = 0;

/// The status of a local reply.
const fn status_of(code: u16, version: Version) -> u16 {
    match code {
        200 => STATUS_SUCCESS,
        codes::CODEC_EXCEPTION => 9,
        codes::DESERIAL_EXCEPTION => 18,
        403 if matches!(version, Version::V1) => 2,
        404 | 502 => 6,
        503 => 4,
        504 => 7,
        _ => 3,
    }
}

/// The fields before timeout or status.
fn put_start(version: Version, kind: u8, command: u16, id: u64, out: &mut BytesMut) {
    out.put_u8(version as u8);
    if version == Version::V2 {
        out.put_u8(1);
    }
    out.put_u8(kind);
    out.put_u16(command);
    out.put_u8(1);
    out.put_u32(id as u32);
    out.put_u8(CODEC);
    if version == Version::V2 {
        out.put_u8(0);
    }
}

/// A request without class, headers and content.
fn put_request(version: Version, command: u16, id: u64, timeout_ms: i32, out: &mut BytesMut) {
    put_start(version, KIND_REQUEST, command, id, out);
    out.put_i32(timeout_ms);
    out.put_u64(0);
}

fn put_response(
    version: Version,
    command: u16,
    id: u64,
    status: u16,
    content: Option<&[u8]>,
    out: &mut BytesMut,
) {
    let content = content.unwrap_or_default();
    // A local reply's text comes from the configuration; one of 4 GiB cannot be loaded.
    let len = content.len().min(u32::MAX as usize);
    put_start(version, KIND_RESPONSE, command, id, out);
    out.put_u16(status);
    out.put_u32(0);
    out.put_u32(len as u32);
    out.put_slice(&content[..len]);
}

#[cfg(test)]
mod tests;
