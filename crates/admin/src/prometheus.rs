//! Metrics for Prometheus, on the admin address and on the ports of sinks.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header::CONTENT_TYPE},
    response::Response,
};
use mosn_config::model::PrometheusSpec;
use mosn_telemetry::{Registry, metrics::PROMETHEUS_CONTENT_TYPE};

use crate::reply;

/// What a scrape gets.
pub(crate) fn scrape(registry: &Registry, spec: &PrometheusSpec) -> Response {
    let mut response = Response::new(Body::from(registry.prometheus(spec)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROMETHEUS_CONTENT_TYPE));
    response
}

/// A sink's port: its endpoint, and 404 for every other path. Scrapers may use any host name.
pub(crate) fn sink(registry: Registry, spec: PrometheusSpec) -> Router {
    // Not a route: in a route's path, characters that an endpoint may have are patterns.
    Router::new().fallback(answer).with_state(Arc::new((registry, spec)))
}

async fn answer(State(sink): State<Arc<(Registry, PrometheusSpec)>>, uri: Uri) -> Response {
    let (registry, spec) = &*sink;
    if uri.path() == spec.endpoint {
        scrape(registry, spec)
    } else {
        reply::with_status(StatusCode::NOT_FOUND, format!("metrics are at {}\n", spec.endpoint))
    }
}
