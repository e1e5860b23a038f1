//! Bolt as SOFARPC speaks it.

use bytes::{BufMut, BytesMut};
use mosn_codec::rpc::{BOLT, BOLT_V2, FrameView, RpcProtocol};

use super::{Call, CallError, Dialect, fit, put_long_string};

const CLASS: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
const HESSIAN2: u8 = 1;
const TYPE_RESPONSE: u8 = 0;
const TYPE_REQUEST: u8 = 1;
const COMMAND_REQUEST: u16 = 1;
const COMMAND_RESPONSE: u16 = 2;
const SUCCESS: u16 = 0;

/// `bolt` and `boltv2`; the number is a frame's first byte.
#[derive(Debug)]
pub(super) struct Bolt(u8);

pub(super) static V1: Bolt = Bolt(1);
pub(super) static V2: Bolt = Bolt(2);

impl Dialect for Bolt {
    fn protocol(&self) -> &'static dyn RpcProtocol {
        if self.0 == 2 { &BOLT_V2 } else { &BOLT }
    }

    fn ok_status(&self) -> i32 {
        SUCCESS.into()
    }

    fn request(&self, call: &Call) -> Result<BytesMut, CallError> {
        let protocol = self.protocol().name();
        let mut headers = BytesMut::new();
        // SOFARPC's `service` is not the first of its headers either.
        for (name, value) in [
            ("sofa_head_method_name", call.method.as_str()),
            ("sofa_head_target_service", &call.service),
            ("service", &call.service),
        ]
        .into_iter()
        .chain(call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        {
            put_long_string(name.as_bytes(), &mut headers);
            put_long_string(value.as_bytes(), &mut headers);
        }
        fit(protocol, "headers", headers.len(), u16::MAX.into())?;

        let mut out = BytesMut::new();
        put_start(self.0, TYPE_REQUEST, COMMAND_REQUEST, 1, &mut out);
        out.put_u32(call.timeout_ms);
        out.put_u16(CLASS.len() as u16);
        out.put_u16(headers.len() as u16);
        out.put_u32(call.body.len() as u32);
        out.put_slice(CLASS);
        out.put_slice(&headers);
        out.put_slice(&call.body);
        Ok(out)
    }

    fn argument<'a>(&self, frame: &'a [u8], view: &FrameView) -> &'a [u8] {
        view.body.of(frame)
    }

    fn put_reply(&self, request: &[u8], view: &FrameView, payload: &[u8], out: &mut BytesMut) {
        let version = match request.first() {
            Some(2) => 2,
            _ => 1,
        };
        put_start(version, TYPE_RESPONSE, COMMAND_RESPONSE, view.id as u32, out);
        out.put_u16(SUCCESS);
        out.put_u32(0);
        out.put_u32(payload.len() as u32);
        out.put_slice(payload);
    }

    fn result<'a>(&self, frame: &'a [u8], view: &FrameView) -> Option<&'a [u8]> {
        Some(view.body.of(frame))
    }
}

/// The fields before timeout or status.
fn put_start(version: u8, kind: u8, command: u16, id: u32, out: &mut BytesMut) {
    out.put_u8(version);
    if version == 2 {
        out.put_u8(1);
    }
    out.put_u8(kind);
    out.put_u16(command);
    out.put_u8(1);
    out.put_u32(id);
    out.put_u8(HESSIAN2);
    if version == 2 {
        out.put_u8(0);
    }
}
