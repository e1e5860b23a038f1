use bytes::Bytes;
use http::Method;
use mosn_config::model::{
    ActionSpec, ClusterChoiceSpec, DirectResponseSpec, ForwardSpec, HeaderAddSpec, HeaderMatchSpec,
    HeaderMutations, HeaderMutationsSpec, HostRewriteSpec, Name, PathMatchSpec, PathRewriteSpec,
    QueryMatchSpec, RedirectSpec, RouteMatchSpec, RouteSpec, ValueMatchSpec, VariableMatchSpec,
    VirtualHostSpec, WeightedClusterSpec,
};
use mosn_core::{BodyLength, ConnectionInfo, RequestInfo, Scheme};
use mosn_telemetry::Variable;

use super::*;
use crate::{Action, Forward, Message, Metadata, NoVariables, Problem, WithVariables};

fn prefix(text: &str) -> PathMatchSpec {
    PathMatchSpec::Prefix(text.into())
}

fn route(path: PathMatchSpec, action: ActionSpec) -> RouteSpec {
    RouteSpec {
        name: None,
        matches: RouteMatchSpec { path, ..RouteMatchSpec::default() },
        action,
        headers: HeaderMutationsSpec::default(),
        leaves_request: false,
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

/// A router with one route, which takes what `matches` says.
fn taking(matches: RouteMatchSpec) -> Router {
    let route = RouteSpec { matches, ..route(PathMatchSpec::Any, forward(to("a"))) };
    build(&table(vec![virtual_host(&["*"], vec![route])]))
}

/// Whether the route takes a request with this header; `None` = without it.
fn takes(value: &ValueMatchSpec, invert: bool, sent: Option<&str>) -> bool {
    let header = HeaderMatchSpec { name: "X-One".into(), value: value.clone(), invert };
    let router = taking(RouteMatchSpec { headers: vec![header], ..RouteMatchSpec::default() });
    let mut head = get("h", "/");
    if let Some(sent) = sent {
        head.headers.append("x-one", sent.as_bytes());
    }
    router.find(&head).is_some()
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
            headers: vec![HeaderMatchSpec { name: "service".into(), value, invert: false }],
            ..RouteMatchSpec::default()
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
            headers: vec![HeaderMatchSpec {
                name: "x".into(),
                value: ValueMatchSpec::Regex("[".into()),
                invert: false,
            }],
            method: Some("GE T".into()),
            ..RouteMatchSpec::default()
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
            (Some(1), Some(0)),
            (Some(1), Some(1)),
            (Some(1), Some(2)),
            (Some(1), Some(3)),
            (Some(1), None),
            (Some(1), None),
        ]
    );
    assert!(matches!(errors[0].problem, Problem::FramingHeader { .. }));
    assert!(matches!(&errors[9].problem, Problem::DuplicateDomain { other, .. } if &**other == "*"));
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

#[test]
fn a_header_is_matched_by_any_part_of_its_value() {
    use ValueMatchSpec as V;
    for (value, yes, no) in [
        (V::Exact("abc".into()), "abc", "ABC"),
        (V::Regex("b.$".into()), "abc", "abcd"),
        (V::NonEmpty, "a", ""),
        (V::Prefix("ab".into()), "abc", "xab"),
        (V::Suffix("bc".into()), "abc", "bcx"),
        (V::Contains("b".into()), "abc", "acd"),
        (V::Range(-5, 10), "-5", "10"),
        (V::Range(0, i64::MAX), "7", "7.5"),
    ] {
        for invert in [false, true] {
            assert_eq!(takes(&value, invert, Some(yes)), !invert, "{value:?} {invert}");
            assert_eq!(takes(&value, invert, Some(no)), invert, "{value:?} {invert}");
            assert!(!takes(&value, invert, None), "{value:?} {invert}: an absent header matches nothing");
        }
    }
}

#[test]
fn a_header_can_be_asked_to_be_there_or_not() {
    assert!(takes(&ValueMatchSpec::Present, false, Some("")));
    assert!(!takes(&ValueMatchSpec::Present, false, None));
    assert!(!takes(&ValueMatchSpec::Present, true, Some("a")));
    assert!(takes(&ValueMatchSpec::Present, true, None));
}

#[test]
fn query_parameters_are_matched_decoded_and_all_of_them() {
    let parameter = |name: &str, value| QueryMatchSpec { name: name.into(), value };
    let query = vec![
        parameter("a b", ValueMatchSpec::Exact("x y".into())),
        parameter("debug", ValueMatchSpec::Present),
    ];
    let router = taking(RouteMatchSpec { query, ..RouteMatchSpec::default() });
    for (path, expected) in [
        ("/?a+b=x%20y&debug", true),
        ("/?debug=&a%20b=x+y", true),
        ("/?a+b=x%20y", false),
        ("/?a+b=X%20y&debug", false),
        ("/?a+b=z&a+b=x+y&debug", false),
        ("/", false),
        ("/a+b=x+y&debug", false),
    ] {
        assert_eq!(router.find(&get("h", path)).is_some(), expected, "{path}");
    }
}

#[test]
fn variable_rules_follow_mosns_truth_table() {
    let wants = |name: &str| VariableMatchSpec {
        name: format!("request_header_{name}").into(),
        value: Some(ValueMatchSpec::Exact("1".into())),
    };
    // [A or][B and][C]
    let variables = vec![vec![wants("foo")], vec![wants("none"), wants("to")]];
    let router = taking(RouteMatchSpec { variables, ..RouteMatchSpec::default() });
    for bits in 0..8 {
        let (a, b, c) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        let mut head = get("h", "/");
        for (name, set) in [("foo", a), ("none", b), ("to", c)] {
            head.headers.append(name, if set { b"1" } else { b"0" });
        }
        let found = router.find(&WithVariables(&head, RequestHeaders)).is_some();
        assert_eq!(found, a || (b && c), "{a} {b} {c}");
    }
}

#[test]
fn a_variable_without_a_value_counts_as_empty() {
    let wants = |value| VariableMatchSpec { name: "request_header_foo".into(), value };
    let takes = |value| {
        let router = taking(RouteMatchSpec { variables: vec![vec![wants(value)]], ..Default::default() });
        router.find(&WithVariables(&get("h", "/"), RequestHeaders)).is_some()
    };
    assert!(takes(Some(ValueMatchSpec::Regex("^$".into()))));
    assert!(!takes(Some(ValueMatchSpec::Exact("x".into()))));
    assert!(!takes(None), "a condition without a value never holds");
}

#[test]
fn an_unknown_variable_in_a_rule_is_an_error() {
    let matches = RouteMatchSpec {
        variables: vec![vec![VariableMatchSpec { name: "nope".into(), value: None }]],
        ..RouteMatchSpec::default()
    };
    let route = RouteSpec { matches, ..route(PathMatchSpec::Any, forward(to("a"))) };
    let errors = Router::build(&table(vec![virtual_host(&["*"], vec![route])])).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "router `r`, virtual_hosts[0] `*`, routers[0]: `nope` in match.variables is not a known variable"
    );
}

