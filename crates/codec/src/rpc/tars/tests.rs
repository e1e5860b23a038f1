use super::*;
use crate::rpc::{
    TARS,
    testing::{forward, headers, hex, local_reply, view, view_from, with_body, written},
};

const REQUEST: &str =
    "00000025 1001 2c 3c 4001 5608 412e422e434f626a 6602 6869 7d00 0002 0102 810bb8 980c a80c";
const RESPONSE: &str = "00000016 1001 2c 3001 4c 5c 6d00 0001 03 780c 8600 980c";

/// A packet with these fields.
fn packet(fields: &str) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend(hex(fields));
    let len = frame.len() as u32;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_parts_of_a_request_are_found() {
    let frame = hex(REQUEST);
    let view = view(&TARS, &frame);
    assert_eq!((view.kind, view.id, view.timeout), (FrameKind::Request, 1, FrameTimeout::Millis(3000)));
    assert_eq!(view.body.of(&frame), b"\x01\x02");
    let expected = pairs(&[("service", "A.B.CObj"), ("method", "hi")]);
    assert_eq!(headers(&TARS, &frame, HeaderScope::All).unwrap(), expected);
}

#[test]
fn the_parts_of_a_response_are_found() {
    let frame = hex(RESPONSE);
    let view = view(&TARS, &frame);
    assert_eq!((view.kind, view.id, view.status), (FrameKind::Response, 1, 0));
    assert_eq!(view.body.of(&frame), b"\x03");
    assert!(headers(&TARS, &frame, HeaderScope::All).unwrap().is_empty());
}

#[test]
fn packets_of_256_bytes_and_more_are_read() {
    let frame = with_body(&TARS, &hex(REQUEST), 1, &[7; 300]).unwrap();
    assert!(frame.len() > 300);
    let view = view(&TARS, &frame);
    assert_eq!(view.body.of(&frame), [7; 300]);
    assert_eq!(headers(&TARS, &frame, HeaderScope::All).unwrap()[0].1, "A.B.CObj");
}

#[test]
fn a_return_code_of_any_width_makes_a_response() {
    for (ret, status) in [("5c", 0), ("50fd", -3), ("51ff9d", -99), ("5200010000", 65536)] {
        let frame = packet(&format!("1001 2c 3001 4c {ret} 6d00 0001 03 780c"));
        let view = view(&TARS, &frame);
        assert_eq!((view.kind, view.status), (FrameKind::Response, status), "{ret}");
    }
}

#[test]
fn another_type_of_the_telling_field_is_an_error() {
    let decode = |fields: &str| TARS.decode(&packet(fields), Side::Downstream, &Limits::default());
    assert!(matches!(decode("1001 2c 3001 4c 54 00000000"), Err(DecodeError::UnknownKind { value: 4, .. })));
    assert!(matches!(decode("1001 2c 3001 4c"), Err(DecodeError::MissingField { .. })));
    assert!(matches!(
        decode("1001 2c 3001 5603 612e62"),
        Err(DecodeError::MissingField { field: "request id", .. })
    ));
    assert!(matches!(decode("1001 2c 3c 4001 56ff 61"), Err(DecodeError::Jce(JceError::Truncated { .. }))));
}

#[test]
fn a_packet_type_of_one_awaits_no_reply() {
    let frame = packet("1001 2001 3c 4001 5603 612e42 6602 6869 7d00 0c 8c 980c a80c");
    let view = view(&TARS, &frame);
    assert_eq!(view.kind, FrameKind::OneWay);
    assert_eq!(TARS.reply_seed(&frame, &view), None);
}

#[test]
fn the_context_is_seen_behind_service_and_method() {
    let frame = packet(
        r#"1001 2c 3c 4001 5603 612e42 6602 6869 7d00 0c 8c 980002 0601 "a" 1601 "1" 0601 "b" 1601 "2" a80c"#,
    );
    let expected = pairs(&[("service", "a.B"), ("method", "hi"), ("a", "1"), ("b", "2")]);
    assert_eq!(headers(&TARS, &frame, HeaderScope::All).unwrap(), expected);
}

#[test]
fn an_id_grows_and_shrinks_with_its_value_and_comes_back_as_it_was() {
    let frame = hex(REQUEST);
    for id in [0, 1, 127, 128, 32_767, 32_768, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        let forwarded = forward(&TARS, &frame, id);
        let new = view(&TARS, &forwarded);
        assert_eq!((new.id, new.kind), (id, FrameKind::Request));
        assert_eq!(new.body.of(&forwarded), b"\x01\x02");
        let back = forward(&TARS, &forwarded, 1);
        assert_eq!(view(&TARS, &back).id, 1);
    }
}

#[test]
fn an_id_that_fits_is_written_in_place() {
    let mut frame = packet("1001 2c 3c 4200010203 5603 612e42 6602 6869 7d00 0c 8c 980c a80c");
    let before = view(&TARS, &frame);
    assert!(TARS.patch_id(&mut frame, &before, 5));
    assert_eq!(frame, packet("1001 2c 3c 4200000005 5603 612e42 6602 6869 7d00 0c 8c 980c a80c"));
    let mut narrow = hex(REQUEST);
    let before = view(&TARS, &narrow);
    assert!(!TARS.patch_id(&mut narrow, &before, 128));
    assert_eq!(narrow, hex(REQUEST));
}

