use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{HeaderMatcher, unset};
use crate::value::{GoDuration, NoEffect};

/// The `fault` stream filter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct FaultConfig {
    /// Delays requests.
    #[serde(skip_serializing_if = "unset")]
    pub delay: Option<FaultDelay>,
    /// Answers requests itself.
    #[serde(skip_serializing_if = "unset")]
    pub abort: Option<FaultAbort>,
    /// Only requests to this cluster. Default: all.
    #[serde(skip_serializing_if = "unset")]
    pub upstream_cluster: String,
    /// Only requests with these headers.
    #[serde(skip_serializing_if = "unset")]
    pub headers: Vec<HeaderMatcher>,
}

/// A delay.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct FaultDelay {
    /// Share of requests, 0 to 100.
    #[serde(skip_serializing_if = "unset")]
    pub percentage: u32,
    /// How long.
    pub fixed_delay: GoDuration,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct FaultAbort {
    /// Its status.
    #[serde(skip_serializing_if = "unset")]
    pub status: i64,
    /// Share of requests, 0 to 100.
    #[serde(skip_serializing_if = "unset")]
    pub percentage: u32,
}

/// The `gzip` stream filter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct GzipConfig {
    /// 0 to 9; 0 counts as 6.
    #[serde(skip_serializing_if = "unset")]
    pub gzip_level: u32,
    /// Bytes below which a body is left alone. Default 0.
    #[serde(skip_serializing_if = "unset")]
    pub content_length: u32,
    /// Media types. Default `text/html`.
    #[serde(skip_serializing_if = "unset")]
    pub content_types: Vec<String>,
}

/// The `payload_limit` stream filter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct PayloadLimitConfig {
    /// Bytes of a request's body. MOSN itself only reads the key with a space at its end.
    #[serde(skip_serializing_if = "unset")]
    pub max_entity_size: Option<i32>,
    /// The same, as MOSN spells it.
    #[serde(rename = "max_entity_size ")]
    #[serde(skip_serializing_if = "unset")]
    pub max_entity_size_spaced: Option<i32>,
    /// Status of the answer to more.
    #[serde(skip_serializing_if = "unset")]
    pub http_status: i32,
}

/// The `dsl` stream filter: expressions that run for each request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DslConfig {
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub debug: Option<NoEffect>,
    /// Before the route is looked up.
    #[serde(skip_serializing_if = "unset")]
    pub before_router_by_dsl: String,
    /// After it was.
    #[serde(skip_serializing_if = "unset")]
    pub after_router_by_dsl: String,
    /// After the host was chosen.
    #[serde(skip_serializing_if = "unset")]
    pub after_balancer_by_dsl: String,
    /// Before the reply is sent.
    #[serde(skip_serializing_if = "unset")]
    pub send_filter_by_dsl: String,
    /// When the request is logged.
    #[serde(skip_serializing_if = "unset")]
    pub log_filter_by_dsl: String,
}

/// The `transcoder` stream filter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct TranscoderConfig {
    /// `http2bolt_simple`, `httpTohttp2` or `http2Tohttp`.
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "unset")]
    pub kind: String,
    /// When it runs: `receiver_phase` 0 before the route, 1 after it (default), 2 after the host.
    #[serde(skip_serializing_if = "unset")]
    pub trans: Option<Map<String, Value>>,
    /// Rules that choose another one.
    #[serde(skip_serializing_if = "unset")]
    pub rules: Vec<Value>,
}

/// The `mirror` stream filter: copies requests as their routes' `request_mirror_policies` say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct MirrorConfig {
    /// How many copies are sent. Default 1.
    #[serde(skip_serializing_if = "unset")]
    pub amplification: u32,
    /// Sends one copy for each healthy host instead, answers 200, and forwards nothing. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub broadcast: bool,
}
