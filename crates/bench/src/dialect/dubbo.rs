//! Dubbo: `String method(String)`, in hessian2.

use bytes::{BufMut, BytesMut};
use mosn_codec::{
    hessian::{Reader, write_string},
    rpc::{DUBBO, FrameView, RpcProtocol},
};

use super::{Call, CallError, Dialect, put_length_at};

const MAGIC: u16 = 0xdabb;
const TWO_WAY_REQUEST_HESSIAN2: u8 = 0xc2;
const RESPONSE_HESSIAN2: u8 = 0x02;
const STATUS_OK: u8 = 20;
/// What a reply's content begins with: 1 "a value", 4 "a value, and attachments".
const VALUE: u8 = 0x91;
const VALUE_WITH_ATTACHMENTS: u8 = 0x94;

#[derive(Debug)]
pub(super) struct Dubbo;

impl Dialect for Dubbo {
    fn protocol(&self) -> &'static dyn RpcProtocol {
        &DUBBO
    }

    fn ok_status(&self) -> i32 {
        STATUS_OK.into()
    }

    fn request(&self, call: &Call) -> Result<BytesMut, CallError> {
        let mut out = BytesMut::new();
        put_start(TWO_WAY_REQUEST_HESSIAN2, 0, 1, &mut out);
        let text = |text: &str, out: &mut BytesMut| write_string(text.as_bytes(), out);
        for field in ["2.0.2", &call.service, &call.version, &call.method, "Ljava/lang/String;"] {
            text(field, &mut out);
        }
        write_string(&call.body, &mut out);
        out.put_u8(b'H');
        let timeout = call.timeout_ms.to_string();
        let own = [
            ("path", call.service.as_str()),
            ("interface", &call.service),
            ("version", &call.version),
            ("timeout", &timeout),
        ];
        let given = call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.into_iter().chain(given) {
            text(name, &mut out);
            text(value, &mut out);
        }
        out.put_u8(b'Z');
        put_length_at(&mut out, 12);
        Ok(out)
    }

    fn payload(&self, bytes: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        write_string(bytes, &mut out);
        out
    }

    fn argument<'a>(&self, frame: &'a [u8], view: &FrameView) -> &'a [u8] {
        first_argument(view.body.of(frame)).unwrap_or_default()
    }

    fn put_reply(&self, _request: &[u8], view: &FrameView, payload: &[u8], out: &mut BytesMut) {
        let len_at = out.len() + 12;
        put_start(RESPONSE_HESSIAN2, STATUS_OK, view.id, out);
        out.put_u8(VALUE);
        // A call without an argument gets a null.
        out.put_slice(if payload.is_empty() { b"N" } else { payload });
        put_length_at(out, len_at);
    }

    fn result<'a>(&self, frame: &'a [u8], view: &FrameView) -> Option<&'a [u8]> {
        match view.body.of(frame) {
            [VALUE, value @ ..] => Some(value),
            [VALUE_WITH_ATTACHMENTS, rest @ ..] => {
                let mut reader = Reader::new(rest);
                reader.skip(1).ok()?;
                rest.get(..reader.position())
            }
            _ => None,
        }
    }
}

fn put_start(flags: u8, status: u8, id: u64, out: &mut BytesMut) {
    out.put_u16(MAGIC);
    out.put_u8(flags);
    out.put_u8(status);
    out.put_u64(id);
    out.put_u32(0);
}

/// The value behind framework version, path, version, method and descriptor.
fn first_argument(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    reader.skip(5).ok()?;
    let start = reader.position();
    reader.skip(1).ok()?;
    body.get(start..reader.position())
}
