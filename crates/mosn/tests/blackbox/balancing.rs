//! Which host takes a request.

use mosn_tests::{Config, Listener, Mosn, Origin, Request, to};
use serde_json::{Value, json};

use crate::start;

/// Hosts that say who they are, with these keys each.
fn hosts(each: &[Value]) -> (Vec<Origin>, Value) {
    let origins: Vec<Origin> = (0..each.len()).map(|index| Origin::saying(&index.to_string())).collect();
    let hosts = origins.iter().zip(each).map(|(origin, more)| {
        let mut host = json!({ "address": origin.address() });
        host.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        host
    });
    let hosts = hosts.collect();
    (origins, hosts)
}

/// How many of `count` requests each of `hosts` hosts took.
#[track_caller]
fn shares(mosn: &Mosn, path: &str, count: usize, hosts: usize) -> Vec<usize> {
    let mut client = mosn.client("in");
    let mut shares = vec![0; hosts];
    for _ in 0..count {
        let reply = client.ask(&Request::get(path));
        assert_eq!(reply.status, 200);
        shares[reply.text().parse::<usize>().unwrap()] += 1;
    }
    shares
}

fn balancing(lb_type: &str, hosts: &Value, more: Value) -> Mosn {
    let mut cluster = json!({ "lb_type": lb_type, "hosts": hosts });
    cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let listener = Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]);
    start(&Config::new().listener(listener).cluster_with("up", &[], &cluster))
}

#[test]
fn weighted_turns_are_exact() {
    let (_origins, hosts) = hosts(&[json!({ "weight": 1 }), json!({ "weight": 2 }), json!({ "weight": 3 })]);
    let mosn = balancing("LB_WEIGHTED_ROUNDROBIN", &hosts, json!({}));
    assert_eq!(shares(&mosn, "/", 60, 3), [10, 20, 30]);
}

#[test]
fn request_round_robin_starts_each_request_with_the_first_host() {
    let (_origins, hosts) = hosts(&[json!({}), json!({})]);
    let mosn = balancing("LB_REQUEST_ROUNDROBIN", &hosts, json!({}));
    assert_eq!(shares(&mosn, "/", 10, 2), [10, 0]);
}

#[test]
fn every_balancer_uses_every_host() {
    for lb_type in [
        "LB_RANDOM",
        "LB_ROUNDROBIN",
        "LB_LEAST_REQUEST",
        "LB_MAGLEV",
        "LB_LEAST_CONNECTION",
        "LB_PEAK_EWMA",
        "LB_WEIGHTED_RANDOM",
        "LB_RING_HASH",
    ] {
        let (_origins, hosts) = hosts(&[json!({}), json!({}), json!({})]);
        let mosn = balancing(lb_type, &hosts, json!({ "lbconfig": { "choice_count": 2 } }));
        let shares = shares(&mosn, "/", 60, 3);
        assert!(shares.iter().all(|&share| share > 0), "{lb_type} {shares:?}");
    }
}

#[test]
fn a_route_finds_its_subset_or_what_the_policy_says() {
    let labels = |version: &str, zone: &str| json!({ "metadata": { "filter_metadata": { "mosn.lb": { "version": version, "zone": zone } } } });
    let ask = |labels: Value| json!({ "metadata_match": { "filter_metadata": { "mosn.lb": labels } } });
    for (policy, other) in [(0, 502), (1, 200), (2, 200)] {
        let (_origins, hosts) = hosts(&[labels("v1", "a"), labels("v1", "b"), labels("v2", "a")]);
        let cluster = json!({
            "hosts": hosts,
            "lb_subset_config": {
                "fall_back_policy": policy,
                "default_subset": { "version": "v2" },
                "subset_selectors": [["version"], ["version", "zone"]],
            },
        });
        let listener = Listener::new("in", "Http1").routes([
            to("/v1", "up", &ask(json!({ "version": "v1" }))),
            to("/b", "up", &ask(json!({ "zone": "b", "version": "v1" }))),
            to("/zone", "up", &ask(json!({ "zone": "a" }))),
            to("/", "up", &json!({})),
        ]);
        let config = Config::new().listener(listener).cluster_with("up", &[], &cluster);
        let mosn = start(&config);
        assert_eq!(shares(&mosn, "/", 6, 3), [2, 2, 2]);
        assert_eq!(shares(&mosn, "/v1", 6, 3), [3, 3, 0]);
        assert_eq!(shares(&mosn, "/b", 3, 3), [0, 3, 0]);
        let reply = mosn.ask("in", &Request::get("/zone"));
        assert_eq!(reply.status, other, "{policy}");
        if policy == 2 {
            assert_eq!(reply.text(), "2");
        }
    }
}

#[test]
fn a_request_may_say_where_it_goes() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let cluster = |more: Value| json!({ "type": "ORIGINAL_DST", "lb_type": "LB_ORIGINAL_DST", "original_dst_lb_config": more });
    let listener = Listener::new("in", "Http1").routes([
        to("/local", "local", &json!({})),
        to("/host", "host", &json!({})),
        to("/", "header", &json!({})),
    ]);
    let header = cluster(json!({ "use_header": true, "header_name": "X-Target" }));
    let local = cluster(json!({ "use_header": true, "header_name": "x-target", "replace_local": true }));
    let host = cluster(json!({ "use_header": true }));
    let config = Config::new()
        .listener(listener)
        .cluster_with("header", &[], &header)
        .cluster_with("local", &[], &local)
        .cluster_with("host", &[], &host);
    let mosn = start(&config);
    let said = |request: Request| {
        let reply = mosn.ask("in", &request);
        if reply.status == 200 { reply.text() } else { reply.status.to_string() }
    };
    for (origin, name) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        assert_eq!(said(Request::get("/").with("x-target", &origin.address())), name);
        assert_eq!(said(Request::get("/host").to(&origin.address())), name);
    }
    let port = two.address().rsplit(':').next().unwrap().to_owned();
    assert_eq!(said(Request::get("/local").with("x-target", &format!("10.1.2.3:{port}"))), "two");
    assert_eq!(said(Request::get("/")), "502");
    for target in ["unix:/tmp/x", "a b", "127.0.0.1:0", ""] {
        assert_eq!(said(Request::get("/").with("x-target", target)), "502", "{target}");
    }
    // Connections are kept and shared as to any host.
    assert_eq!(one.log().connections(), 1);
}
