use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{Method, StatusCode},
    response::Response,
};
use mosn_telemetry::ProcessState;
use serde::Serialize;

use super::{Parameters, SharedApi};
use crate::reply;

/// The process id and the state's number.
pub(super) async fn states(State(api): SharedApi, method: Method) -> Response {
    if let Some(refused) = reply::wrong_method("/api/v1/states", &method, &Method::GET) {
        return refused;
    }
    let state = ProcessState::load(&api.context.state).number();
    reply::ok(format!("pid={}&state={state}\n", std::process::id()))
}

/// The version, without a line end.
pub(super) async fn version(State(api): SharedApi) -> Response {
    reply::ok(format!("mosn version: {}", api.context.version))
}

/// Every feature gate, or whether the one that `key` names is on.
pub(super) async fn features(State(api): SharedApi, method: Method, parameters: Parameters) -> Response {
    if let Some(refused) = reply::wrong_method("/api/v1/features", &method, &Method::GET) {
        return refused;
    }
    if parameters.is_empty() {
        return reply::json(api.context.features.all());
    }
    let key = parameters.iter().find(|(name, _)| name == "key");
    reply::ok(key.is_some_and(|(_, name)| api.context.features.is_on(name)).to_string())
}

#[derive(Serialize)]
struct Environment<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_found: Vec<&'a str>,
}

/// The environment variables that `key`s name. Whoever may ask can read secrets that were passed in
/// the environment: see the crate's notes on who may.
pub(super) async fn env(method: Method, parameters: Parameters) -> Response {
    const PATH: &str = "/api/v1/env";
    if let Some(refused) = reply::wrong_method(PATH, &method, &Method::GET) {
        return refused;
    }
    let keys: Vec<&str> =
        parameters.iter().filter(|(name, _)| name == "key").map(|(_, key)| key.as_str()).collect();
    if keys.is_empty() {
        return reply::error(StatusCode::BAD_REQUEST, PATH, "no env key", "no env key");
    }
    let mut found = Environment { env: BTreeMap::new(), not_found: Vec::new() };
    for key in keys {
        match std::env::var_os(key) {
            Some(value) => {
                found.env.insert(key, value.to_string_lossy().into_owned());
            }
            None => found.not_found.push(key),
        }
    }
    reply::json(&found)
}

/// Out-of-process plugins, of which there are none in this process: every name is unknown, and the
/// list of all is empty.
pub(super) async fn plugin(parameters: Parameters) -> Response {
    const PATH: &str = "/api/v1/plugin";
    let value = |wanted: &str| {
        parameters.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value)
    };
    let unknown = |name: &str| reply::bad_request(PATH, &format!("plugin {name} no register\n"));
    match (value("enable").or_else(|| value("disable")), value("status")) {
        (Some(name), _) => unknown(name),
        (None, Some(name)) if name == "all" => reply::ok("\n"),
        (None, Some(name)) => unknown(name),
        (None, None) => reply::with_status(
            StatusCode::BAD_REQUEST,
            "Usage:\n\
             /api/v1/plugin?enable=<name>\n\
             /api/v1/plugin?disable=<name>\n\
             /api/v1/plugin?status=<name>\n\
             /api/v1/plugin?status=all\n",
        ),
    }
}
