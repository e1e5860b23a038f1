use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{TlsContext, null_if_empty, unset};
use crate::value::{GoDuration, Metadata, NoEffect};

/// All clusters (`cluster_manager`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ClusterManager {
    /// TLS of the clusters with `cluster_manager_tls`.
    pub tls_context: TlsContext,
    /// Every cluster has connection pools of its own where another has the same host. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub cluster_pool_enable: bool,
    /// Clusters.
    #[serde(skip_serializing_if = "unset")]
    pub clusters: Vec<Cluster>,
    /// A folder with one cluster in each `.json` file, instead of `clusters`.
    #[serde(skip_serializing_if = "unset")]
    pub clusters_configs: String,
}

/// A cluster (`clusters[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Cluster {
    /// Unique; required.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// `STRICT_DNS` resolves its hosts' names; `SIMPLE`, `STATIC`, `DYNAMIC`, `EDS`, `ORIGINAL_DST` and
    /// anything else lists them. Default `SIMPLE`.
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "unset")]
    pub kind: String,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub sub_type: Option<NoEffect>,
    /// `LB_ROUNDROBIN`, `LB_RANDOM`, `LB_WEIGHTED_ROUNDROBIN`, `LB_ORIGINAL_DST`, `LB_LEAST_REQUEST`,
    /// `LB_MAGLEV`, `LB_REQUEST_ROUNDROBIN`, `LB_LEAST_CONNECTION`, `LB_PEAK_EWMA`, or, not in MOSN,
    /// `LB_WEIGHTED_RANDOM` or `LB_RING_HASH`. Default, and for anything else: `LB_ROUNDROBIN`.
    #[serde(skip_serializing_if = "unset")]
    pub lb_type: String,
    /// Requests after which an upstream connection is replaced. Default 1024, which is no limit.
    #[serde(skip_serializing_if = "unset")]
    pub max_request_per_conn: u32,
    /// Read and written; buffers here size themselves. Default 16384.
    #[serde(skip_serializing_if = "unset")]
    pub conn_buffer_limit_bytes: u32,
    /// `SO_MARK` of upstream sockets. Default 0: none.
    #[serde(skip_serializing_if = "unset")]
    pub mark: u32,
    /// Age at which an upstream connection is replaced, once its requests are done. Not a key of MOSN.
    /// Default: no limit.
    #[serde(skip_serializing_if = "unset")]
    pub max_connection_duration: Option<GoDuration>,
    /// The IP address that upstream sockets are bound to. Not a key of MOSN. Default: the system's
    /// choice.
    #[serde(skip_serializing_if = "unset")]
    pub bind_address: String,
    /// Limits; only the first counts.
    #[serde(serialize_with = "null_if_empty")]
    pub circuit_breakers: Vec<CircuitBreakers>,
    /// Active health checks.
    pub health_check: HealthCheck,
    /// Outlier detection. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Does nothing in MOSN.
    pub spec: Spec,
    /// Subset balancing.
    pub lb_subset_config: LbSubsetConfig,
    /// Settings of `LB_ORIGINAL_DST`.
    pub original_dst_lb_config: OriginalDstLbConfig,
    /// Takes TLS from `cluster_manager.tls_context`. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub cluster_manager_tls: bool,
    /// TLS to its hosts.
    pub tls_context: TlsContext,
    /// Hosts.
    #[serde(skip_serializing_if = "unset")]
    pub hosts: Vec<Host>,
    /// A JSON or YAML file with a list of hosts, which is read again when it changes, instead of `hosts`.
    /// Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub hosts_file: String,
    /// How often that file is looked at. Not a key of MOSN. Default 1s.
    #[serde(skip_serializing_if = "unset")]
    pub hosts_file_refresh: Option<GoDuration>,
    /// Limit of a connect. Default 10s.
    #[serde(skip_serializing_if = "unset")]
    pub connect_timeout: Option<GoDuration>,
    /// Closes an upstream connection without traffic for this long. Default: never.
    #[serde(skip_serializing_if = "unset")]
    pub idle_timeout: Option<GoDuration>,
    /// Heartbeats of RPC connections.
    pub keepalive: KeepAlive,
    /// Settings of the load balancer.
    #[serde(skip_serializing_if = "unset")]
    pub lbconfig: Option<LbConfig>,
    /// `STRICT_DNS`: how often names are resolved. Default 5s.
    #[serde(skip_serializing_if = "unset")]
    pub dns_refresh_rate: Option<GoDuration>,
    /// `STRICT_DNS`: resolves again when the answer expires instead. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub respect_dns_ttl: bool,
    /// `STRICT_DNS`: `V4_ONLY`, `V6_ONLY`, or, not in MOSN, `AUTO` (IPv6, or IPv4 where there is none) or
    /// `ALL`. Default `V4_ONLY`.
    #[serde(skip_serializing_if = "unset")]
    pub dns_lookup_family: String,
    /// `STRICT_DNS`: whom to ask.
    pub dns_resolvers: DnsResolvers,
    /// `STRICT_DNS`: the file that says whom to ask. Default `/etc/resolv.conf`.
    #[serde(skip_serializing_if = "unset")]
    pub dns_resolver_file: String,
    /// `STRICT_DNS`: the port to ask at, as text. Default `53`.
    #[serde(skip_serializing_if = "unset")]
    pub dns_resolver_port: String,
    /// Spares new hosts at first.
    pub slow_start: SlowStart,
    /// Has connection pools of its own where another cluster has the same host. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub cluster_pool_enable: bool,
}

