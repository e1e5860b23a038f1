//! Hosts that come from elsewhere.

use std::{fs, path::Path, time::Duration};

use mosn_tests::{
    Config, Listener, Mosn, NameServer, Origin, Request, admin, echo_http1, echo_http2, run, to, until,
};
use serde_json::{Value, json};

use crate::{MOSN, start};

fn config(cluster: &Value) -> Config {
    let listener = Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]);
    Config::new().listener(listener).cluster_with("up", &[], cluster)
}

/// Who answers.
#[track_caller]
fn said(mosn: &Mosn) -> String {
    let reply = mosn.ask("in", &Request::get("/"));
    if reply.status == 200 { reply.text() } else { reply.status.to_string() }
}

#[track_caller]
fn says(mosn: &Mosn, who: &str) {
    until(who, || (said(mosn) == who).then_some(()));
}

/// Two origins on the same port of two addresses, and that port.
fn neighbours() -> (Origin, Origin, u16) {
    until("a port that both have free", || {
        let one = Origin::saying("one");
        let port: u16 = one.address().rsplit(':').next()?.parse().ok()?;
        let two = Origin::at(&format!("127.0.0.2:{port}"), |exchange| {
            exchange.read()?;
            exchange.reply(200, &[], b"two")
        })?;
        Some((one, two, port))
    })
}

fn strict_dns(server: &NameServer, host: &str, more: &Value) -> Value {
    let mut cluster = json!({
        "type": "STRICT_DNS",
        "dns_refresh_rate": "20ms",
        "dns_resolvers": { "servers": ["127.0.0.1"], "port": server.port(), "search": ["svc.test"] },
        "hosts": [{ "address": host }],
    });
    cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    cluster
}

#[test]
fn every_address_of_a_name_is_a_host_as_long_as_it_has_it() {
    let (_one, _two, port) = neighbours();
    let server = NameServer::new();
    server.set("web.svc.test", 60, &["127.0.0.1"]);
    let mosn = start(&config(&strict_dns(&server, &format!("web:{port}"), &json!({}))));
    says(&mosn, "one");
    server.set("web.svc.test", 60, &["127.0.0.2", "127.0.0.1"]);
    says(&mosn, "two");
    assert_eq!([said(&mosn), said(&mosn)].iter().filter(|who| *who == "one").count(), 1);
    server.set("web.svc.test", 60, &["127.0.0.2"]);
    until("one to go", || (0..4).all(|_| said(&mosn) == "two").then_some(()));
}

#[test]
fn a_request_can_carry_the_name_of_the_host_it_goes_to() {
    let server = NameServer::new();
    server.set("web.test", 60, &["127.0.0.1"]);
    for protocol in ["Http1", "Http2"] {
        let (origin, origin2) = (echo_http1(), echo_http2());
        let address = if protocol == "Http1" { origin.address() } else { origin2.address() };
        let log = if protocol == "Http1" { origin.log() } else { origin2.log() };
        let port = address.rsplit_once(':').unwrap().1;
        let listener =
            Listener::new("in", protocol).routes([to("/", "up", &json!({ "auto_host_rewrite": true }))]);
        let config =
            |cluster: &Value| Config::new().listener(listener.clone()).cluster_with("up", &[], cluster);
        let by_name = strict_dns(&server, &format!("web.test:{port}"), &json!({}));
        let mosn = start(&config(&by_name));
        until("the name is known", || {
            (mosn.ask("in", &Request::get("/").to("asked.test")).status == 200).then_some(())
        });
        assert_eq!(log.requests().last().unwrap().authority, "web.test", "{protocol}");
        let named = json!({ "hosts": [{ "address": format!("web.test:{port}"), "hostname": "inner.test" }] });
        let mosn = start(&config(&strict_dns(&server, "", &named)));
        until("the name is known", || {
            (mosn.ask("in", &Request::get("/").to("asked.test")).status == 200).then_some(())
        });
        assert_eq!(log.requests().last().unwrap().authority, "inner.test", "{protocol}");
        // A host that was listed keeps the name that the client asked for.
        let listed = json!({ "hosts": [{ "address": address, "hostname": "inner.test" }] });
        let mosn = start(&config(&listed));
        assert_eq!(mosn.ask("in", &Request::get("/").to("asked.test")).status, 200);
        assert_eq!(log.requests().last().unwrap().authority, "asked.test", "{protocol}");
    }
}

