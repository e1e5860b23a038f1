use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::route::{or_default, positive};
use super::{Names, balancing, discovery, health};
use crate::document::At;
use crate::features::Feature;
use crate::model::{
    BalancerKind, Breakers, ClusterSpec, HealthCheckSpec, HealthSpec, HighPrioritySpec, HostSpec,
    KeepaliveSpec, LocalitySpec, Name, Priority, RetryBudgetSpec,
};
use crate::mosn::{CircuitBreakers, Cluster, Host, KeepAlive, TlsContext};
use crate::problem::Severity;
use crate::value::Metadata;

/// What `cluster_manager` says for all clusters.
pub(crate) struct Shared<'c> {
    pub(crate) tls: &'c TlsContext,
    pub(crate) own_pools: bool,
    /// The weight of the latest second in moving averages, if `metrics` says so.
    pub(crate) ewma_alpha: Option<f64>,
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
    let connect_timeout =
        or_default(&at.key("connect_timeout"), cluster.connect_timeout, Duration::from_secs(10));
    let (discovery, hosts) = discovery::discovery(at, cluster, names);
    let [(breakers, retry_budget), (high_breakers, high_retry_budget)] =
        limits(&at.key("circuit_breakers"), &cluster.circuit_breakers);
    let balancer = balancing::kind(&at.key("lb_type"), &cluster.lb_type);
    kind(&at.key("type"), &cluster.kind, balancer);
    if balancer == BalancerKind::OriginalDst {
        has_no_hosts(at, cluster);
    }
    let bind_address = bind_address(&at.key("bind_address"), &cluster.bind_address);
    let spec = ClusterSpec {
        name,
        discovery,
        balancer,
        connect_timeout,
        idle_timeout: cluster.idle_timeout.and_then(|timeout| positive(&at.key("idle_timeout"), timeout)),
        breakers,
        max_requests_per_connection: max_requests(cluster.max_request_per_conn),
        max_connection_duration: cluster
            .max_connection_duration
            .and_then(|longest| positive(&at.key("max_connection_duration"), longest)),
        mark: cluster.mark,
        bind_address,
        own_pools: cluster.cluster_pool_enable || shared.own_pools,
        localities: vec![LocalitySpec { hosts, ..LocalitySpec::default() }],
        balancing: balancing::balancing(at, cluster, balancer, shared.ewma_alpha, names),
        health: HealthSpec {
            check: health::check(&at.key("health_check"), &cluster.health_check, names)
                .map(|check| Box::new(HealthCheckSpec { mark: cluster.mark, bind_address, ..*check })),
            outlier: cluster
                .outlier_detection
                .as_ref()
                .map(|given| Box::new(health::outlier(&at.key("outlier_detection"), given))),
        },
        keepalive: keepalive(&at.key("keepalive"), &cluster.keepalive),
        retry_budget,
        high_priority: HighPrioritySpec { breakers: high_breakers, retry_budget: high_retry_budget },
    };
    balancing::subset_labels(&at.key("lb_subset_config"), &spec);
    names.know(&spec);
    Some(spec)
}

/// Of the types of clusters only one is special; in MOSN, any other word is as good as `SIMPLE`.
fn kind(at: &At<'_>, kind: &str, balancer: BalancerKind) {
    const KINDS: [&str; 6] = ["SIMPLE", "STATIC", "STRICT_DNS", "DYNAMIC", "EDS", "ORIGINAL_DST"];
    if kind == "ORIGINAL_DST" && balancer != BalancerKind::OriginalDst {
        at.warning("counts as SIMPLE: for the destination of each request, lb_type must be LB_ORIGINAL_DST");
    }
    if !kind.is_empty() && !KINDS.contains(&kind) {
        at.unknown(Severity::Warning, format!("unknown type {kind:?} counts as SIMPLE"), kind, KINDS);
    }
}

fn has_no_hosts(at: &At<'_>, cluster: &Cluster) {
    for (key, given) in [
        ("hosts", !cluster.hosts.is_empty()),
        ("hosts_file", !cluster.hosts_file.is_empty()),
        ("health_check", !cluster.health_check.service_name.is_empty()),
        ("lb_subset_config", !cluster.lb_subset_config.subset_selectors.is_empty()),
    ] {
        if given {
            at.key(key).warning("has no effect: with LB_ORIGINAL_DST, requests go where they were going");
        }
    }
}

