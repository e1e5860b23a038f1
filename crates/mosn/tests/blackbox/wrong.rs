//! Routing and upstreams that are wrong: a table of configurations, each with one fault, and what `mosn check`
//! has to say of it.

use std::fs;

use mosn_tests::{Output, run};
use serde_json::{Value, json};

use crate::MOSN;

/// A listener, a table of three routes, and four clusters, in which nothing is wrong.
fn good() -> Value {
    json!({
        "servers": [{
            "default_log_path": "stdout",
            "listeners": [{
                "name": "in", "address": "127.0.0.1:1", "bind_port": true,
                "access_logs": [{ "log_path": "stdout", "log_format": "%duration%" }],
                "stream_filters": [{ "type": "mirror" }],
                "filter_chains": [{ "filters": [{
                    "type": "proxy", "config": { "downstream_protocol": "Http1", "router_config_name": "r" },
                }] }],
            }],
            "routers": [{ "router_config_name": "r", "virtual_hosts": [
                { "name": "v", "domains": ["a.com"], "routers": [
                    { "match": { "prefix": "/first" }, "route": { "cluster_name": "plain" } },
                    { "match": { "prefix": "/second" }, "route": { "cluster_name": "plain" } },
                    { "match": { "prefix": "/" }, "route": { "cluster_name": "plain" } },
                ] },
                { "name": "w", "domains": ["b.com"], "routers": [{ "route": { "cluster_name": "hashed" } }] },
            ] }],
        }],
        "cluster_manager": { "clusters": [
            { "name": "plain", "hosts": [{ "address": "127.0.0.1:2" }] },
            { "name": "hashed", "lb_type": "LB_MAGLEV", "hosts": [{ "address": "127.0.0.1:2" }] },
            { "name": "labelled", "lb_subset_config": { "subset_selectors": [["zone"]] }, "hosts": [
                { "address": "127.0.0.1:2", "metadata": { "filter_metadata": { "mosn.lb": { "zone": "a" } } } },
            ] },
        ] },
    })
}

const ROUTE: &str = "servers[0].routers[0].virtual_hosts[0].routers[1]";
const HOST: &str = "servers[0].routers[0].virtual_hosts[0]";
const OTHER: &str = "servers[0].routers[0].virtual_hosts[1]";
const LISTENER: &str = "servers[0].listeners[0]";
const CLUSTER: &str = "cluster_manager.clusters[0]";

/// The value at a path, which is made where it is missing.
fn at<'v>(value: &'v mut Value, path: &str) -> &'v mut Value {
    path.split(['.', '[']).fold(value, |value, step| match step.strip_suffix(']') {
        Some(index) => &mut value[index.parse::<usize>().unwrap()],
        None => &mut value[step],
    })
}

fn written(text: &str, command: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    let file = folder.path().join("conf").join("mosn.json");
    fs::write(&file, text).unwrap();
    run(MOSN, &[command, "-c", file.to_str().unwrap()])
}

/// Where a fault is put in, what, where it is to be found below that, and a word of what is said.
type Fault = (&'static str, &'static str, Value, &'static str, &'static str);

