//! Where requests go, and what is done to them on the way.

use mosn_tests::{Config, Listener, Mosn, Origin, Request, direct, echo_http1, echo_http2, route, to};
use serde_json::{Value, json};

use crate::start;

fn says(body: &str) -> Value {
    json!({ "direct_response": { "status": 200, "body": body } })
}

#[track_caller]
fn said(mosn: &Mosn, request: Request) -> String {
    let reply = mosn.ask("in", &request);
    if reply.status == 200 { reply.text() } else { reply.status.to_string() }
}

#[test]
fn the_host_chooses_the_virtual_host_in_both_protocols() {
    for protocol in ["Http1", "Http2"] {
        let listener = Listener::new("in", protocol)
            .virtual_host(&["www.a.com"], [direct("/", "exact")])
            .virtual_host(&["www.b.com:*"], [direct("/", "any port")])
            .virtual_host(&["*.a.com"], [direct("/", "suffix")])
            .virtual_host(&["*.com"], [direct("/", "wider")])
            .virtual_host(&["*"], [direct("/", "default")]);
        let mosn = start(&Config::new().listener(listener));
        for (host, body) in [
            ("www.a.com", "exact"),
            ("WWW.a.com", "exact"),
            ("www.a.com:8080", "default"),
            ("www.b.com:8080", "any port"),
            ("x.a.com", "suffix"),
            ("x.y.a.com", "suffix"),
            ("x.c.com", "wider"),
            ("x.org", "default"),
        ] {
            assert_eq!(said(&mosn, Request::get("/").to(host)), body, "{protocol} {host}");
        }
    }
}

#[test]
fn the_first_route_that_matches_takes_the_request() {
    let method = |name: &str| json!({ "prefix": "/m", "headers": [{ "name": "method", "value": name }] });
    let header = |value: &str, regex: bool| json!({ "prefix": "/h", "headers": [{ "name": "x-color", "value": value, "regex": regex }] });
    let listener = Listener::new("in", "Http1").routes([
        route(&json!({ "path": "/Exact" }), &says("path")),
        route(&json!({ "regex": "^/r/[0-9]+$" }), &says("regex")),
        route(&header("red", false), &says("red")),
        route(&header("^b.*e$", true), &says("bluish")),
        route(&method("POST"), &says("post")),
        route(&json!({ "prefix": "/Pre" }), &says("prefix")),
        route(&json!({ "prefix": "/Prefix" }), &says("never")),
    ]);
    let mosn = start(&Config::new().listener(listener));
    for (request, body) in [
        (Request::get("/exact?q=1"), "path"),
        (Request::get("/exact/more"), "404"),
        (Request::get("/r/12"), "regex"),
        (Request::get("/r/12a"), "404"),
        (Request::get("/h").with("X-Color", "red"), "red"),
        (Request::get("/h").with("x-color", "blue"), "bluish"),
        (Request::get("/h").with("x-color", "green"), "404"),
        (Request::post("/m", "x"), "post"),
        (Request::get("/m"), "404"),
        (Request::get("/Prefix/x"), "prefix"),
        (Request::get("/pre"), "404"),
    ] {
        assert_eq!(said(&mosn, request.clone()), body, "{} {}", request.method, request.path);
    }
}

#[test]
fn weights_divide_the_requests() {
    let origins = ["light", "heavy"].map(Origin::saying);
    let weighted = json!([
        { "cluster": { "name": "light", "weight": 10 } },
        { "cluster": { "name": "heavy", "weight": 30 } },
    ]);
    let routes = [route(&json!({ "prefix": "/" }), &json!({ "route": { "weighted_clusters": weighted } }))];
    let mosn = start(
        &Config::new()
            .listener(Listener::new("in", "Http1").routes(routes))
            .cluster("light", &[&origins[0].address()])
            .cluster("heavy", &[&origins[1].address()]),
    );
    let mut client = mosn.client("in");
    let mut light = 0;
    for _ in 0..400 {
        let body = client.ask(&Request::get("/")).text();
        assert!(body == "light" || body == "heavy", "{body}");
        light += usize::from(body == "light");
    }
    // A quarter of 400 with a standard deviation under 9: seven of them leave no room for chance.
    assert!((40..=160).contains(&light), "{light} of 400");
}

