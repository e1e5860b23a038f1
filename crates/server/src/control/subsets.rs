//! The metrics of subset balancing, which nobody counts for each request.

use std::{collections::HashMap, sync::Arc};

use mosn_telemetry::{Registry, UpstreamMetrics};
use mosn_upstream::{Cluster, ClusterChange};

/// Keeps the metrics of clusters with subsets.
pub(super) struct SubsetGauges {
    registry: Registry,
    clusters: HashMap<Arc<str>, (Arc<Cluster>, Arc<UpstreamMetrics>)>,
}

impl SubsetGauges {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, clusters: HashMap::new() }
    }

    pub(super) fn follow(&mut self, change: &ClusterChange) {
        match (&change.before, &change.after) {
            (_, Some(cluster)) if cluster.has_subsets() => {
                let metrics = match self.clusters.remove(&cluster.name) {
                    Some((_, metrics)) => metrics,
                    None => self.registry.upstream_cluster(&cluster.name),
                };
                self.clusters.insert(Arc::clone(&cluster.name), (Arc::clone(cluster), metrics));
            }
            (Some(cluster), _) => {
                if let Some((_, metrics)) = self.clusters.remove(&cluster.name) {
                    metrics.lb_subsets_created.set(0);
                }
            }
            _ => {}
        }
    }

    pub(super) fn tick(&self) {
        for (cluster, metrics) in self.clusters.values() {
            let (subsets, fallbacks) = cluster.subset_numbers();
            metrics.lb_subsets_created.set(i64::try_from(subsets).unwrap_or(i64::MAX));
            metrics.lb_subsets_fallback.set(i64::try_from(fallbacks).unwrap_or(i64::MAX));
        }
    }
}
