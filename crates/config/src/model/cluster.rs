use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::Name;

/// A cluster: hosts that answer the same requests.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Unique.
    pub name: Name,
    /// How its hosts are found.
    pub discovery: Discovery,
    /// How one of them is chosen.
    pub balancer: BalancerKind,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// Closes an upstream connection without traffic for this long; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Limits; `None` = none.
    pub breakers: Breakers,
    /// Requests after which an upstream connection is replaced; `None` = no limit.
    pub max_requests_per_connection: Option<u32>,
    /// Age at which an upstream connection is replaced; `None` = no limit.
    pub max_connection_duration: Option<Duration>,
    /// `SO_MARK` of upstream sockets; 0 = none.
    pub mark: u32,
    /// The address that upstream sockets are bound to; `None` = the system's choice.
    pub bind_address: Option<IpAddr>,
    /// Whether this cluster has connection pools of its own where another has the same host.
    pub own_pools: bool,
    /// Hosts by locality, most preferred priority first. MOSN's JSON has one locality.
    pub localities: Vec<LocalitySpec>,
    /// What the balancer is told beside its kind.
    pub balancing: BalancingSpec,
    /// How failing hosts are found and left out.
    pub health: HealthSpec,
    /// When RPC connections are asked for a sign of life.
    pub keepalive: KeepaliveSpec,
    /// How many requests in flight may be retries; `None` = as many as the breakers allow.
    pub retry_budget: Option<RetryBudgetSpec>,
    /// The same for requests of high priority, which are counted by themselves.
    pub high_priority: HighPrioritySpec,
}

impl Default for ClusterSpec {
    /// MOSN's defaults, without name and hosts.
    fn default() -> Self {
        Self {
            name: Name::default(),
            discovery: Discovery::Static,
            balancer: BalancerKind::default(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: None,
            breakers: Breakers::default(),
            max_requests_per_connection: None,
            max_connection_duration: None,
            mark: 0,
            bind_address: None,
            own_pools: false,
            localities: Vec::new(),
            balancing: BalancingSpec::default(),
            health: HealthSpec::default(),
            keepalive: KeepaliveSpec::default(),
            retry_budget: None,
            high_priority: HighPrioritySpec::default(),
        }
    }
}

/// Which of a cluster's limits a request counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Those of most requests.
    #[default]
    Default,
    /// Those of [`HighPrioritySpec`].
    High,
}

impl Priority {
    /// Both of them by the names that configurations use, which are Envoy's.
    pub const NAMES: [(&'static str, Self); 2] = [("DEFAULT", Self::Default), ("HIGH", Self::High)];
}

/// Limits on requests of high priority. There is none on connections: those are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HighPrioritySpec {
    /// Limits; 0 = none.
    pub breakers: Breakers,
    /// How many requests in flight may be retries; `None` = as many as the breakers allow.
    pub retry_budget: Option<RetryBudgetSpec>,
}

/// When an RPC connection is asked for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveSpec {
    /// So often, whatever is heard; `None` = only after a silence, where the protocol has heartbeats.
    pub interval: Option<Duration>,
    /// How long a silence.
    pub silence: Duration,
    /// How long the answer may take; six missed in a row end the connection.
    pub timeout: Duration,
}

impl Default for KeepaliveSpec {
    /// MOSN's (protocols reference 3.5).
    fn default() -> Self {
        Self { interval: None, silence: Duration::from_secs(15), timeout: Duration::from_secs(1) }
    }
}

/// How a cluster's hosts are found.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Discovery {
    /// They are listed, or come by updates.
    #[default]
    Static,
    /// They have names, and every address of a name is a host.
    StrictDns(Box<StrictDnsSpec>),
    /// They are listed in a file of their own.
    File(Box<HostsFileSpec>),
}

/// Hosts by name.
#[derive(Clone, Debug, PartialEq)]
pub struct StrictDnsSpec {
    /// The hosts as configured; those with an address for a name stay as they are.
    pub names: Vec<HostSpec>,
    /// How often names are resolved.
    pub refresh: Duration,
    /// Whether they are resolved when an answer expires instead.
    pub respect_ttl: bool,
    /// Which addresses are wanted.
    pub family: DnsFamily,
    /// Whom to ask.
    pub resolver: DnsResolverSpec,
}

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// IPv6, or IPv4 where there is none.
    Auto,
    /// Both.
    All,
}

/// Whom to ask for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsResolverSpec {
    /// Whom a file like `/etc/resolv.conf` names.
    File {
        /// The file.
        path: PathBuf,
        /// The port to ask at.
        port: u16,
    },
    /// These.
    Servers {
        /// In this order.
        servers: Vec<SocketAddr>,
        /// Suffixes to try.
        search: Vec<Name>,
        /// Names with more dots are tried as they are first.
        ndots: u32,
        /// Limit of one question.
        timeout: Duration,
    },
}

