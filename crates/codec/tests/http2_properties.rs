//! HTTP/2 heads and frames, whatever they say and however they are cut.

use mosn_codec::http2::{
    ErrorCode, FRAME_HEAD, Fields, Frame, HeadLimits, MAX_FRAME, Reply, RequestRefusal, Setting,
    hpack::{Decoder, Encoder},
    kind, next_frame, write_data, write_go_away, write_ping, write_request, write_reset, write_response,
    write_settings, write_trailers, write_window_update,
};
use mosn_core::{BodyLength, Failure, Headers, RequestHead, Scheme};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { fields: 100, uri: 8192 };
const LIST: u32 = 64 * 1024;

/// The frames of a stream that arrives in pieces: kind, stream, payload length.
fn frames(bytes: &[u8], piece: usize) -> Vec<(u8, u32, usize)> {
    let (mut buffer, mut seen) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        let mut at = 0;
        while let Some((head, payload)) = next_frame(&buffer[at..]).expect("a frame that we wrote") {
            head.parse(payload).expect("a frame that we wrote");
            seen.push((head.kind, head.stream, head.length));
            at += FRAME_HEAD + head.length;
        }
        buffer.drain(..at);
    }
    assert!(buffer.is_empty(), "{} bytes are left", buffer.len());
    seen
}

/// The header block of the frames in `bytes`, and whether they end the stream.
fn block(bytes: &[u8]) -> (Vec<u8>, bool) {
    let (mut block, mut end, mut at, mut complete) = (Vec::new(), false, 0, false);
    while let Some((head, payload)) = next_frame(&bytes[at..]).expect("frames") {
        assert!(!complete, "a frame after the block");
        match head.parse(payload).expect("a frame") {
            Frame::Headers { block: piece, end_stream, end_headers } => {
                block.extend_from_slice(piece);
                (end, complete) = (end_stream, end_headers);
            }
            Frame::Continuation { block: piece, end_headers } => {
                block.extend_from_slice(piece);
                complete = end_headers;
            }
            other => panic!("{other:?}"),
        }
        at += FRAME_HEAD + head.length;
    }
    assert!(complete && at == bytes.len());
    (block, end)
}

fn pairs(headers: &Headers) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Header fields that HTTP/2 gives no meaning of its own, few enough that some repeat.
fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        Just("content-type".to_owned()),
        Just("server".to_owned()),
        Just("set-cookie".to_owned()),
        Just("X-Mixed-Case".to_owned()),
        "[a-z][a-z0-9!#$%&'*+.^_`|~-]{0,30}".prop_filter("of no meaning", |name| {
            !["te", "host", "date", "cookie", "expect", "connection", "upgrade"].contains(&name.as_str())
        }),
    ];
    let value = prop_oneof!["[a-c]{0,2}", "[ -~]{0,80}", "[\t -~\u{e9}]{0,20}", "x{500,3000}"];
    proptest::collection::vec((name, value), 0..20)
}

fn headers(fields: &[(String, String)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        assert!(headers.append(name, value.as_bytes()));
    }
    headers
}