/// The limits of each priority: the first that are given for it.
fn limits(at: &At<'_>, given: &[CircuitBreakers]) -> [(Breakers, Option<RetryBudgetSpec>); 2] {
    let mut limits = [None, None];
    for (index, given) in given.iter().enumerate() {
        let at = at.index(index);
        let priority = priority(&at.key("priority"), &given.priority);
        let limits = &mut limits[priority as usize];
        if limits.is_some() {
            at.warning("has no effect: only the first limits of a priority count");
            continue;
        }
        let mut max_connections = given.max_connections;
        if priority == Priority::High && max_connections > 0 {
            at.key("max_connections").warning("has no effect: connections serve requests of both priorities");
            max_connections = 0;
        }
        let breakers = Breakers {
            max_connections,
            max_pending_requests: given.max_pending_requests,
            max_requests: given.max_requests,
            max_retries: given.max_retries,
        };
        let budget = given.retry_budget.as_ref();
        *limits =
            Some((breakers, budget.map(|given| super::retry::retry_budget(&at.key("retry_budget"), given))));
    }
    limits.map(Option::unwrap_or_default)
}

pub(super) fn priority(at: &At<'_>, given: &str) -> Priority {
    let known = Priority::NAMES.iter().find(|(name, _)| *name == given);
    if known.is_none() && !given.is_empty() {
        let message = format!("expected DEFAULT or HIGH, found {given:?}");
        at.unknown(Severity::Error, message, given, Priority::NAMES.iter().map(|&(name, _)| name));
    }
    known.map_or(Priority::Default, |&(_, priority)| priority)
}

/// MOSN never enforces it, and shows and writes 1024 where nothing is configured.
fn max_requests(given: u32) -> Option<u32> {
    (given != 0 && given != 1024).then_some(given)
}

fn bind_address(at: &At<'_>, given: &str) -> Option<IpAddr> {
    if given.is_empty() {
        return None;
    }
    let address = given.parse().ok();
    if address.is_none() {
        at.error(format!("expected an IP address, found {given:?}"));
    }
    address
}

fn needs(at: &At<'_>, cluster: &Cluster, shared: &Shared<'_>) {
    if cluster.tls_context.status {
        at.key("tls_context").needs(Feature::Tls);
    }
    if cluster.cluster_manager_tls && shared.tls.status {
        at.key("cluster_manager_tls").needs(Feature::Tls);
    }
}

fn keepalive(at: &At<'_>, given: &KeepAlive) -> KeepaliveSpec {
    let mut spec =
        KeepaliveSpec { interval: positive(&at.key("interval"), given.interval), ..KeepaliveSpec::default() };
    if let Some(timeout) = positive(&at.key("timeout"), given.timeout) {
        spec.timeout = timeout;
    }
    spec
}

pub(crate) fn host(at: &At<'_>, host: &Host, names: &mut Names) -> HostSpec {
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
    let ip = address.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
    let name = address.rsplit_once(':').is_some_and(|(host, port)| {
        (1..=253).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if ip || name { Ok(()) } else { Err(format!("expected host:port or unix:/path, found {address:?}")) }
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
pub(super) mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::document::{Document, Findings};
    use crate::tree::{Tree, parse_json};

    /// The model of a cluster, whether or not this build has what it asks for.
    pub(in crate::translate) fn translated(json: &str) -> ClusterSpec {
        let findings = Findings::new(true);
        let tree = parse_json(json).ok().unwrap();
        let document = Document::new(PathBuf::new(), &tree, &findings);
        let given: Cluster = document.decode(Tree::ROOT).unwrap();
        let tls = TlsContext::default();
        let shared = Shared { tls: &tls, own_pools: false, ewma_alpha: Some(0.25) };
        cluster(&document.at(Tree::ROOT), &given, &shared, &mut Names::default()).unwrap()
    }

    #[test]
    fn the_first_limits_of_a_priority_count() {
        let spec = translated(
            r#"{"name": "c", "circuit_breakers": [
                {"priority": "HIGH", "max_requests": 3, "max_connections": 9},
                {"max_requests": 1},
                {"priority": "DEFAULT", "max_requests": 2},
                {"priority": "HIGH", "max_requests": 4}
            ]}"#,
        );
        assert_eq!(spec.breakers, Breakers { max_requests: 1, ..Breakers::default() });
        assert_eq!(spec.high_priority.breakers, Breakers { max_requests: 3, ..Breakers::default() });
    }

    #[test]
    fn hosts_are_sockets_or_paths() {
        for address in ["127.0.0.1:80", "a.com:80", "[::1]:80", "unix:/tmp/x", "unix:@x"] {
            assert_eq!(check_address(address), Ok(()), "{address}");
        }
        for address in [
            "",
            "127.0.0.1",
            "::1:80",
            ":80",
            "a:http",
            "unix:",
            "a:70000",
            "a:0",
            "1.2.3.4:0",
            "*:80",
            "[a.com]:80",
            "a b:80",
        ] {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}