/// Hosts in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsFileSpec {
    /// The file.
    pub path: PathBuf,
    /// How often it is looked at.
    pub refresh: Duration,
}

/// How a host is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalancerKind {
    /// One after the other, weights ignored (as in MOSN).
    #[default]
    RoundRobin,
    /// Any, all alike.
    Random,
    /// One after the other, each as often as its weight says.
    WeightedRoundRobin,
    /// Any, each as often as its weight says.
    WeightedRandom,
    /// Of some that are drawn, the one with the fewest requests in flight for its weight.
    LeastRequest,
    /// Of some that are drawn, the one with the fewest connections for its weight.
    LeastConnection,
    /// Of some that are drawn, the one that answers fastest and fails least.
    PeakEwma,
    /// By hash, through a Maglev table.
    Maglev,
    /// By hash, around a ring.
    RingHash,
    /// Each request starts with the first host and goes on with the next when it is tried again.
    RequestRoundRobin,
    /// None of its hosts: each request says where it goes.
    OriginalDst,
}

/// What a balancer is told beside its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct BalancingSpec {
    /// How many hosts are drawn to choose from (least request, least connection, peak EWMA).
    pub choice_count: u32,
    /// How much requests or connections in flight weigh: the power they are raised to.
    pub active_request_bias: f64,
    /// How much 4xx replies weigh (peak EWMA).
    pub client_error_bias: f64,
    /// How much 5xx replies weigh (peak EWMA).
    pub server_error_bias: f64,
    /// Weight of the latest second in moving averages, above 0 and below 1 (peak EWMA).
    pub ewma_alpha: f64,
    /// Fewest and most points on the ring (ring hash); 1 <= fewest <= most <= 8388608.
    pub ring_size: (u32, u32),
    /// A host takes at most this many percent of the average load by hash, and the next one the
    /// rest (ring hash, Maglev): above 100, or 0 = no bound.
    pub hash_balance_percent: u32,
    /// New and recovered hosts get their share bit by bit.
    pub slow_start: Option<SlowStartSpec>,
    /// How it is known where requests go (original destination).
    pub original_dst: Option<Box<OriginalDstSpec>>,
    /// Hosts by labels.
    pub subset: Option<Box<SubsetSpec>>,
    /// Where fewer than this many percent of a priority's hosts are healthy, health is ignored:
    /// 0 to 100, 0 = never.
    pub panic_percent: u8,
    /// A priority counts as whole while this many percent of its healthy hosts would make all of
    /// them; 140 lets 5 of 7 do. At least 100.
    pub overprovisioning_percent: u32,
    /// Localities of one priority share by their weights instead of by their hosts.
    pub locality_weighted: bool,
}

impl Default for BalancingSpec {
    /// MOSN's; where it has none, xDS's, but for the panic threshold: MOSN never ignores health.
    fn default() -> Self {
        Self {
            choice_count: 2,
            active_request_bias: 1.0,
            client_error_bias: 1.0,
            server_error_bias: 1.0,
            ewma_alpha: 0.153_518_275_109_385_87,
            ring_size: (1024, 8_388_608),
            hash_balance_percent: 0,
            slow_start: None,
            original_dst: None,
            subset: None,
            panic_percent: 0,
            overprovisioning_percent: 140,
            locality_weighted: false,
        }
    }
}

/// How it is known where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalDstSpec {
    /// This header says it, in lower case; without it, or where a request does not have it, the
    /// original destination of the client's connection counts.
    pub header: Option<Name>,
    /// To 127.0.0.1 on that port instead.
    pub replace_local: bool,
}

/// How a new or recovered host gets its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStartSpec {
    /// How long it takes; 0 = no slow start.
    pub window: Duration,
    /// Above 0; its share grows by the time passed to the power of 1/this.
    pub aggression: f64,
    /// The least part of its weight, 0 to 1.
    pub min_weight: f64,
}

/// Balancing among the hosts that have the labels that a route asks for (namespace `mosn.lb`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubsetSpec {
    /// Sets of label keys by which hosts are found; none is empty.
    pub selectors: Vec<Vec<Name>>,
    /// Where the labels that a route asks for lead to no host.
    pub fallback: SubsetFallback,
}

/// What becomes of a request for whose labels there is no host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubsetFallback {
    /// It fails.
    #[default]
    None,
    /// Any host takes it.
    Any,
    /// A host with these labels takes it.
    Default(BTreeMap<Name, Name>),
}

