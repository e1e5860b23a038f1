use bytes::Bytes;
use http::Method;
use mosn_config::model::{
    ActionSpec, ClusterChoiceSpec, DirectResponseSpec, ForwardSpec, HeaderAddSpec, HeaderMatchSpec,
    HeaderMutations, HeaderMutationsSpec, HostRewriteSpec, PathMatchSpec, PathRewriteSpec, RedirectSpec,
    RouteMatchSpec, RouteSpec, ValueMatchSpec, VirtualHostSpec, WeightedClusterSpec,
};
use mosn_core::{BodyLength, Scheme};
use mosn_telemetry::Variable;

use super::*;
use crate::{Action, Forward, Message, NoVariables, Problem, WithVariables};

fn prefix(text: &str) -> PathMatchSpec {
    PathMatchSpec::Prefix(text.into())
}

fn route(path: PathMatchSpec, action: ActionSpec) -> RouteSpec {
    RouteSpec {
        name: None,
        matches: RouteMatchSpec { path, headers: vec![], method: None },
        action,
        headers: HeaderMutationsSpec::default(),
        filter_config: None,
    }
}

fn to(cluster: &str) -> ForwardSpec {
    ForwardSpec { cluster: ClusterChoiceSpec::Named(cluster.into()), ..ForwardSpec::default() }
}

fn forward(spec: ForwardSpec) -> ActionSpec {
    ActionSpec::Forward(Box::new(spec))
}

fn virtual_host(domains: &[&str], routes: Vec<RouteSpec>) -> VirtualHostSpec {
    VirtualHostSpec {
        name: domains[0].into(),
        domains: domains.iter().map(|&domain| domain.into()).collect(),
        routes,
        ..VirtualHostSpec::default()
    }
}

fn table(virtual_hosts: Vec<VirtualHostSpec>) -> RouterSpec {
    RouterSpec { name: "r".into(), virtual_hosts, ..RouterSpec::default() }
}

fn build(spec: &RouterSpec) -> Router {
    Router::build(spec).unwrap()
}

fn get(authority: &'static str, path: &'static str) -> RequestHead {
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: Bytes::from_static(authority.as_bytes()),
        path: Bytes::from_static(path.as_bytes()),
        headers: Headers::default(),
        body: BodyLength::Empty,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

fn forward_of<'a>(found: &RouteMatch<'a>) -> &'a Forward {
    match &found.route.action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// The cluster that a request goes to.
fn cluster(router: &Router, head: &RequestHead) -> Option<String> {
    let found = router.find(head)?;
    Some(forward_of(&found).cluster(head)?.name.to_string())
}

/// Knows some of the request's headers.
struct RequestHeaders;

impl Variables for RequestHeaders {
    fn lookup(&self, variable: &Variable, message: Message<'_>, out: &mut Vec<u8>) -> bool {
        let Message::Request(head) = message else { return false };
        let known = ["foo", "none", "to"];
        let header = known
            .into_iter()
            .find(|name| Variable::parse(&format!("request_header_{name}")).as_ref() == Some(variable));
        let Some(header) = header else { return false };
        head.headers.get(header).map(|value| out.extend_from_slice(value)).is_some()
    }
}

fn add(name: &str, value: &str, append: bool) -> HeaderAddSpec {
    HeaderAddSpec { name: name.into(), value: value.into(), append }
}

fn request_adds(adds: Vec<HeaderAddSpec>) -> HeaderMutationsSpec {
    HeaderMutationsSpec { inner: Some(Box::new(HeaderMutations { request_add: adds, ..Default::default() })) }
}

#[test]
fn the_virtual_host_is_chosen_first_and_nothing_falls_through() {
    let router = build(&table(vec![
        virtual_host(&["*"], vec![route(prefix("/"), forward(to("a")))]),
        virtual_host(&["www.a.com"], vec![route(prefix("/b"), forward(to("b")))]),
    ]));
    assert_eq!(cluster(&router, &get("WWW.a.com", "/b/x")).as_deref(), Some("b"));
    assert_eq!(cluster(&router, &get("www.a.com:8080", "/b/x")).as_deref(), Some("a"));
    assert_eq!(cluster(&router, &get("www.a.com", "/c")), None);
    assert_eq!(cluster(&router, &get("", "/c")).as_deref(), Some("a"));
}

#[test]
fn an_exact_path_matches_in_any_case_and_a_prefix_does_not() {
    let exact = PathMatchSpec::Exact("/Foo".into());
    let router = build(&table(vec![virtual_host(&["*"], vec![route(exact, forward(to("a")))])]));
    assert_eq!(cluster(&router, &get("h", "/foo?x")).as_deref(), Some("a"));
    let router = build(&table(vec![virtual_host(&["*"], vec![route(prefix("/Foo"), forward(to("a")))])]));
    assert_eq!(cluster(&router, &get("h", "/foo/x")), None);
    assert_eq!(cluster(&router, &get("h", "/Foo/x")).as_deref(), Some("a"));
}

