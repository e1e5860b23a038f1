use super::*;
use crate::rpc::{
    BOLT, BOLT_V2,
    testing::{forward, header, headers, hex, local_reply, view, with_body, written},
};

const REQUEST: &str = "01 01 0001 01 00000001 01 00000bb8 0001 0011 00000002 43
    00000007 73657276696365 00000002 7331 6869";
const RESPONSE: &str = "01 00 0002 01 00000001 01 0000 0000 0000 00000002 6f6b";
const HEARTBEAT: &str = "01 01 0000 01 00000001 01 ffffffff 0000 0000 00000000";
const HEARTBEAT_ACK: &str = "01 00 0000 01 00000001 01 0000 0000 0000 00000000";
const GOAWAY: &str = "01 01 0064 01 00000001 01 00000000 0000 0000 00000000";
const NO_ROUTE: &str = "01 00 0002 01 00000001 01 0006 0000 0000 00000000";

const REQUEST_V2: &str = "02 01 01 0001 01 00000001 01 00 00000bb8 0001 0011 00000002 43
    00000007 73657276696365 00000002 7331 6869";
const RESPONSE_V2: &str = "02 01 00 0002 01 00000001 01 00 0000 0000 0000 00000002 6f6b";
const HEARTBEAT_V2: &str = "02 01 01 0000 01 00000001 01 00 ffffffff 0000 0000 00000000";
const HEARTBEAT_ACK_V2: &str = "02 01 00 0000 01 00000001 01 00 0000 0000 0000 00000000";

/// A version 2 request that announces a checksum and carries a right one.
fn request_with_checksum() -> Vec<u8> {
    let mut frame = hex(REQUEST_V2);
    frame[VER1_AT] = 2;
    frame[SWITCH_AT] = 1;
    let checksum = crc32fast::hash(&frame);
    frame.extend_from_slice(&checksum.to_be_bytes());
    frame
}

#[test]
fn the_parts_of_a_request_are_found_in_both_versions() {
    for (protocol, golden) in [(&BOLT, REQUEST), (&BOLT_V2, REQUEST_V2)] {
        let frame = hex(golden);
        let view = view(protocol, &frame);
        assert_eq!((view.kind, view.id, view.status), (FrameKind::Request, 1, 0));
        assert_eq!(view.timeout, FrameTimeout::Millis(3000));
        assert_eq!(view.class.of(&frame), b"C");
        assert_eq!(view.body.of(&frame), b"hi");
        assert_eq!(header(protocol, &frame, HeaderScope::All, "service").as_deref(), Some("s1"));
        assert_eq!(header(protocol, &frame, HeaderScope::All, "Service"), None);
        assert_eq!(headers(protocol, &frame, HeaderScope::Call).unwrap(), [("service".into(), "s1".into())]);
    }
}

#[test]
fn the_parts_of_a_response_are_found_in_both_versions() {
    for (protocol, golden) in [(&BOLT, RESPONSE), (&BOLT_V2, RESPONSE_V2)] {
        let mut frame = hex(golden);
        assert_eq!(view(protocol, &frame).kind, FrameKind::Response);
        assert_eq!(view(protocol, &frame).body.of(&frame), b"ok");
        let status_at = if protocol == &BOLT { 11 } else { 13 };
        frame[status_at] = 18;
        let view = view(protocol, &frame);
        assert_eq!((view.status, view.timeout), (18, FrameTimeout::Unset));
    }
}

#[test]
fn only_the_id_changes_on_the_way() {
    for (golden, id_at) in [(REQUEST, 5), (RESPONSE, 5), (REQUEST_V2, 6), (RESPONSE_V2, 6)] {
        let frame = hex(golden);
        let mut expected = frame.clone();
        expected[id_at..id_at + 4].copy_from_slice(&[0x11, 0x22, 0x33, 0x44]);
        assert_eq!(forward(&BOLT, &frame, 0x1122_3344), expected);
    }
}