fn lowered(fields: &[(String, String)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields
        .iter()
        .map(|(name, value)| (name.to_lowercase().into_bytes(), value.clone().into_bytes()))
        .collect()
}

fn request(block: &[(&str, &str)]) -> Result<Box<RequestHead>, RequestRefusal> {
    let mut bytes = Vec::new();
    for (name, value) in block {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    let mut text = Vec::new();
    let fields = Fields::decode(&mut Decoder::default(), &bytes, 1000, &mut text).expect("a block");
    fields.into_request(Scheme::Http, LIMITS, false)
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

fn get(more: &[(&str, &str)]) -> Result<Box<RequestHead>, RequestRefusal> {
    request(&[&GET[..], more].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn heads_of_one_connection_read_as_they_were_written(
        messages in proptest::collection::vec((fields(), "/[!-~&&[^#]]{0,60}", "[a-z0-9.-]{1,20}(:[0-9]{1,4})?", any::<bool>()), 1..12),
        sizes in proptest::collection::vec(proptest::option::of(0_u32..5000), 12),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for ((fields, path, authority, end), size) in messages.into_iter().zip(sizes) {
            if let Some(size) = size {
                encoder.set_max_size(size);
            }
            let head = RequestHead {
                method: http::Method::POST,
                scheme: Scheme::Http,
                authority: authority.clone().into_bytes().into(),
                path: path.clone().into_bytes().into(),
                headers: headers(&fields),
                body: if end { BodyLength::Empty } else { BodyLength::Unknown },
                upgrade: None,
                expects_continue: false,
                one_way: false,
            };
            let mut out = Vec::new();
            write_request(&mut out, &mut encoder, 1, &head, end);
            let (bytes, ended) = block(&out);
            prop_assert_eq!(ended, end);
            let mut text = Vec::new();
            let read = Fields::decode(&mut decoder, &bytes, LIST, &mut text).expect("a block that we wrote");
            let read = read.into_request(Scheme::Http, LIMITS, end).expect("a request that we wrote");
            prop_assert_eq!(&read.path[..], path.as_bytes());
            prop_assert_eq!(&read.authority[..], authority.as_bytes());
            prop_assert_eq!(read.body, head.body);
            prop_assert_eq!(pairs(&read.headers), lowered(&fields));

            let reply = Reply {
                status: http::StatusCode::IM_A_TEAPOT,
                headers: &head.headers,
                body: Some(BodyLength::Known(7)),
                date: Some("now"),
                tunnel: false,
            };
            out.clear();
            write_response(&mut out, &mut encoder, 3, reply, false);
            let read = Fields::decode(&mut decoder, &block(&out).0, LIST, &mut text).expect("a block");
            let read = read.into_response().expect("a reply that we wrote");
            prop_assert_eq!((read.status.as_u16(), read.content_length), (418, Some(7)));
            prop_assert_eq!(read.headers.get("date"), Some(&b"now"[..]));
            prop_assert_eq!(&pairs(&read.headers)[..fields.len()], &lowered(&fields)[..]);

            out.clear();
            write_trailers(&mut out, &mut encoder, 3, &head.headers);
            let (bytes, ended) = block(&out);
            prop_assert!(ended);
            let read = Fields::decode(&mut decoder, &bytes, LIST, &mut text).expect("a block");
            prop_assert_eq!(pairs(&read.into_trailers().expect("trailers that we wrote")), lowered(&fields));
        }
    }

    #[test]
    fn arbitrary_blocks_are_read_or_refused(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..5)) {
        let (mut decoder, mut text) = (Decoder::default(), Vec::new());
        for block in blocks {
            let Ok(fields) = Fields::decode(&mut decoder, &block, 1000, &mut text) else { break };
            match fields.into_request(Scheme::Http, LIMITS, true) {
                Ok(head) => prop_assert!(head.path.starts_with(b"/") || head.method != http::Method::GET),
                Err(RequestRefusal::Malformed | RequestRefusal::Refused(_)) => {}
            }
        }
    }

    #[test]
    fn arbitrary_frames_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some((head, payload))) = next_frame(&bytes) {
            // Whether or not it is one.
            let _ = head.parse(payload);
            prop_assert!(head.length + FRAME_HEAD <= bytes.len());
        }
    }
}

#[test]
fn frames_are_the_same_wherever_they_are_cut() {
    let mut bytes = Vec::new();
    write_settings(&mut bytes, &[Setting::InitialWindowSize(70_000), Setting::EnableConnectProtocol(true)]);
    write_window_update(&mut bytes, 0, 1000);
    let reply = Reply {
        status: http::StatusCode::OK,
        headers: &headers(&[("x-large".to_owned(), "y".repeat(40_000))]),
        body: None,
        date: None,
        tunnel: false,
    };
    let mut encoder = Encoder::default();
    write_response(&mut bytes, &mut encoder, 1, reply, false);
    write_data(&mut bytes, 1, &[0; MAX_FRAME], false);
    write_data(&mut bytes, 1, &[], true);
    write_ping(&mut bytes, [1; 8], true);
    write_reset(&mut bytes, 3, ErrorCode::CANCEL);
    write_go_away(&mut bytes, 3, ErrorCode::NO_ERROR);
    let whole = frames(&bytes, bytes.len());
    let kinds: Vec<u8> = whole.iter().map(|frame| frame.0).collect();
    assert_eq!(
        kinds,
        [
            kind::SETTINGS,
            kind::WINDOW_UPDATE,
            kind::HEADERS,
            kind::CONTINUATION,
            kind::CONTINUATION,
            kind::DATA,
            kind::DATA,
            kind::PING,
            kind::RST_STREAM,
            kind::GOAWAY,
        ]
    );
    for piece in (1..100).chain([1000, 9_999, 16_384]) {
        assert_eq!(frames(&bytes, piece), whole);
    }
}

#[test]
fn what_is_no_request_is_malformed() {
    assert!(get(&[]).is_ok());
    let path = |path| [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let cases: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![(":method", "GET"), (":path", "/")],
        vec![(":method", "GET"), (":scheme", "http")],
        vec![(":scheme", "http"), (":path", "/")],
        path("").to_vec(),
        path("a").to_vec(),
        path("*").to_vec(),
        [&GET[..], &[(":method", "GET")]].concat(),
        [&GET[..], &[(":path", "/")]].concat(),
        [&GET[..], &[("x-a", "1"), (":authority", "b")]].concat(),
        [&GET[..], &[(":status", "200")]].concat(),
        [&GET[..], &[(":unknown", "1")]].concat(),
        [&GET[..], &[(":protocol", "websocket")]].concat(),
        [&GET[..], &[("connection", "close")]].concat(),
        [&GET[..], &[("transfer-encoding", "chunked")]].concat(),
        [&GET[..], &[("te", "gzip")]].concat(),
        [&GET[..], &[("host", "a"), ("host", "a")]].concat(),
        [&GET[..], &[("content-length", "1"), ("content-length", "1")]].concat(),
        [&GET[..], &[("content-length", "+1")]].concat(),
        [&GET[..], &[("X-A", "1")]].concat(),
        [&GET[..], &[("x a", "1")]].concat(),
        [&GET[..], &[("x-a", "1\r\nx-b: 2")]].concat(),
        [&GET[..], &[("x-a", "\0")]].concat(),
        vec![(":method", "G T"), (":scheme", "http"), (":path", "/")],
        vec![(":method", "GET"), (":scheme", ""), (":path", "/")],
        vec![(":method", "CONNECT"), (":scheme", "http"), (":authority", "a"), (":path", "/")],
        vec![(":method", "CONNECT")],
    ];
    for fields in cases {
        assert_eq!(request(&fields).unwrap_err(), RequestRefusal::Malformed, "{fields:?}");
    }
}

fn tunnel(protocol: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]
}