#[test]
fn no_encoding_goes_around_a_rule() {
    let router = build(&table(vec![virtual_host(
        &["*"],
        vec![route(prefix("/admin"), ActionSpec::None), route(prefix("/"), forward(to("a")))],
    )]));
    for path in
        ["/admin/x", "/%61dmin/x", "//admin", "/a/../admin", "/a/%2e%2e/admin", "/./admin", "/a/..%2fadmin"]
    {
        let mut head = get("h", "/");
        head.path = Bytes::copy_from_slice(path.as_bytes());
        let found = router.find(&head).unwrap();
        assert!(matches!(found.route.action, Action::None), "{path}");
        assert_eq!(head.path, path.as_bytes());
    }
}

#[test]
fn a_service_rule_matches_a_header() {
    let service = |value| RouteSpec {
        matches: RouteMatchSpec {
            path: PathMatchSpec::Any,
            headers: vec![HeaderMatchSpec { name: "service".into(), value }],
            method: None,
        },
        ..route(PathMatchSpec::Any, forward(to("any")))
    };
    let router = build(&table(vec![virtual_host(&["*"], vec![service(ValueMatchSpec::NonEmpty)])]));
    let mut head = get("", "");
    assert_eq!(cluster(&router, &head), None);
    head.headers.set("service", b"com.foo");
    assert_eq!(cluster(&router, &head).as_deref(), Some("any"));
}

#[test]
fn a_prefix_is_rewritten_and_the_old_path_kept_in_a_header() {
    let rewrite = ForwardSpec {
        path_rewrite: Some(PathRewriteSpec::Prefix("/b".into())),
        host_rewrite: Some(HostRewriteSpec::Literal("inner".into())),
        ..to("a")
    };
    let router = build(&table(vec![virtual_host(&["*"], vec![route(prefix("/a"), forward(rewrite))])]));
    let mut head = get("h", "/a/x?q=1");
    forward_of(&router.find(&head).unwrap()).rewrite(&mut head);
    assert_eq!(head.path, "/b/x?q=1");
    assert_eq!(head.authority, "inner");
    assert_eq!(head.headers.get("x-mosn-original-path"), Some(&b"/a/x"[..]));
}

#[test]
fn the_host_can_come_from_a_header_unless_it_is_no_host() {
    let rewrite = ForwardSpec { host_rewrite: Some(HostRewriteSpec::Header("x-host".into())), ..to("a") };
    let router = build(&table(vec![virtual_host(&["*"], vec![route(prefix("/"), forward(rewrite))])]));
    for (value, expected) in [("other:81", "other:81"), ("a/b", "h"), ("", "h"), ("a b", "h")] {
        let mut head = get("h", "/");
        head.headers.set("x-host", value.as_bytes());
        forward_of(&router.find(&head).unwrap()).rewrite(&mut head);
        assert_eq!(head.authority, expected);
    }
    let mut head = get("h", "/");
    forward_of(&router.find(&head).unwrap()).rewrite(&mut head);
    assert_eq!(head.authority, "h");
}

#[test]
fn headers_are_added_by_route_then_virtual_host_then_router() {
    for (append, expected) in [(true, &b"v0,v1,v2"[..]), (false, b"v2")] {
        let mut spec = table(vec![virtual_host(&["*"], vec![route(prefix("/"), forward(to("a")))])]);
        spec.virtual_hosts[0].routes[0].headers = request_adds(vec![
            add("K", "v1", true),
            add("copy", "%request_header_foo%", true),
            add("literal", "%nope%", true),
        ]);
        spec.virtual_hosts[0].headers = request_adds(vec![add("k", "v2", append)]);
        let router = build(&spec);
        let mut head = get("h", "/");
        head.headers.set("k", b"v0");
        head.headers.set("foo", b"bar");
        router.find(&head).unwrap().mutate_request(&mut head, &RequestHeaders);
        assert_eq!(head.headers.get("k"), Some(expected));
        assert_eq!(head.headers.get_all("k").count(), 1);
        assert_eq!(head.headers.get("copy"), Some(&b"bar"[..]));
        assert_eq!(head.headers.get("literal"), Some(&b"%nope%"[..]));
    }
}