#[test]
fn unknown_codec_version_and_command_values_survive() {
    let frame = hex("01 01 7777 09 00000001 0b 00000bb8 0000 0000 00000002 6869");
    assert_eq!(view(&BOLT, &frame).kind, FrameKind::Request);
    assert_eq!(forward(&BOLT, &frame, 2), hex("01 01 7777 09 00000002 0b 00000bb8 0000 0000 00000002 6869"));
}

#[test]
fn both_versions_are_read_on_either_protocol() {
    for protocol in [&BOLT, &BOLT_V2] {
        for golden in [REQUEST, REQUEST_V2] {
            assert_eq!(view(protocol, &hex(golden)).body.len, 2);
        }
    }
}

#[test]
fn a_first_byte_of_neither_version_is_read_as_the_configured_one() {
    let mut frame = hex(REQUEST);
    frame[0] = 7;
    assert_eq!(view(&BOLT, &frame).id, 1);
    let mut frame = hex(REQUEST_V2);
    frame[0] = 7;
    assert_eq!(view(&BOLT_V2, &frame).id, 1);
}

#[test]
fn an_unknown_frame_type_is_an_error() {
    let mut frame = hex(REQUEST);
    frame[1] = 3;
    let error = BOLT.decode(&frame, Side::Downstream, &Limits::default()).unwrap_err();
    assert_eq!(error, DecodeError::UnknownKind { protocol: "bolt", value: 3 });
}

#[test]
fn kinds_follow_from_type_and_command() {
    let mut one_way = hex(REQUEST);
    one_way[1] = 2;
    assert_eq!(view(&BOLT, &one_way).kind, FrameKind::OneWay);
    assert_eq!(view(&BOLT, &hex(HEARTBEAT)).kind, FrameKind::Heartbeat);
    assert_eq!(view(&BOLT, &hex(HEARTBEAT_ACK)).kind, FrameKind::HeartbeatReply);
    assert_eq!(view(&BOLT, &hex(GOAWAY)).kind, FrameKind::GoAway);
    assert_eq!(view(&BOLT_V2, &hex(HEARTBEAT_V2)).kind, FrameKind::Heartbeat);
    assert_eq!(view(&BOLT_V2, &hex(HEARTBEAT_ACK_V2)).kind, FrameKind::HeartbeatReply);
    let command_100 = hex("02 01 01 0064 01 00000001 01 00 00000000 0000 0000 00000000");
    assert_eq!(view(&BOLT_V2, &command_100).kind, FrameKind::Request);
}

#[test]
fn a_timeout_of_zero_or_less_is_no_number_of_milliseconds() {
    assert_eq!(view(&BOLT, &hex(GOAWAY)).timeout, FrameTimeout::Unset);
    assert_eq!(view(&BOLT, &hex(HEARTBEAT)).timeout, FrameTimeout::Never);
}

#[test]
fn heartbeats_and_goaway_match_the_wire() {
    assert_eq!(written(|out| BOLT.heartbeat(1, out)), Some(hex(HEARTBEAT)));
    assert_eq!(written(|out| BOLT_V2.heartbeat(1, out)), Some(hex(HEARTBEAT_V2)));
    assert_eq!(written(|out| BOLT.goaway(1, out)), Some(hex(GOAWAY)));
    assert_eq!(written(|out| BOLT_V2.goaway(1, out)), None);
    assert!(BOLT.beats_when_idle() && BOLT_V2.beats_when_idle());
}

#[test]
fn a_heartbeat_is_answered_in_its_own_version_with_its_own_id() {
    for protocol in [&BOLT, &BOLT_V2] {
        for (heartbeat, ack) in [(HEARTBEAT, HEARTBEAT_ACK), (HEARTBEAT_V2, HEARTBEAT_ACK_V2)] {
            let heartbeat = hex(heartbeat);
            let view = view(protocol, &heartbeat);
            assert_eq!(written(|out| protocol.heartbeat_reply(&heartbeat, &view, out)), Some(hex(ack)));
        }
    }
}

