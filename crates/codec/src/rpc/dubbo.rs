//! Dubbo: a 16-byte header and a body that is hessian2 unless the flags say otherwise.
//!
//! `0 magic da bb | 2 flags | 3 status | 4 id u64 | 12 body length u32 | 16 body`

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::hessian::{self, Reader};

use super::{
    DecodeError, Decoded, Detect, Edit, EncodeError, FrameKind, FrameView, HeaderError, HeaderScope, Limits,
    ReplySeed, RpcProtocol, Side, Span, Visit, codes,
    wire::{byte_at, put_at, u16_at, u32_at, u64_at},
};

const NAME: &str = "dubbo";
const MAGIC: u16 = 0xdabb;
const HEADER_LEN: u32 = 16;
const FLAGS_AT: usize = 2;
const STATUS_AT: usize = 3;
const ID_AT: u32 = 4;
const BODY_LEN_AT: usize = 12;

const REQUEST: u8 = 0x80;
const TWO_WAY: u8 = 0x40;
const EVENT: u8 = 0x20;
const SERIALIZATION: u8 = 0x1f;
const HESSIAN2: u8 = 2;

const STATUS_OK: u8 = 20;
/// hessian2 for the string `R`: the event with which a server says that it is about to stop.
const READ_ONLY: &[u8] = b"\x01R";
/// The flag before a returned value: 1, "a value that is not null".
const RESPONSE_VALUE: u8 = 0x91;

/// The listeners on which routes see a call's attachments; everywhere else they see only what
/// names the call.
const ATTACHMENT_LISTENERS: [&str; 2] = ["ingress_dubbo", "egress_dubbo"];
/// Attachments read of one call.
const MAX_ATTACHMENTS: usize = 4096;

/// The `dubbo` protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dubbo;

impl RpcProtocol for Dubbo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn detect(&self, prefix: &[u8]) -> Detect {
        if prefix.len() < HEADER_LEN as usize {
            Detect::NeedMore
        } else if u16_at(prefix, 0) == MAGIC {
            Detect::Yes
        } else {
            Detect::No
        }
    }

    fn decode(&self, buf: &[u8], _from: Side, limits: &Limits) -> Result<Decoded, DecodeError> {
        if buf.len() < HEADER_LEN as usize {
            return Ok(Decoded::NeedMore { at_least: HEADER_LEN as usize });
        }
        let magic = u16_at(buf, 0);
        if magic != MAGIC {
            return Err(DecodeError::BadMagic { protocol: NAME, found: magic });
        }
        let body_len = u32_at(buf, BODY_LEN_AT);
        let len = u64::from(HEADER_LEN) + u64::from(body_len);
        if len > limits.max_frame_bytes.into() {
            return Err(DecodeError::FrameTooLarge { protocol: NAME, len, max: limits.max_frame_bytes });
        }
        let Some(body) = buf.get(HEADER_LEN as usize..len as usize) else {
            return Ok(Decoded::NeedMore { at_least: len as usize });
        };
        let flags = byte_at(buf, FLAGS_AT);
        let kind = frame_kind(flags, body);
        let mut view = FrameView::new(kind, u64_at(buf, ID_AT as usize), Span::new(ID_AT, 8), len as u32);
        view.body = Span::new(HEADER_LEN, body_len);
        if flags & REQUEST == 0 {
            view.status = byte_at(buf, STATUS_AT).into();
        }
        Ok(Decoded::Frame(view))
    }

    fn id_bits(&self) -> u32 {
        64
    }

    fn header_scope(&self, listener: &str) -> HeaderScope {
        if ATTACHMENT_LISTENERS.contains(&listener) { HeaderScope::All } else { HeaderScope::Call }
    }

    fn visit_headers<'a>(
        &self,
        frame: &'a [u8],
        view: &FrameView,
        scope: HeaderScope,
        visit: &mut Visit<'a, '_>,
    ) -> Result<(), HeaderError> {
        if !view.kind.is_call() || byte_at(frame, FLAGS_AT) & SERIALIZATION != HESSIAN2 {
            return Ok(());
        }
        let body = view.body.of(frame);
        match scope {
            HeaderScope::Call => visit_call(body, None, visit),
            HeaderScope::All => visit_all(body, visit),
        }
    }

    fn rebuild(
        &self,
        frame: &[u8],
        view: &FrameView,
        edit: Edit<'_>,
        id: u64,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let head = frame.get(..HEADER_LEN as usize);
        let head = head.ok_or(EncodeError::ViewMismatch { len: frame.len() as u64 })?;
        let body = edit.body.unwrap_or_else(|| view.body.of(frame));
        // Java reads the length as a signed number.
        let body_len = i32::try_from(body.len())
            .map_err(|_| EncodeError::BodyTooLong { len: body.len() as u64, max: i32::MAX as u64 })?;
        let start = out.len();
        out.reserve(head.len() + body.len());
        out.extend_from_slice(head);
        let header = &mut out[start..];
        let _fits = put_at(header, ID_AT as usize, &id.to_be_bytes())
            && put_at(header, BODY_LEN_AT, &body_len.to_be_bytes());
        out.extend_from_slice(body);
        Ok(())
    }

    fn local_reply(&self, seed: &ReplySeed, code: u16, text: Option<&[u8]>, out: &mut BytesMut) {
        let status = status_of(code);
        put_frame(HESSIAN2, status, seed.id, out, |body| match text {
            Some(text) => {
                if status == STATUS_OK {
                    body.put_u8(RESPONSE_VALUE);
                }
                hessian::write_string(text, body);
            }
            None => match codes::words(code) {
                Some(words) => hessian::write_string(format!("{code}|{words}").as_bytes(), body),
                None => hessian::write_string(format!("{code} status not define").as_bytes(), body),
            },
        });
    }

    fn heartbeat(&self, id: u64, out: &mut BytesMut) -> bool {
        put_frame(REQUEST | TWO_WAY | EVENT | HESSIAN2, 0, id, out, |body| body.put_u8(b'N'));
        true
    }

    fn heartbeat_reply(&self, _heartbeat: &[u8], view: &FrameView, out: &mut BytesMut) -> bool {
        put_frame(EVENT | HESSIAN2, STATUS_OK, view.id, out, |body| body.put_slice(b"NN"));
        true
    }
}

