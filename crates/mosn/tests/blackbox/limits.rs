//! Limits on what a client may send, and the keys that set them.

use std::time::Duration;

use mosn_tests::{
    Config, Listener, Mosn, Origin, PREFACE, RawFrame, Reply, Request, Wire, admin, direct, echo_http1, to,
};
use serde_json::{Value, json};

use crate::start;

fn limited(protocol: &str, extend: Value) -> (Mosn, Origin) {
    let origin = echo_http1();
    let up = to("/", "up", &json!({ "upstream_protocol": "Http1" }));
    let listener = Listener::new("in", protocol).routes([direct("/direct", "hello"), up]).extend(extend);
    let config = Config::new().listener(listener).cluster("up", &[&origin.address()]).top("admin", admin());
    (start(&config), origin)
}

#[track_caller]
fn refused(mosn: &Mosn, bytes: impl AsRef<[u8]>, status: u16) {
    let mut wire = mosn.wire("in");
    wire.send(bytes).unwrap();
    let mut reply = Reply::default();
    wire.reply("GET", &mut reply).unwrap();
    assert_eq!(reply.status, status);
    wire.closes();
}

#[test]
fn a_header_that_is_too_large_or_has_too_many_fields_is_answered_431() {
    // As the key of one protocol stands, and under the protocol's name.
    for extend in [
        json!({ "max_header_size": 1024, "max_header_count": 10 }),
        json!({ "Http1": { "max_header_size": 1024, "max_header_count": 10 } }),
    ] {
        let (mosn, _) = limited("Http1", extend);
        let long =
            |length: usize| format!("GET /direct HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(length));
        refused(&mosn, long(1100), 431);
        // Nor does the end of the header have to come.
        refused(&mosn, &long(1100)[..1090], 431);
        refused(&mosn, format!("GET /direct HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(10)), 431);
        assert_eq!(mosn.ask("in", &Request::get("/direct").with("x", &"x".repeat(900))).status, 200);
        let lines = mosn.access_log("in", 4);
        assert!(lines[..3].iter().all(|line| line.starts_with("431 0x0 header_too_large")), "{lines:#?}");
    }
}

#[test]
fn the_default_limits_are_eight_kibibytes_of_header_and_a_hundred_fields() {
    let (mosn, _) = limited("Http1", json!({}));
    let fields =
        |count: usize| format!("GET /direct HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(count - 1));
    refused(&mosn, fields(101), 431);
    let mut wire = mosn.wire("in");
    wire.send(fields(100)).unwrap();
    let mut reply = Reply::default();
    wire.reply("GET", &mut reply).unwrap();
    assert_eq!(reply.status, 200);
    refused(&mosn, format!("GET /direct HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(8200)), 431);
}

#[test]
fn a_target_that_is_too_long_is_answered_414() {
    let (mosn, _) = limited("Http1", json!({ "max_uri_length": 100 }));
    refused(&mosn, format!("GET /direct?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100)), 414);
    assert_eq!(mosn.ask("in", &Request::get(&format!("/direct?{}", "x".repeat(80)))).status, 200);
    assert!(mosn.access_log("in", 1)[0].starts_with("414 0x0 uri_too_long"));

    let (mosn, _) = limited("Http2", json!({}));
    assert_eq!(mosn.ask("in", &Request::get(&format!("/direct?{}", "x".repeat(9000)))).status, 414);
}

#[test]
fn a_body_that_is_too_large_is_answered_413_announced_or_not() {
    let (mosn, origin) = limited("Http1", json!({ "max_request_body_size": 1000 }));
    refused(&mosn, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413);
    let line = mosn.access_log("in", 1)[0].clone();
    assert!(line.starts_with("413 0x1000 payload_too_large"), "{line}");
    let mut wire = mosn.wire("in");
    wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    wire.chunk(&[b'x'; 600]).unwrap();
    // The proxy may have refused by then.
    let _ = wire.chunk(&[b'x'; 600]);
    let mut reply = Reply::default();
    wire.reply("POST", &mut reply).unwrap();
    assert_eq!(reply.status, 413);
    wire.closes();
    assert_eq!(mosn.ask("in", &Request::post("/echo", vec![b'x'; 1000])).body.len(), 1000);
    assert!(origin.log().requests().iter().all(|seen| !seen.whole || seen.body.len() == 1000));
}

#[test]
fn a_header_that_does_not_come_in_time_is_answered_408() {
    let (mosn, _) = limited("Http1", json!({ "header_timeout": "200ms" }));
    refused(&mosn, "GET /direct HTTP/1.1\r\nHost: ", 408);
    assert!(mosn.access_log("in", 1)[0].starts_with("408 0x0 header_timeout"));
    // A new connection is expected to begin at once; one that was used may rest.
    mosn.wire("in").closes();
    let mut wire = mosn.wire("in");
    wire.request(&Request::get("/direct")).unwrap();
    wire.reply("GET", &mut Reply::default()).unwrap();
    wire.patience(Duration::from_millis(500));
    assert_eq!(wire.head().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_body_that_stalls_is_answered_408() {
    let (mosn, origin) = limited("Http1", json!({ "body_idle_timeout": "200ms" }));
    refused(&mosn, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf", 408);
    assert!(mosn.access_log("in", 1)[0].contains("body_idle_timeout"));
    assert!(!origin.log().nth(1).whole);
}

#[test]
fn an_idle_connection_is_closed_after_the_listeners_idle_timeout() {
    for protocol in ["Http1", "Http2", "Auto"] {
        let listener = Listener::new("in", protocol)
            .routes([direct("/", "hello")])
            .with("connection_idle_timeout", json!("300ms"));
        let mosn = start(&Config::new().listener(listener).top("admin", admin()));
        let mut silent = mosn.wire("in");
        let mut used = mosn.client("in");
        assert_eq!(used.ask(&Request::get("/")).status, 200);
        // HTTP/2 says hello before it says goodbye.
        assert!(silent.rest().is_ok_and(|rest| protocol == "Http2" || rest.is_empty()), "{protocol}");
        mosn.metric_is("downstream.listener.in", "connection_active", 0);
    }
}

fn http2(mosn: &Mosn) -> Wire {
    let mut wire = mosn.wire("in");
    wire.send(PREFACE).unwrap();
    wire.send(RawFrame::new(4, 1, 0, []).encode()).unwrap();
    wire
}

/// Writes frames until the proxy has had enough; what it says then.
#[track_caller]
fn flood(mosn: &Mosn, mut frames: impl FnMut(u32) -> Vec<u8>) -> RawFrame {
    let mut wire = http2(mosn);
    wire.patience(Duration::from_secs(10));
    let mut writing = wire.twin();
    for turn in 0..20_000 {
        if writing.send(frames(turn)).is_err() {
            break;
        }
    }
    writing.finish();
    // GOAWAY, unless the reset of the connection swallowed it.
    wire.frame_of(7, 0).unwrap_or_else(|_| RawFrame::new(7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]))
}

#[test]
fn floods_of_frames_end_the_connection_and_are_counted() {
    let (mosn, _) = limited("Http2", json!({ "max_resets": 50, "max_control_frames": 50 }));
    flood(&mosn, |turn| {
        let stream = turn * 2 + 1;
        [RawFrame::get(stream).encode(), RawFrame::new(3, 0, stream, [0, 0, 0, 8]).encode()].concat()
    });
    mosn.metric_is("downstream.listener.in", "connection_flood_closed", 1);
    flood(&mosn, |_| RawFrame::new(6, 0, 0, [0; 8]).encode());
    mosn.metric_is("downstream.listener.in", "connection_flood_closed", 2);
    flood(&mosn, |_| RawFrame::new(4, 0, 0, []).encode());
    mosn.metric_is("downstream.listener.in", "connection_flood_closed", 3);
    assert_eq!(mosn.ask("in", &Request::get("/direct")).status, 200);
    mosn.metric_is("downstream.listener.in", "request_active", 0);
}

#[test]
fn continuation_frames_without_end_end_the_connection() {
    let (mosn, _) = limited("Http2", json!({}));
    let before = mosn.resident();
    flood(&mosn, |turn| match turn {
        0 => RawFrame::new(1, 1, 1, *b"\x82\x86\x84").encode(),
        _ => RawFrame::new(9, 0, 1, [&b"\0\x01x\x7f\x81\x07"[..], &[b'x'; 262]].concat()).encode(),
    });
    mosn.metric_is("downstream.listener.in", "connection_active", 0);
    assert!(mosn.resident() < before + 4096, "{} KiB more", mosn.resident() - before);
    assert_eq!(mosn.ask("in", &Request::get("/direct")).status, 200);
}

#[test]
fn a_client_learns_how_many_streams_it_may_open() {
    let (mosn, _) = limited("Http2", json!({ "max_concurrent_streams": 7 }));
    let settings = http2(&mosn).frame_of(4, 0).unwrap().payload;
    let limit = settings.chunks(6).find(|entry| entry[..2] == [0, 3]).map(|entry| entry[5]);
    assert_eq!(limit, Some(7), "{settings:?}");
}

#[test]
fn a_header_that_comes_byte_by_byte_has_no_more_time_than_any_other() {
    let (mosn, _) = limited("Http1", json!({ "header_timeout": "300ms" }));
    let mut wire = mosn.wire("in");
    let mut writing = wire.twin();
    let dribbling = std::thread::spawn(move || {
        writing.send("GET /direct HTTP/1.1\r\nX: ").unwrap();
        while writing.send("x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut reply = Reply::default();
    wire.reply("GET", &mut reply).unwrap();
    assert_eq!(reply.status, 408);
    wire.closes();
    dribbling.join().unwrap();
}

#[test]
fn an_http_2_header_list_that_is_too_large_is_answered_431() {
    let (mosn, _) = limited("Http2", json!({ "max_header_size": 2000 }));
    assert_eq!(mosn.ask("in", &Request::get("/direct").with("x", &"x".repeat(1000))).status, 200);
    let mut client = mosn.client("in");
    assert_eq!(client.ask(&Request::get("/direct").with("x", &"x".repeat(3000))).status, 431);
    // The connection is none the worse for it.
    assert_eq!(client.ask(&Request::get("/direct")).status, 200);
}