/// How failing hosts are found and left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthSpec {
    /// By asking them.
    pub check: Option<Box<HealthCheckSpec>>,
    /// By what becomes of their requests.
    pub outlier: Option<Box<OutlierSpec>>,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheckSpec {
    /// What is asked.
    pub probe: ProbeSpec,
    /// How long an answer may take; above 0.
    pub timeout: Duration,
    /// From one answer to the next question; above 0.
    pub interval: Duration,
    /// Added to each interval at random, up to this.
    pub interval_jitter: Duration,
    /// Before the first question.
    pub initial_delay: Duration,
    /// Good answers in a row that make a host healthy; at least 1.
    pub healthy_threshold: u32,
    /// Bad answers in a row that make a host unhealthy; at least 1.
    pub unhealthy_threshold: u32,
    /// Label of the metrics.
    pub service_name: Name,
    /// Where each check is logged; empty = nowhere.
    pub event_log: Name,
    /// As of the cluster's own sockets.
    pub mark: u32,
    /// As of the cluster's own sockets.
    pub bind_address: Option<IpAddr>,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbeSpec {
    /// Whether a connection can be made.
    Tcp,
    /// For a path.
    Http(Box<HttpProbeSpec>),
    /// For gRPC's own answer (`grpc.health.v1.Health/Check`).
    Grpc(Box<GrpcProbeSpec>),
    /// For a heartbeat of the RPC protocol of this name.
    Heartbeat(&'static str),
}

/// An HTTP health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbeSpec {
    /// Instead of the host's own; 0 = the host's.
    pub port: u16,
    /// Over TLS.
    pub tls: bool,
    /// `GET` unless configured.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Host`; empty = the address.
    pub host: String,
    /// Statuses that are good, as inclusive ranges; none = 200 only.
    pub codes: Vec<(u16, u16)>,
}

/// A gRPC health check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrpcProbeSpec {
    /// Instead of the host's own; 0 = the host's.
    pub port: u16,
    /// The service that is asked for; empty = the server as a whole.
    pub service: String,
    /// `:authority`; empty = the address.
    pub authority: String,
}

/// Outlier detection; 0 turns a rule off. Names and defaults are xDS's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierSpec {
    /// 5xx replies and failures in a row.
    pub consecutive_5xx: u32,
    /// 502, 503, 504 and failures in a row.
    pub consecutive_gateway_failure: u32,
    /// Connect failures and resets in a row.
    pub consecutive_local_origin_failure: u32,
    /// How often success rates are compared and hosts let back in; above 0.
    pub interval: Duration,
    /// How long a host is left out the first time; each time in a row adds as much again.
    pub base_ejection_time: Duration,
    /// The longest that a host is left out.
    pub max_ejection_time: Duration,
    /// Percent of hosts that may be left out; one may always be, unless this is 0.
    pub max_ejection_percent: u8,
    /// How many standard deviations (in thousandths) below the mean a success rate may be; 0 = off.
    pub success_rate_stdev_factor: u32,
    /// Hosts that need enough requests for success rates to be compared.
    pub success_rate_minimum_hosts: u32,
    /// Requests in an interval that a host's success rate needs.
    pub success_rate_request_volume: u32,
    /// Percent of failures in an interval at which a host is left out; 0 = off.
    pub failure_percentage_threshold: u8,
    /// Hosts that need enough requests for failure percentages to count.
    pub failure_percentage_minimum_hosts: u32,
    /// Requests in an interval that a host's failure percentage needs.
    pub failure_percentage_request_volume: u32,
}

impl Default for OutlierSpec {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            success_rate_stdev_factor: 1900,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            failure_percentage_threshold: 0,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
        }
    }
}

/// How many requests in flight may be retries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetSpec {
    /// Percent of all requests in flight: 0 to 100.
    pub percent: f64,
    /// So many may always be.
    pub min_concurrency: u32,
}

impl Default for RetryBudgetSpec {
    fn default() -> Self {
        Self { percent: 20.0, min_concurrency: 3 }
    }
}

/// Circuit breakers; 0 = no limit, as in MOSN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakers {
    /// Connections per host.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests in flight.
    pub max_requests: u32,
    /// Retries in flight.
    pub max_retries: u32,
}

/// Hosts of one place.
#[derive(Clone, Debug, Default)]
pub struct LocalitySpec {
    /// Where it is; empty in MOSN's JSON.
    pub locality: Locality,
    /// 0 is used first; the next while too few hosts of the earlier ones are healthy.
    pub priority: u32,
    /// Its share among localities of its priority; 0 = by number of hosts.
    pub weight: u32,
    /// The hosts.
    pub hosts: Vec<HostSpec>,
}

/// A place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Region.
    pub region: Name,
    /// Zone within the region.
    pub zone: Name,
    /// Part of the zone.
    pub sub_zone: Name,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// `ip:port`, `name:port` or `unix:/path`.
    pub address: Name,
    /// A name for logs and host rewriting; empty = none.
    pub hostname: Name,
    /// 1 to 128.
    pub weight: u32,
    /// Labels for subset balancing and for choosing the transport, by namespace; `None` = none.
    pub metadata: Option<Box<BTreeMap<Name, BTreeMap<Name, Name>>>>,
    /// Speaks plain text even where the cluster has TLS.
    pub tls_disable: bool,
}
