//! Every example that speaks RPC carries calls, as `mosn bench` makes and answers them.

use std::fs;

use mosn_tests::{Mosn, run};
use serde_json::{Value, json};

use crate::{MOSN, bench::Echo, examples::document};

#[test]
fn every_rpc_example_carries_calls_to_its_services_and_to_no_other() {
    for (file, protocol, service, other) in [
        ("bolt.json", "bolt", "com.example.EchoService", Some("com.example.EchoService2")),
        ("bolt.json", "bolt", "com.example.stock.Price:1.0", Some("com.example.stocks")),
        ("boltv2.json", "boltv2", "whatever", None),
        ("boltv2.json", "bolt", "whatever", None),
        ("dubbo.json", "dubbo", "com.example.EchoService", Some("com.example.Other")),
        ("dubbo-thrift.json", "dubbo-thrift", "com.example.EchoService", Some("com.example.Other")),
        ("tars.json", "tars", "Example.Echo.EchoObj", Some("Example.Echo.OtherObj")),
        ("auto.json", "bolt", "com.example.EchoService:1.0", None),
        ("auto.json", "boltv2", "com.example.EchoService:1.0", None),
        ("auto.json", "dubbo", "com.example.EchoService", None),
        ("auto.json", "tars", "Example.Echo.EchoObj", None),
    ] {
        let echo = Echo::start(protocol);
        let mut document = document(file);
        send_all_to(&mut document, &echo.address);
        let mosn = Mosn::start(MOSN.as_ref(), &document, &[]);
        let at = format!("{file}: {protocol} to {service}");
        assert_eq!(call(protocol, service, &mosn, &document), Called::Answered, "{at}");
        if let Some(other) = other {
            assert_eq!(call(protocol, other, &mosn, &document), Called::Refused, "{at}: {other}");
        }
    }
}

#[test]
fn calls_pass_the_proxy_of_the_client_and_that_of_the_server() {
    let echo = Echo::start("bolt");
    let mut server_side = document("server-side.json");
    send_all_to(&mut server_side, &echo.address);
    let server = Mosn::start(MOSN.as_ref(), &server_side, &[]);
    let mut client_side = document("client-side.json");
    send_all_to(&mut client_side, &server.address("ingress").to_string());
    let client = Mosn::start(MOSN.as_ref(), &client_side, &[]);
    assert_eq!(call("bolt", "com.example.EchoService", &client, &client_side), Called::Answered);
}

#[derive(Debug, PartialEq)]
enum Called {
    /// Every call got its echo.
    Answered,
    /// Every call got an error of the protocol.
    Refused,
}

/// Has every cluster consist of one host.
fn send_all_to(document: &mut Value, address: &str) {
    for cluster in document["cluster_manager"]["clusters"].as_array_mut().unwrap() {
        cluster["hosts"] = json!([{ "address": address }]);
    }
}

/// Calls a service through the first listener, until there is an outcome.
fn call(protocol: &str, service: &str, mosn: &Mosn, document: &Value) -> Called {
    let listener = document["servers"][0]["listeners"][0]["name"].as_str().unwrap();
    let target = mosn.address(listener).to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = file.path().to_str().unwrap();
    let what = ["bench", "load", protocol, "--target", &target, "--service", service, "--json", json];
    let how = ["--connections=2", "--outstanding=4", "--duration=100ms", "--warmup=0s", "--allow-errors"];
    for _ in 0..50 {
        let output = run(MOSN, &[&what[..], &how].concat());
        assert_eq!(output.code, 0, "{output:?}");
        let found: Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
        let count = |pointer| found.pointer(pointer).and_then(Value::as_u64).unwrap();
        match (count("/replies"), count("/errors/total"), count("/errors/status")) {
            // A busy machine let the moment pass.
            (0, 0, _) => {}
            (_, 0, _) => return Called::Answered,
            (0, all, refused) if all == refused => return Called::Refused,
            _ => panic!("{protocol} to {service}: {output:?}"),
        }
    }
    panic!("{protocol} to {service}: no outcome")
}
