//! Configurations that are wrong.

use std::fs;

use mosn_tests::{Config, Listener, Output, direct, run, to};
use serde_json::{Value, json};

use crate::MOSN;

fn written(text: &str, command: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    let file = folder.path().join("conf").join("mosn.json");
    fs::write(&file, text).unwrap();
    let arguments: Vec<&str> = command.iter().copied().chain(["-c", file.to_str().unwrap()]).collect();
    run(MOSN, &arguments)
}

fn good() -> Value {
    let listener = Listener::new("in", "Http1").routes([direct("/d", "x"), to("/", "up", &json!({}))]);
    Config::new().listener(listener).cluster("up", &["127.0.0.1:1"]).document()
}

#[test]
fn check_accepts_what_is_right_without_starting_it() {
    let mut document = good();
    // It could not be started: the port is one that nobody may have.
    document["servers"][0]["listeners"][0]["address"] = "203.0.113.1:1".into();
    let output = written(&document.to_string(), &["check"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.out.contains("ok"), "{output:?}");
}

#[test]
fn check_lists_every_problem_with_its_place_in_one_run() {
    let mut document = good();
    let listener = &mut document["servers"][0]["listeners"][0];
    listener["address"] = "nowhere".into();
    listener["connection_idle_timeout"] = "soon".into();
    document["cluster_manager"]["clusters"][0]["connect_timeout"] = 5.into();
    document["servers"][0]["routers"][0]["virtual_hosts"][0]["routers"][1]["match"] = json!({ "regex": "(" });
    let text = serde_json::to_string_pretty(&document).unwrap();
    let line = |needle: &str| 1 + text.lines().position(|line| line.contains(needle)).unwrap();
    for command in ["check", "start"] {
        let output = written(&text, &[command]);
        assert_eq!(output.code, 1, "{command}: {output:?}");
        let said = output.out.clone() + &output.err;
        for (path, line) in [
            ("servers[0].listeners[0].address", line("\"nowhere\"")),
            ("servers[0].listeners[0].connection_idle_timeout", line("\"soon\"")),
            ("cluster_manager.clusters[0].connect_timeout", line("\"connect_timeout\"")),
            ("servers[0].routers[0].virtual_hosts[0].routers[1].match.regex", line("\"regex\"")),
        ] {
            let found =
                said.lines().any(|said| said.contains(path) && said.contains(&format!(".json:{line}:")));
            assert!(found, "{command} does not say {path} at line {line}:\n{said}");
        }
    }
}

#[test]
fn a_route_that_cannot_be_built_is_found_by_check_and_start_alike() {
    for (matches, message) in [
        (
            json!({ "dsl_expressions": [{ "expression": "1 == 1 && request.hots" }] }),
            "match.dsl_expressions[0].expression: not a condition: there is no attribute request.hots; did you mean \
             \"request.host\"?\n    1 == 1 && request.hots\n              ^\n",
        ),
        (
            json!({ "variables": [{ "name": "nope", "value": "a" }] }),
            "match.variables[0].name: there is no variable \"nope\"\n",
        ),
    ] {
        let mut document = good();
        document["servers"][0]["routers"][0]["virtual_hosts"][0]["routers"][1]["match"] = matches;
        for command in ["check", "start"] {
            let output = written(&document.to_string(), &[command]);
            assert_eq!(output.code, 1, "{command}: {output:?}");
            let said = output.out.clone() + &output.err;
            assert!(said.contains(&format!("routers[1].{message}")), "{command}: {said}");
        }
    }
}

#[test]
fn an_unknown_key_is_a_warning_with_a_suggestion_and_strictly_an_error() {
    let mut document = good();
    let address = document["servers"][0]["listeners"][0]["address"].clone();
    document["servers"][0]["listeners"][0]["adress"] = address;
    document["servers"][0]["listeners"][0]["address"] = "127.0.0.1:1".into();
    let output = written(&document.to_string(), &["check"]);
    assert_eq!(output.code, 0, "{output:?}");
    let said = "servers[0].listeners[0].adress";
    assert!(output.out.contains(said) && output.out.contains("did you mean \"address\""), "{output:?}");
    assert!(output.out.starts_with("warning: "), "{output:?}");
    let output = written(&document.to_string(), &["check", "--strict"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!((output.out.clone() + &output.err).contains(said), "{output:?}");
    assert!(
        output.out.lines().last().is_some_and(|last| last.ends_with("mosn.json: 1 problem")),
        "{output:?}"
    );
}

#[test]
fn what_mosn_refuses_is_refused() {
    let break_listener = |change: &dyn Fn(&mut Value)| {
        let mut document = good();
        document["servers"][0]["listeners"][0]["address"] = "127.0.0.1:1".into();
        change(&mut document);
        document
    };
    let listener = |document: &mut Value, key: &str, value: Value| {
        document["servers"][0]["listeners"][0][key] = value;
    };
    let cases: Vec<(&str, Value)> = vec![
        ("no chains", break_listener(&|document| listener(document, "filter_chains", json!([])))),
        (
            "two servers",
            break_listener(&|document| {
                let server = document["servers"][0].clone();
                document["servers"].as_array_mut().unwrap().push(server);
            }),
        ),
        ("no address", break_listener(&|document| listener(document, "address", json!("")))),
        ("sctp", break_listener(&|document| listener(document, "network", json!("sctp")))),
        (
            "a number for a text",
            break_listener(&|document| {
                document["cluster_manager"]["clusters"][0]["connect_timeout"] = 5.into();
            }),
        ),
        (
            "a truth for a text",
            break_listener(&|document| listener(document, "use_original_dst", json!(true))),
        ),
        (
            "clusters twice",
            break_listener(&|document| {
                document["cluster_manager"]["clusters_configs"] = "d".into();
            }),
        ),
        (
            "a protocol that does not exist",
            break_listener(&|document| {
                document["servers"][0]["listeners"][0]["filter_chains"][0]["filters"][0]["config"]["downstream_protocol"] =
                    "gopher".into();
            }),
        ),
    ];
    for (what, document) in cases {
        let output = written(&document.to_string(), &["check"]);
        assert_eq!(output.code, 1, "{what}: {output:?}");
        assert!(output.out.contains("error"), "{what}: {output:?}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_json_is_said_by_name() {
    let output = run(MOSN, &["start", "-c", "/nowhere/at/all.json"]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("/nowhere/at/all.json"), "{output:?}");
    let output = written("{ \"servers\": [ }", &["start"]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("mosn.json:1:"), "{output:?}");
}

#[test]
fn a_feature_gate_that_does_not_exist_stops_the_start() {
    let output = written(&good().to_string(), &["start", "-f", "nosuch=true"]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("nosuch"), "{output:?}");
}

#[test]
fn older_forms_and_other_spellings_still_serve() {
    let origin = mosn_tests::Origin::saying("served");
    let host = json!({ "Address": origin.address() });
    let chain = |filters: Value| json!([{ "filters": filters }]);
    let manager = json!({ "router_config_name": "r", "virtual_hosts": [{
        "name": "any", "domains": ["*"],
        "routers": [{ "match": { "headers": [{ "name": "service", "value": ".*" }] }, "route": { "cluster_name": "a" } },
                    { "route": { "cluster_name": "a" } }],
    }] });
    let document = json!({
        "servers": [{
            "DEFAULT_LOG_LEVEL": "INFO",
            "processor": 1,
            "listeners": [
                // Routes in a filter of their own, a list of protocols, keys in capitals.
                { "name": "old", "address": "127.0.0.1:0", "Bind_Port": true, "filter_chains": chain(json!([
                    { "type": "proxy", "config": { "downstream_protocol": "Http1,Http2", "router_config_name": "r" } },
                    { "type": "connection_manager", "config": manager },
                ])) },
                // Without a name: called by its address.
                { "address": "127.0.0.1:0", "bind_port": true, "filter_chains": chain(json!([
                    { "type": "proxy", "config": { "downstream_protocol": "Auto", "upstream_protocol": "Auto",
                                                   "router_config_name": "r" } },
                ])) },
            ],
        }],
        "CLUSTER_MANAGER": { "clusters": [{ "Name": "a", "Hosts": [host] }] },
        "admin": mosn_tests::admin(),
    });
    let mosn = mosn_tests::Mosn::start(MOSN.as_ref(), &document, &[]);
    for listener in ["old", "#1"] {
        let request = mosn_tests::Request::get("/").with("service", "x");
        assert_eq!(mosn.ask(listener, &request).text(), "served", "{listener}");
        assert_eq!(mosn.ask(listener, &mosn_tests::Request::get("/")).text(), "served", "{listener}");
    }
    let unnamed = format!("downstream.listener.{}", mosn.address("#1"));
    mosn.metric_is(&unnamed, "request_total", 2);
    let clusters = mosn.admin("/api/v1/config_dump?allclusters").text();
    let clusters: Value = serde_json::from_str(&clusters).unwrap();
    let text = clusters.to_string();
    for piece in ["\"max_request_per_conn\":1024", "\"conn_buffer_limit_bytes\":16384", "\"weight\":1"] {
        assert!(text.contains(piece), "{piece} is not in {text}");
    }
}

#[test]
fn flags_without_a_command_start() {
    // A listener that cannot be bound shows that it was tried.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut document = good();
    document["servers"][0]["listeners"][0]["address"] = address.clone().into();
    let output = written(&document.to_string(), &[]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.err.contains(&address), "{output:?}");
}

#[test]
fn yaml_is_read_like_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mosn.yaml");
    let text = "\
servers:
  - listeners:
      - name: in
        address: 127.0.0.1:1
        bind_port: true
        filter_chains:
          - filters:
              - type: proxy
                config: { downstream_protocol: Http1, router_config_name: r }
    routers:
      - router_config_name: r
        virtual_hosts:
          - domains: ['*']
            routers:
              - match: { prefix: / }
                direct_response: { status: 200, body: hello }
";
    fs::write(&file, text).unwrap();
    let output = run(MOSN, &["check", "--strict", "-c", file.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.out.contains("1 listener"), "{output:?}");
    fs::write(&file, text.replace("prefix: /", "regex: '('")).unwrap();
    let output = run(MOSN, &["check", "-c", file.to_str().unwrap()]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.out.contains("mosn.yaml:15:"), "{output:?}");
}