#[test]
fn a_local_reply_is_in_the_version_of_its_request() {
    for protocol in [&BOLT, &BOLT_V2] {
        assert_eq!(local_reply(protocol, &hex(REQUEST), 404, None), hex(NO_ROUTE));
        let v2 = hex("02 01 00 0002 01 00000001 01 00 0006 0000 0000 00000000");
        assert_eq!(local_reply(protocol, &hex(REQUEST_V2), 404, None), v2);
    }
}

#[test]
fn a_local_reply_can_carry_content() {
    let reply = local_reply(&BOLT, &hex(REQUEST), 200, Some(b"maintenance"));
    let view = view(&BOLT, &reply);
    assert_eq!((view.status, view.body.of(&reply)), (0, &b"maintenance"[..]));
}

#[test]
fn only_a_request_gets_a_local_reply() {
    let mut one_way = hex(REQUEST);
    one_way[1] = 2;
    for frame in [one_way, hex(RESPONSE), hex(HEARTBEAT), hex(GOAWAY)] {
        assert_eq!(BOLT.reply_seed(&frame, &view(&BOLT, &frame)), None);
    }
}

#[test]
fn codes_become_the_statuses_of_the_table() {
    let table = [
        (200, 0),
        (0, 9),
        (2, 3),
        (3, 18),
        (404, 6),
        (500, 3),
        (502, 6),
        (503, 4),
        (504, 7),
        (509, 3),
        (418, 3),
    ];
    for (code, status) in table {
        for version in [Version::V1, Version::V2] {
            assert_eq!(status_of(code, version), status, "{code}");
        }
    }
    assert_eq!((status_of(403, Version::V1), status_of(403, Version::V2)), (2, 3));
}

