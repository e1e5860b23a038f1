//! HTTP/2 frame by frame: what an ordinary peer library does not let one say.

mod common;

use std::{future::poll_fn, rc::Rc, time::Duration};

use bytes::Bytes;
use common::{
    Server, Unmetered,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, block, frame, headers, opening, read,
    },
    until, worker,
};
use http::Method;
use mosn_core::{BodyLength, Failure, Frame, Headers, Protocol, RequestHead, Scheme};
use mosn_net::{Io, Transport};
use mosn_stream::{
    ClientStream, Reply,
    http2::{Http2ClientStream, Http2Connection, Http2Pool},
};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

const PUSH_PROMISE: u8 = 5;
/// `:status: 200`.
const OK: &[u8] = &[0x88];

fn server() -> Server {
    Server::new(Protocol::Http2)
}

fn initial_window(size: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &size.to_be_bytes()].concat())
}

fn more(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Body bytes of each stream until nothing more comes for a moment.
async fn bodies(io: &mut UnixStream, streams: &[u32]) -> Vec<usize> {
    let mut bodies = vec![0; streams.len()];
    while let Ok(Some((kind, _, stream, payload))) =
        tokio::time::timeout(Duration::from_millis(100), read(io)).await
    {
        if kind == DATA
            && let Some(at) = streams.iter().position(|id| *id == stream)
        {
            bodies[at] += payload.len();
        }
    }
    bodies
}

/// The code of the connection's end, or of the stream's.
async fn error(io: &mut UnixStream) -> (u8, u8) {
    loop {
        match read(io).await.expect("a frame") {
            (RST_STREAM, _, _, payload) => return (RST_STREAM, payload[3]),
            (GOAWAY, _, _, payload) => return (GOAWAY, payload[7]),
            _ => {}
        }
    }
}

#[test]
fn a_stream_is_sent_what_its_window_and_the_connections_allow_and_no_byte_more() {
    worker(async {
        let server = server();
        let mut io = server.connect();
        let bytes = [opening(), initial_window(1000), headers(1, "GET", "/pour", true)].concat();
        io.write_all(&bytes).await.expect("written");
        assert_eq!(bodies(&mut io, &[1]).await, [1000]);
        io.write_all(&more(1, 500)).await.expect("written");
        assert_eq!(bodies(&mut io, &[1]).await, [500]);
        // A smaller setting takes back what was given, a larger one gives.
        io.write_all(&initial_window(200)).await.expect("written");
        io.write_all(&more(1, 700)).await.expect("written");
        assert_eq!(bodies(&mut io, &[1]).await, [0]);
        io.write_all(&initial_window(300)).await.expect("written");
        assert_eq!(bodies(&mut io, &[1]).await, [0]);
        io.write_all(&initial_window(1_000_000)).await.expect("written");
        // 1,500 bytes of the connection's 65,535 are gone.
        assert_eq!(bodies(&mut io, &[1]).await, [64_035]);
    });
}

#[test]
fn streams_share_the_connections_window() {
    worker(async {
        let server = server();
        let mut io = server.connect();
        let streams = [1, 3, 5, 7];
        let mut bytes = [opening(), initial_window(1 << 24)].concat();
        for stream in streams {
            bytes.extend(headers(stream, "GET", "/pour", true));
        }
        io.write_all(&bytes).await.expect("written");
        bodies(&mut io, &streams).await;
        for _ in 0..3 {
            io.write_all(&more(0, 4 * 160 * 1024)).await.expect("written");
            let sent = bodies(&mut io, &streams).await;
            assert_eq!(sent.iter().sum::<usize>(), 4 * 160 * 1024);
            assert!(sent.iter().all(|sent| *sent >= 100 * 1024), "{sent:?}");
        }
    });
}

/// What a client does wrong, its frames, and the frame and code that it is told.
type Case = (&'static str, Vec<Vec<u8>>, (u8, u8));

#[test]
fn frames_that_break_the_rules_end_the_stream_or_the_connection_by_name() {
    const PROTOCOL_ERROR: u8 = 1;
    const FLOW_CONTROL_ERROR: u8 = 3;
    const STREAM_CLOSED: u8 = 5;
    const FRAME_SIZE_ERROR: u8 = 6;
    const COMPRESSION_ERROR: u8 = 9;
    let upload = || headers(1, "POST", "/wait", false);
    let get = || headers(1, "GET", "/hello", true);
    let cases: Vec<Case> = vec![
        ("DATA on an idle stream", vec![frame(DATA, 0, 1, b"x")], (GOAWAY, PROTOCOL_ERROR)),
        ("RST_STREAM on an idle stream", vec![frame(RST_STREAM, 0, 1, &[0; 4])], (GOAWAY, PROTOCOL_ERROR)),
        ("HEADERS on an even stream", vec![headers(2, "GET", "/", true)], (GOAWAY, PROTOCOL_ERROR)),
        (
            "HEADERS below the highest",
            vec![headers(5, "GET", "/wait", true), headers(3, "GET", "/", true)],
            (GOAWAY, PROTOCOL_ERROR),
        ),
        (
            "a frame within a block",
            vec![frame(HEADERS, 0, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])],
            (GOAWAY, PROTOCOL_ERROR),
        ),
        (
            "CONTINUATION of nothing",
            vec![frame(CONTINUATION, END_HEADERS, 1, &[0x82])],
            (GOAWAY, PROTOCOL_ERROR),
        ),
        (
            "PUSH_PROMISE",
            vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])],
            (GOAWAY, PROTOCOL_ERROR),
        ),
        (
            "a frame that is too large",
            vec![[&[0, 0x40, 1, DATA, 0, 0, 0, 0, 1][..], &[0; 16_385]].concat()],
            (GOAWAY, FRAME_SIZE_ERROR),
        ),
        (
            "a block that is none",
            vec![frame(HEADERS, END_HEADERS, 1, &[0xff; 8])],
            (GOAWAY, COMPRESSION_ERROR),
        ),
        ("a connection window too large", vec![more(0, 0x7fff_ffff)], (GOAWAY, FLOW_CONTROL_ERROR)),
        ("a connection window by nothing", vec![more(0, 0)], (GOAWAY, PROTOCOL_ERROR)),
        ("a stream window too large", vec![upload(), more(1, 0x7fff_ffff)], (RST_STREAM, FLOW_CONTROL_ERROR)),
        ("a stream window by nothing", vec![upload(), more(1, 0)], (RST_STREAM, PROTOCOL_ERROR)),
        (
            "windows too large by a setting",
            vec![upload(), more(1, 0x7fff_0000), initial_window(0x7fff_ffff)],
            (GOAWAY, FLOW_CONTROL_ERROR),
        ),
        (
            "DATA after the end",
            vec![headers(1, "GET", "/wait", true), frame(DATA, 0, 1, b"x")],
            (RST_STREAM, STREAM_CLOSED),
        ),
        (
            "trailers without an end",
            vec![upload(), frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "b")]))],
            (RST_STREAM, PROTOCOL_ERROR),
        ),
        (
            "trailers with a pseudo-header field",
            vec![upload(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":path", "/")]))],
            (RST_STREAM, PROTOCOL_ERROR),
        ),
        ("HEADERS on a closed stream", vec![get(), headers(1, "GET", "/", true)], (GOAWAY, STREAM_CLOSED)),
        ("DATA on a closed stream", vec![get(), frame(DATA, 0, 1, b"x")], (RST_STREAM, STREAM_CLOSED)),
    ];
    worker(async {
        for (name, frames, expected) in cases {
            let server = server();
            let mut io = server.connect();
            io.write_all(&opening()).await.expect("written");
            for bytes in frames {
                io.write_all(&bytes).await.expect("written");
                // A stream that is to be closed gets its reply first.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            assert_eq!(error(&mut io).await, expected, "{name}");
            drop(io);
            until("nothing is left", || server.drain.connections() == 0 && server.app.active.get() == 0)
                .await;
        }
    });
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_others_go_on() {
    worker(async {
        let mut server = server();
        server.limits.max_concurrent_streams = 2;
        let mut io = server.connect();
        let mut bytes = opening();
        for stream in [1, 3, 5] {
            bytes.extend(headers(stream, "GET", "/wait", true));
        }
        io.write_all(&bytes).await.expect("written");
        assert_eq!(error(&mut io).await, (RST_STREAM, 7), "REFUSED_STREAM");
        assert_eq!(server.app.active.get(), 2);
        server.app.release();
        server.app.release();
        let mut ended = Vec::new();
        while ended.len() < 2 {
            if let Some((DATA, END_STREAM, stream, _)) = read(&mut io).await {
                ended.push(stream);
            }
        }
        ended.sort_unstable();
        assert_eq!(ended, [1, 3]);
    });
}

#[test]
fn a_request_in_many_pieces_is_the_same_request() {
    worker(async {
        let server = server();
        let fields =
            block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/echo")]);
        let mut bytes = [opening(), frame(HEADERS, 0, 1, &fields[..1])].concat();
        for at in 1..fields.len() {
            let flags = if at + 1 == fields.len() { END_HEADERS } else { 0 };
            bytes.extend(frame(CONTINUATION, flags, 1, &fields[at..=at]));
        }
        bytes.extend(frame(DATA, 8, 1, &[2, b'a', b'b', 0, 0]));
        bytes.extend(frame(DATA, 0, 1, b"cd"));
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "4")])));
        for piece in [1, 3, 10, bytes.len()] {
            let mut io = server.connect();
            for piece in bytes.chunks(piece) {
                io.write_all(piece).await.expect("written");
                tokio::task::yield_now().await;
            }
            let mut body = Vec::new();
            loop {
                match read(&mut io).await.expect("a frame") {
                    (DATA, _, 1, payload) => body.extend(payload),
                    (HEADERS, flags, 1, _) if flags & END_STREAM != 0 => break,
                    (RST_STREAM | GOAWAY, _, _, payload) => panic!("{payload:?}"),
                    _ => {}
                }
            }
            assert_eq!(body, b"abcd");
            let seen = server.app.seen.borrow_mut().pop().expect("a request");
            assert_eq!((&seen.path[..], &seen.trailers[..]), ("/echo", &[("x-sum".into(), "4".into())][..]));
        }
    });
}

