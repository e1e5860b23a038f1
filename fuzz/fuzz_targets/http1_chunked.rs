#![no_main]
//! A chunked body gives the same bytes however it is cut. The first four bytes are the sizes of the
//! pieces.

use libfuzzer_sys::fuzz_target;
use mosn_codec::http1::{BodyDecoder, BodyError, Decoded};

/// The body's bytes; how many bytes of the stream it took if it ended; what broke it.
type Outcome = (Vec<u8>, Option<usize>, Option<BodyError>);

fn decode(stream: &[u8], pieces: &[u8]) -> Outcome {
    let mut sizes = pieces.iter().map(|&size| usize::from(size).max(1)).cycle();
    let mut decoder = BodyDecoder::chunked();
    let (mut body, mut buffer, mut fed, mut used_up) = (Vec::new(), Vec::new(), 0, 0);
    while fed < stream.len() {
        let size = sizes.next().unwrap_or(usize::MAX).min(stream.len() - fed);
        buffer.extend_from_slice(&stream[fed..fed + size]);
        fed += size;
        loop {
            match decoder.decode(&buffer) {
                Ok((used, decoded)) => {
                    assert!(used <= buffer.len());
                    used_up += used;
                    let more = match decoded {
                        Decoded::Data(start, len) => {
                            assert!(len > 0, "an empty piece of body");
                            body.extend_from_slice(&buffer[start..start + len]);
                            true
                        }
                        Decoded::End(_) => return (body, Some(used_up), None),
                        Decoded::NeedMore => false,
                    };
                    buffer.drain(..used);
                    if !more {
                        break;
                    }
                }
                Err(error) => return (body, None, Some(error)),
            }
        }
    }
    (body, None, None)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((pieces, stream)) = bytes.split_first_chunk::<4>() else { return };
    assert_eq!(decode(stream, &[]), decode(stream, pieces));
});
