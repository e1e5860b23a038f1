//! Connections that the system redirects here. Each test runs once more by itself in a network of its own,
//! which needs `unshare`, `ip` and `iptables`, but no privileges where users may make namespaces.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

use mosn_tests::{Client, Config, Listener, Mosn, Origin, Request, direct, to, until};
use serde_json::{Value, json};

use crate::{examples::document, start};

/// Set in a test that runs in a network of its own.
const INSIDE: &str = "MOSN_TEST_NETWORK";

/// What the proxy's own connections are marked with, so that they are not redirected.
const MARK: &str = "7";

/// Addresses that the network has besides the loopback ones; those of IPv6 are there at once.
const ADDRESSES: [&str; 4] = ["10.1.2.3/32", "10.1.2.4/32", "fd00::3/128 nodad", "fd00::4/128 nodad"];

/// Whether the test of this name is to go on: it runs in a network of its own. Elsewhere it is run there,
/// or it is said why it cannot be.
#[track_caller]
fn alone(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        sh("ip link set lo up");
        ADDRESSES.iter().for_each(|address| sh(&format!("ip addr add dev lo {address}")));
        return true;
    }
    let probe = "ip link set lo up && iptables -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 1 && \
                 ip6tables -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 1 && \
                 iptables -t mangle -A PREROUTING -p tcp -j TPROXY --on-port 1 --on-ip 127.0.0.1";
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net"]).args(arguments).stdin(Stdio::null());
        command
    };
    match unshare(&["sh", "-c", probe]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            return not_tested(&format!("{test} needs a network with iptables: {}", said.trim()));
        }
        Err(error) => return not_tested(&format!("{test} needs unshare: {error}")),
    }
    let program = std::env::current_exe().unwrap();
    let output = unshare(&[program.to_str().unwrap(), "--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Says so past the test's captured output, which nobody sees of a test that passes.
fn not_tested(why: &str) -> bool {
    let _ = writeln!(std::io::stderr(), "NOT TESTED: {why}");
    false
}

#[track_caller]
fn sh(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sends what goes to `address` to the listener instead.
#[track_caller]
fn redirect(address: &str, to: u16) {
    let address: SocketAddr = address.parse().unwrap();
    let command = if address.is_ipv4() { "iptables" } else { "ip6tables" };
    let (ip, port) = (address.ip(), address.port());
    sh(&format!(
        "{command} -t nat -A OUTPUT -p tcp -d {ip} --dport {port} -m mark ! --mark {MARK} -j REDIRECT --to-ports {to}"
    ));
}

fn ask(address: &str, request: &Request) -> (u16, String) {
    let reply = Client::connect("Http1", address.parse().unwrap()).ask(request);
    (reply.status, reply.text())
}

fn origin(address: &str, name: &'static str) -> Origin {
    Origin::at(address, move |exchange| {
        exchange.read()?;
        exchange.reply(200, &[], name.as_bytes())
    })
    .unwrap()
}

fn log() -> Value {
    json!([{ "log_format": "%response_code% %response_code_details% %listener_name% %downstream_remote_address% \
                            %downstream_direct_remote_address% %upstream_local_address%" }])
}

/// Where the listener `in` takes redirected connections and sends requests where they were going.
fn passing(how: &str, filter: &Value) -> Config {
    let listener = Listener::new("in", "Http1")
        .with("address", json!("0.0.0.0:0"))
        .with("use_original_dst", json!(how))
        .with("listener_filters", json!([{ "type": "original_dst", "config": filter }]))
        .with("access_logs", log())
        .routes([to("/", "passthrough", &json!({}))]);
    let cluster = json!({ "type": "ORIGINAL_DST", "lb_type": "LB_ORIGINAL_DST", "mark": 7 });
    Config::new().listener(listener).cluster_with("passthrough", &[], &cluster)
}

/// A listener that is not bound, for connections to `address`.
fn standing_for(name: &str, address: &str) -> Listener {
    Listener::new(name, "Http1")
        .with("address", json!(address))
        .with("bind_port", json!(false))
        .with("access_logs", log())
        .routes([direct("/", name)])
}

fn port(mosn: &Mosn) -> u16 {
    mosn.address("in").port()
}

#[track_caller]
fn line(mosn: &Mosn, listener: &str, nth: usize) -> Vec<String> {
    mosn.access_log(listener, nth)[nth - 1].split(' ').map(Into::into).collect()
}

#[test]
fn redirected_connections_go_on_to_where_they_were_going() {
    if !alone("redirect::redirected_connections_go_on_to_where_they_were_going") {
        return;
    }
    let origins = [
        ("10.1.2.3:8081", origin("10.1.2.3:8081", "one")),
        ("10.1.2.4:8081", origin("10.1.2.4:8081", "two")),
        ("[fd00::3]:8081", origin("[fd00::3]:8081", "six")),
    ];
    let mosn = start(&passing("redirect", &json!({})));
    for (nth, ((address, origin), name)) in origins.iter().zip(["one", "two", "six"]).enumerate() {
        redirect(address, port(&mosn));
        assert_eq!(ask(address, &Request::get("/")), (200, name.to_owned()));
        assert_eq!(origin.log().nth(1).path, "/");
        let line = line(&mosn, "in", nth + 1);
        assert_eq!(&line[..4], ["200", "-", "in", *address]);
        assert_eq!(line[5], *address);
        let peer: SocketAddr = line[4].parse().unwrap();
        assert!(peer.port() != 8081, "{peer}");
    }
    // What a client says of itself changes nothing.
    assert_eq!(ask("10.1.2.3:8081", &Request::get("/").to("10.1.2.4:8081")), (200, "one".to_owned()));
}

#[test]
fn the_transparent_example_passes_connections_on() {
    if !alone("redirect::the_transparent_example_passes_connections_on") {
        return;
    }
    let (shop, other) = (origin("10.1.2.3:8080", "shop"), origin("10.1.2.4:8082", "other"));
    let mosn = Mosn::start(crate::MOSN.as_ref(), &document("transparent.json"), &[]);
    for (origin, name) in [(&shop, "shop"), (&other, "other")] {
        redirect(&origin.address(), mosn.address("outbound").port());
        assert_eq!(ask(&origin.address(), &Request::get("/x")), (200, name.to_owned()));
    }
}

#[test]
fn a_connection_that_nobody_redirected_does_not_come_back_for_ever() {
    if !alone("redirect::a_connection_that_nobody_redirected_does_not_come_back_for_ever") {
        return;
    }
    let mosn = start(&passing("redirect", &json!({})));
    // Without a rule the system may not even know; with one it tells where the connection was going.
    let direct = mosn.address("in").to_string();
    assert_eq!(ask(&direct, &Request::get("/")).0, 502);
    redirect("10.1.2.3:8081", port(&mosn));
    redirect("[fd00::3]:8081", port(&mosn));
    for address in [direct, format!("10.1.2.4:{}", port(&mosn)), format!("[fd00::4]:{}", port(&mosn))] {
        assert_eq!(ask(&address, &Request::get("/")).0, 502, "{address}");
    }
    assert_eq!(line(&mosn, "in", 4)[..2], ["502", "connect_failed"]);
    until("a line in the error log", || {
        mosn.error_log()
            .contains("is a listener of this process, to which the request would come back")
            .then_some(())
    });
    let destination = "10.1.2.3:8081";
    assert_eq!(ask(destination, &Request::get("/")).0, 502, "nobody listens there");
    assert_eq!(mosn.access_log("in", 5).len(), 5, "each request came once");
}

#[test]
fn a_connection_is_served_by_the_listener_of_where_it_was_going() {
    if !alone("redirect::a_connection_is_served_by_the_listener_of_where_it_was_going") {
        return;
    }
    for (local, any_port) in [(false, "any"), (true, "local")] {
        let config = passing("redirect", &json!({ "fallback_to_local": local }))
            .listener(standing_for("exact", "10.1.2.3:8081"))
            .listener(standing_for("six", "[fd00::3]:8081"))
            .listener(standing_for("any", "0.0.0.0:8081"))
            .listener(standing_for("local", "127.0.0.1:8081"));
        let mosn = start(&config);
        sh("iptables -t nat -F && ip6tables -t nat -F");
        for (nth, (address, name)) in [
            ("10.1.2.3:8081", "exact"),
            ("10.1.2.4:8081", any_port),
            ("[fd00::3]:8081", "six"),
            ("[fd00::4]:8081", any_port),
        ]
        .into_iter()
        .enumerate()
        {
            redirect(address, port(&mosn));
            assert_eq!(ask(address, &Request::get("/")), (200, name.to_owned()), "{address}");
            let nth = if nth == 3 { 2 } else { 1 };
            assert_eq!(line(&mosn, name, nth)[2..4], [name, address]);
        }
        redirect("10.1.2.3:8082", port(&mosn));
        assert_eq!(ask("10.1.2.3:8082", &Request::get("/")).0, 502, "the listener itself, and nobody there");
        assert_eq!(line(&mosn, "in", 1)[..4], ["502", "connect_failed", "in", "10.1.2.3:8082"]);
    }
}

#[test]
fn transparent_connections_go_on_to_where_they_were_going() {
    if !alone("redirect::transparent_connections_go_on_to_where_they_were_going") {
        return;
    }
    let (one, six) = (origin("10.1.2.3:8081", "one"), origin("[fd00::3]:8081", "six"));
    let config =
        passing("tproxy", &json!({ "type": "tproxy" })).listener(standing_for("exact", "10.1.2.4:8081"));
    let mosn = start(&config);
    for (command, ip, on) in [("iptables", "10.1.2.0/24", "127.0.0.1"), ("ip6tables", "fd00::/64", "::1")] {
        sh(&format!(
            "{command} -t mangle -A OUTPUT -p tcp -d {ip} --dport 8081 -m mark ! --mark {MARK} -j MARK --set-mark 1 && \
             {command} -t mangle -A PREROUTING -p tcp -d {ip} --dport 8081 -m mark --mark 1 -j TPROXY \
             --on-port {} --on-ip {on} --tproxy-mark 1",
            port(&mosn)
        ));
    }
    assert_eq!(ask("10.1.2.3:8081", &Request::get("/")), (200, "one".to_owned()));
    assert_eq!(ask("[fd00::3]:8081", &Request::get("/")), (200, "six".to_owned()));
    assert_eq!(ask("10.1.2.4:8081", &Request::get("/")), (200, "exact".to_owned()));
    assert_eq!((one.log().connections(), six.log().connections()), (1, 1));
    for (nth, address) in ["10.1.2.3:8081", "[fd00::3]:8081"].into_iter().enumerate() {
        let line = line(&mosn, "in", nth + 1);
        assert_eq!((&*line[0], &*line[3], &*line[5]), ("200", address, address));
    }
    let own = mosn.address("in").to_string();
    assert_eq!(ask(&own, &Request::get("/")).0, 502, "nothing comes back for ever");
}
