//! The API over real sockets, byte for byte.

#![allow(clippy::unwrap_used, reason = "this is all tests, which fail where they unwrap")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::{Arc, Mutex, atomic::AtomicU8},
    time::{Duration, Instant, SystemTime},
};

use mosn_admin::{AdminContext, AdminError, AdminHandle, AdminServer, Features};
use mosn_config::model::{AccessLogSpec, LogLevel, LogOutput, MetricsFilter, PrometheusSpec, ServerSpec};
use mosn_core::{ConnectionInfo, Protocol, RequestInfo};
use mosn_telemetry::{LogContext, LogHandle, ProcessState, Registry};

struct Admin {
    address: SocketAddr,
    sinks: Vec<SocketAddr>,
    context: AdminContext,
    dumped: Arc<Mutex<Vec<String>>>,
    directory: tempfile::TempDir,
    handle: AdminHandle,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn sink(percentiles: &[u8]) -> PrometheusSpec {
    PrometheusSpec {
        address: loopback(),
        endpoint: "/metrics".into(),
        percentiles: percentiles.to_vec(),
        disable_collect_process: false,
    }
}

impl Admin {
    fn start() -> Self {
        Self::with(Features::default(), &[])
    }

    fn with(features: Features, sinks: &[PrometheusSpec]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spec = ServerSpec {
            log_path: LogOutput::File(directory.path().join("mosn.log")),
            ..ServerSpec::default()
        };
        let (logs, _) = LogHandle::new(&spec).unwrap();
        let dumped = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&dumped);
        let context = AdminContext {
            registry: Registry::new(&MetricsFilter::default()),
            logs,
            version: "1.2.3-test".into(),
            state: Arc::new(AtomicU8::new(ProcessState::Running.number())),
            features,
            dump: Arc::new(move |query| {
                asked.lock().unwrap().push(query.to_owned());
                match query {
                    "" => Ok(r#"{"mosn_config":{}}"#.into()),
                    _ => mosn_config::EffectiveConfig::default().dump(query),
                }
            }),
            hosts: Arc::new(|cluster| match cluster {
                None => Some(Box::new((0..1000).map(|number| format!("{number:0100}")))),
                Some("up") => Some(Box::new(std::iter::once(r#"{"up":{}}"#.to_owned()))),
                Some(_) => None,
            }),
            debug: None,
        };
        let server = AdminServer::bind(Some(loopback()), sinks, context.clone()).unwrap();
        let mut addresses = server.addresses();
        let address = addresses.remove(0);
        Self { address, sinks: addresses, context, dumped, directory, handle: server.run().unwrap() }
    }

    fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, "")
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Reply {
        let length = body.len();
        let address = self.address;
        send(
            address,
            &format!(
                "{method} {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ),
        )
    }

    /// One request with these header lines instead of the usual.
    fn raw(&self, method: &str, headers: &str) -> Reply {
        send(
            self.address,
            &format!("{method} /api/v1/version HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"),
        )
    }

    fn log_path(&self) -> String {
        self.directory.path().join("mosn.log").display().to_string()
    }
}

/// Sends and reads to the end; the server closes.
fn send(address: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

#[test]
fn states_are_the_pid_and_the_number_and_take_get_only() {
    let admin = Admin::start();
    let pid = std::process::id();
    let reply = admin.get("/api/v1/states");
    assert_eq!((reply.status, reply.body), (200, format!("pid={pid}&state=6\n")));
    assert!(reply.head.contains("content-type: text/plain; charset=utf-8"), "{}", reply.head);
    assert!(reply.head.contains("x-content-type-options: nosniff"), "{}", reply.head);

    ProcessState::GracefulStopping.store(&admin.context.state);
    assert_eq!(admin.get("/api/v1/states").body, format!("pid={pid}&state=8\n"));

    let refused = admin.ask("POST", "/api/v1/states", "");
    assert_eq!((refused.status, refused.body), (405, String::new()));
}

#[test]
fn every_other_path_is_the_help_with_200() {
    let admin = Admin::start();
    for path in ["/", "/nope", "/api/v1/stats/", "/api/v1/", "//api/v1/stats", "/stats"] {
        let reply = admin.get(path);
        assert_eq!(reply.status, 200, "{path}");
        let mut lines = reply.body.lines();
        assert_eq!(lines.next(), Some("supported APIs:"));
        let paths: Vec<_> = lines.collect();
        for path in [
            "/api/v1/version",
            "/api/v1/clusters",
            "/api/v1/config_dump",
            "/api/v1/stats",
            "/api/v1/stats_glob",
            "/api/v1/get_loglevel",
            "/api/v1/update_loglevel",
            "/api/v1/enable_log",
            "/api/v1/disable_log",
            "/api/v1/states",
            "/api/v1/plugin",
            "/api/v1/features",
            "/api/v1/env",
            "/server_info",
            "/config_dump",
            "/metrics",
        ] {
            assert!(paths.contains(&path), "{path}");
        }
        assert!(!paths.contains(&"/"));
    }
}

#[test]
fn wrong_methods_get_an_empty_405() {
    let admin = Admin::start();
    for (method, path) in [
        ("POST", "/api/v1/clusters"),
        ("POST", "/api/v1/config_dump"),
        ("POST", "/api/v1/stats"),
        ("PUT", "/api/v1/stats_glob"),
        ("POST", "/api/v1/get_loglevel"),
        ("GET", "/api/v1/update_loglevel"),
        ("GET", "/api/v1/enable_log"),
        ("DELETE", "/api/v1/disable_log"),
        ("POST", "/api/v1/features"),
        ("POST", "/api/v1/env"),
        ("POST", "/config_dump"),
    ] {
        let reply = admin.ask(method, path, "");
        assert_eq!((reply.status, reply.body), (405, String::new()), "{method} {path}");
    }
    assert_eq!(admin.ask("POST", "/api/v1/version", "").body, "mosn version: 1.2.3-test");
}

#[test]
fn config_dump_takes_at_most_one_known_parameter() {
    let admin = Admin::start();
    for (target, status, body) in [
        ("", 200, r#"{"mosn_config":{}}"#),
        ("?mosnconfig", 200, ""),
        ("?router=missing", 200, "{}"),
        ("?listener=a%20b", 200, "{}"),
        ("?cluster=a&cluster=b", 200, ""),
        ("?alllisteners&allclusters", 400, "only support one parameter"),
        ("?a=1&b=2", 400, "only support one parameter"),
        ("?bogus", 500, "{\n\t\"error\": \"internal error\"\n}\n"),
    ] {
        let reply = admin.get(&format!("/api/v1/config_dump{target}"));
        assert_eq!(reply.status, status, "{target}");
        assert!(body.is_empty() || reply.body == body, "{target}: {}", reply.body);
    }
    assert_eq!(
        *admin.dumped.lock().unwrap(),
        [
            "",
            "mosnconfig",
            "router=missing",
            "listener=a%20b",
            "cluster=a&cluster=b",
            "alllisteners&allclusters",
            "a=1&b=2",
            "bogus",
        ]
    );
}

#[test]
fn hosts_are_those_of_all_clusters_or_of_one() {
    let admin = Admin::start();
    let none = "{\n\t\"error\": \"there is no cluster \\\"a\\\"\"\n}\n";
    for (query, status, body) in [
        ("?cluster=up", 200, r#"{"up":{}}"#),
        ("?cluster=%75p", 200, r#"{"up":{}}"#),
        ("?cluster=a", 404, none),
        ("?cluster=", 404, "{\n\t\"error\": \"there is no cluster \\\"\\\"\"\n}\n"),
        ("?cluster=up&cluster=a", 400, "the only parameter is cluster=NAME"),
        ("?name=up", 400, "the only parameter is cluster=NAME"),
    ] {
        let reply = admin.get(&format!("/api/v1/clusters{query}"));
        assert!(
            reply.status == status && reply.body.contains(body),
            "{query}: {} {}",
            reply.status,
            reply.body
        );
    }
    let all = admin.get("/api/v1/clusters");
    assert!(all.head.contains("transfer-encoding: chunked"), "{}", all.head);
    assert_eq!((all.status, all.body.matches(&format!("{:0100}", 999)).count()), (200, 1));
}

#[test]
fn stats_are_strings_by_set_and_a_miss_is_named() {
    let admin = Admin::start();
    let listener = admin.context.registry.downstream_listener("127.0.0.1:2045");
    listener.request_total.inc();
    listener.status(200);
    let reply = admin.get("/api/v1/stats?key=downstream.listener.127.0.0.1:2045");
    assert_eq!(reply.status, 200);
    let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let set = &json["downstream"]["listener.127.0.0.1:2045"];
    assert_eq!(set["request_total"], "1");
    assert_eq!(set["request_200_total"], "1");
    assert_eq!(set["request_active"], "0");
    assert_eq!(json["downstream"].as_object().unwrap().len(), 1);

    let all: serde_json::Value = serde_json::from_str(&admin.get("/api/v1/stats").body).unwrap();
    assert_eq!(all["downstream"].as_object().unwrap().len(), 2);

    for (target, status, body) in [
        ("?key=zzz", 200, "no metrics key: zzz"),
        ("?other=1", 200, "no metrics key: "),
        ("?key=a&other=1", 400, "only support one parameter"),
    ] {
        let reply = admin.get(&format!("/api/v1/stats{target}"));
        assert_eq!((reply.status, &*reply.body), (status, body), "{target}");
    }
    assert!(admin.get("/api/v1/stats_glob").body.contains("request_total:0\n"));
}

#[test]
fn prometheus_is_on_the_sinks_port_and_on_the_admin_port() {
    let admin = Admin::with(Features::default(), &[sink(&[50])]);
    let global = admin.context.registry.downstream_global();
    global.request_total.inc();
    global.bytes_read_total.add(1_234_567);
    global.request_time.record(10);
    for address in [admin.address, admin.sinks[0]] {
        let reply =
            send(address, &format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
        assert_eq!(reply.status, 200);
        assert!(reply.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
        for line in [
            "# TYPE downstream_request_total counter",
            "downstream_request_total{proxy=\"global\"} 1.0",
            "downstream_bytes_read_total{proxy=\"global\"} 1.234567e+06",
            "downstream_request_time_max{proxy=\"global\"} 10.0",
            "downstream_request_time{proxy=\"global\",percentile=\"P50\"} 10.0",
        ] {
            assert!(reply.body.lines().any(|found| found == line), "{line}");
        }
        assert!(reply.body.contains("process_resident_memory_bytes "));
    }
    let other = send(admin.sinks[0], "GET / HTTP/1.1\r\nHost: scraper.example\r\nConnection: close\r\n\r\n");
    assert_eq!(other.status, 404);
}

#[test]
fn a_sink_on_the_admin_address_is_served_there() {
    let admin = Admin::start();
    let free = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let shared = PrometheusSpec { address: free, endpoint: "/my/{metrics}".into(), ..sink(&[]) };
    let server = AdminServer::bind(Some(free), &[shared], admin.context.clone()).unwrap();
    assert_eq!(server.addresses(), [free]);
    let handle = server.run().unwrap();
    let get = |path| send(free, &format!("GET {path} HTTP/1.1\r\nHost: {free}\r\nConnection: close\r\n\r\n"));
    assert!(get("/my/{metrics}").body.contains("# TYPE downstream_request_total counter\n"));
    assert!(get("/my/x").body.starts_with("supported APIs:\n"));
    handle.shutdown();
}

#[test]
fn log_levels_are_shown_and_changed() {
    let admin = Admin::start();
    let path = admin.log_path();
    assert_eq!(admin.get("/api/v1/get_loglevel").body, format!(r#"{{"":"INFO","{path}":"INFO"}}"#));

    let update = |level: &str| {
        admin.ask(
            "POST",
            "/api/v1/update_loglevel",
            &format!(r#"{{"log_path":"{path}","log_level":"{level}"}}"#),
        )
    };
    let reply = update("DEBUG");
    assert_eq!((reply.status, &*reply.body), (200, "update logger success\n"));
    assert_eq!(admin.get("/api/v1/get_loglevel").body, format!(r#"{{"":"INFO","{path}":"DEBUG"}}"#));
    assert_eq!(admin.context.logs.levels()[1].1, LogLevel::Debug);

    let failed = (400, "{\n\t\"error\": \"update logger failed\"\n}\n");
    let reply = update("debug");
    assert_eq!((reply.status, &*reply.body), failed);
    for body in ["", "not json", r#"{"log_level":1}"#, r#"{"log_path":"/nope","log_level":"INFO"}"#] {
        let reply = admin.ask("POST", "/api/v1/update_loglevel", body);
        assert_eq!((reply.status, &*reply.body), failed, "{body}");
    }
    assert_eq!(admin.context.logs.levels()[1].1, LogLevel::Debug);
}

#[test]
fn an_access_log_that_is_disabled_gets_no_lines_until_enabled() {
    let admin = Admin::start();
    let path = admin.directory.path().join("access.log");
    let spec = AccessLogSpec { output: LogOutput::File(path.clone()), format: Some("%protocol%".into()) };
    let access = admin.context.logs.access_log(&spec).unwrap().writer();
    let connection = ConnectionInfo {
        id: 1,
        listener: "l".into(),
        listener_type: "".into(),
        local: None,
        remote: None,
        redirected: None,
    };
    let info = RequestInfo::new(Rc::new(connection), Protocol::Http1, 1, Instant::now(), SystemTime::now());
    let lines = || {
        access.write(&LogContext::new(&info));
        access.flush();
        admin.context.logs.flush();
        std::fs::read_to_string(&path).unwrap().lines().count()
    };
    assert_eq!(lines(), 1);
    let name = path.to_str().unwrap();
    let reply = admin.ask("POST", "/api/v1/disable_log", name);
    assert_eq!((reply.status, &*reply.body), (200, "disable logger success\n"));
    assert_eq!(lines(), 1);
    let reply = admin.ask("POST", "/api/v1/enable_log", name);
    assert_eq!((reply.status, &*reply.body), (200, "enable logger success\n"));
    assert_eq!(lines(), 2);

    for verb in ["enable", "disable"] {
        let reply = admin.ask("POST", &format!("/api/v1/{verb}_log"), " /nope");
        assert_eq!(reply.status, 400);
        assert_eq!(reply.body, format!("{{\n\t\"error\": \"{verb} logger failed\"\n}}\n"));
    }
}

#[test]
fn features_are_mosns_four_and_unknown_ones_are_off() {
    let admin = Admin::start();
    assert_eq!(
        admin.get("/api/v1/features").body,
        "{\n \"MultiTenantMode\": false,\n \"PayLoadLimitEnable\": false,\n \"XdsMtlsEnable\": false,\n \
         \"auto_config\": false\n}"
    );
    assert_eq!(admin.get("/api/v1/features?key=auto_config").body, "false");

    let mut features = Features::default();
    assert!(features.set("auto_config", true));
    assert!(!features.set("nosuch", true));
    let admin = Admin::with(features, &[]);
    for (query, body) in [("key=auto_config", "true"), ("key=nosuch", "false"), ("other=1", "false")] {
        assert_eq!(admin.get(&format!("/api/v1/features?{query}")).body, body, "{query}");
    }
}

#[test]
fn environment_variables_are_shown_by_name() {
    let admin = Admin::start();
    let home = std::env::var("HOME").unwrap();
    assert_eq!(
        admin.get("/api/v1/env?key=HOME&key=NOPE_X").body,
        format!("{{\n \"env\": {{\n  \"HOME\": \"{home}\"\n }},\n \"not_found\": [\n  \"NOPE_X\"\n ]\n}}")
    );
    assert_eq!(admin.get("/api/v1/env?key=%3D%00").body, "{\n \"not_found\": [\n  \"=\\u0000\"\n ]\n}");
    let reply = admin.get("/api/v1/env");
    assert_eq!((reply.status, &*reply.body), (400, "{\n\t\"error\": \"no env key\"\n}\n"));
}

#[test]
fn plugins_are_unknown_and_the_usage_is_explained() {
    let admin = Admin::start();
    for (query, status, body) in [
        ("?enable=p", 400, "plugin p no register\n"),
        ("?disable=p", 400, "plugin p no register\n"),
        ("?status=p", 400, "plugin p no register\n"),
        ("?status=all", 200, "\n"),
    ] {
        let reply = admin.get(&format!("/api/v1/plugin{query}"));
        assert_eq!((reply.status, &*reply.body), (status, body), "{query}");
    }
    let usage = admin.get("/api/v1/plugin");
    assert!(usage.status == 400 && usage.body.starts_with("Usage:"));
}

#[test]
fn istio_sees_the_state_in_envoys_words() {
    let admin = Admin::start();
    for (state, body) in [
        (ProcessState::Running, "{}"),
        (ProcessState::StartingNewServer, "{}"),
        (ProcessState::Initing, r#"{"state":"PRE_INITIALIZING"}"#),
        (ProcessState::Starting, r#"{"state":"INITIALIZING"}"#),
        (ProcessState::BeforeStop, r#"{"state":"DRAINING"}"#),
        (ProcessState::Upgrading, r#"{"state":"DRAINING"}"#),
    ] {
        state.store(&admin.context.state);
        assert_eq!(admin.get("/server_info").body, body);
    }
    assert_eq!(admin.get("/config_dump").body, "{}");
    assert_eq!(admin.get("/config_dump?resource=x").body, "");
    assert_eq!(admin.get("/config_dump?a=1&b=2").status, 400);
}

#[test]
fn host_names_that_a_dns_server_may_move_are_refused() {
    let admin = Admin::start();
    for (headers, status) in [
        ("Host: 127.0.0.1\r\n", 200),
        ("Host: localhost:34901\r\n", 200),
        ("Host: [::1]:34901\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: evil.example:34901\r\n", 403),
        ("Host: localhost\r\nHost: evil.example\r\n", 403),
        ("", 403),
    ] {
        assert_eq!(admin.raw("GET", headers).status, status, "{headers}");
    }
    let probe = send(admin.address, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(probe.status, 200);
    let proxied = send(
        admin.address,
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(proxied.status, 403);
}

#[test]
fn pages_of_other_origins_can_change_nothing() {
    let admin = Admin::start();
    let host = format!("Host: {}\r\n", admin.address);
    for (method, origin, status) in [
        ("POST", "http://evil.example".to_owned(), 403),
        ("POST", "null".to_owned(), 403),
        ("POST", format!("http://{}", admin.address), 200),
        ("GET", "http://evil.example".to_owned(), 200),
    ] {
        let reply = admin.raw(method, &format!("{host}Origin: {origin}\r\n"));
        assert_eq!(reply.status, status, "{method} {origin}");
        assert!(!reply.head.contains("access-control"), "{}", reply.head);
    }
}

#[test]
fn heads_and_bodies_are_bounded() {
    let admin = Admin::start();
    let reply = admin.ask("POST", "/api/v1/disable_log", &"x".repeat(65 * 1024));
    assert_eq!((reply.status, &*reply.body), (400, "{\n\t\"error\": \"read body error\"\n}\n"));

    let mut stream = TcpStream::connect(admin.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(64 * 1024));
    // The server may close before it has read all.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn an_address_in_use_is_an_error_that_says_which() {
    let admin = Admin::start();
    let bind = |admin_address, sinks: &[PrometheusSpec]| {
        AdminServer::bind(admin_address, sinks, admin.context.clone()).map(|_| ()).unwrap_err()
    };
    let error = bind(Some(admin.address), &[]);
    assert!(matches!(error, AdminError::BindAdmin { address, .. } if address == admin.address));
    assert!(error.to_string().contains(&admin.address.to_string()), "{error}");

    let taken = PrometheusSpec { address: admin.address, ..sink(&[]) };
    assert!(matches!(bind(None, &[taken]), AdminError::BindPrometheus { .. }));
}

#[test]
fn shutdown_closes_the_socket() {
    let admin = Admin::start();
    let address = admin.address;
    let mut kept_alive = TcpStream::connect(address).unwrap();
    admin.handle.shutdown();
    assert!(TcpListener::bind(address).is_ok() || TcpStream::connect(address).is_err());
    kept_alive.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut rest = Vec::new();
    let _ = kept_alive.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}