#[test]
fn a_route_that_leaves_the_request_changes_the_reply_only() {
    let mutations = HeaderMutations {
        request_add: vec![add("x", "1", true)],
        response_add: vec![add("y", "1", true)],
        ..HeaderMutations::default()
    };
    let mut spec = table(vec![virtual_host(&["*"], vec![route(prefix("/"), forward(to("a")))])]);
    spec.headers = HeaderMutationsSpec { inner: Some(Box::new(mutations)) };
    spec.virtual_hosts[0].routes[0].leaves_request = true;
    let router = build(&spec);
    let mut head = get("h", "/");
    let found = router.find(&head).unwrap();
    found.mutate_request(&mut head, &NoVariables);
    assert!(!head.headers.contains("x"));
    let mut reply = Headers::default();
    found.mutate_response(&mut reply, &NoVariables);
    assert!(reply.contains("y"));
}

#[test]
fn a_header_can_name_the_cluster() {
    let choice = ClusterChoiceSpec::Header("x-cluster".into());
    let router = build(&table(vec![virtual_host(
        &["*"],
        vec![route(prefix("/"), forward(ForwardSpec { cluster: choice, ..ForwardSpec::default() }))],
    )]));
    let mut head = get("h", "/");
    assert_eq!(cluster(&router, &head), None);
    head.headers.set("X-Cluster", b"there");
    assert_eq!(cluster(&router, &head).as_deref(), Some("there"));
    head.headers.set("X-Cluster", b"\xff");
    assert_eq!(cluster(&router, &head), None);
}

/// Knows labels only.
struct Labels(Metadata);

impl Variables for Labels {
    fn lookup(&self, _: &Variable, _: Message<'_>, _: &mut Vec<u8>) -> bool {
        false
    }

