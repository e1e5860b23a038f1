//! What the binary does when it is told nothing.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use mosn_tests::{Client, PATIENCE, Request, Signal, until};

use crate::MOSN;

/// Ends the process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_word_it_serves_a_demonstration_and_says_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running(
        Command::new(MOSN)
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            .env_remove("MOSN_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let (lines, printed) = mpsc::channel();
    let out = BufReader::new(running.0.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // The test may have seen enough.
            let _ = lines.send(line);
        }
    });
    let port_of = |name: &str| -> u16 {
        let line = loop {
            let line = printed.recv_timeout(PATIENCE).unwrap();
            if line.trim().starts_with(name) && line.contains("127.0.0.1:") {
                break line;
            }
        };
        let port: String =
            line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        port.parse().unwrap()
    };
    let (http, gateway) = (port_of("http "), port_of("gateway "));
    let rpc = [("bolt", port_of("bolt ")), ("dubbo", port_of("dubbo "))];
    let admin = port_of("admin ");
    let get = |protocol: &str, port: u16, path: &str| {
        Client::connect(protocol, ([127, 0, 0, 1], port).into()).ask(&Request::get(path).to("localhost"))
    };
    for (protocol, port) in [("Http1", http), ("Http2", http), ("Http1", gateway)] {
        let reply = get(protocol, port, "/");
        assert_eq!(reply.status, 200, "{protocol} {port}: {reply:?}");
        assert!(reply.text().contains("blue") || reply.text().contains("green"), "{reply:?}");
    }
    assert_eq!(get("Http1", http, "/hello").status, 200);
    assert!(get("Http1", http, "/old").get("location").is_some());
    assert_eq!(get("Http1", http, "/down").status, 502);
    assert_eq!(get("Http1", admin, "/api/v1/stats").status, 200);
    for (protocol, port) in rpc {
        // Through both proxies to the echo server and back, each reply checked.
        let load = Command::new(MOSN)
            .args(["bench", "load", protocol, "--target", &format!("127.0.0.1:{port}")])
            .args(["--connections", "2", "--outstanding", "4", "--duration", "300ms", "--warmup", "50ms"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&load.stdout).into_owned();
        assert!(load.status.success() && !said.contains(" 0 in all"), "{protocol}: {said}");
    }
    let pid = i32::try_from(running.0.id()).unwrap();
    mosn_tests::send(pid, Signal::INT);
    let status = until("it to end", || running.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