#[test]
fn an_id_whose_tag_has_a_byte_of_its_own_is_replaced_too() {
    let frame = packet("1001 2c 3c f00401 5603 612e42 6602 6869 7d00 0c 8c 980c a80c");
    assert_eq!(
        forward(&TARS, &frame, 5),
        packet("1001 2c 3c f00405 5603 612e42 6602 6869 7d00 0c 8c 980c a80c")
    );
    assert_eq!(
        forward(&TARS, &frame, 300),
        packet("1001 2c 3c 41012c 5603 612e42 6602 6869 7d00 0c 8c 980c a80c")
    );
}

#[test]
fn ids_wrap_through_the_negative_numbers_and_leave_out_zero() {
    assert_eq!(TARS.next_id(0x7fff_ffff), 0x8000_0000);
    assert_eq!(TARS.next_id(0xffff_ffff), 1);
}

#[test]
fn unknown_fields_survive_a_change_of_id_and_body() {
    let fields = |id: &str, body: &str| {
        packet(&format!("1001 2c 3c {id} 5603 612e42 6602 6869 {body} 8c 980c a80c f610 0378797a"))
    };
    let frame = fields("4001", "7d00 0002 0102");
    assert_eq!(forward(&TARS, &frame, 300), fields("41012c", "7d00 0002 0102"));
    assert_eq!(with_body(&TARS, &frame, 300, b"abc").unwrap(), fields("41012c", "7d00 0003 616263"));
}

#[test]
fn a_local_reply_is_a_response_packet_with_a_return_code() {
    let reply = local_reply(&TARS, &hex(REQUEST), 502, None);
    assert_eq!(reply, packet(r#"1001 2c 3001 4c 50f8 6d00 0c 780c 8616 "502|no health upstream""#));
    let view = view_from(&TARS, &reply, Side::Upstream);
    assert_eq!((view.kind, view.id, view.status), (FrameKind::Response, 1, -8));
    for (code, ret) in
        [(200, 0), (0, -1), (3, -1), (404, -4), (503, -9), (509, -9), (504, -7), (500, -99), (418, -99)]
    {
        assert_eq!(ret_of(code), ret, "{code}");
    }
    let reply = local_reply(&TARS, &hex(REQUEST), 500, Some(b"closed"));
    assert!(reply.ends_with(b"\x86\x06closed"));
}

#[test]
fn a_reply_keeps_version_packet_type_and_message_type() {
    for form in [
        Form { version: 3, packet_type: 0, message_type: 0 },
        Form { version: -1, packet_type: -2, message_type: -3 },
        Form { version: i16::MAX, packet_type: i8::MIN, message_type: i32::MIN },
    ] {
        assert_eq!(Form::unpack(form.pack()), form);
    }
}

#[test]
fn tup_replies_look_like_requests_and_the_direction_tells_them_apart() {
    let tup = packet("1003 2c 3c 4007 5603 612e42 6602 6869 7d00 0c 8c 980c a80c");
    assert_eq!(view_from(&TARS, &tup, Side::Downstream).kind, FrameKind::Request);
    assert_eq!(view_from(&TARS, &tup, Side::Upstream).kind, FrameKind::Response);
    let tars = hex(REQUEST);
    assert_eq!(view_from(&TARS, &tars, Side::Upstream).kind, FrameKind::Request);

    let reply = local_reply(&TARS, &tup, 504, None);
    let view = view_from(&TARS, &reply, Side::Upstream);
    assert_eq!((view.kind, view.id), (FrameKind::Response, 7));
    let status =
        hex(r#"a80002 0612 "STATUS_RESULT_CODE" 1602 "-7" 0612 "STATUS_RESULT_DESC" 160b "504|timeout""#);
    assert!(reply.ends_with(&status), "{reply:02x?}");
}

#[test]
fn a_server_that_asks_for_another_connection_says_goaway() {
    let reconnect = packet(r#"1001 2c 3c 4c 5c 6d00 0c 780c 860b "_reconnect_""#);
    assert_eq!(view_from(&TARS, &reconnect, Side::Upstream).kind, FrameKind::GoAway);
    let answer = packet(r#"1001 2c 3001 4c 5c 6d00 0c 780c 860b "_reconnect_""#);
    assert_eq!(view_from(&TARS, &answer, Side::Upstream).kind, FrameKind::Response);
}

#[test]
fn a_length_below_its_own_or_above_the_limit_is_an_error() {
    let limits = Limits { max_frame_bytes: 100 };
    let decode = |hexed: &str| TARS.decode(&hex(hexed), Side::Upstream, &limits);
    assert!(matches!(decode("00000003"), Err(DecodeError::BadLength { .. })));
    assert!(matches!(decode("00000065"), Err(DecodeError::FrameTooLarge { len: 101, .. })));
    assert_eq!(decode("00000064 1001"), Ok(Decoded::NeedMore { at_least: 100 }));
}

#[test]
fn there_are_no_heartbeats_and_no_goaway() {
    assert_eq!(written(|out| TARS.heartbeat(1, out)), None);
    assert_eq!(written(|out| TARS.goaway(1, out)), None);
    assert_eq!(TARS.http_status(-3), None);
}
