//! The configuration in effect, written out.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mosn_config::{DumpError, Format, Loaded, Options, load, parse};
use serde_json::{Value, json};

fn loaded(text: &str) -> Loaded {
    parse(text, Format::Json, Path::new("/opt/mosn/conf/c.json"), Options::default()).unwrap()
}

fn dumped(loaded: &Loaded, query: &str) -> Value {
    serde_json::from_str(&loaded.effective.dump(query).unwrap()).unwrap()
}

const SMALL: &str = r#"{"disable_upgrade":true,"servers":[{"default_log_path":"stdout","listeners":[{"address":"localhost:29045","bind_port":true,"access_logs":[{}],
"filter_chains":[{"filters":[{"type":"proxy","config":{"downstream_protocol":"Auto","router_config_name":"r"}}]}]}],
"routers":[{"router_config_name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routers":[{"match":{"prefix":"/"},"route":{"cluster_name":"a","retry_policy":{"retry_on":true}}}]}]}]}],
"CLUSTER_MANAGER":{"clusters":[{"Name":"a","Hosts":[{"ADDRESS":"127.0.0.1:1","metadata":{"filter_metadata":{"mosn.lb":{"x":"y"}}}}],"tls_context":{"private_key":"secret.pem"}}]},
"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":29901}}},"extends":[{"type":"zzz","config":{"a":1}}]}"#;

/// What MOSN 1.6.0 itself answers for [`SMALL`], but for the redaction that came later.
fn small_dumped() -> Value {
    json!({
        "mosn_config": {
            "servers": [{"default_log_path": "stdout", "graceful_timeout": "0s"}],
            "cluster_manager": {"tls_context": {}},
            "disable_upgrade": true,
            "tracing": {},
            "metrics": {
                "sinks": null, "stats_matcher": {}, "shm_zone": "", "shm_size": "0B", "flush_mosn": false,
                "lazy_flush": false, "sample": {"type": "", "size": 0, "exp_decay_alpha": 0.0}
            },
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 29901}}},
            "pprof": {"debug": false, "port_value": 0, "endpoint": ""},
            "plugin": {"log_base": ""},
            "third_part_codec": {"codecs": null}
        },
        "listener": {"127.0.0.1:29045": {
            "name": "127.0.0.1:29045", "address": "127.0.0.1:29045", "bind_port": true, "network": "tcp",
            "access_logs": [{}],
            "filter_chains": [{
                "tls_context_set": [{}],
                "filters": [{
                    "type": "proxy", "go_plugin_config": null,
                    "config": {"downstream_protocol": "Auto", "router_config_name": "r"}
                }]
            }]
        }},
        "cluster": {"a": {
            "name": "a", "max_request_per_conn": 1024, "conn_buffer_limit_bytes": 16384,
            "circuit_breakers": null,
            "health_check": {
                "timeout": "0s", "interval": "0s", "interval_jitter": "0s", "initial_delay_seconds": "0s"
            },
            "spec": {}, "lb_subset_config": {}, "original_dst_lb_config": {},
            "tls_context": {"private_key": "***REDACTED***"},
            "hosts": [{
                "address": "127.0.0.1:1", "weight": 1,
                "metadata": {"filter_metadata": {"mosn.lb": {"x": "y"}}}
            }],
            "keepalive": {"interval": "0s", "timeout": "0s"}, "dns_resolvers": {}, "slow_start": {}
        }},
        "routers": {"r": {
            "router_config_name": "r",
            "virtual_hosts": [{
                "name": "v", "domains": ["*"],
                "routers": [{
                    "match": {"prefix": "/"},
                    "route": {
                        "cluster_name": "a", "timeout": "0s",
                        "retry_policy": {"retry_on": true, "retry_timeout": "0s"}
                    }
                }]
            }]
        }},
        "extends": [{"type": "zzz", "config": {"a": 1}}]
    })
}

#[test]
fn the_dump_is_what_mosn_answers() {
    let loaded = loaded(SMALL);
    let expected = small_dumped();
    assert_eq!(dumped(&loaded, ""), expected);
    for (query, part) in [
        ("mosnconfig", &expected["mosn_config"]),
        ("allrouters", &expected["routers"]),
        ("allclusters", &expected["cluster"]),
        ("alllisteners", &expected["listener"]),
        ("router=r", &expected["routers"]["r"]),
        ("cluster=a", &expected["cluster"]["a"]),
        ("listener=127.0.0.1:29045", &expected["listener"]["127.0.0.1:29045"]),
        ("router=zz", &json!({})),
        ("listener=zz", &json!({})),
    ] {
        assert_eq!(dumped(&loaded, query), *part, "{query}");
    }
    assert_eq!(dumped(&loaded, "cluster=zz")["keepalive"], json!({"interval": "0s", "timeout": "0s"}));
    assert_eq!(loaded.effective.dump("cluster=a&router=b"), Err(DumpError::TooManyParameters));
    assert_eq!(loaded.effective.dump("a=1"), Err(DumpError::UnknownParameter("a".to_owned())));
}

/// Loads what [`mosn_config::EffectiveConfig::to_file`] writes; the model must be the same.
fn assert_round_trip(first: &Loaded) {
    let file = first.effective.to_file(Format::Json);
    let second = loaded(&file);
    assert_eq!(format!("{:#?}", first.model), format!("{:#?}", second.model));
    assert_eq!(second.effective.to_file(Format::Json), file);
}

