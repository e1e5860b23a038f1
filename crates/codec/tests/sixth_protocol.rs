//! A protocol that the proxy does not know, in one file: what it takes to add one.
//! `docs/extending-protocol.md` walks through it.
//!
//! The toy's frames: `'x', type (0 heartbeat, 1 message, 2 goaway), direction (0 request,
//! 1 response), id u32`, in responses a status u16, then the content's length u32 and the content.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use mosn_codec::{
    detect::{Candidate, Detect, Detection, detect},
    rpc::{
        DecodeError, Decoded, Edit, EncodeError, FrameKind, FrameView, Frames, HeaderError, HeaderScope,
        Limits, ReplySeed, RpcProtocol, Side, Span, Visit,
    },
};

#[derive(Debug)]
struct Toy;

static TOY: Toy = Toy;

const NAME: &str = "x_example";

impl RpcProtocol for Toy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn detect(&self, prefix: &[u8]) -> Detect {
        match prefix.first() {
            None => Detect::NeedMore,
            Some(b'x') => Detect::Yes,
            Some(_) => Detect::No,
        }
    }

    fn decode(&self, buf: &[u8], _from: Side, limits: &Limits) -> Result<Decoded, DecodeError> {
        let [magic, kind, direction, a, b, c, d, ..] = *buf else {
            return Ok(Decoded::NeedMore { at_least: 7 });
        };
        if magic != b'x' {
            return Err(DecodeError::BadMagic { protocol: NAME, found: magic.into() });
        }
        let kind = match (kind, direction) {
            (0, 0) => FrameKind::Heartbeat,
            (0, 1) => FrameKind::HeartbeatReply,
            (1, 0) => FrameKind::Request,
            (1, 1) => FrameKind::Response,
            (2, _) => FrameKind::GoAway,
            (_, 2..) => {
                return Err(DecodeError::Malformed {
                    protocol: NAME,
                    at: 2,
                    reason: "a direction must be 0 or 1",
                });
            }
            (kind, _) => return Err(DecodeError::UnknownKind { protocol: NAME, value: kind.into() }),
        };
        let length_at = if direction == 0 { 7 } else { 9 };
        let Some(length) = buf.get(length_at..length_at + 4) else {
            return Ok(Decoded::NeedMore { at_least: length_at + 4 });
        };
        let body = length.iter().fold(0, |length, &byte| length << 8 | u32::from(byte));
        let len = length_at as u64 + 4 + u64::from(body);
        if len > limits.max_frame_bytes.into() {
            return Err(DecodeError::FrameTooLarge { protocol: NAME, len, max: limits.max_frame_bytes });
        }
        if (buf.len() as u64) < len {
            return Ok(Decoded::NeedMore { at_least: len as usize });
        }
        let id = u32::from_be_bytes([a, b, c, d]);
        let mut view = FrameView::new(kind, id.into(), Span::new(3, 4), len as u32);
        view.body = Span::new(length_at as u32 + 4, body);
        if direction == 1 {
            view.status = u16::from_be_bytes([buf[7], buf[8]]).into();
        }
        Ok(Decoded::Frame(view))
    }

    fn id_bits(&self) -> u32 {
        32
    }

    fn visit_headers<'a>(
        &self,
        frame: &'a [u8],
        view: &FrameView,
        _scope: HeaderScope,
        visit: &mut Visit<'a, '_>,
    ) -> Result<(), HeaderError> {
        let _ = visit(b"service", Cow::Borrowed(view.body.of(frame)));
        Ok(())
    }

    fn rebuild(
        &self,
        frame: &[u8],
        view: &FrameView,
        edit: Edit<'_>,
        id: u64,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let body = edit.body.unwrap_or_else(|| view.body.of(frame));
        let start = out.len();
        out.extend_from_slice(&frame[..view.body.start as usize - 4]);
        out[start + 3..start + 7].copy_from_slice(&(id as u32).to_be_bytes());
        out.put_u32(body.len() as u32);
        out.put_slice(body);
        Ok(())
    }

    fn local_reply(&self, seed: &ReplySeed, code: u16, text: Option<&[u8]>, out: &mut BytesMut) {
        let text = text.unwrap_or_default();
        out.put_slice(b"x\x01\x01");
        out.put_u32(seed.id as u32);
        out.put_u16(u16::from(code != 200));
        out.put_u32(text.len() as u32);
        out.put_slice(text);
    }
}