#[test]
fn removals_come_after_additions_and_replies_have_their_own() {
    let mutations = HeaderMutations {
        request_add: vec![
            add("gone", "1", false),
            add("host", "new:81", false),
            add("none", "%request_header_none%", true),
        ],
        request_remove: vec!["Gone".into()],
        response_add: vec![add("set-cookie", "b=2", true), add("via", "us", true)],
        response_remove: vec!["server".into()],
    };
    let mut spec = table(vec![virtual_host(&["*"], vec![route(prefix("/"), forward(to("a")))])]);
    spec.headers = HeaderMutationsSpec { inner: Some(Box::new(mutations)) };
    let router = build(&spec);
    let mut head = get("h", "/");
    let found = router.find(&head).unwrap();
    found.mutate_request(&mut head, &RequestHeaders);
    assert!(!head.headers.contains("gone") && !head.headers.contains("host"));
    assert_eq!(head.headers.get("none"), Some(&b""[..]));
    assert_eq!(head.authority, "new:81");

    let mut reply = Headers::default();
    for (name, value) in [("Server", "x"), ("Set-Cookie", "a=1"), ("via", "one"), ("via", "two")] {
        reply.append(name, value.as_bytes());
    }
    found.mutate_response(&mut reply, &NoVariables);
    assert!(!reply.contains("server"));
    assert_eq!(reply.get_all("set-cookie").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
    assert_eq!(reply.get_all("via").collect::<Vec<_>>(), [b"one,two,us"]);
}

#[test]
fn a_variable_can_name_the_cluster() {
    let choice = ClusterChoiceSpec::Variable("request_header_to".into());
    let router = build(&table(vec![virtual_host(
        &["*"],
        vec![route(prefix("/"), forward(ForwardSpec { cluster: choice, ..ForwardSpec::default() }))],
    )]));
    let mut head = get("h", "/");
    let forward = forward_of(&router.find(&head).unwrap());
    assert!(forward.cluster(&WithVariables(&head, RequestHeaders)).is_none());
    head.headers.set("to", b"there");
    assert_eq!(&**forward.cluster(&WithVariables(&head, RequestHeaders)).unwrap().name, "there");
}

#[test]
fn a_weighted_clusters_labels_win_over_the_routes() {
    let labels = |value: &str| Some(Box::new([("v".into(), value.into())].into()));
    let clusters = vec![
        WeightedClusterSpec { name: "a".into(), weight: 1, metadata_match: labels("own") },
        WeightedClusterSpec { name: "b".into(), weight: 1, metadata_match: None },
    ];
    let spec = ForwardSpec {
        cluster: ClusterChoiceSpec::Weighted(clusters),
        metadata_match: labels("route"),
        ..ForwardSpec::default()
    };
    let router = build(&table(vec![virtual_host(&["*"], vec![route(prefix("/"), forward(spec))])]));
    let head = get("h", "/");
    let forward = forward_of(&router.find(&head).unwrap());
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let pick = forward.cluster(&head).unwrap();
        seen.insert(pick.name.to_string(), pick.metadata.unwrap()["v"].to_string());
    }
    assert_eq!(seen, [("a".into(), "own".into()), ("b".into(), "route".into())].into());
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let bad_regex = route(PathMatchSpec::Regex("(".into()), ActionSpec::None);
    let bad_header = RouteSpec {
        matches: RouteMatchSpec {
            path: PathMatchSpec::Any,
            headers: vec![HeaderMatchSpec { name: "x".into(), value: ValueMatchSpec::Regex("[".into()) }],
            method: Some("GE T".into()),
        },
        ..route(PathMatchSpec::Any, ActionSpec::None)
    };
    let redirect = ActionSpec::Redirect(Box::new(RedirectSpec { status: 200, ..RedirectSpec::default() }));
    let direct = ActionSpec::DirectResponse(Box::new(DirectResponseSpec { status: 99, body: "".into() }));
    let weightless =
        forward(ForwardSpec { cluster: ClusterChoiceSpec::Weighted(vec![]), ..ForwardSpec::default() });
    let unknown = forward(ForwardSpec {
        cluster: ClusterChoiceSpec::Variable("nope".into()),
        ..ForwardSpec::default()
    });
    let mut spec = table(vec![
        virtual_host(&["*"], vec![bad_regex, bad_header]),
        virtual_host(
            &["*", "a*b"],
            vec![redirect, direct, weightless, unknown]
                .into_iter()
                .map(|action| route(prefix("/"), action))
                .collect(),
        ),
    ]);
    spec.headers = request_adds(vec![add("transfer-encoding", "chunked", false), add("a b", "", true)]);
    let errors = Router::build(&spec).unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error.place.virtual_host.as_ref().map(|host| host.0), error.place.route))
        .collect();
    assert_eq!(
        places,
        [
            (None, None),
            (None, None),
            (Some(0), Some(0)),
            (Some(0), Some(1)),
            (Some(0), Some(1)),
            (Some(1), None),
            (Some(1), None),
            (Some(1), Some(0)),
            (Some(1), Some(1)),
            (Some(1), Some(2)),
            (Some(1), Some(3)),
        ]
    );
    assert!(matches!(errors[0].problem, Problem::FramingHeader { .. }));
    assert!(matches!(&errors[5].problem, Problem::DuplicateDomain { other, .. } if &**other == "*"));
    assert_eq!(
        errors[2].to_string(),
        "router `r`, virtual_hosts[0] `*`, routers[0]: `(` in match.regex is not a valid regular expression: \
         unclosed group"
    );
}

#[test]
fn a_hundred_thousand_routes_are_small() {
    assert!(size_of::<Route>() <= 80, "{}", size_of::<Route>());
    assert!(size_of::<Forward>() <= 48, "{}", size_of::<Forward>());
}
