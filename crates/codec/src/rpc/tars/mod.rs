//! Tars: a length that counts itself, then the fields of a packet in JCE.
//!
//! Requests and responses number their fields alike up to tag 5, whose type tells them apart: a
//! string is a request's servant, an integer a response's return code. TUP, the older form of the
//! protocol, answers with a packet in the request's shape, so there the direction decides.

mod jce;

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

pub use self::jce::JceError;
use self::jce::{Head, Reader};
use super::{
    DecodeError, Decoded, Detect, Edit, EncodeError, FrameKind, FrameTimeout, FrameView, HeaderError,
    HeaderScope, Limits, ReplySeed, RpcProtocol, Side, Span, Visit, codes,
    wire::{byte_at, put_at, u32_at},
};

const NAME: &str = "tars";
/// The length field, which counts itself.
const LENGTH_LEN: u32 = 4;
/// What peers accept, and thus what detection does.
const MAX_DETECTED_BYTES: u32 = 10_485_760;
/// Entries read of one packet's context.
const MAX_CONTEXT: u32 = 4096;

const VERSION_TARS: i64 = 1;
const PACKET_ONE_WAY: i64 = 1;

/// Tags of the fields that both shapes share.
const TAG_VERSION: u8 = 1;
const TAG_PACKET_TYPE: u8 = 2;
/// The servant of a request, the return code of a response.
const TAG_SHAPE: u8 = 5;

/// The text with which a server asks its clients to open another connection; its id is 0.
const RECONNECT: &[u8] = b"_reconnect_";
/// The `tars` protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tars;

/// The tags that differ between the two shapes of a packet.
#[derive(Debug)]
struct Shape {
    id: u8,
    message_type: u8,
    buffer: u8,
}

static REQUEST: Shape = Shape { message_type: 3, id: 4, buffer: 7 };
static RESPONSE: Shape = Shape { id: 3, message_type: 4, buffer: 6 };

const TAG_FUNCTION: u8 = 6;
const TAG_TIMEOUT: u8 = 8;
const TAG_RESULT_DESC: u8 = 8;
const TAG_CONTEXT: u8 = 9;

/// The fields of a packet that the proxy needs.
#[derive(Debug)]
struct Packet {
    shape: &'static Shape,
    version: i64,
    packet_type: i64,
    message_type: i64,
    id: i64,
    /// Head and value.
    id_field: Span,
    /// Request.
    servant: Span,
    function: Span,
    timeout: i64,
    /// Response.
    ret: i64,
    result_desc: Span,
    /// Head and value.
    buffer_field: Span,
    buffer: Span,
    /// Offset of the context's head; 0 if there is none.
    context_at: usize,
}

