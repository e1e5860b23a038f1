//! How long a request takes to find its route.

use std::{hint::black_box, rc::Rc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use mosn_config::model::{
    ActionSpec, ClusterChoiceSpec, ForwardSpec, HeaderMatchSpec, HeaderMutationsSpec, PathMatchSpec,
    QueryMatchSpec, RouteMatchSpec, RouteSpec, RouterSpec, ValueMatchSpec, VirtualHostSpec,
};
use mosn_core::{BodyLength, FieldList, FrameHeaders, Headers, RequestHead, Scheme};
use mosn_router::Router;

fn route(path: PathMatchSpec, service: Option<&str>) -> RouteSpec {
    let header = |value: &str| HeaderMatchSpec {
        name: "service".into(),
        value: ValueMatchSpec::Exact(value.into()),
        invert: false,
    };
    let forward =
        ForwardSpec { cluster: ClusterChoiceSpec::Named("cluster".into()), ..ForwardSpec::default() };
    RouteSpec {
        name: None,
        matches: RouteMatchSpec {
            path,
            headers: service.map(header).into_iter().collect(),
            ..RouteMatchSpec::default()
        },
        action: ActionSpec::Forward(Box::new(forward)),
        headers: HeaderMutationsSpec::default(),
        leaves_request: false,
        filter_config: None,
    }
}

fn router(hosts: Vec<(String, Vec<RouteSpec>)>) -> Router {
    let virtual_hosts = hosts.into_iter().map(|(domain, routes)| VirtualHostSpec {
        name: domain.as_str().into(),
        domains: vec![domain.into()],
        routes,
        ..VirtualHostSpec::default()
    });
    let spec = RouterSpec { virtual_hosts: virtual_hosts.collect(), ..RouterSpec::default() };
    Router::build(&spec).expect("a valid router")
}

/// Fields in one block, as codecs leave them.
fn fields(fields: &[(&str, &str)]) -> FieldList {
    let block: String = fields.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let mut list = FieldList::with_block(block.into(), fields.len());
    let mut at = 0;
    for (name, value) in fields {
        list.push_range((at, name.len()), (at + name.len(), value.len()));
        at += name.len() + value.len();
    }
    list
}

fn head_of(authority: &str, path: &str, headers: Headers) -> RequestHead {
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: Bytes::copy_from_slice(authority.as_bytes()),
        path: Bytes::copy_from_slice(path.as_bytes()),
        headers,
        body: BodyLength::Empty,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

/// A request as a browser might send it, with `extra` as its last field.
fn head(authority: &str, path: &str, extra: (&str, &str)) -> RequestHead {
    let list = fields(&[
        ("Host", authority),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("Accept", "*/*"),
        ("Accept-Language", "en"),
        ("Accept-Encoding", "gzip"),
        ("Cookie", "a=b"),
        extra,
    ]);
    head_of(authority, path, Headers::List(list))
}

/// A request of an RPC protocol.
fn frame(service: &str) -> RequestHead {
    let list = fields(&[
        ("rpc_trace_context.sofaRpcId", "0"),
        ("rpc_trace_context.sofaTraceId", "0a0fe9391696231452301100131"),
        ("sofa_head_generic_type", "0"),
        ("sofa_head_method_name", "echo"),
        ("service", service),
    ]);
    head_of("", "", Headers::Frame(Box::new(FrameHeaders::new(list, Rc::new(())))))
}

/// As many requests as all caches hold. A head has just been parsed when its route is looked for.
const HOT: usize = 64;

/// Requests in turn, whose routes are far apart and in no order that the caches could foresee: few, and
/// then one for each of `count` keys, where what is measured is mostly the way from memory, of the heads as
/// well.
fn run(c: &mut Criterion, name: &str, router: &Router, count: usize, head: impl Fn(usize) -> RequestHead) {
    let heads: Vec<_> = (0..count).map(|n| head(n * 7919 % count)).collect();
    for head in &heads {
        assert!(router.find(head).is_some(), "{head:?}");
    }
    let mut measure = |name: &str, heads: &[RequestHead]| {
        let mut at = 0;
        c.bench_function(name, |b| {
            b.iter(|| {
                at = if at + 1 < heads.len() { at + 1 } else { 0 };
                black_box(router.find(black_box(&heads[at])).is_some())
            });
        });
    };
    measure(name, &heads[..count.min(HOT)]);
    if count > HOT {
        measure(&format!("{name}, {count} requests"), &heads);
    }
}

fn find(c: &mut Criterion) {
    let exact = |text: String| route(PathMatchSpec::Exact(text.into()), None);
    let prefix = |text: String| route(PathMatchSpec::Prefix(text.into()), None);
    let regex = |text: String| route(PathMatchSpec::Regex(text.into()), None);

    let hosts = (0..10_000).map(|host| {
        let routes = (0..10).map(|n| prefix(format!("/api/service{host}/resource{n}/")));
        (format!("service{host}.example.com"), routes.collect())
    });
    let table = router(hosts.collect());
    run(c, "10,000 virtual hosts x 10 prefixes", &table, 10_000, |n| {
        let path = format!("/api/service{n}/resource{}/item?id=1", n / 7 % 10);
        head(&format!("service{n}.example.com"), &path, ("x", ""))
    });
    drop(table);

    let path = |n: usize| format!("/api/v1/resource{n}/list");
    let table = router(vec![("*".to_owned(), (0..10_000).map(|n| exact(path(n))).collect())]);
    run(c, "10,000 exact paths", &table, 10_000, |n| head("a.com", &format!("{}?id=1", path(n)), ("x", "")));

    let service = |n: usize| format!("com.example.service.Name{n}:1.0");
    let services = (0..10_000).map(|n| route(PathMatchSpec::Any, Some(&service(n))));
    let table = router(vec![("*".to_owned(), services.collect())]);
    run(c, "10,000 exact services", &table, 10_000, |n| head("a.com", "/", ("service", &service(n))));
    run(c, "10,000 exact services, RPC", &table, 10_000, |n| frame(&service(n)));

    let prefixes = (0..1_000).map(|n| prefix(format!("/api/v1/resource{n}/")));
    let table = router(vec![("*".to_owned(), prefixes.collect())]);
    run(c, "1,000 prefixes", &table, 1_000, |n| head("a.com", &path(n), ("x", "")));

    let pattern = |n: usize| format!("^/api/v[0-9]+/resource{n}/[^/]+$");
    let table = router(vec![("*".to_owned(), (0..100).map(|n| regex(pattern(n))).collect())]);
    let by_regex = |n: usize| head("a.com", &path(n), ("x", ""));
    run(c, "100 regular expressions", &table, 100, by_regex);
    let set = regex::bytes::RegexSet::new((0..100).map(pattern)).expect("valid patterns");
    let heads: Vec<_> = (0..HOT).map(|n| by_regex(n * 7919 % 100)).collect();
    let mut at = 0;
    c.bench_function("100 regular expressions, RegexSet alone", |b| {
        b.iter(|| {
            at = if at + 1 < heads.len() { at + 1 } else { 0 };
            black_box(set.matches(black_box(&heads[at].path)).iter().next())
        });
    });

    let rule = |matches: RouteMatchSpec| RouteSpec { matches, ..exact(String::new()) };
    let expression =
        r#"request.method == "GET" && match(request.path, "/api/*") && request.headers["x"] | "" == "y""#;
    let by_expression = RouteMatchSpec { expressions: vec![expression.into()], ..RouteMatchSpec::default() };
    let table = router(vec![("*".to_owned(), vec![rule(by_expression)])]);
    run(c, "an expression", &table, 1, |n| head("a.com", &path(n), ("x", "y")));
    let value = ValueMatchSpec::Exact("y".into());
    let by_query = RouteMatchSpec {
        headers: vec![HeaderMatchSpec { name: "x".into(), value: value.clone(), invert: false }],
        query: vec![QueryMatchSpec { name: "b".into(), value }],
        ..RouteMatchSpec::default()
    };
    let table = router(vec![("*".to_owned(), vec![rule(by_query)])]);
    run(c, "a header and a query parameter", &table, 1, |n| {
        head("a.com", &format!("{}?a=1&b=y", path(n)), ("x", "y"))
    });

    for count in [1, 8, 16, 24, 32, 48, 64] {
        let routes = (0..count).map(|n| prefix(format!("/api/v1/resource{n}/")));
        let table = router(vec![("*".to_owned(), routes.collect())]);
        run(c, &format!("{count} prefixes"), &table, count, |n| head("a.com", &path(n), ("x", "")));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = find
}
criterion_main!(benches);