fn errors() -> Vec<Fault> {
    let add = |name: &str, value: &str| json!([{ "header": { "key": name, "value": value } }]);
    let expression = |text: &str| json!({ "dsl_expressions": [{ "expression": text }] });
    let method = |value: &str| json!({ "prefix": "/", "headers": [{ "name": "method", "value": value, "regex": true }] });
    vec![
        (ROUTE, "match", json!({ "regex": "^/(a" }), ".regex", "unclosed group"),
        (ROUTE, "match", json!({ "regex": "a)(b" }), ".regex", "unopened group"),
        (
            ROUTE,
            "match",
            json!({ "headers": [{ "name": "x", "value": "[", "regex": true }] }),
            ".headers[0].value",
            "unclosed",
        ),
        (
            ROUTE,
            "match",
            json!({ "headers": [{ "name": "x y", "value": "a" }] }),
            ".headers[0].name",
            "header name",
        ),
        (
            ROUTE,
            "match",
            json!({ "headers": [{ "name": "x", "value": "a", "prefix_match": "b" }] }),
            ".headers[0].prefix_match",
            "one condition",
        ),
        (
            ROUTE,
            "match",
            json!({ "headers": [{ "name": "x", "range_match": { "start": 2, "end": 1 } }] }),
            ".headers[0].range_match",
            "no number",
        ),
        (ROUTE, "match", method("GET|POST"), ".headers[0].value", "a route of its own"),
        (
            ROUTE,
            "match",
            json!({ "query_parameters": [{ "name": "q", "value": "(", "regex": true }] }),
            ".query_parameters[0].value",
            "unclosed",
        ),
        (
            ROUTE,
            "match",
            json!({ "query_parameters": [{ "name": "" }] }),
            ".query_parameters[0].name",
            "query parameter",
        ),
        (
            ROUTE,
            "match",
            json!({ "variables": [{ "name": "x-mosn-pth", "value": "/" }] }),
            ".variables[0].name",
            "did you mean \"x-mosn-path\"",
        ),
        (
            ROUTE,
            "match",
            json!({ "variables": [{ "name": "x-mosn-path", "regex": "(" }] }),
            ".variables[0].regex",
            "unclosed",
        ),
        (
            ROUTE,
            "match",
            json!({ "variables": [{ "name": "x-mosn-path", "value": "/", "model": "nor" }] }),
            ".variables[0].model",
            "\"and\" or \"or\"",
        ),
        (
            ROUTE,
            "match",
            expression("request.hedaers[\"a\"] == \"b\""),
            ".dsl_expressions[0].expression",
            "did you mean \"request.headers\"",
        ),
        (
            ROUTE,
            "match",
            expression("request.size == \"200\""),
            ".dsl_expressions[0].expression",
            "does not take",
        ),
        (ROUTE, "match", expression("request.path"), ".dsl_expressions[0].expression", "truth value"),
        (ROUTE, "match", expression("1 == "), ".dsl_expressions[0].expression", "expected a value"),
        (
            ROUTE,
            "match",
            expression("startWith(request.path, \"/\")"),
            ".dsl_expressions[0].expression",
            "no function",
        ),
        (
            ROUTE,
            "route.weighted_clusters",
            json!([{ "cluster": { "name": "plain", "weight": 0 } }]),
            "",
            "sum of the weights is 0",
        ),
        (
            ROUTE,
            "route.weighted_clusters",
            json!([{ "cluster": { "name": "plain", "weight": 4294967295_u32 } }, { "cluster": { "name": "plain", "weight": 1 } }]),
            "",
            "4294967296",
        ),
        (ROUTE, "route", json!({ "cluster_variable": "nope" }), ".cluster_variable", "no variable"),
        (ROUTE, "route", json!({ "cluster_header": "a b" }), ".cluster_header", "header name"),
        (ROUTE, "route.upstream_protocol", json!("gopher"), "", "unknown protocol"),
        (ROUTE, "route.upstream_protocol", json!("bolt"), "", "Http1 cannot be passed on as bolt"),
        (ROUTE, "route.regex_rewrite", json!({ "pattern": { "regex": "(x" } }), ".pattern.regex", "unclosed"),
        (ROUTE, "route.host_rewrite", json!("a/b"), "", "expected a host"),
        (
            ROUTE,
            "route.retry_policy",
            json!({ "retry_conditions": ["5xxx"] }),
            ".retry_conditions[0]",
            "did you mean \"5xx\"",
        ),
        (ROUTE, "route.retry_policy", json!({ "status_codes": [99] }), ".status_codes[0]", "100 to 599"),
        (
            ROUTE,
            "route.retry_policy",
            json!({ "retry_back_off": { "base_interval": "0s" } }),
            ".retry_back_off.base_interval",
            "above 0",
        ),
        (ROUTE, "route.timeout", json!(5), "", "unit is missing"),
        (ROUTE, "route.hash_policy", json!([{ "header": { "key": "" } }]), "[0].header.key", "header name"),
        (
            ROUTE,
            "route.hash_policy",
            json!([{ "query_parameter": {} }]),
            "[0].query_parameter.name",
            "query parameter",
        ),
        (
            ROUTE,
            "route.request_headers_to_add",
            add("Content-Length", "1"),
            "[0].header.key",
            "writes it itself",
        ),
        (ROUTE, "route.request_headers_to_add", add("x:", "1"), "[0].header.key", "header name"),
        (
            ROUTE,
            "route.response_headers_to_add",
            add("x", "a\r\nb"),
            "[0].header.value",
            "control characters",
        ),
        (ROUTE, "direct_response", json!({ "status": 99 }), ".status", "200 to 599"),
        (
            ROUTE,
            "redirect",
            json!({ "response_code": 200, "path_redirect": "/" }),
            ".response_code",
            "301, 302",
        ),
        (ROUTE, "redirect", json!({ "host_redirect": "a b" }), ".host_redirect", "expected a host"),
        (ROUTE, "redirect", json!({ "scheme_redirect": "1http" }), ".scheme_redirect", "expected a scheme"),
        (
            ROUTE,
            "request_mirror_policies",
            json!({ "cluster": "plain", "percent": 101 }),
            ".percent",
            "0 to 100",
        ),
        (ROUTE, "request_mirror_policies", json!({ "percent": 1 }), ".cluster", "required"),
        (
            ROUTE,
            "per_filter_config",
            json!({ "fault": { "abort": { "status": "many" } } }),
            ".fault.abort.status",
            "expected an integer",
        ),
        (OTHER, "domains", json!(["a.com"]), "[0]", "belongs to virtual host \"v\""),
        (HOST, "domains", json!(["a.com", "A.com"]), "[1]", "belongs to virtual host \"v\""),
        (HOST, "domains", json!(["a.*.com"]), "[0]", "wildcard"),
        (HOST, "domains", json!(["a.com:http"]), "[0]", "is not a port"),
        (HOST, "domains", json!(["::1"]), "[0]", "IPv6 in brackets"),
        (
            HOST,
            "per_filter_config",
            json!({ "mirror": { "amplification": -1 } }),
            ".mirror.amplification",
            "expected an integer",
        ),
        ("servers[0].routers[0]", "router_configs", json!("/nowhere"), "", "only be one"),
        (LISTENER, "access_logs", json!([{ "log_format": "a %duration" }]), "[0].log_format", "not closed"),
        (LISTENER, "access_logs", json!([{ "log_format": "%% b" }]), "[0].log_format", "names no variable"),
        (LISTENER, "stream_filters", json!([{ "type": "miror" }]), "[0].type", "did you mean \"mirror\""),
        ("cluster_manager.clusters[1]", "name", json!("plain"), "", "cluster \"plain\" already"),
        (CLUSTER, "hosts", json!([{ "address": "nowhere" }]), "[0].address", "host:port"),
        (CLUSTER, "hosts_file", json!("/nowhere/hosts.json"), "", "only be one"),
        (CLUSTER, "bind_address", json!("localhost"), "", "IP address"),
        (
            CLUSTER,
            "lb_subset_config",
            json!({ "subset_selectors": [[]] }),
            ".subset_selectors[0]",
            "at least one label",
        ),
        (
            CLUSTER,
            "lb_subset_config",
            json!({ "subset_selectors": [["a"]], "fall_back_policy": 3 }),
            ".fall_back_policy",
            "0 (no host)",
        ),
        (
            CLUSTER,
            "slow_start",
            json!({ "mode": "duration", "slow_start_duration": "1s", "min_weight_percent": 10 }),
            ".min_weight_percent",
            "fraction",
        ),
        (
            CLUSTER,
            "health_check",
            json!({ "service_name": "s", "protocol": "Http1", "check_config": { "http_check_config": { "port": 70000 } } }),
            ".check_config.http_check_config.port",
            "1 to 65534",
        ),
        (
            CLUSTER,
            "outlier_detection",
            json!({ "max_ejection_percent": 101 }),
            ".max_ejection_percent",
            "0 to 100",
        ),
        (
            CLUSTER,
            "circuit_breakers",
            json!([{ "retry_budget": { "budget_percent": 101.0 } }]),
            "[0].retry_budget.budget_percent",
            "0 to 100",
        ),
        ("cluster_manager", "clusters_configs", json!("/nowhere"), "", "only be one"),
    ]
}

