//! Thrift as Dubbo frames it: `string method(1: string)`.

use bytes::{BufMut, BytesMut};
use mosn_codec::rpc::{DUBBO_THRIFT, FrameView, RpcProtocol};

use super::{Call, CallError, Dialect, fit, put_long_string};

const MAGIC: u16 = 0xdabc;
const STRICT: u16 = 0x8001;
const CALL: u16 = 1;
const REPLY: u16 = 2;
const STRING: u8 = 11;
const STOP: u8 = 0;
/// Bytes of the header without the service's name, counted from the magic.
const HEADER_LEN: usize = 21;

#[derive(Debug)]
pub(super) struct DubboThrift;

impl Dialect for DubboThrift {
    fn protocol(&self) -> &'static dyn RpcProtocol {
        &DUBBO_THRIFT
    }

    fn ok_status(&self) -> i32 {
        REPLY.into()
    }

    fn request(&self, call: &Call) -> Result<BytesMut, CallError> {
        let name = DUBBO_THRIFT.name();
        if !call.headers.is_empty() {
            return Err(CallError::NoHeaders(name));
        }
        fit(name, "service name", call.service.len(), usize::from(u16::MAX) - HEADER_LEN)?;
        fit(name, "method name", call.method.len(), u16::MAX.into())?;
        let mut out = BytesMut::new();
        put_frame(call.service.as_bytes(), 1, call.method.as_bytes(), CALL, 1, &call.body, &mut out);
        Ok(out)
    }

    fn argument<'a>(&self, frame: &'a [u8], view: &FrameView) -> &'a [u8] {
        Message::of(view.body.of(frame)).and_then(|message| message.string(1)).unwrap_or_default()
    }

    fn put_reply(&self, request: &[u8], view: &FrameView, payload: &[u8], out: &mut BytesMut) {
        let Some(message) = Message::of(view.body.of(request)) else { return };
        let service = long_string(request, 13).unwrap_or_default();
        put_frame(service, view.id, message.name, REPLY, 0, payload, out);
    }

    fn result<'a>(&self, frame: &'a [u8], view: &FrameView) -> Option<&'a [u8]> {
        Message::of(view.body.of(frame))?.string(0)
    }
}

/// A thrift message in the strict form.
struct Message<'a> {
    name: &'a [u8],
    /// The first field of the struct behind the sequence number.
    fields: &'a [u8],
}

impl<'a> Message<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let name = long_string(bytes, 4).filter(|_| bytes.starts_with(&STRICT.to_be_bytes()))?;
        Some(Self { name, fields: bytes.get(8 + name.len() + 4..)? })
    }

    /// The first field if it is a string under this number.
    fn string(&self, number: u8) -> Option<&'a [u8]> {
        self.fields.starts_with(&[STRING, 0, number]).then(|| long_string(self.fields, 3)).flatten()
    }
}

/// The bytes that the length at `at` counts.
fn long_string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let len = u32::from_be_bytes(*rest.first_chunk()?) as usize;
    rest.get(4..)?.get(..len)
}

fn put_frame(
    service: &[u8],
    id: u64,
    method: &[u8],
    kind: u16,
    field: u16,
    payload: &[u8],
    out: &mut BytesMut,
) {
    let header_len = HEADER_LEN + service.len();
    let message_len = 4 + 4 + method.len() + 4 + 3 + 4 + payload.len() + 1;
    let len = (header_len + message_len) as u32;
    out.put_u32(len);
    out.put_u16(MAGIC);
    out.put_u32(len);
    out.put_u16(header_len as u16);
    out.put_u8(1);
    put_long_string(service, out);
    out.put_u64(id);
    out.put_u16(STRICT);
    out.put_u16(kind);
    put_long_string(method, out);
    out.put_u32(1);
    out.put_u8(STRING);
    out.put_u16(field);
    put_long_string(payload, out);
    out.put_u8(STOP);
}
