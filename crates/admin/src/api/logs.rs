use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use mosn_config::model::LogLevel;
use serde::Deserialize;

use super::{MAX_BODY, SharedApi};
use crate::reply;

/// Names of levels, exactly as they must be written.
const LEVELS: [(&str, LogLevel); 6] = [
    ("FATAL", LogLevel::Fatal),
    ("ERROR", LogLevel::Error),
    ("WARN", LogLevel::Warn),
    ("INFO", LogLevel::Info),
    ("DEBUG", LogLevel::Debug),
    ("TRACE", LogLevel::Trace),
];

/// The error logs and their levels, compact.
pub(super) async fn levels(State(api): SharedApi, method: Method) -> Response {
    if let Some(refused) = reply::wrong_method("/api/v1/get_loglevel", &method, &Method::GET) {
        return refused;
    }
    let name = |level| LEVELS.iter().find(|(_, known)| *known == level).map_or("", |(name, _)| name);
    let levels: BTreeMap<_, _> =
        api.context.logs.levels().into_iter().map(|(path, level)| (path, name(level))).collect();
    reply::ok(serde_json::json!(levels).to_string())
}

#[derive(Deserialize)]
struct UpdateLevel {
    #[serde(default)]
    log_path: String,
    #[serde(default)]
    log_level: String,
}

/// Sets the level of one error log.
pub(super) async fn update_level(State(api): SharedApi, request: Request) -> Response {
    const PATH: &str = "/api/v1/update_loglevel";
    if let Some(refused) = reply::wrong_method(PATH, request.method(), &Method::POST) {
        return refused;
    }
    let body = match body(request).await {
        Ok(body) => body,
        Err(why) => return unread(PATH, &why),
    };
    let updated =
        serde_json::from_slice::<UpdateLevel>(&body).map_err(|error| error.to_string()).and_then(|update| {
            let level = LEVELS.iter().find(|(name, _)| *name == update.log_level);
            let (name, level) = level.ok_or_else(|| format!("there is no level `{}`", update.log_level))?;
            api.context.logs.set_level(&update.log_path, *level).map_err(|error| error.to_string())?;
            Ok((update.log_path, name))
        });
    match updated {
        Ok((path, level)) => {
            tracing::info!("[admin api] [update loglevel] {path} to {level}");
            reply::ok("update logger success\n")
        }
        Err(why) => reply::error(StatusCode::BAD_REQUEST, PATH, "update logger failed", &why),
    }
}

/// Makes the log whose path is the body take lines again.
pub(super) async fn enable(State(api): SharedApi, request: Request) -> Response {
    switch(&api, "/api/v1/enable_log", request, "enable", true).await
}

/// Makes the log whose path is the body take no more lines.
pub(super) async fn disable(State(api): SharedApi, request: Request) -> Response {
    switch(&api, "/api/v1/disable_log", request, "disable", false).await
}

async fn switch(api: &super::Api, path: &str, request: Request, verb: &str, on: bool) -> Response {
    if let Some(refused) = reply::wrong_method(path, request.method(), &Method::POST) {
        return refused;
    }
    let body = match body(request).await {
        Ok(body) => body,
        Err(why) => return unread(path, &why),
    };
    let switched = std::str::from_utf8(&body)
        .map_err(|error| error.to_string())
        .and_then(|log| api.context.logs.set_enabled(log, on).map_err(|error| error.to_string()));
    match switched {
        Ok(()) => {
            tracing::info!("[admin api] [{verb} log] {}", String::from_utf8_lossy(&body));
            reply::ok(format!("{verb} logger success\n"))
        }
        Err(why) => reply::error(StatusCode::BAD_REQUEST, path, &format!("{verb} logger failed"), &why),
    }
}

async fn body(request: Request) -> Result<Bytes, String> {
    axum::body::to_bytes(request.into_body(), MAX_BODY).await.map_err(|error| error.to_string())
}

fn unread(path: &str, why: &str) -> Response {
    reply::error(StatusCode::BAD_REQUEST, path, "read body error", why)
}
