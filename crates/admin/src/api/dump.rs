use axum::{
    extract::State,
    http::{Method, StatusCode},
    response::Response,
};

use super::{Parameters, SharedApi, distinct};
use crate::{DumpQuery, reply};

const PATH: &str = "/api/v1/config_dump";

/// The configuration in force, or the part that the one parameter names.
pub(super) async fn config_dump(State(api): SharedApi, method: Method, parameters: Parameters) -> Response {
    if let Some(refused) = reply::wrong_method(PATH, &method, &Method::GET) {
        return refused;
    }
    if distinct(&parameters) > 1 {
        return reply::bad_request(PATH, "only support one parameter");
    }
    let query = match parameters.first() {
        None => Some(DumpQuery::All),
        Some((name, value)) => DumpQuery::from_parameter(name, value),
    };
    let Some(query) = query else {
        return internal("the parameter is unknown");
    };
    tracing::info!("[admin api] [config dump] {query:?}");
    match (api.context.dump)(query) {
        Ok(json) => reply::ok(json),
        Err(error) => internal(&error.to_string()),
    }
}

fn internal(why: &str) -> Response {
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, PATH, "internal error", why)
}
