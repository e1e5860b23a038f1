use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mosn_config::model::MetricsFilter;

use super::{
    DownstreamMetrics, HealthCheckMetrics, OutlierMetrics, UpstreamMetrics,
    sets::{self, Value},
};

/// Every metrics set of the process.
///
/// Asking for a set creates one more shard of it, for the calling worker alone; ask once and keep the
/// answer. A shard that its worker has dropped is given, with its counts, to the next that asks, so
/// that configuration updates do not make memory grow.
///
/// Cloning is cheap and yields the same registry.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    filter: MetricsFilter,
    sets: Mutex<BTreeMap<SetId, Shards>>,
}

/// What tells sets apart: a type and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SetId {
    DownstreamGlobal,
    DownstreamListener(Arc<str>),
    UpstreamCluster(Arc<str>),
    UpstreamHost(Arc<str>, Arc<str>),
    HealthCheck(Arc<str>),
    Outlier(Arc<str>),
}

#[derive(Debug)]
enum Shards {
    Downstream(Vec<Arc<DownstreamMetrics>>),
    Upstream(Vec<Arc<UpstreamMetrics>>),
    HealthCheck(Arc<HealthCheckMetrics>),
    Outlier(Arc<OutlierMetrics>),
}

/// A set as read: its type, its labels by key, and its metrics summed.
pub(crate) struct Snapshot {
    pub(crate) kind: &'static str,
    pub(crate) labels: Vec<(&'static str, Arc<str>)>,
    pub(crate) metrics: Vec<(&'static str, Value)>,
}

impl Registry {
    /// An empty registry, but for the process-wide downstream set. What `filter` excludes is still
    /// counted, since draining and balancing may ask for it, but never shown.
    #[must_use]
    pub fn new(filter: &MetricsFilter) -> Self {
        let global = (SetId::DownstreamGlobal, Shards::Downstream(Vec::new()));
        Self(Arc::new(Inner { filter: filter.clone(), sets: Mutex::new(BTreeMap::from([global])) }))
    }

    /// A shard of the set of the whole process (`downstream`, `proxy="global"`).
    #[must_use]
    pub fn downstream_global(&self) -> Arc<DownstreamMetrics> {
        self.downstream(SetId::DownstreamGlobal)
    }

    /// A shard of a listener's set.
    #[must_use]
    pub fn downstream_listener(&self, name: &str) -> Arc<DownstreamMetrics> {
        self.downstream(SetId::DownstreamListener(name.into()))
    }

    /// A shard of a cluster's set.
    #[must_use]
    pub fn upstream_cluster(&self, cluster: &str) -> Arc<UpstreamMetrics> {
        self.upstream(SetId::UpstreamCluster(cluster.into()))
    }

    /// A shard of a host's set; `host` is its address as configured. Ask when the host gets its first
    /// request: a host that never has one needs no set.
    #[must_use]
    pub fn upstream_host(&self, cluster: &str, host: &str) -> Arc<UpstreamMetrics> {
        self.upstream(SetId::UpstreamHost(cluster.into(), host.into()))
    }

    /// The set of a service whose hosts are checked: one for all who ask, since one thread checks.
    #[must_use]
    pub fn health_check(&self, service: &str) -> Arc<HealthCheckMetrics> {
        let id = SetId::HealthCheck(service.into());
        match self.sets().entry(id).or_insert_with(|| Shards::HealthCheck(Arc::default())) {
            Shards::HealthCheck(set) => Arc::clone(set),
            _ => unreachable!("the id of a health check's set"),
        }
    }

    /// The set of a cluster's outlier detection: one for all who ask, as above.
    #[must_use]
    pub fn outlier(&self, cluster: &str) -> Arc<OutlierMetrics> {
        let id = SetId::Outlier(cluster.into());
        match self.sets().entry(id).or_insert_with(|| Shards::Outlier(Arc::default())) {
            Shards::Outlier(set) => Arc::clone(set),
            _ => unreachable!("the id of an outlier detection's set"),
        }
    }

    /// Makes a listener's set show, with zeros, before its first connection.
    pub fn declare_listener(&self, name: &str) {
        self.sets()
            .entry(SetId::DownstreamListener(name.into()))
            .or_insert_with(|| Shards::Downstream(Vec::new()));
    }

    /// Makes a cluster's set show, with zeros, before its first request.
    pub fn declare_cluster(&self, name: &str) {
        self.sets()
            .entry(SetId::UpstreamCluster(name.into()))
            .or_insert_with(|| Shards::Upstream(Vec::new()));
    }

    /// Forgets a cluster's set and those of its hosts. Shards that are still held keep counting, but
    /// are no longer shown. Go MOSN never forgets; call it only where a cluster is gone for good.
    pub fn forget_cluster(&self, cluster: &str) {
        self.sets().retain(|id, _| match id {
            SetId::UpstreamCluster(name) | SetId::UpstreamHost(name, _) | SetId::Outlier(name) => {
                &**name != cluster
            }
            _ => true,
        });
    }

    /// Forgets a host's set, as [`Self::forget_cluster`] does a cluster's.
    pub fn forget_host(&self, cluster: &str, host: &str) {
        self.sets().remove(&SetId::UpstreamHost(cluster.into(), host.into()));
    }

    /// Requests in flight on one listener, or on all: what a graceful stop waits for. Not subject to
    /// the filter.
    #[must_use]
    pub fn requests_active(&self, listener: Option<&str>) -> i64 {
        let id = match listener {
            Some(name) => SetId::DownstreamListener(name.into()),
            None => SetId::DownstreamGlobal,
        };
        match self.sets().get(&id) {
            Some(Shards::Downstream(shards)) => {
                shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.request_active.get()))
            }
            _ => 0,
        }
    }