/// Limits of a cluster (`circuit_breakers[]`); 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CircuitBreakers {
    /// `DEFAULT` or `HIGH`: of which requests. Default `DEFAULT`. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub priority: String,
    /// Connections per host.
    #[serde(skip_serializing_if = "unset")]
    pub max_connections: u32,
    /// Requests that wait for a connection.
    #[serde(skip_serializing_if = "unset")]
    pub max_pending_requests: u32,
    /// Requests in flight.
    #[serde(skip_serializing_if = "unset")]
    pub max_requests: u32,
    /// Retries in flight.
    #[serde(skip_serializing_if = "unset")]
    pub max_retries: u32,
    /// Limits retries to a part of all requests. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub retry_budget: Option<RetryBudget>,
}

/// How many retries may be in flight (`retry_budget`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RetryBudget {
    /// Percent of all requests in flight, 0 to 100. Default 20.
    #[serde(skip_serializing_if = "unset")]
    pub budget_percent: Option<f64>,
    /// So many may always be. Default 3.
    #[serde(skip_serializing_if = "unset")]
    pub min_retry_concurrency: Option<u32>,
}

/// Active health checks (`health_check`); on if `service_name` is not empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `Http1` asks over HTTP; `Grpc`, `bolt`, `boltv2` and `dubbo`, not in MOSN, ask as those protocols
    /// do; anything else connects.
    #[serde(skip_serializing_if = "unset")]
    pub protocol: String,
    /// Limit of a check. Default 1s.
    pub timeout: GoDuration,
    /// Time between checks. Default 15s.
    pub interval: GoDuration,
    /// Random time on top. Default 5ms.
    pub interval_jitter: GoDuration,
    /// Successes until a host is healthy again. Default 1.
    #[serde(skip_serializing_if = "unset")]
    pub healthy_threshold: u32,
    /// Failures until a host is unhealthy. Default 1.
    #[serde(skip_serializing_if = "unset")]
    pub unhealthy_threshold: u32,
    /// Time until the first check; a duration in spite of its name. Default 1s.
    pub initial_delay_seconds: GoDuration,
    /// Labels the metrics, and switches checks on.
    #[serde(skip_serializing_if = "unset")]
    pub service_name: String,
    /// Settings of the protocol's check.
    #[serde(skip_serializing_if = "unset")]
    pub check_config: Option<CheckConfig>,
    /// Where each check is logged.
    #[serde(skip_serializing_if = "unset")]
    pub event_log_path: String,
    /// Names of what to call after each check.
    #[serde(skip_serializing_if = "unset")]
    pub common_callbacks: Vec<String>,
}

/// Settings of health checks (`check_config`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CheckConfig {
    /// Settings of the HTTP check; without them hosts are only connected to.
    #[serde(skip_serializing_if = "unset")]
    pub http_check_config: Option<HttpCheckConfig>,
    /// Settings of the gRPC check. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub grpc_check_config: Option<GrpcCheckConfig>,
}