impl Packet {
    /// The packet in a whole frame.
    fn of(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame, LENGTH_LEN as usize);
        let (mut version, mut packet_type) = (0, 0);
        let mut third = None;
        let mut fourth = None;
        let (shape, servant, ret) = loop {
            let head = reader.head()?.ok_or(missing("field 5 (servant or return code)"))?;
            match head.tag {
                TAG_VERSION => version = reader.int(head)?,
                TAG_PACKET_TYPE => packet_type = reader.int(head)?,
                3 => third = Some(int_field(&mut reader, head)?),
                4 => fourth = Some(int_field(&mut reader, head)?),
                TAG_SHAPE => match head.kind {
                    jce::STRING1 | jce::STRING4 => break (&REQUEST, reader.string(head)?, 0),
                    jce::BYTE | jce::SHORT | jce::INT | jce::ZERO => {
                        break (&RESPONSE, Span::default(), reader.int(head)?);
                    }
                    kind => return Err(DecodeError::UnknownKind { protocol: NAME, value: kind.into() }),
                },
                _ => reader.skip(head)?,
            }
        };
        let (id, message_type) = if shape.id == 3 { (third, fourth) } else { (fourth, third) };
        let (id, id_field) = id.ok_or(missing("request id"))?;
        let mut packet = Self {
            shape,
            version,
            packet_type,
            message_type: message_type.map_or(0, |(value, _)| value),
            id,
            id_field,
            servant,
            function: Span::default(),
            timeout: 0,
            ret,
            result_desc: Span::default(),
            buffer_field: Span::default(),
            buffer: Span::default(),
            context_at: 0,
        };
        while let Some(head) = reader.head()? {
            packet.take_field(&mut reader, head)?;
        }
        Ok(packet)
    }

    /// A field behind the one that told the shape.
    fn take_field(&mut self, reader: &mut Reader<'_>, head: Head) -> Result<(), JceError> {
        let request = std::ptr::eq(self.shape, &REQUEST);
        match head.tag {
            tag if tag == self.shape.buffer && head.kind == jce::SIMPLE_LIST => {
                self.buffer = reader.buffer(head)?;
                self.buffer_field = field_span(head, reader);
            }
            TAG_FUNCTION if request => self.function = reader.string(head)?,
            TAG_TIMEOUT if request => self.timeout = reader.int(head)?,
            TAG_RESULT_DESC if !request => self.result_desc = reader.string(head)?,
            TAG_CONTEXT if request => {
                self.context_at = head.at;
                reader.skip(head)?;
            }
            _ => reader.skip(head)?,
        }
        Ok(())
    }

    fn kind(&self, frame: &[u8], from: Side) -> FrameKind {
        if std::ptr::eq(self.shape, &RESPONSE) {
            let reconnect = self.id == 0 && self.result_desc.of(frame) == RECONNECT;
            return if reconnect { FrameKind::GoAway } else { FrameKind::Response };
        }
        if from == Side::Upstream && self.version != VERSION_TARS {
            return FrameKind::Response;
        }
        if self.packet_type == PACKET_ONE_WAY { FrameKind::OneWay } else { FrameKind::Request }
    }
}

const fn missing(field: &'static str) -> DecodeError {
    DecodeError::MissingField { protocol: NAME, field }
}

/// From a field's head to where the reader stands now, behind it.
fn field_span(head: Head, reader: &Reader<'_>) -> Span {
    Span::new(head.at as u32, (reader.position() - head.at) as u32)
}

fn int_field(reader: &mut Reader<'_>, head: Head) -> Result<(i64, Span), JceError> {
    let value = reader.int(head)?;
    Ok((value, field_span(head, reader)))
}

