use super::*;
use crate::rpc::{
    DUBBO,
    testing::{forward, header, headers, hex, local_reply, view, with_body, written},
};

const REQUEST: &str = "dabb c2 00 0000000000000001 00000038 05 322e302e32 03 612e42 05 312e302e30 02 6869
    12 4c6a6176612f6c616e672f537472696e673b 01 78 48 09 696e74657266616365 03 612e42 5a";
const RESPONSE: &str = "dabb 02 14 0000000000000001 00000004 91 02 6f6b";
const HEARTBEAT: &str = "dabb e2 00 0000000000000001 00000001 4e";
const HEARTBEAT_ACK: &str = "dabb 22 14 0000000000000001 00000002 4e 4e";
const NO_ROUTE: &str = r#"dabb 02 3c 0000000000000001 00000017 16 "404|router unavailable""#;

/// A two-way request with this body.
fn request(body: &[u8]) -> Vec<u8> {
    let mut frame = hex("dabb c2 00 8000000000000001");
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn kinds_follow_from_the_flags() {
    let with_flags = |flags: u8| {
        let mut frame = hex(REQUEST);
        frame[FLAGS_AT] = flags;
        view(&DUBBO, &frame).kind
    };
    assert_eq!(with_flags(0xc2), FrameKind::Request);
    assert_eq!(with_flags(0x82), FrameKind::OneWay);
    assert_eq!(with_flags(0xe2), FrameKind::Heartbeat);
    assert_eq!(with_flags(0xa2), FrameKind::Heartbeat);
    assert_eq!(with_flags(0x22), FrameKind::HeartbeatReply);
    assert_eq!(with_flags(0x02), FrameKind::Response);
    assert_eq!(with_flags(0xc6), FrameKind::Request);
}

#[test]
fn a_server_about_to_stop_says_goaway() {
    let read_only = hex("dabb a2 00 0000000000000001 00000002 01 52");
    assert_eq!(view(&DUBBO, &read_only).kind, FrameKind::GoAway);
}

#[test]
fn a_response_has_a_status() {
    let frame = hex(RESPONSE);
    let view = view(&DUBBO, &frame);
    assert_eq!((view.kind, view.id, view.status), (FrameKind::Response, 1, 20));
    assert_eq!(view.body.of(&frame), b"\x91\x02ok");
    assert_eq!(DUBBO.http_status(view.status), None);
}

#[test]
fn ids_use_all_64_bits() {
    let id = 0x8765_4321_0fed_cba9;
    let forwarded = forward(&DUBBO, &hex(REQUEST), id);
    assert_eq!(view(&DUBBO, &forwarded).id, id);
    assert_eq!(forward(&DUBBO, &forwarded, 1), hex(REQUEST));
    assert_eq!(DUBBO.next_id(u64::MAX), 1);
}

#[test]
fn attachments_are_seen_only_on_the_listeners_named_for_them() {
    let frame = hex(REQUEST);
    let call = pairs(&[("service", "a.B"), ("dubbo", "2.0.2"), ("version", "1.0.0"), ("method", "hi")]);
    assert_eq!(headers(&DUBBO, &frame, DUBBO.header_scope("l1")).unwrap(), call);
    for listener in ["ingress_dubbo", "egress_dubbo"] {
        let mut all = pairs(&[("interface", "a.B")]);
        all.extend(call.clone());
        assert_eq!(headers(&DUBBO, &frame, DUBBO.header_scope(listener)).unwrap(), all);
    }
}

#[test]
fn the_interface_attachment_is_the_service_and_group_is_seen() {
    let body = hex(r#"05 "2.0.2" 04 "path" 4e 02 "hi" 00
        48 05 "group" 01 "g" 07 "service" 01 "s" 09 "interface" 01 "i" 07 "version" 01 "9" 5a"#);
    let frame = request(&body);
    let get = |scope, name: &str| header(&DUBBO, &frame, scope, name);
    assert_eq!(get(HeaderScope::All, "service").as_deref(), Some("i"));
    assert_eq!(get(HeaderScope::All, "group").as_deref(), Some("g"));
    assert_eq!(get(HeaderScope::All, "version").as_deref(), Some("9"));
    assert_eq!(get(HeaderScope::Call, "service").as_deref(), Some("path"));
    assert_eq!(get(HeaderScope::Call, "group"), None);
    assert_eq!(get(HeaderScope::Call, "version").as_deref(), Some(""));
    assert_eq!(get(HeaderScope::Call, "method").as_deref(), Some("hi"));
}

#[test]
fn attachments_are_found_behind_arguments_of_every_type() {
    let body = hex(r#"05 "2.0.2" 03 "a.B" 00 02 "hi"
        1e "ILa/P;[Ljava/lang/Object;JDZ[B"
        90
        43 03 "a.P" 92 01 "x" 01 "y" 60 01 "1" 4e
        72 07 "[object" 60 91 54 60 48 5a 4e
        e0 5b 46 23 000102
        48 01 "k" 60 91 92 01 "n" 91 01 "z" 01 "v" 5a"#);
    let expected =
        pairs(&[("z", "v"), ("service", "a.B"), ("dubbo", "2.0.2"), ("version", ""), ("method", "hi")]);
    assert_eq!(headers(&DUBBO, &request(&body), HeaderScope::All).unwrap(), expected);
}

#[test]
fn a_call_may_end_without_attachments() {
    for rest in ["", "4e", "5190"] {
        let mut body = hex(r#"05 "2.0.2" 03 "a.B" 00 02 "hi" 00"#);
        body.extend(hex(rest));
        assert_eq!(headers(&DUBBO, &request(&body), HeaderScope::All).unwrap().len(), 4, "{rest:?}");
    }
}

#[test]
fn arguments_are_counted_by_the_letters_of_their_descriptor() {
    for (descriptor, count) in [
        ("", 0),
        ("I", 1),
        ("[I", 1),
        ("[[IJ", 2),
        ("Ljava/lang/String;", 1),
        ("VZBCDFIJS", 9),
        ("[La;I[Lb;", 3),
        ("La", 1),
    ] {
        assert_eq!(count_arguments(descriptor.as_bytes()), count, "{descriptor}");
    }
}

#[test]
fn other_serializations_pass_without_headers() {
    let mut frame = hex(REQUEST);
    frame[FLAGS_AT] = 0xc6;
    assert!(headers(&DUBBO, &frame, HeaderScope::All).unwrap().is_empty());
    assert_eq!(local_reply(&DUBBO, &frame, 404, None), hex(NO_ROUTE));
}

#[test]
fn responses_and_events_have_no_headers() {
    for golden in [RESPONSE, HEARTBEAT, HEARTBEAT_ACK] {
        assert!(headers(&DUBBO, &hex(golden), HeaderScope::All).unwrap().is_empty());
    }
}

#[test]
fn an_unreadable_call_is_answered_rather_than_dropped() {
    let frame = request(&hex("05 322e302e32 91"));
    let error = headers(&DUBBO, &frame, HeaderScope::Call).unwrap_err();
    assert!(matches!(error, HeaderError::Hessian(hessian::HessianError::NotAString { at: 6, tag: 0x91 })));
    let code = error.reply_code().unwrap();
    let reply = local_reply(&DUBBO, &frame, code, None);
    assert_eq!(reply[STATUS_AT], 70);
    assert_eq!(&reply[16..], b"\x110|codec exception");
}

#[test]
fn a_null_is_allowed_only_for_the_version() {
    let null_method = request(&hex(r#"05 "2.0.2" 03 "a.B" 4e 4e"#));
    assert!(headers(&DUBBO, &null_method, HeaderScope::Call).is_err());
}

#[test]
fn heartbeats_match_the_wire() {
    let heartbeat = hex(HEARTBEAT);
    let view = view(&DUBBO, &heartbeat);
    assert_eq!(written(|out| DUBBO.heartbeat_reply(&heartbeat, &view, out)), Some(hex(HEARTBEAT_ACK)));
    assert_eq!(written(|out| DUBBO.heartbeat(1, out)), Some(heartbeat.clone()));
    assert_eq!(written(|out| DUBBO.goaway(1, out)), None);
    assert!(!DUBBO.beats_when_idle());
}

#[test]
fn local_replies_match_the_table() {
    assert_eq!(local_reply(&DUBBO, &hex(REQUEST), 404, None), hex(NO_ROUTE));
    let table = [
        (200, 20, "200|success"),
        (0, 70, "0|codec exception"),
        (2, 70, "2|unknown"),
        (3, 70, "3|deserial exception"),
        (403, 80, "403|permission denied"),
        (500, 70, "500|internal error"),
        (502, 60, "502|no health upstream"),
        (503, 40, "503|upstream overflow"),
        (504, 30, "504|timeout"),
        (509, 40, "509|limit exceeded"),
        (418, 70, "418 status not define"),
    ];
    for (code, status, words) in table {
        let reply = local_reply(&DUBBO, &hex(REQUEST), code, None);
        assert_eq!((reply[2], reply[3]), (2, status), "{code}");
        assert_eq!(Reader::new(&reply[16..]).string().unwrap().unwrap(), words.as_bytes());
    }
}

#[test]
fn a_local_reply_with_text_is_a_value_on_success_and_a_message_otherwise() {
    let reply = local_reply(&DUBBO, &hex(REQUEST), 200, Some(b"hello"));
    assert_eq!(&reply[16..], b"\x91\x05hello");
    let reply = local_reply(&DUBBO, &hex(REQUEST), 500, Some(b"hello"));
    assert_eq!(&reply[16..], b"\x05hello");
}

#[test]
fn one_way_calls_get_no_local_reply() {
    let mut frame = hex(REQUEST);
    frame[FLAGS_AT] = 0x82;
    assert_eq!(DUBBO.reply_seed(&frame, &view(&DUBBO, &frame)), None);
}

#[test]
fn a_changed_body_gets_its_length() {
    let rebuilt = with_body(&DUBBO, &hex(RESPONSE), 6, b"\x91\x03new").unwrap();
    assert_eq!(rebuilt, hex(r#"dabb 02 14 0000000000000006 00000005 91 03 "new""#));
}

#[test]
fn wrong_magic_and_too_long_bodies_are_errors() {
    let limits = Limits { max_frame_bytes: 100 };
    let decode = |hexed: &str| DUBBO.decode(&hex(hexed), Side::Upstream, &limits);
    assert!(matches!(
        decode("dabc 02 14 0000000000000001 00000004"),
        Err(DecodeError::BadMagic { found: 0xdabc, .. })
    ));
    assert_eq!(decode("dabb 02 14 0000000000000001 00000054"), Ok(Decoded::NeedMore { at_least: 100 }));
    assert_eq!(
        decode("dabb 02 14 0000000000000001 ffffffff"),
        Err(DecodeError::FrameTooLarge { protocol: "dubbo", len: (1 << 32) + 15, max: 100 })
    );
}
