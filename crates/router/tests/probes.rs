//! The routing probes of MOSN's reference, from the configuration's text to the request that goes up.
#![allow(clippy::unwrap_used)]

use std::{borrow::Cow, path::Path};

use bytes::Bytes;
use http::Method;
use mosn_config::{Format, Options, parse};
use mosn_core::{BodyLength, Headers, RequestHead, Scheme};
use mosn_router::{Action, Message, NoVariables, Router, Subject, Variables, WithVariables};
use mosn_telemetry::Variable;

/// The routers of a table, or what is wrong with it.
fn load(table: &str) -> Result<Router, String> {
    let clusters = ["A", "B", "C"].map(|name| format!(r#"{{"name":"{name}"}}"#)).join(",");
    let text = format!(
        r#"{{"servers":[{{"routers":[{{"router_config_name":"r",{table}}}]}}],
        "cluster_manager":{{"clusters":[{clusters}]}}}}"#
    );
    let loaded = parse(&text, Format::Json, Path::new("/c.json"), Options::default());
    let model = loaded.map_err(|problems| problems.to_string())?.model;
    Router::build(&model.routers[0]).map_err(|errors| errors[0].to_string())
}

fn virtual_hosts(hosts: &[(&str, &str)]) -> Result<Router, String> {
    let hosts = hosts.iter().map(|(domain, cluster)| {
        format!(
            r#"{{"name":"{domain}","domains":["{domain}"],
            "routers":[{{"match":{{"prefix":"/"}},"route":{{"cluster_name":"{cluster}"}}}}]}}"#
        )
    });
    load(&format!(r#""virtual_hosts":[{}]"#, hosts.collect::<Vec<_>>().join(",")))
}

/// A table with one virtual host, which has these routes.
fn routes(routes: &str) -> Router {
    load(&format!(r#""virtual_hosts":[{{"domains":["*"],"routers":[{routes}]}}]"#)).unwrap()
}

fn get(authority: &str, path: &str) -> RequestHead {
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: Bytes::copy_from_slice(authority.as_bytes()),
        path: Bytes::copy_from_slice(path.as_bytes()),
        headers: Headers::default(),
        body: BodyLength::Empty,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

fn cluster<S: Subject>(router: &Router, subject: &S) -> Option<String> {
    match &router.find(subject)?.route.action {
        Action::Forward(forward) => Some(forward.cluster(subject)?.name.to_string()),
        other => panic!("{other:?}"),
    }
}

/// `request_header_*` for the headers that a probe uses.
struct RequestHeaders;

impl Variables for RequestHeaders {
    fn lookup(&self, variable: &Variable, message: Message<'_>, out: &mut Vec<u8>) -> bool {
        let Message::Request(head) = message else { return false };
        let named =
            |name: &str| Variable::parse(&format!("request_header_{name}")).as_ref() == Some(variable);
        let value = ["foo", "a", "b", "c"]
            .into_iter()
            .find(|name| named(name))
            .and_then(|name| head.headers.get(name));
        value.map(|value| out.extend_from_slice(value)).is_some()
    }
}

#[test]
fn probe_2_virtual_hosts_are_chosen_by_host_and_port() {
    let router = virtual_hosts(&[("*", "A"), ("www.a.com", "B")]).unwrap();
    assert_eq!(cluster(&router, &get("WWW.a.com", "/")).as_deref(), Some("B"));
    assert_eq!(cluster(&router, &get("www.a.com:8080", "/")).as_deref(), Some("A"));
    let router = virtual_hosts(&[("*", "A"), ("www.a.com", "B"), ("www.a.com:*", "C")]).unwrap();
    assert_eq!(cluster(&router, &get("www.a.com:8080", "/")).as_deref(), Some("C"));
    assert_eq!(cluster(&router, &get("www.a.com", "/")).as_deref(), Some("B"));
}

#[test]
fn probe_3_the_longest_wildcard_wins_and_stands_for_at_least_one_byte() {
    let router = virtual_hosts(&[("*.com", "A"), ("*.a.com", "B")]).unwrap();
    assert_eq!(cluster(&router, &get("x.a.com", "/")).as_deref(), Some("B"));
    assert_eq!(cluster(&router, &get(".a.com", "/")).as_deref(), Some("A"));
    assert_eq!(cluster(&router, &get("x.org", "/")), None);
}

#[test]
fn probe_4_two_virtual_hosts_for_everything_are_an_error_at_its_path() {
    let error = virtual_hosts(&[("*", "A"), ("*", "B")]).unwrap_err();
    assert!(error.contains("servers[0].routers[0].virtual_hosts[1].domains[0]"), "{error}");
    assert!(error.contains("belongs to virtual host \"*\" already"), "{error}");
}

#[test]
fn probe_5_a_path_ignores_case_and_a_prefix_does_not() {
    let router = routes(r#"{"match":{"path":"/Foo"},"route":{"cluster_name":"A"}}"#);
    assert_eq!(cluster(&router, &get("h", "/foo")).as_deref(), Some("A"));
    let router = routes(r#"{"match":{"prefix":"/Foo"},"route":{"cluster_name":"A"}}"#);
    assert_eq!(cluster(&router, &get("h", "/foo/x")), None);
}

#[test]
fn probe_6_a_prefix_is_rewritten_and_the_old_path_is_told() {
    let router = routes(r#"{"match":{"prefix":"/a"},"route":{"cluster_name":"A","prefix_rewrite":"/b"}}"#);
    let mut head = get("h", "/a/x?q=1");
    let found = router.find(&head).unwrap();
    let Action::Forward(forward) = &found.route.action else { panic!("{:?}", found.route.action) };
    forward.rewrite(&mut head);
    assert_eq!(head.path, "/b/x?q=1");
    assert_eq!(head.headers.get("x-mosn-original-path"), Some(&b"/a/x"[..]));
}

#[test]
fn probe_7_headers_are_added_level_by_level() {
    let add = |key: &str, value: &str, append: bool| {
        format!(
            r#""request_headers_to_add":[{{"header":{{"key":"{key}","value":"{value}"}},"append":{append}}}]"#
        )
    };
    let seen = |route: &str, host: &str| {
        let router = load(&format!(
            r#""virtual_hosts":[{{"domains":["*"],{host},"routers":[{{"match":{{"prefix":"/"}},
            "route":{{"cluster_name":"A",{route}}}}}]}}]"#
        ))
        .unwrap();
        let mut head = get("h", "/");
        head.headers.append("k", b"v0");
        head.headers.append("foo", b"bar");
        router.find(&head).unwrap().mutate_request(&mut head, &RequestHeaders);
        String::from_utf8(head.headers.get("k").unwrap().to_vec()).unwrap()
    };
    assert_eq!(seen(&add("k", "v1", true), &add("k", "v2", true)), "v0,v1,v2");
    assert_eq!(seen(&add("k", "v1", true), &add("k", "v2", false)), "v2");
    assert_eq!(seen(&add("k", "%request_header_foo%", false), &add("x", "", true)), "bar");
    assert_eq!(seen(&add("k", "%nope%", false), &add("x", "", true)), "%nope%");
}

#[test]
fn probe_8_a_redirect_keeps_the_query_and_drops_the_other_schemes_port() {
    let router =
        routes(r#"{"match":{"prefix":"/"},"redirect":{"path_redirect":"/n","scheme_redirect":"https"}}"#);
    let head = get("h:80", "/o?x=1");
    let found = router.find(&head).unwrap();
    let Action::Redirect(redirect) = &found.route.action else { panic!("{:?}", found.route.action) };
    assert_eq!(redirect.status, 301);
    assert_eq!(redirect.location(&head), b"https://h/n?x=1");
}

/// A Bolt request that nobody has decoded, with or without a `service`.
struct Frame(Option<&'static str>);

impl Subject for Frame {
    fn authority(&self) -> &[u8] {
        b""
    }

    fn method(&self) -> &[u8] {
        b""
    }

    fn path(&self) -> &[u8] {
        b""
    }

    fn scheme(&self) -> &[u8] {
        b""
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.0.filter(|_| name == "service").map(|value| Cow::Borrowed(value.as_bytes()))
    }

    fn variable(&self, _: &Variable, _: &mut Vec<u8>) -> bool {
        false
    }
}

#[test]
fn probe_14_a_service_of_dot_star_takes_every_rpc_request_that_names_one() {
    let router =
        routes(r#"{"match":{"headers":[{"name":"service","value":".*"}]},"route":{"cluster_name":"A"}}"#);
    assert_eq!(cluster(&router, &Frame(Some("com.foo"))).as_deref(), Some("A"));
    assert!(router.find(&Frame(None)).is_none());
    assert!(router.find(&Frame(Some(""))).is_none());
    let router = routes(
        r#"{"match":{"headers":[{"name":"service","value":"com.foo"}]},"route":{"cluster_name":"A"}},
           {"match":{},"route":{"cluster_name":"B"}}"#,
    );
    assert_eq!(cluster(&router, &Frame(Some("com.foo"))).as_deref(), Some("A"));
    assert_eq!(cluster(&router, &Frame(Some("com.bar"))).as_deref(), Some("B"));
    assert_eq!(cluster(&router, &Frame(None)).as_deref(), Some("B"));
}

#[test]
fn probe_15_variables_follow_the_truth_table() {
    let item = |name: &str, model: &str| {
        format!(r#"{{"name":"request_header_{name}","value":"1","model":"{model}"}}"#)
    };
    let list = [item("a", "or"), item("b", "and"), item("c", "and")].join(",");
    let router = routes(&format!(r#"{{"match":{{"variables":[{list}]}},"route":{{"cluster_name":"A"}}}}"#));
    for bits in 0..8 {
        let (a, b, c) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        let mut head = get("h", "/");
        for (name, set) in [("a", a), ("b", b), ("c", c)] {
            head.headers.append(name, if set { b"1" } else { b"0" });
        }
        let found = cluster(&router, &WithVariables(&head, RequestHeaders));
        assert_eq!(found.is_some(), a || (b && c), "{a} {b} {c}");
    }
    assert_eq!(cluster(&router, &WithVariables(&get("h", "/"), NoVariables)), None);
}
