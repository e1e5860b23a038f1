//! What a call of each protocol looks like, and its answer.

mod bolt;
mod dubbo;
mod tars;
mod thrift;

use std::fmt::Debug;

use bytes::{BufMut, BytesMut};
use mosn_codec::rpc::{FrameView, RpcProtocol};

/// A call with one argument whose answer is that argument. A payload is the argument as the protocol
/// writes it.
pub(crate) trait Dialect: Debug + Sync {
    /// The codec.
    fn protocol(&self) -> &'static dyn RpcProtocol;

    /// The status of a reply that is no error.
    fn ok_status(&self) -> i32;

    /// A whole request frame. Its id has room for any other that fits the protocol.
    fn request(&self, call: &Call) -> Result<BytesMut, CallError>;

    /// What `bytes` are as a payload.
    fn payload(&self, bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    /// The payload in a request; empty where the request has no argument that this dialect knows.
    fn argument<'a>(&self, frame: &'a [u8], view: &FrameView) -> &'a [u8];

    /// Appends the answer to a request.
    fn put_reply(&self, request: &[u8], view: &FrameView, payload: &[u8], out: &mut BytesMut);

    /// The payload in a reply; `None` where it carries something else, an exception for one.
    fn result<'a>(&self, frame: &'a [u8], view: &FrameView) -> Option<&'a [u8]>;
}

static DIALECTS: [&dyn Dialect; 5] = [&bolt::V1, &bolt::V2, &dubbo::Dubbo, &thrift::DubboThrift, &tars::Tars];

/// The dialect of a protocol's name.
pub(crate) fn by_name(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.into_iter().find(|dialect| dialect.protocol().name() == name)
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DIALECTS.into_iter().map(|dialect| dialect.protocol().name())
}

/// What to call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, String)>,
    /// How long the caller says that it waits.
    pub(crate) timeout_ms: u32,
    pub(crate) body: Vec<u8>,
}

/// Why there can be no such call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{0} calls have no headers: leave out --header")]
    NoHeaders(&'static str),
    #[error("{what} of {len} bytes: {protocol} has room for {max}")]
    TooLong { protocol: &'static str, what: &'static str, len: usize, max: usize },
}

/// Writes the length behind its field, at `at`, over that field.
fn put_length_at(out: &mut BytesMut, at: usize) {
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// A u32 length and the bytes.
fn put_long_string(text: &[u8], out: &mut BytesMut) {
    out.put_u32(text.len() as u32);
    out.put_slice(text);
}

fn fit(protocol: &'static str, what: &'static str, len: usize, max: usize) -> Result<(), CallError> {
    if len > max { Err(CallError::TooLong { protocol, what, len, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use mosn_codec::rpc::{Decoded, FrameKind, FrameTimeout, HeaderScope, Limits, Side, built_in};

    use super::*;

    fn call(body: &[u8]) -> Call {
        Call {
            service: "com.example.Echo".into(),
            version: "1.0.0".into(),
            method: "echo".into(),
            headers: Vec::new(),
            timeout_ms: 3000,
            body: body.to_vec(),
        }
    }

    fn view(protocol: &dyn RpcProtocol, frame: &[u8], from: Side) -> FrameView {
        match protocol.decode(frame, from, &Limits::default()) {
            Ok(Decoded::Frame(view)) if view.len as usize == frame.len() => view,
            other => panic!("{}: {other:?} of {} bytes", protocol.name(), frame.len()),
        }
    }

    #[test]
    fn every_protocol_of_the_proxy_has_a_dialect() {
        for protocol in built_in() {
            assert!(by_name(protocol.name()).is_some(), "{} has no dialect", protocol.name());
        }
        assert_eq!(names().count(), built_in().len());
    }

    #[test]
    fn the_codec_reads_every_request_and_the_reply_returns_its_argument() {
        for dialect in DIALECTS {
            let protocol = dialect.protocol();
            for len in [0, 1, 31, 32, 255, 256, 1024, 40_000, 300_000] {
                let body = vec![b'x'; len];
                let mut request = dialect.request(&call(&body)).unwrap();
                let seen = view(protocol, &request, Side::Downstream);
                assert_eq!(seen.kind, FrameKind::Request, "{}", protocol.name());
                assert!(protocol.patch_id(&mut request, &seen, 0x7fff_fff0), "{}", protocol.name());
                let seen = view(protocol, &request, Side::Downstream);
                assert_eq!(seen.id, 0x7fff_fff0);
                let field = |name| {
                    let value = protocol.header(&request, &seen, HeaderScope::All, name).unwrap();
                    value.map(|value| String::from_utf8(value.into_owned()).unwrap())
                };
                assert_eq!(field("service").as_deref(), Some("com.example.Echo"), "{}", protocol.name());
                assert_eq!(dialect.argument(&request, &seen), &dialect.payload(&body)[..]);

                let mut reply = BytesMut::new();
                dialect.put_reply(&request, &seen, dialect.argument(&request, &seen), &mut reply);
                let seen = view(protocol, &reply, Side::Upstream);
                assert_eq!((seen.kind, seen.id), (FrameKind::Response, 0x7fff_fff0), "{}", protocol.name());
                assert_eq!(seen.status, dialect.ok_status(), "{}", protocol.name());
                assert_eq!(dialect.result(&reply, &seen), Some(&dialect.payload(&body)[..]));
            }
        }
    }

    #[test]
    fn headers_reach_the_wire_where_the_protocol_has_them() {
        let with = Call { headers: vec![("zone".into(), "blue".into())], ..call(b"hi") };
        for dialect in DIALECTS {
            let protocol = dialect.protocol();
            let request = match dialect.request(&with) {
                Ok(request) => request,
                Err(error) => {
                    assert_eq!(protocol.name(), "dubbo-thrift", "{error}");
                    continue;
                }
            };
            let seen = view(protocol, &request, Side::Downstream);
            let zone = protocol.header(&request, &seen, HeaderScope::All, "zone").unwrap();
            assert_eq!(zone.as_deref(), Some(&b"blue"[..]), "{}", protocol.name());
        }
    }

    #[test]
    fn the_callers_patience_is_in_the_frame_where_the_protocol_says_it() {
        for name in ["bolt", "boltv2", "tars"] {
            let dialect = by_name(name).unwrap();
            let request = dialect.request(&call(b"hi")).unwrap();
            let seen = view(dialect.protocol(), &request, Side::Downstream);
            assert_eq!(seen.timeout, FrameTimeout::Millis(3000), "{name}");
        }
    }

    #[test]
    fn an_error_of_the_proxy_is_no_result() {
        for dialect in DIALECTS {
            let protocol = dialect.protocol();
            let request = dialect.request(&call(b"hi")).unwrap();
            let seed = protocol.reply_seed(&request, &view(protocol, &request, Side::Downstream)).unwrap();
            let mut reply = BytesMut::new();
            protocol.local_reply(&seed, 404, None, &mut reply);
            assert_ne!(view(protocol, &reply, Side::Upstream).status, dialect.ok_status());
        }
    }

    #[test]
    fn what_does_not_fit_a_length_field_is_refused() {
        let long = Call { headers: vec![("k".into(), "v".repeat(70_000))], ..call(b"") };
        let error = by_name("bolt").unwrap().request(&long).unwrap_err();
        assert!(error.to_string().contains("bolt has room for 65535"), "{error}");
    }
}
