//! Thrift as Dubbo frames it: a header with the service and an id, then a thrift binary message.
//!
//! `0 u32 length | 4 magic da bc | 6 u32 message length | 10 u16 header length | 12 version |
//! 13 i32 service length, service | ... | i64 id | message`; the first length counts from byte 4,
//! the header length too, and the id is the last thing in the header.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{
    DecodeError, Decoded, Detect, Edit, EncodeError, FrameKind, FrameView, HeaderError, HeaderScope, Limits,
    ReplySeed, RpcProtocol, Side, Span, Visit, codes,
    wire::{byte_at, i32_at, put_at, u16_at, u32_at, u64_at},
};

const NAME: &str = "dubbo-thrift";
const MAGIC: u16 = 0xdabc;
const MAGIC_AT: usize = 4;
const MESSAGE_LEN_AT: usize = 6;
const HEADER_LEN_AT: usize = 10;
const SERVICE_LEN_AT: usize = 13;
const SERVICE_AT: u32 = 17;
const ID_LEN: u32 = 8;
/// The first byte of a message in the strict form, whose fourth byte is the type.
const STRICT: u8 = 0x80;

const CALL: u8 = 1;
const REPLY: u8 = 2;
const EXCEPTION: u8 = 3;
const ONE_WAY: u8 = 4;

/// The `dubbo-thrift` protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DubboThrift;

/// Where a frame's parts are.
#[derive(Clone, Copy, Debug)]
struct Parts {
    service: Span,
    id: Span,
    method: Span,
    sequence: i32,
    message_type: u8,
    message: Span,
}

impl Parts {
    /// The parts of a whole frame.
    fn of(frame: &[u8]) -> Result<Self, DecodeError> {
        let len = frame.len() as u32;
        let bad =
            |field, claimed: i64| DecodeError::BadLength { protocol: NAME, field, len: claimed, frame: len };
        let header_len = u32::from(u16_at(frame, HEADER_LEN_AT));
        let header_end = MAGIC_AT as u32 + header_len;
        if header_end > len || header_end < SERVICE_AT + ID_LEN {
            return Err(bad("header", header_len.into()));
        }
        let service_len = i32_at(frame, SERVICE_LEN_AT);
        let service = u32::try_from(service_len).ok().filter(|&len| len <= header_end - ID_LEN - SERVICE_AT);
        let service = Span::new(SERVICE_AT, service.ok_or(bad("service name", service_len.into()))?);

        let message = Span::new(header_end, len - header_end);
        let bytes = message.of(frame);
        let strict = byte_at(bytes, 0) == STRICT;
        let name_len_at = if strict { 4 } else { 0 };
        // Behind the name: the type where it did not come first, and the sequence number.
        let behind: u32 = if strict { 4 } else { 5 };
        let name_len = i32_at(bytes, name_len_at);
        let name_at = name_len_at as u32 + 4;
        let fits = |&name_len: &u32| {
            u64::from(name_at) + u64::from(name_len) + u64::from(behind) <= bytes.len() as u64
                && name_len <= u16::MAX.into()
        };
        let name_len =
            u32::try_from(name_len).ok().filter(fits).ok_or(bad("method name", name_len.into()))?;
        let name_end = (name_at + name_len) as usize;
        let (message_type, sequence) = if strict {
            (byte_at(bytes, 3), i32_at(bytes, name_end))
        } else {
            (byte_at(bytes, name_end), i32_at(bytes, name_end + 1))
        };
        Ok(Self {
            service,
            id: Span::new(header_end - ID_LEN, ID_LEN),
            method: Span::new(header_end + name_at, name_len),
            sequence,
            message_type,
            message,
        })
    }
}

