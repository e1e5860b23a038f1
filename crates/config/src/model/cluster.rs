use std::{collections::BTreeMap, time::Duration};

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
    /// `SO_MARK` of upstream sockets; 0 = none.
    pub mark: u32,
    /// Whether this cluster has connection pools of its own where another has the same host.
    pub own_pools: bool,
    /// Hosts by locality, most preferred priority first. MOSN's JSON has one locality.
    pub localities: Vec<LocalitySpec>,
}

/// How a cluster's hosts are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// They are listed.
    Static,
}

/// How a host is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalancerKind {
    /// One after the other, weights ignored (as in MOSN).
    #[default]
    RoundRobin,
    /// Any, all alike.
    Random,
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
#[derive(Clone, Debug)]
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