#[test]
fn hosts_of_a_cluster_take_turns() {
    let origins = [Origin::saying("0"), Origin::saying("1"), Origin::saying("2")];
    let addresses: Vec<String> = origins.iter().map(Origin::address).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mosn = start(&crate::fixture::forwarding(&addresses));
    let mut client = mosn.client("in");
    let bodies: Vec<String> = (0..9).map(|_| client.ask(&Request::get("/")).text()).collect();
    for host in ["0", "1", "2"] {
        assert_eq!(bodies.iter().filter(|body| *body == host).count(), 3, "{bodies:?}");
    }
}

#[test]
fn a_redirect_keeps_what_it_does_not_replace() {
    let redirect = |more: Value| json!({ "redirect": more });
    let listener = Listener::new("in", "Http1").routes([
        route(
            &json!({ "prefix": "/o" }),
            &redirect(json!({ "path_redirect": "/n", "scheme_redirect": "https" })),
        ),
        route(
            &json!({ "prefix": "/h" }),
            &redirect(json!({ "host_redirect": "b.test", "response_code": 307 })),
        ),
    ]);
    let mosn = start(&Config::new().listener(listener));
    let reply = mosn.ask("in", &Request::get("/o?x=1").to("h:80"));
    assert_eq!((reply.status, reply.get("location")), (301, Some("https://h/n?x=1")));
    let reply = mosn.ask("in", &Request::get("/h/a?x=1").to("a.test:8080"));
    assert_eq!(reply.status, 307);
    let location = reply.get("location").unwrap();
    assert!(location.starts_with("http://b.test") && location.ends_with("/h/a?x=1"), "{location}");
}

#[test]
fn a_direct_response_has_the_configured_status_and_body_and_head_only_its_length() {
    for protocol in ["Http1", "Http2"] {
        let teapot = json!({ "direct_response": { "status": 418, "body": "short and stout" } });
        let mosn = start(
            &Config::new()
                .listener(Listener::new("in", protocol).routes([route(&json!({ "prefix": "/" }), &teapot)])),
        );
        let mut client = mosn.client("in");
        let reply = client.ask(&Request::get("/"));
        assert_eq!((reply.status, reply.text().as_str()), (418, "short and stout"), "{protocol}");
        let reply = client.ask(&Request::new("HEAD", "/"));
        assert_eq!((reply.status, reply.get("content-length")), (418, Some("15")), "{protocol}");
        let reply = client.ask(&Request::post("/", vec![b'x'; 100_000]));
        assert_eq!(reply.status, 418, "{protocol}");
    }
}

fn add(key: &str, value: &str, append: bool) -> Value {
    json!({ "header": { "key": key, "value": value }, "append": append })
}

#[test]
fn header_fields_are_added_and_removed_by_route_and_virtual_host() {
    for up in ["Http1", "Http2"] {
        let (http1, http2) = (echo_http1(), echo_http2());
        let (address, log) = match up {
            "Http1" => (http1.address(), http1.log()),
            _ => (http2.address(), http2.log()),
        };
        let action = json!({
            "upstream_protocol": up,
            "request_headers_to_add": [
                add("k", "v1", true), add("x-path", "%x-mosn-path%", true), add("x-foo", "%request_header_foo%", true),
            ],
            "request_headers_to_remove": ["x-secret"],
            "response_headers_to_add": [add("x-served-by", "mosn", true)],
            "response_headers_to_remove": ["etag"],
        });
        let listener = Listener::new("in", "Http1").routes([to("/", "up", &action)]).virtual_host_with(
            &json!({ "request_headers_to_add": [add("k", "v2", true), add("only", "new", false)] }),
        );
        let mosn = start(&Config::new().listener(listener).cluster("up", &[&address]));
        let request = Request::get("/status/200")
            .with("k", "v0")
            .with("only", "old")
            .with("foo", "bar")
            .with("x-secret", "1");
        let reply = mosn.ask("in", &request);
        assert_eq!((reply.get("x-served-by"), reply.get("etag")), (Some("mosn"), None), "{up}");
        let seen = log.nth(1);
        assert_eq!(seen.fields.all("k").join(","), "v0,v1,v2", "{up}");
        assert_eq!(seen.fields.all("only"), ["new"], "{up}");
        assert_eq!(seen.get("x-path"), Some("/status/200"), "{up}");
        assert_eq!(seen.get("x-foo"), Some("bar"), "{up}");
        assert_eq!(seen.get("x-secret"), None, "{up}");
    }
}

