//! Every example starts, and answers on the routes that need no upstream.

use std::{borrow::Borrow, fs, path::Path};

use mosn_tests::{Client, Mosn, Origin, Request};
use serde_json::{Value, json};

use crate::MOSN;

#[test]
fn every_example_starts_and_answers_by_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    assert!(files.len() >= 4, "{files:?}");
    for path in files {
        let document = document(path.file_name().unwrap().to_str().unwrap());
        let mosn = Mosn::start(MOSN.as_ref(), &document, &[]);
        let answered = ask_all(&mosn, &document["servers"][0]);
        let routers = document["servers"][0]["routers"].as_array().unwrap();
        // Routes for RPC have headers only.
        let web = routers.iter().flat_map(routes).any(|(_, route)| route["match"]["headers"].is_null());
        assert!(answered > 0 || !web, "{} has no route that answers by itself", path.display());
    }
}

/// An example, whose ports the harness is to choose.
pub(crate) fn document(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let mut document = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    move_ports(&mut document);
    document
}

/// An example whose clusters have these hosts.
fn example(name: &str, hosts: &[(&str, Vec<String>)]) -> Mosn {
    let mut document = document(name);
    for (cluster, addresses) in hosts {
        let clusters = document["cluster_manager"]["clusters"].as_array_mut().unwrap();
        let found = clusters.iter_mut().find(|found| found["name"] == *cluster).unwrap();
        found["hosts"] = addresses.iter().map(|address| json!({ "address": address })).collect();
    }
    Mosn::start(MOSN.as_ref(), &document, &[])
}

#[test]
fn the_matching_example_sends_each_request_where_it_says() {
    let (stable, canary) = (Origin::saying("stable"), Origin::saying("canary"));
    let mosn =
        example("matching.json", &[("stable", vec![stable.address()]), ("canary", vec![canary.address()])]);
    for (request, expected) in [
        (Request::get("/"), "stable"),
        (Request::get("/").with("x-canary", "always"), "canary"),
        (Request::get("/").with("x-canary", "never"), "stable"),
        (Request::get("/search?q=1&beta").with("user-agent", "browser"), "canary"),
        (Request::get("/search?q=1&beta").with("user-agent", "curl/8"), "stable"),
        (Request::get("/search?q=1").with("user-agent", "browser"), "stable"),
        (Request::post("/search?beta", "x").with("user-agent", "browser"), "stable"),
        (Request::get("/x").with("x-user", "alice"), "canary"),
        (Request::get("/admin/x").with("x-user", "alice"), "stable"),
        (Request::get("/x?to=canary"), "canary"),
        (Request::get("/x?to=other"), "stable"),
    ] {
        let reply = mosn.ask("matching", &request);
        assert_eq!(reply.text(), expected, "{} {:?}", request.path, request.fields);
    }
}

#[test]
fn the_hashing_example_keeps_a_user_and_a_cookie_at_one_host() {
    let origins = ["0", "1", "2"].map(Origin::saying);
    let addresses = origins.iter().map(Origin::address).collect();
    let mosn = example("hashing.json", &[("carts", addresses)]);
    let user = |name: usize| mosn.ask("hashing", &Request::get("/").with("x-user", &name.to_string()));
    let hosts: Vec<String> = (0..20).map(|name| user(name).text()).collect();
    assert!(hosts.iter().any(|host| *host != hosts[0]), "{hosts:?}");
    for (name, host) in hosts.iter().enumerate() {
        let reply = user(name);
        assert_eq!((reply.text(), reply.get("set-cookie")), (host.clone(), None), "{name}");
    }
    let first = mosn.ask("hashing", &Request::get("/"));
    let cookie = first.get("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..10 {
        assert_eq!(mosn.ask("hashing", &Request::get("/").with("cookie", &cookie)).text(), first.text());
    }
}

/// Lets the harness choose the ports.
fn move_ports(document: &mut Value) {
    for listener in bound(document["servers"][0]["listeners"].as_array_mut().unwrap().iter_mut()) {
        let address = listener["address"].as_str().unwrap();
        listener["address"] = format!("{}:0", address.rsplit_once(':').unwrap().0).into();
    }
    if let Some(port) = document.pointer_mut("/admin/address/socket_address/port_value") {
        *port = 0.into();
    }
}

fn bound<T: Borrow<Value>>(listeners: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    listeners.filter(|listener| listener.borrow()["bind_port"] == true)
}

/// Asks every direct response of every listener; how many there were.
fn ask_all(mosn: &Mosn, server: &Value) -> usize {
    let mut answered = 0;
    for listener in bound(server["listeners"].as_array().unwrap().iter()) {
        let name = listener["name"].as_str().unwrap();
        let proxy = &listener["filter_chains"][0]["filters"][0]["config"];
        let protocols: &[&str] = match proxy["downstream_protocol"].as_str().unwrap() {
            "Http1" => &["Http1"],
            "Http2" => &["Http2"],
            "Auto" => &["Http1", "Http2"],
            _ => &[],
        };
        let routers = server["routers"].as_array().unwrap();
        let router =
            routers.iter().find(|router| router["router_config_name"] == proxy["router_config_name"]);
        for (host, route) in routes(router.unwrap()) {
            let Some(direct) = route.get("direct_response") else { continue };
            let matches = &route["match"];
            let path = matches.get("path").or(matches.get("prefix")).and_then(Value::as_str).unwrap_or("/");
            for protocol in protocols {
                let mut client = Client::connect(protocol, mosn.address(name));
                let reply = client.ask(&Request::get(path).to(host));
                assert_eq!(u64::from(reply.status), direct["status"].as_u64().unwrap(), "{name} {path}");
                assert_eq!(reply.text(), direct["body"].as_str().unwrap_or_default(), "{name} {path}");
                answered += 1;
            }
        }
    }
    answered
}

/// Every route, with a host that it serves.
fn routes(router: &Value) -> impl Iterator<Item = (&str, &Value)> {
    router["virtual_hosts"].as_array().unwrap().iter().flat_map(|virtual_host| {
        let domain = virtual_host["domains"][0].as_str().unwrap();
        let host = if domain.contains('*') { "example.test" } else { domain };
        virtual_host["routers"].as_array().unwrap().iter().map(move |route| (host, route))
    })
}