#[test]
fn what_can_be_answered_is_refused_by_name() {
    let path = format!("/{}", "a".repeat(100));
    let long = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", &path)];
    let cases: Vec<(Vec<(&str, &str)>, Failure)> = vec![
        (
            GET.map(|(name, value)| (name, if name == ":path" { "/ #" } else { value })).to_vec(),
            Failure::BadRequest,
        ),
        (
            GET.map(|(name, value)| (name, if name == ":authority" { "u@a" } else { value })).to_vec(),
            Failure::BadRequest,
        ),
        (vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a/b")], Failure::BadRequest),
        ([&GET[..], &vec![("x-a", "1"); 40]].concat(), Failure::HeaderTooLarge),
        (tunnel("h2c"), Failure::BadRequest),
        (tunnel("websocket, h2c"), Failure::BadRequest),
        (tunnel("a b"), Failure::BadRequest),
        (tunnel(""), Failure::BadRequest),
    ];
    for (fields, why) in cases {
        assert_eq!(request(&fields).unwrap_err(), RequestRefusal::Refused(why), "{fields:?}");
    }
    let mut text = Vec::new();
    let mut out = Vec::new();
    let mut encoder = Encoder::default();
    let head = request(&long).expect("not too long");
    write_request(&mut out, &mut encoder, 1, &head, true);
    let fields = Fields::decode(&mut Decoder::default(), &block(&out).0, LIST, &mut text).expect("a block");
    let limits = HeadLimits { uri: 50, ..LIMITS };
    let refused = fields.into_request(Scheme::Http, limits, true).unwrap_err();
    assert_eq!(refused, RequestRefusal::Refused(Failure::UriTooLong));
}

#[test]
fn the_engine_sees_a_request_as_it_sees_one_of_http1() {
    let head =
        get(&[("host", "b"), ("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("expect", "100-continue")])
            .expect("a request");
    assert_eq!(&head.authority[..], b"a", "the pseudo-header field counts");
    assert!(head.expects_continue && !head.headers.contains("host"));
    let fields = [(b"x-a".to_vec(), b"1".to_vec()), (b"cookie".to_vec(), b"a=1; b=2".to_vec())];
    assert_eq!(pairs(&head.headers), fields);
    let mut http1 = Vec::new();
    head.headers.write_http1(&mut http1, |_, _| true);
    assert_eq!(http1, b"x-a: 1\r\ncookie: a=1; b=2\r\n");

    let head = request(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "b:80")]);
    assert_eq!(&head.expect("a request").authority[..], b"b:80");
    let tunnel = [
        (":method", "CONNECT"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/chat"),
        (":protocol", "websocket"),
    ];
    assert_eq!(request(&tunnel).expect("a tunnel").upgrade.as_deref(), Some(&b"websocket"[..]));
    let plain = request(&[(":method", "CONNECT"), (":authority", "a:443")]).expect("a plain CONNECT");
    assert!(plain.path.is_empty() && plain.upgrade.is_none());
    let options = [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")];
    assert_eq!(&request(&options).expect("a request").path[..], b"*");
}
