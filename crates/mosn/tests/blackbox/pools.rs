//! Upstream connections: how many there are, and whose.

use std::{io::Read as _, net::TcpListener};

use mosn_tests::{
    BlackHole, Config, Http2Origin, Listener, Origin, Refusing, Reply, Request, admin, echo_http2, to, until,
};
use serde_json::json;

use crate::{fixture::forwarding, start};

#[test]
fn with_one_worker_two_downstream_connections_share_one_upstream_connection() {
    let origin = Origin::saying("ok");
    let mosn = start(&forwarding(&[&origin.address()]));
    let (mut one, mut two) = (mosn.client("in"), mosn.client("in"));
    for _ in 0..5 {
        assert_eq!(one.ask(&Request::get("/")).status, 200);
        assert_eq!(two.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(origin.log().connections(), 1);
}

#[test]
fn light_traffic_stays_on_one_of_two_workers() {
    let origin = Origin::saying("ok");
    let mosn = start(&forwarding(&[&origin.address()]).workers(2).top("admin", admin()));
    for index in 1..=10 {
        assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
        // The worker has seen the connection go before the next one comes.
        mosn.metric_is("downstream.listener.in", "connection_destroy", index);
    }
    assert_eq!(origin.log().connections(), 1);
}

#[test]
fn two_workers_share_connections_that_stay() {
    let origin = Origin::saying("ok");
    for reuseport in [false, true] {
        let listener = Listener::new("in", "Http1")
            .routes([to("/", "up", &json!({}))])
            .with("reuseport", json!(reuseport));
        let mosn = start(&Config::new().listener(listener).cluster("up", &[&origin.address()]).workers(2));
        let mut clients: Vec<_> = (0..16).map(|_| mosn.client("in")).collect();
        for client in &mut clients {
            assert_eq!(client.ask(&Request::get("/")).status, 200);
        }
    }
    // One upstream connection for each worker, for requests that come one after the other; where the
    // kernel chooses the worker, all sixteen on one are as likely as heads sixteen times in a row.
    assert_eq!(origin.log().connections(), 4);
}

#[test]
fn requests_at_the_same_time_share_one_http_2_connection() {
    let origin = echo_http2();
    let listener =
        Listener::new("in", "Http1").routes([to("/", "up", &json!({ "upstream_protocol": "Http2" }))]);
    let mosn = start(&Config::new().listener(listener).cluster("up", &[&origin.address()]));
    let mut wires: Vec<_> = (0..10).map(|_| mosn.wire("in")).collect();
    for wire in &mut wires {
        wire.request(&Request::get("/bytes/10")).unwrap();
    }
    for wire in &mut wires {
        let mut reply = Reply::default();
        wire.reply("GET", &mut reply).unwrap();
        assert_eq!(reply.status, 200);
    }
    assert_eq!(origin.log().connections(), 1);
}

#[test]
fn each_worker_has_an_http_2_connection_whatever_the_limit() {
    let origin = echo_http2();
    let listener = Listener::new("in", "Http1")
        .routes([to("/", "up", &json!({ "upstream_protocol": "Http2" }))])
        .with("reuseport", json!(true));
    let limits = json!({ "circuit_breakers": [{ "max_connections": 1 }] });
    let mosn =
        start(&Config::new().listener(listener).cluster_with("up", &[&origin.address()], &limits).workers(2));
    // All sixteen on one worker are as likely as heads sixteen times in a row.
    for _ in 0..16 {
        assert_eq!(mosn.client("in").ask(&Request::get("/bytes/10")).status, 200);
    }
    assert_eq!(origin.log().connections(), 2);
}

#[test]
fn after_goaway_the_next_request_takes_another_connection() {
    let origin = Http2Origin::new(|mut exchange| async move {
        exchange.read().await?;
        exchange.leave();
        exchange.reply(200, &[], true).map(drop)
    });
    let listener =
        Listener::new("in", "Http1").routes([to("/", "up", &json!({ "upstream_protocol": "Http2" }))]);
    let mosn = start(&Config::new().listener(listener).cluster("up", &[&origin.address()]));
    let mut client = mosn.client("in");
    for index in 0..5 {
        // Not idempotent: it may not be sent twice on the chance that the first was not seen.
        assert_eq!(client.ask(&Request::post("/", "x")).status, 200, "{index}");
    }
    assert_eq!(origin.log().requests().len(), 5);
    assert!(origin.log().connections() > 1);
}

#[test]
fn an_upstream_that_wants_its_connection_closed_gets_a_new_one_each_time() {
    let origin =
        Origin::scripted("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", true);
    let mosn = start(&forwarding(&[&origin.address()]));
    let mut client = mosn.client("in");
    for _ in 0..5 {
        let reply = client.ask(&Request::post("/", "x"));
        // The upstream's wish is not the client's.
        assert_eq!((reply.status, reply.get("connection")), (200, None));
    }
    assert_eq!(origin.log().connections(), 5);
}

#[test]
fn an_upstream_connection_that_idles_too_long_is_closed() {
    let origin = Origin::new(|exchange| {
        exchange.read()?;
        exchange.reply(200, &[], b"ok")
    });
    let config = Config::new()
        .listener(Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]))
        .cluster_with("up", &[&origin.address()], &json!({ "idle_timeout": "100ms" }))
        .top("admin", admin());
    let mosn = start(&config);
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
    until("the pool to let go", || {
        (mosn.metric("upstream.cluster.up", "connection_active") == Some(0)).then_some(())
    });
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
    assert_eq!(origin.log().connections(), 2);
}

