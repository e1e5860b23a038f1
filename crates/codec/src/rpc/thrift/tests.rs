use super::*;
use crate::rpc::{
    DUBBO_THRIFT,
    testing::{forward, headers, hex, local_reply, view, with_body, written},
};

const REQUEST: &str = r#"00000027 dabc 00000027 0018 01 00000003 612e42 0000000000000001
    80010001 00000002 6869 00000007 00"#;
const RESPONSE: &str = r#"00000027 dabc 00000027 0018 01 00000003 612e42 0000000000000001
    80010002 00000002 6869 00000007 00"#;
const NO_ROUTE: &str = r#"0000004b dabc 0000004b 0018 01 00000003 612e42 0000000000000001
    80010003 00000002 6869 00000007 0b0001 00000016 "404|router unavailable" 080002 00000001 00"#;
/// The request with its message in the form that begins with the name's length.
const OLD_FORM: &str = r#"00000024 dabc 00000024 0018 01 00000003 612e42 0000000000000001
    00000002 6869 01 00000007 00"#;

fn decode(frame: &[u8]) -> Result<Decoded, DecodeError> {
    DUBBO_THRIFT.decode(frame, Side::Downstream, &Limits::default())
}

#[test]
fn a_call_and_its_reply_are_told_apart_by_the_message_type() {
    let request = hex(REQUEST);
    let call = view(&DUBBO_THRIFT, &request);
    assert_eq!((call.kind, call.id, call.status), (FrameKind::Request, 1, 0));
    assert_eq!(call.body.of(&request), &request[4 + 0x18..]);
    let reply = view(&DUBBO_THRIFT, &hex(RESPONSE));
    assert_eq!((reply.kind, reply.id, reply.status), (FrameKind::Response, 1, 2));
    assert_eq!(view(&DUBBO_THRIFT, &hex(NO_ROUTE)).status, 3);
}

#[test]
fn a_one_way_call_awaits_no_reply() {
    let mut frame = hex(REQUEST);
    frame[4 + 0x18 + 3] = ONE_WAY;
    let view = view(&DUBBO_THRIFT, &frame);
    assert_eq!(view.kind, FrameKind::OneWay);
    assert_eq!(DUBBO_THRIFT.reply_seed(&frame, &view), None);
}

#[test]
fn routes_see_service_method_sequence_and_type() {
    let expected = [("service", "a.B"), ("method", "hi"), ("seqId", "7"), ("messageType", "1")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for golden in [REQUEST, OLD_FORM] {
        assert_eq!(headers(&DUBBO_THRIFT, &hex(golden), HeaderScope::All).unwrap(), expected);
    }
}

#[test]
fn the_service_may_be_followed_by_more_header_fields() {
    let frame = hex(r#"0000002c dabc 0000002c 001d 01 00000003 612e42 00000001 70 0000000000000009
        80010001 00000002 6869 00000007 00"#);
    assert_eq!(view(&DUBBO_THRIFT, &frame).id, 9);
    assert_eq!(headers(&DUBBO_THRIFT, &frame, HeaderScope::All).unwrap()[0].1, "a.B");
}

#[test]
fn a_frame_without_its_last_four_bytes_is_not_complete() {
    let frame = hex(REQUEST);
    for len in frame.len() - 4..frame.len() {
        assert_eq!(decode(&frame[..len]), Ok(Decoded::NeedMore { at_least: frame.len() }));
    }
}

#[test]
fn only_the_id_changes_on_the_way() {
    let frame = hex(REQUEST);
    let mut expected = frame.clone();
    expected[20..28].copy_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(forward(&DUBBO_THRIFT, &frame, u64::MAX), expected);
}

#[test]
fn a_local_reply_is_an_exception_to_the_same_call() {
    for golden in [REQUEST, OLD_FORM] {
        assert_eq!(local_reply(&DUBBO_THRIFT, &hex(golden), 404, None), hex(NO_ROUTE));
    }
    let reply = local_reply(&DUBBO_THRIFT, &hex(REQUEST), 418, None);
    assert!(reply.windows(29).any(|part| part == b"unknown application exception"));
    let reply = local_reply(&DUBBO_THRIFT, &hex(REQUEST), 500, Some(b"closed for today"));
    assert!(reply.windows(16).any(|part| part == b"closed for today"));
    assert_eq!(view(&DUBBO_THRIFT, &reply).status, 3);
}

#[test]
fn codes_become_the_exception_types_of_the_table() {
    let table = [
        (200, 0),
        (0, 7),
        (2, 0),
        (3, 7),
        (403, 6),
        (404, 1),
        (500, 6),
        (502, 0),
        (503, 0),
        (504, 6),
        (509, 0),
    ];
    for (code, kind) in table {
        assert_eq!(exception_type(code), kind, "{code}");
    }
}

#[test]
fn a_changed_message_gets_its_lengths() {
    let response = hex(RESPONSE);
    let message = hex("80010002 00000002 6869 00000007 0b0000 00000001 78 00");
    let rebuilt = with_body(&DUBBO_THRIFT, &response, 3, &message).unwrap();
    let new = view(&DUBBO_THRIFT, &rebuilt);
    assert_eq!((new.id, new.body.of(&rebuilt)), (3, &message[..]));
    assert_eq!(rebuilt[..4], rebuilt[6..10]);
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    let bad = |at: usize, byte: u8| {
        let mut frame = hex(REQUEST);
        frame[at] = byte;
        decode(&frame)
    };
    let field = |result| match result {
        Err(DecodeError::BadLength { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(bad(10, 0xff)), "header");
    assert_eq!(field(bad(11, 0x10)), "header");
    assert_eq!(field(bad(16, 4)), "service name");
    assert_eq!(field(bad(13, 0xff)), "service name");
    assert_eq!(field(bad(35, 99)), "method name");
    assert_eq!(field(bad(32, 0xff)), "method name");
    assert_eq!(field(decode(&hex("00000008 dabc 00000008 0004"))), "header");
    assert!(matches!(bad(4, 0), Err(DecodeError::BadMagic { found: 0x00bc, .. })));
    assert!(matches!(bad(31, 9), Err(DecodeError::UnknownKind { value: 9, .. })));
    assert!(matches!(bad(0, 0x10), Err(DecodeError::FrameTooLarge { .. })));
}

#[test]
fn there_are_no_heartbeats_and_no_goaway() {
    assert_eq!(written(|out| DUBBO_THRIFT.heartbeat(1, out)), None);
    assert_eq!(written(|out| DUBBO_THRIFT.goaway(1, out)), None);
    assert_eq!(DUBBO_THRIFT.http_status(3), None);
}