/// An HTTP health check (`http_check_config`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HttpCheckConfig {
    /// The port, 1 to 65534. Default: the host's.
    #[serde(skip_serializing_if = "unset")]
    pub port: i64,
    /// Limit of a check. Default 30s.
    pub timeout: GoDuration,
    /// Path, perhaps with a query.
    #[serde(skip_serializing_if = "unset")]
    pub path: String,
    /// Method. Default `GET`.
    #[serde(skip_serializing_if = "unset")]
    pub method: String,
    /// Scheme. Default `http`.
    #[serde(skip_serializing_if = "unset")]
    pub scheme: String,
    /// The `Host` that is asked for. Default: the host's address.
    #[serde(skip_serializing_if = "unset")]
    pub domain: String,
    /// Statuses of a healthy host. Default: 200 alone.
    #[serde(skip_serializing_if = "unset")]
    pub codes: Vec<CodeRange>,
}

/// A gRPC health check (`grpc_check_config`). Not a key of MOSN.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct GrpcCheckConfig {
    /// The port, 1 to 65535. Default: the host's.
    #[serde(skip_serializing_if = "unset")]
    pub port: u16,
    /// The service that is asked for. Default: the server as a whole.
    #[serde(skip_serializing_if = "unset")]
    pub service: String,
    /// The authority that is asked for. Default: the host's address.
    #[serde(skip_serializing_if = "unset")]
    pub authority: String,
}

/// Outlier detection (`outlier_detection`), by xDS's names; 0 turns a rule off. Not a key of MOSN.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OutlierDetection {
    /// 5xx replies and failures in a row. Default 5.
    #[serde(skip_serializing_if = "unset")]
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504 and failures in a row. Default 0.
    #[serde(skip_serializing_if = "unset")]
    pub consecutive_gateway_failure: Option<u32>,
    /// Connect failures, resets and timeouts in a row. Default 5.
    #[serde(skip_serializing_if = "unset")]
    pub consecutive_local_origin_failure: Option<u32>,
    /// How often success rates are compared and hosts let back in. Default 10s.
    #[serde(skip_serializing_if = "unset")]
    pub interval: Option<GoDuration>,
    /// How long a host is left out the first time; each time in a row adds as much. Default 30s.
    #[serde(skip_serializing_if = "unset")]
    pub base_ejection_time: Option<GoDuration>,
    /// The longest that a host is left out. Default 300s.
    #[serde(skip_serializing_if = "unset")]
    pub max_ejection_time: Option<GoDuration>,
    /// Percent of hosts that may be left out; one may always be, unless this is 0. Default 10.
    #[serde(skip_serializing_if = "unset")]
    pub max_ejection_percent: Option<u8>,
    /// Thousandths of standard deviations that a success rate may be below the mean. Default 1900.
    #[serde(skip_serializing_if = "unset")]
    pub success_rate_stdev_factor: Option<u32>,
    /// Hosts with enough requests that a comparison needs. Default 5.
    #[serde(skip_serializing_if = "unset")]
    pub success_rate_minimum_hosts: Option<u32>,
    /// Requests in an interval that a host needs to be compared. Default 100.
    #[serde(skip_serializing_if = "unset")]
    pub success_rate_request_volume: Option<u32>,
    /// Percent of failures in an interval at which a host is left out. Default 0.
    #[serde(skip_serializing_if = "unset")]
    pub failure_percentage_threshold: Option<u8>,
    /// Hosts with enough requests that the percentage needs. Default 5.
    #[serde(skip_serializing_if = "unset")]
    pub failure_percentage_minimum_hosts: Option<u32>,
    /// Requests in an interval that a host's percentage needs. Default 50.
    #[serde(skip_serializing_if = "unset")]
    pub failure_percentage_request_volume: Option<u32>,
}

/// A range of statuses, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CodeRange {
    /// The first.
    #[serde(rename = "Start")]
    pub start: i64,
    /// The last.
    #[serde(rename = "End")]
    pub end: i64,
}

/// Service subscriptions (`spec`); do nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Spec {
    /// The subscriptions.
    #[serde(skip_serializing_if = "unset")]
    pub subscribe: Vec<NoEffect>,
}