/// A connection to an upstream that says what the test has it say.
fn open() -> (Rc<Http2Connection>, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    (Http2Connection::open(Io::new(Transport::Unix(near), Rc::new(Unmetered)), 1, Box::new(())), far)
}

fn request(method: Method, body: BodyLength) -> RequestHead {
    RequestHead {
        method,
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"up"),
        path: Bytes::from_static(b"/"),
        headers: Headers::default(),
        body,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

/// A stream that has sent its head.
async fn stream(connection: &Rc<Http2Connection>, method: Method, body: BodyLength) -> Http2ClientStream {
    let mut stream = Http2ClientStream::new(Rc::clone(connection));
    let mut head = request(method, body);
    poll_fn(|cx| std::task::Poll::Ready(stream.send_head(cx, &mut head, true, None))).await.expect("sent");
    stream
}

/// Status and body.
async fn reply(stream: &mut Http2ClientStream) -> Result<(u16, Vec<u8>), Failure> {
    let (head, mut next) = loop {
        match poll_fn(|cx| stream.poll_reply(cx)).await.map_err(|reset| reset.0)? {
            Reply::Interim(..) => {}
            Reply::Head(head, first) => break (head, first),
        }
    };
    let (mut body, mut ended) = (Vec::new(), head.body.is_empty());
    while !ended {
        let frame = match next.take() {
            Some(frame) => frame,
            None => poll_fn(|cx| stream.poll_recv(cx)).await.map_err(|reset| reset.0)?,
        };
        if let Frame::Data { data, .. } = &frame {
            body.extend_from_slice(data);
        }
        ended = frame.is_last();
    }
    Ok((head.status.as_u16(), body))
}

#[test]
fn a_whole_reply_outlives_its_stream_and_its_connection() {
    worker(async {
        for end in [frame(RST_STREAM, 0, 1, &[0; 4]), Vec::new()] {
            let (connection, mut far) = open();
            let mut stream = stream(&connection, Method::POST, BodyLength::Unknown).await;
            let bytes = [
                frame(SETTINGS, 0, 0, &[]),
                frame(HEADERS, END_HEADERS, 1, OK),
                frame(DATA, END_STREAM, 1, b"early"),
                end,
            ];
            far.write_all(&bytes.concat()).await.expect("written");
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(far);
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(reply(&mut stream).await, Ok((200, b"early".to_vec())));
        }
    });
}

#[test]
fn replies_that_break_the_rules_reset_their_stream_only() {
    worker(async {
        let interim = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103")]));
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("DATA before HEADERS", frame(DATA, 0, 1, b"x")),
            ("no status", frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "b")]))),
            (
                "a request's field",
                frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200"), (":path", "/")])),
            ),
            ("101", frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "101")]))),
            (
                "an interim reply that ends",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "103")])),
            ),
            ("endless interim replies", interim.repeat(200)),
            (
                "connection",
                frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200"), ("connection", "close")])),
            ),
            (
                "a length and no body",
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    1,
                    &block(&[(":status", "200"), ("content-length", "5")]),
                ),
            ),
        ];
        for (name, bytes) in cases {
            let (connection, mut far) = open();
            let mut first = stream(&connection, Method::GET, BodyLength::Empty).await;
            let mut second = stream(&connection, Method::GET, BodyLength::Empty).await;
            far.write_all(&[frame(SETTINGS, 0, 0, &[]), bytes].concat()).await.expect("written");
            let failed = reply(&mut first).await;
            assert_eq!(failed, Err(Failure::UpstreamReset), "{name}");
            far.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 3, OK)).await.expect("written");
            assert_eq!(reply(&mut second).await, Ok((200, Vec::new())), "{name}");
        }
    });
}

