//! What Istio's agent asks an Envoy for (observability reference 1.7).

use axum::{
    body::Body,
    extract::State,
    http::{Method, StatusCode},
    response::Response,
};
use mosn_telemetry::ProcessState;

use super::{Parameters, SharedApi, distinct};
use crate::reply;

/// Envoy's name for the state, in the JSON form of its `ServerInfo`, where `LIVE` goes without saying.
pub(super) async fn server_info(State(api): SharedApi) -> Response {
    use ProcessState as S;
    let state = match ProcessState::load(&api.context.state) {
        S::AfterStart | S::Running | S::StartingNewServer => return reply::ok("{}"),
        S::Nil | S::ParamsParsed | S::Initing => "PRE_INITIALIZING",
        S::PreStart | S::Starting => "INITIALIZING",
        // Go MOSN has no answer for a stop that was only just asked for.
        S::BeforeStop | S::GracefulStopping | S::Stopping | S::AfterStop | S::Stopped | S::Upgrading => {
            "DRAINING"
        }
    };
    reply::ok(format!("{{\"state\":\"{state}\"}}"))
}

/// What came in by xDS: nothing, in a process that has no xDS client.
pub(super) async fn config_dump(method: Method, parameters: Parameters) -> Response {
    const PATH: &str = "/config_dump";
    if let Some(refused) = reply::wrong_method(PATH, &method, &Method::GET) {
        return refused;
    }
    match distinct(&parameters) {
        0 => reply::ok("{}"),
        1 => reply::with_status(StatusCode::OK, Body::empty()),
        _ => reply::bad_request(PATH, "only support one parameter"),
    }
}
