//! Whole configurations, in and out.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use mosn_config::model::{
    ActionSpec, BalancerKind, ClusterChoiceSpec, DownstreamProtocols, ListenerAddress, LogLevel, LogOutput,
    NetworkFilterSpec, PathMatchSpec, RouterSource,
};
use mosn_config::{Format, Loaded, Options, Problems, Severity, parse};

const BASE: &str = "/opt/mosn/conf/conf.json";

fn json(text: &str) -> Result<Loaded, Problems> {
    parse(text, Format::Json, Path::new(BASE), Options::default())
}

/// A configuration with one listener, and `{ROUTERS}` and `{CLUSTERS}` to fill in.
fn with(routers: &str, clusters: &str) -> String {
    format!(
        r#"{{"servers":[{{"listeners":[{{"name":"in","address":"127.0.0.1:2045","bind_port":true,
"filter_chains":[{{"filters":[{{"type":"proxy","config":{{"downstream_protocol":"Http1","router_config_name":"r"}}}}]}}]}}],
"routers":[{{"router_config_name":"r","virtual_hosts":[{{"name":"v","domains":["*"],"routers":[{routers}]}}]}}]}}],
"cluster_manager":{{"clusters":[{clusters}]}}}}"#
    )
}

fn lines(result: Result<Loaded, Problems>) -> Vec<String> {
    match result {
        Ok(loaded) => loaded.warnings.iter().map(|problem| format!("warning: {problem}")).collect(),
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn an_ordinary_configuration_becomes_the_model() {
    let text = r#"{
  "servers": [{
    "default_log_path": "stdout",
    "default_log_level": "DEBUG",
    "graceful_timeout": "10s",
    "processor": 2,
    "listeners": [{
      "name": "ingress",
      "type": "ingress",
      "address": "0.0.0.0:2045",
      "bind_port": true,
      "access_logs": [{}],
      "connection_idle_timeout": 0,
      "filter_chains": [{
        "tls_context": {},
        "filters": [{
          "type": "proxy",
          "config": {
            "downstream_protocol": "Auto",
            "router_config_name": "main",
            "extend_config": {"Http1": {"max_header_size": 16384}}
          }
        }]
      }]
    }],
    "routers": [{
      "router_config_name": "main",
      "virtual_hosts": [{
        "name": "all",
        "domains": ["*"],
        "routers": [
          {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": "hello"}},
          {"match": {"prefix": "/"}, "route": {"cluster_name": "backend", "timeout": "5s",
            "retry_policy": {"retry_on": true, "num_retries": 5, "retry_timeout": "1s"}}}
        ]
      }]
    }]
  }],
  "cluster_manager": {"clusters": [{
    "name": "backend", "lb_type": "LB_RANDOM",
    "hosts": [{"address": "127.0.0.1:8080"}, {"address": "127.0.0.1:8081", "weight": 500}]
  }]},
  "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 34901}}}
}"#;
    let loaded = json(text).unwrap();
    assert_eq!(loaded.warnings, []);
    let model = loaded.model;

    assert_eq!(model.server.workers, Some(2));
    assert_eq!(model.server.log_path, LogOutput::Stdout);
    assert_eq!(model.server.log_level, LogLevel::Debug);
    assert_eq!(model.server.graceful_timeout, Duration::from_secs(10));
    assert_eq!(model.server.admin, Some("127.0.0.1:34901".parse().unwrap()));
    assert_eq!(model.server.pid_file, Path::new("/opt/mosn/logs/mosn.pid"));

    let listener = &model.listeners[0];
    assert_eq!(&*listener.name, "ingress");
    assert_eq!(listener.address, ListenerAddress::Tcp("0.0.0.0:2045".parse().unwrap()));
    assert!(listener.bind);
    assert_eq!(listener.idle_timeout, None);
    assert_eq!(listener.access_logs[0].output, LogOutput::File("/opt/mosn/logs/ingress_access.log".into()));
    let NetworkFilterSpec::Proxy(proxy) = &listener.filter_chains[0].filter;
    let DownstreamProtocols::Detect(protocols) = &proxy.downstream else { panic!("{:?}", proxy.downstream) };
    let names: Vec<_> = protocols.iter().map(|protocol| protocol.name()).collect();
    assert_eq!(names, ["Http1", "Http2", "bolt", "boltv2", "dubbo", "dubbo-thrift", "tars"]);
    assert!(matches!(&proxy.router, RouterSource::Named(name) if &**name == "main"));
    assert_eq!(proxy.http.max_header_size, 16384);

    let routes = &model.routers[0].virtual_hosts[0].routes;
    assert!(matches!(&routes[0].action, ActionSpec::DirectResponse(direct) if &*direct.body == "hello"));
    assert_eq!(routes[1].matches.path, PathMatchSpec::Prefix("/".into()));
    let ActionSpec::Forward(forward) = &routes[1].action else { panic!("{:?}", routes[1].action) };
    assert!(matches!(&forward.cluster, ClusterChoiceSpec::Named(name) if &**name == "backend"));
    assert_eq!(forward.timeout, Some(Duration::from_secs(5)));
    assert_eq!(forward.per_try_timeout, Some(Duration::from_secs(1)));
    assert_eq!(forward.retry.max_retries, 5);

    let cluster = &model.clusters[0];
    assert_eq!(cluster.balancer, BalancerKind::Random);
    assert_eq!(cluster.connect_timeout, Duration::from_secs(10));
    let weights: Vec<_> = cluster.localities[0].hosts.iter().map(|host| host.weight).collect();
    assert_eq!(weights, [1, 128]);
}

#[test]
fn every_problem_is_found_in_one_run() {
    let text = r#"{
  "servers": [{
    "default_log_level": 5,
    "listeners": [{
      "name": "in",
      "adress": "127.0.0.1:2045",
      "filter_chains": [{"filters": [{"type": "proxi", "config": {}}]}]
    }]
  }],
  "cluster_manager": {"clusters": [
    {"name": "a", "connect_timeout": 5},
    {"name": "a", "hosts": [{"address": "127.0.0.1"}]}
  ]},
  "admin": {"address": {"socket_address": {"port_value": "15000"}}}
}"#;
    assert_eq!(
        lines(json(text)),
        [
            r#"error: /opt/mosn/conf/conf.json:3:26: servers[0].default_log_level: expected a string, found 5"#,
            r#"error: /opt/mosn/conf/conf.json:4:19: servers[0].listeners[0].address: an address is required"#,
            r#"error: /opt/mosn/conf/conf.json:7:47: servers[0].listeners[0].filter_chains[0].filters[0].type: there is no network filter of type "proxi"; did you mean "proxy"?"#,
            r#"error: /opt/mosn/conf/conf.json:11:38: cluster_manager.clusters[0].connect_timeout: expected a duration such as "5s", "500ms" or "1m30s", found the number 5: the unit is missing"#,
            r#"error: /opt/mosn/conf/conf.json:12:14: cluster_manager.clusters[1].name: there is a cluster "a" already"#,
            r#"error: /opt/mosn/conf/conf.json:12:41: cluster_manager.clusters[1].hosts[0].address: expected host:port or unix:/path, found "127.0.0.1""#,
            r#"error: /opt/mosn/conf/conf.json:14:58: admin.address.socket_address.port_value: expected an integer from 0 to 4294967295, found "15000""#,
            r#"warning: /opt/mosn/conf/conf.json:6:7: servers[0].listeners[0].adress: unknown key; did you mean "address"?"#,
        ]
    );
}

#[test]
fn strict_makes_unknown_keys_errors() {
    let text = with("", r#"{"name":"a","hostz":[]}"#);
    let strict = Options { strict: true };
    let problems = parse(&text, Format::Json, Path::new(BASE), strict).unwrap_err();
    let unknown: Vec<_> = problems.errors().map(|problem| problem.suggestion.clone()).collect();
    assert_eq!(unknown, [Some("hosts".to_owned())]);
    assert!(json(&text).unwrap().warnings.iter().all(|problem| problem.severity == Severity::Warning));
}

#[test]
fn keys_ignore_case() {
    let text = r#"{"CLUSTER_MANAGER":{"clusters":[{"Name":"a","Hosts":[{"ADDRESS":"127.0.0.1:1"}]}]},
      "servers":[{}]}"#;
    let loaded = json(text).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(&*loaded.model.clusters[0].localities[0].hosts[0].address, "127.0.0.1:1");
}
