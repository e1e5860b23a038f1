use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::unset;
use crate::value::{GoDuration, NoEffect};

/// The `proxy` network filter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ProxyConfig {
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub name: Option<NoEffect>,
    /// Required: `Http1`, `Http2`, `Auto` for any, or a list separated by `,`.
    #[serde(skip_serializing_if = "unset")]
    pub downstream_protocol: String,
    /// Does nothing in MOSN: the upstream protocol is the route's.
    #[serde(skip_serializing_if = "unset")]
    pub upstream_protocol: Option<NoEffect>,
    /// The route table.
    #[serde(skip_serializing_if = "unset")]
    pub router_config_name: String,
    /// Who looks routes up. Only `default` is there; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub router_handler_name: String,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub validate_clusters: Option<NoEffect>,
    /// Hands a connection whose protocol is not known to the next network filter. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub fallback_for_unknown_protocol: bool,
    /// Workers of a connection in MOSN; does nothing here.
    #[serde(skip_serializing_if = "unset")]
    pub concurrency_num: i64,
    /// Settings of the protocols.
    #[serde(skip_serializing_if = "unset")]
    pub extend_config: Option<ExtendConfig>,
}

/// Settings of protocols (`extend_config`): flat for the one protocol of the listener, or under its
/// name, which is the only way where there are several.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ExtendConfig {
    /// The protocol, where `downstream_protocol` is the older `X`.
    #[serde(skip_serializing_if = "unset")]
    pub sub_protocol: String,
    /// Settings of HTTP/1.
    #[serde(rename = "Http1")]
    #[serde(skip_serializing_if = "unset")]
    pub http1: Option<Http1Settings>,
    /// Settings of HTTP/2.
    #[serde(rename = "Http2")]
    #[serde(skip_serializing_if = "unset")]
    pub http2: Option<Http2Settings>,
    /// Settings of Bolt.
    #[serde(skip_serializing_if = "unset")]
    pub bolt: Option<RpcSettings>,
    /// Settings of Bolt version 2.
    #[serde(skip_serializing_if = "unset")]
    pub boltv2: Option<RpcSettings>,
    /// Settings of Dubbo.
    #[serde(skip_serializing_if = "unset")]
    pub dubbo: Option<RpcSettings>,
    /// Settings of Dubbo's Thrift.
    #[serde(rename = "dubbo-thrift")]
    #[serde(skip_serializing_if = "unset")]
    pub dubbo_thrift: Option<RpcSettings>,
    /// Settings of Tars.
    #[serde(skip_serializing_if = "unset")]
    pub tars: Option<RpcSettings>,
    /// See [`Http1Settings::max_header_size`].
    #[serde(skip_serializing_if = "unset")]
    pub max_header_size: Option<u64>,
    /// See [`Http1Settings::max_header_count`].
    #[serde(skip_serializing_if = "unset")]
    pub max_header_count: Option<u64>,
    /// See [`Http1Settings::max_uri_length`].
    #[serde(skip_serializing_if = "unset")]
    pub max_uri_length: Option<u64>,
    /// See [`Http1Settings::max_request_body_size`].
    #[serde(skip_serializing_if = "unset")]
    pub max_request_body_size: Option<u64>,
    /// See [`Http1Settings::header_timeout`].
    #[serde(skip_serializing_if = "unset")]
    pub header_timeout: Option<GoDuration>,
    /// See [`Http1Settings::body_idle_timeout`].
    #[serde(skip_serializing_if = "unset")]
    pub body_idle_timeout: Option<GoDuration>,
    /// See [`Http1Settings::max_buffered_bytes`].
    #[serde(skip_serializing_if = "unset")]
    pub max_buffered_bytes: Option<u64>,
    /// See [`Http2Settings::http2_use_stream`].
    #[serde(skip_serializing_if = "unset")]
    pub http2_use_stream: Option<bool>,
    /// See [`Http2Settings::max_concurrent_streams`].
    #[serde(skip_serializing_if = "unset")]
    pub max_concurrent_streams: Option<u32>,
    /// See [`Http2Settings::max_resets`].
    #[serde(skip_serializing_if = "unset")]
    pub max_resets: Option<u32>,
    /// See [`Http2Settings::max_control_frames`].
    #[serde(skip_serializing_if = "unset")]
    pub max_control_frames: Option<u32>,
    /// See [`RpcSettings::enable_bolt_goaway`].
    #[serde(skip_serializing_if = "unset")]
    pub enable_bolt_goaway: Option<bool>,
    /// See [`RpcSettings::max_frame_bytes`].
    #[serde(skip_serializing_if = "unset")]
    pub max_frame_bytes: Option<u64>,
    /// See [`RpcSettings::pool_mode`].
    #[serde(skip_serializing_if = "unset")]
    pub pool_mode: Option<String>,
}