impl RpcProtocol for Tars {
    fn name(&self) -> &'static str {
        NAME
    }

    fn detect(&self, prefix: &[u8]) -> Detect {
        if prefix.len() < 6 {
            return Detect::NeedMore;
        }
        let len = u32_at(prefix, 0);
        let head_matches = byte_at(prefix, 4) == 0x10 && matches!(byte_at(prefix, 5), 1 | 3);
        match head_matches && (LENGTH_LEN..=MAX_DETECTED_BYTES).contains(&len) {
            true if prefix.len() < len as usize => Detect::NeedMore,
            true => Detect::Yes,
            false => Detect::No,
        }
    }

    fn decode(&self, buf: &[u8], from: Side, limits: &Limits) -> Result<Decoded, DecodeError> {
        if buf.len() < LENGTH_LEN as usize {
            return Ok(Decoded::NeedMore { at_least: LENGTH_LEN as usize });
        }
        let len = u32_at(buf, 0);
        if len < LENGTH_LEN {
            return Err(DecodeError::BadLength {
                protocol: NAME,
                field: "length field",
                len: LENGTH_LEN.into(),
                frame: len,
            });
        }
        if len > limits.max_frame_bytes {
            return Err(DecodeError::FrameTooLarge {
                protocol: NAME,
                len: len.into(),
                max: limits.max_frame_bytes,
            });
        }
        let Some(frame) = buf.get(..len as usize) else {
            return Ok(Decoded::NeedMore { at_least: len as usize });
        };
        let packet = Packet::of(frame)?;
        let id = u64::from(packet.id as u32);
        let mut view = FrameView::new(packet.kind(frame, from), id, packet.id_field, len);
        view.status = packet.ret as i32;
        view.body = packet.buffer;
        if let Ok(millis @ 1..) = u32::try_from(packet.timeout) {
            view.timeout = FrameTimeout::Millis(millis);
        }
        Ok(Decoded::Frame(view))
    }

    fn id_bits(&self) -> u32 {
        32
    }

    /// An integer's width depends on its value. A field that is wide enough keeps its width:
    /// every reader takes a small number in a wide field.
    fn patch_id(&self, frame: &mut [u8], view: &FrameView, id: u64) -> bool {
        let id = id as u32 as i32;
        let Ok(Some(head)) = Reader::new(frame, view.id_field.start as usize).head() else { return false };
        let at = head.end();
        match head.kind {
            jce::ZERO => id == 0,
            jce::BYTE => i8::try_from(id).is_ok_and(|id| put_at(frame, at, &id.to_be_bytes())),
            jce::SHORT => i16::try_from(id).is_ok_and(|id| put_at(frame, at, &id.to_be_bytes())),
            jce::INT => put_at(frame, at, &id.to_be_bytes()),
            jce::LONG => put_at(frame, at, &i64::from(id).to_be_bytes()),
            _ => false,
        }
    }

    fn append(&self, frame: &[u8], view: &FrameView, id: u64, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(frame);
        if self.patch_id(&mut out[start..], view, id) {
            return;
        }
        out.truncate(start);
        splice(frame, view.id_field, id, Span::default(), None, out);
    }

    fn visit_headers<'a>(
        &self,
        frame: &'a [u8],
        view: &FrameView,
        _scope: HeaderScope,
        visit: &mut Visit<'a, '_>,
    ) -> Result<(), HeaderError> {
        if !view.kind.is_call() {
            return Ok(());
        }
        let packet = Packet::of(frame)?;
        if visit(b"service", Cow::Borrowed(packet.servant.of(frame))).is_break()
            || visit(b"method", Cow::Borrowed(packet.function.of(frame))).is_break()
            || packet.context_at == 0
        {
            return Ok(());
        }
        let mut reader = Reader::new(frame, packet.context_at);
        let Some(head) = reader.head()? else { return Ok(()) };
        for _ in 0..reader.map(head)?.min(MAX_CONTEXT) {
            let key = reader.string_or_skip()?;
            let value = reader.string_or_skip()?;
            if let (Some(key), Some(value)) = (key, value)
                && visit(key.of(frame), Cow::Borrowed(value.of(frame))).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn rebuild(
        &self,
        frame: &[u8],
        view: &FrameView,
        edit: Edit<'_>,
        id: u64,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let Some(body) = edit.body else {
            self.append(frame, view, id, out);
            return Ok(());
        };
        let packet = Packet::of(frame).map_err(|_| EncodeError::ViewMismatch { len: frame.len() as u64 })?;
        if packet.buffer_field.is_empty() {
            return Err(EncodeError::ViewMismatch { len: frame.len() as u64 });
        }
        if frame.len() + body.len() > i32::MAX as usize {
            return Err(EncodeError::BodyTooLong { len: body.len() as u64, max: i32::MAX as u64 });
        }
        let buffer = (packet.shape.buffer, body);
        splice(frame, packet.id_field, id, packet.buffer_field, Some(buffer), out);
        Ok(())
    }

    fn reply_seed(&self, request: &[u8], view: &FrameView) -> Option<ReplySeed> {
        let packet = Packet::of(request).ok().filter(|_| view.kind == FrameKind::Request)?;
        let form = Form {
            version: packet.version as i16,
            packet_type: packet.packet_type as i8,
            message_type: packet.message_type as i32,
        };
        Some(ReplySeed { id: view.id, form: form.pack(), names: None })
    }

    fn local_reply(&self, seed: &ReplySeed, code: u16, text: Option<&[u8]>, out: &mut BytesMut) {
        let form = Form::unpack(seed.form);
        let words = match (text, codes::words(code)) {
            (Some(text), _) => Cow::Borrowed(text),
            (None, Some(words)) => Cow::Owned(format!("{code}|{words}").into_bytes()),
            (None, None) => Cow::Owned(format!("{code} status not define").into_bytes()),
        };
        let start = out.len();
        out.put_u32(0);
        put_ints(&[(TAG_VERSION, form.version.into()), (TAG_PACKET_TYPE, form.packet_type.into())], out);
        if i64::from(form.version) == VERSION_TARS {
            put_response(seed.id as i32, &form, ret_of(code), &words, out);
        } else {
            put_tup_response(seed.id as i32, &form, ret_of(code), &words, out);
        }
        put_length(start, out);
    }
}

/// What a reply repeats of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    version: i16,
    packet_type: i8,
    message_type: i32,
}

