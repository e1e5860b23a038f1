//! Proxies that several tests need.

use mosn_tests::{
    Config, Http2Origin, Listener, Mosn, Origin, Reply, Request, admin, echo_http1, echo_http2, route,
};
use serde_json::{Value, json};

use crate::start;

/// Downstream and upstream protocol, all four combinations.
pub(crate) const PAIRS: [(&str, &str); 4] =
    [("Http1", "Http1"), ("Http1", "Http2"), ("Http2", "Http1"), ("Http2", "Http2")];

/// A proxy that speaks both protocols on both sides: the listeners are called `Http1` and `Http2`, the
/// header `x-up` says which origin a request goes to.
pub(crate) struct Matrix {
    pub(crate) mosn: Mosn,
    pub(crate) http1: Origin,
    pub(crate) http2: Http2Origin,
}

impl Matrix {
    pub(crate) fn new() -> Self {
        let (http1, http2) = (echo_http1(), echo_http2());
        let config = Config::new()
            .listener(Listener::new("Http1", "Http1").routes(routes()))
            .listener(Listener::new("Http2", "Http2").routes(routes()))
            .cluster("Http1", &[&http1.address()])
            .cluster("Http2", &[&http2.address()])
            .top("admin", admin());
        Self { mosn: start(&config), http1, http2 }
    }

    /// Asks through one pair of protocols, on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, pair: (&str, &str), request: Request) -> Reply {
        self.mosn.ask(pair.0, &request.with("x-up", pair.1))
    }
}

fn routes() -> [Value; 2] {
    ["Http1", "Http2"].map(|up| {
        route(
            &json!({ "prefix": "/", "headers": [{ "name": "x-up", "value": up }] }),
            &json!({ "route": { "cluster_name": up, "upstream_protocol": up } }),
        )
    })
}

/// One HTTP/1 listener, `in`, in front of these hosts.
pub(crate) fn forwarding(hosts: &[&str]) -> Config {
    Config::new()
        .listener(Listener::new("in", "Http1").routes([mosn_tests::to("/", "up", &json!({}))]))
        .cluster("up", hosts)
}
