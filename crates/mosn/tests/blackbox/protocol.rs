//! Which protocol a connection speaks, and how it changes.

use bytes::Bytes;
use mosn_tests::{
    Client, Config, Listener, PREFACE, RawFrame, Reply, Request, Wire, block_on, direct, echo_http1, route,
};
use serde_json::json;

use crate::{
    fixture::{Matrix, PAIRS},
    start,
};

fn auto() -> mosn_tests::Mosn {
    start(&Config::new().listener(Listener::new("in", "Auto").routes([direct("/", "hello")])))
}

#[test]
fn one_port_speaks_both_protocols() {
    let mosn = auto();
    for protocol in ["Http1", "Http2", "Http1"] {
        let reply = Client::connect(protocol, mosn.address("in")).ask(&Request::get("/"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "hello"), "{protocol}");
    }
}

#[test]
fn a_protocol_shows_even_byte_by_byte() {
    let mosn = auto();
    let mut wire = mosn.wire("in");
    // The method begins like HTTP/2's preface.
    for byte in b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" {
        wire.send([*byte]).unwrap();
    }
    let mut reply = Reply::default();
    wire.reply("PUT", &mut reply).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));

    let mut wire = mosn.wire("in");
    for byte in PREFACE.iter().chain(&RawFrame::get(1).encode()) {
        wire.send([*byte]).unwrap();
    }
    assert_eq!(wire.frame_of(0, 1).unwrap().payload, b"hello");
}

#[test]
fn bytes_of_no_protocol_end_the_connection() {
    let mosn = auto();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0\0"[..],
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut wire = mosn.wire("in");
        wire.send(bytes).unwrap();
        wire.patience(std::time::Duration::from_secs(5));
        let rest = wire.rest();
        let refused = rest.as_ref().is_ok_and(|rest| rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"))
            || rest.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(refused, "{bytes:?}: {rest:?}");
    }
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
}

#[test]
fn an_http_1_connection_upgrades_to_http_2_and_goes_on() {
    for protocol in ["Http1", "Auto"] {
        let mosn =
            start(&Config::new().listener(Listener::new("in", protocol).routes([direct("/", "hello")])));
        let mut wire = mosn.wire("in");
        wire.send(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
        .unwrap();
        let head = wire.head().unwrap().unwrap();
        assert_eq!((head.status(), head.fields.get("upgrade")), (101, Some("h2c")), "{protocol}");
        wire.send(PREFACE).unwrap();
        assert_eq!(
            wire.frame_of(0, 1).unwrap().payload,
            b"hello",
            "{protocol}: the first request is stream 1"
        );
        wire.send(RawFrame::get(3).encode()).unwrap();
        assert_eq!(wire.frame_of(0, 3).unwrap().payload, b"hello", "{protocol}");
    }
}

#[test]
fn an_upgrade_to_anything_else_is_not_the_proxys_to_make() {
    let origin = echo_http1();
    let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
    let mut wire = mosn.wire("in");
    // An h2c upgrade without the settings that it needs is an ordinary request.
    wire.send("GET /bytes/3 HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").unwrap();
    let head = wire.head().unwrap().unwrap();
    assert_ne!(head.status(), 101);
}

#[test]
fn a_websocket_tunnel_opens_in_every_combination() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        match matrix.mosn.client(pair.0) {
            Client::Http1(mut wire) => http1_tunnel(&mut wire, pair),
            Client::Http2(client) => {
                let mut request =
                    Request::get("/ws").with("x-up", pair.1).with("sec-websocket-version", "13");
                request.method = "CONNECT".into();
                block_on(async {
                    let under_way = client.start(&request, Some("websocket")).await.unwrap();
                    let mut send = under_way.send.unwrap();
                    let response = under_way.response.await.unwrap();
                    assert_eq!(response.status(), 200, "{pair:?}");
                    let mut recv = response.into_body();
                    for message in ["one", "two"] {
                        send.send_data(Bytes::from_static(message.as_bytes()), false).unwrap();
                        assert_eq!(recv.data().await.unwrap().unwrap(), message, "{pair:?}");
                    }
                    send.send_data(Bytes::new(), true).unwrap();
                    while let Some(data) = recv.data().await {
                        assert!(data.is_ok_and(|data| data.is_empty()), "{pair:?}");
                    }
                });
            }
        }
    }
}

fn http1_tunnel(wire: &mut Wire, pair: (&str, &str)) {
    wire.send(format!(
        "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx-up: {}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        pair.1
    ))
    .unwrap();
    let head = wire.head().unwrap().unwrap();
    assert_eq!(head.status(), 101, "{pair:?}: {head:?}");
    assert_eq!(head.fields.get("upgrade"), Some("websocket"), "{pair:?}");
    assert!(
        head.fields.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")),
        "{pair:?}"
    );
    if pair.1 == "Http2" {
        // The proxy answers for the upstream, which was never given a key (RFC 6455 1.3).
        assert_eq!(head.fields.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
    for message in ["one", "two", "three"] {
        wire.send(message).unwrap();
        assert_eq!(wire.take(message.len()).unwrap(), message.as_bytes(), "{pair:?}");
    }
    wire.finish();
    assert_eq!(wire.rest().unwrap(), b"", "{pair:?}");
}

#[test]
fn an_upgrade_that_the_upstream_refuses_ends_as_an_ordinary_reply() {
    let origin = mosn_tests::Origin::saying("no");
    let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
    let mut wire = mosn.wire("in");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    wire.send(upgrade).unwrap();
    let mut reply = Reply::default();
    wire.reply("GET", &mut reply).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "no"));
    wire.request(&Request::get("/")).unwrap();
    wire.reply("GET", &mut Reply::default()).unwrap();
}

#[test]
fn connect_without_a_protocol_is_not_implemented() {
    let everything = route(&json!({}), &json!({ "route": { "cluster_name": "up" } }));
    let mosn = start(
        &Config::new()
            .listener(Listener::new("in", "Http1").routes([everything]))
            .cluster("up", &[&echo_http1().address()]),
    );
    let mut wire = mosn.wire("in");
    wire.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").unwrap();
    let mut reply = Reply::default();
    wire.reply("CONNECT", &mut reply).unwrap();
    assert_eq!(reply.status, 501);
    assert!(mosn.access_log("in", 1)[0].starts_with("501 0x0 not_implemented "));
}

#[test]
fn what_a_client_sends_ahead_of_the_switch_belongs_to_the_tunnel() {
    let origin = echo_http1();
    let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
    let mut wire = mosn.wire("in");
    wire.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly",
    )
    .unwrap();
    assert_eq!(wire.head().unwrap().unwrap().status(), 101);
    assert_eq!(wire.take(5).unwrap(), b"early");
    wire.send("later").unwrap();
    assert_eq!(wire.take(5).unwrap(), b"later");
}