impl RpcProtocol for DubboThrift {
    fn name(&self) -> &'static str {
        NAME
    }

    fn detect(&self, prefix: &[u8]) -> Detect {
        if prefix.len() < MAGIC_AT + 2 {
            Detect::NeedMore
        } else if u16_at(prefix, MAGIC_AT) == MAGIC {
            Detect::Yes
        } else {
            Detect::No
        }
    }

    fn decode(&self, buf: &[u8], _from: Side, limits: &Limits) -> Result<Decoded, DecodeError> {
        if buf.len() < MAGIC_AT + 2 {
            return Ok(Decoded::NeedMore { at_least: MAGIC_AT + 2 });
        }
        let magic = u16_at(buf, MAGIC_AT);
        if magic != MAGIC {
            return Err(DecodeError::BadMagic { protocol: NAME, found: magic });
        }
        let len = u64::from(u32_at(buf, 0)) + MAGIC_AT as u64;
        if len > limits.max_frame_bytes.into() {
            return Err(DecodeError::FrameTooLarge { protocol: NAME, len, max: limits.max_frame_bytes });
        }
        let shortest = u64::from(SERVICE_AT + ID_LEN);
        if len < shortest {
            return Err(DecodeError::BadLength {
                protocol: NAME,
                field: "header",
                len: shortest as i64,
                frame: len as u32,
            });
        }
        let Some(frame) = buf.get(..len as usize) else {
            return Ok(Decoded::NeedMore { at_least: len as usize });
        };
        let parts = Parts::of(frame)?;
        let kind = match parts.message_type {
            CALL => FrameKind::Request,
            ONE_WAY => FrameKind::OneWay,
            REPLY | EXCEPTION => FrameKind::Response,
            other => return Err(DecodeError::UnknownKind { protocol: NAME, value: other.into() }),
        };
        let id = u64_at(frame, parts.id.start as usize);
        let mut view = FrameView::new(kind, id, parts.id, len as u32);
        view.body = parts.message;
        if kind == FrameKind::Response {
            view.status = parts.message_type.into();
        }
        Ok(Decoded::Frame(view))
    }

    fn id_bits(&self) -> u32 {
        64
    }

    fn visit_headers<'a>(
        &self,
        frame: &'a [u8],
        _view: &FrameView,
        _scope: HeaderScope,
        visit: &mut Visit<'a, '_>,
    ) -> Result<(), HeaderError> {
        let parts = Parts::of(frame)?;
        let decimal = |number: i64| Cow::Owned(number.to_string().into_bytes());
        if visit(b"service", Cow::Borrowed(parts.service.of(frame))).is_break()
            || visit(b"method", Cow::Borrowed(parts.method.of(frame))).is_break()
            || visit(b"seqId", decimal(parts.sequence.into())).is_break()
        {
            return Ok(());
        }
        let _ = visit(b"messageType", decimal(parts.message_type.into()));
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
        let mismatch = EncodeError::ViewMismatch { len: frame.len() as u64 };
        let head = frame.get(..view.body.start as usize).ok_or(mismatch)?;
        let body = edit.body.unwrap_or_else(|| view.body.of(frame));
        let len = (head.len() + body.len()).saturating_sub(MAGIC_AT);
        let len = i32::try_from(len)
            .map_err(|_| EncodeError::BodyTooLong { len: body.len() as u64, max: i32::MAX as u64 })?;
        let start = out.len();
        out.reserve(head.len() + body.len());
        out.extend_from_slice(head);
        out.extend_from_slice(body);
        let new = &mut out[start..];
        let _fits = put_at(new, 0, &len.to_be_bytes())
            && put_at(new, MESSAGE_LEN_AT, &len.to_be_bytes())
            && put_at(new, view.id_field.start as usize, &id.to_be_bytes());
        Ok(())
    }

    /// The reply repeats the names, so they are kept: `u16` service length, service, method.
    fn reply_seed(&self, request: &[u8], view: &FrameView) -> Option<ReplySeed> {
        let parts = Parts::of(request).ok().filter(|_| view.kind == FrameKind::Request)?;
        let (service, method) = (parts.service.of(request), parts.method.of(request));
        let mut names = Vec::with_capacity(2 + service.len() + method.len());
        names.extend_from_slice(&(service.len() as u16).to_be_bytes());
        names.extend_from_slice(service);
        names.extend_from_slice(method);
        Some(ReplySeed { id: view.id, form: parts.sequence as u32 as u64, names: Some(names.into()) })
    }

    fn local_reply(&self, seed: &ReplySeed, code: u16, text: Option<&[u8]>, out: &mut BytesMut) {
        let names = seed.names.as_deref().unwrap_or_default();
        let service_len = usize::from(u16_at(names, 0));
        let (service, method) =
            names.get(2..).and_then(|names| names.split_at_checked(service_len)).unwrap_or_default();

        let start = out.len();
        out.put_u32(0);
        out.put_u16(MAGIC);
        out.put_u32(0);
        // The service name came out of a header whose length fits.
        out.put_u16((SERVICE_AT as usize + ID_LEN as usize - MAGIC_AT + service.len()) as u16);
        out.put_u8(1);
        put_string(service, out);
        out.put_u64(seed.id);
        out.put_slice(&[STRICT, 1, 0, EXCEPTION]);
        put_string(method, out);
        out.put_u32(seed.form as u32);
        out.put_slice(&[TYPE_STRING, 0, 1]);
        match (text, codes::words(code)) {
            (Some(text), _) => put_string(text, out),
            (None, Some(words)) => put_string(format!("{code}|{words}").as_bytes(), out),
            (None, None) => put_string(b"unknown application exception", out),
        }
        out.put_slice(&[TYPE_I32, 0, 2]);
        out.put_u32(exception_type(code));
        out.put_u8(0);
        let len = (out.len() - start - MAGIC_AT) as u32;
        let frame = &mut out[start..];
        let _fits = put_at(frame, 0, &len.to_be_bytes()) && put_at(frame, MESSAGE_LEN_AT, &len.to_be_bytes());
    }
}

const TYPE_I32: u8 = 8;
const TYPE_STRING: u8 = 11;

/// The `type` of the application exception that a local reply carries.
const fn exception_type(code: u16) -> u32 {
    match code {
        codes::CODEC_EXCEPTION | codes::DESERIAL_EXCEPTION => 7,
        403 | 500 | 504 => 6,
        404 => 1,
        _ => 0,
    }
}

fn put_string(bytes: &[u8], out: &mut BytesMut) {
    let len = bytes.len().min(i32::MAX as usize);
    out.put_u32(len as u32);
    out.put_slice(&bytes[..len]);
}

#[cfg(test)]
mod tests;