fn warnings() -> Vec<Fault> {
    let add = |value: &str| json!([{ "header": { "key": "x", "value": value } }]);
    let path = |prefix: &str| json!({ "prefix": prefix });
    vec![
        (ROUTE, "match", json!({ "prefix": "/b", "path": "/c" }), ".path", "beside prefix"),
        (ROUTE, "match", path("/first/more"), "", "routers[0] before it takes all"),
        (
            ROUTE,
            "match",
            json!({ "prefix": "/", "headers": [{ "name": "method", "value": "GET", "regex": true }] }),
            ".headers[0].regex",
            "as it stands",
        ),
        (
            ROUTE,
            "match",
            json!({ "variables": [{ "name": "Http2_request_scheme", "value": "http" }] }),
            ".variables[0].name",
            "not speak Http2",
        ),
        (
            ROUTE,
            "match",
            json!({ "variables": [{ "name": "Dubbo_service", "value": "a" }] }),
            ".variables[0].name",
            "nothing in this build sets it",
        ),
        (ROUTE, "route.cluster_name", json!("plian"), "", "did you mean \"plain\""),
        (ROUTE, "route.cluster_variable", json!("x-mosn-path"), "", "beside cluster_name"),
        (ROUTE, "route", json!({ "cluster_variable": "connection_id" }), ".cluster_variable", "is a number"),
        (ROUTE, "route.request_headers_to_add", add("%nope%"), "[0].header.value", "no variable \"nope\""),
        (
            ROUTE,
            "route.request_headers_to_add",
            add("id %stream_id%"),
            "[0].header.value",
            "is the whole value",
        ),
        (
            ROUTE,
            "route.request_headers_to_add",
            add("%response_header_x%"),
            "[0].header.value",
            "no reply yet",
        ),
        (
            ROUTE,
            "route.response_headers_to_add",
            add("%Http2_cookie_a%"),
            "[0].header.value",
            "not speak Http2",
        ),
        (ROUTE, "route.hash_policy", json!([{ "source_ip": {} }]), "", "goes by no hash"),
        (
            "servers[0].routers[0].virtual_hosts[1].routers[0]",
            "route.hash_policy",
            json!([{ "source_ip": {}, "header": { "key": "a" } }]),
            "[0].source_ip",
            "beside header",
        ),
        (
            "servers[0].routers[0].virtual_hosts[1].routers[0]",
            "route.hash_policy",
            json!([{ "terminal": true }, { "header": { "key": "a" } }]),
            "[1]",
            "terminal policy before it",
        ),
        (
            ROUTE,
            "route.metadata_match",
            json!({ "filter_metadata": { "mosn.lb": { "zone": "a" } } }),
            "",
            "no lb_subset_config",
        ),
        (
            ROUTE,
            "route",
            json!({ "cluster_name": "labelled", "metadata_match": { "filter_metadata": { "mosn.lb": { "zoen": "a" } } } }),
            ".metadata_match",
            "by exactly these labels",
        ),
        (ROUTE, "route.retry_policy", json!({ "retry_timeout": "61s" }), ".retry_timeout", "limits nothing"),
        (ROUTE, "route.retry_policy", json!({ "status_codes": [503] }), ".status_codes", "without retry_on"),
        (
            ROUTE,
            "route.retry_policy",
            json!({ "retry_on": true, "hedge_on_per_try_timeout": true }),
            ".hedge_on_per_try_timeout",
            "without retry_timeout",
        ),
        (
            ROUTE,
            "route.retry_policy",
            json!({ "retry_on": true, "num_retries": 1 }),
            ".num_retries",
            "counts as 3",
        ),
        (ROUTE, "route.timeout", json!("-1s"), "", "negative"),
        (ROUTE, "request_mirror_policies", json!({ "cluster": "plain" }), ".percent", "nothing is copied"),
        (ROUTE, "redirect", json!({ "response_code": 302 }), "", "same address"),
        (ROUTE, "per_filter_config", json!({ "falut": {} }), ".falut", "did you mean \"fault\""),
        (ROUTE, "per_filter_config", json!({ "fault": {} }), ".fault", "no listener"),
        (
            LISTENER,
            "access_logs",
            json!([{ "log_format": "%durration%" }]),
            "[0].log_format",
            "did you mean \"duration\"",
        ),
        (
            LISTENER,
            "access_logs",
            json!([{ "log_format": "%Http2_cookie_a%" }]),
            "[0].log_format",
            "not speak Http2",
        ),
        (CLUSTER, "type", json!("STRICT_DNSS"), "", "did you mean \"STRICT_DNS\""),
        (CLUSTER, "type", json!("ORIGINAL_DST"), "", "must be LB_ORIGINAL_DST"),
        (CLUSTER, "lb_type", json!("LB_RANDON"), "", "did you mean \"LB_RANDOM\""),
        (CLUSTER, "connect_timeout", json!("0s"), "", "above 0"),
        (
            CLUSTER,
            "slow_start",
            json!({ "mode": "duration", "slow_start_duration": "1s" }),
            "",
            "has no effect with LB_ROUNDROBIN",
        ),
        (
            CLUSTER,
            "health_check",
            json!({ "service_name": "s", "protocol": "Htpp1" }),
            ".protocol",
            "did you mean \"Http1\"",
        ),
        (
            CLUSTER,
            "health_check",
            json!({ "service_name": "s", "protocol": "Http1" }),
            ".check_config.http_check_config",
            "only connected to",
        ),
        (CLUSTER, "health_check", json!({ "protocol": "Http1" }), "", "service_name switches"),
        (
            CLUSTER,
            "lb_subset_config",
            json!({ "subset_selectors": [["zone"]] }),
            ".subset_selectors",
            "no host has the label",
        ),
    ]
}