    fn downstream(&self, id: SetId) -> Arc<DownstreamMetrics> {
        match self.sets().entry(id).or_insert_with(|| Shards::Downstream(Vec::new())) {
            Shards::Downstream(shards) => shard(shards),
            _ => unreachable!("the id of a downstream set"),
        }
    }

    fn upstream(&self, id: SetId) -> Arc<UpstreamMetrics> {
        match self.sets().entry(id).or_insert_with(|| Shards::Upstream(Vec::new())) {
            Shards::Upstream(shards) => shard(shards),
            _ => unreachable!("the id of an upstream set"),
        }
    }

    fn sets(&self) -> MutexGuard<'_, BTreeMap<SetId, Shards>> {
        // No panic can leave the map half changed.
        self.0.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sets that the filter lets through, of one type and label string or of all, summed, in no
    /// particular order.
    pub(crate) fn snapshot(&self, key: Option<&str>) -> Vec<Snapshot> {
        let filter = &self.0.filter;
        if filter.reject_all {
            return Vec::new();
        }
        let mut snapshots = Vec::new();
        for (id, shards) in self.sets().iter() {
            let labels = id.labels();
            let excluded = labels.iter().any(|&(key, _)| filter.exclusion_labels.iter().any(|x| x == key));
            let mut snapshot = Snapshot { kind: id.kind(), labels, metrics: Vec::new() };
            if excluded || key.is_some_and(|key| key != snapshot.full_name()) {
                continue;
            }
            snapshot.metrics = match shards {
                Shards::Downstream(shards) if shards.is_empty() => {
                    sets::sum(std::iter::once(&DownstreamMetrics::default()))
                }
                Shards::Upstream(shards) if shards.is_empty() => {
                    sets::sum(std::iter::once(&UpstreamMetrics::default()))
                }
                Shards::Downstream(shards) => sets::sum(shards.iter().map(|shard| &**shard)),
                Shards::Upstream(shards) => sets::sum(shards.iter().map(|shard| &**shard)),
                Shards::HealthCheck(set) => sets::sum(std::iter::once(&**set)),
                Shards::Outlier(set) => sets::sum(std::iter::once(&**set)),
            };
            let of_host = matches!(id, SetId::UpstreamHost(..));
            snapshot.metrics.retain(|(key, _)| {
                let excluded = filter.exclusion_keys.iter().any(|excluded| excluded == key);
                !excluded && (!of_host || !UpstreamMetrics::is_cluster_only(key))
            });
            snapshots.push(snapshot);
        }
        snapshots
    }
}

/// A shard that nobody holds any more, or a new one.
fn shard<S: Default>(shards: &mut Vec<Arc<S>>) -> Arc<S> {
    // `get_mut` succeeds only where ours is the last reference, and then sees all that the former
    // holder wrote; no new reference can appear while the registry is locked.
    if let Some(unused) = shards.iter_mut().position(|shard| Arc::get_mut(shard).is_some()) {
        return Arc::clone(&shards[unused]);
    }
    let shard = Arc::new(S::default());
    shards.push(Arc::clone(&shard));
    shard
}

impl SetId {
    fn kind(&self) -> &'static str {
        match self {
            Self::DownstreamGlobal | Self::DownstreamListener(_) => "downstream",
            Self::UpstreamCluster(_) | Self::UpstreamHost(..) => "upstream",
            Self::HealthCheck(_) => "healthcheck",
            Self::Outlier(_) => "outlier",
        }
    }

    /// Sorted by key.
    fn labels(&self) -> Vec<(&'static str, Arc<str>)> {
        match self {
            Self::DownstreamGlobal => vec![("proxy", "global".into())],
            Self::DownstreamListener(name) => vec![("listener", Arc::clone(name))],
            Self::UpstreamCluster(cluster) | Self::Outlier(cluster) => {
                vec![("cluster", Arc::clone(cluster))]
            }
            Self::HealthCheck(service) => vec![("service", Arc::clone(service))],
            Self::UpstreamHost(cluster, host) => {
                vec![("cluster", Arc::clone(cluster)), ("host", Arc::clone(host))]
            }
        }
    }
}

