//! What the admin API tells of clusters' hosts as they are now.

use std::{fmt::Write as _, iter::once, sync::Arc, time::Instant};

use mosn_admin::Pieces;
use mosn_config::model::Discovery;
use mosn_upstream::{Cluster, Clusters, Health, Host};
use serde::Serialize;

/// Most hosts in one piece, so that no more than that is in memory as text.
const PIECE: usize = 256;

/// Health flags by Envoy's names.
const FLAGS: [(Health, &str); 2] = [
    (Health::FAILED_ACTIVE_CHECK, "failed_active_hc"),
    (Health::FAILED_OUTLIER_CHECK, "failed_outlier_check"),
];

#[derive(Serialize)]
struct HostNow<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    weight: u32,
    healthy: bool,
    health_flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_requests: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_connections: Option<u32>,
}

/// Every cluster by name, or only the one of this name, as a JSON object with each host on a line of its
/// own. What changes while the pieces are taken may show in the later ones, but for which hosts there are.
/// `None` = there is no cluster of this name.
pub(crate) fn pieces(clusters: &Clusters, only: Option<&str>) -> Option<Pieces> {
    let mut shown: Vec<Arc<Cluster>> = match only {
        Some(name) => vec![clusters.get(name)?],
        None => clusters.snapshot().iter().cloned().collect(),
    };
    shown.sort_by(|one, other| one.name.cmp(&other.name));
    let pieces = shown.into_iter().enumerate().flat_map(|(index, cluster)| {
        let count = cluster.hosts().len().div_ceil(PIECE).max(1);
        (0..count).map(move |at| piece(&cluster, index == 0, at * PIECE))
    });
    Some(Box::new(once("{".to_owned()).chain(pieces).chain(once("}\n".to_owned()))))
}

/// The hosts of a cluster from the one of this index on, with the cluster's beginning and end where they
/// belong.
fn piece(cluster: &Cluster, is_first: bool, from: usize) -> String {
    let hosts = cluster.hosts();
    let to = hosts.len().min(from + PIECE);
    let now = Instant::now();
    let mut out = String::new();
    if from == 0 {
        let comma = if is_first { "" } else { "," };
        let _ = write!(
            out,
            "{comma}\n{}:{{\"discovery\":\"{}\",\"hosts\":[",
            json(&*cluster.name),
            discovery(cluster)
        );
    }
    for (index, host) in hosts.iter().enumerate().take(to).skip(from) {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&json(&host_now(cluster, host, now)));
    }
    if to == hosts.len() {
        out.push_str("]}");
    }
    out
}

fn host_now<'a>(cluster: &Cluster, host: &'a Host, now: Instant) -> HostNow<'a> {
    let health = host.health();
    HostNow {
        address: &host.address_text,
        hostname: host.hostname.as_deref(),
        weight: host.weight,
        healthy: health == Health::HEALTHY,
        health_flags: FLAGS
            .iter()
            .filter(|(flag, _)| health.contains(*flag))
            .map(|(_, name)| *name)
            .collect(),
        slow_start: cluster.slow_start(host, now),
        active_requests: cluster.active_requests(host),
        active_connections: cluster.active_connections(host),
    }
}

fn discovery(cluster: &Cluster) -> &'static str {
    match cluster.discovery() {
        Discovery::StrictDns(_) => "strict_dns",
        Discovery::File(_) => "file",
        Discovery::Static if cluster.original_dst().is_some() => "original_dst",
        Discovery::Static => "static",
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    // Strings, booleans and finite numbers: this cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mosn_config::model::{ClusterSpec, HostSpec, LocalitySpec, SlowStartSpec};
    use serde_json::{Value, json};

    use super::*;

    fn spec(name: &str, hosts: usize) -> ClusterSpec {
        let host = |number: usize| HostSpec {
            address: format!("10.{}.{}.1:80", number / 256, number % 256).into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        };
        let hosts = (0..hosts).map(host).collect();
        ClusterSpec {
            name: name.into(),
            localities: vec![LocalitySpec { hosts, ..LocalitySpec::default() }],
            ..ClusterSpec::default()
        }
    }

    fn shown(clusters: &Clusters, only: Option<&str>) -> Value {
        let text: String = pieces(clusters, only).unwrap().collect();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn clusters_of_any_size_come_whole_and_in_small_pieces() {
        let clusters = Clusters::new();
        assert_eq!(shown(&clusters, None), json!({}));
        let sizes = [("a", 0), ("b", 1), ("c", PIECE), ("d", PIECE + 1), ("e \"x\"", 3 * PIECE)];
        clusters.set_all(sizes.iter().map(|(name, hosts)| spec(name, *hosts)).collect()).unwrap();
        let all = shown(&clusters, None);
        assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), sizes.map(|(name, _)| name));
        for (name, hosts) in sizes {
            assert_eq!(all[name]["hosts"].as_array().unwrap().len(), hosts, "{name}");
            assert_eq!(shown(&clusters, Some(name)), json!({ name: all[name] }));
        }
        assert!(pieces(&clusters, Some("f")).is_none());
        assert!(pieces(&clusters, None).unwrap().all(|piece| piece.len() < PIECE * 128));
        assert_eq!(pieces(&clusters, None).unwrap().count(), 2 + 1 + 1 + 1 + 2 + 3);
    }

    #[test]
    fn a_host_is_shown_with_what_is_known_of_it() {
        let clusters = Clusters::new();
        let mut slow = spec("a", 2);
        slow.localities[0].hosts[0].hostname = "one".into();
        slow.localities[0].hosts[0].weight = 7;
        let window = std::time::Duration::from_secs(1000);
        slow.balancing.slow_start = Some(SlowStartSpec { window, aggression: 1.0, min_weight: 0.5 });
        slow.breakers.max_connections = 9;
        clusters.add_or_update(slow).unwrap();
        let cluster = clusters.get("a").unwrap();
        let flags = [Health::FAILED_ACTIVE_CHECK, Health::FAILED_OUTLIER_CHECK];
        flags.iter().for_each(|flag| assert!(cluster.hosts()[0].set_health(*flag, true, Instant::now())));
        let connection = cluster.try_acquire_connection(&cluster.hosts()[1]).unwrap();
        let expected = json!({ "a": { "discovery": "static", "hosts": [
            {
                "address": "10.0.0.1:80", "hostname": "one", "weight": 7, "healthy": false,
                "health_flags": ["failed_active_hc", "failed_outlier_check"], "slow_start": 0.5,
                "active_connections": 0
            },
            {
                "address": "10.0.1.1:80", "weight": 1, "healthy": true, "health_flags": [], "slow_start": 0.5,
                "active_connections": 1
            }
        ] } });
        assert_eq!(shown(&clusters, None), expected);
        drop(connection);
    }
}