const REQUEST: &[u8] = b"x\x01\x00\0\0\0\x01\0\0\0\x02hi";
const RESPONSE: &[u8] = b"x\x01\x01\0\0\0\x01\0\0\0\0\0\x02ok";

#[test]
fn a_new_protocol_is_detected_beside_the_others() {
    let mut candidates: Vec<_> = Candidate::all().collect();
    candidates.push(Candidate::Rpc(&TOY));
    assert!(matches!(detect(&candidates, REQUEST), Detection::Found(found) if found.name() == NAME));
    assert!(matches!(detect(&candidates, b"\x01"), Detection::Found(found) if found.name() == "bolt"));
}

#[test]
fn its_frames_come_in_batches_and_leave_under_new_ids() {
    let read = [REQUEST, RESPONSE, &REQUEST[..9]].concat();
    let mut batch = Frames::new(&TOY, &read, Side::Downstream, Limits::default());
    let mut out = BytesMut::new();
    let mut id = 0;
    for frame in &mut batch {
        let (frame, view) = frame.unwrap();
        id = TOY.next_id(id);
        TOY.append(frame, &view, id + 0xf0, &mut out);
    }
    assert_eq!((batch.consumed(), batch.wants()), (REQUEST.len() + RESPONSE.len(), 11));
    let mut expected = [REQUEST, RESPONSE].concat();
    (expected[6], expected[REQUEST.len() + 6]) = (0xf1, 0xf2);
    assert_eq!(&out[..], expected);
}

#[test]
fn a_bad_frame_ends_the_batch_behind_the_good_ones() {
    let read = [REQUEST, b"x\x09\0\0\0\0\0"].concat();
    let mut batch = Frames::new(&TOY, &read, Side::Downstream, Limits::default());
    assert!(matches!(batch.next(), Some(Ok(_))));
    assert!(matches!(batch.next(), Some(Err(DecodeError::UnknownKind { value: 9, .. }))));
    assert!(batch.next().is_none());
    assert_eq!(batch.consumed(), REQUEST.len());
}

#[test]
fn its_own_faults_have_a_text_of_their_own() {
    let error = TOY.decode(b"x\x01\x02\0\0\0\0", Side::Downstream, &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "x_example: a direction must be 0 or 1 (byte 2)");
    assert_eq!(HeaderError::from(error).reply_code(), Some(0));
}

#[test]
fn what_it_leaves_out_has_a_default() {
    let Ok(Decoded::Frame(view)) = TOY.decode(REQUEST, Side::Downstream, &Limits::default()) else {
        panic!()
    };
    let mut out = BytesMut::new();
    let seed = TOY.reply_seed(REQUEST, &view).unwrap();
    TOY.local_reply(&seed, 404, None, &mut out);
    assert_eq!(&out[..], b"x\x01\x01\0\0\0\x01\0\x01\0\0\0\0");
    let service = TOY.header(REQUEST, &view, HeaderScope::All, "service").unwrap();
    assert_eq!(service.as_deref(), Some(&b"hi"[..]));
    assert!(!TOY.heartbeat(1, &mut out) && !TOY.goaway(1, &mut out));
    assert_eq!(TOY.next_id(u32::MAX.into()), 1);
}

#[test]
fn a_changed_body_is_rebuilt() {
    let Ok(Decoded::Frame(view)) = TOY.decode(RESPONSE, Side::Upstream, &Limits::default()) else { panic!() };
    let mut out = BytesMut::new();
    let edit = Edit { body: Some(b"changed"), ..Edit::default() };
    TOY.rebuild(RESPONSE, &view, edit, 9, &mut out).unwrap();
    assert_eq!(&out[..], b"x\x01\x01\0\0\0\x09\0\0\0\0\0\x07changed");
}

#[test]
fn the_page_that_walks_through_it_shows_this_code() {
    let page = include_str!("../../../docs/extending-protocol.md");
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let source = trimmed(include_str!("sixth_protocol.rs"));
    let blocks: Vec<_> =
        page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    for block in blocks {
        assert!(source.contains(trimmed(block).trim()), "not in sixth_protocol.rs:\n{block}");
    }
}
