//! What MOSN's debug builds have (observability reference 1.6): changes over HTTP, without
//! authentication. Only there when it was asked for.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
    routing::{MethodRouter, any},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Api, SharedApi};
use crate::{DebugApi, reply};

/// Most bytes of a body: a large route table.
const MAX_BODY: usize = 16 * 1024 * 1024;

const CONFIG: &str = "/debug/update_config";
const ROUTE: &str = "/debug/update_route";

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Arc<Api>>)> {
    vec![(CONFIG, any(update_config)), (ROUTE, any(update_route))]
}

#[derive(Deserialize)]
struct Update<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    config: &'a RawValue,
}

#[derive(Deserialize)]
struct RouteUpdate<'a> {
    #[serde(default)]
    router_config_name: String,
    #[serde(default)]
    domain: String,
    #[serde(borrow, default)]
    route: Option<&'a RawValue>,
}

/// Adds or replaces one object.
async fn update_config(State(api): SharedApi, request: Request) -> Response {
    carry_out(CONFIG, &api, request, |debug, body| {
        let update: Update<'_> = serde_json::from_slice(body).map_err(|_| Refused::Request)?;
        let config = update.config.get();
        match update.kind.as_str() {
            "router" => debug.update_router(config).map_err(Refused::Update),
            "cluster" => debug.update_cluster(config).map_err(Refused::Update),
            kind @ ("listener" | "extend") => {
                Err(Refused::Update(format!("type {kind}: understood, but this build cannot change it yet")))
            }
            _ => Err(Refused::Type),
        }
    })
    .await
}

/// Appends a route to a virtual host, or removes all of its routes.
async fn update_route(State(api): SharedApi, request: Request) -> Response {
    carry_out(ROUTE, &api, request, |debug, body| {
        let update: Update<'_> = serde_json::from_slice(body).map_err(|_| Refused::Request)?;
        let config: RouteUpdate<'_> =
            serde_json::from_str(update.config.get()).map_err(|_| Refused::Request)?;
        let (router, domain) = (&config.router_config_name, &config.domain);
        let done = match (update.kind.as_str(), config.route) {
            ("add", Some(route)) => debug.add_route(router, domain, route.get()),
            ("remove", _) => debug.remove_routes(router, domain),
            ("add", None) => return Err(Refused::Request),
            _ => return Err(Refused::Type),
        };
        done.map_err(Refused::Update)
    })
    .await
}

enum Refused {
    Request,
    Type,
    Update(String),
}

async fn carry_out(
    path: &'static str,
    api: &Api,
    request: Request,
    update: impl FnOnce(&dyn DebugApi, &[u8]) -> Result<(), Refused> + Send + 'static,
) -> Response {
    let Some(debug) = api.context.debug.clone() else {
        return reply::with_status(StatusCode::NOT_FOUND, "");
    };
    let body: Bytes = match axum::body::to_bytes(request.into_body(), MAX_BODY).await {
        Ok(body) => body,
        Err(_) => return reply::bad_request(path, "invalid request"),
    };
    // A large table takes long to check; other questions need not wait for it.
    let done = tokio::task::spawn_blocking(move || update(&*debug, &body)).await;
    match done.unwrap_or_else(|panic| Err(Refused::Update(panic.to_string()))) {
        Ok(()) => {
            tracing::info!("[admin api] {path}: done");
            reply::ok("success")
        }
        Err(Refused::Request) => reply::bad_request(path, "invalid request"),
        Err(Refused::Type) => reply::bad_request(path, "invalid type, do nothing"),
        Err(Refused::Update(why)) => reply::bad_request(path, &why),
    }
}
