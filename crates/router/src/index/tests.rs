use bytes::Bytes;
use http::Method;
use mosn_config::model::{
    ActionSpec, HeaderMatchSpec, HeaderMutationsSpec, Name, PathMatchSpec, QueryMatchSpec, RouteMatchSpec,
    RouteSpec, RouterSpec, ValueMatchSpec, VariableMatchSpec, VirtualHostSpec,
};
use mosn_core::{BodyLength, Headers, RequestHead, Scheme};
use mosn_telemetry::Variable;
use proptest::prelude::*;

use super::*;
use crate::{Message, Router, Variables, WithVariables};

fn route(path: PathMatchSpec, headers: Vec<HeaderMatchSpec>, method: Option<&str>) -> RouteSpec {
    RouteSpec {
        name: None,
        matches: RouteMatchSpec {
            path,
            headers,
            method: method.map(str::to_owned),
            ..RouteMatchSpec::default()
        },
        action: ActionSpec::None,
        headers: HeaderMutationsSpec::default(),
        leaves_request: false,
        filter_config: None,
    }
}

fn router(routes: Vec<RouteSpec>) -> Router {
    let virtual_host = VirtualHostSpec { domains: vec!["*".into()], routes, ..VirtualHostSpec::default() };
    let spec = RouterSpec { virtual_hosts: vec![virtual_host], ..RouterSpec::default() };
    Router::build(&spec).unwrap()
}

fn head(method: Method, path: String, headers: &[(&str, String)]) -> RequestHead {
    let mut fields = Headers::default();
    for (name, value) in headers {
        fields.append(name, value.as_bytes());
    }
    RequestHead {
        method,
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"a.com"),
        path: path.into(),
        headers: fields,
        body: BodyLength::Empty,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

/// The number of the route that the index finds, after checking that a scan finds the same.
fn find(router: &Router, head: &RequestHead) -> Option<usize> {
    let subject = &WithVariables(head, TestVariables);
    let routes = router.virtual_hosts.get(0).unwrap().routes();
    let index = Index::of(routes);
    let number = |route: Option<&Route>| {
        route.map(|route| routes.iter().position(|candidate| std::ptr::eq(candidate, route)).unwrap())
    };
    let mut buffer = crate::path::Buffer::new();
    let path = crate::path::canonical(head.path_only(), &mut buffer).path;
    let indexed = number(index.find(routes, path, subject));
    assert_eq!(
        indexed,
        number(router.virtual_hosts.get(0).unwrap().find_linear(path, subject)),
        "index, {head:?}"
    );
    assert_eq!(indexed, number(router.find(subject).map(|found| found.route)), "as built, {head:?}");
    indexed
}

fn exact_header(name: &str, value: &str) -> HeaderMatchSpec {
    HeaderMatchSpec { name: name.into(), value: ValueMatchSpec::Exact(value.into()), invert: false }
}

/// Few texts, so that rules overlap a lot.
fn any_path() -> impl Strategy<Value = PathMatchSpec> {
    let text = "/[aAkK]{0,3}/?[ab]{0,2}".prop_map(|text| text.into());
    let regex = prop::sample::select(vec!["^/a", "b$", "/[ak]+/", "(?i)^/K", "a{2}", "^/[^/]*$"]);
    prop_oneof![
        1 => Just(PathMatchSpec::Any),
        4 => text.clone().prop_map(PathMatchSpec::Prefix),
        4 => text.prop_map(PathMatchSpec::Exact),
        1 => regex.prop_map(|regex| PathMatchSpec::Regex(regex.into())),
    ]
}

fn any_value() -> impl Strategy<Value = ValueMatchSpec> {
    prop_oneof![
        6 => "[xy]{0,2}".prop_map(|value| ValueMatchSpec::Exact(value.into())),
        1 => Just(ValueMatchSpec::NonEmpty),
        1 => Just(ValueMatchSpec::Present),
        1 => Just(ValueMatchSpec::Regex("^x".into())),
        1 => Just(ValueMatchSpec::Prefix("x".into())),
        1 => Just(ValueMatchSpec::Suffix("y".into())),
        1 => Just(ValueMatchSpec::Contains("xy".into())),
        1 => Just(ValueMatchSpec::Range(-1, 3)),
    ]
}

fn any_header() -> impl Strategy<Value = HeaderMatchSpec> {
    let name = prop::sample::select(vec!["service", "X-Other", "host", ":method"]);
    (name, any_value(), prop::bool::weighted(0.2)).prop_map(|(name, value, invert)| HeaderMatchSpec {
        name: name.into(),
        value,
        invert,
    })
}

fn any_query() -> impl Strategy<Value = QueryMatchSpec> {
    (prop::sample::select(vec!["a", "b"]), any_value())
        .prop_map(|(name, value)| QueryMatchSpec { name: name.into(), value })
}

fn any_variables() -> impl Strategy<Value = Vec<VariableMatchSpec>> {
    let name = prop::sample::select(vec!["request_arg_a", "request_header_service"]);
    let one = (name, prop::option::weighted(0.9, any_value()))
        .prop_map(|(name, value)| VariableMatchSpec { name: name.into(), value });
    prop::collection::vec(one, 0..3)
}

fn any_route() -> impl Strategy<Value = RouteSpec> {
    let some = |one| prop_oneof![3 => Just(0..1_usize), 2 => Just(one)];
    let headers = some(1..3).prop_flat_map(|count| prop::collection::vec(any_header(), count));
    let query = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(any_query(), 1..3)];
    let variables = prop_oneof![6 => Just(vec![]), 1 => prop::collection::vec(any_variables(), 1..3)];
    let method = prop_oneof![4 => Just(None), 1 => Just(Some("GET"))];
    let expressions = [
        r#"request.headers["service"] | "none" == "x""#,
        r#"request.path.startsWith("/a") && request.method == "POST""#,
        r#"request.query_params["a"] == "y""#,
    ];
    let expressions = prop_oneof![
        6 => Just(vec![]),
        1 => prop::collection::vec(prop::sample::select(expressions.map(Name::from).to_vec()), 1..3),
    ];
    let asks = (query, variables, expressions);
    (any_path(), headers, method, asks).prop_map(
        |(path, headers, method, (query, variables, expressions))| {
            let mut route = route(path, headers, method);
            route.matches.expressions = expressions;
            route.matches.query = query;
            route.matches.variables = variables;
            route
        },
    )
}

