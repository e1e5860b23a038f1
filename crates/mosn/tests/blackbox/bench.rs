//! `mosn bench` as it is used: one process answers, another one asks.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use mosn_tests::{Config, Listener, route, run};
use serde_json::json;

use crate::{MOSN, start};

/// An echo server, killed when dropped.
pub(crate) struct Echo {
    process: Child,
    pub address: String,
}

impl Echo {
    pub(crate) fn start(protocol: &str) -> Self {
        let mut process =
            Command::new(MOSN).args(["bench", "serve", protocol]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(line.starts_with(&format!("{protocol} echo server listens on 127.0.0.1:")), "{line}");
        Self { process, address }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn load_reports_replies_as_a_table_and_as_json() {
    let echo = Echo::start("dubbo");
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = file.path().to_str().unwrap();
    let short = ["--duration", "100ms", "--warmup", "0s", "--json", json];
    let output = run(MOSN, &[&["bench", "load", "dubbo", "--target", &echo.address][..], &short].concat());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.out.contains("errors      none"), "{output:?}");
    let found: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(found["replies"].as_u64().unwrap() > 0, "{found}");
}

#[test]
fn errors_among_the_requests_are_an_exit_code_unless_allowed() {
    let echo = Echo::start("bolt");
    let wrong = ["bench", "load", "bolt", "--target", &echo.address, "--duration", "50ms", "--expect", "7"];
    let output = run(MOSN, &wrong);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.out.contains(" body\n"), "{output:?}");
    assert_eq!(run(MOSN, &[&wrong[..], &["--allow-errors"]].concat()).code, 0);
}

#[test]
fn a_target_that_is_not_there_is_said_with_another_exit_code() {
    let output = run(MOSN, &["bench", "load", "tars", "--target", "127.0.0.1:1"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.err.contains("cannot connect to 127.0.0.1:1 (connection 1 of 1)"), "{output:?}");
}

#[test]
fn large_calls_and_replies_pass_the_proxy_both_ways_at_once() {
    for protocol in ["bolt", "dubbo"] {
        let echo = Echo::start(protocol);
        let by_service = json!({ "headers": [{ "name": "service", "value": "com.example.EchoService" }] });
        let routes = [route(&by_service, &json!({ "route": { "cluster_name": "up" } }))];
        let config = Config::new()
            .listener(Listener::new("in", protocol).routes(routes))
            .cluster("up", &[&echo.address]);
        let mosn = start(&config);
        let target = mosn.address("in").to_string();
        let large = [
            "--body",
            "8m",
            "--outstanding",
            "2",
            "--duration",
            "200ms",
            "--warmup",
            "0s",
            "--timeout",
            "20s",
        ];
        let output = run(MOSN, &[&["bench", "load", protocol, "--target", &target][..], &large].concat());
        assert_eq!(output.code, 0, "{output:?}");
    }
}
