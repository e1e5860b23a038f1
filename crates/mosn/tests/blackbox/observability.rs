//! What the admin API and the logs say after traffic.

use mosn_tests::{Config, Listener, Mosn, Origin, Request, admin, direct, to};
use serde_json::{Value, json};

use crate::start;

fn proxy() -> (Mosn, Origin) {
    let origin = Origin::saying("0123456789");
    let listener = Listener::new("in", "Http1").routes([direct("/direct", "x"), to("/", "up", &json!({}))]);
    let config = Config::new()
        .listener(listener)
        .cluster("up", &[&origin.address()])
        .top("admin", admin())
        .top("metrics", json!({ "sinks": [{ "type": "prometheus", "config": { "port": 0 } }] }));
    (start(&config), origin)
}

#[test]
fn states_tell_the_process_and_that_it_runs() {
    let (mosn, _) = proxy();
    let reply = mosn.admin("/api/v1/states");
    assert_eq!((reply.status, reply.text()), (200, format!("pid={}&state=6\n", mosn.pid())));
    let reply = mosn.client("admin").ask(&Request::post("/api/v1/states", "").to("127.0.0.1"));
    assert_eq!((reply.status, reply.body.len()), (405, 0));
}

#[test]
fn the_version_is_the_commands() {
    let (mosn, _) = proxy();
    let command = mosn_tests::run(crate::MOSN, &["version"]).out;
    let version = command.trim().rsplit(' ').next().unwrap();
    assert!(mosn.admin("/api/v1/version").text().contains(version));
}

#[test]
fn a_path_that_does_not_exist_lists_those_that_do() {
    let (mosn, _) = proxy();
    for path in ["/", "/nope"] {
        let text = mosn.admin(path).text();
        assert!(text.starts_with("supported APIs:") && text.contains("/api/v1/stats"), "{text}");
    }
}

#[test]
fn counters_of_listener_cluster_and_host_add_up_after_traffic() {
    let (mosn, origin) = proxy();
    let mut client = mosn.client("in");
    for _ in 0..3 {
        assert_eq!(client.ask(&Request::post("/", "12345")).status, 200);
    }
    client.ask(&Request::get("/direct"));
    drop(client);
    for key in ["downstream.listener.in", "downstream.proxy.global"] {
        mosn.metric_is(key, "connection_destroy", 1);
        for (name, value) in [
            ("request_total", 4),
            ("request_200_total", 4),
            ("request_active", 0),
            ("request_failed", 0),
            ("connection_total", 1),
            ("connection_active", 0),
        ] {
            assert_eq!(mosn.metric(key, name), Some(value), "{key} {name}");
        }
        assert!(mosn.metric(key, "bytes_read_total") > Some(100), "{key}");
        assert!(mosn.metric(key, "bytes_write_total") > Some(100), "{key}");
    }
    for key in ["upstream.cluster.up".to_owned(), format!("upstream.cluster.up.host.{}", origin.address())] {
        for (name, value) in
            [("request_total", 3), ("request_active", 0), ("response_success", 3), ("connection_total", 1)]
        {
            assert_eq!(mosn.metric(&key, name), Some(value), "{key} {name}");
        }
    }
    let one: Value =
        serde_json::from_slice(&mosn.admin("/api/v1/stats?key=downstream.listener.in").body).unwrap();
    assert_eq!(one["downstream"]["listener.in"]["request_total"], "4");
    assert_eq!(mosn.admin("/api/v1/stats?key=zzz").text().trim(), "no metrics key: zzz");
}

#[test]
fn prometheus_gets_the_same_numbers() {
    let (mosn, _) = proxy();
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
    mosn.metric_is("downstream.listener.in", "connection_active", 0);
    let reply = mosn.client("prometheus").ask(&Request::get("/metrics").to("127.0.0.1"));
    let text = reply.text();
    for line in [
        "# TYPE downstream_request_total counter",
        "downstream_request_total{proxy=\"global\"} 1.0",
        "downstream_request_total{listener=\"in\"} 1.0",
        "upstream_request_total{cluster=\"up\"} 1.0",
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("downstream_request_time_max{"), "{text}");
}

#[test]
fn the_configuration_can_be_dumped_whole_and_in_parts() {
    let (mosn, origin) = proxy();
    let whole: Value = serde_json::from_slice(&mosn.admin("/api/v1/config_dump").body).unwrap();
    let text = whole.to_string();
    assert!(text.contains(&origin.address()) && text.contains("router_config_name"), "{text}");
    for key in whole.as_object().unwrap().keys() {
        assert!(
            ["mosn_config", "listener", "cluster", "routers", "extends"].contains(&key.as_str()),
            "{key}"
        );
    }
    assert!(mosn.admin("/api/v1/config_dump?cluster=up").text().contains(&origin.address()));
    assert!(mosn.admin("/api/v1/config_dump?listener=in").text().contains("\"Http1\""));
    assert!(mosn.admin("/api/v1/config_dump?router=in").text().contains("\"/direct\""));
    assert_eq!(mosn.admin("/api/v1/config_dump?router=missing").text().trim(), "{}");
    assert_eq!(mosn.admin("/api/v1/config_dump?a=1&b=2").status, 400);
}

#[test]
fn an_access_log_says_what_its_format_asks_for() {
    let origin = Origin::saying("hello");
    let format = "%protocol% %response_code% %response_flag% %upstream_transport_failure_reason% \
                  %upstream_local_address% %bytes_received% %bytes_sent% %nosuch% %request_header_x-a%";
    let listener = Listener::new("in", "Http1")
        .routes([to("/empty", "empty", &json!({})), to("/", "up", &json!({}))])
        .with("access_logs", json!([{ "log_format": format }]));
    let mosn =
        start(&Config::new().listener(listener).cluster("up", &[&origin.address()]).cluster("empty", &[]));
    mosn.ask("in", &Request::get("/empty").with("x-a", "1"));
    mosn.ask("in", &Request::post("/", "abc").with("X-A", "two words"));
    let lines = mosn.access_log("in", 2);
    assert!(lines[0].starts_with("Http1 502 true 0x2 - 0 ") && lines[0].ends_with(" - 1"), "{lines:?}");
    assert_eq!(lines[1], format!("Http1 200 false 0x0 {} 3 5 - two words", origin.address()));
}

#[test]
fn a_value_from_outside_cannot_make_a_line_of_its_own() {
    let listener = Listener::new("in", "Http2")
        .routes([direct("/", "x")])
        .with("access_logs", json!([{ "log_format": "%request_header_x-a% end" }]));
    let mosn = start(&Config::new().listener(listener));
    mosn.ask("in", &Request::get("/").with("x-a", "one\ttwo"));
    mosn.ask("in", &Request::get("/").with("x-a", "three"));
    let lines = mosn.access_log("in", 2);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("one") && lines[0].ends_with("two end"), "{lines:?}");
}