#[test]
fn a_reply_to_head_and_a_304_may_tell_a_length_they_do_not_have() {
    worker(async {
        for (method, status) in [(Method::HEAD, "200"), (Method::GET, "304")] {
            let (connection, mut far) = open();
            let mut stream = stream(&connection, method, BodyLength::Empty).await;
            let fields = block(&[(":status", status), ("content-length", "5")]);
            let bytes = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)];
            far.write_all(&bytes.concat()).await.expect("written");
            let Ok(Reply::Head(head, None)) = poll_fn(|cx| stream.poll_reply(cx)).await else {
                panic!("no head");
            };
            assert!(head.body.is_empty() && head.headers.get("content-length") == Some(b"5"));
        }
    });
}

#[test]
fn a_goaway_sends_waiting_streams_elsewhere() {
    worker(async {
        let (connection, mut far) = open();
        // One stream at a time.
        let bytes = [frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])].concat();
        far.write_all(&bytes).await.expect("written");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut first = stream(&connection, Method::GET, BodyLength::Empty).await;
        let mut waiting = stream(&connection, Method::GET, BodyLength::Empty).await;
        far.write_all(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.expect("written");
        assert_eq!(reply(&mut waiting).await, Err(Failure::UpstreamRefused));
        far.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)).await.expect("written");
        assert_eq!(reply(&mut first).await, Ok((200, Vec::new())));
        // The connection has nothing left to do.
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), far.read_to_end(&mut rest));
        ended.await.expect("it closes").expect("read");
    });
}

