//! Tries and further tries.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use mosn_tests::{Config, Http2Origin, Listener, Origin, Refusing, Request, admin, to, until};
use serde_json::{Value, json};

use crate::start;

/// One listener of each protocol, whose requests are retried like this; the cluster has these hosts.
fn retrying(policy: &Value, hosts: &[&str], breakers: &Value) -> Config {
    let route = || [to("/", "up", &json!({ "retry_policy": policy }))];
    Config::new()
        .listener(Listener::new("Http1", "Http1").routes(route()))
        .listener(Listener::new("Http2", "Http2").routes([to(
            "/",
            "up",
            &json!({ "retry_policy": policy, "upstream_protocol": "Http1" }),
        )]))
        .cluster_with("up", hosts, breakers)
}

fn unavailable() -> Origin {
    Origin::scripted("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", false)
}

/// Accepts, reads, and never answers.
fn frozen() -> Origin {
    Origin::scripted("", false)
}

#[test]
fn with_one_of_three_hosts_gone_nothing_fails() {
    let (gone, one, two) = (Refusing::new(), Origin::saying("one"), Origin::saying("two"));
    let policy = json!({ "retry_conditions": ["connect-failure"], "num_retries": 1 });
    let hosts = [&*gone.address(), &*one.address(), &*two.address()];
    let mosn = start(&retrying(&policy, &hosts, &json!({})));
    for listener in ["Http1", "Http2"] {
        let mut client = mosn.client(listener);
        for _ in 0..60 {
            assert_eq!(client.ask(&Request::get("/")).status, 200);
        }
    }
}

#[test]
fn with_one_of_three_hosts_frozen_nothing_fails() {
    let (frozen, one, two) = (frozen(), Origin::saying("one"), Origin::saying("two"));
    let policy = json!({ "retry_conditions": ["reset"], "num_retries": 1, "retry_timeout": "50ms" });
    let hosts = [&*frozen.address(), &*one.address(), &*two.address()];
    let mosn = start(&retrying(&policy, &hosts, &json!({})));
    for listener in ["Http1", "Http2"] {
        let mut client = mosn.client(listener);
        for _ in 0..12 {
            assert_eq!(client.ask(&Request::post("/", "x")).status, 200);
        }
    }
    assert!(frozen.log().connections() > 0);
}

#[test]
fn another_host_gets_what_one_could_not_do() {
    let (bad, good) = (unavailable(), Origin::saying("good"));
    let policy = json!({ "retry_conditions": ["gateway-error"], "num_retries": 1 });
    let mosn = start(&retrying(&policy, &[&bad.address(), &good.address()], &json!({})));
    for listener in ["Http1", "Http2"] {
        let mut client = mosn.client(listener);
        for _ in 0..10 {
            assert_eq!(client.ask(&Request::post("/", "body")).text(), "good");
        }
    }
    assert_eq!(good.log().requests().len(), 20);
    assert!(good.log().requests().iter().all(|seen| seen.body == b"body"));
    assert!(!bad.log().requests().is_empty());
}

#[test]
fn a_grpc_status_that_the_policy_names_is_tried_again() {
    let failed = Arc::new(AtomicBool::new(false));
    let origin = Http2Origin::new(move |mut exchange| {
        let status = if failed.swap(true, Relaxed) { "0" } else { "14" };
        async move {
            exchange.read().await?;
            let fields = [("content-type", "application/grpc"), ("grpc-status", status)];
            exchange.reply(200, &fields, true).map(drop)
        }
    });
    let policy = json!({ "retry_conditions": ["unavailable"] });
    let route = to("/", "up", &json!({ "retry_policy": policy }));
    let config = Config::new()
        .listener(Listener::new("in", "Http2").routes([route]))
        .cluster("up", &[&origin.address()]);
    let mosn = start(&config);
    let reply = mosn.ask("in", &Request::get("/s/m"));
    assert_eq!(reply.get("grpc-status"), Some("0"));
    assert_eq!(origin.log().requests().len(), 2);
}

#[test]
fn a_budget_of_nothing_lets_the_first_result_stand() {
    let bad = unavailable();
    let breakers = json!({
        "circuit_breakers": [{ "retry_budget": { "budget_percent": 0, "min_retry_concurrency": 0 } }],
    });
    let mosn = start(&retrying(&json!({ "retry_on": true }), &[&bad.address()], &breakers));
    assert_eq!(mosn.ask("Http1", &Request::get("/")).status, 503);
    assert_eq!(bad.log().requests().len(), 1);
    assert!(mosn.access_log("Http1", 1)[0].starts_with("503 0x80 "));
}

