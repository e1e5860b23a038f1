//! Starting, stopping, signals, exit codes.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use mosn_tests::{
    Client, Config, Listener, Mosn, Origin, Reply, Request, Signal, admin, block_on, direct, run, to, until,
};
use serde_json::json;

use crate::{MOSN, start};

/// A server that answers only when it is told to.
fn slow() -> (Origin, Arc<AtomicBool>) {
    let go_on = Arc::new(AtomicBool::new(false));
    let leave = Arc::clone(&go_on);
    let origin = Origin::new(move |exchange| {
        exchange.read()?;
        until("leave to answer", || leave.load(Relaxed).then_some(()));
        exchange.reply(200, &[], b"late")
    });
    (origin, go_on)
}

fn refuses(mosn: &Mosn, listener: &str) {
    let address = mosn.address(listener);
    until("the listener to be closed", || TcpStream::connect(address).is_err().then_some(()));
}

fn simple() -> Config {
    Config::new().listener(Listener::new("in", "Http1").routes([direct("/", "hello")]))
}

#[test]
fn version_says_which() {
    for command in ["version", "-v", "--version"] {
        let output = run(MOSN, &[command]);
        assert_eq!(output.code, 0);
        assert!(output.out.starts_with("mosn version v"), "{output:?}");
    }
}

#[test]
fn help_names_the_commands() {
    let output = run(MOSN, &["--help"]);
    assert_eq!(output.code, 0);
    for command in ["start", "check", "stop", "version"] {
        assert!(output.out.contains(command), "{}", output.out);
    }
}

#[test]
fn sigterm_lets_requests_finish_and_refuses_new_ones() {
    for protocol in ["Http1", "Http2"] {
        let (origin, go_on) = slow();
        let config = Config::new()
            .listener(Listener::new("in", protocol).routes([to(
                "/",
                "up",
                &json!({ "upstream_protocol": "Http1" }),
            )]))
            .cluster("up", &[&origin.address()])
            .top("admin", admin());
        let mut mosn = start(&config);
        let client = mosn.client("in");
        let address = mosn.address("in");
        let asking = std::thread::spawn(move || {
            let mut client = client;
            let reply = client.ask(&Request::get("/"));
            (client, reply)
        });
        let _ = origin.log().nth(1);
        mosn.signal(Signal::TERM);
        refuses(&mosn, "in");
        until("the state to be told", || {
            let states = mosn.admin("/api/v1/states").text();
            states.contains("&state=8").then_some(())
        });
        assert!(mosn.is_running());
        go_on.store(true, Relaxed);
        let (client, reply) = asking.join().unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "late"), "{protocol}");
        match client {
            Client::Http1(mut wire) => {
                assert_eq!(reply.get("connection"), Some("close"));
                wire.closes();
            }
            Client::Http2(client) => assert!(client.closed().is_ok(), "GOAWAY without an error"),
        }
        assert_eq!(mosn.exit_code(), 0, "{protocol}");
        assert!(!mosn.pid_file().exists());
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn sigterm_refuses_new_requests_on_an_open_http_2_connection() {
    let (origin, go_on) = slow();
    let config = Config::new()
        .listener(Listener::new("in", "Http2").routes([to(
            "/",
            "up",
            &json!({ "upstream_protocol": "Http1" }),
        )]))
        .cluster("up", &[&origin.address()]);
    let mut mosn = start(&config);
    let Client::Http2(client) = mosn.client("in") else { unreachable!() };
    let first = block_on(client.start(&Request::get("/first"), None)).unwrap();
    let _ = origin.log().nth(1);
    mosn.signal(Signal::TERM);
    // Until the client has heard of it, requests may still be served.
    let mut more = Vec::new();
    let refusal = until("a refusal", || match block_on(client.start(&Request::get("/more"), None)) {
        Ok(under_way) => {
            more.push(under_way);
            None
        }
        Err(error) => Some(error),
    });
    assert!(refusal.is_go_away(), "{refusal}");
    go_on.store(true, Relaxed);
    assert_eq!(first.receive().unwrap().text(), "late");
    for under_way in more {
        // Served to its end, or refused as never seen, which is safe to repeat.
        let received = under_way.receive();
        assert!(received.as_ref().map_or(true, |reply| reply.text() == "late"), "{received:?}");
    }
    assert_eq!(mosn.exit_code(), 0);
}

#[test]
fn sigterm_closes_idle_connections_and_stops_at_once() {
    let mut mosn = start(&simple());
    let Client::Http1(mut used) = mosn.client("in") else { unreachable!() };
    used.request(&Request::get("/")).unwrap();
    used.reply("GET", &mut Reply::default()).unwrap();
    let mut unused = mosn.wire("in");
    mosn.signal(Signal::TERM);
    used.closes();
    unused.closes();
    assert_eq!(mosn.exit_code(), 0);
}

#[test]
fn a_drain_ends_when_its_time_is_up() {
    let (origin, _never) = slow();
    let mut mosn = start(&crate::fixture::forwarding(&[&origin.address()]).flag("--drain-time-s=1"));
    let mut wire = mosn.wire("in");
    wire.request(&Request::get("/")).unwrap();
    let _ = origin.log().nth(1);
    mosn.signal(Signal::TERM);
    assert_eq!(mosn.exit_code(), 4);
    assert!(!mosn.pid_file().exists());
    let line = &mosn.access_log("in", 1)[0];
    assert!(line.starts_with("503 0x0 drain "), "{line}");
}