fn frame_kind(flags: u8, body: &[u8]) -> FrameKind {
    let (request, event) = (flags & REQUEST != 0, flags & EVENT != 0);
    match (request, event) {
        (true, true) if body == READ_ONLY && flags & SERIALIZATION == HESSIAN2 => FrameKind::GoAway,
        (true, true) => FrameKind::Heartbeat,
        (false, true) => FrameKind::HeartbeatReply,
        (true, false) if flags & TWO_WAY != 0 => FrameKind::Request,
        (true, false) => FrameKind::OneWay,
        (false, false) => FrameKind::Response,
    }
}

/// The status of a local reply.
const fn status_of(code: u16) -> u8 {
    match code {
        200 => STATUS_OK,
        403 => 80,
        404 | 502 => 60,
        503 | 509 => 40,
        504 => 30,
        _ => 70,
    }
}

fn put_frame(flags: u8, status: u8, id: u64, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    out.put_u16(MAGIC);
    out.put_u8(flags);
    out.put_u8(status);
    out.put_u64(id);
    let len_at = out.len();
    out.put_u32(0);
    body(out);
    let len = out.len() - len_at - 4;
    let _fits = put_at(out, len_at, &(len as u32).to_be_bytes());
}

/// Shows what names the call. The body begins with four strings: framework version, path, version
/// of the service, method.
fn visit_call<'a>(
    body: &'a [u8],
    interface: Option<Cow<'a, [u8]>>,
    visit: &mut Visit<'a, '_>,
) -> Result<(), HeaderError> {
    let mut reader = Reader::new(body);
    let framework = required(&mut reader)?;
    let path = required(&mut reader)?;
    if visit(b"service", interface.unwrap_or(path)).is_break() || visit(b"dubbo", framework).is_break() {
        return Ok(());
    }
    let version = reader.string()?.unwrap_or_default();
    if visit(b"version", version).is_break() {
        return Ok(());
    }
    let method = required(&mut reader)?;
    let _ = visit(b"method", method);
    Ok(())
}

/// Shows the attachments, then what names the call. An attachment wins over a field of the call
/// with the same name, and `interface` is the service whatever else says so.
fn visit_all<'a>(body: &'a [u8], visit: &mut Visit<'a, '_>) -> Result<(), HeaderError> {
    let (mut interface, mut service) = (None, None);
    let mut attachments = Attachments::of(body)?;
    while let Some((key, value)) = attachments.next_pair()? {
        if &*key == b"service" {
            service.get_or_insert(value);
            continue;
        }
        if &*key == b"interface" {
            interface.get_or_insert_with(|| value.clone());
        }
        if visit(&key, value).is_break() {
            return Ok(());
        }
    }
    visit_call(body, interface.or(service), visit)
}

/// The string pairs behind a call's arguments.
struct Attachments<'a> {
    reader: Reader<'a>,
    open: bool,
    left: usize,
}

impl<'a> Attachments<'a> {
    fn of(body: &'a [u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(body);
        required(&mut reader)?;
        required(&mut reader)?;
        reader.string()?;
        required(&mut reader)?;
        let descriptor = reader.string()?.unwrap_or_default();
        reader.skip(count_arguments(&descriptor))?;
        let open = !reader.is_at_end() && reader.enter_map()?;
        Ok(Self { reader, open, left: MAX_ATTACHMENTS })
    }

    fn next_pair(&mut self) -> Result<Option<Pair<'a>>, HeaderError> {
        while self.open && self.left > 0 {
            if self.reader.leave_map()? {
                self.open = false;
                break;
            }
            self.left -= 1;
            let key = self.reader.string_or_skip()?;
            let value = self.reader.string_or_skip()?;
            if let (Some(key), Some(value)) = (key, value) {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

fn required<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, HeaderError> {
    let at = reader.position();
    let text = reader.string()?;
    text.ok_or(HeaderError::Hessian(hessian::HessianError::NotAString { at, tag: b'N' }))
}

/// How many arguments a JVM descriptor lists: `I[BLjava/lang/String;` are three.
fn count_arguments(descriptor: &[u8]) -> u32 {
    let mut count = 0;
    let mut rest = descriptor.iter();
    while let Some(&letter) = rest.next() {
        match letter {
            b'[' => continue,
            b'L' => {
                let _ = rest.find(|&&byte| byte == b';');
            }
            _ => {}
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests;
