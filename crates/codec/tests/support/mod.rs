//! Frames to test with: the reference's, and requests of any size.

use bytes::{BufMut, BytesMut};
use mosn_codec::{
    hessian::write_string,
    rpc::{
        BOLT, BOLT_V2, DUBBO, DUBBO_THRIFT, Decoded, Edit, HeaderScope, Limits, RpcProtocol, Side, TARS,
        built_in,
    },
};

/// A built-in protocol and one whole frame of it.
pub(crate) type Golden = (&'static dyn RpcProtocol, Vec<u8>);

const GOLDENS: [(&dyn RpcProtocol, &str); 20] = [
    (&BOLT, "010100010100000001 0100000bb80001001100000002 43 00000007736572766963650000000273316869"),
    (&BOLT, "0100000201000000010100000000000000000002 6f6b"),
    (&BOLT, "010100000100000001 01ffffffff 0000000000000000"),
    (&BOLT, "0100000001000000010100000000000000000000"),
    (&BOLT, "010100640100000001 0100000000 0000000000000000"),
    (&BOLT_V2, "02010100010100000001 010000000bb80001001100000002 43 00000007736572766963650000000273316869"),
    (&BOLT_V2, "020100000201000000010100000000000000000000026f6b"),
    (&BOLT_V2, "02010100000100000001 0100ffffffff 0000000000000000"),
    (&BOLT_V2, "02020100010100000001 0101ffffffff 0000000000000002 6869 0badc0de"),
    (
        &DUBBO,
        "dabbc200000000000000000100000038 05322e302e32 03612e42 05312e302e30 026869
         124c6a6176612f6c616e672f537472696e673b 0178 48 09696e7465726661636503612e42 5a",
    ),
    (&DUBBO, "dabb021400000000000000010000000491026f6b"),
    (&DUBBO, "dabbe2000000000000000001000000014e"),
    (&DUBBO, "dabb22140000000000000001000000024e4e"),
    (
        &DUBBO_THRIFT,
        "00000027dabc00000027 0018 01 00000003612e42 0000000000000001 80010001000000026869 0000000700",
    ),
    (
        &DUBBO_THRIFT,
        "00000027dabc00000027 0018 01 00000003612e42 0000000000000001 80010002000000026869 0000000700",
    ),
    (
        &DUBBO_THRIFT,
        "00000024dabc00000024 0018 01 00000003612e42 0000000000000001 000000026869 01 0000000700",
    ),
    (&TARS, "000000251001 2c3c4001 5608412e422e434f626a 66026869 7d0000020102 810bb8 980c a80c"),
    (&TARS, "000000161001 2c30014c5c 6d00000103 780c 8600 980c"),
    (&TARS, "000000171001 2c30014c50fd 6d00000103 780c 8600 980c"),
    (&TARS, "000000251003 2c3c4001 5608412e422e434f626a 66026869 7d0000020102 810bb8 980c a80c"),
];

/// Every frame that the reference shows, and some beside them.
pub(crate) fn goldens() -> Vec<Golden> {
    let bytes = |digits: &str| {
        let digits: String = digits.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    };
    GOLDENS.iter().map(|(protocol, digits)| (*protocol, bytes(digits))).collect()
}

/// The content of a request around this payload.
pub(crate) fn body(protocol: &dyn RpcProtocol, payload: &[u8]) -> Vec<u8> {
    let mut body = BytesMut::new();
    match protocol.name() {
        "dubbo" => {
            for text in ["2.0.2", "a.B", "1.0.0", "hi", "[B"] {
                write_string(text.as_bytes(), &mut body);
            }
            body.put_u8(b'B');
            body.put_u16(payload.len() as u16);
            body.put_slice(payload);
            body.put_slice(b"H\x05group\x01gZ");
        }
        "dubbo-thrift" => {
            body.put_slice(b"\x80\x01\0\x01\0\0\0\x02hi\0\0\0\x07");
            body.put_slice(payload);
        }
        _ => body.put_slice(payload),
    }
    body.to_vec()
}

/// A request of this protocol with this content.
pub(crate) fn request(protocol: &dyn RpcProtocol, id: u64, body: &[u8]) -> Vec<u8> {
    let (_, golden) = goldens().into_iter().find(|(golden, _)| golden.name() == protocol.name()).unwrap();
    let Ok(Decoded::Frame(view)) = protocol.decode(&golden, Side::Downstream, &Limits::default()) else {
        panic!("{} cannot read its golden request", protocol.name());
    };
    let mut out = BytesMut::new();
    protocol.rebuild(&golden, &view, Edit { headers: None, body: Some(body) }, id, &mut out).unwrap();
    out.to_vec()
}

/// Does with these bytes everything that a connection might, and checks what can be checked.
pub(crate) fn exercise(protocol: &dyn RpcProtocol, bytes: &[u8]) {
    let limits = Limits { max_frame_bytes: 1 << 20 };
    for candidate in built_in() {
        candidate.detect(bytes);
    }
    for side in [Side::Downstream, Side::Upstream] {
        let view = match protocol.decode(bytes, side, &limits) {
            Ok(Decoded::Frame(view)) => view,
            Ok(Decoded::NeedMore { at_least }) => {
                assert!(at_least > bytes.len());
                continue;
            }
            Err(error) => {
                assert!(
                    error.to_string().starts_with(protocol.name()) || error.to_string().starts_with("bolt")
                );
                continue;
            }
        };
        assert!(view.len > 0 && view.len as usize <= bytes.len());
        let frame = &bytes[..view.len as usize];
        for span in [view.id_field, view.class, view.headers, view.body] {
            assert!(span.end() <= view.len, "{span:?} of {view:?}");
        }
        for scope in [HeaderScope::Call, HeaderScope::All] {
            let _ = protocol.header(frame, &view, scope, "service");
            let _ =
                protocol.visit_headers(frame, &view, scope, &mut |_, _| std::ops::ControlFlow::Continue(()));
        }
        let mut out = BytesMut::new();
        protocol.append(frame, &view, u64::MAX, &mut out);
        let again = protocol.decode(&out, side, &limits);
        assert!(
            matches!(again, Ok(Decoded::Frame(again)) if again.len as usize == out.len()),
            "{}: {again:?} of {out:02x?}",
            protocol.name()
        );
        let edit = Edit { headers: Some(&[(b"a", b"b")]), body: Some(b"new body") };
        let _ = protocol.rebuild(frame, &view, edit, 1, &mut out);
        out.clear();
        if let Some(seed) = protocol.reply_seed(frame, &view) {
            protocol.local_reply(&seed, 404, None, &mut out);
            let reply = protocol.decode(&out, Side::Upstream, &limits);
            assert!(
                matches!(reply, Ok(Decoded::Frame(reply)) if reply.id == view.id),
                "{}: {reply:?} of {out:02x?}",
                protocol.name()
            );
        }
        protocol.heartbeat_reply(frame, &view, &mut out);
    }
}
