//! What must hold for every RPC protocol and every frame.
#![allow(clippy::unwrap_used, reason = "a helper that cannot do its part fails the test")]

mod support;

use bytes::BytesMut;
use mosn_codec::{
    hessian::write_string,
    rpc::{
        BOLT, BOLT_V2, DUBBO, Decoded, Edit, FrameKind, FrameView, Frames, HeaderScope, Limits, RpcProtocol,
        Side, built_in,
    },
};
use proptest::{collection::vec, prelude::*, sample::Index};
use support::{body, exercise, goldens, request};

fn any_protocol() -> impl Strategy<Value = &'static dyn RpcProtocol> {
    proptest::sample::select(built_in())
}

fn decode(protocol: &dyn RpcProtocol, buf: &[u8]) -> Option<FrameView> {
    match protocol.decode(buf, Side::Downstream, &Limits::default()) {
        Ok(Decoded::Frame(view)) => Some(view),
        Ok(Decoded::NeedMore { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn append(protocol: &dyn RpcProtocol, frame: &[u8], id: u64) -> BytesMut {
    let mut out = BytesMut::new();
    protocol.append(frame, &decode(protocol, frame).unwrap(), id, &mut out);
    out
}

fn mask(protocol: &dyn RpcProtocol, id: u64) -> u64 {
    if protocol.id_bits() == 64 { id } else { u64::from(id as u32) }
}

/// All header fields.
fn fields(protocol: &dyn RpcProtocol, frame: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let view = decode(protocol, frame).unwrap();
    let mut fields = Vec::new();
    protocol
        .visit_headers(frame, &view, HeaderScope::All, &mut |name, value| {
            fields.push((name.to_vec(), value.into_owned()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    fields
}

#[test]
fn a_frame_is_decoded_only_once_its_last_byte_is_there_and_asks_for_no_more_than_itself() {
    for (protocol, frame) in goldens() {
        for cut in 0..frame.len() {
            match protocol.decode(&frame[..cut], Side::Downstream, &Limits::default()) {
                Ok(Decoded::NeedMore { at_least }) => {
                    assert!(at_least > cut && at_least <= frame.len(), "{} cut at {cut}", protocol.name());
                }
                other => panic!("{} cut at {cut}: {other:?}", protocol.name()),
            }
        }
        let whole = decode(protocol, &frame).unwrap();
        let mut longer = frame.clone();
        longer.extend_from_slice(b"\x01\xda\xbb\0");
        assert_eq!(decode(protocol, &longer), Some(whole), "{}", protocol.name());
    }
}

#[test]
fn frames_survive_a_change_of_one_byte_or_an_end_anywhere() {
    for (protocol, frame) in goldens() {
        for at in 0..frame.len() {
            exercise(protocol, &frame[..at]);
            for byte in [0, 1, 0x7f, 0x80, 0xff, frame[at] ^ 1, frame[at] ^ 0x80, frame[at].wrapping_add(1)] {
                let mut changed = frame.clone();
                changed[at] = byte;
                exercise(protocol, &changed);
            }
        }
    }
}

#[test]
fn nothing_over_the_limit_is_ever_asked_for() {
    for (protocol, frame) in goldens() {
        for max_frame_bytes in 0..frame.len() as u32 {
            let limits = Limits { max_frame_bytes };
            for cut in 0..=frame.len() {
                match protocol.decode(&frame[..cut], Side::Downstream, &limits) {
                    Ok(Decoded::NeedMore { at_least }) => {
                        assert!(at_least <= 24 || at_least as u32 <= max_frame_bytes);
                    }
                    Ok(Decoded::Frame(view)) => {
                        panic!("{}: {} > {max_frame_bytes}", protocol.name(), view.len)
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

/// `data/dubbo-call.hessian2` was written by hessian-lite 3.2.13, Dubbo's own serializer: arguments are
/// an object with fields of every common type that refers to itself, a list of such, and scalars.
#[test]
fn attachments_are_found_in_a_call_that_java_wrote() {
    let frame = request(&DUBBO, 1, include_bytes!("data/dubbo-call.hessian2"));
    let mut seen = fields(&DUBBO, &frame);
    seen.sort();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let seen: Vec<_> = seen.iter().map(|(name, value)| (text(name), text(value))).collect();
    let expected = [
        ("dubbo", "2.0.2"),
        ("emoji", "😀 中"),
        ("group", "g1"),
        ("interface", "com.example.IEcho"),
        ("method", "call"),
        ("path", "com.example.Echo"),
        ("service", "com.example.IEcho"),
        ("timeout", "3000"),
        ("version", "1.0.0"),
    ];
    assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(protocol in any_protocol(), bytes in vec(any::<u8>(), 0..300)) {
        exercise(protocol, &bytes);
    }

    #[test]
    fn mutated_frames_never_panic(
        which: Index,
        changes in vec((any::<Index>(), any::<u8>()), 1..8),
        cut: Index,
        insert in vec(any::<u8>(), 0..16),
        at: Index,
    ) {
        let goldens = goldens();
        let (protocol, mut frame) = goldens[which.index(goldens.len())].clone();
        for (place, byte) in changes {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        let at = at.index(frame.len());
        frame.splice(at..at, insert);
        exercise(protocol, &frame);
        exercise(protocol, &frame[..cut.index(frame.len())]);
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(
        protocol in any_protocol(),
        payloads in vec(vec(any::<u8>(), 0..600), 1..6),
        ids in vec(any::<u64>(), 6),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let frames: Vec<_> = payloads
            .iter()
            .zip(ids)
            .map(|(payload, id)| request(protocol, id, &body(protocol, payload)))
            .collect();
        let stream = frames.concat();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.index(stream.len())).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();

        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        let mut fed = 0;
        for cut in cuts {
            buffer.extend_from_slice(&stream[fed..cut]);
            fed = cut;
            let mut batch = Frames::new(protocol, &buffer, Side::Downstream, Limits::default());
            for frame in &mut batch {
                let (frame, view) = frame.unwrap();
                prop_assert_eq!(frame.len(), view.len as usize);
                seen.push(frame.to_vec());
            }
            let (consumed, wants) = (batch.consumed(), batch.wants());
            prop_assert!(wants > buffer.len() - consumed);
            let _ = buffer.split_to(consumed);
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn a_new_id_changes_nothing_else_and_the_old_one_can_be_given_back(
        protocol in any_protocol(),
        payload in vec(any::<u8>(), 0..600),
        own: u64,
        new: u64,
    ) {
        let body = body(protocol, &payload);
        let frame = request(protocol, own, &body);
        let before = decode(protocol, &frame).unwrap();
        prop_assert_eq!(before.id, mask(protocol, own));
        prop_assert_eq!(before.body.of(&frame), &body[..]);

        let forwarded = append(protocol, &frame, new);
        let after = decode(protocol, &forwarded).unwrap();
        prop_assert_eq!(after.id, mask(protocol, new));
        prop_assert_eq!((after.kind, after.timeout), (before.kind, before.timeout));
        prop_assert_eq!(after.body.of(&forwarded), &body[..]);
        prop_assert_eq!(fields(protocol, &forwarded), fields(protocol, &frame));

        let back = append(protocol, &forwarded, before.id);
        if protocol.name() == "tars" {
            // An id field keeps its width once it has grown.
            prop_assert_eq!(decode(protocol, &back).unwrap().id, before.id);
        } else {
            prop_assert_eq!(&back[..], &frame[..]);
        }
    }

    #[test]
    fn a_new_body_changes_nothing_else(
        protocol in any_protocol(),
        old in vec(any::<u8>(), 0..300),
        new in vec(any::<u8>(), 0..600),
        id: u64,
    ) {
        let frame = request(protocol, 7, &body(protocol, &old));
        let mut out = BytesMut::new();
        let new = body(protocol, &new);
        let edit = Edit { headers: None, body: Some(&new) };
        protocol.rebuild(&frame, &decode(protocol, &frame).unwrap(), edit, id, &mut out).unwrap();
        let view = decode(protocol, &out).unwrap();
        prop_assert_eq!((view.id, view.kind), (mask(protocol, id), FrameKind::Request));
        prop_assert_eq!(view.body.of(&out), &new[..]);
        prop_assert_eq!(fields(protocol, &out), fields(protocol, &frame));
    }

    #[test]
    fn a_local_reply_is_a_response_to_its_request(
        protocol in any_protocol(),
        id: u64,
        code: u16,
        text: Option<String>,
    ) {
        let frame = request(protocol, id, &body(protocol, b"x"));
        let seed = protocol.reply_seed(&frame, &decode(protocol, &frame).unwrap()).unwrap();
        let mut out = BytesMut::new();
        protocol.local_reply(&seed, code, text.as_deref().map(str::as_bytes), &mut out);
        match protocol.decode(&out, Side::Upstream, &Limits::default()) {
            Ok(Decoded::Frame(view)) => {
                prop_assert_eq!((view.kind, view.id), (FrameKind::Response, mask(protocol, id)));
                prop_assert_eq!(view.len as usize, out.len());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn bolt_headers_come_back_as_they_were_written(
        pairs in vec((vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..200)), 0..20),
        v2: bool,
    ) {
        let protocol: &dyn RpcProtocol = if v2 { &BOLT_V2 } else { &BOLT };
        let frame = request(protocol, 1, b"body");
        let slices: Vec<_> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let edit = Edit { headers: Some(&slices), body: None };
        let mut out = BytesMut::new();
        protocol.rebuild(&frame, &decode(protocol, &frame).unwrap(), edit, 1, &mut out).unwrap();
        prop_assert_eq!(fields(protocol, &out), pairs);
        prop_assert_eq!(decode(protocol, &out).unwrap().body.of(&out), b"body");
    }

    #[test]
    fn dubbo_attachments_are_found_behind_any_arguments(
        arguments in vec(hessian_value(), 0..5),
        attachments in vec(("[a-z]{1,40}", "\\PC{0,40}"), 0..6),
    ) {
        let mut body = BytesMut::new();
        for text in ["2.0.2", "a.B", "1.0.0", "hi"] {
            write_string(text.as_bytes(), &mut body);
        }
        write_string("Ljava/lang/Object;".repeat(arguments.len()).as_bytes(), &mut body);
        // Objects of class 0 may appear anywhere.
        if !arguments.is_empty() {
            body.extend_from_slice(b"C\x01P\x92\x01x\x01y");
        }
        for argument in &arguments {
            body.extend_from_slice(argument);
        }
        body.extend_from_slice(b"H");
        for (key, value) in &attachments {
            write_string(format!("k{key}").as_bytes(), &mut body);
            write_string(value.as_bytes(), &mut body);
        }
        body.extend_from_slice(b"Z");
        let frame = request(&DUBBO, 1, &body);
        let seen = fields(&DUBBO, &frame);
        prop_assert_eq!(seen.len(), attachments.len() + 4);
        for ((name, value), (key, expected)) in seen.iter().zip(&attachments) {
            prop_assert_eq!(name, &[b"k", key.as_bytes()].concat());
            prop_assert_eq!(value, expected.as_bytes());
        }
    }
}

/// One encoded value of any type; class 0, with two fields, is defined.
fn hessian_value() -> impl Strategy<Value = Vec<u8>> {
    let text = "\\PC{0,60}".prop_map(|text| {
        let mut out = BytesMut::new();
        write_string(text.as_bytes(), &mut out);
        out.to_vec()
    });
    let tagged =
        |tag: u8, len: usize| vec(any::<u8>(), len).prop_map(move |bytes| [&[tag], &bytes[..]].concat());
    let leaf = prop_oneof![
        text,
        prop_oneof![Just(b'N'), Just(b'T'), Just(b'F'), 0x80..=0xbfu8, 0xd8..=0xefu8, 0x5b..=0x5cu8]
            .prop_map(|byte| vec![byte]),
        tagged(b'I', 4),
        tagged(b'L', 8),
        tagged(b'D', 8),
        tagged(b'Y', 4),
        tagged(0x4a, 8),
        tagged(0x4b, 4),
        tagged(0x5d, 1),
        tagged(0xc8, 1),
        tagged(0xf8, 1),
        tagged(0xd4, 2),
        tagged(0x3c, 2),
        vec(any::<u8>(), 0..300)
            .prop_map(|bytes| [&[b'B'][..], &(bytes.len() as u16).to_be_bytes(), &bytes].concat()),
        Just(b"Q\x90".to_vec()),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let many = vec(inner.clone(), 0..6);
        prop_oneof![
            many.clone().prop_map(|values| [&[b'W'][..], &values.concat(), b"Z"].concat()),
            many.clone().prop_map(|values| [&[0x78 + values.len() as u8][..], &values.concat()].concat()),
            many.clone()
                .prop_map(|values| [b"V\x01t", &[0x90 + values.len() as u8][..], &values.concat()].concat()),
            vec((inner.clone(), inner.clone()), 0..4).prop_map(|pairs| {
                let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| [key, value].concat()).collect();
                [&b"H"[..], &pairs.concat(), b"Z"].concat()
            }),
            (inner.clone(), inner).prop_map(|(x, y)| [&[0x60][..], &x, &y].concat()),
        ]
    })
}