#[test]
fn a_body_longer_than_the_route_keeps_is_sent_once() {
    let bad = unavailable();
    let more = json!({ "retry_policy": { "retry_on": true }, "per_request_buffer_limit_bytes": 10 });
    let config = Config::new()
        .listener(Listener::new("in", "Http1").routes([to("/", "up", &more)]))
        .cluster("up", &[&bad.address()]);
    let mosn = start(&config);
    assert_eq!(mosn.ask("in", &Request::post("/", "0123456789")).status, 503);
    assert_eq!(bad.log().requests().len(), 4);
    assert_eq!(mosn.ask("in", &Request::post("/", "0123456789x")).status, 503);
    assert_eq!(bad.log().requests().len(), 5);
}

#[test]
fn a_frozen_host_is_found_out_and_then_costs_no_request_any_time() {
    let (frozen, one, two) = (frozen(), Origin::saying("one"), Origin::saying("two"));
    let policy = json!({ "retry_conditions": ["reset"], "num_retries": 1, "retry_timeout": "50ms" });
    let detection = json!({ "consecutive_5xx": 3, "base_ejection_time": "300s", "max_ejection_percent": 50 });
    let hosts = [&*frozen.address(), &*one.address(), &*two.address()];
    let mosn = start(&retrying(&policy, &hosts, &json!({ "outlier_detection": detection })));
    let mut client = mosn.client("Http1");
    for _ in 0..200 {
        assert_eq!(client.ask(&Request::post("/", "x")).status, 200);
    }
    assert_eq!(frozen.log().requests().len(), 3, "its third time limit was the last");
    assert_eq!(mosn.access_log("Http1", 200).len(), 200);
}

/// Reads, and answers what it is called once it is told to, unless its connection ends before that.
fn waiting(name: &'static str) -> (Origin, Arc<AtomicBool>, Arc<AtomicBool>) {
    let (go_on, given_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (told, noticed) = (Arc::clone(&go_on), Arc::clone(&given_up));
    let origin = Origin::new(move |exchange| {
        exchange.read()?;
        let mut twin = exchange.wire.twin();
        let noticed = Arc::clone(&noticed);
        std::thread::spawn(move || noticed.store(twin.rest().is_ok(), Relaxed));
        until("leave to answer", || told.load(Relaxed).then_some(()));
        exchange.reply(200, &[], name.as_bytes())
    });
    (origin, go_on, given_up)
}

#[test]
fn a_slow_host_is_not_waited_for_alone_and_the_first_answer_wins() {
    let policy = json!({ "retry_timeout": "100ms", "hedge_on_per_try_timeout": true });
    let log = json!([{ "log_format": "%response_code% %upstream_local_address% %upstream_tries% %upstream_hedges%" }]);
    for (protocol, body) in [("Http1", ""), ("Http1", "body"), ("Http2", "body")] {
        for winner in ["first", "second"] {
            let ((first, go_first, first_left), (second, go_second, second_left)) =
                (waiting("first"), waiting("second"));
            let more = json!({ "retry_policy": policy, "upstream_protocol": "Http1", "timeout": "30s" });
            let config = Config::new()
                .listener(
                    Listener::new("in", protocol)
                        .routes([to("/", "up", &more)])
                        .with("access_logs", log.clone()),
                )
                .cluster("up", &[&first.address(), &second.address()])
                .top("admin", admin());
            let mosn = start(&config);
            let client = std::thread::spawn({
                let mut client = mosn.client("in");
                move || client.ask(&Request::post("/", body))
            });
            // Both have it, and neither has answered.
            assert_eq!(first.log().nth(1).body, body.as_bytes());
            assert_eq!(second.log().nth(1).body, body.as_bytes());
            let (go, lost, loser) = match winner {
                "first" => (go_first, second_left, go_second),
                _ => (go_second, first_left, go_first),
            };
            go.store(true, Relaxed);
            assert_eq!(client.join().unwrap().text(), winner);
            until("the other to be cancelled", || lost.load(Relaxed).then_some(()));
            loser.store(true, Relaxed);
            let address = if winner == "first" { first.address() } else { second.address() };
            assert_eq!(mosn.access_log("in", 1)[0], format!("200 {address} 2 1"));
            mosn.metric_is("upstream.cluster.up", "request_hedge", 1);
            mosn.metric_is("upstream.cluster.up", "request_active", 0);
        }
    }
}