/// The line of a fault is that of the value, or of the innermost one around it that is there.
fn says(output: &Output, severity: &str, path: &str, word: &str) -> Option<usize> {
    let said = output.out.clone() + &output.err;
    let line = said.lines().find(|line| {
        line.starts_with(severity) && line.contains(&format!(" {path}: ")) && line.contains(word)
    })?;
    line.split(".json:").nth(1)?.split(':').next()?.parse().ok()
}

/// The line on which the fault begins in the text.
fn line_of(text: &str, marked: &str) -> usize {
    1 + text.lines().zip(marked.lines()).position(|(a, b)| a != b).unwrap()
}

#[test]
fn every_fault_is_named_by_path_and_line_and_none_of_them_starts() {
    assert_eq!(written(&good().to_string(), "check").code, 0);
    for (place, key, fault, below, word) in errors() {
        let mut document = good();
        let path = format!("{place}.{key}");
        *at(&mut document, &path) = fault.clone();
        let text = serde_json::to_string_pretty(&document).unwrap();
        let mut marked = document.clone();
        *at(&mut marked, &path) = Value::Null;
        let begins = line_of(&text, &serde_json::to_string_pretty(&marked).unwrap());
        let ends = begins + serde_json::to_string_pretty(&fault).unwrap().lines().count() - 1;
        for command in ["check", "start"] {
            let output = written(&text, command);
            assert_eq!(output.code, 1, "{command} {path} {fault}: {output:?}");
            let line = says(&output, "error: ", &format!("{path}{below}"), word);
            let there = line.is_some_and(|line| (begins..=ends).contains(&line));
            assert!(
                there,
                "{command} {path}{below} on {begins} to {ends}: {word}\n{}{}",
                output.out, output.err
            );
            let longest = output.out.lines().chain(output.err.lines()).map(str::len).max();
            assert!(longest.is_some_and(|longest| longest < 500), "{output:?}");
        }
    }
}