impl Snapshot {
    /// `k1.v1.k2.v2`.
    pub(crate) fn label_text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.labels {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(key);
            text.push('.');
            text.push_str(value);
        }
        text
    }

    /// `type.k1.v1.k2.v2`.
    fn full_name(&self) -> String {
        format!("{}.{}", self.kind, self.label_text())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counter(registry: &Registry, set: &str, metric: &str) -> Option<i64> {
        let snapshots = registry.snapshot(Some(set));
        let snapshot = snapshots.first()?;
        snapshot.metrics.iter().find_map(|(key, value)| match value {
            Value::Counter(count) if *key == metric => Some(*count),
            _ => None,
        })
    }

    #[test]
    fn each_call_gives_another_shard_and_reading_sums_them() {
        let registry = Registry::new(&MetricsFilter::default());
        let (one, two) = (registry.downstream_listener("in"), registry.downstream_listener("in"));
        assert!(!Arc::ptr_eq(&one, &two));
        one.request_total.add(2);
        two.request_total.add(3);
        assert_eq!(counter(&registry, "downstream.listener.in", "request_total"), Some(5));
    }

    #[test]
    fn a_dropped_shard_is_reused_and_its_counts_stay() {
        let registry = Registry::new(&MetricsFilter::default());
        let first = registry.upstream_host("c", "1.2.3.4:80");
        first.request_total.add(7);
        let address = Arc::as_ptr(&first);
        drop(first);
        let second = registry.upstream_host("c", "1.2.3.4:80");
        assert_eq!(Arc::as_ptr(&second), address);
        second.request_total.inc();
        assert_eq!(counter(&registry, "upstream.cluster.c.host.1.2.3.4:80", "request_total"), Some(8));
    }

    #[test]
    fn declared_sets_show_zeros_without_holding_a_shard() {
        let registry = Registry::new(&MetricsFilter::default());
        registry.declare_listener("l");
        registry.declare_cluster("c");
        assert_eq!(counter(&registry, "downstream.listener.l", "request_total"), Some(0));
        assert_eq!(counter(&registry, "upstream.cluster.c", "request_retry"), Some(0));
        assert_eq!(counter(&registry, "downstream.proxy.global", "request_200_total"), Some(0));
        assert!(registry.sets().values().all(|shards| match shards {
            Shards::Downstream(shards) => shards.is_empty(),
            Shards::Upstream(shards) => shards.is_empty(),
            _ => true,
        }));
    }

    #[test]
    fn hosts_lack_the_keys_that_only_clusters_have() {
        let registry = Registry::new(&MetricsFilter::default());
        let _host = registry.upstream_host("c", "h:1");
        assert_eq!(counter(&registry, "upstream.cluster.c.host.h:1", "request_retry"), None);
        assert_eq!(counter(&registry, "upstream.cluster.c.host.h:1", "request_timeout"), Some(0));
    }

    #[test]
    fn the_filter_hides_sets_and_keys_but_draining_still_sees_them() {
        let reject_all = MetricsFilter { reject_all: true, ..MetricsFilter::default() };
        let registry = Registry::new(&reject_all);
        registry.downstream_listener("l").request_active.inc();
        registry.downstream_global().request_active.inc();
        assert!(registry.snapshot(None).is_empty());
        assert_eq!(registry.requests_active(Some("l")), 1);
        assert_eq!(registry.requests_active(None), 1);
        assert_eq!(registry.requests_active(Some("other")), 0);

        let some = MetricsFilter {
            exclusion_labels: vec!["host".into()],
            exclusion_keys: vec!["request_total".into()],
            ..MetricsFilter::default()
        };
        let registry = Registry::new(&some);
        let _shards = (registry.upstream_host("c", "h:1"), registry.upstream_cluster("c"));
        assert_eq!(counter(&registry, "upstream.cluster.c.host.h:1", "request_active"), None);
        assert_eq!(counter(&registry, "upstream.cluster.c", "request_total"), None);
        assert_eq!(counter(&registry, "upstream.cluster.c", "request_active"), Some(0));
    }

    #[test]
    fn forgetting_a_cluster_takes_its_hosts_along() {
        let registry = Registry::new(&MetricsFilter::default());
        let _shards = (registry.upstream_host("c", "h:1"), registry.upstream_host("d", "h:1"));
        registry.declare_cluster("c");
        registry.forget_cluster("c");
        registry.forget_host("d", "other:1");
        let names: Vec<_> = registry.snapshot(None).iter().map(Snapshot::full_name).collect();
        assert_eq!(names, ["downstream.proxy.global", "upstream.cluster.d.host.h:1"]);
        registry.forget_host("d", "h:1");
        assert_eq!(registry.snapshot(None).len(), 1);
    }

    proptest! {
        /// Whatever each worker counts up and down, reading gives the sum.
        #[test]
        fn reading_sums_what_every_shard_counted(
            steps in prop::collection::vec((0_usize..4, -1000_i64..1000), 0..100),
        ) {
            let registry = Registry::new(&MetricsFilter::default());
            let shards: Vec<_> = (0..4).map(|_| registry.upstream_cluster("c")).collect();
            for &(shard, step) in &steps {
                let counter = &shards[shard].connection_active;
                if step < 0 { counter.sub(step.unsigned_abs()) } else { counter.add(step.unsigned_abs()) }
            }
            let expected: i64 = steps.iter().map(|(_, step)| step).sum();
            prop_assert_eq!(counter(&registry, "upstream.cluster.c", "connection_active"), Some(expected));
        }
    }
}