/// Knows of each request what is asked of it here.
struct TestVariables;

impl Variables for TestVariables {
    fn lookup(&self, variable: &Variable, message: Message<'_>, out: &mut Vec<u8>) -> bool {
        let Message::Request(head) = message else { return false };
        let found = if Some(variable) == Variable::parse("request_arg_a").as_ref() {
            crate::query::argument(head.query().unwrap_or_default(), "a", <[u8]>::to_vec)
        } else {
            head.headers.get("service").map(<[u8]>::to_vec)
        };
        found.map(|value| out.extend_from_slice(&value)).is_some()
    }
}

fn any_head() -> impl Strategy<Value = RequestHead> {
    let path = prop_oneof![
        8 => "/[aAkK\u{212a}]{0,3}/?[ab]{0,3}(\\?[ab]=[xy1]{0,2}(&[ab](=[xy]{0,2})?)?)?".prop_map(|path| path),
        1 => Just("/%61//./a".to_owned()),
        1 => Just(String::new()),
        1 => Just("*".to_owned()),
    ];
    let headers =
        prop::collection::vec((prop::sample::select(vec!["Service", "x-other"]), "[xy0-9]{0,2}"), 0..3);
    let method = prop::sample::select(vec![Method::GET, Method::POST]);
    (method, path, headers).prop_map(|(method, path, headers)| head(method, path, &headers))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_index_answers_what_a_scan_answers(
        routes in prop::collection::vec(any_route(), 0..60),
        heads in prop::collection::vec(any_head(), 1..30),
    ) {
        let router = router(routes);
        for head in &heads {
            find(&router, head);
        }
    }
}

#[test]
fn the_first_route_wins_whatever_finds_it() {
    let prefix = |text: &str| PathMatchSpec::Prefix(text.into());
    let exact = |text: &str| PathMatchSpec::Exact(text.into());
    let regex = |text: &str| PathMatchSpec::Regex(text.into());
    let get = |path: &str| head(Method::GET, path.into(), &[]);
    let all = [
        route(regex("b$"), vec![], None),
        route(prefix("/a/"), vec![], Some("POST")),
        route(exact("/A/x"), vec![], None),
        route(prefix("/a"), vec![], None),
        route(exact("/a/y"), vec![], None),
        route(PathMatchSpec::Any, vec![], None),
    ];
    let router = router(all.to_vec());
    assert_eq!(find(&router, &get("/a/b")), Some(0));
    assert_eq!(find(&router, &head(Method::POST, "/a/x".into(), &[])), Some(1));
    assert_eq!(find(&router, &get("/a/X")), Some(2));
    assert_eq!(find(&router, &get("/a/y")), Some(3));
    assert_eq!(find(&router, &get("/c")), Some(5));
    assert_eq!(find(&router, &get("")), Some(5));
}