/// HTTP/1 (`extend_config.Http1`). All but `max_header_size` and `max_request_body_size` are ours.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Http1Settings {
    /// Bytes of request line and header. More is answered 431. Default 8192.
    #[serde(skip_serializing_if = "unset")]
    pub max_header_size: Option<u64>,
    /// Header fields. More are answered 431. Default 100.
    #[serde(skip_serializing_if = "unset")]
    pub max_header_count: Option<u64>,
    /// Bytes of the request target. More is answered 414. Default 8192.
    #[serde(skip_serializing_if = "unset")]
    pub max_uri_length: Option<u64>,
    /// Bytes of a request's body. More is answered 413. Default 0: no limit.
    #[serde(skip_serializing_if = "unset")]
    pub max_request_body_size: Option<u64>,
    /// Limit until a request's header is complete. Default 60s; 0: none.
    #[serde(skip_serializing_if = "unset")]
    pub header_timeout: Option<GoDuration>,
    /// Longest silence within a body. Default 5m0s; 0: no limit.
    #[serde(skip_serializing_if = "unset")]
    pub body_idle_timeout: Option<GoDuration>,
    /// Bytes held of one connection, each way, before its sender has to wait. Default 262144.
    #[serde(skip_serializing_if = "unset")]
    pub max_buffered_bytes: Option<u64>,
}

/// HTTP/2 (`extend_config.Http2`). All but `http2_use_stream` are ours.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Http2Settings {
    /// Whether bodies are passed on as they come; here they always are.
    #[serde(skip_serializing_if = "unset")]
    pub http2_use_stream: Option<bool>,
    /// Bytes of a header list. More is answered 431. Default 8192.
    #[serde(skip_serializing_if = "unset")]
    pub max_header_size: Option<u64>,
    /// Streams that a client may have open. Default 1000.
    #[serde(skip_serializing_if = "unset")]
    pub max_concurrent_streams: Option<u32>,
    /// Streams that a client may reset before they were answered, in any 30 seconds. Default 500.
    #[serde(skip_serializing_if = "unset")]
    pub max_resets: Option<u32>,
    /// Control and empty DATA frames in any 30 seconds, on top of ten for each stream. Default 1000.
    #[serde(skip_serializing_if = "unset")]
    pub max_control_frames: Option<u32>,
    /// Limit until a request's header is complete. Default 60s; 0: none.
    #[serde(skip_serializing_if = "unset")]
    pub header_timeout: Option<GoDuration>,
    /// Longest silence within a body. Default 5m0s; 0: no limit.
    #[serde(skip_serializing_if = "unset")]
    pub body_idle_timeout: Option<GoDuration>,
}

/// An RPC protocol (`extend_config.bolt` and so on). All but `enable_bolt_goaway` are ours.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RpcSettings {
    /// `bolt` only: tells clients when this side stops. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub enable_bolt_goaway: Option<bool>,
    /// Bytes of one frame, either way, 1024 to 1 GiB. A larger one ends its connection. Default 64 MiB.
    #[serde(skip_serializing_if = "unset")]
    pub max_frame_bytes: Option<u64>,
    /// How requests share upstream connections: `multiplex`, `ping-pong` (one request at a time) or
    /// `binding` (an upstream connection for each client connection). Default `multiplex`.
    #[serde(skip_serializing_if = "unset")]
    pub pool_mode: Option<String>,
}

/// The `tcp_proxy` and `udp_proxy` network filters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct StreamProxyConfig {
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub stat_prefix: String,
    /// The cluster; wins over `routes`.
    #[serde(skip_serializing_if = "unset")]
    pub cluster: String,
    /// UDP: ends a session without traffic for this long, in nanoseconds. Default 5 seconds.
    #[serde(skip_serializing_if = "unset")]
    pub idle_timeout: Option<i64>,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub max_connect_attempts: u32,
    /// Clusters by address.
    #[serde(skip_serializing_if = "unset")]
    pub routes: Vec<StreamRoute>,
}

/// A cluster by address (`routes[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct StreamRoute {
    /// The cluster.
    #[serde(rename = "Cluster")]
    #[serde(skip_serializing_if = "unset")]
    pub cluster: String,
    /// The peer's address.
    #[serde(rename = "SourceAddrs")]
    #[serde(skip_serializing_if = "unset")]
    pub source_addrs: Vec<CidrRange>,
    /// This side's address.
    #[serde(rename = "DestinationAddrs")]
    #[serde(skip_serializing_if = "unset")]
    pub destination_addrs: Vec<CidrRange>,
    /// The peer's port: `80`, `1-9`, or several separated by `,`.
    #[serde(rename = "SourcePort")]
    #[serde(skip_serializing_if = "unset")]
    pub source_port: String,
    /// This side's port, likewise.
    #[serde(rename = "DestinationPort")]
    #[serde(skip_serializing_if = "unset")]
    pub destination_port: String,
}

/// A range of addresses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CidrRange {
    /// The first address.
    #[serde(rename = "Address")]
    #[serde(skip_serializing_if = "unset")]
    pub address: String,
    /// Leading bits that count.
    #[serde(rename = "Length")]
    #[serde(skip_serializing_if = "unset")]
    pub length: u32,
    /// Go's own form of the same; does nothing.
    #[serde(rename = "IpNet")]
    #[serde(skip_serializing_if = "unset")]
    pub ip_net: Option<Value>,
}

/// The `grpc` network filter: a gRPC server inside the process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct GrpcConfig {
    /// The server's name.
    #[serde(skip_serializing_if = "unset")]
    pub server_name: String,
    /// Its own settings.
    #[serde(skip_serializing_if = "unset")]
    pub grpc_config: Option<Value>,
    /// Limit of a graceful stop. Default 30s.
    #[serde(skip_serializing_if = "unset")]
    pub graceful_stop_timeout: Option<GoDuration>,
}
