#![no_main]
//! Response heads, and the heads that are written for them. The first byte chooses the method that
//! they answer.

use http::Method;
use libfuzzer_sys::fuzz_target;
use mosn_codec::http1::{MAX_FIELDS, Version, parse_response, write_response_head};

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let method = [Method::GET, Method::HEAD, Method::CONNECT, Method::POST][usize::from(which) % 4].clone();
    let Ok(Some((head, meta))) = parse_response(bytes, &method, 4096) else { return };
    assert!(meta.consumed > 0 && meta.consumed <= bytes.len().min(4096));
    let cut = parse_response(&bytes[..meta.consumed - 1], &method, 4096);
    assert!(!matches!(cut, Ok(Some(_))), "a head without its last byte is complete");
    if head.headers.len() > MAX_FIELDS - 4 {
        // Those that are added would be too many to read back.
        return;
    }

    let mut written = Vec::new();
    let date = b"Thu, 01 Jan 1970 00:00:00 GMT";
    write_response_head(&mut written, &head, None, Version::Http11, &method, date, false);
    match parse_response(&written, &method, 1 << 20) {
        Ok(Some((again, meta))) => {
            assert_eq!(meta.consumed, written.len(), "{:?}", String::from_utf8_lossy(&written));
            assert_eq!(again.status, head.status);
        }
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&written)),
    }
});
