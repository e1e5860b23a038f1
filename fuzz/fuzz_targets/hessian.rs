#![no_main]
//! Strings, maps and values that are stepped over; what is written reads back.

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mosn_codec::hessian::{Reader, write_string};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    while !reader.is_at_end() {
        let before = reader.position();
        if reader.skip(1).is_err() {
            break;
        }
        assert!(reader.position() > before, "a value of no bytes");
    }
    let mut reader = Reader::new(bytes);
    if reader.enter_map() == Ok(true) {
        while let Ok(false) = reader.leave_map() {
            let (Ok(_), Ok(_)) = (reader.string_or_skip(), reader.string_or_skip()) else { break };
        }
    }
    if std::str::from_utf8(bytes).is_ok() {
        let mut out = BytesMut::new();
        write_string(bytes, &mut out);
        let mut reader = Reader::new(&out);
        let read = reader.string().expect("what was written can be read").expect("and is no null");
        assert!(reader.is_at_end());
        assert_eq!(&*read, bytes);
    }
});