/// Subset balancing (`lb_subset_config`); on if `subset_selectors` is not empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct LbSubsetConfig {
    /// Without a subset: 0 no host, 1 any host, 2 `default_subset`. Default 0.
    #[serde(skip_serializing_if = "unset")]
    pub fall_back_policy: u8,
    /// The subset of policy 2.
    #[serde(skip_serializing_if = "unset")]
    pub default_subset: BTreeMap<String, String>,
    /// Sets of labels that make subsets.
    #[serde(skip_serializing_if = "unset")]
    pub subset_selectors: Vec<Vec<String>>,
}

/// Settings of `LB_ORIGINAL_DST` (`original_dst_lb_config`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OriginalDstLbConfig {
    /// Takes the destination from a header. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub use_header: bool,
    /// The header. Default `host`.
    #[serde(skip_serializing_if = "unset")]
    pub header_name: String,
    /// Connects to 127.0.0.1 on the destination's port. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub replace_local: bool,
}

/// A host (`hosts[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Host {
    /// `ip:port`, `name:port` or `unix:/path`; required.
    #[serde(skip_serializing_if = "unset")]
    pub address: String,
    /// A name, for logs and host rewriting.
    #[serde(skip_serializing_if = "unset")]
    pub hostname: String,
    /// 1 to 128; others count as the nearest. Default 1.
    #[serde(skip_serializing_if = "unset")]
    pub weight: u32,
    /// Labels for subset balancing.
    #[serde(skip_serializing_if = "unset")]
    pub metadata: Metadata,
    /// Speaks plain text even where the cluster has TLS. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub tls_disable: bool,
}

/// Heartbeats of RPC connections (`keepalive`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct KeepAlive {
    /// Time between them.
    pub interval: GoDuration,
    /// Limit of a reply.
    pub timeout: GoDuration,
}

/// Settings of load balancers (`lbconfig`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct LbConfig {
    /// `LB_LEAST_*`: how many hosts are compared. Default 2.
    #[serde(skip_serializing_if = "unset")]
    pub choice_count: Option<u32>,
    /// How much requests in flight count. Default 1.
    #[serde(skip_serializing_if = "unset")]
    pub active_request_bias: Option<f64>,
    /// `LB_PEAK_EWMA`: how much 4xx count. Default 1.
    #[serde(skip_serializing_if = "unset")]
    pub client_error_bias: Option<f64>,
    /// `LB_PEAK_EWMA`: how much 5xx count. Default 1.
    #[serde(skip_serializing_if = "unset")]
    pub server_error_bias: Option<f64>,
    /// Percent of hosts that must be healthy; with fewer, unhealthy ones are used, too. Default 0: never.
    /// Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub healthy_panic_threshold: Option<u8>,
}

/// Whom to ask for names (`dns_resolvers`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DnsResolvers {
    /// Servers.
    #[serde(skip_serializing_if = "unset")]
    pub servers: Vec<String>,
    /// Suffixes to try.
    #[serde(skip_serializing_if = "unset")]
    pub search: Vec<String>,
    /// Port, as text. Default `53`.
    #[serde(skip_serializing_if = "unset")]
    pub port: String,
    /// Dots that make a name absolute. Default 0.
    #[serde(skip_serializing_if = "unset")]
    pub ndots: i64,
    /// Limit of one question, in seconds. Default 2.
    #[serde(skip_serializing_if = "unset")]
    pub timeout: i64,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub attempts: i64,
}

/// Spares new hosts at first (`slow_start`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SlowStart {
    /// `duration`; empty is off.
    #[serde(skip_serializing_if = "unset")]
    pub mode: String,
    /// How long a host is new.
    #[serde(skip_serializing_if = "unset")]
    pub slow_start_duration: Option<GoDuration>,
    /// How the weight grows: 1 evenly. 0 or less counts as 1.
    #[serde(skip_serializing_if = "unset")]
    pub aggression: f64,
    /// The share of its weight that a host starts with, 0 to 1. 0 or less counts as 0.1.
    #[serde(skip_serializing_if = "unset")]
    pub min_weight_percent: f64,
}
