//! What becomes of requests, where a balancer or outlier detection wants to know.

mod averages;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mosn_config::model::{BalancerKind, ClusterSpec};

pub(crate) use self::averages::Averages;
use self::averages::HostAverages;
use crate::{
    Host, clock,
    outlier::{HostOutlier, Outlier},
};

/// How a request to a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this status; of RPC protocols, with the HTTP status that theirs stands for.
    Status(u16),
    /// No connection could be made, in time or at all.
    ConnectFailed,
    /// The connection or the stream was lost or reset by the host.
    Reset,
    /// The time of the try or of the whole request was up.
    TimedOut,
    /// For a reason that says nothing about the host: the client went away, say.
    Unknown,
}

/// What is kept of one host for all that want to know.
#[derive(Debug, Default)]
pub(crate) struct HostRecord {
    pub(crate) averages: HostAverages,
    pub(crate) outlier: HostOutlier,
}

/// What a cluster wants to know of its requests. Outlives changes of its hosts.
#[derive(Debug)]
pub(crate) struct Observer {
    requests: AtomicU32,
    pub(crate) averages: Option<Averages>,
    pub(crate) outlier: Option<Outlier>,
}

/// A request that is under way to a host. Dropping it ends it without a word about the host;
/// [`Self::finish`] tells how it ended.
#[derive(Debug, Default)]
#[must_use]
pub struct Attempt(Option<(Arc<Observer>, Arc<Host>)>);

impl Observer {
    /// `None` where nobody wants to know.
    pub(crate) fn new(spec: &ClusterSpec) -> Option<Arc<Self>> {
        let averages = (spec.balancer == BalancerKind::PeakEwma).then(|| {
            let most = spec.connect_timeout + spec.idle_timeout.unwrap_or_default();
            let most = if most.is_zero() { Duration::from_secs(10) } else { most };
            Averages::new(spec.balancing.ewma_alpha, most)
        });
        let outlier = spec.health.outlier.as_deref().map(|spec| Outlier::new(*spec));
        let counts = match spec.balancer {
            BalancerKind::LeastRequest | BalancerKind::PeakEwma => true,
            BalancerKind::Maglev | BalancerKind::RingHash => spec.balancing.hash_balance_percent > 0,
            _ => false,
        };
        (counts || outlier.is_some())
            .then(|| Arc::new(Self { requests: AtomicU32::new(0), averages, outlier }))
    }

    /// Whether the same observer does for both.
    pub(crate) fn same(one: &ClusterSpec, other: &ClusterSpec) -> bool {
        one.balancer == other.balancer
            && one.health.outlier == other.health.outlier
            && one.balancing.ewma_alpha == other.balancing.ewma_alpha
            && one.balancing.hash_balance_percent == other.balancing.hash_balance_percent
            && (one.connect_timeout, one.idle_timeout) == (other.connect_timeout, other.idle_timeout)
    }

    /// Requests in flight to all of the cluster's hosts.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn begin(self: &Arc<Self>, host: &Arc<Host>) -> Attempt {
        self.requests.fetch_add(1, Relaxed);
        host.requests().fetch_add(1, Relaxed);
        Attempt(Some((self.clone(), host.clone())))
    }
}

impl Attempt {
    /// Nobody wants to know.
    pub(crate) fn unseen() -> Self {
        Self(None)
    }

    /// Whether anybody wants to know how it ends.
    #[must_use]
    #[inline]
    pub const fn is_seen(&self) -> bool {
        self.0.is_some()
    }

