//! Finding a route allocates nothing, whatever the rules ask.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::Method;
use mosn_config::model::{
    ActionSpec, ClusterChoiceSpec, ForwardSpec, HashKeySpec, HashPolicySpec, HashSourceSpec, HeaderMatchSpec,
    HeaderMutationsSpec, PathMatchSpec, QueryMatchSpec, RouteMatchSpec, RouteSpec, RouterSpec,
    ValueMatchSpec, VariableMatchSpec, VirtualHostSpec,
};
use mosn_core::{BodyLength, Headers, RequestHead, Scheme};
use mosn_router::{Action, Message, Router, Variables, WithVariables};
use mosn_telemetry::Variable;

fn route(matches: RouteMatchSpec) -> RouteSpec {
    let source = HashSourceSpec::Header("X-User".into());
    let policy = HashPolicySpec { keys: vec![HashKeySpec { source, terminal: false }], otherwise: Some(0) };
    let forward = ForwardSpec {
        cluster: ClusterChoiceSpec::Named("c".into()),
        hash_policy: Some(policy),
        ..ForwardSpec::default()
    };
    RouteSpec {
        name: None,
        matches,
        action: ActionSpec::Forward(Box::new(forward)),
        headers: HeaderMutationsSpec::default(),
        leaves_request: false,
        filter_config: None,
    }
}

fn router(rules: impl IntoIterator<Item = RouteMatchSpec>) -> Router {
    let virtual_host = VirtualHostSpec {
        domains: vec!["*.example.com".into(), "*".into()],
        routes: rules.into_iter().map(route).collect(),
        ..VirtualHostSpec::default()
    };
    Router::build(&RouterSpec { virtual_hosts: vec![virtual_host], ..RouterSpec::default() }).unwrap()
}

fn head(path: &str) -> RequestHead {
    let mut headers = Headers::default();
    headers.append("X-User", b"alice");
    headers.append("service", b"s42");
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"Shop.Example.com"),
        path: Bytes::copy_from_slice(path.as_bytes()),
        headers,
        body: BodyLength::Empty,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

/// Every variable is `alice`.
struct Alice;

impl Variables for Alice {
    fn lookup(&self, _: &Variable, _: Message<'_>, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b"alice");
        true
    }
}

/// Asks twice, because caches may fill once.
#[track_caller]
fn assert_finds_without_allocating(rules: Vec<RouteMatchSpec>, path: &str) {
    let router = router(rules);
    let head = head(path);
    let subject = WithVariables(&head, Alice);
    let ask = || {
        let found = router.find(&subject).expect("a route");
        let Action::Forward(forward) = &found.route.action else { panic!("{:?}", found.route.action) };
        assert_eq!(&**forward.cluster(&subject).unwrap().name, "c");
        assert_ne!(forward.hash(&subject, None).value, None);
    };
    ask();
    let counted = allocation_counter::measure(ask);
    assert_eq!(counted.count_total, 0, "{path}");
}

fn by_path(path: PathMatchSpec) -> RouteMatchSpec {
    RouteMatchSpec { path, ..RouteMatchSpec::default() }
}

/// One rule, among so many others that there is an index.
fn among_others(rule: RouteMatchSpec) -> Vec<RouteMatchSpec> {
    let others = (0..40).map(|n| by_path(PathMatchSpec::Exact(format!("/other{n}").into())));
    others.chain([rule]).collect()
}

#[test]
fn what_allocates_is_counted() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1])));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn paths_and_services_of_large_tables() {
    let many = |rule: fn(usize) -> RouteMatchSpec| (0..10_000).map(rule).collect::<Vec<_>>();
    assert_finds_without_allocating(
        many(|n| by_path(PathMatchSpec::Exact(format!("/r/{n}").into()))),
        "/R/9999?q",
    );
    assert_finds_without_allocating(
        many(|n| by_path(PathMatchSpec::Prefix(format!("/r/{n}/").into()))),
        "/r/9999/x",
    );
    assert_finds_without_allocating(
        many(|n| RouteMatchSpec {
            headers: vec![HeaderMatchSpec {
                name: "service".into(),
                value: ValueMatchSpec::Exact(format!("s{n}").into()),
                invert: false,
            }],
            ..RouteMatchSpec::default()
        }),
        "/",
    );
}

#[test]
fn encoded_paths_and_regular_expressions() {
    let prefix = by_path(PathMatchSpec::Prefix("/a b/".into()));
    assert_finds_without_allocating(among_others(prefix), "/x/..//a%20b/c");
    let regexes = (0..100).map(|n| by_path(PathMatchSpec::Regex(format!("^/r{n}/[^/]+$").into())));
    assert_finds_without_allocating(regexes.collect(), "/r99/x");
}

#[test]
fn every_kind_of_condition() {
    let values = [
        ValueMatchSpec::Exact("alice".into()),
        ValueMatchSpec::Regex("^a.*e$".into()),
        ValueMatchSpec::NonEmpty,
        ValueMatchSpec::Present,
        ValueMatchSpec::Prefix("al".into()),
        ValueMatchSpec::Suffix("ce".into()),
        ValueMatchSpec::Contains("lic".into()),
    ];
    for value in values {
        let header = HeaderMatchSpec { name: "X-USER".into(), value: value.clone(), invert: false };
        let query = QueryMatchSpec { name: "u v".into(), value: value.clone() };
        let variable = VariableMatchSpec { name: "request_header_x".into(), value: Some(value) };
        let rule = RouteMatchSpec {
            headers: vec![header],
            method: Some("GET".into()),
            query: vec![query],
            variables: vec![vec![variable]],
            ..RouteMatchSpec::default()
        };
        assert_finds_without_allocating(among_others(rule), "/?a=b&u+v=ali%63e");
    }
}

#[test]
fn expressions_over_plain_facts() {
    let text = r#"request.method == "GET" && match(request.path, "/x*") && request.headers["x-user"] | "" == "alice"
        && "^shop".matches(request.host) == false && request.headers["none"] | "n" != "alice""#;
    let rule = RouteMatchSpec { expressions: vec![text.into()], ..RouteMatchSpec::default() };
    assert_finds_without_allocating(among_others(rule), "/x");
}