#[test]
fn statuses_become_http_statuses() {
    for (status, http) in [(0, 200), (4, 503), (7, 504), (16, 502), (1, 500), (6, 500), (99, 500)] {
        assert_eq!(BOLT.http_status(status), Some(http), "{status}");
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_as_soon_as_its_length_is_known() {
    let limits = Limits { max_frame_bytes: 1000 };
    let head = hex("01 01 0001 01 00000001 01 00000bb8 0000 0000 000003d2");
    assert_eq!(BOLT.decode(&head, Side::Downstream, &limits), Ok(Decoded::NeedMore { at_least: 1000 }));
    let head = hex("01 01 0001 01 00000001 01 00000bb8 0000 0000 000003d3");
    let error = DecodeError::FrameTooLarge { protocol: "bolt", len: 1001, max: 1000 };
    assert_eq!(BOLT.decode(&head, Side::Downstream, &limits), Err(error));
    let head = hex("01 01 0001 01 00000001 01 00000bb8 ffff ffff ffffffff");
    assert!(matches!(
        BOLT.decode(&head, Side::Downstream, &Limits { max_frame_bytes: u32::MAX }),
        Err(DecodeError::FrameTooLarge { .. })
    ));
}

#[test]
fn the_checksum_belongs_to_the_frame_only_when_both_fields_say_so() {
    let frame = request_with_checksum();
    assert_eq!(view(&BOLT_V2, &frame).body.of(&frame), b"hi");
    for (ver1, switch) in [(1, 1), (2, 0), (2, 2)] {
        let mut frame = hex(REQUEST_V2);
        frame[VER1_AT] = ver1;
        frame[SWITCH_AT] = switch;
        assert_eq!(view(&BOLT_V2, &frame).body.of(&frame), b"hi", "{ver1} {switch}");
    }
}

#[test]
fn the_checksum_is_right_again_after_the_id_changed() {
    let forwarded = forward(&BOLT_V2, &request_with_checksum(), 0xdead_beef);
    assert_eq!(view(&BOLT_V2, &forwarded).id, 0xdead_beef);
    let (covered, checksum) = forwarded.split_last_chunk::<4>().unwrap();
    assert_eq!(crc32fast::hash(covered).to_be_bytes(), *checksum);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut frame = request_with_checksum();
    let body = view(&BOLT_V2, &frame).body.start as usize;
    frame[body] ^= 1;
    for changed in [forward(&BOLT_V2, &frame, 9), with_body(&BOLT_V2, &frame, 9, b"new").unwrap()] {
        let (covered, checksum) = changed.split_last_chunk::<4>().unwrap();
        assert_ne!(crc32fast::hash(covered).to_be_bytes(), *checksum);
    }
}

fn with_headers(frame: &[u8], pairs: &[(&[u8], &[u8])]) -> Result<Vec<u8>, EncodeError> {
    let mut out = BytesMut::from(&b"kept"[..]);
    let edit = Edit { headers: Some(pairs), body: None };
    let rebuilt = BOLT.rebuild(frame, &view(&BOLT, frame), edit, 5, &mut out);
    let frame = out.split_off(4);
    assert_eq!(&out[..], b"kept");
    rebuilt.map(|()| frame.to_vec()).inspect_err(|_| assert!(frame.is_empty()))
}

#[test]
fn changed_headers_leave_everything_else_as_it_was() {
    let rebuilt = with_headers(&hex(REQUEST), &[(b"a", b""), (b"service", b"s2")]).unwrap();
    let expected = hex("01 01 0001 01 00000005 01 00000bb8 0001 001a 00000002 43
        00000001 61 00000000 00000007 73657276696365 00000002 7332 6869");
    assert_eq!(rebuilt, expected);
    let none = with_headers(&hex(REQUEST_V2), &[]).unwrap();
    assert_eq!(none, hex("02 01 01 0001 01 00000005 01 00 00000bb8 0001 0000 00000002 43 6869"));
}

#[test]
fn headers_of_a_frame_with_checksum_are_sealed_anew() {
    let rebuilt = with_headers(&request_with_checksum(), &[(b"k", b"v")]).unwrap();
    let (covered, checksum) = rebuilt.split_last_chunk::<4>().unwrap();
    assert_eq!(crc32fast::hash(covered).to_be_bytes(), *checksum);
    assert_eq!(header(&BOLT, &rebuilt, HeaderScope::All, "k").as_deref(), Some("v"));
}

#[test]
fn headers_that_do_not_fit_are_refused_and_leave_the_output_as_it_was() {
    let long = vec![b'x'; 65_535];
    let error = with_headers(&hex(REQUEST), &[(b"k", &long)]).unwrap_err();
    assert_eq!(error, EncodeError::HeadersTooLong { len: 65_544 });
}

#[test]
fn a_changed_body_gets_its_length() {
    for golden in [REQUEST, RESPONSE, REQUEST_V2, RESPONSE_V2] {
        let frame = hex(golden);
        let rebuilt = with_body(&BOLT, &frame, 7, b"a longer body").unwrap();
        let (old, new) = (view(&BOLT, &frame), view(&BOLT, &rebuilt));
        assert_eq!((new.id, new.body.of(&rebuilt)), (7, &b"a longer body"[..]));
        assert_eq!(new.class.of(&rebuilt), old.class.of(&frame));
        assert_eq!(new.headers.of(&rebuilt), old.headers.of(&frame));
    }
}

#[test]
fn null_headers_are_not_seen_and_pass_untouched() {
    let frame = hex("01 01 0001 01 00000001 01 00000bb8 0000 0013 00000000
        00000001 61 ffffffff 00000001 62 00000001 63");
    assert_eq!(headers(&BOLT, &frame, HeaderScope::All).unwrap(), [("b".into(), "c".into())]);
    assert_eq!(forward(&BOLT, &frame, 1), frame);
}

#[test]
fn unreadable_headers_do_not_stop_a_frame_that_nobody_looks_into() {
    let frame = hex("01 01 0001 01 00000001 01 00000bb8 0000 0006 00000000 0000ffff 6161");
    assert_eq!(forward(&BOLT, &frame, 1), frame);
    let error = headers(&BOLT, &frame, HeaderScope::All).unwrap_err();
    assert_eq!(error.reply_code(), Some(codes::CODEC_EXCEPTION));
    assert_eq!(view(&BOLT, &local_reply(&BOLT, &frame, 0, None)).status, 9);
}
