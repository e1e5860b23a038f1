//! What all threads of a run have in common.

use bytes::BytesMut;
use mosn_codec::rpc::{Decoded, FrameView, Limits, Side};

use super::tally::Window;
use crate::{
    cli::{Expect, LoadArgs},
    dialect::{Call, CallError, Dialect},
};

/// Stands where each request's number goes. No body has it otherwise.
const MARK: [u8; 8] = *b"@@@@@@@@";
const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

/// What to send and what to expect.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) outstanding: usize,
    pub(crate) expect: Expect,
    /// Bytes of a payload of the expected length.
    pub(crate) expected_len: usize,
    pub(crate) window: Window,
    /// Nanoseconds.
    pub(crate) timeout: u64,
    /// The request, and where the payload is in it.
    request: BytesMut,
    view: FrameView,
    payload: BytesMut,
    payload_at: usize,
    /// Where a request's number goes, counted from the payload's start; shorter bodies have none.
    tag_at: Option<usize>,
}

impl Plan {
    pub(crate) fn new(
        dialect: &'static dyn Dialect,
        args: &LoadArgs,
        window: Window,
    ) -> Result<Self, CallError> {
        let mut body: Vec<u8> = LETTERS.iter().copied().cycle().take(args.body).collect();
        if let Some(start) = body.first_chunk_mut() {
            *start = MARK;
        }
        let call = Call {
            service: args.service.clone(),
            version: args.service_version.clone(),
            method: args.method.clone(),
            headers: args.headers.clone(),
            timeout_ms: u32::try_from(args.timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX as u32),
            body,
        };
        let request = dialect.request(&call)?;
        let payload = dialect.payload(&call.body);
        let view = match dialect.protocol().decode(&request, Side::Downstream, &Limits::default()) {
            Ok(Decoded::Frame(view)) => view,
            other => unreachable!("a request of ours is no frame: {other:?}"),
        };
        let argument = dialect.argument(&request, &view);
        let payload_at = argument.as_ptr().addr() - request.as_ptr().addr();
        let tag_at = payload.windows(MARK.len()).position(|window| window == MARK);
        let expected_len = match args.expect {
            Expect::Bytes(len) => dialect.payload(&vec![b'x'; len]).len(),
            Expect::Echo | Expect::Any => payload.len(),
        };
        Ok(Self {
            dialect,
            outstanding: args.outstanding,
            expect: args.expect,
            expected_len,
            window,
            timeout: super::schedule::nanos(args.timeout),
            request,
            view,
            payload,
            payload_at,
            tag_at,
        })
    }

    /// Appends the request under this id, with this number in its body.
    pub(crate) fn put_request(&self, id: u64, tag: u32, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.request);
        let frame = &mut out[start..];
        if let Some(at) = self.tag_at {
            let at = self.payload_at + at;
            frame[at..at + MARK.len()].copy_from_slice(&digits(tag));
        }
        let _has_room = self.dialect.protocol().patch_id(frame, &self.view, id);
    }

    /// Whether this is the payload of the request with this number.
    pub(crate) fn is_echo(&self, tag: u32, found: &[u8]) -> bool {
        let Some(at) = self.tag_at else { return found == &self.payload[..] };
        let behind = at + MARK.len();
        found.len() == self.payload.len()
            && found[..at] == self.payload[..at]
            && found[at..behind] == digits(tag)
            && found[behind..] == self.payload[behind..]
    }
}

/// Eight hexadecimal digits.
fn digits(mut number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[number as usize & 15];
        number >>= 4;
    }
    digits
}
