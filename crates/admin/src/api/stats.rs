use axum::{extract::State, http::Method, response::Response};

use super::{Parameters, SharedApi, distinct};
use crate::reply;

/// Every metrics set, or the one that `key` names.
pub(super) async fn stats(State(api): SharedApi, method: Method, parameters: Parameters) -> Response {
    const PATH: &str = "/api/v1/stats";
    if let Some(refused) = reply::wrong_method(PATH, &method, &Method::GET) {
        return refused;
    }
    if distinct(&parameters) > 1 {
        return reply::bad_request(PATH, "only support one parameter");
    }
    // A parameter of another name is a key that no set has.
    let key = parameters.first().map(|(name, value)| if name == "key" { value.as_str() } else { "" });
    reply::ok(api.context.registry.stats_json(key))
}

/// The set of the whole process, as lines.
pub(super) async fn stats_glob(State(api): SharedApi, method: Method) -> Response {
    reply::wrong_method("/api/v1/stats_glob", &method, &Method::GET)
        .unwrap_or_else(|| reply::ok(api.context.registry.stats_glob()))
}