#[test]
fn sigint_and_sigquit_stop_whatever_is_under_way() {
    for signal in [Signal::INT, Signal::QUIT] {
        let (origin, _never) = slow();
        let mut mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
        let mut wire = mosn.wire("in");
        wire.request(&Request::get("/")).unwrap();
        let _ = origin.log().nth(1);
        mosn.signal(signal);
        assert_eq!(mosn.exit_code(), 0, "{signal:?}");
        assert!(!mosn.pid_file().exists());
        wire.closes();
    }
}

#[test]
fn sighup_and_sigusr2_do_not_stop_it() {
    let mut mosn = start(&simple());
    mosn.signal(Signal::HUP);
    mosn.signal(Signal::USR2);
    until("the warning", || mosn.error_log().contains("SIGHUP").then_some(()));
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 200);
    assert!(mosn.is_running());
}

#[test]
fn sigusr1_opens_logs_anew_after_they_were_renamed() {
    let mosn = start(&simple());
    let logs = mosn.folder().join("logs");
    mosn.ask("in", &Request::get("/before"));
    let _ = mosn.access_log("in", 1);
    for name in ["in_access.log", "mosn.log"] {
        fs::rename(logs.join(name), logs.join(format!("{name}.1"))).unwrap();
    }
    mosn.signal(Signal::USR1);
    until("new files", || {
        ["in_access.log", "mosn.log"].iter().all(|name| logs.join(name).exists()).then_some(())
    });
    mosn.ask("in", &Request::get("/after"));
    assert!(mosn.access_log("in", 1)[0].contains("/after"));
    let old = fs::read_to_string(logs.join("in_access.log.1")).unwrap();
    assert!(old.contains("/before") && !old.contains("/after"), "{old}");
}

#[test]
fn the_pid_file_lies_beside_the_logs_and_holds_the_process() {
    let mosn = start(&simple());
    let pid =
        until("the pid file", || fs::read_to_string(mosn.pid_file()).ok().filter(|pid| !pid.is_empty()));
    assert_eq!(pid, format!("{}\n", mosn.pid()));
}

#[test]
fn stop_ends_the_process_of_a_configuration() {
    let mut mosn = start(&simple());
    let config = mosn.config_file();
    let stopping = std::thread::spawn(move || run(MOSN, &["stop", "-c", config.to_str().unwrap()]));
    // Somebody has to wait for the child, or it never quite ends.
    assert_eq!(mosn.exit_code(), 0);
    let output = stopping.join().unwrap();
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.out.contains("stopped"), "{output:?}");
    assert!(!mosn.pid_file().exists());
    // Nobody to stop is no failure, but is said.
    let again = run(MOSN, &["stop", "-c", mosn.config_file().to_str().unwrap()]);
    assert_eq!(again.code, 0);
    assert!(!again.err.is_empty());
}

#[test]
fn a_listener_port_that_is_taken_stops_the_start_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listener =
        Listener::new("in", "Http1").routes([direct("/", "hello")]).with("address", json!(address));
    let output = started(&Config::new().listener(listener));
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.err.contains("in") && output.err.contains(&address), "{output:?}");
}

#[test]
fn an_admin_port_that_is_taken_stops_the_start_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut address = admin();
    address["address"]["socket_address"]["port_value"] = port.into();
    let listener = mosn_tests::free_port();
    let listener = Listener::new("in", "Http1")
        .routes([direct("/", "hello")])
        .with("address", json!(format!("127.0.0.1:{listener}")));
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("mosn.pid");
    let config = Config::new().listener(listener).top("admin", address).top("pid", json!(pid_file));
    let output = started(&config);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.err.contains(&port.to_string()), "{output:?}");
    assert!(!pid_file.exists());
}

/// Starts a configuration that ends by itself.
fn started(config: &Config) -> mosn_tests::Output {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    let file = folder.path().join("conf").join("mosn.json");
    fs::write(&file, config.document().to_string()).unwrap();
    run(MOSN, &["start", "-c", file.to_str().unwrap()])
}

#[test]
fn unix_sockets_serve_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let (front, back) = (folder.path().join("front.sock"), folder.path().join("back.sock"));
    let origin = Origin::unix(&back, |exchange| {
        exchange.read()?;
        exchange.reply(200, &[], b"from a socket")
    });
    let unix = Listener::new("unix", "Http1")
        .routes([to("/", "up", &json!({}))])
        .with("network", json!("unix"))
        .with("address", json!(front.to_str().unwrap()));
    let tcp = Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]);
    let mut mosn = start(&Config::new().listener(tcp).listener(unix).cluster("up", &[&origin.address()]));
    assert_eq!(mosn.ask("in", &Request::get("/")).text(), "from a socket");
    until("the socket", || front.exists().then_some(()));
    let mut wire = mosn_tests::Wire::connect_unix(&front);
    for _ in 0..2 {
        wire.request(&Request::get("/")).unwrap();
        let mut reply = Reply::default();
        wire.reply("GET", &mut reply).unwrap();
        assert_eq!(reply.text(), "from a socket");
    }
    mosn.signal(Signal::TERM);
    assert_eq!(mosn.exit_code(), 0);
}
