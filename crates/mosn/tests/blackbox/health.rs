//! Hosts that fail, and how they are found out.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

use mosn_tests::{Config, Listener, Mosn, Origin, Refusing, Request, admin, to, until};
use serde_json::{Value, json};

use crate::start;

/// An origin whose path `/health` answers with a status that can be changed.
fn checked() -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let told = Arc::clone(&status);
    let origin = Origin::new(move |exchange| {
        let status = if exchange.head.target() == "/health" { told.load(Relaxed) } else { 200 };
        exchange.read()?;
        exchange.reply(status, &[], b"ok")
    });
    (origin, status)
}

/// Checks over HTTP each 20 ms; `more` lays over them.
fn http_check(more: &Value) -> Value {
    let mut check = json!({
        "protocol": "Http1",
        "service_name": "checked",
        "interval": "20ms",
        "initial_delay_seconds": "1ms",
        "timeout": "5s",
        "check_config": { "http_check_config": { "path": "/health" } },
    });
    check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    check
}

fn config(hosts: &[&str], more: &Value) -> Config {
    let listener = Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]);
    Config::new().listener(listener).cluster_with("up", hosts, more).top("admin", admin())
}

#[track_caller]
fn answers(mosn: &Mosn, status: u16) {
    until("the check to tell", || (mosn.ask("in", &Request::get("/")).status == status).then_some(()));
}

#[test]
fn checks_come_from_where_requests_come_from() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let more = json!({ "bind_address": "127.0.0.9", "health_check": http_check(&json!({})) });
    let mosn = start(&config(&[&address], &more));
    assert_eq!(listener.accept().unwrap().1.ip().to_string(), "127.0.0.9");
    drop(mosn);
    // Not an address of this machine: neither requests nor checks can come from there.
    let check = json!({ "service_name": "checked", "interval": "20ms", "initial_delay_seconds": "1ms" });
    let more = json!({ "bind_address": "192.0.2.1", "health_check": check });
    let mosn = start(&config(&[&address], &more));
    mosn.metric_is("healthcheck.service.checked", "healty", 0);
}

#[test]
fn with_too_few_healthy_hosts_the_others_are_used_too_where_a_threshold_says_so() {
    let hosts: [_; 3] = std::array::from_fn(|_| checked());
    let addresses: Vec<String> = hosts.iter().map(|(origin, _)| origin.address()).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let more = |threshold| json!({ "health_check": http_check(&json!({})), "lbconfig": { "healthy_panic_threshold": threshold } });
    let used = |path: &str| {
        let asked = |origin: &Origin| origin.log().requests().iter().any(|seen| seen.path == path);
        hosts.iter().filter(|(origin, _)| asked(origin)).count()
    };
    for (threshold, failing, expected) in [(0, 2, 1), (50, 2, 3), (50, 1, 2), (50, 3, 3)] {
        hosts.iter().for_each(|(_, status)| status.store(200, Relaxed));
        let mosn = start(&config(&addresses, &more(threshold)));
        hosts.iter().take(failing).for_each(|(_, status)| status.store(503, Relaxed));
        mosn.metric_is("healthcheck.service.checked", "healty", (3 - failing) as u64);
        let path = format!("/{threshold}/{failing}");
        for _ in 0..12 {
            assert_eq!(mosn.ask("in", &Request::get(&path)).status, 200, "{path}");
        }
        assert_eq!(used(&path), expected, "{path}");
    }
}

#[test]
fn all_hosts_that_fail_their_checks_are_unused_until_they_pass_them_whatever_the_balancer() {
    for lb_type in [
        "LB_ROUNDROBIN",
        "LB_WEIGHTED_ROUNDROBIN",
        "LB_RANDOM",
        "LB_MAGLEV",
        "LB_REQUEST_ROUNDROBIN",
        "LB_LEAST_REQUEST",
        "LB_LEAST_CONNECTION",
        "LB_PEAK_EWMA",
    ] {
        let (origins, statuses): (Vec<_>, Vec<_>) = (0..2).map(|_| checked()).unzip();
        let hosts: Vec<_> = origins.iter().map(Origin::address).collect();
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        let more = json!({ "lb_type": lb_type, "health_check": http_check(&json!({})) });
        let mosn = start(&config(&hosts, &more));
        answers(&mosn, 200);
        statuses.iter().for_each(|status| status.store(500, Relaxed));
        answers(&mosn, 502);
        mosn.metric_is("healthcheck.service.checked", "healty", 0);
        statuses.iter().for_each(|status| status.store(200, Relaxed));
        answers(&mosn, 200);
        mosn.metric_is("healthcheck.service.checked", "healty", 2);
    }
}

