//! What the targets share: the checks of the codecs' own property tests.

#[path = "../../crates/codec/tests/support/mod.rs"]
#[allow(dead_code)]
mod support;

use mosn_codec::rpc::{FrameView, Frames, Limits, RpcProtocol, Side};

/// Decodes the bytes as a frame and does with it everything that a connection might.
pub fn exercise(protocol: &dyn RpcProtocol, bytes: &[u8]) {
    support::exercise(protocol, bytes);
}

/// Small, so that a few bytes can reach it.
pub const LIMITS: Limits = Limits { max_frame_bytes: 64 * 1024 };

/// The frames of a stream that arrives in pieces of these sizes, and whether it broke.
pub fn frames(protocol: &dyn RpcProtocol, stream: &[u8], pieces: &[u8]) -> (Vec<FrameView>, bool) {
    let mut sizes = pieces.iter().map(|&size| usize::from(size).max(1)).cycle();
    let (mut views, mut buffer, mut fed) = (Vec::new(), Vec::new(), 0);
    while fed < stream.len() {
        let size = sizes.next().unwrap_or(usize::MAX).min(stream.len() - fed);
        buffer.extend_from_slice(&stream[fed..fed + size]);
        fed += size;
        let mut batch = Frames::new(protocol, &buffer, Side::Downstream, LIMITS);
        for frame in &mut batch {
            match frame {
                Ok((_, view)) => views.push(view),
                Err(_) => return (views, true),
            }
        }
        let (consumed, wants) = (batch.consumed(), batch.wants());
        assert!(wants > buffer.len() - consumed, "asks for bytes that it has");
        assert!(wants <= LIMITS.max_frame_bytes as usize, "asks for more than the limit");
        buffer.drain(..consumed);
    }
    (views, false)
}