#[test]
fn many_services_are_told_apart_by_header() {
    let mut routes: Vec<_> = (0..300)
        .map(|n| route(PathMatchSpec::Any, vec![exact_header("service", &format!("s{n}"))], None))
        .collect();
    let double = exact_header("service", "s7");
    routes.insert(5, route(PathMatchSpec::Any, vec![double, exact_header("zone", "b")], None));
    routes.push(route(
        PathMatchSpec::Any,
        vec![HeaderMatchSpec { name: "service".into(), value: ValueMatchSpec::NonEmpty, invert: false }],
        None,
    ));
    let router = router(routes);
    let of = |service: &str, zone: &str| {
        head(Method::GET, "/".into(), &[("Service", service.into()), ("zone", zone.into())])
    };
    assert_eq!(find(&router, &of("s4", "")), Some(4));
    assert_eq!(find(&router, &of("s7", "b")), Some(5));
    assert_eq!(find(&router, &of("s7", "a")), Some(8));
    assert_eq!(find(&router, &of("unknown", "b")), Some(301));
    assert_eq!(find(&router, &of("", "")), None);
    let keys = Keys::of(router.virtual_hosts.get(0).unwrap().routes());
    assert_eq!(keys.fields(), [Field::new("service".into())]);
}

#[test]
fn a_crowd_under_one_prefix_is_told_apart_by_header() {
    let mut routes: Vec<_> = (0..50)
        .map(|n| route(PathMatchSpec::Prefix("/".into()), vec![exact_header("user", &format!("u{n}"))], None))
        .collect();
    routes.push(route(PathMatchSpec::Prefix("/".into()), vec![], None));
    let router = router(routes);
    let index = Index::of(router.virtual_hosts.get(0).unwrap().routes());
    assert_eq!(index.headers[0].1.len(), 50);
    let of = |user: &str| head(Method::GET, "/x".into(), &[("user", user.into())]);
    assert_eq!(find(&router, &of("u42")), Some(42));
    assert_eq!(find(&router, &of("other")), Some(50));
}

#[test]
fn more_regular_expressions_than_one_group_holds() {
    let routes: Vec<_> =
        (0..300).map(|n| route(PathMatchSpec::Regex(format!("^/x{n}(/|$)").into()), vec![], None)).collect();
    let router = router(routes);
    for n in [0, 127, 128, 299] {
        assert_eq!(find(&router, &head(Method::GET, format!("/x{n}/y"), &[])), Some(n));
    }
    assert_eq!(find(&router, &head(Method::GET, "/y".into(), &[])), None);
}

#[test]
fn a_regular_expression_that_matches_later_in_the_path_can_come_first() {
    let regex = |pattern: &str| route(PathMatchSpec::Regex(pattern.into()), vec![], None);
    let patterns = ["z$", "(?x) /b # then anything", "^/a|/c", "(?i)^/A", "/", "(?-u:\\xff)"];
    for methods in [false, true] {
        let mut routes: Vec<_> = patterns.iter().map(|pattern| regex(pattern)).collect();
        // With a condition, and without the pattern that ends in a comment, they are found in other ways.
        if methods {
            routes.push(route(PathMatchSpec::Regex("^/q".into()), vec![], Some("POST")));
        } else {
            routes.remove(1);
        }
        let router = router(routes);
        for path in ["/a", "/a/b", "/a/c/z", "/A", "/x", "/x/b", "/q", "/c", "*"] {
            find(&router, &head(Method::GET, path.into(), &[]));
        }
        assert_eq!(find(&router, &head(Method::GET, "/a/c/z".into(), &[])), Some(0));
    }
}

#[test]
fn prefixes_within_prefixes_keep_their_order() {
    let mut routes: Vec<_> = (1..40)
        .rev()
        .map(|n| {
            let method = (n % 3 == 0).then_some("POST");
            route(PathMatchSpec::Prefix(format!("/{}", "a".repeat(n)).into()), vec![], method)
        })
        .collect();
    routes.push(route(PathMatchSpec::Prefix("/ab".into()), vec![], None));
    let router = router(routes);
    for n in 1..45_usize {
        for method in [Method::GET, Method::POST] {
            find(&router, &head(method, format!("/{}b", "a".repeat(n)), &[]));
        }
    }
}