    /// Tells how the request ended, and how long the host took.
    pub fn finish(self, outcome: Outcome, took: Duration, now: Instant) {
        let Some((observer, host)) = &self.0 else { return };
        if outcome == Outcome::Unknown {
            return;
        }
        if let Some(averages) = &observer.averages {
            averages.record(host, outcome, took, clock::millis(now));
        }
        if let Some(outlier) = &observer.outlier {
            outlier.record(host, outcome, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some((observer, host)) = &self.0 {
            observer.requests.fetch_sub(1, Relaxed);
            host.requests().fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use mosn_config::model::{BalancerKind, HealthSpec, HostSpec, LocalitySpec, OutlierSpec};
    use proptest::prelude::*;

    use super::*;
    use crate::{ChooseContext, Cluster, Clusters};

    fn cluster(balancer: BalancerKind, outlier: Option<OutlierSpec>) -> Arc<Cluster> {
        let host = |number: usize| HostSpec {
            address: format!("10.0.0.{number}:80").into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        };
        let spec = ClusterSpec {
            name: "c".into(),
            balancer,
            localities: vec![LocalitySpec { hosts: (1..4).map(host).collect(), ..LocalitySpec::default() }],
            health: HealthSpec { check: None, outlier: outlier.map(Box::new) },
            ..ClusterSpec::default()
        };
        let clusters = Clusters::new();
        clusters.add_or_update(spec).unwrap();
        clusters.get("c").unwrap()
    }

    #[test]
    fn nothing_is_counted_where_nobody_wants_to_know() {
        let cluster = cluster(BalancerKind::RoundRobin, None);
        let attempt = cluster.begin(&cluster.hosts()[0]);
        assert_eq!((attempt.0.is_none(), cluster.hosts()[0].active_requests()), (true, 0));
        let _token = cluster.try_acquire_connection(&cluster.hosts()[0]).unwrap();
        assert_eq!(cluster.hosts()[0].active_connections(), 0);
    }

    #[test]
    fn least_connection_counts_connections_and_avoids_the_crowded() {
        let cluster = cluster(BalancerKind::LeastConnection, None);
        let hosts = cluster.hosts();
        let tokens: Vec<_> = (0..50).map(|_| cluster.try_acquire_connection(&hosts[0]).unwrap()).collect();
        assert_eq!(hosts[0].active_connections(), 50);
        let crowded = (0..900)
            .filter(|_| cluster.choose(&mut ChooseContext::default()).unwrap().id == hosts[0].id)
            .count();
        // One in nine.
        assert!((50..160).contains(&crowded), "{crowded}");
        drop(tokens);
        assert_eq!(hosts[0].active_connections(), 0);
    }

    #[test]
    fn a_host_that_fails_its_requests_is_no_longer_chosen_until_a_sweep_lets_it_back() {
        let spec = OutlierSpec { consecutive_5xx: 3, ..OutlierSpec::default() };
        let cluster = cluster(BalancerKind::RoundRobin, Some(spec));
        let failing = cluster.hosts()[1].id;
        let now = Instant::now();
        let mut failures = 0;
        for _ in 0..60 {
            let host = cluster.choose(&mut ChooseContext::default()).unwrap();
            let attempt = cluster.begin(host);
            let status = if host.id == failing { 503 } else { 200 };
            failures += usize::from(host.id == failing);
            attempt.finish(Outcome::Status(status), Duration::from_millis(1), now);
        }
        assert_eq!(failures, 3);
        assert!(cluster.sweep_outliers(now + Duration::from_secs(29)).is_empty());
        let events = cluster.sweep_outliers(now + Duration::from_secs(30));
        assert_eq!(events.len(), 1);
        assert!(cluster.hosts().iter().all(|host| host.is_healthy()));
    }

    proptest! {
        #[test]
        fn counters_return_to_zero_after_any_history(
            steps in prop::collection::vec((0..3_usize, 0..5_usize, 0..3_u8), 0..80),
        ) {
            let cluster = cluster(BalancerKind::LeastRequest, Some(OutlierSpec::default()));
            let mut running = Vec::new();
            for (host, end, how) in steps {
                running.push(cluster.begin(&cluster.hosts()[host]));
                if end < running.len() {
                    let attempt = running.swap_remove(end);
                    match how {
                        0 => drop(attempt),
                        1 => attempt.finish(Outcome::Status(500), Duration::ZERO, Instant::now()),
                        _ => attempt.finish(Outcome::Reset, Duration::from_secs(1), Instant::now()),
                    }
                }
                let counted: u32 = cluster.hosts().iter().map(|host| host.active_requests()).sum();
                prop_assert_eq!(counted as usize, running.len());
            }
            drop(running);
            prop_assert!(cluster.hosts().iter().all(|host| host.active_requests() == 0));
        }
    }
}
