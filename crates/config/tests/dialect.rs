//! MOSN's JSON dialect and its value formats, as whole files show them.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use mosn_config::model::{LogRoller, NetworkFilterSpec};
use mosn_config::{Format, Loaded, Options, Problems, parse};
use mosn_core::Protocol;

fn json(text: &str) -> Result<Loaded, Problems> {
    parse(text, Format::Json, Path::new("/opt/mosn/conf/c.json"), Options::default())
}

/// `parts` as top-level keys beside a server without listeners, unless they name `servers`.
fn top(parts: &str) -> String {
    let servers = if parts.contains("\"servers\"") { "" } else { "\"servers\":[{}]" };
    let comma = if servers.is_empty() || parts.is_empty() { "" } else { "," };
    format!("{{{servers}{comma}{parts}}}")
}

fn server(keys: &str) -> String {
    format!("\"servers\":[{{{keys}}}]")
}

fn listener(keys: &str) -> String {
    server(&format!(
        r#""listeners":[{{"address":"127.0.0.1:1",{keys}{}"filter_chains":[{{"filters":[{{"type":"proxy",
        "config":{{"downstream_protocol":"Http1","router_config_name":"r"}}}}]}}]}}]"#,
        if keys.is_empty() { "" } else { "," }
    ))
}

fn cluster(keys: &str) -> String {
    format!(r#""cluster_manager":{{"clusters":[{{"name":"a",{keys}}}]}}"#)
}

fn route(keys: &str) -> String {
    server(&format!(
        r#""routers":[{{"router_config_name":"r","virtual_hosts":[{{"domains":["*"],"routers":[{{{keys}}}]}}]}}]"#
    ))
}

/// The errors, each as `path: message`.
fn errors(parts: &str) -> Vec<String> {
    match json(&top(parts)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .errors()
            .map(|problem| {
                let hint = problem.suggestion.as_ref().map(|hint| format!(" [{hint}]")).unwrap_or_default();
                format!("{}: {}{hint}", problem.path, problem.message)
            })
            .collect(),
    }
}

#[test]
fn what_mosn_refuses_is_refused_and_says_why() {
    let duration = r#"expected a duration such as "5s", "500ms" or "1m30s""#;
    for (parts, error) in [
        (
            r#""admin":{"address":{"socket_address":{"port_value":"15000"}}}"#.to_owned(),
            r#"admin.address.socket_address.port_value: expected an integer from 0 to 4294967295, found "15000""#.to_owned(),
        ),
        (
            cluster(r#""connect_timeout":5"#),
            format!("cluster_manager.clusters[0].connect_timeout: {duration}, found the number 5: the unit is missing"),
        ),
        (
            listener(r#""use_original_dst":true"#),
            "servers[0].listeners[0].use_original_dst: expected a string, found true".to_owned(),
        ),
        (
            r#""metrics":{"shm_size":1024}"#.to_owned(),
            r#"metrics.shm_size: expected a size in quotes such as "10MB", found 1024"#.to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a","timeout":null}"#),
            format!("servers[0].routers[0].virtual_hosts[0].routers[0].route.timeout: {duration}, found null"),
        ),
        (
            server(r#""graceful_timeout":"1d""#),
            format!(r#"servers[0].graceful_timeout: {duration}, found "1d": unknown unit "d"; the units are ns, us, ms, s, m and h"#),
        ),
        (
            server(r#""processor":true"#),
            r#"servers[0].processor: expected a number of workers, or "auto", found true"#.to_owned(),
        ),
        (
            server(r#""global_log_roller":"size=10 foo=1""#),
            r#"servers[0].global_log_roller: unknown setting "foo"; there are `time`, `size`, `age`, `keep` and `compress`"#.to_owned(),
        ),
        (r#""servers":[{},{}]"#.to_owned(), "servers: expected exactly one server, found 2".to_owned()),
        (r#""servers":[]"#.to_owned(), "servers: expected exactly one server, found 0".to_owned()),
        (
            listener(r#""network":"sctp""#),
            r#"servers[0].listeners[0].network: expected tcp, udp or unix, found "sctp""#.to_owned(),
        ),
        (
            server(r#""listeners":[{"address":"127.0.0.1:1","filter_chains":[]}]"#),
            "servers[0].listeners[0].filter_chains: expected exactly one filter chain, found 0".to_owned(),
        ),
        (
            server(r#""listeners":[{"address":"127.0.0.1:1","filter_chains":[{},{}]}]"#),
            "servers[0].listeners[0].filter_chains: expected exactly one filter chain, found 2".to_owned(),
        ),
        (
            r#""cluster_manager":{"clusters":[{"name":"a"}],"clusters_configs":"d"}"#.to_owned(),
            "cluster_manager.clusters_configs: there can only be one of clusters and clusters_configs".to_owned(),
        ),
        (
            server(r#""routers":[{"router_config_name":"r","router_configs":"d","virtual_hosts":[{}]}]"#),
            "servers[0].routers[0].router_configs: there can only be one of virtual_hosts and router_configs".to_owned(),
        ),
        (
            cluster(r#""mark":-1"#),
            "cluster_manager.clusters[0].mark: expected an integer from 0 to 4294967295, found -1".to_owned(),
        ),
        (
            cluster(r#""mark":1.0"#),
            "cluster_manager.clusters[0].mark: expected an integer from 0 to 4294967295, found 1.0".to_owned(),
        ),
        (
            cluster(r#""hosts":{}"#),
            "cluster_manager.clusters[0].hosts: expected an array, found an object".to_owned(),
        ),
        (
            cluster(r#""hosts":["127.0.0.1:80"]"#),
            r#"cluster_manager.clusters[0].hosts[0]: expected an object, found "127.0.0.1:80""#.to_owned(),
        ),
        (
            r#""cluster_manager":{"clusters":[{}]}"#.to_owned(),
            "cluster_manager.clusters[0].name: a cluster needs a name".to_owned(),
        ),
        (
            route(r#""match":{"regex":"(a"},"direct_response":{"status":200}"#),
            r#"servers[0].routers[0].virtual_hosts[0].routers[0].match.regex: not a regular expression: unclosed group"#.to_owned(),
        ),
        (
            route(r#""direct_response":{"status":99}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].direct_response.status: expected a status from 200 to 599, found 99".to_owned(),
        ),
        (
            route(r#""redirect":{"response_code":300}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].redirect.response_code: expected 301, 302, 303, 307 or 308, found 300".to_owned(),
        ),
        (
            route(r#""redirect":{"scheme_redirect":"1x"}"#),
            r#"servers[0].routers[0].virtual_hosts[0].routers[0].redirect.scheme_redirect: expected a scheme such as "https", found "1x""#.to_owned(),
        ),
        (
            route(r#""route":{"weighted_clusters":[{"cluster":{"name":"a","weight":0}}]}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].route.weighted_clusters: the sum of the weights is 0: no cluster would ever be chosen".to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a","retry_policy":{"status_codes":[500,600]}}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].route.retry_policy.status_codes[1]: expected a status from 100 to 599, found 600".to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a","retry_policy":{"retry_conditions":["5xx","gateway-eror"]}}"#),
            r#"servers[0].routers[0].virtual_hosts[0].routers[0].route.retry_policy.retry_conditions[1]: unknown condition "gateway-eror" [gateway-error]"#.to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a","retry_policy":{"retry_back_off":{"max_interval":"1s"}}}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].route.retry_policy.retry_back_off.base_interval: expected a duration above 0, found 0s".to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a","retry_policy":{"retry_back_off":{"base_interval":"2s","max_interval":"1s"}}}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].route.retry_policy.retry_back_off.max_interval: 1s is shorter than base_interval, 2s".to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a"},"request_mirror_policies":{"percent":101}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].request_mirror_policies.percent: expected 0 to 100, found 101".to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a"},"request_mirror_policies":{"percent":10}"#),
            "servers[0].routers[0].virtual_hosts[0].routers[0].request_mirror_policies.cluster: a cluster is required".to_owned(),
        ),
        (
            cluster(r#""lbconfig":{"healthy_panic_threshold":101}"#),
            "cluster_manager.clusters[0].lbconfig.healthy_panic_threshold: expected 0 to 100, found 101".to_owned(),
        ),
        (
            cluster(r#""circuit_breakers":[{"priority":"HIHG"}]"#),
            r#"cluster_manager.clusters[0].circuit_breakers[0].priority: expected DEFAULT or HIGH, found "HIHG" [HIGH]"#.to_owned(),
        ),
        (
            route(r#""route":{"cluster_name":"a","priority":"high"}"#),
            r#"servers[0].routers[0].virtual_hosts[0].routers[0].route.priority: expected DEFAULT or HIGH, found "high" [HIGH]"#.to_owned(),
        ),
        (
            cluster(r#""circuit_breakers":[{"retry_budget":{"budget_percent":101}}]"#),
            "cluster_manager.clusters[0].circuit_breakers[0].retry_budget.budget_percent: expected 0 to 100, found 101".to_owned(),
        ),
        (
            server(r#""routers":[{"router_config_name":"r","virtual_hosts":[{"name":"one","domains":["A.com"]},{"domains":["a.com"]}]}]"#),
            r#"servers[0].routers[0].virtual_hosts[1].domains[0]: the domain "a.com" belongs to virtual host "one" already"#.to_owned(),
        ),
        (
            server(r#""routers":[{"router_config_name":"r","virtual_hosts":[{"domains":["a*b"]}]}]"#),
            r#"servers[0].routers[0].virtual_hosts[0].domains[0]: "a*b" has a wildcard that is neither at its start nor at its end"#.to_owned(),
        ),
        (
            listener(r#""access_logs":[{"log_format":"%duration"}]"#),
            r"servers[0].listeners[0].access_logs[0].log_format: `%` is not closed; write `%name%`, or `\%` for a percent sign".to_owned(),
        ),
        (
            listener(r#""stream_filters":[{"type":"gzipp"}]"#),
            r#"servers[0].listeners[0].stream_filters[0].type: there is no stream filter of type "gzipp" [gzip]"#.to_owned(),
        ),
        (
            listener(r#""stream_filters":[{"type":"gzip","config":{"gzip_level":"x"}}]"#),
            r#"servers[0].listeners[0].stream_filters[0].config.gzip_level: expected an integer from 0 to 4294967295, found "x""#.to_owned(),
        ),
        (
            r#""metrics":{"sinks":[{"type":"prometheus","config":{"port":0}}]}"#.to_owned(),
            "metrics.sinks[0].config.port: expected a port from 1 to 65535, found 0".to_owned(),
        ),
    ] {
        let found = errors(&parts);
        assert!(found.contains(&error), "{parts}\nexpected: {error}\nfound: {found:#?}");
    }
}

#[test]
fn what_is_not_built_says_so_when_it_is_used() {
    let is_missing = |feature: &str| format!("understood, but this build has no {feature} yet");
    for (parts, path, feature) in [
        (
            listener(r#""stream_filters":[{"type":"fault","config":{}}]"#),
            "servers[0].listeners[0].stream_filters[0].type",
            "stream filter fault",
        ),
        (cluster(r#""tls_context":{"status":true}"#), "cluster_manager.clusters[0].tls_context", "TLS"),
        (r#""tracing":{"enable":true,"driver":"otel"}"#.to_owned(), "tracing", "tracing"),
        (
            r#""metrics":{"shm_zone":"z","shm_size":"10MB"}"#.to_owned(),
            "metrics.shm_zone",
            "metrics in shared memory",
        ),
        (r#""static_resources":{}"#.to_owned(), "static_resources", "xDS"),
        (
            r#""extends":[{"type":"tunnel_agent","config":{"enable":true}}]"#.to_owned(),
            "extends[0]",
            "extension tunnel_agent",
        ),
    ] {
        assert_eq!(errors(&parts), [format!("{path}: {}", is_missing(feature))], "{parts}");
    }
    for parts in [
        cluster(r#""tls_context":{},"health_check":{"protocol":"Http1"},"slow_start":{},"type":"DYNAMIC""#),
        cluster(r#""tls_context":{"status":false,"cert_chain":"x"},"lb_subset_config":{}"#),
        r#""tracing":{"enable":false,"driver":"otel"}"#.to_owned(),
        r#""metrics":{"shm_zone":"z"}"#.to_owned(),
        r#""extends":[{"type":"tunnel_agent","config":{}}]"#.to_owned(),
        r#""third_part_codec":{"codecs":[{"enable":true,"type":"go-plugin"}]}"#.to_owned(),
    ] {
        assert_eq!(errors(&parts), [] as [String; 0], "{parts}");
    }
}

#[test]
fn warnings_tell_what_will_not_happen() {
    for (parts, warning) in [
        (
            r#""extends":[{"type":"dubbo_registri","config":{"a":1}}]"#.to_owned(),
            r#"extends[0].type: there is no extension of type "dubbo_registri"; it is kept, but does nothing; did you mean "dubbo_registry"?"#,
        ),
        (
            r#""third_part_codec":{"codecs":[{"enable":true,"type":"go-plugin"}]}"#.to_owned(),
            "third_part_codec.codecs[0]: Go plugins cannot be loaded: connections of this codec's protocol are refused",
        ),
        (
            cluster(r#""lb_type":"LB_RANDON""#),
            r#"cluster_manager.clusters[0].lb_type: unknown load balancer "LB_RANDON" counts as LB_ROUNDROBIN; did you mean "LB_RANDOM"?"#,
        ),
        (
            route(r#""match":{"prefix":"/"},"route":{"cluster_name":"b"}"#),
            r#"servers[0].routers[0].virtual_hosts[0].routers[0].route.cluster_name: there is no cluster "b": requests are answered 404 until there is"#,
        ),
        (r#""tracing":{"tracer":"x"}"#.to_owned(), "tracing.tracer: has no effect"),
        (
            server(r#""default_log_level":"Info""#),
            r#"servers[0].default_log_level: unknown level "Info" counts as INFO; did you mean "INFO"?"#,
        ),
        (r#""layered_runtime":{}"#.to_owned(), "layered_runtime: has no effect"),
        (r#""nothing_like_it":{}"#.to_owned(), "nothing_like_it: unknown key"),
    ] {
        let loaded = json(&top(&parts)).unwrap();
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.iter().any(|text| text.ends_with(warning)), "{parts}\n{warnings:#?}");
    }
}

#[test]
fn null_is_a_values_zero() {
    let loaded = json(
        r#"{"servers":[{"default_log_path":null,"graceful_timeout":"5s","processor":null,"listeners":null,
        "routers":null,"use_netpoll_mode":null}],
        "cluster_manager":{"clusters":[{"name":"a","connect_timeout":null,"mark":null,"hosts":null,"lbconfig":null,
        "health_check":null}],"tls_context":null},"metrics":null,"admin":null,"extends":null}"#,
    )
    .unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.model.clusters[0].connect_timeout, Duration::from_secs(10));
    assert_eq!(errors(&server(r#""listeners":[null]"#)).len(), 2);
}

#[test]
fn repeated_objects_merge_and_other_repeated_values_replace() {
    let loaded = json(
        r#"{"servers":[{"processor":1,"processor":2}],
        "cluster_manager":{"clusters":[{"name":"old"}],"cluster_pool_enable":true},
        "Cluster_Manager":{"clusters":[{"name":"new","HOSTS":[],"hosts":[{"address":"a:1"}]}]},
        "metrics":{"stats_matcher":{"reject_all":true}},
        "metrics":{"stats_matcher":{"exclusion_keys":["k"]}}}"#,
    )
    .unwrap();
    assert_eq!(loaded.warnings, []);
    let model = loaded.model;
    assert_eq!(model.server.workers, Some(2));
    let names: Vec<_> = model.clusters.iter().map(|cluster| &*cluster.name).collect();
    assert_eq!(names, ["new"]);
    assert!(model.clusters[0].own_pools);
    assert_eq!(model.clusters[0].localities[0].hosts.len(), 1);
    assert!(model.server.metrics_filter.reject_all);
    assert_eq!(model.server.metrics_filter.exclusion_keys, ["k"]);

    // The last object of several has no clusters: those of the first stay.
    let split = json(
        r#"{"servers":[{}],"cluster_manager":{"clusters":[{"name":"a"}]},"cluster_manager":{"cluster_pool_enable":true}}"#,
    );
    assert_eq!(split.unwrap().model.clusters.len(), 1);
}

#[test]
fn an_exact_key_is_no_better_than_the_last_one() {
    let loaded = json(r#"{"servers":[{}],"cluster_manager":{"clusters":[{"name":"a","NAME":"b"}]}}"#);
    assert_eq!(&*loaded.unwrap().model.clusters[0].name, "b");
}

#[test]
fn older_forms_still_work() {
    let loaded = json(
        r#"{"close_graceful":true,"servers":[{"listeners":[
          {"address":"127.0.0.1:1","filter_chains":[{"tls_context_set":[{}],"filters":[
            {"type":"proxy","config":{"downstream_protocol":"X","upstream_protocol":"X","router_config_name":"r",
              "extend_config":{"sub_protocol":"Http2"}}},
            {"type":"connection_manager","config":{"router_config_name":"r","virtual_hosts":[
              {"domains":["*"],"routers":[{"direct_response":{"status":200}}]}]}}]}]},
          {"address":"127.0.0.1:2","filter_chains":[{"filters":[{"type":"proxy","config":{
            "downstream_protocol":"Http1,Http2","router_config_name":"r"}}]}]}]}]}"#,
    )
    .unwrap();
    let model = loaded.model;
    assert!(model.server.disable_upgrade);
    let names: Vec<_> = model.listeners.iter().map(|listener| &*listener.name).collect();
    assert_eq!(names, ["127.0.0.1:1", "127.0.0.1:2"]);
    let NetworkFilterSpec::Proxy(proxy) = &model.listeners[0].filter_chains[0].filter;
    assert_eq!(proxy.downstream, mosn_config::model::DownstreamProtocols::One(Protocol::Http2));
    assert_eq!(&*model.routers[0].name, "r");
    assert_eq!(model.routers[0].virtual_hosts.len(), 1);
}

#[test]
fn a_later_router_of_the_same_name_replaces_the_earlier_one() {
    let loaded = json(&top(&server(
        r#""routers":[{"router_config_name":"r","virtual_hosts":[{"name":"1","domains":["*"]}]},
        {"router_config_name":"r","virtual_hosts":[{"name":"2","domains":["*"]}]},{"virtual_hosts":[]}]"#,
    )))
    .unwrap();
    assert_eq!(loaded.model.routers.len(), 1);
    assert_eq!(&*loaded.model.routers[0].virtual_hosts[0].name, "2");
    let dump: serde_json::Value = serde_json::from_str(&loaded.effective.dump("router=r").unwrap()).unwrap();
    assert_eq!(dump["virtual_hosts"][0]["name"], "2");
}

#[test]
fn limits_of_protocols_stand_flat_or_under_the_protocols_name() {
    let limits = |protocol: &str, extend: &str| {
        let text = top(&server(&format!(
            r#""listeners":[{{"address":"127.0.0.1:1","filter_chains":[{{"filters":[{{"type":"proxy","config":
            {{"downstream_protocol":"{protocol}","router_config_name":"r","extend_config":{extend}}}}}]}}]}}]"#
        )));
        let loaded = json(&text).unwrap();
        let NetworkFilterSpec::Proxy(proxy) = loaded.model.listeners[0].filter_chains[0].filter.clone();
        let warnings =
            loaded.warnings.into_iter().filter(|warning| warning.message.starts_with("has no effect"));
        (proxy.http, warnings.map(|warning| warning.path).collect::<Vec<_>>())
    };
    let (http, warnings) = limits(
        "Http1",
        r#"{"max_header_size":1,"max_header_count":2,"max_uri_length":3,"max_request_body_size":4,
            "header_timeout":"5s","body_idle_timeout":"6s","max_buffered_bytes":7}"#,
    );
    assert_eq!(
        (http.max_header_size, http.max_header_count, http.max_uri_length, http.max_request_body_size),
        (1, 2, 3, 4)
    );
    assert_eq!(http.header_timeout, Duration::from_secs(5));
    assert_eq!(http.body_idle_timeout, Duration::from_secs(6));
    assert_eq!(http.max_buffered_bytes, 7);
    assert_eq!(warnings, [] as [String; 0]);

    let (http, _) = limits(
        "Http2",
        r#"{"Http2":{"http2_use_stream":true,"max_header_size":1,"max_concurrent_streams":2,"max_resets":3,
            "max_control_frames":4,"header_timeout":"0s","body_idle_timeout":"6s"}}"#,
    );
    assert_eq!(
        (http.max_header_list_size, http.max_concurrent_streams, http.max_resets, http.max_control_frames),
        (1, 2, 3, 4)
    );
    assert_eq!(http.header_timeout, Duration::ZERO);

    let (http, warnings) = limits("Auto", r#"{"max_header_size":1,"Http1":{"max_header_size":20000}}"#);
    assert_eq!(http.max_header_size, 20000);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].ends_with("extend_config.max_header_size"), "{warnings:?}");
}

#[test]
fn yaml_reads_as_the_json_it_stands_for() {
    let yaml = "\
servers:
- default_log_path: stdout
  global_log_roller: time=6
  listeners:
  - name: in
    address: 127.0.0.1:2045
    bind_port: true
    adress: x
    filter_chains:
    - filters:
      - type: proxy
        config: {downstream_protocol: Http1, router_config_name: r}
  routers:
  - router_config_name: r
    virtual_hosts:
    - domains: ['*']
      routers:
      - direct_response: {status: 200, body: hi}
";
    let loaded = parse(yaml, Format::Yaml, Path::new("/opt/mosn/conf/c.yaml"), Options::default()).unwrap();
    assert_eq!(loaded.model.server.log_roller, LogRoller::Time { hours: 6, keep: 10 });
    assert_eq!(loaded.model.listeners.len(), 1);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            r#"/opt/mosn/conf/c.yaml:8:5: servers[0].listeners[0].adress: unknown key; did you mean "address"?"#
        ]
    );
    let again = loaded.effective.to_file(Format::Json);
    let again = json(&again).unwrap();
    assert_eq!(format!("{:?}", again.model.listeners), format!("{:?}", loaded.model.listeners));
}

#[test]
fn a_file_that_is_no_document_says_where() {
    let problems = json("{\n  \"servers\": [\n    {}\n  ],\n}").unwrap_err();
    assert_eq!(
        problems.to_string(),
        "error: /opt/mosn/conf/c.json:5:1: a comma before the closing bracket is not allowed"
    );
    let missing = mosn_config::load(Path::new("/no/such/file.json"), Options::default()).unwrap_err();
    assert!(missing.to_string().starts_with("error: /no/such/file.json: cannot be read: "), "{missing}");
}

#[test]
fn thousands_of_problems_are_counted_but_not_listed() {
    let clusters: Vec<_> = (0..5000).map(|n| format!(r#"{{"name":"c{n}","mark":"x","marc":1}}"#)).collect();
    let text = top(&format!(r#""cluster_manager":{{"clusters":[{}]}}"#, clusters.join(",")));
    let problems = json(&text).unwrap_err();
    assert_eq!(problems.errors().count(), 101);
    assert_eq!(problems.errors().last().unwrap().message, "4900 more errors");
    assert!(problems.warnings().count() <= 101);
}