    fn labels(&self) -> Option<&Metadata> {
        Some(&self.0)
    }
}

#[test]
fn the_requests_own_labels_win_over_the_routes() {
    let labels = |pairs: &[(&str, &str)]| -> std::collections::BTreeMap<Name, Name> {
        pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
    };
    let route_labels = Some(Box::new(labels(&[("zone", "a"), ("v", "1")])));
    let spec = ForwardSpec { metadata_match: route_labels, ..to("a") };
    let router = build(&table(vec![virtual_host(&["*"], vec![route(prefix("/"), forward(spec))])]));
    let head = get("h", "/");
    let forward = forward_of(&router.find(&head).unwrap());
    let own = Labels(labels(&[("v", "2"), ("x", "y")]).into());
    let pick = forward.cluster(&WithVariables(&head, own)).unwrap();
    assert_eq!(**pick.metadata.unwrap(), labels(&[("zone", "a"), ("v", "2"), ("x", "y")]));
    assert_eq!(forward.cluster(&head).unwrap().metadata.unwrap().len(), 2);
}

/// Knows the facts of a request, and no variable.
struct Info(RequestInfo);

impl Variables for Info {
    fn lookup(&self, _: &Variable, _: Message<'_>, _: &mut Vec<u8>) -> bool {
        false
    }

    fn info(&self) -> Option<&RequestInfo> {
        Some(&self.0)
    }
}

#[test]
fn expressions_see_the_request_and_all_must_hold() {
    let local = "10.0.0.1:80".parse().unwrap();
    let connection = ConnectionInfo {
        id: 1,
        listener: "l".into(),
        listener_type: "".into(),
        local: Some(local),
        remote: None,
        redirected: None,
    };
    let start = (std::time::Instant::now(), std::time::SystemTime::UNIX_EPOCH);
    let info = Info(RequestInfo::new(connection.into(), mosn_core::Protocol::Http2, 1, start.0, start.1));
    let mut head = get("Shop.example:80", "/a//b/../c%20d?q=1+2&r");
    head.headers.append("X-User", b"alice");
    let request = WithVariables(&head, info);
    for (expressions, expected) in [
        (&[r#"request.host == "Shop.example:80""#, r#"request.method == "GET""#][..], true),
        (&["true", "false"], false),
        (&[r#"request.path == "/a/c d" && request.url_path == "/a/c d?q=1+2&r""#], true),
        (&[r#"request.query_params["q"] == "1 2" && request.query_params["r"] == """#], true),
        (&[r#"request.query_params["s"] == """#], false),
        (&[r#"request.headers["x-user"] == "alice" && size(request.headers) == 1"#], true),
        (&[r#"request.headers["x-none"] != "alice""#], false),
        (&[r#"request.headers["x-none"] | "nobody" != "alice""#], true),
        (&[r#"context.protocol == "h2" && origin.ip == ip("10.0.0.1")"#], true),
        (&["int(request.time) == 0 && request.size == 0 && request.total_size == 11"], true),
        (&[r#"(response.code | 7) == 7 && (destination.service.name | "none") == "none""#], true),
    ] {
        let expressions: Vec<Name> = expressions.iter().map(|&text| text.into()).collect();
        let router = taking(RouteMatchSpec { expressions: expressions.clone(), ..Default::default() });
        assert_eq!(router.find(&request).is_some(), expected, "{expressions:?}");
    }
}

#[test]
fn an_expression_that_is_no_condition_is_an_error_and_no_wider_route() {
    for (expression, reason) in [
        ("request.nope", "at column 1: there is no attribute request.nope"),
        ("request.host", "at column 1: expected a truth value, found a text"),
        (r#"ctx.rewrite_request_url("/x")"#, "at column 1: a rule asks, and changes nothing"),
        ("", "at column 1: expected a value, found the end"),
    ] {
        let matches = RouteMatchSpec { expressions: vec![expression.into()], ..Default::default() };
        let route = RouteSpec { matches, ..route(PathMatchSpec::Any, forward(to("a"))) };
        let errors = Router::build(&table(vec![virtual_host(&["*"], vec![route])])).unwrap_err();
        let place = "router `r`, virtual_hosts[0] `*`, routers[0]";
        let what = format!("`{expression}` in match.dsl_expressions is not a valid condition");
        assert_eq!(errors[0].to_string(), format!("{place}: {what}: {reason}"));
    }
}