#[test]
fn replies_that_nobody_reads_leave_other_streams_their_room() {
    worker(async {
        const UNREAD: usize = 70;
        let (connection, mut far) = open();
        far.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("written");
        let mut unread = Vec::new();
        for id in (1..).step_by(2).take(UNREAD) {
            unread.push(stream(&connection, Method::GET, BodyLength::Empty).await);
            far.write_all(&frame(HEADERS, END_HEADERS, id, OK)).await.expect("written");
            for _ in 0..16 {
                far.write_all(&frame(DATA, 0, id, &[b'x'; 16_384])).await.expect("written");
            }
        }
        let mut other = stream(&connection, Method::GET, BodyLength::Empty).await;
        let id = 2 * UNREAD as u32 + 1;
        let bytes = [frame(HEADERS, END_HEADERS, id, OK), frame(DATA, END_STREAM, id, b"read")].concat();
        far.write_all(&bytes).await.expect("written");
        assert_eq!(reply(&mut other).await, Ok((200, b"read".to_vec())));
    });
}

#[test]
fn a_connection_without_room_for_any_stream_is_not_kept() {
    worker(async {
        let (connection, mut far) = open();
        let pool = Http2Pool::default();
        pool.put(Rc::clone(&connection));
        let mut last = stream(&connection, Method::GET, BodyLength::Empty).await;
        drop(connection);
        let bytes =
            [frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]), frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)];
        far.write_all(&bytes.concat()).await.expect("written");
        assert_eq!(reply(&mut last).await, Ok((200, Vec::new())));
        drop(last);
        assert!(pool.take().is_none() && pool.is_empty());
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), far.read_to_end(&mut rest));
        ended.await.expect("it closes").expect("read");
    });
}

