//! Copies of requests.

use mosn_tests::{BlackHole, Config, Listener, Mosn, Origin, Request, admin, echo_http1, route};
use serde_json::{Value, json};

use crate::start;

/// All requests go to `main` and are copied to `mirrors`, by a filter with these settings.
fn mirroring(filter: &Value, route: Value, main: &Origin, mirrors: &[&str]) -> Mosn {
    let filters = json!([{ "type": "mirror", "config": filter }]);
    let listener = Listener::new("in", "Http1").routes([route]).with("stream_filters", filters);
    start(
        &Config::new()
            .listener(listener)
            .cluster("main", &[&main.address()])
            .cluster("mirror", mirrors)
            .top("admin", admin()),
    )
}

fn copied(percent: u32) -> Value {
    route(
        &json!({ "prefix": "/" }),
        &json!({
            "route": { "cluster_name": "main", "prefix_rewrite": "/v1/" },
            "request_mirror_policies": { "cluster": "mirror", "percent": percent },
        }),
    )
}

#[test]
fn the_mirror_gets_what_the_upstream_gets() {
    let (main, mirror) =
        (echo_http1(), Origin::scripted("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false));
    let mosn = mirroring(&json!({}), copied(100), &main, &[&mirror.address()]);
    let mut client = mosn.client("in");
    for count in 1..=5 {
        let reply = client.ask(&Request::post("/a?q=1", "body").with("x-a", "1"));
        assert_eq!(reply.status, 200);
        let (copy, seen) = (mirror.log().nth(count), main.log().nth(count));
        assert_eq!(
            (copy.path.as_str(), copy.get("x-a"), &copy.body[..]),
            ("/v1/a?q=1", Some("1"), &b"body"[..])
        );
        assert_eq!((copy.authority, copy.fields), (seen.authority, seen.fields));
    }
    assert_eq!(mosn.metric("downstream.listener.in", "request_mirror"), Some(5));
    mosn.metric_is("upstream.cluster.mirror", "response_failed", 5);
    mosn.metric_is("upstream.cluster.mirror", "request_active", 0);
    assert_eq!(mirror.log().connections(), 1, "connections are kept");
}

#[test]
fn amplification_sends_as_many_copies() {
    let (main, mirror) = (echo_http1(), echo_http1());
    let mosn = mirroring(&json!({ "amplification": 3 }), copied(100), &main, &[&mirror.address()]);
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
    let _ = mirror.log().nth(3);
    mosn.metric_is("upstream.cluster.mirror", "request_active", 0);
    assert_eq!((mirror.log().requests().len(), main.log().requests().len()), (3, 1));
}

#[test]
fn broadcast_reaches_every_host_and_is_answered_200() {
    let (main, one, two) = (echo_http1(), echo_http1(), echo_http1());
    let mosn =
        mirroring(&json!({ "broadcast": true }), copied(100), &main, &[&one.address(), &two.address()]);
    let reply = mosn.ask("in", &Request::post("/", "news"));
    assert_eq!((reply.status, reply.text().as_str()), (200, ""));
    assert_eq!((one.log().nth(1).body, two.log().nth(1).body), (b"news".to_vec(), b"news".to_vec()));
    assert!(main.log().requests().is_empty());
}

#[test]
fn a_mirror_that_cannot_be_reached_costs_nothing() {
    let (main, hole) = (echo_http1(), BlackHole::new());
    let mosn = mirroring(&json!({}), copied(100), &main, &[&hole.address()]);
    let mut client = mosn.client("in");
    let begun = std::time::Instant::now();
    for _ in 0..300 {
        assert_eq!(client.ask(&Request::post("/", "x")).status, 200);
    }
    assert!(begun.elapsed().as_secs() < 9, "the connect timeout of the copies is 10 s");
    let listener = "downstream.listener.in";
    assert_eq!(mosn.metric(listener, "request_mirror"), Some(256));
    assert_eq!(mosn.metric(listener, "request_mirror_dropped"), Some(44));
}

#[test]
fn without_the_filter_or_a_share_nothing_is_copied() {
    let (main, mirror) = (echo_http1(), echo_http1());
    let mosn = mirroring(&json!({}), copied(0), &main, &[&mirror.address()]);
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
    let config = Config::new()
        .listener(Listener::new("in", "Http1").routes([copied(100)]))
        .cluster("main", &[&main.address()])
        .cluster("mirror", &[&mirror.address()])
        .top("admin", admin());
    let plain = start(&config);
    assert_eq!(plain.ask("in", &Request::get("/")).status, 200);
    for mosn in [mosn, plain] {
        assert_eq!(mosn.metric("downstream.listener.in", "request_mirror"), Some(0));
    }
    assert!(mirror.log().requests().is_empty());
}