#[test]
fn paths_and_hosts_are_rewritten_on_the_way_up() {
    let origin = echo_http1();
    let regex = json!({ "regex_rewrite": {
        "pattern": { "regex": "^/user/([0-9]+)$" }, "substitution": "/id/$1",
    } });
    let listener = Listener::new("in", "Http1").routes([
        to("/a", "up", &json!({ "prefix_rewrite": "/b", "host_rewrite": "inner.test" })),
        to("/user", "up", &regex),
        to("/by-header", "up", &json!({ "auto_host_rewrite_header": "x-host" })),
    ]);
    let mosn = start(&Config::new().listener(listener).cluster("up", &[&origin.address()]));
    mosn.ask("in", &Request::get("/a/x?q=1"));
    let seen = origin.log().nth(1);
    assert_eq!((seen.path.as_str(), seen.authority.as_str()), ("/b/x?q=1", "inner.test"));
    assert_eq!(seen.get("x-mosn-original-path"), Some("/a/x"));
    assert_eq!(seen.fields.all("host").len(), 1);
    mosn.ask("in", &Request::get("/user/42"));
    assert_eq!(origin.log().nth(2).path, "/id/42");
    mosn.ask("in", &Request::get("/by-header").with("x-host", "chosen.test"));
    assert_eq!(origin.log().nth(3).authority, "chosen.test");
}

