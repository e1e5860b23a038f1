#![no_main]
//! Frames. A stream gives the same ones however it is cut, and none is longer than what is there.

use libfuzzer_sys::fuzz_target;
use mosn_codec::http2::{FRAME_HEAD, MAX_FRAME, next_frame};

/// What each frame is, until one is refused, in pieces of this size.
fn frames(bytes: &[u8], piece: usize) -> Vec<String> {
    let (mut buffer, mut seen) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        let mut at = 0;
        loop {
            match next_frame(&buffer[at..]) {
                Ok(Some((head, payload))) => {
                    assert!(head.length <= MAX_FRAME && at + FRAME_HEAD + head.length <= buffer.len());
                    seen.push(format!("{head:?} {:?}", head.parse(payload)));
                    at += FRAME_HEAD + head.length;
                }
                Ok(None) => break,
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            }
        }
        buffer.drain(..at);
    }
    seen
}

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, piece) = input;
    assert_eq!(frames(bytes, usize::from(piece).max(1)), frames(bytes, bytes.len().max(1)));
});