#[test]
fn an_upstream_that_breaks_the_connections_rules_loses_it() {
    worker(async {
        for (name, bytes) in [
            ("a frame before SETTINGS", frame(PING, 0, 0, &[0; 8])),
            (
                "PUSH_PROMISE",
                [frame(SETTINGS, 0, 0, &[]), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])]
                    .concat(),
            ),
            ("push enabled", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1])),
            (
                "a stream that we did not open",
                [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS, 3, OK)].concat(),
            ),
        ] {
            let (connection, mut far) = open();
            let mut stream = stream(&connection, Method::GET, BodyLength::Empty).await;
            far.write_all(&bytes).await.expect("written");
            assert_eq!(reply(&mut stream).await, Err(Failure::UpstreamTerminated), "{name}");
        }
    });
}

/// Frames that may follow each other in any order, most of them well-formed.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![Just(0_u32), Just(1), Just(3), Just(5), 0_u32..12];
    let block = prop_oneof![
        Just(block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/echo")])),
        Just(block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/hello")])),
        Just(block(&[("x-trailer", "1")])),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let one = prop_oneof![
        4 => (stream.clone(), block, any::<u8>()).prop_map(|(stream, block, flags)| {
            frame(HEADERS, flags & 0x5 | if flags > 20 { END_HEADERS } else { 0 }, stream | 1, &block)
        }),
        2 => (stream.clone(), proptest::collection::vec(any::<u8>(), 0..300), 0_u8..2)
            .prop_map(|(stream, data, end)| frame(DATA, end, stream | 1, &data)),
        1 => (stream.clone(), any::<u32>()).prop_map(|(stream, size)| more(stream, size >> 8)),
        1 => (0_u16..9, any::<u32>()).prop_map(|(id, value)| {
            frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        }),
        1 => stream.clone().prop_map(|stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])),
        1 => (0_u8..12, any::<u8>(), stream, proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
    ];
    proptest::collection::vec(one, 1..30).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_a_client_says_nothing_is_left_of_it(bytes in frames()) {
        worker(async {
            let server = server();
            let mut io = server.connect();
            // It may have had enough before the end.
            let _ = io.write_all(&[opening(), bytes].concat()).await;
            let _ = io.shutdown().await;
            let mut rest = Vec::new();
            let _ = io.read_to_end(&mut rest).await;
            until("nothing is left", || server.drain.connections() == 0 && server.app.active.get() == 0).await;
        });
    }

    #[test]
    fn whatever_an_upstream_says_its_streams_end(bytes in frames()) {
        worker(async {
            let (connection, mut far) = open();
            let mut streams = Vec::new();
            for _ in 0..3 {
                streams.push(stream(&connection, Method::POST, BodyLength::Unknown).await);
            }
            let _ = far.write_all(&[frame(SETTINGS, 0, 0, &[]), bytes].concat()).await;
            drop(far);
            for mut stream in streams {
                let _ = reply(&mut stream).await;
            }
        });
    }
}
