//! Changes while it runs, and what they leave behind.

use std::{fs, path::Path};

use mosn_tests::{Client, Config, Listener, Mosn, Origin, Reply, Request, Signal, admin, direct, to, until};
use serde_json::{Value, json};

use crate::{MOSN, start};

fn debug(mosn: &Mosn, path: &str, body: &Value) -> Reply {
    let request = Request::post(path, body.to_string()).to("127.0.0.1").with("Connection", "close");
    Client::connect("Http1", mosn.address("admin")).ask(&request)
}

fn done(mosn: &Mosn, path: &str, body: &Value) {
    let reply = debug(mosn, path, body);
    assert_eq!((reply.status, reply.text().as_str()), (200, "success"), "{body}");
}

fn add_route(router: &str, domain: &str, route: &Value) -> Value {
    json!({"type": "add", "config": {"router_config_name": router, "domain": domain, "route": route}})
}

fn dumped(mosn: &Mosn, query: &str) -> Value {
    serde_json::from_slice(&mosn.admin(&format!("/api/v1/config_dump?{query}")).body).unwrap()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn simple() -> Config {
    Config::new().listener(Listener::new("in", "Http1").routes([direct("/a", "a")])).top("admin", admin())
}

#[test]
fn the_debug_api_changes_clusters_tables_and_routes_and_the_dump_follows() {
    let mosn = start(&simple().flag("--debug-api"));
    let origin = Origin::saying("up");
    let mut client = mosn.client("in");
    let mut ask = |path: &str| {
        let reply = client.ask(&Request::get(path));
        (reply.status, reply.text())
    };
    assert_eq!(ask("/b").0, 404);
    let cluster = json!({"name": "up", "hosts": [{"address": origin.address()}],
        "tls_context": {"private_key": "secret.pem"}});
    done(&mosn, "/debug/update_config", &json!({"type": "cluster", "config": cluster}));
    done(&mosn, "/debug/update_route", &add_route("in", "", &to("/b", "up", &json!({}))));
    assert_eq!(ask("/b"), (200, "up".into()));
    assert_eq!(ask("/a"), (200, "a".into()));
    let cluster = dumped(&mosn, "cluster=up");
    assert_eq!(cluster["hosts"][0]["address"], origin.address());
    assert_eq!(cluster["tls_context"]["private_key"], "***REDACTED***");
    let routes = dumped(&mosn, "router=in")["virtual_hosts"][0]["routers"].clone();
    assert_eq!(routes[1]["route"]["cluster_name"], "up");

    let remove = json!({"type": "remove", "config": {"router_config_name": "in", "domain": "any.com"}});
    done(&mosn, "/debug/update_route", &remove);
    assert_eq!((ask("/a").0, ask("/b").0), (404, 404));
    let table = json!({"router_config_name": "in", "virtual_hosts": [
        {"name": "new", "domains": ["*"], "routers": [direct("/c", "c")]}]});
    done(&mosn, "/debug/update_config", &json!({"type": "router", "config": table}));
    assert_eq!(ask("/c"), (200, "c".into()));
    assert_eq!(dumped(&mosn, "router=in")["virtual_hosts"][0]["name"], "new");
}

#[test]
fn the_debug_api_says_what_is_wrong_and_changes_nothing() {
    let mosn = start(&simple().flag("--debug-api"));
    let before = dumped(&mosn, "");
    for (path, body, answer) in [
        ("/debug/update_config", json!(5), "invalid request"),
        ("/debug/update_config", json!({"type": "cluster"}), "invalid request"),
        ("/debug/update_config", json!({"type": "nothing", "config": {}}), "invalid type, do nothing"),
        ("/debug/update_config", json!({"type": "cluster", "config": {}}), "name: a cluster needs a name"),
        (
            "/debug/update_config",
            json!({"type": "listener", "config": {}}),
            "this build cannot change it yet",
        ),
        ("/debug/update_route", add_route("nothing", "", &json!({})), "there is no router `nothing`"),
        (
            "/debug/update_route",
            add_route("in", "", &json!({"match": {"regex": "("}})),
            "match.regex: not a regular expression",
        ),
        (
            "/debug/update_route",
            json!({"type": "add", "config": {"router_config_name": "in"}}),
            "invalid request",
        ),
    ] {
        let reply = debug(&mosn, path, &body);
        assert!(reply.status == 400 && reply.text().contains(answer), "{body}: {reply:?}");
    }
    assert_eq!(dumped(&mosn, ""), before);
}

#[test]
fn without_the_flag_nothing_can_be_changed() {
    let mosn = start(&simple());
    let reply = debug(&mosn, "/debug/update_route", &add_route("in", "", &direct("/b", "b")));
    assert!(reply.status == 200 && reply.text().starts_with("supported APIs:"), "{reply:?}");
    assert!(!reply.text().contains("/debug"));
    assert_eq!(mosn.ask("in", &Request::get("/b")).status, 404);
}

/// A configuration whose virtual hosts and clusters are in folders.
fn in_folders(folder: &Path) -> Value {
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (file, domain) in [("b", "b.com"), ("a", "a.com")] {
        let host = json!({"name": file, "domains": [domain], "routers": [direct("/", file)]});
        write(&format!("hosts/{file}.json"), &host.to_string());
    }
    write("hosts/x.txt", "a note");
    write("hosts/e.json", "");
    write("clusters/up.json", r#"{"name":"up","hosts":[]}"#);
    let mut document = simple().document();
    let table = &mut document["servers"][0]["routers"][0];
    table["virtual_hosts"].take();
    table["router_configs"] = json!(folder.join("hosts"));
    document["cluster_manager"] = json!({"clusters_configs": folder.join("clusters")});
    document
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn with_auto_config_changes_are_in_the_files_soon_and_at_the_latest_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-f", "auto_config=true", "--debug-api"];
    let mut mosn = Mosn::start(MOSN.as_ref(), &in_folders(folder.path()), &flags);
    let hosts = folder.path().join("hosts");
    assert_eq!(mosn.ask("in", &Request::get("/").to("b.com")).text(), "b");
    let written = fs::metadata(mosn.config_file()).unwrap().modified().unwrap();
    done(&mosn, "/debug/update_route", &add_route("in", "a.com", &direct("/new", "new")));
    until("the file to be written", || {
        (fs::metadata(mosn.config_file()).unwrap().modified().unwrap() != written).then_some(())
    });
    assert_eq!(names(&hosts), ["a.json", "b.json", "x.txt"]);
    assert_eq!(names(mosn.config_file().parent().unwrap()), ["mosn.json"]);
    assert_eq!(json_of(&hosts.join("a.json"))["routers"][1]["direct_response"]["body"], "new");
    let mut document = json_of(&mosn.config_file());
    assert_eq!(document["servers"][0]["routers"][0]["router_configs"], json!(hosts));

    let cluster = json!({"type": "cluster", "config": {"name": "a/b", "hosts": []}});
    done(&mosn, "/debug/update_config", &cluster);
    mosn.signal(Signal::TERM);
    assert_eq!(mosn.exit_code(), 0);
    assert_eq!(names(&folder.path().join("clusters")), ["a_b.json", "up.json"]);

    document["servers"][0]["listeners"][0]["address"] = json!("127.0.0.1:0");
    document["admin"] = admin();
    let mosn = Mosn::start(MOSN.as_ref(), &document, &flags);
    assert_eq!(mosn.ask("in", &Request::get("/new").to("a.com")).text(), "a", "the first route wins");
    assert_eq!(dumped(&mosn, "router=in")["virtual_hosts"][0]["routers"].as_array().unwrap().len(), 2);
    assert_eq!(dumped(&mosn, "cluster=a/b")["name"], "a/b");
}

#[test]
fn without_auto_config_the_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut mosn = Mosn::start(MOSN.as_ref(), &in_folders(folder.path()), &["--debug-api"]);
    let before = fs::read_to_string(mosn.config_file()).unwrap();
    done(&mosn, "/debug/update_route", &add_route("in", "a.com", &direct("/new", "new")));
    mosn.signal(Signal::TERM);
    assert_eq!(mosn.exit_code(), 0);
    assert_eq!(fs::read_to_string(mosn.config_file()).unwrap(), before);
    assert_eq!(names(&folder.path().join("hosts")), ["a.json", "b.json", "e.json", "x.txt"]);
}