#[test]
fn what_one_clusters_check_finds_holds_for_the_address_in_every_cluster() {
    let (origin, status) = checked();
    let listener =
        Listener::new("in", "Http1").routes([to("/b", "b", &json!({})), to("/", "up", &json!({}))]);
    let config = Config::new()
        .listener(listener)
        .cluster_with("up", &[&origin.address()], &json!({ "health_check": http_check(&json!({})) }))
        .cluster("b", &[&origin.address()]);
    let mosn = start(&config);
    status.store(500, Relaxed);
    answers(&mosn, 502);
    assert_eq!(mosn.ask("in", &Request::get("/b")).status, 502);
    status.store(200, Relaxed);
    answers(&mosn, 200);
    assert_eq!(mosn.ask("in", &Request::get("/b")).status, 200);
}

#[test]
fn the_event_log_and_the_metrics_are_mosns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    let (origin, status) = checked();
    status.store(500, Relaxed);
    let check = http_check(&json!({ "event_log_path": path, "unhealthy_threshold": 2 }));
    let mosn = start(&config(&[&origin.address()], &json!({ "health_check": check })));
    answers(&mosn, 502);
    status.store(200, Relaxed);
    answers(&mosn, 200);
    let lines = until("the log", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let found = text.contains("health_status:1,current_result:1,status_changed:1\n");
        found.then(|| text.lines().map(str::to_owned).collect::<Vec<_>>())
    });
    let rest = |line: &str| line.split_once(',').unwrap().1.to_owned();
    assert!(lines[0].starts_with("time:1"), "{}", lines[0]);
    let host = origin.address();
    assert_eq!(rest(&lines[0]), format!("host:{host},health_status:1,current_result:0,status_changed:0"));
    assert_eq!(rest(&lines[1]), format!("host:{host},health_status:0,current_result:0,status_changed:1"));
    let count = |name| mosn.metric("healthcheck.service.checked", name).unwrap();
    // In this order: checks go on meanwhile.
    let told = count("success") + count("failure");
    assert!(count("attempt") >= told);
    assert!(count("success") >= 1 && count("failure") >= 2 && count("active_failure") >= 2);
    assert_eq!((count("passive_failure"), count("verify_cluster"), count("healty")), (0, 0, 1));
    assert!(mosn.error_log().contains(&format!("{host} fails its health checks: status 500")));
}

#[test]
fn a_host_that_accepts_and_never_answers_fails_http_checks_by_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let check = http_check(&json!({ "timeout": "30ms" }));
    let host = silent.local_addr().unwrap().to_string();
    let mosn = start(&config(&[&host], &json!({ "health_check": check })));
    // Not before: a request would wait for the host.
    mosn.metric_is("healthcheck.service.checked", "healty", 0);
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 502);
    assert!(mosn.metric("healthcheck.service.checked", "network_failure").unwrap() > 0);
}

#[test]
fn other_protocols_are_connected_to() {
    let refusing = Refusing::new();
    let origin = Origin::saying("ok");
    let check = json!({
        "protocol": "http1",
        "service_name": "checked",
        "interval": "20ms",
        "initial_delay_seconds": "1ms",
        "check_config": { "http_check_config": { "path": "/health" } },
    });
    let hosts = [&refusing.address(), &origin.address()].map(|host| host.to_owned());
    let mosn = start(&config(&[&hosts[0], &hosts[1]], &json!({ "health_check": check })));
    mosn.metric_is("healthcheck.service.checked", "healty", 1);
    let mut client = mosn.client("in");
    for _ in 0..4 {
        assert_eq!(client.ask(&Request::get("/")).status, 200);
    }
    assert!(origin.log().requests().iter().all(|seen| seen.path == "/"));
}

#[test]
fn a_connection_waits_at_a_host_that_has_become_healthy() {
    let status = Arc::new(AtomicU16::new(200));
    let told = Arc::clone(&status);
    // Every connection ends with its first request, as those of a host that restarts do.
    let origin = Origin::new(move |exchange| {
        exchange.read()?;
        exchange.reply(told.load(Relaxed), &[("Connection", "close")], b"ok")?;
        Err(ErrorKind::ConnectionAborted.into())
    });
    let mosn = start(&config(&[&origin.address()], &json!({ "health_check": http_check(&json!({})) })));
    answers(&mosn, 200);
    let active = || mosn.metric("upstream.cluster.up", "connection_active");
    status.store(500, Relaxed);
    mosn.metric_is("healthcheck.service.checked", "healty", 0);
    mosn.metric_is("upstream.cluster.up", "connection_active", 0);
    // The worker looks each second; it must have seen the host unhealthy.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    status.store(200, Relaxed);
    until("a connection", || (active() == Some(1)).then_some(()));
}

