#![no_main]
//! Header blocks of one connection. A request that is taken is written as one that reads the same, and
//! carries nothing into HTTP/1 that would end its line.

use libfuzzer_sys::fuzz_target;
use mosn_codec::{
    http1::{self, write_request_head},
    http2::{
        FRAME_HEAD, Fields, Frame, HeadLimits, MAX_FRAME,
        hpack::{Decoder, Encoder},
        next_frame, write_request,
    },
};
use mosn_core::{RequestHead, Scheme};

const LIMITS: HeadLimits = HeadLimits { fields: 64, uri: 1024 };
const LIST: u32 = 16 * 1024;

/// The fields but for the length, which is written from what is known of the body.
fn fields(head: &RequestHead) -> Vec<(&[u8], &[u8])> {
    head.headers.iter().filter(|(name, _)| *name != b"content-length").collect()
}

fuzz_target!(|blocks: Vec<(&[u8], bool)>| {
    let mut decoder = Decoder::default();
    let (mut encoder, mut reader) = (Encoder::default(), Decoder::default());
    let (mut text, mut out) = (Vec::new(), Vec::new());
    for (block, end) in blocks {
        let Ok(decoded) = Fields::decode(&mut decoder, block, LIST, &mut text) else { return };
        let Ok(head) = decoded.into_request(Scheme::Http, LIMITS, end) else { continue };
        let connect = head.method == http::Method::CONNECT;
        if !connect {
            out.clear();
            let _chunked = write_request_head(&mut out, &head);
            let roomy = http1::HeadLimits { bytes: 1 << 20, fields: 256, uri: 1 << 20 };
            match http1::parse_request(&out, Scheme::Http, &roomy) {
                Ok(Some((_, meta))) => assert_eq!(meta.consumed, out.len(), "{:?}", String::from_utf8_lossy(&out)),
                // What HTTP/1 is stricter about than HTTP/2.
                Ok(None) => panic!("more is awaited of {:?}", String::from_utf8_lossy(&out)),
                Err(_) => {}
            }
        }
        if connect && head.upgrade.is_none() {
            continue;
        }
        out.clear();
        write_request(&mut out, &mut encoder, 1, &head, end);
        let Ok(Some((frame, payload))) = next_frame(&out) else { panic!("no frame") };
        let Ok(Frame::Headers { block, end_headers, .. }) = frame.parse(payload) else { panic!("no HEADERS") };
        assert!(end_headers && frame.length <= MAX_FRAME && FRAME_HEAD + frame.length == out.len());
        let again = Fields::decode(&mut reader, block, LIST * 2, &mut text).expect("what we wrote");
        let again = again.into_request(Scheme::Http, LIMITS, end).expect("what we wrote");
        assert_eq!((&again.method, &again.path, &again.upgrade), (&head.method, &head.path, &head.upgrade));
        if !head.headers.contains("te") && head.upgrade.is_none() {
            assert_eq!(fields(&again), fields(&head));
        }
    }
});
