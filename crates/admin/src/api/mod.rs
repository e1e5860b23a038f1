//! The endpoints (observability reference 1.2).

mod clusters;
mod debug;
mod dump;
mod istio;
mod logs;
mod process;
mod stats;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::Uri,
    middleware,
    response::Response,
    routing::{MethodRouter, any},
};
use mosn_config::model::PrometheusSpec;

use crate::{AdminContext, guard::guard, prometheus, reply};

/// Most bytes of a request body: a log's path and level.
const MAX_BODY: usize = 64 * 1024;

/// The parameters of a query, decoded, in order.
type Parameters = axum::extract::Query<Vec<(String, String)>>;

#[derive(Debug)]
pub(crate) struct Api {
    context: AdminContext,
    /// Prometheus on this address: `/metrics`, and sinks configured with the admin address.
    sinks: Vec<PrometheusSpec>,
}

type SharedApi = State<Arc<Api>>;

/// Every path but `/`, which is the help.
fn routes() -> [(&'static str, MethodRouter<Arc<Api>>); 16] {
    [
        ("/api/v1/clusters", any(clusters::clusters)),
        ("/api/v1/config_dump", any(dump::config_dump)),
        ("/api/v1/disable_log", any(logs::disable)),
        ("/api/v1/enable_log", any(logs::enable)),
        ("/api/v1/env", any(process::env)),
        ("/api/v1/features", any(process::features)),
        ("/api/v1/get_loglevel", any(logs::levels)),
        ("/api/v1/plugin", any(process::plugin)),
        ("/api/v1/states", any(process::states)),
        ("/api/v1/stats", any(stats::stats)),
        ("/api/v1/stats_glob", any(stats::stats_glob)),
        ("/api/v1/update_loglevel", any(logs::update_level)),
        ("/api/v1/version", any(process::version)),
        ("/config_dump", any(istio::config_dump)),
        ("/metrics", any(metrics)),
        ("/server_info", any(istio::server_info)),
    ]
}

/// The whole API. `sinks` are those whose address is the admin address itself.
pub(crate) fn router(
    context: AdminContext,
    default_sink: PrometheusSpec,
    sinks: Vec<PrometheusSpec>,
) -> Router {
    let mut all = vec![default_sink];
    all.extend(sinks);
    let api = Arc::new(Api { context, sinks: all });
    let debug = if api.context.debug.is_some() { debug::routes() } else { Vec::new() };
    let routes = routes().into_iter().chain(debug);
    routes
        .fold(Router::new(), |router, (path, route)| router.route(path, route))
        .fallback(fallback)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
        .with_state(api)
}

/// Any path that is none of ours gets the help and 200: health probes ask for `/`.
async fn fallback(State(api): SharedApi, uri: Uri) -> Response {
    if let Some(sink) = api.sinks.iter().find(|sink| sink.endpoint == uri.path()) {
        return prometheus::scrape(&api.context.registry, sink);
    }
    let mut text = String::from("supported APIs:\n");
    let debug = if api.context.debug.is_some() { debug::routes() } else { Vec::new() };
    for (path, _) in routes().into_iter().chain(debug) {
        text.push_str(path);
        text.push('\n');
    }
    reply::ok(text)
}

async fn metrics(State(api): SharedApi) -> Response {
    prometheus::scrape(&api.context.registry, &api.sinks[0])
}

/// How many different parameters there are.
fn distinct(parameters: &Parameters) -> usize {
    let mut names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}