#[test]
fn hosts_stay_while_their_name_cannot_be_resolved() {
    let (_one, _two, port) = neighbours();
    let server = NameServer::new();
    server.set("web.test", 60, &["127.0.0.1"]);
    let mosn = start(&config(&strict_dns(&server, &format!("web.test:{port}"), &json!({}))));
    says(&mosn, "one");
    server.fail(true);
    let asked = server.asked();
    until("some failures", || (server.asked() > asked + 6).then_some(()));
    assert_eq!(said(&mosn), "one");
    until("the log", || mosn.error_log().contains("SERVFAIL; its hosts stay").then_some(()));
    // Not once for each failure.
    assert_eq!(mosn.error_log().matches("its hosts stay").count(), 1);
    server.set("web.test", 60, &["127.0.0.2"]);
    server.fail(false);
    until("two alone", || (0..4).all(|_| said(&mosn) == "two").then_some(()));
}

#[test]
fn an_answer_is_good_for_as_long_as_it_says() {
    let (_one, _two, port) = neighbours();
    let server = NameServer::new();
    server.set("web.test", 3600, &["127.0.0.1"]);
    let more = json!({ "respect_dns_ttl": true });
    let mosn = start(&config(&strict_dns(&server, &format!("web.test:{port}"), &more)));
    until("the first answer", || mosn.error_log().contains("is at [127.0.0.1]").then_some(()));
    let asked = server.asked();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.asked(), asked);
    assert_eq!(said(&mosn), "one");
}

#[test]
fn a_host_by_name_can_have_addresses_of_either_family() {
    let six = until("a port of IPv6", || {
        Origin::at("[::1]:0", |exchange| {
            exchange.read()?;
            exchange.reply(200, &[], b"six")
        })
    });
    let port = six.address().rsplit(':').next().unwrap().to_owned();
    for (family, addresses) in [("V6_ONLY", &["127.0.0.3", "::1"][..]), ("ALL", &["::1"]), ("AUTO", &["::1"])]
    {
        let server = NameServer::new();
        server.set("web.test", 60, addresses);
        let more = json!({ "dns_lookup_family": family });
        let mosn = start(&config(&strict_dns(&server, &format!("web.test:{port}"), &more)));
        says(&mosn, "six");
    }
}

/// Puts a file in another's place, as configuration maps do.
fn replace(path: &Path, hosts: &Value) {
    let new = path.with_extension("new");
    fs::write(&new, hosts.to_string()).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn hosts_follow_their_file_and_outlive_its_mistakes() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts.json");
    replace(&path, &json!([{ "address": one.address() }]));
    let mosn = start(&config(&json!({ "hosts_file": path, "hosts_file_refresh": "10ms" })));
    assert_eq!(said(&mosn), "one");
    replace(&path, &json!([{ "address": two.address() }]));
    says(&mosn, "two");
    for wrong in [json!([{ "address": "nowhere" }]), json!([{ "adress": "a:1" }]), json!({})] {
        let before = mosn.error_log().matches("cluster up keeps its hosts").count();
        replace(&path, &wrong);
        until("the mistake to be told", || {
            (mosn.error_log().matches("cluster up keeps its hosts").count() > before).then_some(())
        });
        assert_eq!(said(&mosn), "two");
    }
    let before = mosn.error_log().matches("cannot be read").count();
    fs::remove_file(&path).unwrap();
    until("its absence to be told", || {
        (mosn.error_log().matches("cannot be read").count() > before).then_some(())
    });
    assert_eq!(said(&mosn), "two");
    replace(&path, &json!([{ "address": one.address() }]));
    says(&mosn, "one");
    replace(&path, &json!([]));
    says(&mosn, "502");
}

