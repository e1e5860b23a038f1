//! Every example starts, and answers on the routes that need no upstream.

use std::{fs, path::Path};

use mosn_tests::{Client, Mosn, Request};
use serde_json::Value;

use crate::MOSN;

#[test]
fn every_example_starts_and_answers_by_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    assert!(files.len() >= 4, "{files:?}");
    for path in files {
        let mut document: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        move_ports(&mut document);
        let mosn = Mosn::start(MOSN.as_ref(), &document, &[]);
        let answered = ask_all(&mosn, &document["servers"][0]);
        assert!(answered > 0, "{} has no route that answers by itself", path.display());
    }
}

/// Lets the harness choose the ports.
fn move_ports(document: &mut Value) {
    for listener in document["servers"][0]["listeners"].as_array_mut().unwrap() {
        let address = listener["address"].as_str().unwrap();
        listener["address"] = format!("{}:0", address.rsplit_once(':').unwrap().0).into();
    }
    if let Some(port) = document.pointer_mut("/admin/address/socket_address/port_value") {
        *port = 0.into();
    }
}

/// Asks every direct response of every listener; how many there were.
fn ask_all(mosn: &Mosn, server: &Value) -> usize {
    let mut answered = 0;
    for listener in server["listeners"].as_array().unwrap() {
        let name = listener["name"].as_str().unwrap();
        let proxy = &listener["filter_chains"][0]["filters"][0]["config"];
        let protocols: &[&str] = match proxy["downstream_protocol"].as_str().unwrap() {
            "Http1" => &["Http1"],
            "Http2" => &["Http2"],
            _ => &["Http1", "Http2"],
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