#[test]
fn what_has_no_effect_is_said_and_stops_nothing() {
    for (place, key, fault, below, word) in warnings() {
        let mut document = good();
        let path = format!("{place}.{key}");
        *at(&mut document, &path) = fault.clone();
        let output = written(&serde_json::to_string_pretty(&document).unwrap(), "check");
        assert_eq!(output.code, 0, "{path} {fault}: {output:?}");
        let line = says(&output, "warning: ", &format!("{path}{below}"), word);
        assert!(line.is_some(), "{path}{below}: {word}\n{}", output.out);
    }
    let output = written(&good().to_string(), "check");
    assert!(output.out.contains("ok, no warnings"), "{output:?}");
}

#[test]
fn routes_that_no_call_of_an_rpc_listener_can_take_are_said() {
    let mut document = good();
    let proxy = format!("{LISTENER}.filter_chains[0].filters[0].config.downstream_protocol");
    *at(&mut document, &proxy) = "bolt".into();
    *at(&mut document, &format!("{OTHER}.routers[0].route.upstream_protocol")) = "Http2".into();
    let output = written(&document.to_string(), "check");
    assert_eq!(output.code, 1, "{output:?}");
    let upstream = format!("{OTHER}.routers[0].route.upstream_protocol");
    assert!(says(&output, "error: ", &upstream, "bolt cannot be passed on as Http2").is_some(), "{output:?}");
    assert!(says(&output, "warning: ", &format!("{ROUTE}.match"), "have no path").is_some(), "{output:?}");
    // Both kinds of clients: now each route has some that it can serve.
    *at(&mut document, &proxy) = "bolt,Http1".into();
    let output = written(&document.to_string(), "check");
    assert!(output.code == 0 && output.out.contains("no warnings"), "{output:?}");
}

