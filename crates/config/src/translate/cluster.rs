use std::collections::BTreeMap;
use std::time::Duration;

use super::Names;
use super::route::positive;
use crate::document::At;
use crate::features::Feature;
use crate::model::{BalancerKind, Breakers, ClusterSpec, Discovery, HostSpec, LocalitySpec, Name};
use crate::mosn::{Cluster, Host, TlsContext};
use crate::value::Metadata;

/// The load balancers by name; any other name is round robin, as in MOSN.
const BALANCERS: [&str; 9] = [
    "LB_RANDOM",
    "LB_ROUNDROBIN",
    "LB_WEIGHTED_ROUNDROBIN",
    "LB_ORIGINAL_DST",
    "LB_LEAST_REQUEST",
    "LB_MAGLEV",
    "LB_REQUEST_ROUNDROBIN",
    "LB_LEAST_CONNECTION",
    "LB_PEAK_EWMA",
];

/// What `cluster_manager` says for all clusters.
pub(crate) struct Shared<'c> {
    pub(crate) tls: &'c TlsContext,
    pub(crate) own_pools: bool,
}

/// A cluster; `None` if it has no name to be known by.
pub(crate) fn cluster(
    at: &At<'_>,
    cluster: &Cluster,
    shared: &Shared<'_>,
    names: &mut Names,
) -> Option<ClusterSpec> {
    if cluster.name.is_empty() {
        at.key("name").error("a cluster needs a name");
        return None;
    }
    let name = names.share(&cluster.name);
    if !names.add_cluster(&name) {
        at.key("name").error(format!("there is a cluster {:?} already", cluster.name));
    }
    needs(at, cluster, shared);
    let connect_timeout = cluster
        .connect_timeout
        .and_then(|timeout| positive(&at.key("connect_timeout"), timeout))
        .unwrap_or(Duration::from_secs(10));
    let at_hosts = at.key("hosts");
    let hosts = cluster.hosts.iter().enumerate();
    let hosts = hosts.map(|(index, given)| host(&at_hosts.index(index), given, names)).collect();
    Some(ClusterSpec {
        name,
        discovery: Discovery::Static,
        balancer: balancer(&at.key("lb_type"), &cluster.lb_type),
        connect_timeout,
        idle_timeout: cluster.idle_timeout.and_then(|timeout| positive(&at.key("idle_timeout"), timeout)),
        breakers: cluster.circuit_breakers.first().map_or_else(Breakers::default, |limits| Breakers {
            max_connections: limits.max_connections,
            max_pending_requests: limits.max_pending_requests,
            max_requests: limits.max_requests,
            max_retries: limits.max_retries,
        }),
        // MOSN reads `max_request_per_conn`, but never enforces it.
        max_requests_per_connection: None,
        mark: cluster.mark,
        own_pools: cluster.cluster_pool_enable || shared.own_pools,
        localities: vec![LocalitySpec { hosts, ..LocalitySpec::default() }],
        ..ClusterSpec::default()
    })
}

fn needs(at: &At<'_>, cluster: &Cluster, shared: &Shared<'_>) {
    if cluster.kind == "STRICT_DNS" {
        at.key("type").needs(Feature::StrictDns);
    }
    if cluster.tls_context.status {
        at.key("tls_context").needs(Feature::Tls);
    }
    if cluster.cluster_manager_tls && shared.tls.status {
        at.key("cluster_manager_tls").needs(Feature::Tls);
    }
    if !cluster.health_check.service_name.is_empty() {
        at.key("health_check").needs(Feature::HealthCheck);
    }
    if !cluster.lb_subset_config.subset_selectors.is_empty() {
        at.key("lb_subset_config").needs(Feature::SubsetBalancing);
    }
    if !cluster.slow_start.mode.is_empty() {
        at.key("slow_start").needs(Feature::SlowStart);
    }
    if cluster.circuit_breakers.len() > 1 {
        let at = at.key("circuit_breakers");
        at.index(1).warning("has no effect: only the first limits count");
    }
}

fn balancer(at: &At<'_>, name: &str) -> BalancerKind {
    match BALANCERS.iter().find(|&&known| known == name) {
        Some(&"LB_RANDOM") => BalancerKind::Random,
        Some(&"LB_ROUNDROBIN") => BalancerKind::RoundRobin,
        Some(known) => {
            at.needs(Feature::Balancer(known));
            BalancerKind::RoundRobin
        }
        None => {
            if !name.is_empty() {
                at.unknown(
                    crate::Severity::Warning,
                    format!("unknown load balancer {name:?} counts as LB_ROUNDROBIN"),
                    name,
                    BALANCERS,
                );
            }
            BalancerKind::RoundRobin
        }
    }
}

fn host(at: &At<'_>, host: &Host, names: &mut Names) -> HostSpec {
    if let Err(reason) = check_address(&host.address) {
        at.key("address").error(reason);
    }
    HostSpec {
        // Addresses are rarely shared, so sharing them would only cost the look-up.
        address: Name::from(host.address.as_str()),
        hostname: if host.hostname.is_empty() { Name::default() } else { names.share(&host.hostname) },
        weight: host.weight.clamp(1, 128),
        metadata: metadata(&host.metadata, names),
        tls_disable: host.tls_disable,
    }
}

fn check_address(address: &str) -> Result<(), String> {
    if address.is_empty() {
        return Err("a host needs an address".to_owned());
    }
    if let Some(path) = address.strip_prefix("unix:") {
        return if path.is_empty() { Err("expected unix:/path".to_owned()) } else { Ok(()) };
    }
    let port = address.rsplit_once(':').and_then(|(host, port)| {
        let literal = host.starts_with('[') && host.ends_with(']');
        (literal || !(host.is_empty() || host.contains(':'))).then(|| port.parse::<u16>().ok()).flatten()
    });
    match port {
        Some(_) => Ok(()),
        None => Err(format!("expected host:port or unix:/path, found {address:?}")),
    }
}

type Labels = BTreeMap<Name, BTreeMap<Name, Name>>;

fn metadata(metadata: &Metadata, names: &mut Names) -> Option<Box<Labels>> {
    if metadata.0.is_empty() {
        return None;
    }
    let labels = metadata.0.iter().map(|(key, value)| (names.share(key), names.share(value))).collect();
    Some(Box::new(BTreeMap::from([(names.share("mosn.lb"), labels)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_sockets_or_paths() {
        for address in ["127.0.0.1:80", "a.com:80", "[::1]:80", "unix:/tmp/x", "unix:@x"] {
            assert_eq!(check_address(address), Ok(()), "{address}");
        }
        for address in ["", "127.0.0.1", "::1:80", ":80", "a:http", "unix:", "a:70000"] {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}