#[test]
fn a_host_that_fails_its_requests_is_left_out_for_a_while() {
    let failing = Origin::scripted("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false);
    let good = Origin::saying("ok");
    let detection = json!({
        "consecutive_5xx": 3,
        "interval": "50ms",
        "base_ejection_time": "300s",
        "max_ejection_percent": 50,
    });
    let hosts = [failing.address(), good.address()];
    let mosn = start(&config(&[&hosts[0], &hosts[1]], &json!({ "outlier_detection": detection })));
    let mut client = mosn.client("in");
    let statuses: Vec<u16> = (0..40).map(|_| client.ask(&Request::get("/")).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3, "{statuses:?}");
    mosn.metric_is("outlier.cluster.up", "ejections_total", 1);
    mosn.metric_is("outlier.cluster.up", "ejections_active", 1);
    let said = format!("outlier detection leaves out {} of cluster up: too many 5xx in a row", hosts[0]);
    assert!(mosn.error_log().contains(&said));
}

#[test]
fn the_admin_api_tells_which_hosts_are_left_out_and_why() {
    let (unwell, status) = checked();
    let failing = Origin::scripted("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false);
    let good = Origin::saying("ok");
    let detection = json!({ "consecutive_5xx": 1, "base_ejection_time": "300s", "max_ejection_percent": 50 });
    let listener =
        Listener::new("in", "Http1").routes([to("/b", "b", &json!({})), to("/", "up", &json!({}))]);
    let checks = json!({ "health_check": http_check(&json!({})) });
    let config = Config::new()
        .listener(listener)
        .cluster_with("up", &[&unwell.address(), &good.address()], &checks)
        .cluster_with("b", &[&failing.address(), &good.address()], &json!({ "outlier_detection": detection }))
        .top("admin", admin());
    let mosn = start(&config);
    let shown = |query: &str| -> Value {
        serde_json::from_slice(&mosn.admin(&format!("/api/v1/clusters{query}")).body).unwrap()
    };
    let flags_of = |cluster: &str, flags: &Value| {
        until("the flags", || {
            let hosts = &shown("")[cluster]["hosts"];
            let [first, second] = hosts.as_array().unwrap().as_slice() else { panic!("{hosts}") };
            assert_eq!((&second["healthy"], &second["health_flags"]), (&json!(true), &json!([])));
            (first["health_flags"] == *flags).then(|| first.clone())
        })
    };
    flags_of("up", &json!([]));
    status.store(500, Relaxed);
    let first = flags_of("up", &json!(["failed_active_hc"]));
    let address = unwell.address();
    let expected =
        json!({ "address": address, "weight": 1, "healthy": false, "health_flags": ["failed_active_hc"] });
    assert_eq!(first, expected);
    status.store(200, Relaxed);
    flags_of("up", &json!([]));

    flags_of("b", &json!([]));
    until("a failure", || (mosn.ask("in", &Request::get("/b")).status == 500).then_some(()));
    let first = flags_of("b", &json!(["failed_outlier_check"]));
    assert_eq!((&first["address"], &first["active_requests"]), (&json!(failing.address()), &json!(0)));

    assert_eq!(shown("").as_object().unwrap().len(), 2);
    assert_eq!(shown("?cluster=b"), json!({ "b": shown("")["b"] }));
    assert_eq!(mosn.admin("/api/v1/clusters?cluster=c").status, 404);
}

#[test]
fn a_host_that_was_left_out_comes_back() {
    let failing = Origin::scripted("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false);
    let detection = json!({
        "consecutive_5xx": 1,
        "interval": "10ms",
        "base_ejection_time": "10ms",
        "max_ejection_time": "10ms",
        "max_ejection_percent": 100,
    });
    let mosn = start(&config(&[&failing.address()], &json!({ "outlier_detection": detection })));
    for _ in 0..2 {
        answers(&mosn, 500);
        answers(&mosn, 502);
    }
}

#[test]
fn subsets_show_in_the_metrics() {
    let origin = Origin::saying("ok");
    let cluster = json!({
        "hosts": [{
            "address": origin.address(),
            "metadata": { "filter_metadata": { "mosn.lb": { "version": "v1" } } },
        }],
        "lb_subset_config": { "fall_back_policy": 1, "subset_selectors": [["version"]] },
    });
    let wanted = json!({ "metadata_match": { "filter_metadata": { "mosn.lb": { "version": "v2" } } } });
    let listener = Listener::new("in", "Http1").routes([to("/", "up", &wanted)]);
    let mosn =
        start(&Config::new().listener(listener).cluster_with("up", &[], &cluster).top("admin", admin()));
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
    mosn.metric_is("upstream.cluster.up", "lb_subsets_created", 1);
    mosn.metric_is("upstream.cluster.up", "lb_subsets_fallback", 1);
}

/// What a frozen process is like from outside: the system answers for it.
#[test]
fn a_tcp_check_cannot_tell_a_frozen_host_which_hears_nothing_of_it() {
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let check = json!({ "service_name": "checked", "interval": "10ms", "initial_delay_seconds": "1ms" });
    let host = frozen.local_addr().unwrap().to_string();
    let mosn = start(&config(&[&host], &json!({ "health_check": check })));
    until("a few checks", || (mosn.metric("healthcheck.service.checked", "success")? > 3).then_some(()));
    frozen.set_nonblocking(true).unwrap();
    assert_eq!(frozen.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    mosn.metric_is("healthcheck.service.checked", "healty", 1);
}