#[test]
fn what_a_route_does_not_do_is_said_where_it_stands() {
    let mut document = good();
    *at(&mut document, &format!("{LISTENER}.stream_filters")) = json!([]);
    let mirrored = json!({ "cluster": "plain", "percent": 5 });
    *at(&mut document, &format!("{ROUTE}.request_mirror_policies")) = mirrored.clone();
    *at(&mut document, &format!("{OTHER}.routers[0].request_mirror_policies")) = mirrored;
    *at(&mut document, &format!("{OTHER}.routers[0].redirect")) = json!({ "path_redirect": "/x" });
    let output = written(&document.to_string(), "check");
    assert_eq!(output.code, 0, "{output:?}");
    for (path, word) in [
        (format!("{ROUTE}.request_mirror_policies"), "no listener that uses this table"),
        (format!("{OTHER}.routers[0].request_mirror_policies"), "the route forwards nothing"),
        (format!("{OTHER}.routers[0].route.cluster_name"), "beside redirect"),
    ] {
        assert!(says(&output, "warning: ", &path, word).is_some(), "{path}: {output:?}");
    }
}

#[test]
fn all_faults_of_a_file_are_listed_at_once() {
    let mut document = good();
    let mut expected = Vec::new();
    for (place, key, fault, below, word) in errors() {
        let path = format!("{place}.{key}");
        // One fault to a place, and none that keeps the others from being looked at.
        let hides = key.ends_with("_configs") || key == "direct_response" || key == "redirect";
        if !hides && at(&mut document.clone(), &path) == at(&mut good(), &path) {
            *at(&mut document, &path) = fault;
            expected.push((format!("{path}{below}"), word));
        }
    }
    let output = written(&serde_json::to_string_pretty(&document).unwrap(), "check");
    assert_eq!(output.code, 1);
    assert!(expected.len() > 15, "{expected:?}");
    for (path, word) in expected {
        assert!(says(&output, "error: ", &path, word).is_some(), "{path}: {word}\n{}", output.out);
    }
}

#[test]
fn a_long_value_is_cut_around_the_place_that_is_wrong() {
    let mut document = good();
    let half = "request.path == \"/\" && ".repeat(20);
    let expression = format!("{half}request.nope && {half}true");
    *at(&mut document, &format!("{ROUTE}.match")) =
        json!({ "dsl_expressions": [{ "expression": expression }] });
    let output = written(&document.to_string(), "check");
    let lines: Vec<&str> = output.out.lines().collect();
    let error = lines.iter().position(|line| line.contains("no attribute request.nope")).unwrap();
    assert!(lines[error].len() < 300, "{output:?}");
    let (text, mark) = (lines[error + 1], lines[error + 2]);
    assert!(
        text.len() < 100 && text[mark.find('^').unwrap()..].starts_with("request.nope"),
        "{text}\n{mark}"
    );
}

#[test]
fn a_hosts_file_is_wrong_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts.json");
    fs::write(&file, "[\n  {\"address\": \"nowhere\"}\n]").unwrap();
    let mut document = good();
    *at(&mut document, &format!("{CLUSTER}.hosts")) = json!([]);
    *at(&mut document, &format!("{CLUSTER}.hosts_file")) = file.to_str().unwrap().into();
    let output = written(&document.to_string(), "check");
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.out.starts_with(&format!("error: {}:2:", file.display())), "{output:?}");
    assert_eq!(output.out.matches("error:").count(), 1, "{output:?}");
}
