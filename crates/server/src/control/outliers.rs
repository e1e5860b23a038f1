//! Outlier detection: what workers noted is looked through, told, and taken back in time.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mosn_telemetry::{OutlierMetrics, Registry};
use mosn_upstream::{Cluster, ClusterChange, OutlierEvent};

/// The clusters that have it.
pub(super) struct Outliers {
    registry: Registry,
    clusters: HashMap<Arc<str>, Watched>,
}

struct Watched {
    cluster: Arc<Cluster>,
    interval: Duration,
    due: Instant,
    metrics: Arc<OutlierMetrics>,
}

impl Outliers {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, clusters: HashMap::new() }
    }

    pub(super) fn follow(&mut self, change: &ClusterChange) {
        let detecting =
            change.after.as_ref().and_then(|cluster| Some((cluster, cluster.outlier_interval()?)));
        if let Some((cluster, interval)) = detecting {
            let watched = self.clusters.entry(Arc::clone(&cluster.name)).or_insert_with(|| Watched {
                cluster: Arc::clone(cluster),
                interval,
                due: Instant::now() + interval,
                metrics: self.registry.outlier(&cluster.name),
            });
            watched.cluster = Arc::clone(cluster);
            if watched.interval != interval {
                watched.interval = interval;
                watched.due = Instant::now() + interval;
            }
        } else if let Some(before) = &change.before
            && let Some(watched) = self.clusters.remove(&before.name)
        {
            watched.metrics.ejections_active.set(0);
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for watched in self.clusters.values_mut() {
            let mut events = watched.cluster.outlier_news();
            if now >= watched.due {
                watched.due = now + watched.interval;
                events.extend(watched.cluster.sweep_outliers(now));
            }
            for event in &events {
                watched.tell(event);
            }
            watched.metrics.ejections_active.set(i64::from(watched.cluster.ejected_hosts()));
        }
    }
}

impl Watched {
    fn tell(&self, event: &OutlierEvent) {
        let (cluster, host) = (&self.cluster.name, &event.host.address_text);
        match event.ejected {
            Some(reason) => {
                self.metrics.ejections_total.inc();
                tracing::warn!("outlier detection leaves out {host} of cluster {cluster}: {reason}");
            }
            None => tracing::info!("outlier detection takes {host} of cluster {cluster} back"),
        }
    }
}
