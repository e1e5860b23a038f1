//! Upstream connections: how many there are, and whose.

use mosn_tests::{Config, Http2Origin, Listener, Origin, Reply, Request, admin, echo_http2, to, until};
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
