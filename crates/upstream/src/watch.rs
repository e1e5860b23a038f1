use std::sync::Arc;

use tokio::sync::watch;

use crate::{Cluster, ClusterMap, Clusters};

/// Follows the changes of [`Clusters`], for whoever checks, resolves or counts per cluster.
///
/// Changes that come faster than they are asked for are seen as one, from what was seen last to what
/// is now.
#[derive(Debug)]
pub struct ClusterWatch {
    clusters: Clusters,
    version: watch::Receiver<u64>,
    seen: Arc<ClusterMap>,
}

/// What became of one cluster. At least one side is there.
#[derive(Clone, Debug)]
pub struct ClusterChange {
    /// As it was seen last; `None` = it is new.
    pub before: Option<Arc<Cluster>>,
    /// As it is now; `None` = it is gone.
    pub after: Option<Arc<Cluster>>,
}

impl ClusterWatch {
    pub(crate) fn new(clusters: Clusters, mut version: watch::Receiver<u64>) -> Self {
        version.mark_changed();
        let seen = Arc::new(clusters.snapshot().without_clusters());
        Self { clusters, version, seen }
    }

    /// Waits until clusters have changed, and tells how. The first time it tells of those that there
    /// are, at once. Cancelling it loses nothing.
    pub async fn changed(&mut self) -> Vec<ClusterChange> {
        // The other end is in `self.clusters`, so that this cannot fail.
        let _ = self.version.changed().await;
        self.changes()
    }

    /// How clusters have changed since they were seen last, without waiting.
    pub fn changes(&mut self) -> Vec<ClusterChange> {
        // Before looking: a change that comes in between is then told of next time.
        self.version.borrow_and_update();
        let now = self.clusters.snapshot();
        let changes = now
            .differences(&self.seen)
            .map(|(before, after)| ClusterChange { before: before.cloned(), after: after.cloned() })
            .collect();
        self.seen = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use mosn_config::model::ClusterSpec;

    use super::*;

    fn named(name: &str) -> ClusterSpec {
        ClusterSpec { name: name.into(), ..ClusterSpec::default() }
    }

    /// What is known now; `None` = it would wait.
    fn poll(watch: &mut ClusterWatch) -> Option<Vec<String>> {
        let Poll::Ready(changes) = pin!(watch.changed()).poll(&mut Context::from_waker(Waker::noop())) else {
            return None;
        };
        let mut changes: Vec<_> = changes
            .iter()
            .map(|change| match (&change.before, &change.after) {
                (None, Some(new)) => format!("+{}", new.name),
                (Some(old), None) => format!("-{}", old.name),
                (Some(old), Some(new)) => format!("{}: {} to {}", old.name, old.mark, new.mark),
                (None, None) => String::new(),
            })
            .collect();
        changes.sort();
        Some(changes)
    }

    #[test]
    fn changes_are_told_once_and_together() {
        let clusters = Clusters::new();
        clusters.set_all((0..1000).map(|n| named(&n.to_string())).collect()).unwrap();
        let mut watch = clusters.watch();
        assert_eq!(poll(&mut watch).map(|changes| changes.len()), Some(1000));
        assert_eq!(poll(&mut watch), None);

        clusters.add_or_update(ClusterSpec { mark: 1, ..named("7") }).unwrap();
        clusters.add_or_update(ClusterSpec { mark: 2, ..named("7") }).unwrap();
        clusters.remove(&["8"]).unwrap();
        clusters.add_or_update(named("new")).unwrap();
        clusters.add_or_update(named("gone again")).unwrap();
        clusters.remove(&["gone again"]).unwrap();
        assert_eq!(poll(&mut watch).unwrap(), ["+new", "-8", "7: 0 to 2"]);
        assert_eq!(poll(&mut watch), None);
        assert!(clusters.remove(&["8"]).is_err());
        assert_eq!(poll(&mut watch), None);
    }

    #[test]
    fn replacing_all_tells_of_each() {
        let clusters = Clusters::new();
        clusters.set_all(vec![named("a"), named("b")]).unwrap();
        let mut watch = clusters.watch();
        watch.changes();
        clusters.set_all(vec![ClusterSpec { mark: 3, ..named("b") }, named("c")]).unwrap();
        assert_eq!(poll(&mut watch).unwrap(), ["+c", "-a", "b: 0 to 3"]);
        assert_eq!(clusters.version(), 2);
    }
}
