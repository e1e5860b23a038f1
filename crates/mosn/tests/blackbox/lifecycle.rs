//! Starting, stopping, signals.

use mosn_tests::{Config, Listener, Request, direct, run};

use crate::{MOSN, start};

#[test]
fn version_says_which() {
    let output = run(MOSN, &["version"]);
    assert_eq!(output.code, 0);
    assert!(output.out.starts_with("mosn version v"), "{output:?}");
}

#[test]
fn a_direct_response_needs_no_upstream() {
    let mosn = start(&Config::new().listener(Listener::new("in", "Http1").routes([direct("/", "hello")])));
    let reply = mosn.ask("in", &Request::get("/"));
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
}