impl Form {
    const fn pack(self) -> u64 {
        (self.version as u16 as u64) << 40
            | (self.packet_type as u8 as u64) << 32
            | self.message_type as u32 as u64
    }

    const fn unpack(form: u64) -> Self {
        Self { version: (form >> 40) as i16, packet_type: (form >> 32) as i8, message_type: form as i32 }
    }
}

/// The return code of a local reply, as clients know it: -1 decoding failed, -4 no such servant,
/// -7 timeout, -8 the proxy could not connect, -9 overload, -99 anything else.
const fn ret_of(code: u16) -> i32 {
    match code {
        200 => 0,
        codes::CODEC_EXCEPTION | codes::DESERIAL_EXCEPTION => -1,
        404 => -4,
        502 => -8,
        503 | 509 => -9,
        504 => -7,
        _ => -99,
    }
}

fn put_ints(fields: &[(u8, i32)], out: &mut BytesMut) {
    for &(tag, value) in fields {
        jce::put_int(tag, value, out);
    }
}

/// A ResponsePacket from its id on.
fn put_response(id: i32, form: &Form, ret: i32, words: &[u8], out: &mut BytesMut) {
    put_ints(&[(RESPONSE.id, id), (RESPONSE.message_type, form.message_type), (TAG_SHAPE, ret)], out);
    jce::put_buffer(RESPONSE.buffer, b"", out);
    jce::put_map(7, &[], out);
    jce::put_string(TAG_RESULT_DESC, words, out);
}

/// A TUP answer from its message type on: a RequestPacket whose status map tells the outcome.
fn put_tup_response(id: i32, form: &Form, ret: i32, words: &[u8], out: &mut BytesMut) {
    put_ints(&[(REQUEST.message_type, form.message_type), (REQUEST.id, id)], out);
    jce::put_string(TAG_SHAPE, b"", out);
    jce::put_string(TAG_FUNCTION, b"", out);
    jce::put_buffer(REQUEST.buffer, b"", out);
    jce::put_int(TAG_TIMEOUT, 0, out);
    jce::put_map(TAG_CONTEXT, &[], out);
    let ret = ret.to_string();
    jce::put_map(10, &[(b"STATUS_RESULT_CODE", ret.as_bytes()), (b"STATUS_RESULT_DESC", words)], out);
}

/// Writes the length of the packet that begins at `start`.
fn put_length(start: usize, out: &mut BytesMut) {
    let len = (out.len() - start) as u32;
    let _fits = put_at(out, start, &len.to_be_bytes());
}

/// Appends the frame with its id field, and perhaps its buffer field, written anew.
fn splice(
    frame: &[u8],
    id_field: Span,
    id: u64,
    buffer_field: Span,
    buffer: Option<(u8, &[u8])>,
    out: &mut BytesMut,
) {
    let start = out.len();
    let head = Reader::new(frame, id_field.start as usize).head();
    let Ok(Some(head)) = head else { return };
    let part = |from: u32, to: u32| frame.get(from as usize..to as usize).unwrap_or_default();
    out.reserve(frame.len() + 8 + buffer.map_or(0, |(_, body)| body.len()));
    out.extend_from_slice(part(0, id_field.start));
    jce::put_int(head.tag, id as u32 as i32, out);
    let end = frame.len() as u32;
    match buffer {
        Some((tag, body)) => {
            out.extend_from_slice(part(id_field.end(), buffer_field.start));
            jce::put_buffer(tag, body, out);
            out.extend_from_slice(part(buffer_field.end(), end));
        }
        None => out.extend_from_slice(part(id_field.end(), end)),
    }
    put_length(start, out);
}

#[cfg(test)]
mod tests;