/// A listener that sends everything to a cluster with these keys.
fn with(host: &str, more: &serde_json::Value) -> Config {
    let listener = Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]);
    Config::new().listener(listener).cluster_with("up", &[host], more).top("admin", admin())
}

#[test]
fn a_connection_is_replaced_after_as_many_requests_as_allowed() {
    let origin = Origin::saying("ok");
    let mosn = start(&with(&origin.address(), &json!({ "max_request_per_conn": 2 })));
    let mut client = mosn.client("in");
    for _ in 0..6 {
        assert_eq!(client.ask(&Request::get("/")).status, 200);
    }
    assert_eq!(origin.log().connections(), 3);
}

#[test]
fn a_connection_is_replaced_when_it_is_old() {
    let origin = Origin::saying("ok");
    let mosn = start(&with(&origin.address(), &json!({ "max_connection_duration": "50ms" })));
    let mut client = mosn.client("in");
    until("another connection", || {
        assert_eq!(client.ask(&Request::get("/")).status, 200);
        (origin.log().connections() > 2).then_some(())
    });
}

#[test]
fn clusters_that_ask_the_same_of_a_host_share_its_connections_unless_told_otherwise() {
    for (more, expected) in [
        (json!({}), 1),
        (json!({ "cluster_pool_enable": true }), 2),
        (json!({ "idle_timeout": "5m" }), 2),
        (json!({ "circuit_breakers": [{ "max_connections": 9 }] }), 2),
    ] {
        let origin = Origin::saying("ok");
        let listener =
            Listener::new("in", "Http1").routes([to("/a", "a", &json!({})), to("/b", "b", &json!({}))]);
        let config = Config::new().listener(listener).cluster("a", &[&origin.address()]).cluster_with(
            "b",
            &[&origin.address()],
            &more,
        );
        let mosn = start(&config);
        let mut client = mosn.client("in");
        for path in ["/a", "/b", "/a", "/b"] {
            assert_eq!(client.ask(&Request::get(path)).status, 200);
        }
        assert_eq!(origin.log().connections(), expected, "{more}");
    }
}

#[test]
fn no_more_requests_wait_for_a_connection_than_allowed() {
    let hole = BlackHole::new();
    let more = json!({ "circuit_breakers": [{ "max_pending_requests": 1 }], "connect_timeout": "60s" });
    let mosn = start(&with(&hole.address(), &more));
    let mut waiting = mosn.wire("in");
    waiting.request(&Request::get("/")).unwrap();
    mosn.metric_is("downstream.proxy.global", "request_active", 1);
    until("the second to be refused", || (mosn.ask("in", &Request::get("/")).status == 503).then_some(()));
    mosn.metric_is("upstream.cluster.up", "request_pending_overflow", 1);
}

#[test]
fn upstream_sockets_are_bound_where_they_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mosn = start(&with(&address, &json!({ "bind_address": "127.0.0.9" })));
    let mut wire = mosn.wire("in");
    wire.request(&Request::get("/")).unwrap();
    let (mut stream, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.9");
    assert!(stream.read(&mut [0; 64]).unwrap() > 0);
}

#[test]
fn a_host_that_refuses_connections_is_left_alone_for_a_while() {
    let refusing = Refusing::new();
    let mosn = start(&with(&refusing.address(), &json!({})));
    let mut client = mosn.client("in");
    for _ in 0..100 {
        assert_eq!(client.ask(&Request::get("/")).status, 502);
    }
    let tried = mosn.metric("upstream.cluster.up", "connection_con_fail").unwrap();
    assert!((3..100).contains(&tried), "{tried}");
}
