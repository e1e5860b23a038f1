//! Tars: the payload is the packet's buffer.

use bytes::{BufMut, BytesMut};
use mosn_codec::rpc::{FrameView, RpcProtocol, TARS};

use super::{Call, CallError, Dialect};

/// Types of JCE fields. A head is `tag << 4 | type`.
const BYTE: u8 = 0;
const INT: u8 = 2;
const STRING4: u8 = 7;
const MAP: u8 = 8;
const ZERO: u8 = 12;
const SIMPLE_LIST: u8 = 13;

#[derive(Debug)]
pub(super) struct Tars;

impl Dialect for Tars {
    fn protocol(&self) -> &'static dyn RpcProtocol {
        &TARS
    }

    fn ok_status(&self) -> i32 {
        0
    }

    fn request(&self, call: &Call) -> Result<BytesMut, CallError> {
        let mut out = BytesMut::new();
        out.put_u32(0);
        out.put_slice(&[1 << 4 | BYTE, 1, 2 << 4 | ZERO, 3 << 4 | ZERO]);
        put_int(4, 1, &mut out);
        put_string(5, call.service.as_bytes(), &mut out);
        put_string(6, call.method.as_bytes(), &mut out);
        put_buffer(7, &call.body, &mut out);
        put_int(8, call.timeout_ms, &mut out);
        out.put_u8(9 << 4 | MAP);
        put_int(0, call.headers.len() as u32, &mut out);
        for (name, value) in &call.headers {
            put_string(0, name.as_bytes(), &mut out);
            put_string(1, value.as_bytes(), &mut out);
        }
        out.put_slice(&[10 << 4 | MAP, ZERO]);
        put_length(0, &mut out);
        Ok(out)
    }

    fn argument<'a>(&self, frame: &'a [u8], view: &FrameView) -> &'a [u8] {
        view.body.of(frame)
    }

    fn put_reply(&self, _request: &[u8], view: &FrameView, payload: &[u8], out: &mut BytesMut) {
        let start = out.len();
        out.put_u32(0);
        out.put_slice(&[1 << 4 | BYTE, 1, 2 << 4 | ZERO]);
        put_int(3, view.id as u32, out);
        out.put_slice(&[4 << 4 | ZERO, 5 << 4 | ZERO]);
        put_buffer(6, payload, out);
        out.put_slice(&[7 << 4 | MAP, ZERO]);
        put_length(start, out);
    }

    fn result<'a>(&self, frame: &'a [u8], view: &FrameView) -> Option<&'a [u8]> {
        Some(view.body.of(frame))
    }
}

/// In full width, so that an id can be replaced in place; every reader takes a small number in it.
fn put_int(tag: u8, value: u32, out: &mut BytesMut) {
    out.put_u8(tag << 4 | INT);
    out.put_u32(value);
}

fn put_string(tag: u8, text: &[u8], out: &mut BytesMut) {
    out.put_u8(tag << 4 | STRING4);
    super::put_long_string(text, out);
}

fn put_buffer(tag: u8, bytes: &[u8], out: &mut BytesMut) {
    out.put_slice(&[tag << 4 | SIMPLE_LIST, BYTE]);
    put_int(0, bytes.len() as u32, out);
    out.put_slice(bytes);
}

/// The length field, which counts itself, of the packet that begins at `start`.
fn put_length(start: usize, out: &mut BytesMut) {
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}
