use serde::{Deserialize, Serialize};

use super::{ListenerFilter, NetworkFilter, StreamFilter, TlsContext, unset};
use crate::value::{GoDuration, NoEffect};

/// A listener (`servers[0].listeners[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Listener {
    /// Unique. Default: the address.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// `ingress` or `egress`, shown in traces.
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "unset")]
    pub kind: String,
    /// Required. `host:port`, the host an address, a name or empty (any); for `unix` a path, or
    /// `@name` for an abstract one.
    #[serde(skip_serializing_if = "unset")]
    pub address: String,
    /// Whether it binds. Default false: reachable only through a listener with `use_original_dst`.
    #[serde(skip_serializing_if = "unset")]
    pub bind_port: bool,
    /// `tcp`, `udp` or `unix`, case ignored. Default `tcp`.
    #[serde(skip_serializing_if = "unset")]
    pub network: String,
    /// One socket per worker, balanced by the kernel. Default false. MOSN has it for UDP only.
    #[serde(skip_serializing_if = "unset")]
    pub reuseport: bool,
    /// `redirect` or `tproxy`: hands connections to the listener of their original destination.
    /// Anything else: off.
    #[serde(skip_serializing_if = "unset")]
    pub use_original_dst: String,
    /// Access logs.
    #[serde(skip_serializing_if = "unset")]
    pub access_logs: Vec<AccessLog>,
    /// Filters that run before the filter chain.
    #[serde(skip_serializing_if = "unset")]
    pub listener_filters: Vec<ListenerFilter>,
    /// Exactly one.
    #[serde(skip_serializing_if = "unset")]
    pub filter_chains: Vec<FilterChain>,
    /// Filters that run for each request.
    #[serde(skip_serializing_if = "unset")]
    pub stream_filters: Vec<StreamFilter>,
    /// Tells TLS from plain text by the first byte and takes both. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub inspector: bool,
    /// Closes a connection without traffic for this long; 0 never does. Default 90s, for `udp` 5s.
    #[serde(skip_serializing_if = "unset")]
    pub connection_idle_timeout: Option<GoDuration>,
    /// Size of the first read buffer in bytes. Buffers here size themselves; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub default_read_buffer_size: i64,
    /// Not a key of MOSN's listeners; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub log_path: Option<NoEffect>,
    /// Not a key of MOSN's listeners; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub log_level: Option<NoEffect>,
}

/// An access log (`access_logs[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct AccessLog {
    /// Where it goes, as `default_log_path`. Default `<logs>/<listener name>_access.log`.
    #[serde(skip_serializing_if = "unset")]
    pub log_path: String,
    /// Text and `%variable%`; `\%` is a percent sign. Default: MOSN's seventeen variables.
    #[serde(skip_serializing_if = "unset")]
    pub log_format: String,
}

/// A filter chain (`filter_chains[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct FilterChain {
    /// Does nothing in MOSN.
    #[serde(rename = "match")]
    #[serde(skip_serializing_if = "unset")]
    pub matches: Option<NoEffect>,
    /// One TLS context, or `tls_context_set`, not both.
    #[serde(skip_serializing_if = "unset")]
    pub tls_context: Option<TlsContext>,
    /// TLS contexts, chosen by server name.
    #[serde(skip_serializing_if = "unset")]
    pub tls_context_set: Vec<TlsContext>,
    /// Network filters: the first takes the connection.
    #[serde(skip_serializing_if = "unset")]
    pub filters: Vec<NetworkFilter>,
}