#[test]
fn what_is_written_loads_again_as_the_same() {
    assert_round_trip(&loaded(SMALL));
    assert_round_trip(&loaded(
        r#"{"servers":[{"default_log_path":"stderr","global_log_roller":"size=10 keep=3","processor":"3",
      "graceful_timeout":"90s","listeners":[
        {"name":"a","type":"ingress","address":":2045","bind_port":true,"reuseport":true,"connection_idle_timeout":"0s",
         "access_logs":[{"log_path":"/tmp/a.log","log_format":"%start_time% %duration%"}],
         "filter_chains":[{"tls_context":{},"filters":[
           {"type":"proxy","config":{"downstream_protocol":"Http1,Http2","router_config_name":"old",
             "extend_config":{"Http1":{"max_header_size":100,"header_timeout":"3s"},"Http2":{"max_resets":7}}}},
           {"type":"connection_manager","config":{"router_config_name":"old","virtual_hosts":[
             {"domains":["a.com","*.b.com"],"routers":[{"match":{"headers":[{"name":"service","value":".*"}]},
              "route":{"cluster_name":"c"}}]}]}}]}]},
        {"name":"u","address":"/tmp/x.sock","network":"unix",
         "filter_chains":[{"filters":[{"type":"proxy","config":{"downstream_protocol":"Http2","router_config_name":"r"}}]}]}],
      "routers":[{"router_config_name":"r","request_headers_to_add":[{"header":{"key":"X-A","value":"%protocol%"},"append":false}],
        "virtual_hosts":[{"name":"v","domains":["*"],"response_headers_to_remove":["Server"],
          "routers":[
           {"match":{"regex":"^/a(.*)$","headers":[{"name":"method","value":"GET"},{"name":"x","value":"a.*","regex":true}]},
            "route":{"weighted_clusters":[{"cluster":{"name":"c","weight":1}},{"cluster":{"name":"d","weight":3,
              "metadata_match":{"filter_metadata":{"mosn.lb":{"k":"v"}}}}}],"timeout":"3s",
              "hash_policy":[{"cookie":{"name":"n","path":"/","ttl":"5s"}}],
              "retry_policy":{"retry_on":true,"num_retries":4,"status_codes":[500,503]},
              "regex_rewrite":{"pattern":{"regex":"^/a"},"substitution":"/b"},"host_rewrite":"h"}},
           {"match":{"path":"/r"},"redirect":{"response_code":308,"scheme_redirect":"HTTPS"}},
           {"match":{"prefix":"/d"},"direct_response":{"status":201,"body":"<&>"},"per_filter_config":{"x":{"a":1}}}]}]}]}],
    "cluster_manager":{"cluster_pool_enable":true,"clusters":[
      {"name":"c","lb_type":"LB_RANDOM","connect_timeout":"1s","idle_timeout":"1m","mark":5,
       "circuit_breakers":[{"max_connections":5}],
       "hosts":[{"address":"unix:/tmp/y"},{"address":"a.com:80","hostname":"h","weight":200,"tls_disable":true}]},
      {"name":"d"}]},
    "metrics":{"sinks":[{"type":"prometheus","config":{"port":9091,"percentiles":[50,99]}}],
      "stats_matcher":{"exclusion_keys":["k"]}},
    "admin":{"address":{"socket_address":{"address":"::1","port_value":1}}},"pid":"/tmp/p.pid"}"#,
    ));
}

#[test]
fn private_keys_are_in_the_file_but_not_in_the_dump() {
    let text = SMALL.replace(
        r#""filter_chains":[{"#,
        r#""filter_chains":[{"tls_context_set":[{"private_key":"secret.pem"}],"#,
    );
    let loaded = loaded(&text);
    for query in ["", "alllisteners", "allclusters", "cluster=a"] {
        let dump = loaded.effective.dump(query).unwrap();
        assert!(!dump.contains("secret.pem") && dump.contains("***REDACTED***"), "{query}");
    }
    assert_eq!(loaded.effective.to_file(Format::Json).matches("secret.pem").count(), 2);
}

#[test]
fn folders_of_virtual_hosts_and_clusters_are_read_in_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("r/b.json", r#"{"name":"b","domains":["b.com"]}"#);
    write("r/a.json", r#"{"name":"a","domains":["a.com"]}"#);
    write("r/x.txt", "not json");
    write("r/e.json", "");
    write("c/one.json", r#"{"name":"one"}"#);
    let config = json!({
        "servers": [{"routers": [{"router_config_name": "r", "router_configs": folder.path().join("r")}]}],
        "cluster_manager": {"clusters_configs": folder.path().join("c")}
    });
    write("conf.json", &config.to_string());
    let path = folder.path().join("conf.json");
    let first = load(&path, Options::default()).unwrap();
    let names: Vec<_> = first.model.routers[0].virtual_hosts.iter().map(|host| &*host.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(&*first.model.clusters[0].name, "one");
    let router = dumped(&first, "router=r");
    assert_eq!(router["router_configs"], Value::Null);
    assert_eq!(router["virtual_hosts"][1]["domains"][0], "b.com");

    write("r/c.json", "{\"name\":\"c\",\n\"domains\":[\"a.com\", 5]}");
    let problems = load(&path, Options::default()).unwrap_err().to_string();
    let file = folder.path().join("r/c.json");
    let file = file.display();
    assert_eq!(
        problems,
        format!(
            "error: {file}:2:12: domains[0]: the domain \"a.com\" belongs to virtual host \"a\" already\n\
             error: {file}:2:21: domains[1]: expected a string, found 5"
        )
    );
}