/// What the admin API has for the cluster.
fn told(mosn: &Mosn, path: &str) -> Value {
    serde_json::from_slice(&mosn.admin(&format!("/api/v1/{path}?cluster=up")).body).unwrap()
}

#[test]
fn hosts_that_were_found_show_in_the_admin_api() {
    let server = NameServer::new();
    server.set("web.svc.test", 60, &["127.0.0.1"]);
    let dns = config(&strict_dns(&server, "web:81", &json!({}))).top("admin", admin());
    let mosn = start(&dns);
    let shows = |found: &Value| {
        until("the hosts", || (told(&mosn, "clusters")["up"]["hosts"] == *found).then_some(()));
    };
    let at = |address| json!({ "address": address, "hostname": "web", "weight": 1, "healthy": true, "health_flags": [] });
    shows(&json!([at("127.0.0.1:81")]));
    server.set("web.svc.test", 60, &["127.0.0.3", "127.0.0.2"]);
    shows(&json!([at("127.0.0.2:81"), at("127.0.0.3:81")]));
    assert_eq!(told(&mosn, "clusters")["up"]["discovery"], "strict_dns");
    // As in MOSN, the configuration has the name.
    assert_eq!(told(&mosn, "config_dump")["hosts"][0]["address"], "web:81");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts.json");
    let hosts = json!([{
        "address": "127.0.0.1:81", "hostname": "one", "weight": 7,
        "metadata": { "filter_metadata": { "mosn.lb": { "zone": "a" } } },
    }]);
    replace(&path, &hosts);
    let file = json!({ "hosts_file": path, "hosts_file_refresh": "10ms" });
    let mosn = start(&config(&file).top("admin", admin()));
    assert_eq!(told(&mosn, "clusters")["up"]["discovery"], "file");
    assert_eq!(told(&mosn, "config_dump")["hosts"], hosts);
    let hosts = json!([{ "address": "127.0.0.1:82", "weight": 1 }]);
    replace(&path, &hosts);
    until("the hosts", || (told(&mosn, "config_dump")["hosts"] == hosts).then_some(()));
    assert_eq!(told(&mosn, "clusters")["up"]["hosts"][0]["address"], "127.0.0.1:82");
}

#[test]
fn a_hosts_file_that_is_wrong_at_the_start_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts.json");
    let file = folder.path().join("mosn.json");
    let write = |cluster: Value| fs::write(&file, config(&cluster).document().to_string()).unwrap();
    write(json!({ "hosts_file": hosts }));
    let check = || run(MOSN, &["check", "-c", file.to_str().unwrap()]);
    let output = check();
    assert_eq!(output.code, 1);
    let said = format!("{}{}", output.out, output.err);
    assert!(
        said.contains("cluster_manager.clusters[0].hosts_file: ") && said.contains("cannot be read"),
        "{said}"
    );
    fs::write(&hosts, r#"[{"address":"nowhere"}]"#).unwrap();
    let output = check();
    assert_eq!(output.code, 1);
    let said = format!("{}{}", output.out, output.err);
    assert!(said.contains("hosts.json:1:13: [0].address: expected host:port"), "{said}");
    fs::write(&hosts, "[]").unwrap();
    assert_eq!(check().code, 0);
    write(json!({ "hosts_file": hosts, "hosts": [{ "address": "127.0.0.1:1" }] }));
    assert_eq!(check().code, 1);
}

#[test]
fn the_example_of_a_hosts_file_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hosts-file");
    let mut document: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("mosn.json")).unwrap()).unwrap();
    document["servers"][0]["listeners"][0]["address"] = "127.0.0.1:0".into();
    document["admin"]["address"]["socket_address"]["port_value"] = 0.into();
    document["cluster_manager"]["clusters"][0]["hosts_file"] = json!(folder.join("hosts.yaml"));
    let mosn = Mosn::start(MOSN.as_ref(), &document, &[]);
    assert_eq!(mosn.ask("hosts-file", &Request::get("/hello")).text(), "hello\n");
}
