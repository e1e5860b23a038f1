//! Bytes that are no proper HTTP/1 are refused, counted, and end the connection.

use mosn_tests::{Config, Listener, Mosn, PREFACE, RawFrame, Reply, Request, admin, direct, echo_http1, to};
use serde_json::json;

use crate::start;

/// Heads that are answered 400, each wrong in one place.
const BAD_HEADS: &[(&str, &[u8])] = &[
    ("two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
    ("a list of lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nxy"),
    ("a length with a sign", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx"),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx"),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx"),
    ("a length with a space in it", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx"),
    ("an empty length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nx"),
    ("a length beyond counting", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx"),
    ("a length and a coding", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("two codings", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("chunked behind a control", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("quoted chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("an empty coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    ("a coding in 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    ("a bare CR in the target", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    ("a NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n"),
    ("a space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("a tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 0\r\n\r\n"),
    ("a folded value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    ("a space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("a line without a colon", b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
    ("an empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
    ("no host", b"GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("two hosts that differ", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("a host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("a host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a host with a user", b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"),
    ("a host whose port is no number", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    ("a method that is no token", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a target without a slash", b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a target with a space", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a target with a control", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("a version with three parts", b"GET / HTTP/1.1.1\r\nHost: a\r\n\r\n"),
    ("no version", b"GET /\r\nHost: a\r\n\r\n"),
];

/// Codings that the proxy cannot undo are answered 501 (RFC 9112 6.1), and leave no doubt either.
const UNKNOWN_CODINGS: &[(&str, &[u8])] = &[
    ("an unknown coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
    (
        "chunked before another",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    ),
    ("nearly chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
];

/// Bodies that end the connection before a request is complete.
const BAD_CHUNKS: &[(&str, &[u8])] = &[
    ("a size that is no number", b"g\r\nx\r\n0\r\n\r\n"),
    ("a size with a sign", b"+1\r\nx\r\n0\r\n\r\n"),
    ("a negative size", b"-1\r\nx\r\n0\r\n\r\n"),
    ("a size with a prefix", b"0x1\r\nx\r\n0\r\n\r\n"),
    ("no size", b"\r\nx\r\n0\r\n\r\n"),
    ("a size beyond counting", b"fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
    ("no end after the data", b"1\r\nxy0\r\n\r\n"),
    ("a bare LF after the data", b"1\r\nx\n0\r\n\r\n"),
    ("a bare LF after the size", b"1\nx\r\n0\r\n\r\n"),
    ("a bare LF in an extension", b"1;a\nx\r\n0\r\n\r\n"),
    ("a bare CR after the size", b"1\rx\r\n0\r\n\r\n"),
    ("a trailer without a colon", b"1\r\nx\r\n0\r\nnonsense\r\n\r\n"),
    ("a trailer with a space before the colon", b"1\r\nx\r\n0\r\nX : y\r\n\r\n"),
];

fn proxy() -> (Mosn, mosn_tests::Origin) {
    let origin = echo_http1();
    let routes = [direct("/direct", "hello"), to("/", "up", &json!({}))];
    let config = Config::new()
        .listener(Listener::new("in", "Http1").routes(routes))
        .cluster("up", &[&origin.address()])
        .top("admin", admin());
    (start(&config), origin)
}

#[test]
fn a_wrong_head_is_answered_400_and_the_connection_closed() {
    let (mosn, origin) = proxy();
    let mut differing = Vec::new();
    for (what, bytes) in BAD_HEADS {
        let mut wire = mosn.wire("in");
        wire.send(bytes).unwrap();
        let mut reply = Reply::default();
        match wire.reply("GET", &mut reply) {
            Ok(()) if reply.status == 400 => wire.closes(),
            other => differing.push(format!("{what}: {other:?} {reply:?}")),
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(origin.log().requests().len(), 0);
    let lines = mosn.access_log("in", BAD_HEADS.len());
    assert!(lines.iter().all(|line| line.starts_with("400 0x0 bad_request")), "{lines:#?}");
    mosn.metric_is("downstream.listener.in", "request_total", BAD_HEADS.len() as u64);
    mosn.metric_is("downstream.listener.in", "connection_active", 0);
}

#[test]
fn a_coding_that_is_not_known_is_not_implemented() {
    let (mosn, origin) = proxy();
    for (what, bytes) in UNKNOWN_CODINGS {
        let mut wire = mosn.wire("in");
        wire.send(bytes).unwrap();
        let mut reply = Reply::default();
        wire.reply("POST", &mut reply).unwrap();
        assert_eq!(reply.status, 501, "{what}");
        wire.closes();
    }
    assert_eq!(origin.log().requests().len(), 0);
}

#[test]
fn a_version_that_is_not_spoken_is_refused() {
    let (mosn, _) = proxy();
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9"] {
        let mut wire = mosn.wire("in");
        wire.send(format!("GET /direct {version}\r\nHost: a\r\n\r\n")).unwrap();
        let mut reply = Reply::default();
        wire.reply("GET", &mut reply).unwrap();
        assert!([400, 505].contains(&reply.status), "{version}: {reply:?}");
        wire.closes();
    }
}

#[test]
fn a_wrong_chunk_never_makes_a_complete_request() {
    let (mosn, origin) = proxy();
    let mut differing = Vec::new();
    for (what, bytes) in BAD_CHUNKS {
        let mut wire = mosn.wire("in");
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        // The proxy may refuse before everything is sent.
        let _ = wire.send(bytes);
        let mut reply = Reply::default();
        let received = wire.reply("POST", &mut reply);
        if !(matches!(reply.status, 400) && received.is_ok()) {
            differing.push(format!("{what}: {received:?} {reply:?}"));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
    let requests = origin.log().requests();
    assert!(requests.iter().all(|request| !request.whole), "{requests:?}");
}

#[test]
fn what_is_unusual_but_right_passes() {
    let (mosn, _) = proxy();
    let good: &[(&str, &[u8])] = &[
        ("an empty line before the request", b"\r\nGET /direct HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an absolute target", b"GET http://a/direct HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an empty value", b"GET /direct HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n"),
        ("bytes beyond ASCII in a value", b"GET /direct HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n"),
        ("no space behind the colon", b"GET /direct HTTP/1.1\r\nHost:a\r\n\r\n"),
        ("space around a value", b"GET /direct HTTP/1.1\r\nHost: \t a \t\r\n\r\n"),
        ("a coding in capitals", b"POST /direct HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n1;ext=\"a\"\r\nx\r\n0\r\n\r\n"),
        ("a method of one's own", b"BREW /direct HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an address as host", b"GET /direct HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    ];
    let mut differing = Vec::new();
    for (what, bytes) in good {
        let mut wire = mosn.wire("in");
        wire.send(bytes).unwrap();
        let mut reply = Reply::default();
        let received = wire.reply("GET", &mut reply);
        if received.is_err() || reply.status != 200 {
            differing.push(format!("{what}: {received:?} {reply:?}"));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn a_request_behind_a_refused_one_is_not_served() {
    let (mosn, origin) = proxy();
    let mut wire = mosn.wire("in");
    wire.send(
        "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .unwrap();
    let mut reply = Reply::default();
    wire.reply("POST", &mut reply).unwrap();
    assert_eq!(reply.status, 400);
    wire.closes();
    assert_eq!(mosn.ask("in", &Request::get("/after")).status, 200);
    let paths: Vec<String> = origin.log().requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/after"]);
}

#[test]
fn replies_that_are_no_proper_http_become_502() {
    let mut differing = Vec::new();
    for (what, bytes) in [
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        (
            "a length and a coding",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a folded value", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
        ("no status", "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a NUL", "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n"),
        (
            "an upgrade that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ),
    ] {
        let origin = mosn_tests::Origin::scripted(bytes, true);
        let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
        let reply = mosn.client("in").exchange(&Request::get("/"));
        if reply.as_ref().map(|reply| reply.status).ok() != Some(502) {
            differing.push(format!("{what}: {reply:?}"));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

/// A HEADERS frame that ends its stream, with these fields as literals.
fn headers(stream: u32, fields: &[(&str, &str)]) -> RawFrame {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    RawFrame::new(1, 5, stream, block)
}

#[test]
fn fields_of_http_2_cannot_write_lines_of_http_1() {
    let origin = echo_http1();
    let routes = [to("/", "up", &json!({ "upstream_protocol": "Http1" }))];
    let config = Config::new()
        .listener(Listener::new("in", "Http2").routes(routes))
        .cluster("up", &[&origin.address()]);
    let mosn = start(&config);
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
    for (name, value) in [
        (":path", "/ HTTP/1.1\r\nHost: b\r\n\r\nGET /smuggled"),
        (":path", "/a b"),
        (":path", "/\0"),
        (":path", "nowhere"),
        (":path", ""),
        (":authority", "test\r\nX: y"),
        (":authority", "te st"),
        (":authority", "user@test"),
        (":method", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"),
        (":method", "G T"),
        ("x", "y\r\nSmuggled: 1"),
        ("x", "y\nSmuggled: 1"),
        ("x", "y\0"),
        ("x\r\ny", "z"),
        ("x y", "z"),
        ("x:", "z"),
        ("X-Capital", "z"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("content-length", "5"),
        ("content-length", "0, 5"),
        ("content-length", "-1"),
    ] {
        let mut fields: Vec<_> = usual.into_iter().filter(|(usual, _)| *usual != name).collect();
        fields.insert(if name.starts_with(':') { 0 } else { fields.len() }, (name, value));
        let mut wire = mosn.wire("in");
        wire.send([PREFACE, &headers(1, &fields).encode()].concat()).unwrap();
        let answer = loop {
            match wire.frame() {
                Ok(frame) if matches!((frame.kind, frame.stream), (1 | 3, 1) | (7, 0)) => break Some(frame),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        // RST_STREAM, GOAWAY, a closed connection, or 400, whose index is 12 in the static table.
        let refused = answer.as_ref().is_none_or(|frame| frame.kind != 1 || frame.payload[0] == 0x80 | 12);
        assert!(refused, "{name}: {value:?}: {answer:?}");
    }
    assert!(origin.log().requests().is_empty(), "{:?}", origin.log().requests());
    // The same without anything wrong passes.
    let mut wire = mosn.wire("in");
    wire.send([PREFACE, &headers(1, &usual).encode()].concat()).unwrap();
    assert_eq!(wire.frame_of(1, 1).unwrap().payload[0], 0x80 | 8);
}

#[test]
fn a_length_that_http_2_does_not_keep_makes_no_complete_request() {
    let origin = echo_http1();
    let routes = [to("/", "up", &json!({ "upstream_protocol": "Http1" }))];
    let config = Config::new()
        .listener(Listener::new("in", "Http2").routes(routes))
        .cluster("up", &[&origin.address()]);
    let mosn = start(&config);
    for length in ["2", "6"] {
        let request = Request::post("/echo", "four").chunked().with("content-length", length);
        let reply = mosn.client("in").exchange(&request);
        assert!(reply.as_ref().map_or(true, |reply| reply.status == 400), "{length}: {reply:?}");
    }
    assert_eq!(mosn.ask("in", &Request::post("/echo", "four")).text(), "four");
    let whole: Vec<_> = origin.log().requests().into_iter().filter(|seen| seen.whole).collect();
    assert_eq!(whole.len(), 1, "{whole:?}");
}

#[test]
fn what_an_upstream_says_unasked_is_nobodys_reply() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (method, replies, body) in [
        ("GET", format!("{ok}{evil}"), "ok"),
        // Bodies where there can be none.
        ("HEAD", ok.replace("ok", evil), ""),
        ("GET", format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"), ""),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n{evil}"), ""),
    ] {
        let origin = mosn_tests::Origin::scripted(replies.clone(), false);
        let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
        let mut client = mosn.client("in");
        for _ in 0..5 {
            assert_eq!(client.ask(&Request::new(method, "/")).text(), body, "{replies:?}");
        }
    }
}

#[test]
fn a_reply_whose_header_never_ends_becomes_502() {
    let origin = mosn_tests::Origin::new(|exchange| {
        exchange.read()?;
        exchange.wire.send("HTTP/1.1 200 OK\r\n")?;
        loop {
            exchange.wire.send("X: 0123456789012345678901234567890123456789\r\n")?;
        }
    });
    let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
    let before = mosn.resident();
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 502);
    assert!(mosn.resident() < before + 4096, "{} KiB more", mosn.resident() - before);
}
