//! Routes as files write them: what they are translated to, and what is refused with its path.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use mosn_config::model::{
    ActionSpec, ClusterChoiceSpec, HashPolicySpec, HashSourceSpec, RouteSpec, ValueMatchSpec,
};
use mosn_config::{Format, Loaded, Options, Problems, parse};

const AT: &str = "servers[0].routers[0].virtual_hosts[0].routers[0]";

fn load(route: &str) -> Result<Loaded, Problems> {
    let text = format!(
        r#"{{"servers":[{{"routers":[{{"router_config_name":"r","virtual_hosts":[{{"domains":["*"],
        "routers":[{{{route}}}]}}]}}]}}],"cluster_manager":{{"clusters":[{{"name":"a"}}]}}}}"#
    );
    parse(&text, Format::Json, Path::new("/opt/mosn/conf/c.json"), Options::default())
}

/// The one route, and the warnings as `path: message` below it.
fn translated(route: &str) -> (RouteSpec, Vec<String>) {
    let loaded = load(route).unwrap();
    let below = |warning: &mosn_config::Problem| {
        let path = warning.path.strip_prefix(AT)?;
        Some(format!("{}: {}", path.trim_start_matches('.'), warning.message))
    };
    let warnings = loaded.warnings.iter().filter_map(below).collect();
    (loaded.model.routers[0].virtual_hosts[0].routes[0].clone(), warnings)
}

/// The errors below the route, each as `path: message`.
fn errors(route: &str) -> Vec<String> {
    let Err(problems) = load(route) else { return Vec::new() };
    let below = |problem: &mosn_config::Problem| {
        let path = problem.path.strip_prefix(AT).unwrap_or(&problem.path);
        format!("{}: {}", path.trim_start_matches('.'), problem.message)
    };
    problems.errors().map(below).collect()
}

