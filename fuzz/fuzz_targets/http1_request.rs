#![no_main]
//! Request heads. What the proxy writes of a head must be one head to its reader, no more and no less.

use libfuzzer_sys::fuzz_target;
use mosn_codec::http1::{HeadLimits, parse_request, write_request_head};
use mosn_core::Scheme;

fuzz_target!(|bytes: &[u8]| {
    let limits = HeadLimits { bytes: 4096, fields: 32, uri: 1024 };
    let Ok(Some((head, meta))) = parse_request(bytes, Scheme::Http, &limits) else { return };
    assert!(meta.consumed > 0 && meta.consumed <= bytes.len().min(limits.bytes));
    let cut = parse_request(&bytes[..meta.consumed - 1], Scheme::Http, &limits);
    assert!(!matches!(cut, Ok(Some(_))), "a head without its last byte is complete");

    let mut written = Vec::new();
    let _chunked = write_request_head(&mut written, &head);
    if head.method == http::Method::CONNECT {
        return;
    }
    let roomy = HeadLimits { bytes: 1 << 20, fields: 256, uri: 1 << 20 };
    match parse_request(&written, Scheme::Http, &roomy) {
        Ok(Some((again, meta))) => {
            assert_eq!(meta.consumed, written.len(), "{:?}", String::from_utf8_lossy(&written));
            assert_eq!((again.method, again.path), (head.method, head.path));
        }
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&written)),
    }
});
