use axum::{
    extract::{RawQuery, State},
    http::{Method, StatusCode},
    response::Response,
};
use mosn_config::DumpError;

use super::SharedApi;
use crate::reply;

const PATH: &str = "/api/v1/config_dump";

/// The configuration in force, or the part that the one parameter names.
pub(super) async fn config_dump(
    State(api): SharedApi,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    if let Some(refused) = reply::wrong_method(PATH, &method, &Method::GET) {
        return refused;
    }
    let query = query.unwrap_or_default();
    tracing::info!("[admin api] [config dump] {query:?}");
    match (api.context.dump)(&query) {
        Ok(json) => reply::ok(json),
        Err(error @ DumpError::TooManyParameters) => reply::bad_request(PATH, &error.to_string()),
        Err(error) => {
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, PATH, "internal error", &error.to_string())
        }
    }
}