fn hashed(policies: &str) -> HashPolicySpec {
    match translated(&format!(r#""route":{{"cluster_name":"a","hash_policy":[{policies}]}}"#)).0.action {
        ActionSpec::Forward(forward) => forward.hash_policy.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_header_match_is_read() {
    use ValueMatchSpec as V;
    for (keys, value) in [
        (r#""value":"v""#, V::Exact("v".into())),
        ("", V::Exact("".into())),
        (r#""value":"v+","regex":true"#, V::Regex("v+".into())),
        (r#""present_match":true"#, V::Present),
        (r#""prefix_match":"v""#, V::Prefix("v".into())),
        (r#""suffix_match":"v""#, V::Suffix("v".into())),
        (r#""contains_match":"v""#, V::Contains("v".into())),
        (r#""range_match":{"start":1,"end":3}"#, V::Range(1, 3)),
    ] {
        for invert in [false, true] {
            let keys = format!(
                r#""name":"X-One","invert_match":{invert}{}{keys}"#,
                if keys.is_empty() { "" } else { "," }
            );
            let (route, warnings) =
                translated(&format!(r#""match":{{"headers":[{{{keys}}}]}},"route":{{"cluster_name":"a"}}"#));
            let header = &route.matches.headers[0];
            assert_eq!((&*header.name, &header.value, header.invert), ("X-One", &value, invert), "{keys}");
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }
}

#[test]
fn a_service_of_dot_star_is_any_unless_more_is_said() {
    let value = |keys: &str| {
        let header =
            format!(r#""match":{{"headers":[{{"name":"service",{keys}}}]}},"route":{{"cluster_name":"a"}}"#);
        translated(&header).0.matches.headers[0].value.clone()
    };
    assert_eq!(value(r#""value":".*""#), ValueMatchSpec::NonEmpty);
    assert_eq!(value(r#""value":".*","regex":true"#), ValueMatchSpec::NonEmpty);
    assert_eq!(value(r#""value":"com.foo""#), ValueMatchSpec::Exact("com.foo".into()));
    assert_eq!(value(r#""value":"com.foo","regex":true"#), ValueMatchSpec::Regex("com.foo".into()));
    assert_eq!(
        value(r#""value":"com.foo","invert_match":true,"regex":true"#),
        ValueMatchSpec::Regex("com.foo".into())
    );
}

#[test]
fn variables_become_groups_of_which_one_must_hold() {
    let (route, warnings) = translated(
        r#""match":{"variables":[{"name":"x-mosn-host","value":"1","model":"OR"},{"name":"x-mosn-path","regex":"2"},
           {"name":"x-mosn-method","value":"3","model":"or"}],"headers":[{"name":"a","value":"b"}]},
           "route":{"cluster_name":"a","prefix_rewrite":"/x","host_rewrite":"h",
           "request_headers_to_add":[{"header":{"key":"k","value":"v"}}],
           "response_headers_to_add":[{"header":{"key":"k","value":"v"}}]}"#,
    );
    let groups: Vec<Vec<_>> =
        route.matches.variables.iter().map(|group| group.iter().map(|one| &*one.name).collect()).collect();
    assert_eq!(groups, [vec!["x-mosn-host"], vec!["x-mosn-path", "x-mosn-method"]]);
    assert!(route.matches.headers.is_empty() && route.leaves_request);
    assert_eq!(
        warnings,
        [
            "match.headers: has no effect beside prefix, path, regex, variables or dsl_expressions",
            "route.prefix_rewrite: has no effect on a route that matches by variables or expressions",
            "route.host_rewrite: has no effect on a route that matches by variables or expressions",
            "route.request_headers_to_add: has no effect on a route that matches by variables or expressions",
        ]
    );
    let headers = route.headers.inner.unwrap();
    assert_eq!((headers.request_add.len(), headers.response_add.len()), (0, 1));
}

#[test]
fn expressions_are_taken_over_and_leave_the_request() {
    let (route, warnings) = translated(
        r#""match":{"dsl_expressions":[{"expression":"request.method == \"GET\""},{"expression":"true"}]},
           "route":{"cluster_name":"a","auto_host_rewrite_header":"x"}"#,
    );
    let texts: Vec<_> = route.matches.expressions.iter().map(|text| &**text).collect();
    assert_eq!(texts, [r#"request.method == "GET""#, "true"]);
    assert!(route.leaves_request);
    assert_eq!(
        warnings,
        ["route.auto_host_rewrite_header: has no effect on a route that matches by variables or expressions"]
    );
}

#[test]
fn the_cluster_comes_from_weights_then_name_then_variable_then_header() {
    let all = r#""cluster_header":"x-to","cluster_variable":"request_header_v""#;
    let weights = r#""weighted_clusters":[{"cluster":{"name":"a","weight":1}}]"#;
    let choice = |action: &str| match translated(&format!(r#""route":{{{action}}}"#)).0.action {
        ActionSpec::Forward(forward) => forward.cluster,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        choice(&format!(r#"{all},"cluster_name":"a",{weights}"#)),
        ClusterChoiceSpec::Weighted(_)
    ));
    assert!(
        matches!(choice(&format!(r#"{all},"cluster_name":"a""#)), ClusterChoiceSpec::Named(name) if &*name == "a")
    );
    assert!(matches!(choice(all), ClusterChoiceSpec::Variable(name) if &*name == "request_header_v"));
    assert!(
        matches!(choice(r#""cluster_header":"x-to""#), ClusterChoiceSpec::Header(name) if &*name == "x-to")
    );
}

#[test]
fn hash_policies_keep_their_order_and_mosns_zero() {
    let policy = hashed(
        r#"{"header":{"key":"x"},"terminal":true},{"cookie":{"name":"c","path":"/","ttl":"5s"},"header":{"key":"y"}},
           {"query_parameter":{"name":"q"}},{"source_ip":{}}"#,
    );
    let sources: Vec<_> = policy.keys.iter().map(|key| (key.source.clone(), key.terminal)).collect();
    let ttl = Some(Duration::from_secs(5));
    assert_eq!(
        sources,
        [
            (HashSourceSpec::Header("x".into()), true),
            (HashSourceSpec::Cookie { name: "c".into(), path: "/".into(), ttl }, false),
            (HashSourceSpec::QueryParameter("q".into()), false),
            (HashSourceSpec::SourceIp, false),
        ]
    );
    assert_eq!(policy.otherwise, Some(0));
    assert_eq!(hashed("{}").otherwise, None);
    let cookie = &hashed(r#"{"cookie":{"name":"c"}}"#).keys[0].source;
    assert!(matches!(cookie, HashSourceSpec::Cookie { ttl: None, .. }), "{cookie:?}");
}

#[test]
fn what_a_route_cannot_mean_is_an_error_at_its_path() {
    for (route, expected) in [
        (r#""match":{"regex":"("}"#, r#"match.regex: not a regular expression: unclosed group"#),
        (
            r#""match":{"headers":[{"name":"a","value":"[","regex":true}]}"#,
            r#"match.headers[0].value: not a regular expression: unclosed character class"#,
        ),
        (
            r#""match":{"query_parameters":[{"name":"a","value":"(","regex":true}]}"#,
            r#"match.query_parameters[0].value: not a regular expression: unclosed group"#,
        ),
        (
            r#""match":{"variables":[{"name":"x-mosn-host","regex":"("}]}"#,
            r#"match.variables[0].regex: not a regular expression: unclosed group"#,
        ),
        (
            r#""match":{"variables":[{"name":"x-mosn-host","value":"a","model":"xor"}]}"#,
            r#"match.variables[0].model: expected "and" or "or", found "xor""#,
        ),
        (
            r#""match":{"dsl_expressions":[{"expression":"true"},{"expression":" "}]}"#,
            "match.dsl_expressions[1].expression: not a condition: expected a value, found the end",
        ),
        (
            r#""match":{"headers":[{"name":"a","value":"b","prefix_match":"c"}]}"#,
            "match.headers[0].prefix_match: cannot stand beside value: one condition for each entry",
        ),
        (
            r#""match":{"headers":[{"name":"a","range_match":{"start":3,"end":3}}]}"#,
            "match.headers[0].range_match: no number is from 3 to below 3",
        ),
        (
            r#""match":{"prefix":"/","headers":[{"name":"method","present_match":true}]}"#,
            "match.headers[0]: the method can only be compared with a value",
        ),
        (
            r#""match":{"query_parameters":[{"value":"a"}]}"#,
            "match.query_parameters[0].name: expected the name of a query parameter",
        ),
        (
            r#""route":{"weighted_clusters":[{"cluster":{"name":"a","weight":0}}]}"#,
            "route.weighted_clusters: the sum of the weights is 0: no cluster would ever be chosen",
        ),
        (
            r#""route":{"cluster_name":"a","hash_policy":[{"header":{"key":"a b"}}]}"#,
            r#"route.hash_policy[0].header.key: expected a header name, found "a b""#,
        ),
        (
            r#""route":{"cluster_name":"a","hash_policy":[{"cookie":{"name":"c","path":"/;x"}}]}"#,
            r#"route.hash_policy[0].cookie.path: expected a path such as "/", found "/;x""#,
        ),
        (
            r#""route":{"cluster_header":"a b"}"#,
            r#"route.cluster_header: expected a header name, found "a b""#,
        ),
    ] {
        assert_eq!(errors(route), [expected], "{route}");
    }
}

#[test]
fn a_pattern_in_gos_dialect_is_no_error() {
    for pattern in ["^/users/{id}$", r"\\Qa.b\\E", "[[:alpha:]]+", "(?i)^/a"] {
        let route = format!(r#""match":{{"regex":"{pattern}"}},"route":{{"cluster_name":"a"}}"#);
        assert_eq!(errors(&route), [] as [String; 0], "{pattern}");
    }
}