#[test]
fn a_status_that_the_policy_names_is_tried_again() {
    let origin = Origin::scripted("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false);
    let retry = |more: Value| json!({ "retry_policy": more });
    let listener = Listener::new("in", "Http1").routes([
        to("/all", "up", &retry(json!({ "retry_on": true, "num_retries": 1 }))),
        to("/503", "up", &retry(json!({ "retry_on": true, "num_retries": 1, "status_codes": [503] }))),
    ]);
    let mosn = start(&Config::new().listener(listener).cluster("up", &[&origin.address()]));
    assert_eq!(mosn.ask("in", &Request::get("/all")).status, 500);
    // Fewer than three retries count as three.
    assert_eq!(origin.log().requests().len(), 4);
    assert_eq!(mosn.ask("in", &Request::get("/503")).status, 500);
    assert_eq!(origin.log().requests().len(), 5);
}

#[test]
fn a_body_is_sent_again_with_its_request() {
    let failed = std::sync::atomic::AtomicBool::new(false);
    let origin = Origin::new(move |exchange| {
        let body = exchange.read()?;
        let first = !failed.swap(true, std::sync::atomic::Ordering::Relaxed);
        exchange.reply(if first { 503 } else { 200 }, &[], &body)
    });
    let listener = Listener::new("in", "Http1").routes([to(
        "/",
        "up",
        &json!({
            "retry_policy": { "retry_on": true, "num_retries": 3 },
        }),
    )]);
    let mosn = start(&Config::new().listener(listener).cluster("up", &[&origin.address()]));
    let reply = mosn.ask("in", &Request::post("/", "once more"));
    assert_eq!((reply.status, reply.text().as_str()), (200, "once more"));
    assert_eq!(origin.log().requests().len(), 2);
}

/// One route that matches so, and a last one that takes the rest.
fn matching(protocol: &str, matches: &Value) -> Mosn {
    let listener = Listener::new("in", protocol).routes([route(matches, &says("yes")), direct("/", "no")]);
    start(&Config::new().listener(listener))
}

#[test]
fn header_and_query_rules_take_what_they_say_in_both_protocols() {
    let matches = json!({
        "prefix": "/",
        "headers": [
            { "name": "x-one", "prefix_match": "a" },
            { "name": "x-two", "present_match": true, "invert_match": true },
            { "name": "x-three", "range_match": { "start": 1, "end": 10 } },
        ],
        "query_parameters": [{ "name": "v", "value": "^b+$", "regex": true }],
    });
    for protocol in ["Http1", "Http2"] {
        let mosn = matching(protocol, &matches);
        let good = || Request::get("/x?u=1&v=b%62").with("x-one", "ab").with("x-three", "9");
        for (request, body) in [
            (good(), "yes"),
            (good().with("x-two", ""), "no"),
            (Request::get("/x?v=b").with("x-one", "ba").with("x-three", "9"), "no"),
            (Request::get("/x?v=b").with("x-one", "ab").with("x-three", "10"), "no"),
            (Request::get("/x?v=a").with("x-one", "ab").with("x-three", "9"), "no"),
            (Request::get("/x").with("x-one", "ab").with("x-three", "9"), "no"),
        ] {
            assert_eq!(
                said(&mosn, request.clone()),
                body,
                "{protocol} {} {:?}",
                request.path,
                request.fields
            );
        }
    }
}

#[test]
fn a_variable_rule_is_a_or_b_and_c() {
    let item = |name: &str, model: &str| json!({ "name": format!("request_header_{name}"), "value": "1", "model": model });
    let mosn = matching("Http1", &json!({ "variables": [item("a", "or"), item("b", "and"), item("c", "")] }));
    for bits in 0..8 {
        let mut request = Request::get("/");
        for (name, bit) in [("a", 1), ("b", 2), ("c", 4)] {
            request = request.with(name, if bits & bit != 0 { "1" } else { "0" });
        }
        let expected = bits & 1 != 0 || bits & 6 == 6;
        assert_eq!(said(&mosn, request), if expected { "yes" } else { "no" }, "{bits:03b}");
    }
}

#[test]
fn an_expression_decides_and_its_route_sends_the_request_on_as_it_is() {
    let origin = echo_http1();
    let expression =
        r#"request.method == "GET" && match(request.path, "/dsl*") && context.protocol == "http""#;
    let rewriting = json!({
        "cluster_name": "up",
        "prefix_rewrite": "/never",
        "request_headers_to_add": [{ "header": { "key": "x-never", "value": "1" } }],
        "response_headers_to_add": [{ "header": { "key": "x-matched", "value": "%x-mosn-method%" } }],
    });
    let listener = Listener::new("in", "Http1").routes([
        route(&json!({ "dsl_expressions": [{ "expression": expression }] }), &json!({ "route": rewriting })),
        direct("/", "no"),
    ]);
    let mosn = start(&Config::new().listener(listener).cluster("up", &[&origin.address()]));
    let reply = mosn.ask("in", &Request::get("/dsl/x?q=1"));
    assert_eq!((reply.status, reply.get("x-matched")), (200, Some("GET")));
    let seen = origin.log().nth(1);
    assert_eq!((seen.path.as_str(), seen.get("x-never")), ("/dsl/x?q=1", None));
    assert_eq!(said(&mosn, Request::post("/dsl/x", "a")), "no");
    assert_eq!(said(&mosn, Request::get("/other")), "no");
}

#[test]
fn a_header_or_a_variable_can_name_the_cluster() {
    let origins = ["left", "right"].map(Origin::saying);
    for (choice, header) in [("cluster_header", "x-to"), ("cluster_variable", "request_header_x-to")] {
        let routes = [route(&json!({ "prefix": "/" }), &json!({ "route": { choice: header } }))];
        let mosn = start(
            &Config::new()
                .listener(Listener::new("in", "Http1").routes(routes))
                .cluster("left", &[&origins[0].address()])
                .cluster("right", &[&origins[1].address()]),
        );
        for to in ["left", "right"] {
            assert_eq!(said(&mosn, Request::get("/").with("X-To", to)), to, "{choice}");
        }
        assert_eq!(said(&mosn, Request::get("/").with("X-To", "nowhere")), "404", "{choice}");
        assert_eq!(said(&mosn, Request::get("/")), "404", "{choice}");
    }
}

#[test]
fn a_hash_policys_cookie_brings_a_client_back_to_its_host() {
    let origins = [Origin::saying("0"), Origin::saying("1"), Origin::saying("2")];
    let addresses: Vec<String> = origins.iter().map(Origin::address).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let action = json!({ "route": {
        "cluster_name": "up",
        "hash_policy": [{ "cookie": { "name": "seat", "path": "/", "ttl": "60s" } }],
    } });
    let listener = Listener::new("in", "Http1").routes([route(&json!({ "prefix": "/" }), &action)]);
    let maglev = json!({ "lb_type": "LB_MAGLEV" });
    let mosn = start(&Config::new().listener(listener).cluster_with("up", &addresses, &maglev));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let first = mosn.ask("in", &Request::get("/"));
        let cookie = first.get("set-cookie").expect("a cookie").to_owned();
        assert!(
            cookie.starts_with("seat=") && cookie.ends_with("; Max-Age=60; Path=/; HttpOnly"),
            "{cookie}"
        );
        let host = first.text();
        for _ in 0..5 {
            let again = Request::get("/").with("cookie", cookie.split(';').next().unwrap());
            let reply = mosn.ask("in", &again);
            assert_eq!(reply.text(), host);
            assert_eq!(reply.get("set-cookie"), None);
        }
        seen.insert(host);
    }
    // Thirty cookies that all fall to one of three hosts would be a coincidence of one in 3^29.
    assert!(seen.len() > 1, "{seen:?}");
}
